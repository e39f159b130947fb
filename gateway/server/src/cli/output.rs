//! Standard output: one JSON object, or words.

use std::io::Write as _;

use serde_json::Value;

use super::Common;
use crate::admin::Reply;

pub(super) fn reply(common: &Common, reply: &Reply) -> anyhow::Result<()> {
    if common.json {
        json(&reply.json)
    } else {
        text(&reply.text)
    }
}

pub(super) fn json(value: &Value) -> anyhow::Result<()> {
    text(&serde_json::to_string(value)?)
}

pub(super) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
