//! A DLP rule: conditions over findings and context, and what is done when they hold (P5, P6).

use std::collections::BTreeSet;

use jiff::civil::{Date, Weekday};

use crate::terms::{
    Action, App, AudienceClass, Binding, Confidence, DetectorId, Family, GroupName, ItemKind, Label, RuleId,
    Tier, words,
};

mod prose;

words! {
    /// Whether a rule bites (P15).
    Mode {
        /// Not decided.
        Off = "off",
        /// Decided and shown beside the others; changes nothing.
        Shadow = "shadow",
        /// Decided, and bites.
        Enforce = "enforce",
    }
    /// What is reported when a rule fired, in rising order (P6).
    ReportLevel {
        /// Nothing.
        None = "none",
        /// That it fired.
        Count = "count",
        /// A coarse event (K25).
        Event = "event",
    }
    /// What a rule does on an agent that cannot reach its gateway.
    OfflineRule {
        /// The same.
        Keep = "keep",
        /// It blocks.
        Block = "block",
    }
    /// Something that an inspector may or may not be able to do (K21).
    Capability {
        /// Text in pictures.
        Ocr = "ocr",
        /// Names and addresses.
        Ner = "ner",
        /// Parsers in a sandboxed child.
        Sandbox = "sandbox",
    }
}

/// A DLP rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its id, unique in a plan.
    pub id: RuleId,
    /// Whether it bites.
    pub mode: Mode,
    /// What is done.
    pub action: Action,
    /// Why, in a plain sentence for the employee.
    pub sentence: String,
    /// Whom to ask; empty for nobody.
    pub owner: String,
    /// Where to read more; empty for nowhere.
    pub link: String,
    /// The quickest ways out, offered in this order.
    pub fixes: Vec<String>,
    /// Reasons offered for `justify`.
    pub reasons: Vec<String>,
    /// What is reported.
    pub report: ReportLevel,
    /// What is done when an item is unscannable and the conditions other than findings hold.
    pub on_unscannable: Option<Action>,
    /// What it does offline.
    pub offline: OfflineRule,
    /// Labels that a draft gets when the rule fires.
    pub set_labels: BTreeSet<Label>,
    /// When it fires: all given conditions must hold.
    pub when: Condition,
    /// When it does not fire all the same.
    pub exceptions: Vec<Exception>,
    /// File in the policy folder.
    pub file: String,
    /// Line in that file, from 1.
    pub line: u32,
}

/// Conditions; all that are given must hold. No condition names a person (R4).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// Any one of these; empty: no condition.
    pub findings: Vec<FindingCondition>,
    /// Classes of audience; empty: any.
    pub audience_class: Vec<AudienceClass>,
    /// More persons than this.
    pub audience_size_over: Option<u32>,
    /// From one of these apps; empty: any.
    pub app: Vec<App>,
    /// From a device of one of these tiers; empty: any.
    pub tier: Vec<Tier>,
    /// Sealed by one of these; empty: any.
    pub binding: Vec<Binding>,
    /// The author is in one of these groups; empty: any.
    pub group: Vec<GroupName>,
    /// The draft has one of these labels; empty: any.
    pub label: Vec<Label>,
    /// Some item is of one of these kinds and larger than that.
    pub item: Option<ItemCondition>,
    /// In this part of the week, in the tenant's zone (K24).
    pub time: Option<TimeWindow>,
    /// Whether some item is unscannable.
    pub unscannable: Option<bool>,
    /// The inspector lacks one of these; empty: no condition.
    pub without: Vec<Capability>,
}

/// A condition over findings; what is given must hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingCondition {
    /// Of this family.
    pub family: Option<Family>,
    /// Of this detector.
    pub detector: Option<DetectorId>,
    /// At least this sure.
    pub confidence: Confidence,
    /// At least so many matches in all items together.
    pub count: u32,
    /// At least so many different values, added up over items.
    pub distinct: u32,
}

/// A condition over one item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemCondition {
    /// Of one of these kinds; empty: any.
    pub kind: Vec<ItemKind>,
    /// Larger than this.
    pub size_over_bytes: Option<u64>,
}

/// A part of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    /// First minute since midnight.
    pub from_minute: u16,
    /// Minute since midnight at which it ends; at or before `from_minute`: on the day after.
    pub to_minute: u16,
    /// Days on which it starts; empty: every day.
    pub days: Vec<Weekday>,
}

/// When a rule does not fire, until a day (P4).
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// All given conditions must hold.
    pub when: Condition,
    /// Last day, in the tenant's zone.
    pub until: Date,
    /// Why, in a plain sentence.
    pub why: String,
}

impl Condition {
    /// Whether it asks for labels.
    #[must_use]
    pub fn asks_for_labels(&self) -> bool {
        !self.label.is_empty()
    }

    /// Whether it asks for nothing, and so always holds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Rule {
    /// Whether it, or an exception of it, asks for labels.
    #[must_use]
    pub fn asks_for_labels(&self) -> bool {
        self.when.asks_for_labels()
            || self
                .exceptions
                .iter()
                .any(|exception| exception.when.asks_for_labels())
    }
}
