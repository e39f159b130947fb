//! The TLS identity over time (E4, E5, E8).
//!
//! ```text
//! two thirds of its life over ─► key and request on disk ─► renewed over mTLS ─► certificate on disk
//!                                       ▲ the same again after a crash               │
//! old one replaced on disk and in use ◄── first success with the new one ◄───────────╯
//! ```
//! What was begun lies in a file and, sealed, in the store: were it lost after the gateway answered, another key would be
//! asked for from a certificate that was renewed, as only a copy of the device does (E7).
//! One that has ended renews itself in the same way, and does nothing else, as long as the gateway's window lasts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_seal::DeviceSigner as _;
use anyhow::Context as _;
use gateway_api::error::ErrorCode;
use gateway_api::v1::renew::{RenewRequest, proof_message};
use rand::RngExt as _;
use zeroize::Zeroizing;

use super::client::CallError;
use super::origin;
use super::tls::{self, TlsIdentity, Validity};
use crate::agent::{Agent, Link};
use crate::config::paths::Paths;
use crate::limits;
use crate::vault::files;
use crate::vault::setting::{self, Setting};

const ALARM: &str = "certificate";
/// What the gateway says of an identity that it does not accept, and what its owner is told.
const SHUT_OUT: [(ErrorCode, Link, &str); 3] = [
    (
        ErrorCode::DeviceRevoked,
        Link::Revoked,
        "this device has been revoked: nothing is sent or received. Ask the administrator for a new token, then enrol again in a new folder",
    ),
    (
        ErrorCode::IdentityInvalid,
        Link::Invalid,
        "the gateway does not accept this device's identity any more: nothing is sent or received, the policy stays in force. Ask the administrator for a token, then: sealgate-agent enroll --again --token-file FILE",
    ),
    (
        ErrorCode::DeviceQuarantined,
        Link::Quarantined,
        "this device is quarantined, since its identity was used in two places: nothing is sent or received, the policy stays in force. Ask the administrator to look at it: sealgate device list",
    ),
];
/// Longest sleep: a laptop's own sleep is not in it.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The identity of an enrolled folder. Folders of before kept key and certificate apart.
///
/// # Errors
/// A file is missing, open to others, or no PEM.
pub(crate) fn load(paths: &Paths) -> anyhow::Result<TlsIdentity> {
    let identity = TlsIdentity::parse(files::read_secret(&paths.tls_identity())?)?;
    let apart = paths.tls_key_apart();
    if !apart.exists() {
        return Ok(identity);
    }
    let mut pem = Zeroizing::new(identity.pem().to_vec());
    pem.extend_from_slice(&files::read_secret(&apart)?);
    let identity = TlsIdentity::parse(pem)?;
    files::write_secret(&paths.tls_identity(), identity.pem())?;
    files::destroy(&apart)?;
    Ok(identity)
}

/// Renews in time, for as long as the agent runs.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let mut failures: u32 = 0;
    loop {
        let pause = match renew_if_due(&agent).await {
            Ok(()) => {
                failures = 0;
                let identity = agent.identity.load();
                let left_s = identity.due_s().saturating_sub(agent.now_s());
                Duration::from_secs(left_s.max(identity.pause_min_s())).min(PAUSE_MAX)
            }
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "the certificate was not renewed");
                failures = failures.saturating_add(1);
                let pause = limits::BACKOFF_FIRST
                    .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
                    .min(PAUSE_MAX);
                rand::rng().random_range(pause / 2..=pause)
            }
        };
        warn_if_overdue(&agent);
        tokio::time::sleep(pause).await;
    }
}

/// Renews the certificate if it is time, or finishes what was begun.
///
/// # Errors
/// The gateway's, or the disk's; what was begun is gone on with the next time.
pub(crate) async fn renew_if_due(agent: &Agent) -> anyhow::Result<()> {
    let _one_at_a_time = agent.renewing.lock().await;
    if matches!(agent.link(), Link::Revoked | Link::Invalid) {
        return Ok(());
    }
    // Once more for one that was answered before a long sleep, and has ended since.
    for _ in 0..2 {
        if is_due(agent) {
            renew(agent).await?;
        }
    }
    Ok(())
}

fn is_due(agent: &Agent) -> bool {
    agent.paths.tls_next().exists()
        || agent.told_expired.load(Ordering::Relaxed)
        || agent.now_s() >= agent.identity.load().due_s()
}

async fn renew(agent: &Agent) -> anyhow::Result<()> {
    let begun = begun(agent).await?;
    let next = match certified(agent, &begun) {
        Some(next) => next,
        None => ask(agent, &begun).await?,
    };
    let trial = agent.gateway.with_identity(&next)?;
    match trial.checkpoint().await {
        Ok(_) => {}
        // It came while the machine slept: the one after it is asked for with this one.
        Err(error) if error.code() == Some(ErrorCode::IdentityExpired) => {}
        Err(error) => return Err(error.into()),
    }
    let file = agent.paths.tls_next();
    files::write_secret(&file, next.pem())?;
    files::replace(&file, &agent.paths.tls_identity())?;
    take(agent, &next)?;
    seal(agent, &[]).await?;
    tracing::info!(ends_s = agent.identity.load().ends_s, "certificate renewed");
    Ok(())
}

/// The copies of what was begun, as far as they can be read, the one that cannot be damaged unnoticed first.
async fn begun(agent: &Agent) -> anyhow::Result<Vec<Zeroizing<Vec<u8>>>> {
    let sealed = sealed(agent).await.unwrap_or_else(|error| {
        tracing::warn!(error = %format!("{error:#}"), "the sealed copy of a renewal cannot be read");
        None
    });
    let file = agent.paths.tls_next();
    let written = file.exists().then(|| files::read_secret(&file)).transpose()?;
    Ok(sealed.into_iter().chain(written).collect())
}

/// A certificate that was answered and not yet tried.
fn certified(agent: &Agent, begun: &[Zeroizing<Vec<u8>>]) -> Option<TlsIdentity> {
    let identities = begun
        .iter()
        .filter_map(|pem| TlsIdentity::parse(pem.clone()).ok());
    let mut usable = identities.filter(|identity| agent.gateway.with_identity(identity).is_ok());
    usable.next()
}

/// Asks with the request that was begun with, or with a fresh one; both copies are there before it is sent.
async fn ask(agent: &Agent, begun: &[Zeroizing<Vec<u8>>]) -> anyhow::Result<TlsIdentity> {
    let key_and_request = match begun.iter().find_map(|pem| tls::key_and_request(pem).ok()) {
        Some(sound) => sound,
        None => {
            if !begun.is_empty() {
                tracing::warn!("the renewal that was begun is damaged: another key is made");
            }
            tls::make_request()?
        }
    };
    keep_begun(agent, &key_and_request).await?;
    let csr_pem = tls::request_pem(&key_and_request)?;
    let device = agent.enrollment.device;
    let message = proof_message(&agent.enrollment.tenant, device, &csr_pem);
    let request = RenewRequest {
        csr_pem,
        proof: agent.signer.sign(&message)?.to_vec().into(),
        origin: origin::of(device),
    };
    let answer = match agent.gateway.renew(&request).await {
        Err(error) if is_of_another_key(&error) => {
            seal(agent, &[]).await?;
            files::destroy(&agent.paths.tls_next())?;
            return Err(error).context("another TLS key is made");
        }
        answer => answer?,
    };
    let next = TlsIdentity::assemble(&key_and_request, &answer.certificate_pem)?;
    // Before it is written: a certificate of another key would shut the agent out.
    agent.gateway.with_identity(&next)?;
    keep_begun(agent, next.pem()).await?;
    Ok(next)
}

/// Whether a request will never be answered: its key was certified before, or it is damaged in a way that only the gateway
/// notices.
fn is_of_another_key(error: &CallError) -> bool {
    matches!(
        error.code(),
        Some(ErrorCode::RenewalRefused | ErrorCode::ProofInvalid)
    )
}

/// Both copies.
async fn keep_begun(agent: &Agent, pem: &[u8]) -> anyhow::Result<()> {
    let sealed = Zeroizing::new([under(agent).as_bytes(), pem].concat());
    seal(agent, &sealed).await?;
    files::write_secret(&agent.paths.tls_next(), pem)
}

async fn seal(agent: &Agent, begun: &[u8]) -> anyhow::Result<()> {
    let (cipher, mut connection) = (&agent.vault.cipher, agent.vault.connection().await?);
    setting::write(&mut connection, cipher, Setting::RenewalBegun, begun).await
}

async fn sealed(agent: &Agent) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let (cipher, mut connection) = (&agent.vault.cipher, agent.vault.connection().await?);
    let kept = setting::read(&mut connection, cipher, Setting::RenewalBegun).await?;
    let kept = kept.unwrap_or_default();
    let pem = kept.strip_prefix(under(agent).as_bytes());
    Ok(pem.map(|pem| Zeroizing::new(pem.to_vec())))
}

/// The sealed copy begins with the serial number of the certificate that is renewed: under another one it is over.
fn under(agent: &Agent) -> String {
    format!("{}\n", agent.identity.load().serial)
}

/// Uses an identity from now on.
fn take(agent: &Agent, identity: &TlsIdentity) -> anyhow::Result<()> {
    let validity: Validity = identity.validity()?;
    agent.gateway.use_identity(identity)?;
    agent.told_expired.store(false, Ordering::Relaxed);
    // The pinned authority signed it (B5).
    agent.clock.saw_signed(validity.starts_s);
    agent.identity.store(Arc::new(validity));
    agent.all_clear(ALARM);
    agent.changed();
    Ok(())
}

/// Takes the identity of an enrollment that was made beside the running agent (E8).
///
/// # Errors
/// The folder's identity cannot be read.
pub(crate) async fn reload(agent: &Agent) -> anyhow::Result<()> {
    let _one_at_a_time = agent.renewing.lock().await;
    take(agent, &load(&agent.paths)?)?;
    agent.all_clear("identity");
    agent.set_link(Link::Starting);
    agent.hurry.notify_one();
    Ok(())
}

/// What an answer says about this device's identity, told to its owner; none where it says nothing.
pub(crate) fn judge(agent: &Agent, error: &CallError) -> Option<Link> {
    let code = error.code()?;
    if code == ErrorCode::IdentityExpired {
        agent.told_expired.store(true, Ordering::Relaxed);
        return Some(Link::Offline);
    }
    let (_, link, message) = SHUT_OUT.into_iter().find(|(found, ..)| *found == code)?;
    agent.alarm("identity", message);
    Some(link)
}

/// A certificate that was not renewed in time must be told from a gateway that cannot be reached.
fn warn_if_overdue(agent: &Agent) {
    let identity = agent.identity.load();
    let now_s = agent.now_s();
    if now_s < identity.overdue_s() {
        return;
    }
    let state = match identity.ends_s.saturating_sub(now_s) {
        0 => "has ended".to_owned(),
        left_s => format!("ends in {} minutes", left_s.div_ceil(60)),
    };
    agent.alarm(
        ALARM,
        format!("this device's certificate {state} and could not be renewed: connect it to the gateway. If that does not help, ask the administrator for a token, then: sealgate-agent enroll --again --token-file FILE"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of before, with its key in a file of its own, is read and brought into one file.
    #[test]
    fn key_that_lies_apart_is_taken_in() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .unwrap()
            .self_signed(&key)
            .unwrap();
        files::write_secret(&paths.tls_identity(), certificate.pem().as_bytes()).unwrap();
        files::write_secret(&paths.tls_key_apart(), key.serialize_pem().as_bytes()).unwrap();
        let first = load(&paths).unwrap();
        assert!(!paths.tls_key_apart().exists());
        let second = load(&paths).unwrap();
        for identity in [first, second] {
            tls::client_config("", Some(&identity)).unwrap();
        }
    }
}
