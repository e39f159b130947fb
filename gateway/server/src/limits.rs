//! Every bound of the gateway, with its reason.

use std::time::Duration;

/// Body of a metadata request (H3): batches of 500 events, trees of large audiences have their own.
pub(crate) const METADATA_BYTES_MAX: usize = 64 * 1024;
/// Body of a group request: commit, Welcome and tree of 2,000 devices, about 0.6 MB each in base64 (M11).
pub(crate) const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Body of a key-package upload: 100 packages of about 1 KB.
pub(crate) const KEY_PACKAGES_BYTES_MAX: usize = 512 * 1024;
/// An envelope holds a manifest (text, names and keys of files); media are blobs.
pub(crate) const ENVELOPE_BYTES_MAX: usize = 256 * 1024;
/// A blob: one attachment after padding.
pub(crate) const BLOB_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Blobs that one story names.
pub(crate) const BLOBS_PER_STORY_MAX: usize = 64;
/// Clear bytes per encrypted chunk of a stored blob: bounds memory per transfer.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// A policy bundle: folder, packs and hash lists.
pub(crate) const BUNDLE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Devices of an audience (M11).
pub(crate) const AUDIENCE_DEVICES_MAX: usize = 2_000;
/// Device lists of one person, over all of their apps: each version is at most 9 KB (K17).
pub(crate) const LISTS_PER_PERSON_MAX: i64 = 500;
/// Devices added by one commit that make it a bulk add: below this a cold commit costs less than one kilobyte more (M9).
pub(crate) const BULK_ADD_DEVICES_MIN: usize = 8;
/// How long a device that was asked to renew its keys has, seconds: a long poll's wait and a commit's retries (M9).
pub(crate) const WARM_UP_PATIENCE_S: u64 = 60;
/// A device that polled within this time is online, seconds: long polls follow each other within less.
pub(crate) const ONLINE_S: u64 = 60;
/// Key packages kept per device: enough for a month offline, few enough not to be a disk lever.
pub(crate) const KEY_PACKAGES_PER_DEVICE_MAX: u32 = 200;
/// Key packages claimed at once: an audience's worth.
pub(crate) const CLAIM_DEVICES_MAX: usize = AUDIENCE_DEVICES_MAX;
/// Items per list in one sync answer; `more` says that there are others.
pub(crate) const SYNC_ITEMS_MAX: i64 = 100;
/// Bytes of items in one sync answer: bounds memory per poll.
pub(crate) const SYNC_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Groups named in one sync request.
pub(crate) const SYNC_GROUPS_MAX: usize = 1_000;
/// Longest wait of a long poll: below the idle limits of proxies.
pub(crate) const WAIT_S_MAX: u32 = 55;
/// Stories waiting for the writer; a full channel answers 503 (H1).
pub(crate) const RELAY_QUEUE_MAX: usize = 2_048;
/// Stories of one group commit (H1): the most that `relay.batch_max` allows, and its default.
pub(crate) const RELAY_BATCH_MAX: usize = 1_024;
/// What a full queue tells the client to wait, seconds.
pub(crate) const RETRY_AFTER_S: u32 = 1;
/// Enrollments that failed, per minute, before none is tried for the rest of it: nobody guesses 256 bits, and nobody
/// keeps the gateway busy trying (E1).
pub(crate) const FAILED_ENROLLMENTS_PER_MINUTE: u32 = 60;
/// Devices that one token enrols at most (E1): a person's own, with room.
pub(crate) const TOKEN_USES_MAX: u64 = 100;
/// Places that a device is remembered to have run in (E7): as many restarts of one machine lie between two copies that
/// are told apart.
pub(crate) const ORIGINS_PER_DEVICE: i64 = 100;
/// The longest life of a token (E1).
pub(crate) const TOKEN_LIFETIME_S_MAX: u64 = 72 * 3_600;
/// Clock skew of a clearance's `iat` (C4).
pub(crate) const SKEW_S_MAX: u64 = 120;
/// Time a clearance may be submitted for (`exp - iat`).
pub(crate) const CLEARANCE_LIFE_S_MAX: u64 = 300;
/// For how long a receipt of deletion that found something stays on the status page.
pub(crate) const DELETION_SHOWN_S: u64 = 7 * 24 * 3_600;
/// A `cti` stays spent this long after the story's end (C1).
pub(crate) const SPENT_S: u64 = 24 * 3_600;
/// The longest life of a story (product promise 2).
pub(crate) const STORY_LIFETIME_S_MAX: u64 = 24 * 3_600;
/// A blob that no story names is shredded after this.
pub(crate) const ORPHAN_BLOB_S: u64 = 3_600;
/// Commits and proposals are kept this long (K16).
pub(crate) const COMMITS_KEPT_S: u64 = 30 * 24 * 3_600;
/// Inbox items are kept as long as commits: a Welcome is of no use without them.
pub(crate) const INBOX_KEPT_S: u64 = COMMITS_KEPT_S;
/// Rejoins of one device within [`REJOIN_WINDOW_S`]: enough for a bad day of restored backups, too few for two copies
/// of one folder that throw each other out, and each is an entry that everybody follows (K4).
pub(crate) const REJOINS_PER_WINDOW: usize = 6;
/// A day.
pub(crate) const REJOIN_WINDOW_S: u64 = 24 * 3_600;
/// The previous bundle is accepted this long after the device had the newer one (K20).
pub(crate) const PREVIOUS_AFTER_ACK_S: u64 = 15 * 60;
/// And this long after the newer one's activation at most (K20).
pub(crate) const PREVIOUS_AFTER_ACTIVATION_S: u64 = 24 * 3_600;
/// casbin is linear in its lines; more need the index of Z4.
pub(crate) const SHARING_LINES_MAX: usize = 10_000;
/// Below this much room nothing new is taken (L5): room for the largest blobs in flight, a ledger batch, and a day's shredding.
pub(crate) const SPACE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// Given up when the disk is full all the same, to record that and to go on shredding (L5): the write-ahead log of a large
/// purge, and some entries.
pub(crate) const BALLAST_BYTES: u64 = 8 * 1024 * 1024;
/// How often the clocks are compared and the purge looks for due objects.
pub(crate) const PURGE_EVERY: Duration = Duration::from_secs(1);
/// Deadline for the head of a request to the status page or the admin socket.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one rate after which the buckets that are full again are dropped: each has a few bytes.
pub(crate) const RATE_CHECKS_PER_SWEEP: usize = 65_536;
/// Series of one metric: our routes with the statuses that they answer, with room.
pub(crate) const SERIES_PER_METRIC_MAX: usize = 500;
/// Idle connections are kept longer than a long poll lasts.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(70);
/// Requests in flight may take this long at shutdown, seconds.
pub(crate) const SHUTDOWN_S: u64 = 10;
/// Connections of all workers together, however many descriptors the system grants.
pub(crate) const CONNECTIONS_MAX: usize = 16_384;
/// Descriptors that connections never take: database, logs, keys, blobs in flight, the admin socket (H3).
pub(crate) const DESCRIPTORS_RESERVED: usize = 256;
/// Ids that one ledger entry lists in full: two such lists stay below 65,535 B (K27).
pub(crate) const LISTED_IDS_MAX: usize = 400;
/// Names of people, characters.
pub(crate) const NAME_CHARS_MAX: usize = 128;
/// Ledger entries that one page of a search looks at; the answer says where to go on.
pub(crate) const SEARCH_ENTRIES_MAX: u64 = 1_000_000;
/// Entries of one page of a search.
pub(crate) const SEARCH_RESULTS_MAX: usize = 10_000;
/// Entries that nobody can read any more, listed by number in an answer; all are counted.
pub(crate) const UNREADABLE_LISTED_MAX: usize = 100;
/// Entries of one export, two files each: what a file system and a person still handle. More is refused, not cut.
pub(crate) const EXPORT_ENTRIES_MAX: usize = 100_000;
/// Free disk below which an operator is told: a day of a large company's ledger, and room to say so.
pub(crate) const FREE_BYTES_MIN: u64 = 1 << 30;
/// Days before its end at which an operator is told of the authority's certificate: enrolling everybody anew takes long.
pub(crate) const AUTHORITY_DAYS_MIN: u64 = 180;
/// Days before its end at which an operator is told of the policy's bundle: two people have to sign another.
pub(crate) const POLICY_DAYS_MIN: u64 = 3;
/// A Unix socket's path, bytes (sun_path with its end).
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;
/// JSON of a record that is owed to the ledger: an entry has 65,535 B (K27), header and tag included.
pub(crate) const RECORD_BYTES_MAX: usize = 60 * 1024;
