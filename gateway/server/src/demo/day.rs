//! The day: each step, and what it must show.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::answers::{ARRIVAL, received, said, story_of};
use super::evening;
use super::stage::Stage;
use super::table::{Observed, Table};

/// Visa number with a valid check digit; no test number.
const CARD: &str = "4556737586899855";
/// Dutch account number with valid check digits.
const IBAN: &str = "NL89INGB0004821937";
const CLEAN: &str = "Team lunch moved to 12:30 in the garden. Bring sunglasses.";
const PHOTO: &[u8] = include_bytes!("samples/photo.jpg");
const PICTURE: &[u8] = include_bytes!("samples/holiday.png");
const NOTES: &[u8] = include_bytes!("samples/deploy-notes.txt");
const ARCHIVE: &[u8] = include_bytes!("samples/plan.zip");

const BLOCKED: i32 = 10;
const NEEDS_REASON: i32 = 11;
const REFUSED: i32 = 13;

/// Runs all steps. An error means that the rest of the day makes no sense.
pub(crate) async fn run(stage: &mut Stage, table: &mut Table) -> anyhow::Result<()> {
    write_samples(stage.root())?;
    table
        .step(
            "Alice makes an audience with Bob",
            "created",
            audience(stage, "team", &["Bob"]),
        )
        .await;
    table
        .step(
            "... and one with Bob and a guest",
            "created",
            audience(stage, "partners", &["Bob", "Carol"]),
        )
        .await;
    table
        .step("a clean story", "shared, Bob reads it", clean(stage))
        .await;
    content(stage, table).await;
    table
        .step(
            "label confidential to a guest audience",
            "refused by a casbin rule",
            confidential_to_guests(stage),
        )
        .await;
    table
        .step(
            "a picture, byte for byte",
            "shared, same SHA-256 at Bob's",
            byte_for_byte(stage),
        )
        .await;
    table
        .step(
            "a story that lives for seconds",
            "gone everywhere",
            evening::expiry(stage),
        )
        .await;
    table
        .step(
            "Bob's device is revoked",
            "Carol reads on, Bob does not",
            evening::revocation(stage),
        )
        .await;
    table
        .step(
            "the ledger verifies",
            "every entry",
            evening::verifies(stage, "ledger"),
        )
        .await;
    table
        .step(
            "the directory log verifies",
            "every entry",
            evening::verifies(stage, "directory"),
        )
        .await;
    table
        .step(
            "a byte of a copy of the ledger is flipped",
            "the verifier names the entry",
            evening::flipped(stage),
        )
        .await;
    Ok(())
}

async fn content(stage: &Stage, table: &mut Table) {
    let spaced = CARD
        .chars()
        .flat_map(|digit| [digit, '\u{200b}'])
        .collect::<String>();
    let devanagari: String = CARD
        .chars()
        .filter_map(|digit| char::from_u32(0x0966 + digit.to_digit(10)?))
        .collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("the card is {CARD}, thanks"));
    let plain = format!("Please book the hotel with my credit card {CARD}.");
    table
        .step(
            "a card number in the text",
            "blocked",
            blocked(stage, &plain, true),
        )
        .await;
    table
        .step(
            "... with zero-width characters",
            "blocked",
            blocked(stage, &format!("my credit card: {spaced}"), false),
        )
        .await;
    table
        .step(
            "... in digits of another script",
            "blocked",
            blocked(stage, &format!("my credit card: {devanagari}"), false),
        )
        .await;
    table
        .step(
            "... inside base64",
            "blocked",
            blocked(stage, &format!("note to self: {encoded}"), false),
        )
        .await;
    table
        .step(
            "a photo with a GPS location",
            "redacted, picture unchanged",
            photo(stage),
        )
        .await;
    table
        .step(
            "a secret in a file dropped into the outbox",
            "blocked, moved with a reason",
            outbox(stage),
        )
        .await;
    table
        .step(
            "an IBAN without a reason",
            "a reason is asked for",
            iban(stage, None),
        )
        .await;
    table
        .step(
            "... with a reason",
            "shared",
            iban(stage, Some("supplier asked for our account")),
        )
        .await;
    table
        .step("a docx with a national id in a zip", "blocked", archive(stage))
        .await;
}

fn write_samples(root: &Path) -> anyhow::Result<()> {
    let folder = root.join("samples");
    fs::create_dir_all(&folder)?;
    for (name, bytes) in [
        ("photo.jpg", PHOTO),
        ("holiday.png", PICTURE),
        ("deploy-notes.txt", NOTES),
        ("plan.zip", ARCHIVE),
    ] {
        fs::write(folder.join(name), bytes).with_context(|| format!("cannot write the sample {name}"))?;
    }
    Ok(())
}

pub(super) fn sample(stage: &Stage, name: &str) -> String {
    stage.root().join("samples").join(name).display().to_string()
}

async fn audience(stage: &Stage, name: &str, people: &[&str]) -> anyhow::Result<Observed> {
    let mut arguments = vec!["audience", "create", name];
    arguments.extend(people.iter().flat_map(|person| ["--with", person]));
    let answer = stage.agent("Alice", arguments).await?;
    Ok(Observed::new(
        answer.code == 0,
        if answer.code == 0 {
            "created".to_owned()
        } else {
            said(&answer)
        },
    ))
}

async fn clean(stage: &Stage) -> anyhow::Result<Observed> {
    let answer = stage
        .agent("Alice", ["share", "--audience", "team", "--text", CLEAN])
        .await?;
    let Ok(story) = story_of(&answer) else {
        return Ok(Observed::new(false, said(&answer)));
    };
    let received = received(stage, "Bob", &story, &[]).await?;
    let same = received.get("text").and_then(Value::as_str) == Some(CLEAN);
    Ok(Observed::new(
        same,
        if same {
            "shared, read"
        } else {
            "Bob does not see the text"
        },
    ))
}

async fn blocked(stage: &Stage, text: &str, show_card: bool) -> anyhow::Result<Observed> {
    let answer = stage
        .agent("Alice", ["share", "--audience", "team", "--text", text])
        .await?;
    let observed = Observed::new(answer.code == BLOCKED, said(&answer));
    if !show_card {
        return Ok(observed);
    }
    let card = stage.agent_text("Alice", ["check", "--text", text]).await?;
    Ok(observed.with_detail(card.text))
}

async fn photo(stage: &Stage) -> anyhow::Result<Observed> {
    let file = sample(stage, "photo.jpg");
    let answer = stage
        .agent(
            "Alice",
            [
                "share",
                "--audience",
                "team",
                "--text",
                "From the trip",
                "--file",
                &file,
            ],
        )
        .await?;
    let Ok(story) = story_of(&answer) else {
        return Ok(Observed::new(false, said(&answer)));
    };
    let action = answer
        .json()?
        .get("action")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let folder = stage.root().join("received-photo").display().to_string();
    received(stage, "Bob", &story, &["--save", &folder]).await?;
    let saved = fs::read(Path::new(&folder).join("photo.jpg")).context("Bob has no photo.jpg")?;
    let recheck = stage
        .agent("Bob", ["check", "--file", &format!("{folder}/photo.jpg")])
        .await?;
    let same_picture = scan(&saved).is_some() && scan(&saved) == scan(PHOTO);
    let ok = action == "redact" && saved != PHOTO && same_picture && recheck.code == 0;
    Ok(Observed::new(
        ok,
        format!(
            "{action}; picture {}; location {}",
            if same_picture { "unchanged" } else { "CHANGED" },
            if recheck.code == 0 { "gone" } else { "STILL THERE" }
        ),
    ))
}

/// The compressed picture of a JPEG: everything from its start-of-scan marker on (ITU-T T.81, B.2.3).
fn scan(jpeg: &[u8]) -> Option<&[u8]> {
    let start = jpeg.windows(2).rposition(|marker| marker == [0xff, 0xda])?;
    jpeg.get(start..)
}

async fn outbox(stage: &Stage) -> anyhow::Result<Observed> {
    let outbox = stage.agent_folder("Alice").join("outbox");
    let partial = outbox.join("team").join(".deploy-notes.tmp");
    fs::write(&partial, NOTES).context("cannot write into the outbox")?;
    fs::rename(&partial, outbox.join("team").join("deploy-notes.txt"))?;
    stage
        .agent(
            "Alice",
            ["outbox", "--wait", "deploy-notes.txt", "--timeout", ARRIVAL],
        )
        .await?;
    let moved = outbox.join("blocked").join("deploy-notes.txt");
    let reason =
        fs::read_to_string(outbox.join("blocked").join("deploy-notes.txt.reason.txt")).unwrap_or_default();
    let ok = fs::read(&moved).is_ok_and(|bytes| bytes == NOTES) && reason.contains("secrets");
    Ok(Observed::new(
        ok,
        if ok {
            "blocked, kept in blocked/"
        } else {
            "not in blocked/"
        },
    )
    .with_detail(reason))
}

async fn iban(stage: &Stage, reason: Option<&str>) -> anyhow::Result<Observed> {
    let text = format!("Please transfer the deposit to {IBAN}.");
    let mut arguments = vec!["share", "--audience", "team", "--text", &text];
    arguments.extend(reason.iter().flat_map(|reason| ["--reason", reason]));
    let answer = stage.agent("Alice", arguments).await?;
    let wanted = if reason.is_some() { 0 } else { NEEDS_REASON };
    Ok(Observed::new(answer.code == wanted, said(&answer)))
}

async fn archive(stage: &Stage) -> anyhow::Result<Observed> {
    let file = sample(stage, "plan.zip");
    let answer = stage
        .agent(
            "Alice",
            [
                "share",
                "--audience",
                "team",
                "--text",
                "The plan",
                "--file",
                &file,
            ],
        )
        .await?;
    let json = answer.json()?;
    let place = json
        .pointer("/findings/0/where")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let by_the_id = said(&answer).contains("national-ids") && place.contains("document.xml");
    Ok(Observed::new(answer.code == BLOCKED && by_the_id, said(&answer)).with_detail(place))
}

async fn confidential_to_guests(stage: &Stage) -> anyhow::Result<Observed> {
    let text = "Draft agenda for the offsite.";
    let answer = stage
        .agent(
            "Alice",
            [
                "share",
                "--audience",
                "partners",
                "--label",
                "confidential",
                "--text",
                text,
            ],
        )
        .await?;
    let rule = answer
        .json()?
        .pointer("/refusal/rule")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let ok = answer.code == REFUSED && rule.starts_with("sharing/policy.csv:");
    Ok(Observed::new(
        ok,
        if rule.is_empty() {
            said(&answer)
        } else {
            format!("refused by {rule}")
        },
    ))
}

async fn byte_for_byte(stage: &Stage) -> anyhow::Result<Observed> {
    let file = sample(stage, "holiday.png");
    let answer = stage
        .agent(
            "Alice",
            [
                "share",
                "--audience",
                "team",
                "--text",
                "The view",
                "--file",
                &file,
            ],
        )
        .await?;
    let Ok(story) = story_of(&answer) else {
        return Ok(Observed::new(false, said(&answer)));
    };
    let folder = stage.root().join("received-picture").display().to_string();
    received(stage, "Bob", &story, &["--save", &folder]).await?;
    let saved = fs::read(Path::new(&folder).join("holiday.png")).context("Bob has no holiday.png")?;
    let (sent, got) = (
        hex::encode(Sha256::digest(PICTURE)),
        hex::encode(Sha256::digest(&saved)),
    );
    Ok(Observed::new(
        sent == got,
        format!("sha256 {}", got.get(..16).unwrap_or_default()),
    ))
}
