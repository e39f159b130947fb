//! `policy.csv`: lines of comma-separated fields.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::SharingLine;
use super::model::Model;
use crate::document::PolicyFile;
use crate::document::problem::Source;
use crate::limits;
use crate::terms::{AudienceClass, Binding, Tier};

pub(super) fn read(source: Source<'_>, model: &Model, policy: Option<&PolicyFile>) -> Vec<SharingLine> {
    let mut lines: Vec<(SharingLine, Range<usize>)> = Vec::new();
    let mut seen: BTreeMap<Vec<String>, u32> = BTreeMap::new();
    let mut offset = 0;
    for raw in source.text.split_inclusive('\n') {
        let at = offset..offset + raw.len();
        offset = at.end;
        let text = raw.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let Some(line) = line(source, model, text, &at) else {
            continue;
        };
        let whole: Vec<String> = std::iter::once(&line.ptype)
            .chain(&line.fields)
            .cloned()
            .collect();
        if let Some(first) = seen.get(&whole) {
            source.problem(
                &at,
                format!("this line is the same as line {first}"),
                "remove one of the two",
            );
            continue;
        }
        seen.insert(whole, line.line);
        if line.ptype == "p" {
            check_values(source, model, policy, &line, &at);
        }
        lines.push((line, at));
    }
    if !lines.iter().any(|(line, _)| line.ptype == "p") {
        source.problem(
            &(0..0),
            "there is no `p` line",
            "add what may be shared; without any line casbin decides by the matcher alone",
        );
    }
    if lines.len() > limits::SHARING_LINES_MAX {
        let message = format!("there are more than {} lines", limits::SHARING_LINES_MAX);
        source.problem(&(0..0), message, "use groups in place of single people");
    }
    check_roles(source, &lines);
    lines.into_iter().map(|(line, _)| line).collect()
}

fn line(source: Source<'_>, model: &Model, text: &str, at: &Range<usize>) -> Option<SharingLine> {
    if text.contains(['"', '#']) {
        let help = "write the fields plainly, separated by commas, and comments on their own lines";
        source.problem(at, "quotes, and comments after fields, are not read", help);
        return None;
    }
    if !text.is_ascii() {
        let help = "write the name as the directory has it: a-z, 0-9, `.`, `_`, `-`; people by their ids";
        source.problem(at, "the line holds letters that no name has", help);
        return None;
    }
    let mut fields = text.split(',').map(|field| field.trim().to_owned());
    let ptype = fields.next().unwrap_or_default();
    let fields: Vec<String> = fields.collect();
    let arity = match ptype.as_str() {
        "p" => model.policy.len(),
        "g" if model.role_arity > 0 => model.role_arity,
        _ => {
            let help = if model.role_arity > 0 {
                "`p` or `g`"
            } else {
                "`p`; `g` needs a [role_definition] in model.conf"
            };
            source.problem(
                at,
                format!("there is no kind of line `{ptype}`"),
                format!("a line starts with {help}"),
            );
            return None;
        }
    };
    if fields.len() != arity {
        let message = format!(
            "the line has {} fields after `{ptype}`, model.conf defines {arity}",
            fields.len()
        );
        source.problem(at, message, format!("give exactly: {}", expected(model, &ptype)));
        return None;
    }
    if fields.iter().any(String::is_empty) {
        source.problem(
            at,
            "a field is empty",
            format!("give every one of: {}", expected(model, &ptype)),
        );
        return None;
    }
    Some(SharingLine {
        file: source.file.to_owned(),
        line: source.line(at),
        ptype,
        fields,
    })
}

fn expected(model: &Model, ptype: &str) -> String {
    if ptype == "p" {
        return model.policy.join(", ");
    }
    let all = ["person, group or role", "its role", "tenant"];
    all.iter()
        .take(model.role_arity)
        .copied()
        .collect::<Vec<_>>()
        .join(", ")
}

/// A value that no request can have makes a line that never applies: a denial that does not deny.
fn check_values(
    source: Source<'_>,
    model: &Model,
    policy: Option<&PolicyFile>,
    line: &SharingLine,
    at: &Range<usize>,
) {
    for (name, value) in model.policy.iter().zip(&line.fields) {
        let possible = if name == "eft" {
            Some(vec!["allow".to_owned(), "deny".to_owned()])
        } else {
            model
                .matcher
                .equal_request_field(name)
                .and_then(|field| possible(field, policy))
        };
        if let Some(possible) = possible
            && !possible.contains(value)
        {
            let message = format!("`{name}` can never be `{value}`");
            source.problem(at, message, format!("one of {}", possible.join(", ")));
        }
    }
}

/// The values that a request may have in a field; none where they cannot be listed.
pub(super) fn possible(request_field: &str, policy: Option<&PolicyFile>) -> Option<Vec<String>> {
    match request_field {
        "label" => policy.map(|policy| {
            let labels = policy.labels.iter().map(ToString::to_string);
            std::iter::once("none".to_owned()).chain(labels).collect()
        }),
        "dom" => policy.map(|policy| vec![policy.tenant.to_string()]),
        "audience" => Some(AudienceClass::ALL.iter().map(ToString::to_string).collect()),
        "tier" => Some(Tier::ALL.iter().map(ToString::to_string).collect()),
        "binding" => Some(Binding::ALL.iter().map(ToString::to_string).collect()),
        "act" => Some(vec!["share".to_owned()]),
        _ => None,
    }
}

/// Roles of one domain, in both directions.
#[derive(Default)]
struct Roles<'a> {
    above: BTreeMap<&'a str, BTreeSet<&'a str>>,
    below: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

fn check_roles(source: Source<'_>, lines: &[(SharingLine, Range<usize>)]) {
    let mut domains: BTreeMap<&str, Roles<'_>> = BTreeMap::new();
    for (line, at) in lines.iter().filter(|(line, _)| line.ptype == "g") {
        let [member, role, domain @ ..] = line.fields.as_slice() else {
            continue;
        };
        let roles = domains
            .entry(domain.first().map_or("", String::as_str))
            .or_default();
        if reaches(&roles.above, role, member) {
            source.problem(
                at,
                format!("`{member}` would be its own role"),
                "remove a line of the circle",
            );
            continue;
        }
        roles.above.entry(member).or_default().insert(role);
        roles.below.entry(role).or_default().insert(member);
        // The membership of a person in a group is one more level, which is not in this file (P22).
        if levels(&roles.below, member) + 1 + levels(&roles.above, role) + 1 > limits::ROLE_DEPTH_MAX {
            let message = format!("roles are more than {} levels deep", limits::ROLE_DEPTH_MAX);
            source.problem(
                at,
                message,
                "casbin follows ten levels and no more: flatten the roles",
            );
        }
    }
}

fn reaches(above: &BTreeMap<&str, BTreeSet<&str>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            open.extend(above.get(name).into_iter().flatten().copied());
        }
    }
    false
}

/// How many steps can be followed from a name, counted up to one more than is allowed.
fn levels(next: &BTreeMap<&str, BTreeSet<&str>>, name: &str) -> usize {
    let mut level: BTreeSet<&str> = BTreeSet::from([name]);
    for depth in 0..=limits::ROLE_DEPTH_MAX {
        let following: BTreeSet<&str> = level
            .iter()
            .filter_map(|name| next.get(name))
            .flatten()
            .copied()
            .collect();
        if following.is_empty() {
            return depth;
        }
        level = following;
    }
    limits::ROLE_DEPTH_MAX + 1
}
