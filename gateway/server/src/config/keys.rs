//! The gateway's keys: what each is for, where it lies, who holds it (K7).

use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use gateway_api::bytes::Bytes;
use policies::terms::TenantId;
use rcgen::KeyPair;
use serde::Serialize;
use zeroize::Zeroizing;

use super::layout::Layout;
use super::{Trust, files};
use crate::domain::authority::Authority;
use crate::domain::random;

const CA_KEY: &str = "ca.key";
const CA_CERTIFICATE: &str = "ca.pem";
const SERVER_KEY: &str = "server.key";
const LEDGER_KEY: &str = "ledger.key";
const DIRECTORY_KEY: &str = "directory.key";
const ACCEPTANCE_KEY: &str = "acceptance.key";
const EXTERNAL_SENDER_KEY: &str = "external-sender.key";
const TIMESTAMP_KEY: &str = "timestamp.key";

/// The private keys that the running gateway holds.
pub(crate) struct Keys {
    pub(crate) authority: Authority,
    pub(crate) ledger: SigningKey,
    pub(crate) directory: SigningKey,
    pub(crate) acceptance: SigningKey,
    pub(crate) external_sender: SigningKey,
    pub(crate) timestamp: SigningKey,
}

impl Keys {
    /// Makes every key, in a fresh folder.
    pub(crate) fn create(layout: &Layout, tenant: &TenantId, now_s: u64) -> anyhow::Result<()> {
        files::make_folder(&layout.keys())?;
        let (certificate, key) = Authority::generate(tenant, now_s)?;
        files::write_new(&layout.key(CA_CERTIFICATE), certificate.as_bytes())?;
        files::write_new(&layout.key(CA_KEY), Zeroizing::new(key).as_bytes())?;
        let server = Zeroizing::new(
            KeyPair::generate()
                .context("cannot make the server's key")?
                .serialize_pem(),
        );
        files::write_new(&layout.key(SERVER_KEY), server.as_bytes())?;
        for name in [
            LEDGER_KEY,
            DIRECTORY_KEY,
            ACCEPTANCE_KEY,
            EXTERNAL_SENDER_KEY,
            TIMESTAMP_KEY,
        ] {
            write_signing_key(&layout.key(name), &generate_signing_key()?)?;
        }
        Ok(())
    }

    pub(crate) fn load(layout: &Layout) -> anyhow::Result<Self> {
        let text = |name: &str| {
            let path = layout.key(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
        };
        let signing = |name: &str| read_signing_key(&layout.key(name));
        let restore =
            |names: &str| format!("{names} cannot be used; restore them from the sealed backup of `keys/`");
        Ok(Self {
            authority: Authority::load(text(CA_CERTIFICATE)?, &Zeroizing::new(text(CA_KEY)?))
                .with_context(|| restore("`keys/ca.pem` and `keys/ca.key`"))?,
            ledger: signing(LEDGER_KEY)?,
            directory: signing(DIRECTORY_KEY)?,
            acceptance: signing(ACCEPTANCE_KEY)?,
            external_sender: signing(EXTERNAL_SENDER_KEY)?,
            timestamp: signing(TIMESTAMP_KEY)?,
        })
    }
}

/// The key of the gateway's TLS certificate, PEM. Agents trust the authority, not this key: another may take its place.
pub(crate) fn server_key(layout: &Layout) -> anyhow::Result<Zeroizing<String>> {
    let path = layout.key(SERVER_KEY);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(Zeroizing::new(text))
}

/// One line of `sealgate keys list`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyLine {
    pub(crate) name: &'static str,
    pub(crate) purpose: &'static str,
    /// Public part, hex, where there is one.
    pub(crate) public: Option<String>,
    /// Path below the gateway's folder, or below the folder that `init` made.
    pub(crate) r#where: &'static str,
    pub(crate) holder: &'static str,
    pub(crate) rotation: &'static str,
    pub(crate) backup: &'static str,
}

/// Every key there is, with what it is for (K7).
pub(crate) fn inventory(layout: &Layout, trust: &Trust) -> anyhow::Result<Vec<KeyLine>> {
    let keys = Keys::load(layout)?;
    let public = |key: &SigningKey| Some(hex::encode(key.verifying_key().to_bytes()));
    let first = |keys: &[Bytes]| keys.first().map(|key| hex::encode(&key.0));
    let ours = |name, r#where, purpose, rotation, public| KeyLine {
        name,
        purpose,
        public,
        r#where,
        holder: "gateway",
        rotation,
        backup: "yes, sealed",
    };
    let outside = |name, r#where, purpose, holder, public| KeyLine {
        name,
        purpose,
        public,
        r#where,
        holder,
        rotation: "new trust in gateway.toml, new enrollment",
        backup: "offline, by its holder",
    };
    let pinned = "agents pin it: new enrollment";
    Ok(vec![
        ours(
            "ca",
            "keys/ca.key",
            "signs TLS certificates of devices and gateway",
            pinned,
            None,
        ),
        ours(
            "server",
            "keys/server.key",
            "TLS of the gateway",
            "replace the file: new connections get it within seconds",
            None,
        ),
        ours(
            "ledger",
            "keys/ledger.key",
            "signs checkpoints of the ledger",
            pinned,
            public(&keys.ledger),
        ),
        ours(
            "directory",
            "keys/directory.key",
            "signs checkpoints of the directory log",
            pinned,
            public(&keys.directory),
        ),
        ours(
            "acceptance",
            "keys/acceptance.key",
            "signs acceptances and refusals",
            pinned,
            public(&keys.acceptance),
        ),
        ours(
            "external-sender",
            "keys/external-sender.key",
            "proposes removals of revoked devices",
            pinned,
            public(&keys.external_sender),
        ),
        ours(
            "timestamp",
            "keys/timestamp.key",
            "proves that the bundle is fresh",
            pinned,
            public(&keys.timestamp),
        ),
        KeyLine {
            backup: "never",
            ..ours(
                "bucket",
                "bucket-keys/",
                "wraps object keys until its expiry bucket ends",
                "one per bucket, destroyed at its end",
                None,
            )
        },
        KeyLine {
            backup: "apart from the ledger",
            ..ours(
                "subject",
                "subject-keys/",
                "encrypts ledger payloads of one subject",
                "monthly; shredding erases",
                None,
            )
        },
        KeyLine {
            holder: "operator",
            rotation: "another file for the next backup",
            backup: "never in the backup that it opens",
            ..ours(
                "backup",
                "the file of `sealgate backup --key`",
                "seals the private keys in a backup",
                "",
                None,
            )
        },
        outside(
            "author",
            "authors/author.key",
            "first signature of a bundle",
            "policy author",
            first(&trust.author_keys),
        ),
        outside(
            "approver",
            "authors/approver.key",
            "second signature of a bundle",
            "policy approver",
            first(&trust.approver_keys),
        ),
        outside(
            "compliance",
            "authors/compliance.key",
            "opens what agents sealed for compliance",
            "compliance officer",
            Some(hex::encode(&trust.compliance_key.0)),
        ),
    ])
}

/// A fresh Ed25519 key.
pub(crate) fn generate_signing_key() -> anyhow::Result<SigningKey> {
    Ok(SigningKey::from_bytes(&Zeroizing::new(random::bytes::<32>()?)))
}

/// Writes a key as PKCS#8 PEM, mode 0600, to a new file.
pub(crate) fn write_signing_key(path: &Path, key: &SigningKey) -> anyhow::Result<()> {
    let pem = key
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| anyhow!("cannot encode a key"))?;
    files::write_new(path, pem.as_bytes())
}

/// Reads a PKCS#8 PEM key.
pub(crate) fn read_signing_key(path: &Path) -> anyhow::Result<SigningKey> {
    let pem = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read the key `{}`", path.display()))?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| {
        anyhow!(
            "`{}` is not an Ed25519 key in PKCS#8 PEM; restore it from the backup of its holder",
            path.display()
        )
    })
}

/// Makes the compliance officer's key: (private, public), 32 bytes each.
pub(crate) fn generate_compliance_key() -> anyhow::Result<(Zeroizing<[u8; 32]>, [u8; 32])> {
    use hpke::{Kem as _, Serializable as _};
    let seed = Zeroizing::new(random::bytes::<32>()?);
    let (private, public) = hpke::kem::X25519HkdfSha256::derive_keypair(seed.as_slice());
    Ok((
        Zeroizing::new(private.to_bytes().into()),
        public.to_bytes().into(),
    ))
}

/// Writes the private key as hex, mode 0600, to a new file.
pub(crate) fn write_compliance_key(path: &Path, private: &[u8; 32]) -> anyhow::Result<()> {
    files::write_new(
        path,
        Zeroizing::new(format!("{}\n", hex::encode(private))).as_bytes(),
    )
}

/// Reads the private key.
pub(crate) fn read_compliance_key(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(files::read(path)?);
    let private = Zeroizing::new(
        hex::decode(text.trim_ascii())
            .with_context(|| format!("`{}` is not a compliance key", path.display()))?,
    );
    ensure!(
        private.len() == 32,
        "`{}` is not a compliance key",
        path.display()
    );
    Ok(private)
}
