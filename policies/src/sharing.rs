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
}

impl Sharing {
    /// The fields of a request, in the order of the model.
    #[must_use]
    pub fn request_fields(&self) -> &[RequestField] {
        &self.request
    }
}

/// Reads both files; problems are collected.
pub(crate) fn read(model: Source<'_>, lines: Source<'_>, policy: Option<&PolicyFile>) -> Option<Sharing> {
    let model = model::read(model)?;
    let lines = lines::read(lines, &model, policy);
    Some(Sharing {
        model: model.to_text(),
        request: model.request.clone(),
        lines,
    })
}

#[cfg(test)]
mod tests;
