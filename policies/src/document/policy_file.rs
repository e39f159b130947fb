//! `policy.toml`: what holds for the whole company.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::fields::{Fields, Placed, parse, words_help};
use super::problem::Source;
use crate::limits;
use crate::terms::{Label, TenantId, words};

words! {
    /// What an agent does when its policy has been stale for longer than the grace period (B4).
    OfflineMode {
        /// Keeps enforcing the last policy.
        Keep = "keep",
        /// Seals nothing.
        Strict = "strict",
        /// Lets through and records.
        Audit = "audit",
    }
}

/// What `policy.toml` says.
#[derive(Clone, Debug)]
pub(crate) struct PolicyFile {
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) zone_name: String,
    pub(crate) zone: TimeZone,
    pub(crate) labels: Vec<Label>,
    pub(crate) packs: Vec<Placed<PackName>>,
    pub(crate) offline_mode: OfflineMode,
    pub(crate) offline_grace_s: u64,
    pub(crate) lifetime_max_s: u64,
}

/// A pack pinned to a version: `bank@1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackName {
    pub(crate) id: String,
    pub(crate) version: u64,
}

impl std::str::FromStr for PackName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, version) = text.split_once('@').ok_or(())?;
        let version = version.parse().map_err(|_| ())?;
        if id.is_empty() {
            Err(())
        } else {
            Ok(Self {
                id: id.to_owned(),
                version,
            })
        }
    }
}

/// The zone by its IANA name, from the database that is compiled in: the same on every device (K21).
fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

pub(super) fn read(source: Source<'_>) -> Option<PolicyFile> {
    let table = parse(source)?;
    let fields = Fields::new(source, table.get_ref(), 0..0);
    let tenant = fields.required(
        "tenant",
        "the tenant's id: lower-case letters, digits, `.`, `_`, `-`",
    );
    let name = fields.required_text("name").value;
    let zone_name = fields.required_text("time_zone");
    let zone = zone(&zone_name.value);
    if zone.is_none() && !zone_name.value.is_empty() {
        let message = format!("`{}` is no time zone", zone_name.value);
        fields.wrong(
            &zone_name.at,
            message,
            "give an IANA name, such as `Europe/Berlin` or `UTC`",
        );
    }
    let labels = labels(&fields);
    let packs = fields.parsed_list::<PackName>("packs", "a pack and its version, such as `bank@1`");
    let offline_mode = fields.parsed("offline_mode", &words_help(OfflineMode::ALL));
    let offline_grace_s = fields.number("offline_grace_s", 0..=limits::OFFLINE_GRACE_S_MAX);
    let lifetime_max_s = fields.number("lifetime_max_s", 1..=limits::LIFETIME_S_MAX);
    fields.finish();
    Some(PolicyFile {
        tenant: tenant?.value,
        name,
        zone_name: zone_name.value,
        // A wrong zone is a problem by now; the rest of the folder is still checked.
        zone: zone.unwrap_or(TimeZone::UTC),
        labels,
        packs,
        offline_mode: offline_mode.map_or(OfflineMode::Keep, |mode| mode.value),
        offline_grace_s: offline_grace_s.unwrap_or(limits::OFFLINE_GRACE_S),
        lifetime_max_s: lifetime_max_s.unwrap_or(limits::LIFETIME_S_MAX),
    })
}

fn labels(fields: &Fields<'_>) -> Vec<Label> {
    let placed = fields.parsed_list::<Label>("labels", "a label: lower-case letters, digits, `.`, `_`, `-`");
    if let Some(extra) = placed.get(limits::LABELS_MAX) {
        let message = format!("there are more than {} labels", limits::LABELS_MAX);
        fields.wrong(
            &extra.at,
            message,
            "labels leave the device: keep them few and coarse",
        );
    }
    let mut labels: Vec<Label> = Vec::new();
    for Placed { value, at } in placed {
        if labels.contains(&value) {
            fields.wrong(
                &at,
                format!("label `{value}` is given twice"),
                "remove one of the two",
            );
        } else if value.as_str() == "none" {
            fields.wrong(
                &at,
                "`none` cannot be a label",
                "sharing rules use it for stories without labels",
            );
        } else {
            labels.push(value);
        }
    }
    labels
}
