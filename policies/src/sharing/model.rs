//! `model.conf`: sections of `key = value`.

use std::ops::Range;

use super::matcher::{self, Matcher};
use super::{RequestField, lines};
use crate::document::PolicyFile;
use crate::document::problem::Source;
use crate::limits;

/// casbin's four effects, as casbin-rs compares them.
const EFFECTS: &[&str] = &[
    "some(where (p.eft == allow))",
    "!some(where (p.eft == deny))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "priority(p.eft) || deny",
];

/// A section of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// What is asked.
    Request,
    /// What a line says.
    Policy,
    /// How roles are given.
    Role,
    /// How lines add up.
    Effect,
    /// When a line applies.
    Matchers,
}

impl Section {
    const ALL: [Self; 5] = [
        Self::Request,
        Self::Policy,
        Self::Role,
        Self::Effect,
        Self::Matchers,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Request => "request_definition",
            Self::Policy => "policy_definition",
            Self::Role => "role_definition",
            Self::Effect => "policy_effect",
            Self::Matchers => "matchers",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Request => "r",
            Self::Policy => "p",
            Self::Role => "g",
            Self::Effect => "e",
            Self::Matchers => "m",
        }
    }
}

/// A model that was understood.
pub(super) struct Model {
    pub(super) request: Vec<RequestField>,
    pub(super) policy: Vec<String>,
    /// 2 for `g = _, _`, 3 with a domain; 0 without roles.
    pub(super) role_arity: usize,
    pub(super) matcher: Matcher,
    effect: &'static str,
    matcher_text: String,
    matcher_at: Range<usize>,
}

impl Model {
    /// A text that no request can have makes a comparison that never holds: a condition that does not restrict.
    pub(super) fn check_texts(&self, source: Source<'_>, policy: Option<&PolicyFile>) {
        for (name, text) in self.matcher.texts() {
            let Some(possible) = lines::possible(name, policy) else {
                continue;
            };
            if !possible.iter().any(|value| value == text) {
                let message = format!("`r.{name}` can never be `{text}`");
                source.problem(
                    &self.matcher_at,
                    message,
                    format!("one of {}", possible.join(", ")),
                );
            }
        }
    }

    /// The model in casbin's syntax.
    pub(super) fn to_text(&self) -> String {
        let request: Vec<&str> = self.request.iter().map(|field| field.as_str()).collect();
        let mut text = format!("[request_definition]\nr = {}\n\n", request.join(", "));
        text += &format!("[policy_definition]\np = {}\n\n", self.policy.join(", "));
        if self.role_arity > 0 {
            text += &format!(
                "[role_definition]\ng = {}\n\n",
                vec!["_"; self.role_arity].join(", ")
            );
        }
        text + &format!(
            "[policy_effect]\ne = {}\n\n[matchers]\nm = {}\n",
            self.effect, self.matcher_text
        )
    }
}

/// A value with its place.
struct Setting {
    section: Section,
    value: String,
    at: Range<usize>,
}

pub(super) fn read(source: Source<'_>) -> Option<Model> {
    let settings = settings(source);
    let find = |section: Section| settings.iter().find(|setting| setting.section == section);
    for section in Section::ALL {
        if section != Section::Role && find(section).is_none() {
            let message = format!("the model has no `{}` in [{}]", section.key(), section.name());
            source.problem(
                &(0..0),
                message,
                format!("add [{}] with `{} = ...`", section.name(), section.key()),
            );
        }
    }
    let request = request(source, find(Section::Request)?);
    let policy = policy(source, find(Section::Policy)?);
    let role_arity = find(Section::Role).map_or(Some(0), |setting| roles(source, setting));
    let effect = effect(source, find(Section::Effect)?, &policy);
    let setting = find(Section::Matchers)?;
    let matcher = match matcher::parse(&setting.value) {
        Ok(matcher) => {
            check_names(source, setting, &matcher, &request, &policy, role_arity);
            Some(matcher)
        }
        Err(fault) => {
            source.problem(&setting.at, fault.message, fault.help);
            None
        }
    };
    Some(Model {
        request,
        policy,
        role_arity: role_arity?,
        matcher: matcher?,
        effect: effect?,
        matcher_text: setting.value.clone(),
        matcher_at: setting.at.clone(),
    })
}

/// Sections and settings, with continued lines joined; everything else is a problem.
fn settings(source: Source<'_>) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut section = None;
    let mut continued: Option<(usize, String)> = None;
    let mut offset = 0;
    for raw in source.text.split_inclusive('\n') {
        let start = offset;
        offset += raw.len();
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with(';') {
            continue;
        }
        let (start, mut line) = match continued.take() {
            Some((first, before)) => (first, format!("{before} {line}")),
            None => (start, line.to_owned()),
        };
        if let Some(before) = line.strip_suffix('\\') {
            continued = Some((start, before.trim_end().to_owned()));
            continue;
        }
        let at = start..offset;
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = Section::ALL
                .into_iter()
                .find(|section| section.name() == name.trim());
            if section.is_none() {
                let names: Vec<&str> = Section::ALL.into_iter().map(Section::name).collect();
                source.problem(
                    &at,
                    format!("there is no section `{name}`"),
                    format!("one of {}", names.join(", ")),
                );
            }
            continue;
        }
        line = line.trim().to_owned();
        add_setting(source, section, &line, at, &mut settings);
    }
    if let Some((start, _)) = continued {
        source.problem(
            &(start..offset),
            "the last line is continued, but nothing follows",
            "remove the backslash",
        );
    }
    settings
}

fn add_setting(
    source: Source<'_>,
    section: Option<Section>,
    line: &str,
    at: Range<usize>,
    settings: &mut Vec<Setting>,
) {
    let Some((key, value)) = line.split_once('=') else {
        source.problem(
            &at,
            "this line is no `key = value`",
            "write `r = ...`, `p = ...`, `g = ...`, `e = ...` or `m = ...`",
        );
        return;
    };
    let Some(section) = section else {
        source.problem(
            &at,
            "this line stands in no known section",
            "put it under its section, such as [matchers]",
        );
        return;
    };
    let (key, value) = (key.trim(), value.trim());
    if key != section.key() {
        let message = format!("`{key}` is not read in [{}]", section.name());
        source.problem(
            &at,
            message,
            format!("only `{}` is: put everything into one definition", section.key()),
        );
    } else if settings.iter().any(|setting| setting.section == section) {
        source.problem(&at, format!("`{key}` is defined twice"), "remove one of the two");
    } else {
        settings.push(Setting {
            section,
            value: value.to_owned(),
            at,
        });
    }
}

fn names(setting: &Setting) -> Vec<String> {
    setting
        .value
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect()
}

fn request(source: Source<'_>, setting: &Setting) -> Vec<RequestField> {
    let mut fields = Vec::new();
    for name in names(setting) {
        match name.parse::<RequestField>() {
            Ok(field) if fields.contains(&field) => {
                source.problem(
                    &setting.at,
                    format!("request field `{name}` is given twice"),
                    "remove one of the two",
                );
            }
            Ok(field) => fields.push(field),
            Err(_) => {
                let known: Vec<&str> = RequestField::ALL.iter().map(|field| field.as_str()).collect();
                let message = format!("a request has no field `{name}`");
                source.problem(
                    &setting.at,
                    message,
                    format!("the gateway knows: {}", known.join(", ")),
                );
            }
        }
    }
    if !fields.contains(&RequestField::Label) {
        let help = "add `label`: a story is asked about once for each of its labels";
        source.problem(&setting.at, "the request does not hold `label`", help);
    }
    fields
}

fn policy(source: Source<'_>, setting: &Setting) -> Vec<String> {
    let names = names(setting);
    for (index, name) in names.iter().enumerate() {
        let valid = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !valid {
            source.problem(
                &setting.at,
                format!("`{name}` is no field name"),
                "lower-case letters, digits and `_`",
            );
        }
        if name == "priority" {
            let help = "casbin-rs does not honour it: order the lines instead, with the effect `priority(p.eft) || deny`";
            source.problem(&setting.at, "a `priority` field is not read", help);
        }
        if names.iter().take(index).any(|earlier| earlier == name) {
            source.problem(
                &setting.at,
                format!("policy field `{name}` is given twice"),
                "remove one of the two",
            );
        }
    }
    names
}

fn roles(source: Source<'_>, setting: &Setting) -> Option<usize> {
    let names = names(setting);
    let arity = names.len();
    if names.iter().all(|name| name == "_") && (2..=3).contains(&arity) {
        return Some(arity);
    }
    source.problem(
        &setting.at,
        "`g` is neither `_, _` nor `_, _, _`",
        "write `g = _, _` or, with the tenant, `g = _, _, _`",
    );
    None
}

fn effect(source: Source<'_>, setting: &Setting, policy: &[String]) -> Option<&'static str> {
    let without_spaces = |text: &str| {
        text.chars()
            .filter(|letter| !letter.is_whitespace())
            .collect::<String>()
    };
    let wanted = without_spaces(&setting.value).replace("p_eft", "p.eft");
    let found = EFFECTS
        .iter()
        .copied()
        .find(|effect| without_spaces(effect) == wanted);
    if found.is_none() {
        let known: Vec<String> = EFFECTS.iter().map(|effect| format!("`{effect}`")).collect();
        source.problem(
            &setting.at,
            "casbin has no such effect",
            format!("one of {}", known.join(", ")),
        );
    }
    let denies = found.is_some_and(|effect| Some(&effect) != EFFECTS.first());
    if denies && !policy.iter().any(|field| field == "eft") {
        let help = "add `eft` to [policy_definition], and `allow` or `deny` to every line";
        source.problem(
            &setting.at,
            "the effect asks for denials, but lines have no `eft`",
            help,
        );
    }
    found
}

fn check_names(
    source: Source<'_>,
    setting: &Setting,
    matcher: &Matcher,
    request: &[RequestField],
    policy: &[String],
    role_arity: Option<usize>,
) {
    for (side, name) in matcher.names() {
        let known = match side {
            'r' => request.iter().any(|field| field.as_str() == name),
            _ => policy.iter().any(|field| field == name),
        };
        if !known {
            let section = if side == 'r' {
                Section::Request
            } else {
                Section::Policy
            };
            let message = format!("`{side}.{name}` is not defined");
            source.problem(
                &setting.at,
                message,
                format!("add `{name}` to [{}], or correct the name", section.name()),
            );
        }
    }
    if !matcher.names().any(|(side, _)| side == 'p') {
        let help = "compare a field of the request with one of the policy: `r.label == p.label`";
        source.problem(
            &setting.at,
            "the matcher reads no field of the policy, so every line would apply",
            help,
        );
    }
    for arity in matcher.role_calls() {
        if role_arity.is_some_and(|defined| defined != arity) {
            let message = format!("`g` is called with {arity} values");
            source.problem(
                &setting.at,
                message,
                "call it with as many as [role_definition] has",
            );
        }
    }
    if setting.value.len() > limits::MATCHER_BYTES_MAX {
        let message = format!("the matcher is longer than {} bytes", limits::MATCHER_BYTES_MAX);
        source.problem(&setting.at, message, "shorten it");
    }
}
