//! Stories as MLS application messages: encrypted and decrypted in the current epoch only (M3).

use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{MlsGroup, ProcessedMessageContent, ProtocolMessage, Sender};
use policies::terms::{AudienceId, DeviceId};
use zeroize::Zeroizing;

use super::process::parse;
use super::{Member, MemberError, ProcessError};
use crate::identity::named_device;

/// A decrypted application message, of which only the MLS signature was checked.
pub(crate) struct Decrypted {
    pub(crate) sender: DeviceId,
    pub(crate) associated: Vec<u8>,
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
}

impl Member {
    /// Encrypts to every device of the audience; `associated` is authenticated and readable by the gateway.
    pub(crate) fn encrypt(
        &mut self,
        audience: AudienceId,
        associated: Vec<u8>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, MemberError> {
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        group.set_aad(associated);
        let message = group.create_message(&self.provider, &self.identity.leaf, plaintext);
        // What was not sent must not be the associated data of the next commit.
        group.set_aad(Vec::new());
        message
            .map_err(|_| MemberError::Crypto)?
            .tls_serialize_detached()
            .map_err(|_| MemberError::Crypto)
    }

    /// Decrypts a message of the current epoch; its key is gone afterwards.
    pub(crate) fn decrypt(
        &mut self,
        audience: AudienceId,
        message: &[u8],
    ) -> Result<Decrypted, ProcessError> {
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        let message = parse(audience, message)?;
        check_current(group, &message)?;
        let processed = group
            .process_message(&self.provider, message)
            .map_err(|_| ProcessError::Unusable)?;
        let Sender::Member(index) = *processed.sender() else {
            return Err(ProcessError::Unusable);
        };
        let credential = group.member(index).ok_or(ProcessError::Unusable)?;
        let sender = named_device(credential).map_err(|_| ProcessError::Unusable)?;
        let associated = processed.aad().to_vec();
        let ProcessedMessageContent::ApplicationMessage(content) = processed.into_content() else {
            return Err(ProcessError::Unusable);
        };
        Ok(Decrypted {
            sender,
            associated,
            plaintext: Zeroizing::new(content.into_bytes()),
        })
    }
}

fn check_current(group: &MlsGroup, message: &ProtocolMessage) -> Result<(), ProcessError> {
    let (found, current) = (message.epoch().as_u64(), group.epoch().as_u64());
    if !matches!(message, ProtocolMessage::PrivateMessage(_)) {
        return Err(ProcessError::Unusable);
    }
    if found == current {
        Ok(())
    } else {
        Err(ProcessError::WrongEpoch { found, current })
    }
}
