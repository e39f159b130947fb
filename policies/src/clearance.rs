//! The clearance: a device's signed statement that an envelope was sealed from a draft that was inspected
//! under a bundle with a verdict. COSE_Sign1 (RFC 9052, tagged), ES256, CWT claims (RFC 8392) with private
//! claims named by text. Signatures are checked over the received bytes; nothing is encoded again.

use ciborium::Value;

use crate::cbor;
use crate::decide::VerdictCode;
use crate::keys::DevicePublicKey;
use crate::limits::{BLOBS_MAX, CLEARANCE_BYTES_MAX_BASE, LABELS_MAX};
pub use crate::terms::Binding;
use crate::terms::{App, AudienceId, Cti, DeviceId, Digest, Label, PolicyRef, Tier};

const EXTERNAL_AAD: &[u8] = b"sealgate/clearance/1";
/// Protected header `{1: -7}`: alg = ES256 and nothing else.
const PROTECTED: &[u8] = &[0xa1, 0x01, 0x26];
const TAG_COSE_SIGN1: u64 = 18;

/// Why a clearance is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClearanceError {
    /// Larger than any clearance is.
    #[error("the clearance is larger than {CLEARANCE_BYTES_MAX_BASE} B and its blobs' digests")]
    TooLarge,
    /// Not a tagged COSE_Sign1 in deterministic form.
    #[error("the clearance is not a COSE_Sign1 in deterministic form")]
    NotCose,
    /// Headers other than ES256 alone.
    #[error("the clearance's headers are not exactly ES256")]
    Headers,
    /// A claim is missing, unknown, or of another type.
    #[error("the clearance's claim `{0}` is missing, unknown or of another type")]
    Claim(&'static str),
    /// An audience that does not go with who sealed: the agent seals to MLS groups, apps to lists of devices.
    #[error("the clearance's `binding` and `aud` do not go together")]
    Pairing,
    /// Not signed by the device's key.
    #[error("the clearance is not signed by its device's key")]
    Signature,
}

/// Whom the story is for (K17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudienceBinding {
    /// An MLS group in one epoch: an exact set of devices.
    Mls {
        /// The group.
        group: AudienceId,
        /// Its epoch.
        epoch: u64,
        /// Tree hash of that epoch.
        tree_hash: Vec<u8>,
    },
    /// A list of devices, for apps that seal by themselves.
    Devices {
        /// The audience.
        id: AudienceId,
        /// Version of the list.
        version: u64,
        /// [`crate::device_list::DeviceList::hash`].
        hash: Digest,
    },
}

/// What a clearance claims.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// The device that inspected, sealed and signs.
    pub iss: DeviceId,
    /// Unix seconds.
    pub iat_s: u64,
    /// Unix seconds; at most [`SUBMIT_WITHIN_S`](crate::limits::SUBMIT_WITHIN_S) later.
    pub exp_s: u64,
    /// The story.
    pub cti: Cti,
    /// SHA-256 of the envelope.
    pub env: Digest,
    /// SHA-256 of each blob's ciphertext.
    pub blobs: Vec<Digest>,
    /// How the envelope is sealed, such as `mls/1.0`.
    pub protocol: String,
    /// From which app.
    pub app: App,
    /// For whom.
    pub audience: AudienceBinding,
    /// Who sealed.
    pub binding: Binding,
    /// Under which policy.
    pub policy: PolicyRef,
    /// With which verdict.
    pub verdict: VerdictCode,
    /// Coarse labels.
    pub labels: Vec<Label>,
    /// Findings and justification, sealed to the tenant's compliance key (HPKE, padded).
    pub sealed: Vec<u8>,
    /// SHA-256 of the agent's executable.
    pub agent_build: Digest,
    /// The agent's version.
    pub agent_version: String,
    /// Where the device key lives.
    pub tier: Tier,
    /// Lifetime of the story, seconds.
    pub ttl_s: u32,
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims")
            .field("cti", &self.cti)
            .field("iss", &self.iss)
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

/// Claims, encoded, with the message that the device key signs.
pub struct ToBeSigned {
    payload: Vec<u8>,
    message: Vec<u8>,
}

impl ToBeSigned {
    /// The message: COSE's Sig_structure.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The clearance, with an ES256 signature (r || s) over [`Self::message`].
    #[must_use]
    pub fn finish(self, signature: &[u8; 64]) -> Vec<u8> {
        let parts = vec![
            Value::Bytes(PROTECTED.to_vec()),
            Value::Map(Vec::new()),
            Value::Bytes(self.payload),
            Value::Bytes(signature.to_vec()),
        ];
        cbor::canonical(&Value::Tag(TAG_COSE_SIGN1, Box::new(Value::Array(parts))))
    }
}

impl Claims {
    /// Encodes the claims for signing.
    #[must_use]
    pub fn to_be_signed(&self) -> ToBeSigned {
        let payload = cbor::canonical(&self.to_value());
        let message = sig_structure(&payload);
        ToBeSigned { payload, message }
    }

    fn to_value(&self) -> Value {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let text = |text: &str| Value::Text(text.to_owned());
        let audience = match &self.audience {
            AudienceBinding::Mls {
                group,
                epoch,
                tree_hash,
            } => {
                vec![
                    text("mls"),
                    bytes(group.as_bytes()),
                    (*epoch).into(),
                    bytes(tree_hash),
                ]
            }
            AudienceBinding::Devices { id, version, hash } => {
                vec![
                    text("devices"),
                    bytes(id.as_bytes()),
                    (*version).into(),
                    bytes(hash.as_bytes()),
                ]
            }
        };
        let policy = vec![
            self.policy.version.into(),
            bytes(self.policy.digest.as_bytes()),
            self.policy.log_index.into(),
        ];
        let binding = match self.binding {
            Binding::AgentSealed => "agent_sealed",
            Binding::AppAsserted => "app_asserted",
        };
        let named = [
            (
                "agent",
                Value::Array(vec![
                    bytes(self.agent_build.as_bytes()),
                    text(&self.agent_version),
                ]),
            ),
            ("app", text(self.app.as_str())),
            ("aud", Value::Array(audience)),
            ("binding", text(binding)),
            (
                "blobs",
                Value::Array(self.blobs.iter().map(|blob| bytes(blob.as_bytes())).collect()),
            ),
            ("env", bytes(self.env.as_bytes())),
            (
                "labels",
                Value::Array(self.labels.iter().map(|label| text(label.as_str())).collect()),
            ),
            ("pol", Value::Array(policy)),
            ("protocol", text(&self.protocol)),
            ("sealed", bytes(&self.sealed)),
            ("tier", text(self.tier.as_str())),
            ("ttl", self.ttl_s.into()),
            ("verdict", text(self.verdict.as_str())),
        ];
        let mut map: Vec<(Value, Value)> = vec![
            (1.into(), bytes(self.iss.as_bytes())),
            (4.into(), self.exp_s.into()),
            (6.into(), self.iat_s.into()),
            (7.into(), bytes(self.cti.as_bytes())),
        ];
        map.extend(named.into_iter().map(|(name, value)| (text(name), value)));
        Value::Map(map)
    }
}

fn sig_structure(payload: &[u8]) -> Vec<u8> {
    cbor::canonical(&Value::Array(vec![
        Value::Text("Signature1".to_owned()),
        Value::Bytes(PROTECTED.to_vec()),
        Value::Bytes(EXTERNAL_AAD.to_vec()),
        Value::Bytes(payload.to_vec()),
    ]))
}

/// A clearance that was read, its signature not yet checked.
#[derive(Debug)]
pub struct UnverifiedClearance {
    claims: Claims,
    message: Vec<u8>,
    signature: [u8; 64],
    digest: Digest,
}

impl UnverifiedClearance {
    /// Reads received bytes strictly.
    ///
    /// # Errors
    /// [`ClearanceError`]: anything but a tagged COSE_Sign1 in deterministic form with exactly our claims.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClearanceError> {
        if bytes.len() > CLEARANCE_BYTES_MAX_BASE + 34 * BLOBS_MAX {
            return Err(ClearanceError::TooLarge);
        }
        let value = cbor::strict_value(bytes).map_err(|_| ClearanceError::NotCose)?;
        let Value::Tag(TAG_COSE_SIGN1, inner) = value else {
            return Err(ClearanceError::NotCose);
        };
        let parts = inner.into_array().map_err(|_| ClearanceError::NotCose)?;
        let [
            Value::Bytes(protected),
            unprotected,
            Value::Bytes(payload),
            Value::Bytes(signature),
        ] = parts.as_slice()
        else {
            return Err(ClearanceError::NotCose);
        };
        if protected != PROTECTED || *unprotected != Value::Map(Vec::new()) {
            return Err(ClearanceError::Headers);
        }
        let claims = Claims::from_payload(payload)?;
        if bytes.len() > CLEARANCE_BYTES_MAX_BASE + 34 * claims.blobs.len() {
            return Err(ClearanceError::TooLarge);
        }
        Ok(Self {
            claims,
            message: sig_structure(payload),
            signature: signature
                .as_slice()
                .try_into()
                .map_err(|_| ClearanceError::NotCose)?,
            digest: Digest::of(bytes),
        })
    }

    /// The device that it says it is from.
    #[must_use]
    pub const fn issuer(&self) -> DeviceId {
        self.claims.iss
    }

    /// The story that it says it is for: good for looking up a replay, not for a decision.
    #[must_use]
    pub const fn cti(&self) -> Cti {
        self.claims.cti
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`ClearanceError::Signature`].
    pub fn verify(self, key: &DevicePublicKey) -> Result<VerifiedClearance, ClearanceError> {
        if key.verify(&self.message, &self.signature) {
            Ok(VerifiedClearance {
                claims: self.claims,
                digest: self.digest,
            })
        } else {
            Err(ClearanceError::Signature)
        }
    }
}

/// A clearance whose device signed it.
#[derive(Debug)]
pub struct VerifiedClearance {
    claims: Claims,
    digest: Digest,
}

impl VerifiedClearance {
    /// What it claims.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// SHA-256 of the received bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

impl Claims {
    fn from_payload(payload: &[u8]) -> Result<Self, ClearanceError> {
        let value = cbor::strict_value(payload).map_err(|_| ClearanceError::NotCose)?;
        let entries = value.into_map().map_err(|_| ClearanceError::NotCose)?;
        let mut fields = Fields(entries);
        let claims = Self {
            iss: DeviceId::from_bytes(fields.number(1, "iss")?.array("iss")?),
            exp_s: fields.number(4, "exp")?.unsigned("exp")?,
            iat_s: fields.number(6, "iat")?.unsigned("iat")?,
            cti: Cti::from_bytes(fields.number(7, "cti")?.array("cti")?),
            env: Digest::from_bytes(fields.named("env")?.array("env")?),
            blobs: blobs(fields.named("blobs")?)?,
            protocol: fields.named("protocol")?.text("protocol")?,
            app: App::parse(&fields.named("app")?.text("app")?).map_err(|_| ClearanceError::Claim("app"))?,
            audience: audience(fields.named("aud")?)?,
            binding: match fields.named("binding")?.text("binding")?.as_str() {
                "agent_sealed" => Binding::AgentSealed,
                "app_asserted" => Binding::AppAsserted,
                _ => return Err(ClearanceError::Claim("binding")),
            },
            policy: policy(fields.named("pol")?)?,
            verdict: fields
                .named("verdict")?
                .text("verdict")?
                .parse()
                .map_err(|_| ClearanceError::Claim("verdict"))?,
            labels: labels(fields.named("labels")?)?,
            sealed: fields.named("sealed")?.bytes("sealed")?,
            tier: fields
                .named("tier")?
                .text("tier")?
                .parse()
                .map_err(|_| ClearanceError::Claim("tier"))?,
            ttl_s: u32::try_from(fields.named("ttl")?.unsigned("ttl")?)
                .map_err(|_| ClearanceError::Claim("ttl"))?,
            agent_build: Digest::from_bytes([0; 32]),
            agent_version: String::new(),
        };
        let [build, version] = fields.named("agent")?.list("agent")?;
        if !fields.0.is_empty() {
            return Err(ClearanceError::Claim("unknown"));
        }
        let agent_build = Digest::from_bytes(build.array("agent")?);
        match (&claims.audience, claims.binding) {
            (AudienceBinding::Mls { .. }, Binding::AgentSealed)
            | (AudienceBinding::Devices { .. }, Binding::AppAsserted) => {}
            (AudienceBinding::Mls { .. } | AudienceBinding::Devices { .. }, _) => {
                return Err(ClearanceError::Pairing);
            }
        }
        Ok(Self {
            agent_build,
            agent_version: version.text("agent")?,
            ..claims
        })
    }
}

struct Fields(Vec<(Value, Value)>);

impl Fields {
    fn take(&mut self, key: &Value, name: &'static str) -> Result<Field, ClearanceError> {
        let index = self
            .0
            .iter()
            .position(|(found, _)| found == key)
            .ok_or(ClearanceError::Claim(name))?;
        Ok(Field(self.0.remove(index).1))
    }

    fn number(&mut self, key: u8, name: &'static str) -> Result<Field, ClearanceError> {
        self.take(&Value::Integer(key.into()), name)
    }

    fn named(&mut self, name: &'static str) -> Result<Field, ClearanceError> {
        self.take(&Value::Text(name.to_owned()), name)
    }
}

struct Field(Value);

impl Field {
    fn bytes(self, name: &'static str) -> Result<Vec<u8>, ClearanceError> {
        self.0.into_bytes().map_err(|_| ClearanceError::Claim(name))
    }

    fn array<const N: usize>(self, name: &'static str) -> Result<[u8; N], ClearanceError> {
        self.bytes(name)?
            .try_into()
            .map_err(|_| ClearanceError::Claim(name))
    }

    fn text(self, name: &'static str) -> Result<String, ClearanceError> {
        self.0.into_text().map_err(|_| ClearanceError::Claim(name))
    }

    fn unsigned(self, name: &'static str) -> Result<u64, ClearanceError> {
        self.0
            .as_integer()
            .and_then(|integer| u64::try_from(integer).ok())
            .ok_or(ClearanceError::Claim(name))
    }

    fn items(self, name: &'static str) -> Result<Vec<Self>, ClearanceError> {
        let items = self.0.into_array().map_err(|_| ClearanceError::Claim(name))?;
        Ok(items.into_iter().map(Self).collect())
    }

    fn list<const N: usize>(self, name: &'static str) -> Result<[Self; N], ClearanceError> {
        self.items(name)?
            .try_into()
            .map_err(|_| ClearanceError::Claim(name))
    }
}

fn blobs(field: Field) -> Result<Vec<Digest>, ClearanceError> {
    let items = field.items("blobs")?;
    if items.len() > BLOBS_MAX {
        return Err(ClearanceError::Claim("blobs"));
    }
    items
        .into_iter()
        .map(|item| Ok(Digest::from_bytes(item.array("blobs")?)))
        .collect()
}

fn labels(field: Field) -> Result<Vec<Label>, ClearanceError> {
    let items = field.items("labels")?;
    if items.len() > LABELS_MAX {
        return Err(ClearanceError::Claim("labels"));
    }
    let label =
        |item: Field| Label::parse(&item.text("labels")?).map_err(|_| ClearanceError::Claim("labels"));
    items.into_iter().map(label).collect()
}

fn audience(field: Field) -> Result<AudienceBinding, ClearanceError> {
    let [kind, id, number, hash] = field.list("aud")?;
    let id = AudienceId::from_bytes(id.array("aud")?);
    let number = number.unsigned("aud")?;
    match kind.text("aud")?.as_str() {
        "mls" => Ok(AudienceBinding::Mls {
            group: id,
            epoch: number,
            tree_hash: hash.bytes("aud")?,
        }),
        "devices" => Ok(AudienceBinding::Devices {
            id,
            version: number,
            hash: Digest::from_bytes(hash.array("aud")?),
        }),
        _ => Err(ClearanceError::Claim("aud")),
    }
}

fn policy(field: Field) -> Result<PolicyRef, ClearanceError> {
    let [version, digest, log_index] = field.list("pol")?;
    Ok(PolicyRef {
        version: version.unsigned("pol")?,
        digest: Digest::from_bytes(digest.array("pol")?),
        log_index: log_index.unsigned("pol")?,
    })
}

#[cfg(test)]
mod tests;
