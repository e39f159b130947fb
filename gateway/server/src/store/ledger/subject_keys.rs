//! Keys of the ledger's payloads (W1, K27): a random key per subject, retention class and month, so that a person's
//! part of the record can be erased while the chain of hashes still verifies.
//!
//! The keys have a folder of their own, apart from the ledger and its backups, behind a seam: a key file on the same
//! disk is no more erasable than the ciphertext, and the seam exists so that it need not be there.
//!
//! ```text
//! <folder>/<id>.key         a key
//!          <id>.destroyed   empty: there was one, which must not come back from a copy of before
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use gateway_ledger::{Entry, EntryError, Header};
use zeroize::Zeroizing;

use super::{LedgerError, disk, lock};
use crate::config::files::{self, CHECK};

const SUFFIX: &str = ".key";
const DESTROYED: &str = ".destroyed";
const KEY_LEN: usize = 32;
/// File of a key: key, subject, class, month as years * 12 + months; then a check, which files of before do not have.
const FILE_LEN: usize = KEY_LEN + 16 + 1 + 4;

/// Names a payload key in an entry's header; random, so that it says nothing of the subject.
pub(crate) type DekId = [u8; 16];

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject([u8; 16]);

impl Subject {
    /// The gateway itself: entries about nobody.
    pub(crate) const GATEWAY: Self = Self([0; 16]);

    /// The person with this id.
    pub(crate) fn person(id: [u8; 16]) -> Self {
        Self(id)
    }

    /// The person's id; none for the gateway.
    pub(crate) fn person_id(self) -> Option<[u8; 16]> {
        (self != Self::GATEWAY).then_some(self.0)
    }
}

/// How long entries are kept, as a class; keys are not shared between classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RetentionClass {
    /// What was shared and how it was decided.
    Sharing,
    /// Who changed or looked at what.
    Administration,
}

impl RetentionClass {
    fn code(self) -> u8 {
        match self {
            Self::Sharing => 1,
            Self::Administration => 2,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        [Self::Sharing, Self::Administration]
            .into_iter()
            .find(|class| class.code() == code)
    }
}

/// Why a payload was not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubjectKeyError {
    /// The key store.
    #[error(transparent)]
    Store(#[from] LedgerError),
    /// The random source.
    #[error("the random source of the system failed")]
    Random,
    /// A time that no calendar has.
    #[error("the time {0} is out of range")]
    Time(u64),
    /// The entry's codec.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A payload that its key does not open.
    #[error("the payload of the entry does not open with its key; run `sealgate verify` on the ledger")]
    Unopened,
}

/// A payload key and its name. `Debug` prints the name.
pub(crate) struct SubjectKey {
    id: DekId,
    subject: Subject,
    key: LessSafeKey,
}

impl SubjectKey {
    /// Its name.
    pub(crate) fn id(&self) -> DekId {
        self.id
    }

    /// Whose entries it opens.
    pub(crate) fn subject(&self) -> Subject {
        self.subject
    }

    fn new(id: DekId, subject: Subject, bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id,
            subject,
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?),
        })
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({})", hex::encode(self.id))
    }
}

/// Where payload keys live: a folder, later a TPM or a KMS.
pub(crate) trait SubjectKeys: Send + Sync {
    /// The key for what happens to a subject at a time (Unix seconds), made durable before it is first returned.
    fn current(
        &self,
        subject: Subject,
        class: RetentionClass,
        at_s: u64,
    ) -> Result<Arc<SubjectKey>, SubjectKeyError>;
    /// The keys of everything that happened to a subject.
    fn of_subject(&self, subject: Subject) -> Vec<DekId>;
    /// A key by its name; `None` once it is shredded.
    fn existing(&self, id: &DekId) -> Result<Option<Arc<SubjectKey>>, SubjectKeyError>;
    /// Destroys a key, durably: whether there was one. The caller records it in the ledger.
    fn shred(&self, id: &DekId) -> Result<bool, SubjectKeyError>;
}

/// One file per key.
pub(crate) struct FileSubjectKeys {
    folder: PathBuf,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    by_id: BTreeMap<DekId, Arc<SubjectKey>>,
    id_by_use: BTreeMap<Use, DekId>,
}

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    subject: Subject,
    class: RetentionClass,
    // Years times twelve and months, UTC.
    month: u32,
}

impl FileSubjectKeys {
    /// Opens the store in a folder, or begins one there.
    pub(crate) fn open(folder: &Path) -> Result<Self, LedgerError> {
        disk::ensure_folder(folder)?;
        let mut keys = Keys::default();
        for entry in std::fs::read_dir(folder).map_err(disk::io_error(folder))? {
            let path = entry.map_err(disk::io_error(folder))?.path();
            if let Some(id) = id_of(&path, SUFFIX) {
                let bytes = Zeroizing::new(std::fs::read(&path).map_err(disk::io_error(&path))?);
                if bytes.len() >= FILE_LEN && bytes.iter().all(|byte| *byte == 0) {
                    // A crash cut its shredding short.
                    overwrite(&path).map_err(disk::io_error(&path))?;
                    continue;
                }
                let (purpose, key) = decode(id, &bytes).ok_or_else(|| not_a_key(&path))?;
                keys.id_by_use.insert(purpose, id);
                keys.by_id.insert(id, Arc::new(key));
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            keys: Mutex::new(keys),
        })
    }

    /// Every key that was destroyed here, since a file is kept of each.
    pub(crate) fn destroyed(&self) -> Result<BTreeSet<DekId>, LedgerError> {
        let mut destroyed = BTreeSet::new();
        for entry in std::fs::read_dir(&self.folder).map_err(disk::io_error(&self.folder))? {
            let path = entry.map_err(disk::io_error(&self.folder))?.path();
            destroyed.extend(id_of(&path, DESTROYED));
        }
        Ok(destroyed)
    }

    fn path(&self, id: &DekId, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}{suffix}", hex::encode(id)))
    }

    fn make(&self, keys: &mut Keys, purpose: Use) -> Result<Arc<SubjectKey>, SubjectKeyError> {
        let id: DekId = random()?;
        let bytes = Zeroizing::new(random::<KEY_LEN>()?);
        let mut file = Zeroizing::new(Vec::with_capacity(FILE_LEN + CHECK));
        file.extend_from_slice(bytes.as_slice());
        file.extend_from_slice(&purpose.subject.0);
        file.push(purpose.class.code());
        file.extend_from_slice(&purpose.month.to_be_bytes());
        let check = files::check_of(&id, &file);
        file.extend_from_slice(&check);
        disk::write_atomically(&self.path(&id, SUFFIX), &file)?;
        let key =
            Arc::new(SubjectKey::new(id, purpose.subject, bytes.as_slice()).ok_or(SubjectKeyError::Random)?);
        keys.id_by_use.insert(purpose, id);
        keys.by_id.insert(id, Arc::clone(&key));
        Ok(key)
    }
}

impl SubjectKeys for FileSubjectKeys {
    fn current(
        &self,
        subject: Subject,
        class: RetentionClass,
        at_s: u64,
    ) -> Result<Arc<SubjectKey>, SubjectKeyError> {
        let purpose = Use {
            subject,
            class,
            month: month(at_s)?,
        };
        let mut keys = lock(&self.keys);
        let known = keys
            .id_by_use
            .get(&purpose)
            .and_then(|id| keys.by_id.get(id))
            .cloned();
        known.map_or_else(|| self.make(&mut keys, purpose), Ok)
    }

    fn of_subject(&self, subject: Subject) -> Vec<DekId> {
        let keys = lock(&self.keys);
        let of_subject = keys.by_id.values().filter(|key| key.subject() == subject);
        of_subject.map(|key| key.id()).collect()
    }

    fn existing(&self, id: &DekId) -> Result<Option<Arc<SubjectKey>>, SubjectKeyError> {
        Ok(lock(&self.keys).by_id.get(id).cloned())
    }

    fn shred(&self, id: &DekId) -> Result<bool, SubjectKeyError> {
        let mut keys = lock(&self.keys);
        disk::write_atomically(&self.path(id, DESTROYED), &[])?;
        let path = self.path(id, SUFFIX);
        let was_there = path.exists();
        if was_there {
            overwrite(&path).map_err(disk::io_error(&path))?;
        }
        keys.by_id.remove(id);
        keys.id_by_use.retain(|_, of_use| of_use != id);
        Ok(was_there)
    }
}

/// What an opened entry shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Its payload in clear.
    Clear(Vec<u8>),
    /// Its key was shredded; nobody can read it any more.
    Shredded,
}

/// Seals a payload under its subject's key and makes the entry's bytes. `header.dek_id` is set from the key.
pub(crate) fn seal_entry(
    keys: &dyn SubjectKeys,
    mut header: Header,
    subject: Subject,
    class: RetentionClass,
    payload: &[u8],
) -> Result<Vec<u8>, SubjectKeyError> {
    let key = keys.current(subject, class, header.at_s)?;
    header.dek_id = key.id();
    let mut sealed = payload.to_vec();
    let nonce: [u8; NONCE_LEN] = random()?;
    key.key
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header.encode()?),
            &mut sealed,
        )
        .map_err(|_| SubjectKeyError::Random)?;
    let payload = [nonce.as_slice(), &sealed].concat();
    Ok(Entry { header, payload }.encode()?)
}

/// Reads an entry's bytes: its header, and its payload unless the key was shredded.
pub(crate) fn open_entry(keys: &dyn SubjectKeys, bytes: &[u8]) -> Result<(Header, Payload), SubjectKeyError> {
    let Entry { header, payload } = Entry::decode(bytes)?;
    let Some(key) = keys.existing(&header.dek_id)? else {
        return Ok((header, Payload::Shredded));
    };
    let (nonce, sealed) = payload
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(SubjectKeyError::Unopened)?;
    let (nonce, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
    let clear = key
        .key
        .open_in_place(nonce, Aad::from(header.encode()?), &mut sealed)
        .map_err(|_| SubjectKeyError::Unopened)?
        .to_vec();
    Ok((header, Payload::Clear(clear)))
}

fn random<const N: usize>() -> Result<[u8; N], SubjectKeyError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SubjectKeyError::Random)?;
    Ok(bytes)
}

fn month(at_s: u64) -> Result<u32, SubjectKeyError> {
    let out_of_range = || SubjectKeyError::Time(at_s);
    let second = i64::try_from(at_s).map_err(|_| out_of_range())?;
    let date = jiff::tz::TimeZone::UTC
        .to_datetime(jiff::Timestamp::from_second(second).map_err(|_| out_of_range())?);
    let months = i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
    u32::try_from(months).map_err(|_| out_of_range())
}

fn id_of(path: &Path, suffix: &str) -> Option<DekId> {
    hex::decode(path.file_name()?.to_str()?.strip_suffix(suffix)?)
        .ok()?
        .try_into()
        .ok()
}

fn decode(id: DekId, bytes: &[u8]) -> Option<(Use, SubjectKey)> {
    let (stored, check) = bytes.split_first_chunk::<FILE_LEN>()?;
    if !check.is_empty() && check != files::check_of(&id, stored) {
        return None;
    }
    let (key, rest) = stored.split_first_chunk::<KEY_LEN>()?;
    let (subject, rest) = rest.split_first_chunk::<16>()?;
    let (class, month) = rest.split_first()?;
    let class = RetentionClass::of_code(*class)?;
    let month = u32::from_be_bytes(month.try_into().ok()?);
    Some((
        Use {
            subject: Subject(*subject),
            class,
            month,
        },
        SubjectKey::new(id, Subject(*subject), key)?,
    ))
}

fn not_a_key(path: &Path) -> LedgerError {
    LedgerError::Io {
        path: path.to_owned(),
        error: io::Error::new(
            io::ErrorKind::InvalidData,
            "damaged, or no payload key; restore it from the backup of `subject-keys/`",
        ),
    }
}

/// Overwrites, then unlinks, both durably.
fn overwrite(path: &Path) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(&[0; FILE_LEN + CHECK])?;
    file.sync_all()?;
    std::fs::remove_file(path)?;
    disk::sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JANUARY: u64 = 1_798_761_600;
    const FEBRUARY: u64 = JANUARY + 31 * 86_400;

    fn header(at_s: u64) -> Header {
        Header {
            tenant: "acme".to_owned(),
            at_s,
            writer_id: "gateway-1".to_owned(),
            writer_seq: 0,
            kind: "relay".to_owned(),
            policy_version: 1,
            dek_id: [0; 16],
            entry_id: [5; 16],
        }
    }

    fn open(folder: &tempfile::TempDir) -> FileSubjectKeys {
        FileSubjectKeys::open(folder.path()).unwrap()
    }

    /// W1
    #[test]
    fn keys_differ_by_subject_class_and_month() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(&folder);
        let (alice, bob) = (Subject::person([1; 16]), Subject::person([2; 16]));
        let id = |subject, class, at_s| keys.current(subject, class, at_s).unwrap().id();
        let first = id(alice, RetentionClass::Sharing, JANUARY);
        assert_eq!(id(alice, RetentionClass::Sharing, FEBRUARY - 1), first);
        let mut all = vec![
            first,
            id(alice, RetentionClass::Sharing, FEBRUARY),
            id(alice, RetentionClass::Administration, JANUARY),
            id(bob, RetentionClass::Sharing, JANUARY),
        ];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    /// K27: sealed for one start, opened after the next.
    #[test]
    fn sealed_entry_opens_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let alice = Subject::person([1; 16]);
        let entry = seal_entry(
            &open(&folder),
            header(JANUARY),
            alice,
            RetentionClass::Sharing,
            b"about her",
        )
        .unwrap();
        assert!(!entry.windows(9).any(|window| window == b"about her"));
        let keys = open(&folder);
        let (read, payload) = open_entry(&keys, &entry).unwrap();
        assert_eq!(payload, Payload::Clear(b"about her".to_vec()));
        assert_eq!(
            read.dek_id,
            keys.current(alice, RetentionClass::Sharing, JANUARY)
                .unwrap()
                .id()
        );
    }

    #[test]
    fn changed_header_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(&folder);
        let entry = seal_entry(
            &keys,
            header(JANUARY),
            Subject::GATEWAY,
            RetentionClass::Administration,
            b"x",
        )
        .unwrap();
        let mut changed = Entry::decode(&entry).unwrap();
        changed.header.at_s += 1;
        let outcome = open_entry(&keys, &changed.encode().unwrap());
        assert!(matches!(outcome, Err(SubjectKeyError::Unopened)));
    }

    /// W1
    #[test]
    fn shredded_key_is_gone_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(&folder);
        let alice = Subject::person([1; 16]);
        let entry = seal_entry(
            &keys,
            header(JANUARY),
            alice,
            RetentionClass::Sharing,
            b"about her",
        )
        .unwrap();
        let id = Entry::decode(&entry).unwrap().header.dek_id;
        assert!(keys.shred(&id).unwrap());
        assert!(!keys.shred(&id).unwrap());
        assert_eq!(open_entry(&keys, &entry).unwrap().1, Payload::Shredded);
        assert_eq!(open_entry(&open(&folder), &entry).unwrap().1, Payload::Shredded);
        assert_ne!(
            keys.current(alice, RetentionClass::Sharing, JANUARY)
                .unwrap()
                .id(),
            id
        );
        let is_key = |file: &std::io::Result<std::fs::DirEntry>| {
            file.as_ref().unwrap().path().extension().unwrap() == "key"
        };
        let files = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(files.filter(is_key).count(), 1);
        assert_eq!(open(&folder).destroyed().unwrap(), BTreeSet::from([id]));
    }

    #[test]
    fn file_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("{}.key", "00".repeat(16))), [0; 12]).unwrap();
        assert!(FileSubjectKeys::open(folder.path()).is_err());
    }

    #[test]
    fn debug_of_a_key_is_its_name() {
        let key = SubjectKey::new([0xab; 16], Subject::GATEWAY, &[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), format!("SubjectKey({})", "ab".repeat(16)));
    }
}
