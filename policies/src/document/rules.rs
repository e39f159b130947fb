//! `dlp.toml`: the rules.

use jiff::civil::{Date, Weekday};

use super::fields::{Fields, Placed, parse, words_help};
use super::problem::Source;
use crate::detector::{BUILT_IN, Detector};
use crate::limits;
use crate::rule::{
    Capability, Condition, Exception, FindingCondition, ItemCondition, Mode, OfflineRule, ReportLevel, Rule,
    TimeWindow,
};
use crate::terms::{Action, AudienceClass, Binding, Confidence, DetectorId, Family, ItemKind, Label, Tier};

const NAME: &str = "a name: lower-case letters, digits, `.`, `_`, `-`";
const MINUTES_OF_DAY: u16 = 24 * 60;

/// What rules may refer to.
pub(super) struct Known<'a> {
    /// `None` if policy.toml could not be read: then nothing is said about labels.
    pub(super) labels: Option<&'a [Label]>,
    /// `None` if a pack is not there: then nothing is said about detectors.
    pub(super) detectors: Option<&'a [Detector]>,
}

impl Known<'_> {
    fn has_family(&self, family: &Family) -> bool {
        self.detectors
            .is_none_or(|known| known.iter().any(|detector| detector.family == *family))
            || BUILT_IN.iter().any(|(_, built_in)| *built_in == family.as_str())
    }

    fn has_detector(&self, id: &DetectorId) -> bool {
        self.detectors
            .is_none_or(|known| known.iter().any(|detector| detector.id == *id))
            || BUILT_IN.iter().any(|(built_in, _)| *built_in == id.as_str())
    }
}

/// Reads the file. Problems are collected; rules that could be read come back in their order.
pub(super) fn read(source: Source<'_>, known: &Known<'_>) -> Vec<Rule> {
    let Some(table) = parse(source) else {
        return Vec::new();
    };
    let fields = Fields::new(source, table.get_ref(), 0..0);
    let mut rules: Vec<Rule> = Vec::new();
    for table in fields.tables("rule") {
        let at = table.at.clone();
        let Some(rule) = rule(table, known) else { continue };
        if let Some(first) = rules.iter().find(|first| first.id == rule.id) {
            let message = format!("rule `{}` is already on line {}", rule.id, first.line);
            source.problem(&at, message, "give every rule its own id");
        }
        rules.push(rule);
    }
    if rules.len() > limits::RULES_MAX {
        source.problem(
            &(0..0),
            format!("there are more than {} rules", limits::RULES_MAX),
            "merge some",
        );
    }
    fields.finish();
    rules
}

fn rule(fields: Fields<'_>, known: &Known<'_>) -> Option<Rule> {
    let actions = words_help(Action::ALL);
    let id = fields.required("id", NAME);
    let mode = fields.required("mode", &words_help(Mode::ALL));
    let action = fields.required("action", &actions);
    let sentence = fields.required_text("sentence").value;
    let owner = fields.text("owner").map(|text| text.value).unwrap_or_default();
    let link = fields.text("link").map(|text| text.value).unwrap_or_default();
    let report = fields.parsed("report", &words_help(ReportLevel::ALL));
    let on_unscannable = fields.parsed("on_unscannable", &actions);
    let offline = fields.parsed("offline", &words_help(OfflineRule::ALL));
    let set_labels = known_labels(&fields, "set_labels", known);
    let fixes = fields.plain_texts("fixes");
    let reasons = fields.plain_texts("reasons");
    let when = match fields.table("when") {
        Some(table) => condition(table, known),
        None => {
            fields.wrong(
                &fields.at,
                "the rule has no `[rule.when]`",
                "say when it fires, such as [rule.when] findings = [...]",
            );
            Condition::default()
        }
    };
    let exceptions = fields
        .tables("except")
        .into_iter()
        .filter_map(|table| exception(table, known))
        .collect();
    fields.finish();
    let line = fields.source.line(&fields.at);
    let file = fields.source.file.to_owned();
    let rule = Rule {
        id: id?.value,
        mode: mode?.value,
        action: action?.value,
        sentence,
        owner,
        link,
        fixes,
        reasons,
        report: report.map_or(ReportLevel::Count, |report| report.value),
        on_unscannable: on_unscannable.map(|action| action.value),
        offline: offline.map_or(OfflineRule::Keep, |offline| offline.value),
        set_labels: set_labels.into_iter().collect(),
        when,
        exceptions,
        file,
        line,
    };
    if rule.asks_for_labels() && !rule.set_labels.is_empty() {
        let help = "split it: one rule sets the label, the other asks for it";
        fields.wrong(&fields.at, "a rule that asks for labels cannot set labels", help);
    }
    Some(rule)
}

fn exception(fields: Fields<'_>, known: &Known<'_>) -> Option<Exception> {
    let when = fields.table("when").map(|table| condition(table, known));
    if when.is_none() {
        fields.wrong(
            &fields.at,
            "the exception has no `when`",
            "say for what it holds: when = { group = [\"...\"] }",
        );
    }
    let until = fields.required::<Date>("until", "its last day: \"2027-01-31\"");
    let why = fields.required_text("why").value;
    fields.finish();
    Some(Exception {
        when: when?,
        until: until?.value,
        why,
    })
}

fn known_labels(fields: &Fields<'_>, key: &'static str, known: &Known<'_>) -> Vec<Label> {
    let labels = fields.parsed_list::<Label>(key, NAME);
    if let Some(known) = known.labels {
        for label in labels.iter().filter(|label| !known.contains(&label.value)) {
            let message = format!("there is no label `{}`", label.value);
            fields.wrong(&label.at, message, format!("policy.toml has: {}", join(known)));
        }
    }
    values(labels)
}

fn join<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn values<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}

fn condition(fields: Fields<'_>, known: &Known<'_>) -> Condition {
    let findings = fields
        .tables("findings")
        .into_iter()
        .filter_map(|table| finding(table, known))
        .collect();
    let (audience_class, audience_size_over) = match fields.table("audience") {
        Some(audience) => {
            let class = values(audience.one_or_more("class", &words_help(AudienceClass::ALL)));
            let size = audience.number_u32("size_over", 0..=u32::MAX);
            audience.finish();
            (class, size)
        }
        None => (Vec::new(), None),
    };
    let condition = Condition {
        findings,
        audience_class,
        audience_size_over,
        app: values(fields.one_or_more("app", NAME)),
        tier: values(fields.one_or_more("tier", &words_help(Tier::ALL))),
        binding: values(fields.one_or_more("binding", &words_help(Binding::ALL))),
        group: values(fields.one_or_more("group", NAME)),
        label: known_labels(&fields, "label", known),
        item: fields.table("item").map(item),
        time: fields.table("time").map(time),
        unscannable: fields.flag("unscannable"),
        without: values(fields.one_or_more("without", &words_help(Capability::ALL))),
    };
    if condition.is_empty() {
        let help = "give at least one; for every story say audience = { class = [\"internal\", \"guest\"] }";
        fields.wrong(&fields.at, "there is no condition here", help);
    }
    fields.finish();
    condition
}

fn finding(fields: Fields<'_>, known: &Known<'_>) -> Option<FindingCondition> {
    let family = fields.parsed::<Family>("family", NAME);
    let detector = fields.parsed::<DetectorId>("detector", NAME);
    let confidence = fields.parsed("confidence", &words_help(Confidence::ALL));
    let count = fields.number_u32("count", 1..=u32::MAX);
    let distinct = fields.number_u32("distinct", 1..=u32::MAX);
    if !fields.has("family") && !fields.has("detector") {
        fields.wrong(
            &fields.at,
            "the condition names neither `family` nor `detector`",
            "name one of the two",
        );
    }
    if let Some(family) = &family
        && !known.has_family(&family.value)
    {
        let message = format!("no detector of the family `{}` is in this policy", family.value);
        fields.wrong(
            &family.at,
            message,
            "add its pack to `packs` in policy.toml, or correct the name",
        );
    }
    if let Some(id) = &detector
        && !known.has_detector(&id.value)
    {
        let message = format!("detector `{}` is not in this policy", id.value);
        fields.wrong(
            &id.at,
            message,
            "add its pack to `packs` in policy.toml, or correct the name",
        );
    }
    let condition = FindingCondition {
        family: family.map(|family| family.value),
        detector: detector.map(|detector| detector.value),
        confidence: confidence.map_or(Confidence::Low, |confidence| confidence.value),
        count: count.unwrap_or(1),
        distinct: distinct.unwrap_or(1),
    };
    fields.finish();
    (condition.family.is_some() || condition.detector.is_some()).then_some(condition)
}

fn item(fields: Fields<'_>) -> ItemCondition {
    let kind = values(fields.one_or_more("kind", &words_help(ItemKind::ALL)));
    let size_over_bytes = fields.number("size_over_bytes", 0..=u64::MAX);
    if kind.is_empty() && size_over_bytes.is_none() {
        fields.wrong(
            &fields.at,
            "`item` has no condition",
            "give `kind`, `size_over_bytes`, or both",
        );
    }
    fields.finish();
    ItemCondition {
        kind,
        size_over_bytes,
    }
}

fn time(fields: Fields<'_>) -> TimeWindow {
    let minute = |key| {
        let text = fields.text(key)?;
        let minute = minute_of_day(&text.value);
        if minute.is_none() {
            fields.wrong(
                &text.at,
                format!("`{key}` is no time of day"),
                "write hours and minutes: \"18:00\"",
            );
        }
        minute
    };
    let from_minute = minute("from").unwrap_or(0);
    let to_minute = minute("to").unwrap_or(0) % MINUTES_OF_DAY;
    let days = fields.texts("days");
    if days.is_empty() && !fields.has("from") && !fields.has("to") {
        fields.wrong(
            &fields.at,
            "`time` has no condition",
            "give `from` and `to`, `days`, or all three",
        );
    }
    let days = days.into_iter().filter_map(|day| {
        let parsed = weekday(&day.value);
        if parsed.is_none() {
            fields.wrong(
                &day.at,
                format!("`{}` is no day", day.value),
                "one of mon, tue, wed, thu, fri, sat, sun",
            );
        }
        parsed
    });
    let days = days.collect();
    fields.finish();
    TimeWindow {
        from_minute,
        to_minute,
        days,
    }
}

/// Minutes since midnight of a text such as `18:00`.
pub(super) fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_OF_DAY).then_some(total)
}

fn weekday(text: &str) -> Option<Weekday> {
    match text {
        "mon" => Some(Weekday::Monday),
        "tue" => Some(Weekday::Tuesday),
        "wed" => Some(Weekday::Wednesday),
        "thu" => Some(Weekday::Thursday),
        "fri" => Some(Weekday::Friday),
        "sat" => Some(Weekday::Saturday),
        "sun" => Some(Weekday::Sunday),
        _ => None,
    }
}
