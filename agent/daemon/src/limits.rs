//! Every bound of the agent, with its reason.

use std::time::Duration;

use gateway_api::v1::events::BATCH_MAX;

/// Longest body that the local socket takes: a draft of ten files and its framing (A8).
pub(crate) const LOCAL_BODY_BYTES_MAX: usize = 160 * 1024 * 1024;
/// Connections of one user to the local socket: a desktop's commands and apps, with room (A8).
pub(crate) const LOCAL_CONNECTIONS_MAX: usize = 64;
/// Connections that one worker of the local socket holds; beyond it, new ones wait (A8).
pub(crate) const LOCAL_WORKER_CONNECTIONS_MAX: usize = 256;
/// Time for the head of a request on the local socket (A8).
pub(crate) const LOCAL_HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a body on the local socket: the largest draft at a few MiB/s (A8).
pub(crate) const LOCAL_BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest JSON body on the local socket: a change, a reason, a receipt (A8).
pub(crate) const LOCAL_JSON_BYTES_MAX: usize = 256 * 1024;
/// Apps that are registered at once: a person uses a few.
pub(crate) const APPS_MAX: usize = 32;
/// Random bytes of an app's credential.
pub(crate) const CREDENTIAL_BYTES: usize = 32;
/// How long a receipt of a verdict counts, seconds: an app seals at once (A10).
pub(crate) const RECEIPT_LIFETIME_S: u64 = 120;
/// Verdicts that wait for what an app seals under them: each is gone with its receipt, and an app shares one by one.
pub(crate) const VERDICTS_MAX: usize = 256;
/// Stories that wait for their apps, over all apps: at most 256 KiB each, for at most a day.
pub(crate) const FOREIGN_WAITING_MAX: i64 = 1_000;
/// How long an app's question for what arrived may wait, seconds.
pub(crate) const APP_WAIT_S_MAX: u64 = 60;
/// Bytes of a program file whose identity is asked for; it is read whole.
pub(crate) const PROGRAM_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Program files whose digest is remembered.
pub(crate) const PROGRAMS_REMEMBERED_MAX: usize = 64;
/// Files of one draft: a story is a post, not an archive.
pub(crate) const DRAFT_FILES_MAX: usize = 16;
/// Bytes of one draft, text and files together: it is held in memory once (O6).
pub(crate) const DRAFT_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Bytes of a draft's text.
pub(crate) const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the header of a local frame: names and options only.
pub(crate) const FRAME_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Lifetime of a story when none is asked for (seconds): one day.
pub(crate) const STORY_TTL_S: u32 = 86_400;
/// How long a gateway knows a story at least after it has ended (seconds, K13).
pub(crate) const STORY_KNOWN_S: u64 = 86_400;
/// Between two looks at clocks that do not agree.
pub(crate) const UNSETTLED_PAUSE: Duration = Duration::from_secs(5);
/// How far ahead of the wall clock a time may be that the gateway signs (seconds): more is a wrong clock, here or there,
/// and is not kept (K19).
pub(crate) const SIGNED_AHEAD_S_MAX: u64 = 3_600;
/// Width of the expiry buckets of the local store (seconds, D4): the key goes with the story.
pub(crate) const LOCAL_BUCKET_S: u64 = 1;

/// Commits tried again after the group moved under us (409) before the draft is kept.
pub(crate) const COMMIT_ATTEMPTS_MAX: usize = 6;
/// Least time between two commits of this device in one audience for which the gateway may ask, seconds: a gateway
/// that asks without end gets no storm out of it (M9).
pub(crate) const ASKED_RENEWAL_PAUSE_S: u64 = 60;
/// Sealings tried again after the epoch moved (C2).
pub(crate) const SEAL_ATTEMPTS_MAX: usize = 4;
/// Drafts kept for later while the gateway is unreachable.
pub(crate) const PENDING_MAX: i64 = 200;

/// How long the discarding of a draft can be taken back, seconds: until the next working day.
pub(crate) const RESTORABLE_S: u64 = 86_400;
/// Bytes of a kept draft that is read only to be listed.
pub(crate) const LISTED_DRAFT_BYTES_MAX: i64 = 256 * 1024;
/// Characters of a draft's text by which its author knows it.
pub(crate) const LISTED_TEXT_CHARS: usize = 40;

/// Matched texts in a report of a false positive: an example says enough.
pub(crate) const MATCHED_TEXTS_MAX: usize = 3;
/// Characters of one of them: the sealed part is small.
pub(crate) const MATCHED_TEXT_CHARS: usize = 120;

/// Key packages that the agent keeps at the gateway, so that others can add this device.
pub(crate) const KEY_PACKAGES_TARGET: usize = 20;
/// Below this number more are uploaded.
pub(crate) const KEY_PACKAGES_LOW: usize = 5;
/// Key packages are renewed at half of the age at which nobody adds a device by them any more, seconds (K11).
pub(crate) const KEY_PACKAGES_RENEWED_S: u64 = agent_seal::limits::KEY_PACKAGE_AGE_S_MAX / 2;

/// A call to the gateway that is not a long poll.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connecting to the gateway.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the gateway may hold a long poll (seconds, B9): below the idle limits of proxies.
pub(crate) const LONG_POLL_S: u32 = 55;
/// The same while drafts wait that a gateway within reach did not take yet.
pub(crate) const UNSENT_POLL_S: u32 = 5;
/// By how much a poll may be shorter, so that a fleet does not come back at once after a restart of the gateway (B9).
pub(crate) const LONG_POLL_JITTER_S: u32 = 10;
/// Crashes after which an agent returns to the bundle before (B7).
pub(crate) const CRASHES_MAX: usize = 3;
/// The time in which they count, seconds.
pub(crate) const CRASH_WINDOW_S: u64 = 600;
/// The trial of a bundle: as long as a slow laptop needs to compile the largest, with room (B6).
pub(crate) const TRIAL_TIMEOUT: Duration = Duration::from_secs(120);
/// Its processor time, seconds.
pub(crate) const TRIAL_CPU_S: u64 = 60;
/// Its address space: engine, drafts of the policy's tests, and the stacks of idle threads.
pub(crate) const TRIAL_MEMORY_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Its descriptors: it has its pipes and opens nothing.
pub(crate) const TRIAL_DESCRIPTORS: u64 = 16;
/// What is read of a bundle: more than one may hold.
pub(crate) const TRIAL_BUNDLE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What is read of its answer: a sentence.
pub(crate) const TRIAL_ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// First pause after a failed call; doubles, with full jitter (S6).
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest pause after failed calls.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Bytes of one answer of the gateway that is no blob.
pub(crate) const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of the file that counts blocks when nothing else can be written (S5): the longest event, with room.
pub(crate) const EMERGENCY_BYTES: u64 = 32 * 1024;
/// Bytes of a batch beside its events (S6): brackets, the clock, a comma and a number for each event.
pub(crate) const EVENT_BATCH_FRAME_BYTES: usize = 256 + 32 * BATCH_MAX;
/// Pause between two uploads while more waits, so that a device that comes back leaves room for others (S6): 500 events
/// a second at most, with jitter.
pub(crate) const EVENTS_BACKLOG_PAUSE: Duration = Duration::from_secs(1);
/// First pause after a failed upload of events; doubles, with full jitter (S6).
pub(crate) const EVENTS_BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest pause after failed uploads, also if the gateway asks for more (S6).
pub(crate) const EVENTS_BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);
/// Of these, so many are kept for what was blocked and for reports: no story takes them (S4).
pub(crate) const SPOOL_RESERVE: i64 = SPOOL_EVENTS_MAX / 5;
/// Events kept while they cannot be uploaded (S4).
pub(crate) const SPOOL_EVENTS_MAX: i64 = 100_000;
/// Notices that wait for their owner; the oldest give way. Each costs a device that joined something.
pub(crate) const NOTICES_MAX: i64 = 1_000;
/// Days that the journal keeps (K26).
pub(crate) const JOURNAL_DAYS: u64 = 30;

/// Entries read from the directory log before they are put to the store.
pub(crate) const DIRECTORY_ENTRIES_MAX: u64 = 10_000_000;

/// Seconds that the wall clock may be behind signed times, or ahead of the gateway's, before it is an alarm (C4, B5).
pub(crate) const CLOCK_SKEW_S: u64 = 120;

/// Bytes of an author's policy folder whose tests are run: those of a bundle, with room.
pub(crate) const POLICY_FOLDER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Folders within it that wait to be read.
pub(crate) const POLICY_FOLDERS_MAX: usize = 1_000;

/// Quiet time of an outbox file before it is taken (O3).
pub(crate) const OUTBOX_QUIET: Duration = Duration::from_millis(1_000);
/// The reconciler's own pace; events only hurry it (O1).
pub(crate) const OUTBOX_RECONCILE: Duration = Duration::from_secs(60);
/// Its pace where the system gives no hints.
pub(crate) const OUTBOX_POLL: Duration = Duration::from_secs(5);
/// Shortest pause between two looks: a file that waits for its writer must not keep a core busy.
pub(crate) const OUTBOX_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Files looked at in one audience's folder (O11): more wait for their turn.
pub(crate) const OUTBOX_SCAN_MAX: usize = 10_000;
/// Bytes of a manifest: a digest and a name (O4).
pub(crate) const OUTBOX_MANIFEST_BYTES_MAX: u64 = 4 * 1024;
/// Files taken in one round, so that one audience cannot starve the rest (O11).
pub(crate) const OUTBOX_FILES_PER_ROUND: usize = 50;
/// Bytes of one outbox file.
pub(crate) const OUTBOX_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest name taken from the outbox, in bytes (O9).
pub(crate) const OUTBOX_NAME_BYTES_MAX: usize = 200;

/// Longest path of a Unix socket that both Linux and macOS take, in bytes.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Free disk below which the owner is told: the largest draft in every form that it takes on its way, several times.
pub(crate) const FREE_BYTES_MIN: u64 = 512 << 20;
/// Hours since the last proof that the policy is the latest, after which the owner is told (B4: a proof holds a day).
pub(crate) const POLICY_FRESH_HOURS: u64 = 24;
