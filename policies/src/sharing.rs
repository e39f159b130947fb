//! The sharing rules: casbin's model and policy, read strictly (gateway.md, Z1-Z3). The engine is the gateway's.
//!
//! casbin-rs takes in silence what it does not understand: an effect spelled `Deny`, an unknown kind of line, a
//! line with too few fields. Here each of these is a problem with its line. The model is written out again from
//! what was understood, so that casbin never reads anything that was not checked.
//!
//! Read are one `r`, `p`, `e` and `m`, and roles `g` with or without a domain. Left out, with the reason told:
//! more kinds of lines (`p2`, `g2`), priorities, `eval`, free rhai and pattern functions but `keyMatch` (K23).

use crate::document::PolicyFile;
use crate::document::problem::Source;
use crate::terms::words;

mod lines;
mod matcher;
mod model;

words! {
    /// What a request may say. Requests are made of metadata alone (K24).
    RequestField {
        /// The person, by id; groups and roles through `g`.
        Sub = "sub",
        /// The tenant.
        Dom = "dom",
        /// One label of the story, or `none`.
        Label = "label",
        /// `internal` or `guest`.
        Audience = "audience",
        /// `share`.
        Act = "act",
        /// The app.
        App = "app",
        /// The device's tier.
        Tier = "tier",
        /// Minutes since local midnight, a number.
        Minute = "minute",
        /// Who sealed it: `agent-sealed`, or `app-asserted` for an app that seals by itself (K17).
        Binding = "binding",
    }
}

/// One line of `sharing/policy.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharingLine {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// `p` or `g`.
    pub ptype: String,
    /// The other fields.
    pub fields: Vec<String>,
}

/// Sharing rules that casbin can load without surprise.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The model, in casbin's syntax, without comments.
    pub model: String,
    /// The lines, in the order of the file.
    pub lines: Vec<SharingLine>,
    request: Vec<RequestField>,
    has_binding: bool,
}

impl Sharing {
    /// Whether the matcher asks who sealed. Rules that do not were written without a thought of apps that seal by
    /// themselves, and let none of their stories through (K17).
    #[must_use]
    pub const fn has_binding(&self) -> bool {
        self.has_binding
    }

    /// The fields of a request, in the order of the model.
    #[must_use]
    pub fn request_fields(&self) -> &[RequestField] {
        &self.request
    }
}

/// Reads both files; problems are collected.
pub(crate) fn read(model: Source<'_>, lines: Source<'_>, policy: Option<&PolicyFile>) -> Option<Sharing> {
    let model_source = model;
    let model = model::read(model_source)?;
    model.check_texts(model_source, policy);
    let lines = lines::read(lines, &model, policy);
    Some(Sharing {
        model: model.to_text(),
        request: model.request.clone(),
        has_binding: model
            .matcher
            .names()
            .any(|name| name == ('r', RequestField::Binding.as_str())),
        lines,
    })
}

#[cfg(test)]
mod tests;
