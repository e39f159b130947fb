//! `tests/*.toml`: the tests that the policy carries.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::fields::{Fields, Placed, parse, words_help};
use super::problem::Source;
use super::rules::minute_of_day;
use super::{Folder, PolicyFile};
use crate::cases::{Case, CaseContext, Expectation, Given, evidence};
use crate::detector::{BUILT_IN, Detector};
use crate::rule::Rule;
use crate::terms::{
    Action, App, AudienceClass, Binding, Confidence, DetectorId, Evidence, Family, Finding, GroupName,
    ItemFacts, ItemKind, Label, RuleId, Tier, Unscannable, UnscannableReason,
};

const NAME: &str = "a name: lower-case letters, digits, `.`, `_`, `-`";
/// The moment of tests that name none: a Monday at noon.
const DEFAULT_TIME: DateTime = DateTime::constant(2026, 1, 5, 12, 0, 0, 0);

/// What tests may refer to.
pub(super) struct Known<'a> {
    pub(super) folder: &'a Folder,
    pub(super) policy: &'a PolicyFile,
    pub(super) detectors: &'a [Detector],
    pub(super) rules: &'a [Rule],
}

impl Known<'_> {
    fn family_of(&self, id: &DetectorId) -> Option<Family> {
        let own = self
            .detectors
            .iter()
            .find(|detector| detector.id == *id)
            .map(|detector| detector.family.clone());
        let built_in = || BUILT_IN.iter().find(|(built_in, _)| *built_in == id.as_str());
        own.or_else(|| Family::parse(built_in()?.1).ok())
    }
}

/// Reads one file of tests.
pub(super) fn read(source: Source<'_>, known: &Known<'_>) -> Vec<Case> {
    let Some(table) = parse(source) else {
        return Vec::new();
    };
    let fields = Fields::new(source, table.get_ref(), 0..0);
    let cases = fields
        .tables("test")
        .into_iter()
        .filter_map(|table| case(table, known))
        .collect();
    fields.finish();
    cases
}

fn case(fields: Fields<'_>, known: &Known<'_>) -> Option<Case> {
    let name = fields.required_text("name").value;
    let given = ["draft", "metadata", "sharing"]
        .into_iter()
        .filter(|key| fields.has(key))
        .count();
    if given != 1 {
        fields.wrong(
            &fields.at,
            "the test must give exactly one of `draft`, `metadata`, `sharing`",
            "keep one of them",
        );
    }
    let (given, context) = if let Some(sharing) = fields.table("sharing") {
        sharing_request(sharing, known)?
    } else {
        let context = context(&fields, known)?;
        let draft = fields.table("draft").map(|draft| draft_given(draft, known));
        let given = draft.or_else(|| {
            fields
                .table("metadata")
                .map(|metadata| Given::Metadata(stated(metadata, known)))
        });
        (given?, context)
    };
    let expect = match fields.table("expect") {
        Some(expect) => expectation(expect, matches!(given, Given::Sharing { .. }), known),
        None => {
            fields.wrong(
                &fields.at,
                "the test expects nothing",
                "add expect = { action = \"...\" } or { sharing = \"...\" }",
            );
            None
        }
    };
    let line = fields.source.line(&fields.at);
    let file = fields.source.file.to_owned();
    fields.finish();
    Some(Case {
        name,
        file,
        line,
        given,
        context,
        expect: expect?,
    })
}

fn context(fields: &Fields<'_>, known: &Known<'_>) -> Option<CaseContext> {
    let (class, size) = match fields.table("audience") {
        Some(audience) => {
            let class = audience.parsed::<AudienceClass>("class", &words_help(AudienceClass::ALL));
            let size = audience.number_u32("size", 1..=u32::MAX);
            audience.finish();
            (class, size)
        }
        None => (None, None),
    };
    let time = fields.parsed::<DateTime>("time", "a local time: \"2026-11-23T18:30\"");
    let time = time.map_or(DEFAULT_TIME, |time| time.value);
    Some(CaseContext {
        audience_class: class.map_or(AudienceClass::Internal, |class| class.value),
        audience_size: size.unwrap_or(2),
        groups: values(fields.one_or_more::<GroupName>("group", NAME)),
        labels: labels(fields, known),
        app: app(fields)?,
        tier: tier(fields),
        binding: binding(fields),
        offline: fields.flag("offline").unwrap_or(false),
        now_s: unix_s(time, &known.policy.zone),
    })
}

fn unix_s(time: DateTime, zone: &TimeZone) -> u64 {
    let seconds = zone
        .to_ambiguous_timestamp(time)
        .compatible()
        .map(|time| time.as_second());
    seconds
        .ok()
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(0)
}

fn values<T: Ord>(placed: Vec<Placed<T>>) -> std::collections::BTreeSet<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}

fn app(fields: &Fields<'_>) -> Option<App> {
    fields
        .parsed("app", NAME)
        .map(|app| app.value)
        .or_else(|| App::parse("sealgate").ok())
}

fn tier(fields: &Fields<'_>) -> Tier {
    fields
        .parsed("tier", &words_help(Tier::ALL))
        .map_or(Tier::File, |tier| tier.value)
}

fn binding(fields: &Fields<'_>) -> Binding {
    fields
        .parsed("binding", &words_help(Binding::ALL))
        .map_or(Binding::AgentSealed, |binding| binding.value)
}

fn labels(fields: &Fields<'_>, known: &Known<'_>) -> std::collections::BTreeSet<Label> {
    let labels = fields.one_or_more::<Label>("label", NAME);
    labels
        .into_iter()
        .filter(|label| is_known_label(fields, label, known))
        .map(|label| label.value)
        .collect()
}

fn is_known_label(fields: &Fields<'_>, label: &Placed<Label>, known: &Known<'_>) -> bool {
    // In a request to share, `none` is what a story without labels is asked about.
    let found = known.policy.labels.contains(&label.value);
    if !found && label.value.as_str() != "none" {
        fields.wrong(
            &label.at,
            format!("there is no label `{}`", label.value),
            "policy.toml lists the labels",
        );
    }
    found
}

fn sharing_request(fields: Fields<'_>, known: &Known<'_>) -> Option<(Given, CaseContext)> {
    let class = fields.required::<AudienceClass>("audience", &words_help(AudienceClass::ALL));
    let time = fields.text("time");
    let minute = time
        .as_ref()
        .map_or(Some(12 * 60), |time| minute_of_day(&time.value));
    if let (Some(time), None) = (&time, minute) {
        fields.wrong(
            &time.at,
            "`time` is no time of day",
            "write hours and minutes: \"18:30\"",
        );
    }
    let context = CaseContext {
        audience_class: class.map_or(AudienceClass::Internal, |class| class.value),
        audience_size: 2,
        groups: values(fields.one_or_more::<GroupName>("group", NAME)),
        labels: labels(&fields, known),
        app: app(&fields)?,
        tier: tier(&fields),
        binding: binding(&fields),
        offline: false,
        now_s: unix_s(DEFAULT_TIME, &known.policy.zone),
    };
    fields.finish();
    Some((Given::Sharing { minute: minute? }, context))
}

fn draft_given(fields: Fields<'_>, known: &Known<'_>) -> Given {
    let text = fields.text("text").map(|text| text.value).unwrap_or_default();
    let files = fields.texts("files");
    for file in files
        .iter()
        .filter(|file| !known.folder.files.contains_key(&file.value))
    {
        let help = "give its path in the policy folder, such as `tests/files/photo.jpg`";
        fields.wrong(&file.at, format!("there is no file `{}`", file.value), help);
    }
    fields.finish();
    Given::Draft {
        text,
        files: files.into_iter().map(|file| file.value).collect(),
    }
}

fn stated(fields: Fields<'_>, known: &Known<'_>) -> Evidence {
    let findings = fields
        .tables("findings")
        .into_iter()
        .filter_map(|table| finding(table, known))
        .collect();
    let items = fields.tables("items").into_iter().map(|item| {
        let kind = item
            .parsed("kind", &words_help(ItemKind::ALL))
            .map_or(ItemKind::Other, |kind| kind.value);
        let size_bytes = item.number("size_bytes", 0..=u64::MAX).unwrap_or(1);
        item.finish();
        ItemFacts { kind, size_bytes }
    });
    let items = items.collect();
    let reasons = fields.one_or_more("unscannable", &words_help(UnscannableReason::ALL));
    let unscannable = reasons
        .into_iter()
        .map(|reason| Unscannable {
            item: 0,
            reason: reason.value,
        })
        .collect();
    fields.finish();
    evidence(findings, items, unscannable)
}

fn finding(fields: Fields<'_>, known: &Known<'_>) -> Option<Finding> {
    let id = fields.required::<DetectorId>("detector", NAME);
    let confidence = fields.parsed("confidence", &words_help(Confidence::ALL));
    let count = fields.number_u32("count", 1..=u32::MAX).unwrap_or(1);
    let distinct = fields.number_u32("distinct", 1..=u32::MAX).unwrap_or(count);
    let item = fields.number("item", 0..=u64::from(u16::MAX)).unwrap_or(0);
    let family = id.as_ref().and_then(|id| known.family_of(&id.value));
    if let (Some(id), None) = (&id, &family) {
        let message = format!("detector `{}` is not in this policy", id.value);
        fields.wrong(
            &id.at,
            message,
            "add its pack to `packs` in policy.toml, or correct the name",
        );
    }
    fields.finish();
    Some(Finding {
        detector: id?.value,
        family: family?,
        confidence: confidence.map_or(Confidence::High, |confidence| confidence.value),
        count,
        distinct,
        item: u16::try_from(item).unwrap_or(0),
    })
}

fn expectation(fields: Fields<'_>, about_sharing: bool, known: &Known<'_>) -> Option<Expectation> {
    let expected = if about_sharing {
        sharing_expectation(&fields)
    } else {
        verdict_expectation(&fields, known)
    };
    fields.finish();
    expected
}

fn sharing_expectation(fields: &Fields<'_>) -> Option<Expectation> {
    let answer = fields.required_text("sharing");
    let line = fields.number_u32("line", 1..=u32::MAX);
    let allowed = match answer.value.as_str() {
        "allow" => true,
        "deny" => false,
        _ => {
            fields.wrong(
                &answer.at,
                "`sharing` is neither `allow` nor `deny`",
                "give one of the two",
            );
            return None;
        }
    };
    Some(Expectation::Sharing { allowed, line })
}

fn verdict_expectation(fields: &Fields<'_>, known: &Known<'_>) -> Option<Expectation> {
    let action = fields.required::<Action>("action", &words_help(Action::ALL));
    let rules = fields.one_or_more::<RuleId>("rule", NAME);
    for rule in rules
        .iter()
        .filter(|rule| !known.rules.iter().any(|known| known.id == rule.value))
    {
        fields.wrong(
            &rule.at,
            format!("there is no rule `{}`", rule.value),
            "dlp.toml lists the rules",
        );
    }
    let labels = labels(fields, known).into_iter().collect();
    Some(Expectation::Verdict {
        action: action?.value,
        rules: rules.into_iter().map(|rule| rule.value).collect(),
        labels,
    })
}
