//! The bundle: a policy, signed by two roles, versioned and logged (K6, B1-B4).
//!
//! ```text
//! Checked ─► assemble ─► sign(author) ─► sign(approver) ─► bytes ─► UnverifiedBundle ─► VerifiedBundle ─► Plan
//! ```
//! Canonical CBOR `{"manifest": bstr, "parts": {path: bstr}, "signatures": [{"alg", "key", "role", "sig"}]}`. The digest of
//! a bundle is the SHA-256 of its manifest, which holds the digest of each part. Each role signs
//! `"sealgate/bundle/1" || role || manifest`.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};

use crate::document::{Checked, Folder, Problems, check_parts};
use crate::keys::Ed25519PublicKey;
use crate::limits;
use crate::terms::{Digest, PolicyRef, TenantId, words};

mod manifest;
#[cfg(test)]
mod tests;
mod timestamp;
mod wire;

pub use manifest::{Manifest, Part};
pub use timestamp::{Timestamp, TimestampError};
use wire::Signature;

const CONTEXT: &[u8] = b"sealgate/bundle/1";

words! {
    /// Who signs (K6).
    Role {
        /// Wrote it.
        Author = "author",
        /// Agrees to it.
        Approver = "approver",
    }
}

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Larger than any bundle.
    #[error(
        "the bundle is larger than {} bytes\nhelp: remove files of tests",
        limits::BUNDLE_BYTES_MAX
    )]
    TooLarge,
    /// Not our CBOR.
    #[error("the bundle cannot be read\nhelp: fetch or build it again")]
    Malformed,
    /// Nobody signed.
    #[error("the bundle is not signed\nhelp: sealgate policy sign, as author and as approver")]
    Unsigned,
    /// One role is missing.
    #[error(
        "the bundle has no valid signature of the role `{missing}`\nhelp: sealgate policy sign --bundle, with that key"
    )]
    HalfSigned {
        /// The role.
        missing: Role,
    },
    /// Somebody signed for the role whose key is not trusted for it.
    #[error("key {key_id} is not trusted as `{role}`\nhelp: sign with the key that was pinned at enrolment")]
    UnknownKey {
        /// The role.
        role: Role,
        /// The key.
        key_id: String,
    },
    /// One key signed as both.
    #[error("one key signed as author and as approver\nhelp: another person must approve")]
    SameKeyTwice,
    /// A signature of a trusted key does not hold.
    #[error(
        "the signature of the role `{role}` does not hold\nhelp: the bundle was changed after it was signed; sign it again"
    )]
    Tampered {
        /// The role.
        role: Role,
    },
    /// A part is not what the manifest says.
    #[error("part `{0}` is not the one that was signed\nhelp: build the bundle again from its folder")]
    PartChanged(String),
    /// A part of the manifest is not there.
    #[error("part `{0}` is missing\nhelp: build the bundle again from its folder")]
    PartMissing(String),
    /// A part that the manifest does not list.
    #[error("part `{0}` is not in the manifest\nhelp: build the bundle again from its folder")]
    PartUnknown(String),
    /// For another tenant.
    #[error("the bundle is for the tenant `{found}`, not `{expected}`\nhelp: publish it at its own gateway")]
    WrongTenant {
        /// Its tenant.
        found: TenantId,
        /// Ours.
        expected: TenantId,
    },
    /// Its time is over.
    #[error("the bundle expired\nhelp: sign and publish a higher version")]
    Expired,
    /// Its time has not begun, or is too long.
    #[error(
        "the bundle's time of issue lies ahead, or its lifetime is too long\nhelp: compare the clocks, sign it again"
    )]
    BadTimes,
    /// Older than what was seen.
    #[error(
        "the bundle has version {found}, but version {floor} was seen\nhelp: go back by publishing old content as a higher version"
    )]
    RolledBack {
        /// Its version.
        found: u64,
        /// The highest that was seen.
        floor: u64,
    },
    /// Much newer than what was seen.
    #[error("the bundle's version jumps from {floor} to {found}\nhelp: count versions up one by one")]
    VersionJump {
        /// Its version.
        found: u64,
        /// The highest that was seen.
        floor: u64,
    },
    /// Not in the directory log.
    #[error(
        "the bundle is not in the directory log\nhelp: sealgate policy publish; a bundle that is not logged is never loaded"
    )]
    Unlogged,
}

/// Whose signatures count.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The tenant.
    pub tenant: TenantId,
    /// Keys of authors.
    pub authors: Vec<Ed25519PublicKey>,
    /// Keys of approvers.
    pub approvers: Vec<Ed25519PublicKey>,
}

impl Trust {
    fn key(&self, role: Role, key_id: &str) -> Option<&Ed25519PublicKey> {
        let keys = match role {
            Role::Author => &self.authors,
            Role::Approver => &self.approvers,
        };
        keys.iter().find(|key| key.key_id() == key_id)
    }
}

/// What a publisher says about a bundle.
#[derive(Clone, Debug)]
pub struct ManifestFields {
    /// For which ring of agents, such as `stable`.
    pub channel: String,
    /// Rises with every bundle.
    pub version: u64,
    /// The oldest agent that understands it.
    pub min_agent: String,
    /// Unix seconds.
    pub issued_s: u64,
    /// Unix seconds.
    pub expires_s: u64,
    /// The bundle before it.
    pub previous: Option<Digest>,
}

/// A bundle that is being made: signatures are added.
#[derive(Clone)]
pub struct UnsignedBundle {
    manifest: Vec<u8>,
    parts: BTreeMap<String, Vec<u8>>,
    signatures: Vec<Signature>,
}

/// Makes the bundle of a checked folder.
#[must_use]
pub fn assemble(checked: &Checked, fields: ManifestFields) -> UnsignedBundle {
    let parts = checked.parts();
    let manifest = Manifest::of(checked.tenant().clone(), fields, &parts).encode();
    UnsignedBundle {
        manifest,
        parts,
        signatures: Vec::new(),
    }
}

impl UnsignedBundle {
    /// Reads a bundle, to add a signature.
    ///
    /// # Errors
    /// [`BundleError`] if it cannot be read, or its parts are not those of its manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let (manifest, parts, signatures) = wire::read(bytes)?;
        Manifest::decode(&manifest)?.check_parts(&parts)?;
        Ok(Self {
            manifest,
            parts,
            signatures,
        })
    }

    /// What a signer signs, in full: the policy, checked.
    ///
    /// # Errors
    /// Every problem.
    pub fn check(&self) -> Result<Checked, Problems> {
        check_parts(&Folder {
            files: self.parts.clone(),
        })
    }

    /// SHA-256 of the manifest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The roles that signed, not verified.
    #[must_use]
    pub fn roles(&self) -> Vec<Role> {
        self.signatures.iter().map(|signature| signature.role).collect()
    }

    /// What it says it is.
    ///
    /// # Errors
    /// [`BundleError::Malformed`]: never of a bundle that was assembled or parsed.
    pub fn manifest(&self) -> Result<Manifest, BundleError> {
        Manifest::decode(&self.manifest)
    }

    /// Adds a signature; an earlier one of the same role and key is replaced.
    ///
    /// # Errors
    /// [`BundleError::SameKeyTwice`] if the key signed in another role: two persons must agree (K6).
    pub fn sign(mut self, role: Role, key: &SigningKey) -> Result<Self, BundleError> {
        let sig = key.sign(&message(role, &self.manifest)).to_bytes();
        let key_id = wire::key_id(&key.verifying_key().to_bytes());
        if self
            .signatures
            .iter()
            .any(|signature| signature.role != role && signature.key_id == key_id)
        {
            return Err(BundleError::SameKeyTwice);
        }
        self.signatures.retain(|signature| signature.key_id != key_id);
        self.signatures.push(Signature { role, key_id, sig });
        Ok(self)
    }

    /// The bundle's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::write(&self.manifest, &self.parts, &self.signatures)
    }
}

impl std::fmt::Debug for UnsignedBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnsignedBundle")
            .field("digest", &self.digest())
            .field("signatures", &self.signatures)
            .finish()
    }
}

fn message(role: Role, manifest: &[u8]) -> Vec<u8> {
    [CONTEXT, role.as_str().as_bytes(), manifest].concat()
}

/// A bundle as it was received.
pub struct UnverifiedBundle {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    parts: BTreeMap<String, Vec<u8>>,
    signatures: Vec<Signature>,
}

impl std::fmt::Debug for UnverifiedBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnverifiedBundle")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

impl UnverifiedBundle {
    /// Reads received bytes strictly.
    ///
    /// # Errors
    /// [`BundleError::TooLarge`], [`BundleError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let (manifest_bytes, parts, signatures) = wire::read(bytes)?;
        Ok(Self {
            manifest: Manifest::decode(&manifest_bytes)?,
            manifest_bytes,
            parts,
            signatures,
        })
    }

    /// SHA-256 of the manifest: the name under which it is logged.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest_bytes)
    }

    /// The version that it says it has.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.manifest.version
    }

    /// What it says it is.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The roles that signed, not verified.
    #[must_use]
    pub fn roles(&self) -> Vec<Role> {
        self.signatures.iter().map(|signature| signature.role).collect()
    }

    /// Verifies everything. `floor_version` is the highest version seen, 0 for none; `now_s` Unix seconds; `logged` the
    /// index of its entry in the directory log.
    ///
    /// # Errors
    /// [`BundleError`], each with what to do.
    pub fn verify(
        self,
        trust: &Trust,
        floor_version: u64,
        now_s: u64,
        logged: Option<u64>,
    ) -> Result<VerifiedBundle, BundleError> {
        self.check_signatures(trust)?;
        let Self {
            manifest,
            manifest_bytes,
            parts,
            ..
        } = self;
        manifest.check_parts(&parts)?;
        if manifest.tenant != trust.tenant {
            return Err(BundleError::WrongTenant {
                found: manifest.tenant,
                expected: trust.tenant.clone(),
            });
        }
        manifest.check_times(now_s)?;
        let (found, floor) = (manifest.version, floor_version);
        if found < floor || found == 0 {
            return Err(BundleError::RolledBack { found, floor });
        }
        if floor > 0 && found - floor > limits::VERSION_JUMP_MAX {
            return Err(BundleError::VersionJump { found, floor });
        }
        let log_index = logged.ok_or(BundleError::Unlogged)?;
        let reference = PolicyRef {
            version: found,
            digest: Digest::of(&manifest_bytes),
            log_index,
        };
        Ok(VerifiedBundle {
            manifest,
            parts,
            reference,
        })
    }

    fn missing(&self, role: Role) -> BundleError {
        match self.signatures.iter().find(|signature| signature.role == role) {
            Some(unknown) => BundleError::UnknownKey {
                role,
                key_id: unknown.key_id.clone(),
            },
            None => BundleError::HalfSigned { missing: role },
        }
    }

    /// Two roles, two keys (K6). Signatures of keys that are not trusted do not count; a wrong one of a key that is
    /// trusted refuses the bundle.
    fn check_signatures(&self, trust: &Trust) -> Result<(), BundleError> {
        if self.signatures.is_empty() {
            return Err(BundleError::Unsigned);
        }
        let mut signers: BTreeMap<Role, Vec<&str>> = BTreeMap::new();
        for Signature { role, key_id, sig } in &self.signatures {
            let Some(key) = trust.key(*role, key_id) else {
                continue;
            };
            if !key.verify(&message(*role, &self.manifest_bytes), sig) {
                return Err(BundleError::Tampered { role: *role });
            }
            signers.entry(*role).or_default().push(key_id);
        }
        let of = |role| {
            signers
                .get(&role)
                .map(Vec::as_slice)
                .ok_or_else(|| self.missing(role))
        };
        let (authors, approvers) = (of(Role::Author)?, of(Role::Approver)?);
        let different = authors
            .iter()
            .any(|author| approvers.iter().any(|approver| author != approver));
        if different {
            Ok(())
        } else {
            Err(BundleError::SameKeyTwice)
        }
    }
}

/// A bundle that two roles signed, that is logged, and whose time it is.
#[derive(Clone)]
pub struct VerifiedBundle {
    manifest: Manifest,
    parts: BTreeMap<String, Vec<u8>>,
    reference: PolicyRef,
}

impl std::fmt::Debug for VerifiedBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedBundle")
            .field("manifest", &self.manifest)
            .field("reference", &self.reference)
            .finish()
    }
}

impl VerifiedBundle {
    /// Version, digest and index in the log.
    #[must_use]
    pub const fn reference(&self) -> PolicyRef {
        self.reference
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.reference.version
    }

    /// SHA-256 of the manifest.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.reference.digest
    }

    /// When it ends, Unix seconds.
    #[must_use]
    pub const fn expires_s(&self) -> u64 {
        self.manifest.expires_s
    }

    /// Its tenant.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.manifest.tenant
    }

    /// Its manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its parts, by path.
    #[must_use]
    pub const fn parts(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.parts
    }
}
