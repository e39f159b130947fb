//! What commands and agent say to each other on the local socket, and what `--json` prints.
//!
//! These types stay on the device. `StoryView` carries an opened story to its reader: the one
//! place where content leaves the agent's process, over a socket that only its owner opens.

use std::collections::BTreeSet;
use std::path::PathBuf;

use gateway_api::bytes::Bytes;
use policies::decide::VerdictCode;
use policies::terms::{
    Action, App, AudienceClass, AudienceId, Confidence, Cti, DetectorId, DeviceId, Digest, Label, PersonId,
    RuleId, Tier,
};
use serde::{Deserialize, Serialize};

use super::receipt::SignedReceipt;
use crate::exit::Exit;
use crate::uplink::policy::freshness::Freshness;

pub(crate) const SHARE: &str = "/v1/share";
pub(crate) const CHECK: &str = "/v1/check";
pub(crate) const FEED: &str = "/v1/feed";
pub(crate) const FEED_FILE: &str = "/v1/feed/file";
pub(crate) const STATUS: &str = "/v1/status";
pub(crate) const AUDIENCES: &str = "/v1/audiences";
pub(crate) const REVOKE: &str = "/v1/revoke";
pub(crate) const ACTIVITY: &str = "/v1/activity";
pub(crate) const REJOIN: &str = "/v1/rejoin";
pub(crate) const DIRECTORY: &str = "/v1/directory";
pub(crate) const STOP: &str = "/v1/stop";
pub(crate) const RULES: &str = "/v1/rules";
pub(crate) const NOTICES: &str = "/v1/notices";
pub(crate) const OUTBOX: &str = "/v1/outbox";
pub(crate) const PENDING: &str = "/v1/pending";
pub(crate) const APPS: &str = "/v1/apps";
/// What a registered app may use; everything else is the owner's.
pub(crate) const APP_PREFIX: &str = "/v1/app/";
/// Uses a receipt up.
pub(crate) const APP_CONFIRM: &str = "/v1/app/confirm";
pub(crate) const FALSE_POSITIVE: &str = "/v1/false-positive";
/// Takes the identity of an enrollment that was made beside the running agent.
pub(crate) const IDENTITY: &str = "/v1/identity";
pub(crate) const RESUME: &str = "/v1/pending/resume";

/// Why the agent did not do it, and with which code the command ends.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", .help.as_deref().map(|help| format!("\n  help: {help}")).unwrap_or_default())]
pub(crate) struct LocalProblem {
    pub message: String,
    pub help: Option<String>,
    pub exit: Exit,
}

impl LocalProblem {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, help: &str) -> Self {
        Self {
            message: message.into(),
            help: Some(help.to_owned()),
            exit,
        }
    }
}

/// Header of a frame that carries a draft; the parts are the text and then the files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShareHeader {
    /// Name or id of the audience; `check` may go without.
    pub audience: Option<String>,
    pub labels: Vec<Label>,
    pub reason: Option<String>,
    pub accept_warning: bool,
    /// Lifetime in seconds; none means a day.
    pub ttl_s: Option<u32>,
    /// Names of the files, in order.
    pub names: Vec<String>,
    /// For which questions `reason` and `accept_warning` were given; none before the first decision.
    #[serde(default)]
    pub consent: Option<Consent>,
}

/// Rules that asked for a confirmation or a reason when the author answered. The answer counts for
/// these and no others: another policy that asks more asks again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consent {
    pub rules: BTreeSet<(RuleId, Action)>,
}

impl Consent {
    /// Whether every rule that asks now was answered.
    pub(crate) fn covers(&self, asked: &Self) -> bool {
        asked.rules.is_subset(&self.rules)
    }
}

/// How a draft ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Inspected only: it could be shared.
    Clear,
    Shared,
    Blocked,
    NeedsReason,
    NeedsAcceptance,
    /// The gateway said no.
    Refused,
    /// Waits for the gateway.
    Kept,
}

impl Outcome {
    pub(crate) const fn exit(self) -> Exit {
        match self {
            Self::Clear | Self::Shared => Exit::Done,
            Self::Blocked => Exit::Blocked,
            Self::NeedsReason => Exit::NeedsReason,
            Self::NeedsAcceptance => Exit::NeedsAcceptance,
            Self::Refused => Exit::Refused,
            Self::Kept => Exit::Kept,
        }
    }
}

/// The whole answer to `share` and `check`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShareAnswer {
    pub outcome: Outcome,
    pub action: Action,
    pub story: Option<Cti>,
    pub rules: Vec<FiredRule>,
    pub findings: Vec<FindingView>,
    pub unscannable: Vec<UnscannableView>,
    /// What was changed before sealing, in words.
    pub redactions: Vec<String>,
    pub labels: Vec<Label>,
    pub refusal: Option<RefusalView>,
    /// The event as it is (or will be) reported; none means that there is no event.
    pub reported: Option<serde_json::Value>,
    /// The clearance that goes (or would go) with the story, whatever the rules report; none means
    /// that no story is sealed.
    #[serde(default)]
    pub clearance: Option<ClearanceView>,
    /// Id under which the draft is kept for later.
    pub kept: Option<String>,
    pub blobs: Vec<Digest>,
    pub epoch: Option<u64>,
    /// Who will be able to read it.
    pub readers: Vec<String>,
    pub policy_version: u64,
    pub expires_at_s: Option<u64>,
    /// The event of this block could not be recorded: it is counted, and reported once there is room (S5).
    #[serde(default)]
    pub counted: bool,
}

/// The clearance that goes with every story to the gateway, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClearanceView {
    pub labels: Vec<Label>,
    pub verdict: VerdictCode,
    pub policy_version: u64,
    pub lifetime_s: u32,
    pub app: App,
    pub device: DeviceId,
    /// Where the device key lives.
    pub tier: Tier,
    pub agent_version: String,
    pub agent_build: Digest,
    /// What the sealed part holds, and who can open it.
    pub sealed: String,
    /// What the gateway records of the story.
    pub gateway_records: String,
}

/// A rule that fired.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FiredRule {
    pub rule: RuleId,
    pub action: Action,
    pub sentence: String,
    pub owner: String,
    pub link: String,
    pub fixes: Vec<String>,
    pub reasons: Vec<String>,
    /// Which condition held, and which detector (P8).
    pub trace: Vec<String>,
}

/// A finding as its author sees it: never the matched text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FindingView {
    pub detector: DetectorId,
    pub name: String,
    pub confidence: Confidence,
    pub item: u16,
    #[serde(rename = "where")]
    pub place: String,
}

/// A part that could not be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UnscannableView {
    pub item: u16,
    #[serde(rename = "where")]
    pub place: String,
    pub reason: String,
}

/// The gateway's refusal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RefusalView {
    pub code: String,
    pub rule: Option<String>,
    pub reason: String,
    pub help: String,
    /// Whether it is signed by the gateway's acceptance key (C5); an early answer is not.
    pub signed: bool,
}

/// `feed`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FeedAnswer {
    pub stories: Vec<StoryView>,
}

/// One story of the feed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StoryView {
    pub story: Cti,
    pub audience: String,
    pub author: String,
    pub own: bool,
    pub received_at_s: u64,
    pub expires_at_s: u64,
    pub text: Option<String>,
    pub files: Vec<FileView>,
    pub state: String,
    /// What this device's own inspection says about it (K22): a hint, nothing is reported.
    pub hints: Vec<String>,
}

impl std::fmt::Debug for StoryView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoryView")
            .field("story", &self.story)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A file of a story.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FileView {
    pub name: String,
    pub size_bytes: u64,
    /// SHA-256 of the file; known once it was fetched.
    pub sha256: Option<Digest>,
    /// Where the command saved it.
    pub saved: Option<String>,
}

impl std::fmt::Debug for FileView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileView")
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

/// Query of `feed`, `pending` and `outbox`: wait for one thing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    pub wait: Option<String>,
    pub until: Option<String>,
    pub timeout_s: Option<u64>,
}

/// Query of `status`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusQuery {
    /// Answer when at least this policy version is in force.
    pub wait_policy: Option<u64>,
    /// Answer when the gateway holds every event.
    #[serde(default)]
    pub wait_spool: bool,
    /// Answer when an alarm contains this.
    pub wait_alarm: Option<String>,
    /// Answer when the certificate in use is another than the one of this serial number.
    pub wait_renewed: Option<String>,
    /// Answer when the gateway says this of the device's identity.
    pub wait_identity: Option<IdentityState>,
    pub timeout_s: Option<u64>,
}

/// Query of one file of a story.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileQuery {
    pub story: Cti,
    pub file: usize,
}

/// `status`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StatusAnswer {
    pub device: DeviceId,
    pub person: PersonId,
    pub enrolled: bool,
    pub online: bool,
    pub revoked: bool,
    /// What the gateway says of this device's identity.
    #[serde(default)]
    pub identity: IdentityState,
    /// The TLS certificate in use.
    #[serde(default)]
    pub certificate: CertificateView,
    pub policy_version: u64,
    /// How well it is known to be the latest (B4).
    #[serde(default)]
    pub policy_freshness: Freshness,
    pub directory_size: u64,
    pub audiences: u64,
    pub spool: u64,
    /// Events that are kept and not sent: the gateway does not take them, or they cannot be read (S6, S9).
    #[serde(default)]
    pub events_aside: u64,
    /// Blocks that could not be recorded, and are counted (S5); they make up one of the events that wait.
    #[serde(default)]
    pub unrecorded: u64,
    pub pending: u64,
    /// Every device that the directory log holds for this person, the revoked ones too (K8).
    pub own_devices: Vec<OwnDevice>,
    pub alarms: Vec<String>,
    /// What was not acknowledged yet: new devices of one's own, new members of one's audiences (K8), latest last.
    pub notices: Vec<String>,
    pub version: String,
    pub build: Digest,
    /// How the local socket knows who asks (A1).
    #[serde(default)]
    pub peers: String,
    /// What the local socket refused, by cause (A8).
    #[serde(default)]
    pub tamper: Vec<TamperView>,
    /// What this platform does not have (never silently skipped).
    pub missing: Vec<String>,
}

/// Whether the gateway accepts this device (E5-E8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IdentityState {
    /// As far as it is known.
    #[default]
    Good,
    Quarantined,
    /// It must be enrolled again.
    Invalid,
    Revoked,
}

/// A TLS certificate.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct CertificateView {
    pub serial: String,
    pub ends_s: u64,
}

/// Why the local API refused a request (A8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TamperCause {
    OtherUser,
    Browser,
    WrongCredential,
    WrongProgram,
    /// An app used a route that is the owner's.
    BeyondItsRights,
    BadReceipt,
    TooManyConnections,
    SlowBody,
}

/// How often something was refused since the agent started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TamperView {
    pub cause: TamperCause,
    pub count: u64,
    pub last_at_s: u64,
}

/// A device of one's own, as the directory log has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwnDevice {
    pub device: DeviceId,
    pub added_at_s: u64,
    pub revoked: bool,
}

/// Query of `notices`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoticesQuery {
    /// Answer when a notice contains this.
    pub wait: Option<String>,
    pub timeout_s: Option<u64>,
}

/// `notices`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NoticesAnswer {
    /// Oldest first.
    pub notices: Vec<NoticeView>,
}

/// One thing that the owner must learn of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NoticeView {
    pub position: u64,
    pub at_s: u64,
    pub message: String,
}

/// `notices --acknowledge`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoticesRead {
    /// The last position that the owner has read.
    pub through: u64,
}

/// What to do with an audience.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AudienceChange {
    Create { name: String, people: Vec<String> },
    Add { name: String, people: Vec<String> },
    Remove { name: String, people: Vec<String> },
    Leave { name: String },
}

/// `audience list`, and the answer to every change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AudiencesAnswer {
    pub audiences: Vec<AudienceView>,
    /// What to know about the change, for example people without a device yet.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One audience with its roster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AudienceView {
    pub audience: AudienceId,
    pub name: String,
    pub class: AudienceClass,
    pub epoch: u64,
    pub state: String,
    pub people: Vec<RosterView>,
}

/// One person of the roster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RosterView {
    pub person: PersonId,
    pub name: String,
    pub owner: bool,
    pub devices: u32,
}

/// What to do with an app.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AppChange {
    Register {
        app: App,
        /// Path of the program file.
        program: String,
        /// Takes the place of an earlier registration, whose credential ends.
        replace: bool,
    },
    Remove {
        app: App,
    },
}

/// `app list`, and the answer to every change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AppsAnswer {
    pub apps: Vec<AppView>,
    /// For the app that was registered; told once.
    pub credential: Option<AppCredential>,
}

/// A registered app.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AppView {
    pub app: App,
    pub program: String,
    pub program_digest: Digest,
    pub registered_at_s: u64,
}

/// What an app needs to speak to the agent: the content of its credential file.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AppCredential {
    pub app: App,
    /// Path of the agent's socket.
    pub socket: String,
    /// Secret; goes into `authorization: Bearer ...`.
    pub credential: String,
}

impl std::fmt::Debug for AppCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppCredential")
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}

/// The answer to an app's check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AppCheckAnswer {
    pub verdict: ShareAnswer,
    /// Digest of what was inspected (`policies::terms::draft_digest`).
    pub content: Digest,
    /// Proof of the verdict, for a short time and one use; none where this content may not be shared as it is.
    pub receipt: Option<SignedReceipt>,
}

/// Asks whether a receipt holds for what is about to be sent, and uses it up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppConfirmRequest {
    pub receipt: SignedReceipt,
    /// Digest of what is about to be sent (`policies::terms::draft_digest`).
    pub content: Digest,
}

/// The verdict that the receipt stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AppConfirmAnswer {
    pub action: Action,
    pub policy_version: u64,
    pub decided_at_s: u64,
}

/// `revoke`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RevokeRequest {
    pub story: Cti,
}

/// The answer to `revoke`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RevokeAnswer {
    pub story: Cti,
    pub revoked_at_s: u64,
}

/// `activity`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ActivityAnswer {
    pub entries: Vec<ActivityEntry>,
    /// Every field that an event may have, from the wire type itself (K25).
    pub reported_fields: Vec<String>,
}

/// One line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ActivityEntry {
    pub at_s: u64,
    pub audience: String,
    pub outcome: Outcome,
    pub action: Action,
    pub rules: Vec<RuleId>,
    pub story: Option<Cti>,
    /// Exactly the event that was reported; none means that there is none.
    pub reported: Option<serde_json::Value>,
    /// The clearance that left with the story; none means that no story was sealed.
    #[serde(default)]
    pub clearance: Option<ClearanceView>,
    /// Names the line, for `report-false-positive`.
    #[serde(default)]
    pub id: Option<String>,
    /// The line is its author's report that a finding is none; `reported` is the event of that report.
    #[serde(default)]
    pub dispute: Option<DisputeView>,
}

/// `report-false-positive`: the header of a frame; the parts are those of the draft, if it is given again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FalsePositiveRequest {
    /// The draft, given again.
    pub draft: Option<ShareHeader>,
    /// Or the line of `activity` that decided it.
    pub activity: Option<String>,
    /// A detector or a family.
    pub finding: Option<String>,
    pub comment: Option<String>,
    pub include_match: bool,
    /// Digest of the report that was shown and confirmed; none only shows it.
    pub confirmed: Option<Digest>,
}

/// What would be, or was, reported.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FalsePositiveAnswer {
    /// The event: what the gateway sees.
    pub reported: serde_json::Value,
    pub sealed: DisputeView,
    /// The matched text in the sealed part; empty unless the author chose it.
    pub matched: Vec<String>,
    /// To be given back as `confirmed`.
    pub digest: Digest,
    /// Whether it is on its way.
    pub done: bool,
}

impl std::fmt::Debug for FalsePositiveAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FalsePositiveAnswer")
            .field("digest", &self.digest)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// What only the compliance officer can open of a report, without the matched text itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DisputeView {
    pub detectors: Vec<DetectorId>,
    pub comment: Option<String>,
    /// How many matched texts are in it.
    pub matched: u64,
}

/// `rejoin`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RejoinAnswer {
    /// Index of the entry in the directory log; none while the rejoin is still to come.
    pub log_index: Option<u64>,
    /// Audiences that this device is in again.
    pub joined: Vec<String>,
    /// Audiences that it waits for: a member lets it in with the next story.
    pub waiting: Vec<String>,
    /// No agent ran: the next start rejoins.
    pub at_next_start: bool,
    /// Where a database was put that cannot be read.
    pub put_aside: Option<String>,
}

/// `directory`: the log as it was followed, for a gateway that lost its end. Names and addresses are not in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DirectoryAnswer {
    /// Signed checkpoint over all of the entries.
    pub checkpoint: String,
    pub entries: Vec<Bytes>,
}

/// `unenroll`
#[derive(Debug, Clone, Serialize)]
pub(crate) struct UnenrollAnswer {
    pub device: DeviceId,
    /// Whether the gateway revoked the device. If not, the administrator still has to.
    pub gateway_told: bool,
    /// Why it was not told.
    pub problem: Option<String>,
    /// Drafts that were kept for later, and are gone.
    pub drafts_lost: i64,
    /// Events that the gateway never got.
    pub events_lost: i64,
    /// Where the files of the outbox still lie.
    pub outbox: Option<PathBuf>,
}

/// `rules`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RulesAnswer {
    pub tenant: String,
    pub policy_version: u64,
    pub policy_digest: Digest,
    pub rules: Vec<RuleView>,
    pub detectors: Vec<DetectorView>,
    pub labels: Vec<Label>,
    /// The sharing rules as written, with file and line.
    pub sharing: Vec<String>,
}

/// A rule in plain words.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RuleView {
    pub rule: RuleId,
    pub mode: String,
    pub action: Action,
    pub sentence: String,
    pub owner: String,
    pub link: String,
    pub report: String,
}

/// A detector in plain words.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DetectorView {
    pub detector: DetectorId,
    pub name: String,
    pub finds: String,
}

/// `outbox`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OutboxAnswer {
    pub files: Vec<OutboxFile>,
}

/// A file of the outbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OutboxFile {
    pub name: String,
    pub audience: String,
    pub state: OutboxState,
    pub story: Option<Cti>,
    pub reason: Option<String>,
}

/// Where an outbox file stands (O7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutboxState {
    Pending,
    Processing,
    Sent,
    Blocked,
    Error,
}

impl OutboxState {
    /// Whether nothing more will happen to the file.
    pub(crate) const fn is_final(self) -> bool {
        match self {
            Self::Sent | Self::Blocked | Self::Error => true,
            Self::Pending | Self::Processing => false,
        }
    }
}

/// `pending`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PendingAnswer {
    pub drafts: Vec<PendingView>,
}

/// A draft that was kept for later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PendingView {
    pub id: String,
    pub state: PendingState,
    pub story: Option<Cti>,
    /// Held, with its content: `pending --resume` shares it.
    #[serde(default)]
    pub resumable: bool,
    /// When it was kept, Unix seconds; only in the list of all.
    #[serde(default)]
    pub kept_at_s: Option<u64>,
    #[serde(default)]
    pub audience: Option<String>,
    /// The beginning of its text, for its author to know it by.
    #[serde(default)]
    pub begins: Option<String>,
    #[serde(default)]
    pub files: Option<u64>,
    /// Discarded, and until when `pending --restore` takes that back.
    #[serde(default)]
    pub restorable_until_s: Option<u64>,
}

/// Discards a kept or held draft, or takes that back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum PendingChange {
    Discard { id: String },
    Restore { id: String },
}

/// Shares a held draft with the answers that its rules ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeRequest {
    pub id: String,
    pub reason: Option<String>,
    pub accept_warning: bool,
}

/// What became of a kept draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PendingState {
    Kept,
    Sent,
    Blocked,
    Refused,
    NeedsReason,
    /// By its author.
    Discarded,
}
