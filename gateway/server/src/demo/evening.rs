//! The end of the day: what expires, who is shut out, and what the record proves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::answers::{ARRIVAL, received, said, story_of};
use super::day::sample;
use super::stage::Stage;
use super::table::Observed;

/// Lifetime of the story that expires while one watches.
const SHORT_LIFE: &str = "6s";
/// What the purge may take after the end of a story's bucket.
const PURGED_WITHIN: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn expiry(stage: &Stage) -> anyhow::Result<Observed> {
    let file = sample(stage, "holiday.png");
    let share = [
        "share",
        "--audience",
        "team",
        "--text",
        "Gone soon",
        "--file",
        &file,
        "--ttl",
        SHORT_LIFE,
    ];
    let answer = stage.agent("Alice", share).await?;
    let Ok(story) = story_of(&answer) else {
        return Ok(Observed::new(false, said(&answer)));
    };
    let alive = received(stage, "Bob", &story, &[])
        .await?
        .get("text")
        .and_then(Value::as_str)
        == Some("Gone soon");
    let gone = stage
        .agent(
            "Bob",
            [
                "feed",
                "--wait",
                &story,
                "--until",
                "expired",
                "--timeout",
                ARRIVAL,
            ],
        )
        .await?;
    let stored = purged(stage, &story).await?;
    let ok = alive && gone.code == 0 && stored.is_none();
    let text = match (alive, gone.code, stored) {
        (false, ..) => "Bob never saw it".to_owned(),
        (true, 0, None) => "read, then envelope, blob and key gone".to_owned(),
        (true, 0, Some(rest)) => format!("the gateway still holds {rest}"),
        (true, ..) => "Bob still has it".to_owned(),
    };
    Ok(Observed::new(ok, text))
}

/// Waits until nothing of a story is stored at the gateway; what is left after the limit.
async fn purged(stage: &Stage, story: &str) -> anyhow::Result<Option<String>> {
    let deadline = tokio::time::Instant::now() + PURGED_WITHIN;
    let mut ticks = tokio::time::interval(ASK_AGAIN);
    loop {
        ticks.tick().await;
        let answer = stage.gateway(["story", "show", story]).await?.json()?;
        let count = |field: &str| answer.get(field).and_then(Value::as_u64).unwrap_or(u64::MAX);
        let key = answer.get("bucket_key").and_then(Value::as_bool).unwrap_or(true);
        if count("envelope_bytes") == 0 && count("blobs") == 0 && !key {
            return Ok(None);
        }
        if tokio::time::Instant::now() > deadline {
            return Ok(Some(answer.to_string()));
        }
    }
}

pub(super) async fn revocation(stage: &Stage) -> anyhow::Result<Observed> {
    let devices = stage.gateway(["device", "list"]).await?.json()?;
    let bob = devices
        .get("devices")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let bob = bob.filter(|device| device.get("name").and_then(Value::as_str) == Some("Bob"));
    let bob = bob
        .filter_map(|device| device.get("device").and_then(Value::as_str))
        .next()
        .context("Bob has no device")?;
    let answer = stage.gateway(["device", "revoke", bob]).await?;
    if answer.code != 0 {
        return Ok(Observed::new(false, said(&answer)));
    }
    let answer = stage
        .agent(
            "Alice",
            [
                "share",
                "--audience",
                "partners",
                "--label",
                "public",
                "--text",
                "After Bob",
            ],
        )
        .await?;
    let Ok(story) = story_of(&answer) else {
        return Ok(Observed::new(false, said(&answer)));
    };
    let carol = received(stage, "Carol", &story, &[])
        .await?
        .get("text")
        .and_then(Value::as_str)
        == Some("After Bob");
    let feed = stage.agent("Bob", ["feed"]).await?.json()?;
    let bob_has_it = feed
        .get("stories")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|s| s.get("story").and_then(Value::as_str) == Some(&story));
    let text = format!(
        "Carol {}, Bob {}",
        if carol { "reads" } else { "DOES NOT READ" },
        if bob_has_it { "READS" } else { "does not" }
    );
    Ok(Observed::new(carol && !bob_has_it, text))
}

pub(super) async fn verifies(stage: &Stage, log: &str) -> anyhow::Result<Observed> {
    let answer = stage.verify(&stage.root().join("gateway").join(log)).await?;
    let size = answer.json().ok().and_then(|json| json.get("size")?.as_u64());
    Ok(match size {
        Some(size) => Observed::new(
            answer.code == 0 && size > 0,
            format!("{size} entries re-hashed, root signed"),
        ),
        None => Observed::new(false, said(&answer)),
    })
}

pub(super) async fn flipped(stage: &Stage) -> anyhow::Result<Observed> {
    let copy = stage.root().join("ledger-copy");
    copy_folder(&stage.root().join("gateway").join("ledger"), &copy)?;
    let entries = first_file(&copy.join("tile").join("entries")).context("the ledger has no entries")?;
    let mut bytes = fs::read(&entries)?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    fs::write(&entries, bytes)?;
    let answer = stage.verify(&copy).await?;
    let fault = answer
        .json()
        .ok()
        .and_then(|json| Some(json.get("fault")?.as_str()?.to_owned()));
    let fault = fault.unwrap_or_else(|| said(&answer));
    Ok(Observed::new(answer.code == 1 && fault.contains("entry "), fault))
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn first_file(folder: &Path) -> Option<std::path::PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        if path.is_dir() {
            first_file(&path)
        } else {
            Some(path)
        }
    })
}
