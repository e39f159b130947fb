//! `gateway.toml`: one struct per section, unknown keys refused, defaults in code, checked once at start.

pub(crate) mod files;
pub(crate) mod keys;
pub(crate) mod layout;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context as _, ensure};
use gateway_api::bytes::Bytes;
use policies::keys::Ed25519PublicKey;
use policies::terms::TenantId;
use serde::{Deserialize, Serialize};

use crate::limits;

/// The whole configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Whom the gateway serves.
    pub(crate) tenant: TenantId,
    #[serde(default)]
    pub(crate) listen: Listen,
    #[serde(default)]
    pub(crate) identity: Identity,
    #[serde(default)]
    pub(crate) expiry: Expiry,
    #[serde(default)]
    pub(crate) policy: Policy,
    #[serde(default)]
    pub(crate) relay: Relay,
    #[serde(default)]
    pub(crate) network: Network,
    #[serde(default)]
    pub(crate) rates: Rates,
    #[serde(default)]
    pub(crate) telemetry: telemetry::Settings,
    pub(crate) trust: Trust,
}

/// Where the gateway listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// mTLS, for agents.
    pub(crate) device: SocketAddr,
    /// Plain HTTP for the status page; must be a loopback address.
    pub(crate) status: SocketAddr,
    /// Names in the server certificate.
    pub(crate) names: Vec<String>,
    /// Whether TLS 1.2 is spoken beside 1.3, for what inspects or balances connections before the gateway.
    pub(crate) tls12: bool,
    /// What agents are told to connect to; `https://localhost:PORT` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            device: SocketAddr::from(([127, 0, 0, 1], 8443)),
            status: SocketAddr::from(([127, 0, 0, 1], 8080)),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            tls12: false,
            public_url: None,
        }
    }
}

/// How long the gateway waits for its peers (H3).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// A TLS handshake must end, and the head of a request must be there, within this time, seconds.
    pub(crate) handshake_s: u64,
    /// A body may pause, and an answer may lie in the peer's way untaken, for this long, seconds.
    pub(crate) patience_s: u64,
    /// The slowest body that is waited for, bytes per second, once it has had `patience_s`.
    pub(crate) body_bytes_per_s_min: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            handshake_s: 10,
            patience_s: 20,
            body_bytes_per_s_min: 4_096,
        }
    }
}

/// How many requests are taken (H6). What is above is answered 429 with the time to wait.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rates {
    /// Stories of one device.
    pub(crate) story: Rate,
    /// Attachments that one device uploads.
    pub(crate) upload: Rate,
    /// Waits for news of one device.
    pub(crate) poll: Rate,
    /// Whatever else one device reads.
    pub(crate) read: Rate,
    /// Whatever else one device changes or reports.
    pub(crate) change: Rate,
    /// All devices together.
    pub(crate) tenant: Rate,
    /// Whoever shows no certificate, by address.
    pub(crate) stranger: Rate,
}

/// Requests per second, and how many may come at once after a silence (a token bucket).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) per_s: NonZeroU32,
    pub(crate) burst: NonZeroU32,
}

impl Rate {
    /// Zero counts as one.
    fn of(per_s: u32, burst: u32) -> Self {
        let or_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            per_s: or_one(per_s),
            burst: or_one(burst),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            story: Rate::of(20, 400),
            upload: Rate::of(20, 400),
            poll: Rate::of(50, 500),
            read: Rate::of(50, 2_000),
            change: Rate::of(20, 400),
            tenant: Rate::of(20_000, 40_000),
            stranger: Rate::of(20, 200),
        }
    }
}

/// Certificates of devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Identity {
    /// Life of a device's TLS certificate, seconds (E4: 24 h to 7 d; shorter ones are for trials).
    pub(crate) certificate_lifetime_s: u64,
    /// How long after its end a certificate still renews itself, and does nothing else, seconds (E5).
    pub(crate) renewal_window_s: u64,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            certificate_lifetime_s: 7 * 86_400,
            renewal_window_s: 30 * 86_400,
        }
    }
}

/// Deletion (K18).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expiry {
    /// Width of an expiry bucket, seconds.
    pub(crate) bucket_s: u64,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { bucket_s: 3_600 }
    }
}

/// Proofs that the policy is the latest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// Life of such a proof, seconds: an agent that gets no other is stale then (B4).
    pub(crate) timestamp_lifetime_s: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timestamp_lifetime_s: 86_400,
        }
    }
}

/// The writer of stories.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Relay {
    /// Stories of one group commit at most (H1). Fewer never make it faster; 1 shows what sharing commits is worth.
    pub(crate) batch_max: usize,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            batch_max: limits::RELAY_BATCH_MAX,
        }
    }
}

/// Public keys that are pinned, base64url.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trust {
    /// Ed25519 keys of policy authors (K6).
    pub(crate) author_keys: Vec<Bytes>,
    /// Ed25519 keys of policy approvers (K6).
    pub(crate) approver_keys: Vec<Bytes>,
    /// HPKE public key (X25519) of the compliance officer.
    pub(crate) compliance_key: Bytes,
}

impl Config {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read `{}`; make a data folder with `sealgate init`",
                path.display()
            )
        })?;
        let config: Self =
            toml::from_str(&text).with_context(|| format!("`{}` is not valid", path.display()))?;
        config
            .check()
            .with_context(|| format!("`{}` is not valid", path.display()))?;
        Ok(config)
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.listen.status.ip().is_loopback(),
            "`listen.status` must be a loopback address: the page has no login"
        );
        ensure!(
            !self.listen.names.is_empty(),
            "`listen.names` must hold at least one name for the server certificate"
        );
        let life = self.identity.certificate_lifetime_s;
        ensure!(
            (1..=7 * 86_400).contains(&life),
            "`identity.certificate_lifetime_s` must lie between 1 and 604800"
        );
        ensure!(
            self.identity.renewal_window_s <= 365 * 86_400,
            "`identity.renewal_window_s` must be at most 31536000"
        );
        let width = self.expiry.bucket_s;
        ensure!(
            (1..=limits::STORY_LIFETIME_S_MAX / 2).contains(&width),
            "`expiry.bucket_s` must lie between 1 and {}",
            limits::STORY_LIFETIME_S_MAX / 2
        );
        ensure!(
            (1..=7 * 86_400).contains(&self.policy.timestamp_lifetime_s),
            "`policy.timestamp_lifetime_s` must lie between 1 and 604800"
        );
        ensure!(
            (1..=limits::RELAY_BATCH_MAX).contains(&self.relay.batch_max),
            "`relay.batch_max` must lie between 1 and {}",
            limits::RELAY_BATCH_MAX
        );
        let network = &self.network;
        for (name, value) in [
            ("handshake_s", network.handshake_s),
            ("patience_s", network.patience_s),
        ] {
            ensure!(
                (1..=300).contains(&value),
                "`network.{name}` must lie between 1 and 300"
            );
        }
        ensure!(
            (1..=1 << 20).contains(&network.body_bytes_per_s_min),
            "`network.body_bytes_per_s_min` must lie between 1 and 1048576"
        );
        self.telemetry.check(&telemetry::Signal::ALL)?;
        self.trust.authors()?;
        self.trust.approvers()?;
        ensure!(
            self.trust.compliance_key.0.len() == 32,
            "`trust.compliance_key` must be 32 bytes"
        );
        Ok(())
    }
}

impl Trust {
    pub(crate) fn authors(&self) -> anyhow::Result<Vec<Ed25519PublicKey>> {
        public_keys("trust.author_keys", &self.author_keys)
    }

    pub(crate) fn approvers(&self) -> anyhow::Result<Vec<Ed25519PublicKey>> {
        public_keys("trust.approver_keys", &self.approver_keys)
    }
}

fn public_keys(key: &str, keys: &[Bytes]) -> anyhow::Result<Vec<Ed25519PublicKey>> {
    ensure!(!keys.is_empty(), "`{key}` must hold at least one key");
    keys.iter()
        .map(|bytes| {
            let bytes: &[u8; 32] = bytes
                .0
                .as_slice()
                .try_into()
                .with_context(|| format!("a key in `{key}` is not 32 bytes"))?;
            Ed25519PublicKey::from_bytes(bytes)
                .with_context(|| format!("a key in `{key}` is not an Ed25519 key"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Config {
        let key = Bytes(
            ed25519_dalek::SigningKey::from_bytes(&[1; 32])
                .verifying_key()
                .to_bytes()
                .to_vec(),
        );
        Config {
            tenant: TenantId::parse("acme").unwrap(),
            listen: Listen::default(),
            identity: Identity::default(),
            expiry: Expiry::default(),
            policy: Policy::default(),
            relay: Relay::default(),
            network: Network::default(),
            rates: Rates::default(),
            telemetry: telemetry::Settings::default(),
            trust: Trust {
                author_keys: vec![key.clone()],
                approver_keys: vec![key.clone()],
                compliance_key: key,
            },
        }
    }

    #[test]
    fn written_configuration_reads_back() {
        let text = toml::to_string(&sample()).unwrap();
        let read: Config = toml::from_str(&text).unwrap();
        assert!(read.check().is_ok());
    }

    #[test]
    fn unknown_key_is_refused() {
        let text = format!("colour = \"red\"\n{}", toml::to_string(&sample()).unwrap());
        assert!(
            toml::from_str::<Config>(&text)
                .unwrap_err()
                .to_string()
                .contains("colour")
        );
    }

    #[test]
    fn status_page_on_a_public_address_is_refused() {
        let mut config = sample();
        config.listen.status = SocketAddr::from(([0, 0, 0, 0], 8080));
        assert!(config.check().unwrap_err().to_string().contains("loopback"));
    }

    /// H1
    #[test]
    fn batch_that_no_commit_can_have_is_refused() {
        let check = |batch_max| {
            let mut config = sample();
            config.relay.batch_max = batch_max;
            config.check().map_err(|error| error.to_string())
        };
        assert!(check(1).is_ok());
        assert!(check(limits::RELAY_BATCH_MAX).is_ok());
        for batch_max in [0, limits::RELAY_BATCH_MAX + 1] {
            assert!(check(batch_max).unwrap_err().contains("`relay.batch_max`"));
        }
    }

    #[test]
    fn telemetry_that_cannot_be_meant_is_refused() {
        let mut config = sample();
        config.telemetry.sample_ratio = 2.0;
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("telemetry.sample_ratio"), "{refused}");
    }

    /// A file of before the section keeps the default.
    #[test]
    fn section_that_is_missing_has_its_defaults() {
        let mut table: toml::Table = toml::to_string(&sample()).unwrap().parse().unwrap();
        table.remove("relay").unwrap();
        let read: Config = table.try_into().unwrap();
        assert_eq!(read.relay.batch_max, limits::RELAY_BATCH_MAX);
    }
}
