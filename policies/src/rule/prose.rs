//! Rules in plain words, for the person to whom they apply (R3).

use jiff::civil::Weekday;

use super::{Condition, FindingCondition, Mode, OfflineRule, ReportLevel, Rule, TimeWindow};
use crate::terms::{Action, AudienceClass, Binding};

impl Rule {
    /// The rule as a few plain sentences: when it fires, what then happens, what is reported, and who is excepted.
    #[must_use]
    pub fn in_plain_words(&self) -> String {
        let mut words = format!(
            "{} When {}, {}.",
            self.sentence,
            self.when.in_plain_words(),
            self.consequence()
        );
        if let Some(action) = self.on_unscannable {
            words += &format!(" If something in the story cannot be read, {}.", in_words(action));
        }
        if self.offline == OfflineRule::Block && self.action < Action::Block {
            words += " Without a connection to the gateway, nothing is sealed then.";
        }
        if !self.set_labels.is_empty() {
            words += &format!(" The story gets the label {}.", list(&self.set_labels, "and"));
        }
        for exception in &self.exceptions {
            let when = exception.when.in_plain_words();
            words += &format!(
                " Until the end of {} it does not apply when {when}: {}",
                exception.until, exception.why
            );
        }
        words += match self.report {
            ReportLevel::None => " Nothing is reported.",
            ReportLevel::Count => " Only that it happened is reported.",
            ReportLevel::Event => " A coarse event without content is reported.",
        };
        words
    }

    fn consequence(&self) -> String {
        match self.mode {
            Mode::Off => format!(
                "nothing happens: the rule is off (otherwise: {})",
                in_words(self.action)
            ),
            Mode::Shadow => format!(
                "nothing happens: the rule is on trial (otherwise: {})",
                in_words(self.action)
            ),
            Mode::Enforce => in_words(self.action).to_owned(),
        }
    }
}

const fn in_words(action: Action) -> &'static str {
    match action {
        Action::Allow => "it may be shared",
        Action::Audit => "it may be shared, and that is recorded",
        Action::Warn => "you are asked to confirm",
        Action::Justify => "you are asked for a reason",
        Action::Redact => "what was found is removed before sealing",
        Action::Block => "nothing is sealed",
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>, last: &str) -> String {
    let words: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

impl Condition {
    fn in_plain_words(&self) -> String {
        let mut parts = Vec::new();
        if !self.findings.is_empty() {
            parts.push(format!(
                "it holds {}",
                list(self.findings.iter().map(FindingCondition::in_plain_words), "or")
            ));
        }
        parts.extend(self.unscannable.map(|unscannable| {
            if unscannable {
                "something in it cannot be read"
            } else {
                "everything in it can be read"
            }
            .to_owned()
        }));
        let classes = self.audience_class.iter().map(|class| match class {
            AudienceClass::Internal => "only colleagues are in the audience",
            AudienceClass::Guest => "a guest is in the audience",
        });
        parts.extend(one_of("", classes));
        parts.extend(
            self.audience_size_over
                .map(|size| format!("the audience has more than {size} people")),
        );
        parts.extend(one_of("it comes from the app ", &self.app));
        parts.extend(one_of("the device's key is kept in ", &self.tier));
        let sealers = self.binding.iter().map(|binding| match binding {
            Binding::AgentSealed => "the agent seals it",
            Binding::AppAsserted => "another app seals it",
        });
        parts.extend(one_of("", sealers));
        parts.extend(one_of("you are in the group ", &self.group));
        parts.extend(one_of("it has the label ", &self.label));
        parts.extend(self.item.as_ref().map(|item| {
            let kind = one_of("of the kind ", &item.kind).unwrap_or_else(|| "of any kind".to_owned());
            let size = item
                .size_over_bytes
                .map(|size| format!(" of more than {size} bytes"))
                .unwrap_or_default();
            format!("it has an item {kind}{size}")
        }));
        parts.extend(self.time.as_ref().map(TimeWindow::in_plain_words));
        parts.extend(one_of("the agent cannot use ", &self.without));
        if parts.is_empty() {
            "anything is shared".to_owned()
        } else {
            parts.join(" and ")
        }
    }
}

fn one_of<T: ToString>(before: &str, items: impl IntoIterator<Item = T>) -> Option<String> {
    let words = list(items, "or");
    (!words.is_empty()).then(|| format!("{before}{words}"))
}

impl FindingCondition {
    pub(crate) fn in_plain_words(&self) -> String {
        let what = match (&self.detector, &self.family) {
            (Some(detector), _) => format!("`{detector}`"),
            (None, Some(family)) => format!("something of the family `{family}`"),
            (None, None) => "any finding".to_owned(),
        };
        let count = if self.count > 1 {
            format!(", {} times or more", self.count)
        } else {
            String::new()
        };
        let distinct = if self.distinct > 1 {
            format!(", {} different ones or more", self.distinct)
        } else {
            String::new()
        };
        format!(
            "{what} (confidence {} or higher{count}{distinct})",
            self.confidence
        )
    }
}

impl TimeWindow {
    pub(crate) fn in_plain_words(&self) -> String {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let days = one_of(" on ", self.days.iter().map(|day| day_name(*day))).unwrap_or_default();
        if self.from_minute == 0 && self.to_minute == 0 {
            return format!("it is any time{days}");
        }
        format!(
            "it is between {} and {}{days}",
            clock(self.from_minute),
            clock(self.to_minute)
        )
    }
}

const fn day_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}
