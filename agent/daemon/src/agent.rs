//! The running agent: its state, shared by the sync loop, the compose way, the outbox and the
//! local API.
//!
//! Lock order: `sealing`, then `directory`. Both are held across the network only while a commit
//! is on its way, so that nothing of the group's log is processed between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use agent_seal::{CompliancePublicKey, FileDeviceKey, Member};
use anyhow::Context as _;
use arc_swap::ArcSwap;
use policies::terms::{AudienceId, Digest, GroupName, PersonId};
use telemetry::{Exports, Program};
use tokio::sync::{Notify, RwLock, watch};

use crate::clock::{Clock, Moment};
use crate::compose::foreign::Verdicts;
use crate::config::enrollment::{Enrollment, Pins};
use crate::config::paths::Paths;
use crate::config::settings::{SIGNALS, Settings};
use crate::emergency::Emergency;
use crate::local::peer::Connections;
use crate::local::program::Programs;
use crate::local::tamper::{self, Tamper};
use crate::local::wire::TamperCause;
use crate::sealing::Sealing;
use crate::uplink::behind::Behind;
use crate::uplink::client::Gateway;
use crate::uplink::directory::Follower;
use crate::uplink::identity;
use crate::uplink::policy::PolicySlot;
use crate::uplink::tls::{TlsIdentity, Validity};
use crate::vault::audience::{Audience, AudienceState};
use crate::vault::cipher::StateCipher;
use crate::vault::setting::{self, Setting};
use crate::vault::{Connection, Vault, audience, files, leaf_key, mls_record, notice};

/// Alarms that are kept for the status.
const ALARMS_MAX: usize = 100;

/// Who exports. The gateway goes on with the traces.
const PROGRAM: Program = Program {
    name: "sealgate-agent",
    version: env!("CARGO_PKG_VERSION"),
    signals: &SIGNALS,
    begins_traces: true,
};

/// Everything that the agent is.
pub(crate) struct Agent {
    pub paths: Paths,
    pub enrollment: Enrollment,
    pub pins: Pins,
    pub settings: Settings,
    pub exports: Exports,
    pub clock: Clock,
    pub vault: Vault,
    pub gateway: Gateway,
    pub signer: FileDeviceKey,
    /// SHA-256 of this executable (R11).
    pub build: Digest,
    pub sealing: Sealing,
    pub directory: RwLock<Follower>,
    pub policy: PolicySlot,
    /// The TLS certificate in use (E4).
    pub identity: ArcSwap<Validity>,
    /// The gateway said that the certificate has ended, whatever this device's clock says.
    pub told_expired: AtomicBool,
    /// One renewal at a time.
    pub renewing: tokio::sync::Mutex<()>,
    pub people: Mutex<KnownPeople>,
    /// The compliance officer's key: findings leave the device only under it.
    pub compliance: CompliancePublicKey,
    /// Ends the pause after a failure: something changed that lets the gateway be tried again.
    pub hurry: Notify,
    /// A draft was kept: if the gateway is within reach, it is tried again soon.
    pub kept: Notify,
    /// Audiences in which the gateway asked this device to renew its keys (M9).
    pub asked_renewals: Mutex<BTreeSet<AudienceId>>,
    /// Hurries the upload of events.
    pub events_wait: Notify,
    pub link: watch::Sender<Link>,
    /// Ends the agent, as a signal does.
    pub stop: Notify,
    /// Open connections of the local socket (A8).
    pub connections: Arc<Connections>,
    /// Program files of apps, by what they hold (A10).
    pub programs: Arc<Programs>,
    /// Counts blocks while nothing else can be written (S5).
    pub emergency: tokio::sync::Mutex<Emergency>,
    /// What the local socket refused (A8).
    pub tamper: Tamper,
    /// Verdicts that wait for what an app seals under them (A12).
    pub verdicts: Verdicts,
    /// Held while a story of an app is cleared and posted, so that a receipt counts once.
    pub sharing: tokio::sync::Mutex<()>,
    /// Held while a kept draft is sent, resumed, discarded or restored: one thing happens to it at a time.
    pub drafts: tokio::sync::Mutex<()>,
    /// Held from a story's sealing to its answer, one per audience.
    turns: Mutex<BTreeMap<AudienceId, Arc<tokio::sync::Mutex<()>>>>,
    /// Audiences that this device cannot read (M5).
    pub behind: Behind,
    /// What must be looked at, by cause.
    alarms: Mutex<BTreeMap<String, String>>,
    changes: watch::Sender<u64>,
}

/// How the agent stands with the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not tried yet.
    Starting,
    Online,
    Offline,
    /// The gateway shut this device out, since its identity was used in two places (E7).
    Quarantined,
    /// The gateway does not accept this device's identity any more (E8): the policy stays in force,
    /// nothing is sent or received until it is enrolled again.
    Invalid,
    /// For good: the policy stays in force, nothing is sent or received.
    Revoked,
}

/// Names of people and the owner's groups, as the gateway last told.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownPeople {
    pub names: BTreeMap<PersonId, String>,
    pub groups: Vec<GroupName>,
}

impl Agent {
    /// Opens the folder of an enrolled agent.
    ///
    /// # Errors
    /// It was not enrolled, a key file is missing or open to others, or the state is damaged.
    pub(crate) async fn open(paths: Paths) -> anyhow::Result<Self> {
        let enrollment = Enrollment::load(&paths)?;
        let pins = enrollment.pins()?;
        let settings = Settings::load(&paths.settings())?;
        let exports = Exports::start(&settings.telemetry, PROGRAM)?;
        let signer =
            FileDeviceKey::from_pkcs8_der(enrollment.device, &files::read_secret(&paths.device_key())?)?;
        let vault = Vault::open(&paths).await?;
        let emergency = Emergency::open(&paths.emergency(), &vault.cipher)?;
        let identity = identity::load(&paths)?;
        let validity = identity.validity()?;
        let gateway = gateway(&paths, &enrollment, &identity)?;
        let member = open_member(&paths, &vault, &enrollment, &pins, &signer).await?;
        let directory = Follower::open(&vault, &pins, &enrollment).await?;
        let compliance = CompliancePublicKey::from_bytes(&pins.compliance)?;
        let policy = PolicySlot::default();
        let people = Mutex::new(load_people(&vault).await?);
        let clock = Clock::default();
        let signed_s = {
            let mut connection = vault.connection().await?;
            setting::read_number(&mut connection, &vault.cipher, Setting::SignedTime).await?
        };
        clock.remember_signed(signed_s);
        clock.remember_signed(validity.starts_s);
        Ok(Self {
            paths,
            enrollment,
            pins,
            settings,
            exports,
            clock,
            vault,
            gateway,
            signer,
            build: own_digest()?,
            sealing: Sealing::new(member),
            directory: RwLock::new(directory),
            policy,
            identity: ArcSwap::from_pointee(validity),
            told_expired: AtomicBool::default(),
            renewing: tokio::sync::Mutex::default(),
            people,
            compliance,
            hurry: Notify::new(),
            kept: Notify::new(),
            asked_renewals: Mutex::default(),
            events_wait: Notify::new(),
            link: watch::Sender::new(Link::Starting),
            stop: Notify::new(),
            connections: Arc::default(),
            programs: Arc::default(),
            emergency: tokio::sync::Mutex::new(emergency),
            tamper: Tamper::default(),
            verdicts: Verdicts::default(),
            sharing: tokio::sync::Mutex::default(),
            drafts: tokio::sync::Mutex::default(),
            turns: Mutex::default(),
            behind: Behind::default(),
            alarms: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    /// Seconds since 1970.
    pub(crate) fn now_s(&self) -> u64 {
        self.clock.now_s()
    }

    /// The present as an event tells it (S3).
    ///
    /// # Errors
    /// The boot clock cannot be read.
    pub(crate) fn moment(&self) -> anyhow::Result<Moment> {
        self.clock.moment(self.enrollment.device)
    }

    pub(crate) fn link(&self) -> Link {
        *self.link.borrow()
    }

    /// Records how the agent stands with the gateway; a revocation is final.
    pub(crate) fn set_link(&self, link: Link) {
        let changed = self.link.send_if_modified(|current| {
            let changes = *current != link && *current != Link::Revoked;
            if changes {
                *current = link;
            }
            changes
        });
        if changed {
            tracing::info!(?link, "link to the gateway");
            self.changed();
        }
    }

    /// Tells whoever waits (`--wait`) that something changed.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Wakes at each change; subscribe before looking, so that none is missed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says once, loudly, that something must be looked at; the key makes a cause appear once (T3).
    pub(crate) fn alarm(&self, key: &str, message: impl Into<String>) {
        let message = message.into();
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.get(key) == Some(&message) {
            return;
        }
        // Its words may name an audience or a person: they are for the device's owner.
        tracing::error!(cause = key, "an alarm; `sealgate-agent status` shows it");
        // An alarm about one of many (`story/<audience>`) may have to give way; one of the agent itself never.
        let is_one_of_many = key.contains('/');
        if !is_one_of_many || alarms.contains_key(key) || alarms.len() < ALARMS_MAX {
            alarms.insert(key.to_owned(), message);
        }
        drop(alarms);
        self.changed();
    }

    /// Counts a refusal of the local socket; its cause is an alarm once (A8, T3).
    pub(crate) fn tampered(&self, cause: TamperCause) {
        if self.tamper.note(cause, self.now_s()) {
            self.alarm(&format!("tamper-{cause:?}"), tamper::sentence(cause));
        }
    }

    /// Takes an alarm back whose cause is gone.
    pub(crate) fn all_clear(&self, key: &str) {
        let removed = self
            .alarms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
        if removed.is_some() {
            self.changed();
        }
    }

    /// Something that its owner should know (K8), durable with the transaction of its cause.
    pub(crate) async fn notice(&self, connection: &mut Connection, message: &str) -> anyhow::Result<()> {
        notice::put(connection, &self.vault.cipher, self.now_s(), message).await
    }

    pub(crate) fn alarms(&self) -> Vec<String> {
        self.alarms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// The name of a person, or the beginning of the id of one whose name is not known here.
    pub(crate) fn name_of(&self, person: PersonId) -> String {
        let people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        people.names.get(&person).cloned().unwrap_or_else(|| {
            let id = person.to_string();
            format!("person {}", id.get(..8).unwrap_or(&id))
        })
    }

    /// The turn to seal and send in this audience; it ends with the guard.
    pub(crate) async fn turn(&self, audience: AudienceId) -> tokio::sync::OwnedMutexGuard<()> {
        self.turn_of(audience).lock_owned().await
    }

    /// The same, where nobody else has it.
    pub(crate) fn free_turn(&self, audience: AudienceId) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.turn_of(audience).try_lock_owned().ok()
    }

    fn turn_of(&self, audience: AudienceId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(audience).or_default())
    }

    /// The audience of a name or id.
    ///
    /// # Errors
    /// None, or several of this name.
    pub(crate) async fn audience(&self, name: &str) -> anyhow::Result<Audience> {
        let mut connection = self.vault.connection().await?;
        let all = audience::all(&mut connection, &self.vault.cipher).await?;
        let id: Option<AudienceId> = name.parse().ok();
        let mut found = all.into_iter().filter(|audience| {
            audience.state == AudienceState::Member
                && (audience.name.as_deref() == Some(name) || Some(audience.id) == id)
        });
        let first = found.next().with_context(|| {
            format!("you are in no audience `{name}`\n  help: sealgate-agent audience list, or audience create {name} --with NAME")
        })?;
        if found.next().is_some() {
            anyhow::bail!(
                "several audiences are called `{name}`\n  help: use the id that `sealgate-agent audience list` shows"
            );
        }
        Ok(first)
    }
}

/// The gateway of the enrollment.
///
/// # Errors
/// The pinned authority or the certificate cannot be used.
pub(crate) fn gateway(
    paths: &Paths,
    enrollment: &Enrollment,
    identity: &TlsIdentity,
) -> anyhow::Result<Gateway> {
    let ca_pem = String::from_utf8(files::read_secret(&paths.authority())?.to_vec())?;
    Gateway::new(&enrollment.gateway_url, &ca_pem, Some(identity))
}

/// Loads the MLS state, or makes it: at the first start, or after a loss, which the gateway then tells from the first
/// start by the state's mark (M7).
async fn open_member(
    paths: &Paths,
    vault: &Vault,
    enrollment: &Enrollment,
    pins: &Pins,
    signer: &FileDeviceKey,
) -> anyhow::Result<Member> {
    let mut transaction = vault.begin().await?;
    let records = mls_record::all(&mut transaction, &vault.cipher)
        .await
        .context("the sealing state is damaged\n  help: sealgate-agent rejoin")?;
    if !records.is_empty() {
        let member = Member::load(records)?;
        leaf_key::keep(paths, &vault.cipher, &member)?;
        return Ok(member);
    }
    let mut member = fresh_member(paths, &vault.cipher, enrollment, pins, signer)?;
    leaf_key::keep(paths, &vault.cipher, &member)?;
    mls_record::apply(&mut transaction, &vault.cipher, member.take_changes()).await?;
    transaction.commit().await?;
    Ok(member)
}

/// Fresh MLS state, with the leaf key that was kept, if it can be read.
pub(crate) fn fresh_member(
    paths: &Paths,
    cipher: &StateCipher,
    enrollment: &Enrollment,
    pins: &Pins,
    signer: &FileDeviceKey,
) -> anyhow::Result<Member> {
    let (tenant, gateway) = (enrollment.tenant.clone(), pins.external_sender.clone());
    let kept = leaf_key::read(paths, cipher).unwrap_or_else(|error| {
        tracing::warn!(error = %format!("{error:#}"), "the leaf key is made anew");
        None
    });
    Ok(match kept {
        Some(key) => Member::create_with_leaf_key(tenant, gateway, signer, &key)?,
        None => Member::create(tenant, gateway, signer, &mut rand::rng())?,
    })
}

async fn load_people(vault: &Vault) -> anyhow::Result<KnownPeople> {
    let mut connection = vault.connection().await?;
    let names = setting::read(&mut connection, &vault.cipher, Setting::People).await?;
    let groups = setting::read(&mut connection, &vault.cipher, Setting::Groups).await?;
    Ok(KnownPeople {
        names: names
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()?
            .unwrap_or_default(),
        groups: groups
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()?
            .unwrap_or_default(),
    })
}

fn own_digest() -> anyhow::Result<Digest> {
    let file = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(Digest::of(
        &std::fs::read(file).context("cannot read this program's own file")?,
    ))
}
