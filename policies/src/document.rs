//! The policy folder (policy.md): read whole, checked whole; every problem is told at once.
//!
//! ```text
//! my-policy/
//!   policy.toml            tenant, zone, labels, packs, offline mode
//!   detectors/*.toml       own detectors
//!   dlp.toml               rules
//!   sharing/model.conf     casbin model
//!   sharing/policy.csv     casbin rules
//!   tests/*.toml           given draft or metadata -> expected verdict; other files under tests/ are their drafts
//! ```
//! Markdown files and names that start with a dot are left alone. A bundle has the same files, and the packs that
//! the policy names as `packs/<id>.toml`, so that it needs nothing else.

use std::collections::BTreeMap;

use crate::cases::Case;
use crate::detector::{BUILT_IN, Detector};
use crate::limits;
use crate::rule::Rule;
use crate::sharing::Sharing;
use crate::terms::TenantId;

mod cases;
mod detectors;
pub(crate) mod fields;
pub mod packs;
mod policy_file;
pub(crate) mod problem;
mod rules;
#[cfg(test)]
mod tests;

pub use policy_file::OfflineMode;
pub(crate) use policy_file::PolicyFile;
use problem::{Collector, Source};
pub use problem::{Problem, Problems};

/// The file that says what holds for the whole company.
const POLICY: &str = "policy.toml";
const RULES: &str = "dlp.toml";
const MODEL: &str = "sharing/model.conf";
const LINES: &str = "sharing/policy.csv";
const PACKS: &str = "packs/";

/// A policy folder, as the shell read it: paths are relative, with `/`.
#[derive(Clone, Default)]
pub struct Folder {
    /// The files.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

/// A policy without any problem.
#[derive(Clone, Debug)]
pub struct Checked {
    parts: Folder,
    pub(crate) policy: PolicyFile,
    pub(crate) detectors: Vec<Detector>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) sharing: Sharing,
    pub(crate) cases: Vec<Case>,
}

impl Checked {
    /// What goes into a bundle: the folder's files, and the packs that it names.
    #[must_use]
    pub fn parts(&self) -> BTreeMap<String, Vec<u8>> {
        self.parts.files.clone()
    }

    pub(crate) fn part(&self, path: &str) -> Option<&[u8]> {
        self.parts.files.get(path).map(Vec::as_slice)
    }

    /// The tenant.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.policy.tenant
    }
}

/// Checks an author's folder. Packs are those that ship with this program.
///
/// # Errors
/// Every problem that was found, with file, line, column, and what to do.
pub fn check(folder: &Folder) -> Result<Checked, Problems> {
    check_with(folder, Packs::Shipped)
}

/// Checks the parts of a bundle, which brings its packs along.
pub(crate) fn check_parts(folder: &Folder) -> Result<Checked, Problems> {
    check_with(folder, Packs::Brought)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Packs {
    Shipped,
    Brought,
}

fn check_with(folder: &Folder, packs: Packs) -> Result<Checked, Problems> {
    let collector = Collector::default();
    let checked = read(folder, packs, &collector);
    collector.into_result()?;
    checked.ok_or_else(|| {
        Problems::one(
            POLICY,
            "the folder cannot be read",
            "check that every key has the type that the others have",
        )
    })
}

fn read(folder: &Folder, packs: Packs, collector: &Collector) -> Option<Checked> {
    check_files(folder, packs, collector);
    let policy = source(folder, POLICY, collector).and_then(policy_file::read);
    let mut detectors = Detectors {
        collector,
        found: Vec::new(),
    };
    let mut parts = own_parts(folder);
    let packs_are_there = policy
        .as_ref()
        .is_some_and(|policy| read_packs(folder, policy, packs, &mut detectors, &mut parts));
    for file in own_detector_files(folder) {
        if let Some(pack) = source(folder, file, collector).and_then(detectors::read) {
            detectors.add(file, source(folder, file, collector), pack);
        }
    }
    let found: Vec<Detector> = detectors
        .found
        .into_iter()
        .map(|(detector, _)| detector)
        .collect();
    let labels = policy.as_ref().map(|policy| policy.labels.as_slice());
    let known = rules::Known {
        labels,
        detectors: packs_are_there.then_some(found.as_slice()),
    };
    let rules = source(folder, RULES, collector)
        .map(|source| rules::read(source, &known))
        .unwrap_or_default();
    let sharing = read_sharing(folder, policy.as_ref(), collector);
    let policy = policy?;
    let cases = read_cases(folder, &policy, &found, &rules, collector);
    Some(Checked {
        parts,
        policy,
        detectors: found,
        rules,
        sharing: sharing?,
        cases,
    })
}

/// One text file of the folder; it is a problem if it is not there.
fn source<'a>(folder: &'a Folder, file: &'a str, collector: &'a Collector) -> Option<Source<'a>> {
    let Some(bytes) = folder.files.get(file) else {
        let help = "every policy folder has policy.toml, dlp.toml, sharing/model.conf and sharing/policy.csv";
        collector.file(file, "the file is missing".to_owned(), help.to_owned());
        return None;
    };
    if bytes.len() > limits::TEXT_FILE_BYTES_MAX {
        let message = format!("the file is larger than {} bytes", limits::TEXT_FILE_BYTES_MAX);
        collector.file(file, message, "split it".to_owned());
        return None;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        collector.file(
            file,
            "the file is not UTF-8 text".to_owned(),
            "save it as UTF-8".to_owned(),
        );
        return None;
    };
    Some(Source {
        file,
        text,
        collector,
    })
}

fn is_left_alone(file: &str) -> bool {
    file.ends_with(".md") || file.split('/').any(|name| name.starts_with('.'))
}

fn is_own_detectors(file: &str) -> bool {
    file.strip_prefix("detectors/")
        .is_some_and(|name| name.ends_with(".toml") && !name.contains('/'))
}

fn is_tests(file: &str) -> bool {
    file.strip_prefix("tests/")
        .is_some_and(|name| name.ends_with(".toml") && !name.contains('/'))
}

fn own_detector_files(folder: &Folder) -> impl Iterator<Item = &str> {
    folder
        .files
        .keys()
        .map(String::as_str)
        .filter(|file| is_own_detectors(file) && !is_left_alone(file))
}

fn own_parts(folder: &Folder) -> Folder {
    let parts = folder
        .files
        .iter()
        .filter(|(file, _)| !is_left_alone(file) && !file.starts_with(PACKS));
    Folder {
        files: parts.map(|(file, bytes)| (file.clone(), bytes.clone())).collect(),
    }
}

fn check_files(folder: &Folder, packs: Packs, collector: &Collector) {
    for file in folder.files.keys().filter(|file| !is_left_alone(file)) {
        let known = [POLICY, RULES, MODEL, LINES].contains(&file.as_str())
            || is_own_detectors(file)
            || file.starts_with("tests/")
            || (packs == Packs::Brought && file.starts_with(PACKS));
        if !known {
            let help = "a folder has policy.toml, dlp.toml, detectors/*.toml, sharing/model.conf, sharing/policy.csv and tests/";
            collector.file(
                file,
                "the file is no part of a policy".to_owned(),
                help.to_owned(),
            );
        }
    }
    let total: usize = folder.files.values().map(Vec::len).sum();
    if folder.files.len() > limits::PARTS_MAX || total > limits::BUNDLE_BYTES_MAX {
        let message = format!(
            "the folder has more than {} files or {} bytes",
            limits::PARTS_MAX,
            limits::BUNDLE_BYTES_MAX
        );
        collector.file(
            POLICY,
            message,
            "remove files of tests, or make them smaller".to_owned(),
        );
    }
}

/// Detectors as they come together, each with the file that it is from.
struct Detectors<'a> {
    collector: &'a Collector,
    found: Vec<(Detector, String)>,
}

impl Detectors<'_> {
    fn add(&mut self, file: &str, source: Option<Source<'_>>, pack: detectors::Pack) {
        for detector in pack.detectors {
            let earlier = self
                .found
                .iter()
                .find(|(earlier, _)| earlier.id == detector.value.id);
            if let (Some((_, first)), Some(source)) = (earlier, source) {
                let message = format!("detector `{}` is already in {first}", detector.value.id);
                source.problem(&detector.at, message, "give it an id of its own");
            }
            if let Some(source) = source.filter(|_| is_built_in(&detector.value)) {
                let message = format!("detector `{}` comes with the inspector", detector.value.id);
                source.problem(&detector.at, message, "give it an id of its own");
            }
            self.found.push((detector.value, file.to_owned()));
        }
        if self.found.len() > limits::DETECTORS_MAX {
            let message = format!("there are more than {} detectors", limits::DETECTORS_MAX);
            self.collector.file(file, message, "remove some".to_owned());
        }
    }
}

fn is_built_in(detector: &Detector) -> bool {
    BUILT_IN.iter().any(|(id, _)| *id == detector.id.as_str())
}

/// Whether every pack is there.
fn read_packs(
    folder: &Folder,
    policy: &PolicyFile,
    packs: Packs,
    detectors: &mut Detectors<'_>,
    parts: &mut Folder,
) -> bool {
    let collector = detectors.collector;
    let Some(policy_source) = source(folder, POLICY, collector) else {
        return false;
    };
    let mut complete = true;
    let mut seen: Vec<&str> = Vec::new();
    for name in &policy.packs {
        let id = name.value.id.as_str();
        let file = format!("{PACKS}{id}.toml");
        let text = match packs {
            Packs::Shipped => packs::SHIPPED
                .iter()
                .find(|(shipped, _)| *shipped == id)
                .map(|(_, text)| *text),
            Packs::Brought => folder
                .files
                .get(&file)
                .and_then(|bytes| std::str::from_utf8(bytes).ok()),
        };
        let Some(text) = text else {
            let names: Vec<&str> = packs::SHIPPED.iter().map(|(shipped, _)| *shipped).collect();
            policy_source.problem(
                &name.at,
                format!("there is no pack `{id}`"),
                format!("one of {}", names.join(", ")),
            );
            complete = false;
            continue;
        };
        if seen.contains(&id) {
            policy_source.problem(
                &name.at,
                format!("pack `{id}` is named twice"),
                "remove one of the two",
            );
            continue;
        }
        seen.push(id);
        let source = Source {
            file: &file,
            text,
            collector,
        };
        let Some(pack) = detectors::read(source) else {
            complete = false;
            continue;
        };
        if pack.id != id || pack.version != name.value.version {
            let message = format!(
                "pack `{id}` has version {}, not {}",
                pack.version, name.value.version
            );
            policy_source.problem(
                &name.at,
                message,
                format!("say `{id}@{}` after reading what changed", pack.version),
            );
        }
        detectors.add(&file, Some(source), pack);
        parts.files.insert(file, text.as_bytes().to_vec());
    }
    complete
}

fn read_sharing(folder: &Folder, policy: Option<&PolicyFile>, collector: &Collector) -> Option<Sharing> {
    let model = source(folder, MODEL, collector);
    let lines = source(folder, LINES, collector);
    crate::sharing::read(model?, lines?, policy)
}

fn read_cases(
    folder: &Folder,
    policy: &PolicyFile,
    detectors: &[Detector],
    rules: &[Rule],
    collector: &Collector,
) -> Vec<Case> {
    let known = cases::Known {
        folder,
        policy,
        detectors,
        rules,
    };
    let files = folder
        .files
        .keys()
        .filter(|file| is_tests(file) && !is_left_alone(file));
    files
        .filter_map(|file| source(folder, file, collector))
        .flat_map(|source| cases::read(source, &known))
        .collect()
}
