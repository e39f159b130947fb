//! Stories of apps that seal by themselves (A12, K17): a permit and the app's bytes become [`Asserted`], then
//! [`ClearedAsserted`]; a delivery becomes a [`ForeignStory`] whose bytes only the app can read.
//!
//! The agent inspected the draft and signs over what the app sealed. That one is of the other is the app's word: the
//! clearance says so (`app_asserted`), and rules may ask for more.

use std::fmt;

use policies::clearance::{AudienceBinding, Binding, Claims};
use policies::decide::Permit;
use policies::device_list::{DeviceList, UnverifiedDeviceList};
use policies::directory::Directory;
use policies::terms::{App, Cti, DeviceId, Digest, Label};
use rand_core::CryptoRng;

use super::clear::{ClearError, Clearing, Statement, sign};
use super::open::{Delivery, OpenError, check_one_story, check_policy, check_times, verified};
use crate::device::DeviceSigner;
use crate::identity::LeafRefused;
use crate::limits::{FOREIGN_BYTES_MAX, PROTOCOL_BYTES_MAX, TTL_S_MAX};

/// How an app seals, in its own name for it, such as `olm/2`: metadata for auditors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(String);

/// Why an app's bytes get no clearance. Nothing left the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertError {
    /// Not a name of a protocol.
    #[error(
        "a protocol is named by 1 to {PROTOCOL_BYTES_MAX} lower-case letters, digits, `.`, `-` and `/`\nhelp: such as `olm/2`"
    )]
    Protocol,
    /// Nothing, or too much.
    #[error("an app's sealed story has 1 to {FOREIGN_BYTES_MAX} bytes\nhelp: send less at once")]
    Size,
    /// Longer than any story lives.
    #[error("a story lives for at most {TTL_S_MAX} s\nhelp: ask for a shorter lifetime")]
    Lifetime,
    /// The draft was inspected for another audience.
    #[error(
        "the draft was not inspected for this list of devices\nhelp: have it checked for the list that it is sealed for"
    )]
    OtherAudience,
}

impl Protocol {
    /// Reads a name.
    ///
    /// # Errors
    /// [`AssertError::Protocol`].
    pub fn parse(text: &str) -> Result<Self, AssertError> {
        let named = (1..=PROTOCOL_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'/'));
        if named {
            Ok(Self(text.to_owned()))
        } else {
            Err(AssertError::Protocol)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an app says that it sealed of a draft that the policy let through, for the devices of a list.
pub struct Asserted {
    permit: Permit,
    cti: Cti,
    list: DeviceList,
    envelope: Vec<u8>,
    protocol: Protocol,
    ttl_s: u32,
}

impl Asserted {
    /// Whether bytes and lifetime are within the bounds: to be asked before a permit is spent on them.
    ///
    /// # Errors
    /// [`AssertError::Size`], [`AssertError::Lifetime`].
    pub fn check_bounds(envelope: &[u8], ttl_s: u32) -> Result<(), AssertError> {
        if envelope.is_empty() || envelope.len() > FOREIGN_BYTES_MAX {
            return Err(AssertError::Size);
        }
        if ttl_s > TTL_S_MAX {
            return Err(AssertError::Lifetime);
        }
        Ok(())
    }

    /// Takes the app's bytes as they are, and draws the story's id.
    ///
    /// # Errors
    /// [`AssertError`]: a bound is passed, or the permit is for another audience.
    pub fn new(
        permit: Permit,
        list: DeviceList,
        envelope: Vec<u8>,
        protocol: Protocol,
        ttl_s: u32,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, AssertError> {
        if permit.audience() != list.id() {
            return Err(AssertError::OtherAudience);
        }
        Self::check_bounds(&envelope, ttl_s)?;
        let mut cti = [0; 16];
        rng.fill_bytes(&mut cti);
        Ok(Self {
            permit,
            cti: Cti::from_bytes(cti),
            list,
            envelope,
            protocol,
            ttl_s,
        })
    }
}

impl fmt::Debug for Asserted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asserted")
            .field("cti", &self.cti)
            .field("list", &self.list.id())
            .field("bytes", &self.envelope.len())
            .finish_non_exhaustive()
    }
}

/// An app's story with its clearance: the only thing of an app that can be submitted (K1).
pub struct ClearedAsserted {
    asserted: Asserted,
    clearance: Vec<u8>,
}

/// Signs the clearance over the app's bytes.
///
/// # Errors
/// [`ClearError`] if the device is not on the list, or its key or the seal to the compliance key fails.
pub fn clear_asserted(
    asserted: Asserted,
    signer: &dyn DeviceSigner,
    clearing: Clearing<'_>,
    rng: &mut dyn CryptoRng,
) -> Result<ClearedAsserted, ClearError> {
    if !asserted.list.devices().contains(&signer.device()) {
        return Err(ClearError::OtherDevice);
    }
    let statement = Statement {
        cti: asserted.cti,
        env: Digest::of(&asserted.envelope),
        blobs: Vec::new(),
        protocol: asserted.protocol.0.clone(),
        audience: AudienceBinding::Devices {
            id: asserted.list.id(),
            version: asserted.list.version(),
            hash: asserted.list.hash(),
        },
        binding: Binding::AppAsserted,
        ttl_s: asserted.ttl_s,
    };
    let clearance = sign(statement, &asserted.permit, signer, clearing, rng)?;
    Ok(ClearedAsserted { asserted, clearance })
}

impl ClearedAsserted {
    /// The story's id.
    #[must_use]
    pub fn cti(&self) -> Cti {
        self.asserted.cti
    }

    /// The list for whose devices it is.
    #[must_use]
    pub fn list(&self) -> &DeviceList {
        &self.asserted.list
    }

    /// What the app sealed, byte for byte.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.asserted.envelope
    }

    /// The clearance to submit with it.
    #[must_use]
    pub fn clearance(&self) -> &[u8] {
        &self.clearance
    }
}

impl fmt::Debug for ClearedAsserted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClearedAsserted")
            .field("asserted", &self.asserted)
            .field("clearance_bytes", &self.clearance.len())
            .finish()
    }
}

/// An app's story that passed every check; its bytes are the app's to open.
pub struct ForeignStory {
    claims: Claims,
    list: DeviceList,
    accepted_s: u64,
    expires_s: u64,
}

/// Judges a delivered story of an app for the device `me`, or says why it is not handed on.
///
/// Checked: the clearance's signature by the logged, unrevoked key of its issuer, the logged policy, that bytes,
/// clearance and acceptance are of one story, the times, and that the signed list is the one that clearance and
/// acceptance name, defined by a logged device, with the issuer and `me` on it.
///
/// # Errors
/// [`OpenError`]; nothing of the content is in it.
pub fn open_foreign(
    delivery: &Delivery<'_>,
    list: &[u8],
    me: DeviceId,
    directory: &Directory,
    now_s: u64,
) -> Result<ForeignStory, OpenError> {
    let clearance = verified(delivery.clearance, directory)?;
    let claims = clearance.claims();
    if directory.key_in_force(claims.iss).is_none() {
        return Err(OpenError::RevokedSender);
    }
    check_one_story(&clearance, delivery)?;
    check_times(claims, delivery.acceptance, now_s)?;
    check_policy(claims, directory)?;
    let list = verified_list(list, directory)?;
    let named = AudienceBinding::Devices {
        id: list.id(),
        version: list.version(),
        hash: list.hash(),
    };
    let on_it = [claims.iss, me]
        .iter()
        .all(|device| list.devices().contains(device));
    if claims.audience != named || delivery.acceptance.group != list.id() || !on_it {
        return Err(OpenError::OtherAudience);
    }
    Ok(ForeignStory {
        claims: claims.clone(),
        list,
        accepted_s: delivery.acceptance.at_s,
        expires_s: delivery.acceptance.expires_s,
    })
}

/// Reads a signed list and verifies it with the logged key of the device that defined it.
///
/// # Errors
/// [`OpenError::List`], or that the definer is not in the log as far as it is known here.
pub fn verified_list(signed: &[u8], directory: &Directory) -> Result<DeviceList, OpenError> {
    let unverified = UnverifiedDeviceList::parse(signed)?;
    let definer = unverified.definer();
    let logged = directory
        .device(definer)
        .ok_or(OpenError::Issuer(LeafRefused::Unlogged(definer)))?;
    Ok(unverified.verify(&logged.key)?)
}

impl ForeignStory {
    /// The story.
    #[must_use]
    pub fn cti(&self) -> Cti {
        self.claims.cti
    }

    /// The device that cleared it, whose app sealed it.
    #[must_use]
    pub fn author(&self) -> DeviceId {
        self.claims.iss
    }

    /// The app that it comes from, and is for.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.claims.app
    }

    /// The app's name for how it is sealed.
    #[must_use]
    pub fn protocol(&self) -> &str {
        &self.claims.protocol
    }

    /// The labels that its verdict set.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.claims.labels
    }

    /// The devices that it is for.
    #[must_use]
    pub fn list(&self) -> &DeviceList {
        &self.list
    }

    /// Unix seconds at which the gateway accepted it.
    #[must_use]
    pub fn accepted_s(&self) -> u64 {
        self.accepted_s
    }

    /// Unix seconds at which it is gone.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.expires_s
    }
}

impl fmt::Debug for ForeignStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignStory")
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}
