//! Clearing: step 5 of the order of operations. The device key signs over the envelope and every blob.

use std::fmt;

use policies::clearance::{AudienceBinding, Binding, Claims};
use policies::decide::Permit;
use policies::terms::{App, Cti, Digest, Finding};
use rand_core::CryptoRng;

use super::PROTOCOL;
use super::manifest::Manifest;
use super::seal::{Sealed, SealedBlob};
use crate::compliance::{self, ComplianceError, CompliancePublicKey};
use crate::device::{DeviceSigner, SignerError};
use crate::limits::CLEARANCE_LIFETIME_S;

/// What the clearance says besides the story.
pub struct Clearing<'a> {
    /// Unix seconds.
    pub now_s: u64,
    /// The application for which this is sealed.
    pub app: App,
    /// The tenant's compliance key, from the enrollment.
    pub compliance: &'a CompliancePublicKey,
    /// The findings of the verdict; they leave the device only under that key (K25).
    pub findings: &'a [Finding],
    /// SHA-256 of this agent's executable.
    pub agent_build: Digest,
    /// This agent's version.
    pub agent_version: String,
}

/// A story with its clearance: the only thing that can be submitted (K1).
pub struct Cleared {
    sealed: Sealed,
    clearance: Vec<u8>,
}

/// Why a sealed story was not cleared. Nothing left the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClearError {
    /// The device key did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The part for compliance could not be sealed.
    #[error(transparent)]
    Compliance(#[from] ComplianceError),
    /// The key of a device was offered that did not seal, or is not on the list for which an app did.
    #[error("the story was sealed by or for other devices than the one that is to clear it")]
    OtherDevice,
}

/// Signs the clearance of `sealed`, valid for submission for [`CLEARANCE_LIFETIME_S`] seconds.
///
/// # Errors
/// [`ClearError`] if the device key, or the seal to the compliance key, fails.
pub fn clear(
    sealed: Sealed,
    signer: &dyn DeviceSigner,
    clearing: Clearing<'_>,
    rng: &mut dyn CryptoRng,
) -> Result<Cleared, ClearError> {
    if signer.device() != sealed.author {
        return Err(ClearError::OtherDevice);
    }
    let statement = Statement {
        cti: sealed.cti,
        env: Digest::of(&sealed.envelope),
        blobs: sealed.blobs.iter().map(|blob| blob.digest).collect(),
        protocol: PROTOCOL.to_owned(),
        audience: AudienceBinding::Mls {
            group: sealed.audience,
            epoch: sealed.epoch,
            tree_hash: sealed.tree_hash.clone(),
        },
        binding: Binding::AgentSealed,
        ttl_s: sealed.ttl_s,
    };
    let clearance = sign(statement, &sealed.permit, signer, clearing, rng)?;
    Ok(Cleared { sealed, clearance })
}

/// What a clearance says about sealed bytes, whoever sealed them.
pub(super) struct Statement {
    pub(super) cti: Cti,
    pub(super) env: Digest,
    pub(super) blobs: Vec<Digest>,
    pub(super) protocol: String,
    pub(super) audience: AudienceBinding,
    pub(super) binding: Binding,
    pub(super) ttl_s: u32,
}

/// The clearance of sealed bytes under the permit by which they were sealed.
pub(super) fn sign(
    statement: Statement,
    permit: &Permit,
    signer: &dyn DeviceSigner,
    clearing: Clearing<'_>,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, ClearError> {
    let rules = permit.rules().to_vec();
    let claims = Claims {
        iss: signer.device(),
        iat_s: clearing.now_s,
        exp_s: clearing.now_s.saturating_add(CLEARANCE_LIFETIME_S),
        cti: statement.cti,
        env: statement.env,
        blobs: statement.blobs,
        protocol: statement.protocol,
        app: clearing.app,
        audience: statement.audience,
        binding: statement.binding,
        policy: permit.policy(),
        verdict: permit.code(),
        labels: permit.labels().iter().cloned().collect(),
        sealed: compliance::seal_report(
            clearing.compliance,
            *statement.cti.as_bytes(),
            clearing.findings,
            permit.justification(),
            &rules,
            rng,
        )?,
        agent_build: clearing.agent_build,
        agent_version: clearing.agent_version,
        tier: signer.tier(),
        ttl_s: statement.ttl_s,
    };
    let to_be_signed = claims.to_be_signed();
    let signature = signer.sign(to_be_signed.message())?;
    Ok(to_be_signed.finish(&signature))
}

impl Cleared {
    /// The story's id.
    #[must_use]
    pub fn cti(&self) -> Cti {
        self.sealed.cti
    }

    /// What the story says, for the author's own feed; nobody can decrypt what they sealed themselves.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.sealed.manifest
    }

    /// The envelope to submit.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.sealed.envelope
    }

    /// The clearance to submit with it.
    #[must_use]
    pub fn clearance(&self) -> &[u8] {
        &self.clearance
    }

    /// The blobs, in the order of the manifest's files; uploaded before the story is submitted.
    #[must_use]
    pub fn blobs(&self) -> &[SealedBlob] {
        &self.sealed.blobs
    }

    /// The sealed story that was cleared.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }
}

impl fmt::Debug for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleared")
            .field("sealed", &self.sealed)
            .field("clearance_bytes", &self.clearance.len())
            .finish()
    }
}
