//! The plan: a policy that was checked and compiled, and that alone can decide.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::bundle::VerifiedBundle;
use crate::document::{self, Checked, Folder, Problems};
use crate::sharing::Sharing;
use crate::terms::{
    Action, App, AudienceClass, Confidence, DetectorId, Digest, Family, GroupName, ItemKind, Label, PolicyRef, RuleId,
    TenantId, Tier, Validator,
};

/// Whether a rule bites (P15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not evaluated.
    Off,
    /// Evaluated and told apart, without effect.
    Shadow,
    /// In force.
    Enforce,
}

/// What is reported when a rule fires, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportLevel {
    /// Nothing.
    None,
    /// That it fired.
    Count,
    /// An event.
    Event,
}

/// What an agent does while the gateway is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfflineAction {
    /// Decide as always.
    Keep,
    /// Block what the rule fires on.
    Block,
}

/// What agents do with a policy that was not refreshed for long (B4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfflineMode {
    /// Go on with it.
    Keep,
    /// Seal nothing.
    Strict,
    /// Decide, and enforce nothing but blocks.
    Audit,
}

/// When a detector's keywords matter (N3, N5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum KeywordUse {
    /// No finding without one.
    Required,
    /// One raises the confidence.
    Raises,
    /// There are none.
    #[default]
    None,
}

/// Finds one kind of sensitive data (P1).
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    /// Its id, unique in the policy.
    pub id: DetectorId,
    /// Its family.
    pub family: Family,
    /// For people.
    pub name: String,
    /// What it finds, in a sentence.
    pub finds: String,
    /// Where the data comes from, BCP 47 or `*`.
    pub locale: Vec<String>,
    /// Pattern, in the syntax of `regex-automata`.
    pub pattern: String,
    /// The capture that is the value.
    pub group: u32,
    /// All of these must hold.
    pub validators: Vec<Validator>,
    /// Words that make a match likelier.
    pub keywords: Vec<String>,
    /// How far they may be away, characters on either side.
    pub within: u32,
    /// What keywords do.
    pub keyword: KeywordUse,
    /// Without a keyword.
    pub confidence: Confidence,
    /// With one.
    pub confidence_with_keyword: Confidence,
    /// Words that make a match less likely.
    pub negative: Vec<String>,
    /// Published test values, compact.
    pub known_test_values: Vec<String>,
    /// The least Shannon entropy of the value, bits per character.
    pub min_entropy: Option<f64>,
    /// A value that contains one is dropped.
    pub stop_words: Vec<String>,
    /// Texts in which it finds something.
    pub examples: Vec<String>,
    /// Texts in which it finds nothing.
    pub counter_examples: Vec<String>,
    /// Where it comes from.
    pub references: Vec<String>,
}

/// A rule about content.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its id, unique in the policy.
    pub id: RuleId,
    /// Whether it bites.
    pub mode: Mode,
    /// What it asks for.
    pub action: Action,
    /// Why, for the author of a draft.
    pub sentence: String,
    /// Whom to ask.
    pub owner: String,
    /// Where to read more.
    pub link: Option<String>,
    /// The quickest ways out.
    pub fixes: Vec<String>,
    /// Reasons to choose from.
    pub reasons: Vec<String>,
    /// What is reported.
    pub report: ReportLevel,
    /// The action if an item cannot be inspected, whatever was found.
    pub on_unscannable: Option<Action>,
    /// While the gateway is out of reach.
    pub offline: OfflineAction,
    /// Labels that it sets.
    pub set_labels: Vec<Label>,
    /// When it fires.
    pub when: Condition,
    /// When it does not, all the same (P4).
    pub exceptions: Vec<Exception>,
    /// Line in `dlp.toml`.
    pub line: u32,
}

/// Conditions that must all hold; an empty one holds always.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Condition {
    /// Any of these.
    pub findings: Vec<FindingCondition>,
    /// About the audience.
    pub audience: Option<AudienceCondition>,
    /// Any of these apps.
    pub app: Vec<App>,
    /// Any of these tiers.
    pub tier: Vec<Tier>,
    /// The author is in any of these groups.
    pub group: Vec<GroupName>,
    /// The draft has any of these labels.
    pub label: Vec<Label>,
    /// Some item is like this.
    pub item: Option<ItemCondition>,
    /// The time is within.
    pub time: Option<TimeWindow>,
    /// Whether an item cannot be inspected.
    pub unscannable: Option<bool>,
}

/// What must have been found.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingCondition {
    /// By this detector.
    pub detector: Option<DetectorId>,
    /// Or by a detector of this family.
    pub family: Option<Family>,
    /// With at least this confidence.
    pub confidence: Confidence,
    /// At least so often, over all items.
    pub count: u32,
    /// At least so many different values.
    pub distinct: u32,
}

/// About the audience.
#[derive(Clone, Debug, PartialEq)]
pub struct AudienceCondition {
    /// Any of these classes; empty for all.
    pub class: Vec<AudienceClass>,
    /// More devices than this.
    pub size_over: Option<u32>,
}

/// About an item.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemCondition {
    /// Any of these kinds; empty for all.
    pub kind: Vec<ItemKind>,
    /// Larger than this.
    pub size_over_bytes: Option<u64>,
}

/// A time of day, on some days, in the tenant's zone. `from` after `to` spans midnight.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeWindow {
    /// Included.
    pub from: Option<Time>,
    /// Excluded.
    pub to: Option<Time>,
    /// Empty for all.
    pub days: Vec<Weekday>,
}

/// A time-boxed exception of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// When it applies.
    pub when: Condition,
    /// The last day, in the tenant's zone.
    pub until: Date,
    /// Why it was given.
    pub why: String,
}

/// A policy that can decide.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) policy: PolicyRef,
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) time_zone: TimeZone,
    pub(crate) labels: Vec<Label>,
    pub(crate) offline_mode: OfflineMode,
    pub(crate) lifetime_max_s: u32,
    pub(crate) detectors: Vec<Detector>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) sharing: Sharing,
    pub(crate) tests: Vec<PolicyTest>,
}

impl Plan {
    /// Compiles a verified bundle.
    ///
    /// # Errors
    /// [`Problems`] if its parts are no sound policy; then it is not activated (B6).
    pub fn from_bundle(bundle: &VerifiedBundle) -> Result<Self, Problems> {
        let checked = document::check_parts(&Folder { files: bundle.parts().clone() })?;
        Ok(Self { policy: bundle.policy_ref(), ..checked.into_plan() })
    }

    /// Compiles an author's folder that was checked. It decides in tests alone: its policy has version 0,
    /// under which nothing is accepted.
    #[must_use]
    pub fn draft(checked: &Checked) -> Self {
        checked.clone().into_plan()
    }

    /// Version, digest and log index; all zero for a draft.
    #[must_use]
    pub const fn policy(&self) -> PolicyRef {
        self.policy
    }

    /// Whose policy it is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tenant's zone (K24).
    #[must_use]
    pub const fn time_zone(&self) -> &TimeZone {
        &self.time_zone
    }

    /// The tenant's labels, from open to closed.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// What agents do with a stale policy.
    #[must_use]
    pub const fn offline_mode(&self) -> OfflineMode {
        self.offline_mode
    }

    /// The longest lifetime of a story, seconds.
    #[must_use]
    pub const fn lifetime_max_s(&self) -> u32 {
        self.lifetime_max_s
    }

    /// Detectors of the packs and of the policy.
    #[must_use]
    pub fn detectors(&self) -> &[Detector] {
        &self.detectors
    }

    /// Rules, in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The casbin files.
    #[must_use]
    pub const fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// The policy's own tests.
    #[must_use]
    pub fn tests(&self) -> &[PolicyTest] {
        &self.tests
    }

    /// Minutes since midnight in the tenant's zone (Z3).
    #[must_use]
    pub fn local_minute(&self, now_s: u64) -> u16 {
        let time = local(&self.time_zone, now_s).time();
        u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or_default()
    }
}

/// A moment in a zone; the Unix epoch for what lies past the calendar.
pub(crate) fn local(zone: &TimeZone, now_s: u64) -> jiff::Zoned {
    let seconds = i64::try_from(now_s).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
}

/// A test of the policy folder: given this, expect that.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyTest {
    /// What it says.
    pub name: String,
    /// File in the folder.
    pub file: String,
    /// Line in the file.
    pub line: u32,
    /// What is given and expected.
    pub body: PolicyTestBody,
}

/// The two kinds of tests.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyTestBody {
    /// A draft through the inspection and the rules.
    Draft {
        /// Its text.
        text: String,
        /// Its files: name and content.
        files: Vec<(String, Vec<u8>)>,
        /// Class of the audience.
        audience_class: AudienceClass,
        /// Devices in the audience.
        audience_size: u32,
        /// The author's groups.
        groups: BTreeSet<GroupName>,
        /// Labels that the author adds.
        labels: BTreeSet<Label>,
        /// Expected action.
        action: Action,
        /// Rule that must have fired.
        rule: Option<RuleId>,
    },
    /// Metadata through the casbin rules.
    Sharing {
        /// The person's groups.
        groups: BTreeSet<GroupName>,
        /// Class of the audience.
        audience_class: AudienceClass,
        /// The story's labels.
        labels: BTreeSet<Label>,
        /// The app.
        app: App,
        /// The device's tier.
        tier: Tier,
        /// Minutes since local midnight.
        minute: u16,
        /// Whether it is allowed.
        allowed: bool,
        /// Line of `policy.csv` that must decide.
        line: Option<u32>,
    },
}

impl Rule {
    /// The rule in a sentence or two, for the employee's page (R3).
    #[must_use]
    pub fn in_plain_words(&self) -> String {
        let does = match self.action {
            Action::Allow => "is allowed",
            Action::Audit => "is recorded",
            Action::Warn => "asks you to look twice",
            Action::Justify => "asks you for a reason",
            Action::Redact => "is removed before sealing",
            Action::Block => "is not sent",
        };
        let mode = match self.mode {
            Mode::Off => " (switched off)",
            Mode::Shadow => " (only tried out: it has no effect)",
            Mode::Enforce => "",
        };
        format!("{} What it finds {does}{mode}. Owner: {}.", self.sentence, self.owner)
    }
}

/// Digest, version and log index of no bundle.
pub(crate) const DRAFT_POLICY: PolicyRef = PolicyRef { version: 0, digest: Digest::from_bytes([0; 32]), log_index: 0 };

/// Findings by detector, summed over items: what conditions are held against.
pub(crate) type Sums<'a> = BTreeMap<(&'a DetectorId, &'a Family, Confidence), (u32, u32)>;
