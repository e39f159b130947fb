//! The command line.

mod backup;
mod doctor;
pub(crate) mod init;
mod keys;
mod log;
mod output;
mod policy;
mod serve;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use policies::terms::{AudienceClass, Cti, DeviceId, GroupName};

use crate::admin::tokens::NewToken;
use crate::admin::{Command, Reply, client};
use crate::config::layout::Layout;

/// Sealgate's gateway: relays sealed stories, authorises them by rules, and records what it did.
#[derive(Debug, Parser)]
#[command(name = "sealgate", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Make a data folder: certificate authority, keys, configuration
    Init(init::Init),
    /// Serve agents, administrators and the status page
    Serve(serve::Serve),
    /// Run a scripted day on this machine, with real content through the real way
    Demo(crate::demo::DemoOptions),
    /// People of the directory
    #[command(subcommand)]
    Person(Person),
    /// Groups of the directory
    #[command(subcommand)]
    Group(Group),
    /// Enrolled devices
    #[command(subcommand)]
    Device(Device),
    /// Enrollment tokens
    #[command(subcommand)]
    Token(Token),
    /// The gateway's keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// The policy folder and its bundles
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// The ledger
    #[command(subcommand)]
    Log(log::LogCommand),
    /// What the gateway holds of a story
    #[command(subcommand)]
    Story(Story),
    /// The gateway's clock
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Verify a log or an export, offline, whole
    Verify(verify::Verify),
    /// Back up the data folder, while the gateway serves or not; nothing of a story is in it
    Backup(backup::Backup),
    /// Make a data folder from a backup, and take it into use
    Restore(backup::Restore),
    /// What is wrong with the data folder, and how to mend it
    Doctor {
        #[command(flatten)]
        common: Common,
    },
}

/// Where, and how to answer.
#[derive(Clone, Debug, Args)]
struct Common {
    /// The gateway's data folder
    #[arg(long)]
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Person {
    /// Add a person
    Add {
        name: String,
        #[arg(long)]
        address: Option<String>,
        #[arg(long = "group", value_parser = group_name)]
        groups: Vec<GroupName>,
        #[command(flatten)]
        common: Common,
    },
    /// List everybody
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a person with all devices
    Revoke {
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Make unreadable, for good, what the ledger holds about a person; the ledger still verifies
    Erase {
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
enum Group {
    /// Make a group, or put more people into one
    Add {
        #[arg(value_parser = group_name)]
        name: GroupName,
        #[arg(long = "person")]
        people: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// List the groups
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Remove a group
    Revoke {
        #[arg(value_parser = group_name)]
        name: GroupName,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
enum Device {
    /// List the devices
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a device: refused at once, removed from its audiences
    Revoke {
        device: DeviceId,
        #[command(flatten)]
        common: Common,
    },
    /// Let a device in again whose identity was used in two places
    Release {
        device: DeviceId,
        #[command(flatten)]
        common: Common,
    },
    /// List the devices that wait for approval, with the fingerprints of their keys
    Waiting {
        #[command(flatten)]
        common: Common,
    },
    /// Approve the device that shows this fingerprint
    Approve {
        fingerprint: String,
        #[command(flatten)]
        common: Common,
    },
    /// Deny the device that shows this fingerprint
    Deny {
        fingerprint: String,
        #[command(flatten)]
        common: Common,
    },
}

/// Class of a new device.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Class {
    Internal,
    Guest,
}

/// Flags of `token add`.
#[derive(Debug, Args)]
struct AddToken {
    #[arg(long)]
    person: String,
    #[arg(long, value_enum, default_value_t = Class::Internal)]
    class: Class,
    /// Where the enrollment file goes; it must not exist
    #[arg(long)]
    out: PathBuf,
    /// Hours that the token lives, at most 72
    #[arg(long, default_value_t = 72)]
    hours: u64,
    /// Devices that the token enrols
    #[arg(long, default_value_t = 1)]
    uses: u64,
    /// The one host name that it counts for: the device says it, so this guards against mistakes, not against thieves
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The one machine's serial number that it counts for; as with --host
    #[arg(long, value_name = "NUMBER")]
    serial: Option<String>,
    /// Each device waits until its fingerprint is approved: sealgate device approve
    #[arg(long)]
    approval: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Make a token and write the enrollment file
    Add(AddToken),
    /// List the tokens, without their secrets
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Revoke an unused token
    Revoke {
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
enum Story {
    /// Show what is held
    Show {
        cti: Cti,
        #[command(flatten)]
        common: Common,
    },
    /// Wait until nothing of it is left
    WaitPurged {
        cti: Cti,
        /// At most this long: 5s, 30m, 24h
        #[arg(long, default_value = "60s", value_parser = duration_s)]
        timeout: u64,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
enum ClockCommand {
    /// Say that the wall clock is right after it jumped
    Confirm {
        #[command(flatten)]
        common: Common,
    },
}

/// Carries out what was asked.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Subcommands::Init(init) => init::run(&init),
        Subcommands::Serve(serve) => serve::run(serve).await,
        Subcommands::Demo(options) => crate::demo::run(options).await,
        Subcommands::Keys(keys) => keys::run(keys),
        Subcommands::Policy(policy) => policy::run(policy).await,
        Subcommands::Log(log) => log::run(log).await,
        Subcommands::Verify(verify) => verify::run(&verify),
        Subcommands::Backup(backup) => backup::backup(backup).await,
        Subcommands::Restore(restore) => backup::restore(restore).await,
        Subcommands::Doctor { common } => doctor::run(&common).await,
        Subcommands::Token(Token::Add(add)) => add_token(add).await,
        Subcommands::Person(person) => relay(person.into()).await,
        Subcommands::Group(group) => relay(group.into()).await,
        Subcommands::Device(device) => relay(device.into()).await,
        Subcommands::Token(Token::List { common }) => relay((common, Command::TokenList)).await,
        Subcommands::Token(Token::Revoke { id, common }) => {
            relay((common, Command::TokenRevoke { id })).await
        }
        Subcommands::Story(story) => relay(story.into()).await,
        Subcommands::Clock(ClockCommand::Confirm { common }) => relay((common, Command::ClockConfirm)).await,
    }
}

/// Asks the gateway and prints its answer.
async fn relay((common, command): (Common, Command)) -> anyhow::Result<ExitCode> {
    let reply = ask(&common, command).await?;
    output::reply(&common, &reply)?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(common: &Common, command: Command) -> anyhow::Result<Reply> {
    client::ask(&Layout::new(&common.dir), command).await
}

async fn add_token(add: AddToken) -> anyhow::Result<ExitCode> {
    let AddToken { out, common, .. } = add;
    let class = match add.class {
        Class::Internal => AudienceClass::Internal,
        Class::Guest => AudienceClass::Guest,
    };
    anyhow::ensure!(!out.exists(), "`{}` exists; choose another file", out.display());
    let new = NewToken {
        person: add.person,
        class,
        lifetime_s: add.hours.saturating_mul(3_600),
        uses: add.uses,
        host: add.host,
        serial: add.serial,
        approval: add.approval,
    };
    let reply = ask(&common, Command::TokenAdd(new)).await?;
    let field = |name: &str| reply.json.get(name).cloned().unwrap_or_default();
    let file = field("file");
    let file = file
        .as_str()
        .context("the gateway's answer holds no enrollment file")?;
    crate::config::files::write_new(&out, file.as_bytes())?;
    let json = serde_json::json!({ "out": out, "token": field("token"), "expires_s": field("expires_s") });
    let text = format!(
        "wrote {}\nhand it over, then: sealgate-agent enroll --token-file {}",
        out.display(),
        out.display()
    );
    output::reply(&common, &Reply { json, text })?;
    Ok(ExitCode::SUCCESS)
}

impl From<Person> for (Common, Command) {
    fn from(person: Person) -> Self {
        match person {
            Person::Add {
                name,
                address,
                groups,
                common,
            } => (
                common,
                Command::PersonAdd {
                    name,
                    address,
                    groups,
                },
            ),
            Person::List { common } => (common, Command::PersonList),
            Person::Revoke { name, common } => (common, Command::PersonRevoke { name }),
            Person::Erase { name, common } => (common, Command::PersonErase { name }),
        }
    }
}

impl From<Group> for (Common, Command) {
    fn from(group: Group) -> Self {
        match group {
            Group::Add { name, people, common } => (common, Command::GroupAdd { name, people }),
            Group::List { common } => (common, Command::GroupList),
            Group::Revoke { name, common } => (common, Command::GroupRevoke { name }),
        }
    }
}

impl From<Device> for (Common, Command) {
    fn from(device: Device) -> Self {
        match device {
            Device::List { common } => (common, Command::DeviceList),
            Device::Revoke { device, common } => (common, Command::DeviceRevoke { device }),
            Device::Release { device, common } => (common, Command::DeviceRelease { device }),
            Device::Waiting { common } => (common, Command::DeviceWaiting),
            Device::Approve { fingerprint, common } => decide(fingerprint, true, common),
            Device::Deny { fingerprint, common } => decide(fingerprint, false, common),
        }
    }
}

fn decide(fingerprint: String, approve: bool, common: Common) -> (Common, Command) {
    let command = Command::DeviceDecide { fingerprint, approve };
    (common, command)
}

impl From<Story> for (Common, Command) {
    fn from(story: Story) -> Self {
        match story {
            Story::Show { cti, common } => (common, Command::StoryShow { cti }),
            Story::WaitPurged { cti, timeout, common } => (
                common,
                Command::StoryWaitPurged {
                    cti,
                    timeout_s: timeout,
                },
            ),
        }
    }
}

fn group_name(text: &str) -> Result<GroupName, String> {
    GroupName::parse(text).map_err(|error| error.to_string())
}

/// `5s`, `30m`, `24h`, or seconds.
fn duration_s(text: &str) -> Result<u64, String> {
    let (number, unit_s) = match text.char_indices().last() {
        Some((end, 's')) => (text.get(..end), 1),
        Some((end, 'm')) => (text.get(..end), 60),
        Some((end, 'h')) => (text.get(..end), 3_600),
        Some(_) | None => (Some(text), 1),
    };
    let number: Option<u64> = number.and_then(|number| number.parse().ok());
    number
        .and_then(|number| number.checked_mul(unit_s))
        .ok_or_else(|| format!("`{text}` is not like 5s, 30m or 24h"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(
            ["5s", "30m", "24h", "7"].map(|text| duration_s(text).unwrap()),
            [5, 1_800, 86_400, 7]
        );
        assert!(duration_s("soon").is_err());
    }
}
