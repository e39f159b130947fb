//! What an administrator or auditor asks of the gateway: one enum of commands, one place that carries them out. While
//! `serve` runs they come through its Unix socket; otherwise the command line takes the folder's lock and does it itself
//! (K34). Never two writers.

mod backup;
pub(crate) mod client;
mod devices;
mod log;
mod people;
mod policy;
pub(crate) mod socket;
mod stories;
pub(crate) mod tokens;

use std::path::PathBuf;

use gateway_api::bytes::Bytes;
use policies::terms::{Cti, DeviceId, GroupName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use log::LogName;

use crate::backup::make::Places;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::domain::search::Filter;
use crate::status;

/// Everything that can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    PersonAdd {
        name: String,
        address: Option<String>,
        groups: Vec<GroupName>,
    },
    PersonList,
    PersonRevoke {
        name: String,
    },
    PersonErase {
        name: String,
    },
    GroupAdd {
        name: GroupName,
        people: Vec<String>,
    },
    GroupList,
    GroupRevoke {
        name: GroupName,
    },
    DeviceList,
    DeviceRevoke {
        device: DeviceId,
    },
    DeviceRelease {
        device: DeviceId,
    },
    DeviceWaiting,
    DeviceDecide {
        fingerprint: String,
        approve: bool,
    },
    TokenAdd(tokens::NewToken),
    TokenList,
    TokenRevoke {
        id: String,
    },
    PolicyPublish {
        bundle: Bytes,
    },
    PolicyStatus,
    LogSearch {
        filter: Filter,
        /// Name or pseudonym.
        person: Option<String>,
        page: Option<String>,
        limit: usize,
    },
    LogShow {
        index: u64,
    },
    LogExport {
        filter: Filter,
        /// Name or pseudonym.
        person: Option<String>,
        out: PathBuf,
    },
    LogPin {
        log: LogName,
    },
    LogOpen {
        index: u64,
    },
    LogPublish,
    StoryShow {
        cti: Cti,
    },
    StoryWaitPurged {
        cti: Cti,
        timeout_s: u64,
    },
    ClockConfirm,
    Health,
    Backup {
        out: PathBuf,
        key: PathBuf,
        subject_keys: Option<PathBuf>,
    },
    RestoreConfirm,
    DirectoryRecover {
        file: PathBuf,
    },
}

/// The answer, for programs and for people.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Reply {
    fn new(json: Value, text: impl Into<String>) -> Self {
        Self {
            json,
            text: text.into(),
        }
    }
}

/// Carries a command out.
pub(crate) async fn run(gateway: &Gateway, command: Command) -> Result<Reply, Fault> {
    match command {
        Command::PersonAdd {
            name,
            address,
            groups,
        } => people::add(gateway, &name, address.as_deref(), &groups).await,
        Command::PersonList => people::list(gateway).await,
        Command::PersonRevoke { name } => people::revoke(gateway, &name).await,
        Command::PersonErase { name } => people::erase(gateway, &name).await,
        Command::GroupAdd { name, people } => people::add_group(gateway, &name, &people).await,
        Command::GroupList => people::list_groups(gateway).await,
        Command::GroupRevoke { name } => people::revoke_group(gateway, &name).await,
        Command::DeviceList => devices::list(gateway).await,
        Command::DeviceRevoke { device } => devices::revoke(gateway, device).await,
        Command::DeviceRelease { device } => devices::release(gateway, device).await,
        Command::DeviceWaiting => devices::waiting(gateway).await,
        Command::DeviceDecide { fingerprint, approve } => {
            devices::decide(gateway, &fingerprint, approve).await
        }
        Command::TokenAdd(new) => tokens::add(gateway, new).await,
        Command::TokenList => tokens::list(gateway).await,
        Command::TokenRevoke { id } => tokens::revoke(gateway, &id).await,
        Command::PolicyPublish { bundle } => policy::publish(gateway, bundle.0).await,
        Command::PolicyStatus => policy::status(gateway).await,
        Command::LogSearch {
            filter,
            person,
            page,
            limit,
        } => log::search::search(gateway, filter, person.as_deref(), page.as_deref(), limit).await,
        Command::LogShow { index } => log::show(gateway, index).await,
        Command::LogExport { filter, person, out } => {
            log::export::export(gateway, filter, person.as_deref(), out).await
        }
        Command::LogPin { log } => log::pin(gateway, log).await,
        Command::LogOpen { index } => log::open(gateway, index).await,
        Command::LogPublish => log::publish(gateway).await,
        Command::StoryShow { cti } => stories::show(gateway, cti).await,
        Command::StoryWaitPurged { cti, timeout_s } => stories::wait_purged(gateway, cti, timeout_s).await,
        Command::ClockConfirm => confirm_clock(gateway).await,
        Command::Health => Ok(health(gateway).await),
        Command::Backup {
            out,
            key,
            subject_keys,
        } => {
            let places = Places {
                out,
                key,
                subject_keys,
            };
            backup::make(gateway, places).await
        }
        Command::RestoreConfirm => backup::confirm(gateway).await,
        Command::DirectoryRecover { file } => backup::recover(gateway, &file).await,
    }
}

/// The operator says that the wall clock is right (K19).
async fn confirm_clock(gateway: &Gateway) -> Result<Reply, Fault> {
    let reading = gateway.clock.reading()?;
    gateway
        .record(
            Kind::Clock,
            None,
            serde_json::json!({ "clock": "confirmed by the operator" }),
        )
        .await?;
    gateway.store.set_last_reading(&reading).await?;
    gateway.clock.set_unsettled(false);
    Ok(Reply::new(
        serde_json::json!({ "now_s": reading.wall_s }),
        "the clock is settled; stories are accepted again",
    ))
}

/// What the status page says.
async fn health(gateway: &Gateway) -> Reply {
    match status::trouble(gateway).await {
        Some(trouble) => Reply::new(
            serde_json::json!({ "what": trouble.what, "mend": trouble.mend }),
            format!("{}\n  {}", trouble.what, trouble.mend),
        ),
        None => Reply::new(serde_json::json!({}), "everything works"),
    }
}

/// Lines of a listing, or what to say when it is empty.
fn lines(lines: Vec<String>, none: &str) -> String {
    if lines.is_empty() {
        none.to_owned()
    } else {
        lines.join("\n")
    }
}
