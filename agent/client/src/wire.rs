//! What app and agent say to each other: JSON of the routes under `/v1/app/`, both ways. Fields may be added.

use serde::{Deserialize, Serialize};

/// `POST`, a frame or `text/plain`: -> [`Checked`].
pub const CHECK: &str = "/v1/app/check";
/// `POST`, the sealed bytes: -> [`Shared`].
pub const SHARE: &str = "/v1/app/share";
/// `POST` [`DefineList`]: -> [`List`]. `GET`: -> [`Lists`]. `GET .../{list}`: -> [`List`].
pub const LISTS: &str = "/v1/app/lists";
/// `GET`: -> [`Stories`]. `GET .../{story}`: -> the bytes. `DELETE .../{story}`: the app has it.
pub const STORIES: &str = "/v1/app/stories";
/// `POST` [`TakeBack`]: -> [`TakenBack`].
pub const TAKE_BACK: &str = "/v1/app/take-back";
/// Header of [`SHARE`]: the receipt of the check.
pub const RECEIPT_HEADER: &str = "sealgate-receipt";

macro_rules! text {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text! {
    /// A list of devices, the same in every version: 32 hexadecimal digits.
    ListId;
    /// A story: 32 hexadecimal digits.
    StoryId;
    /// Proof of a verdict, for two minutes and one use.
    Receipt;
}

/// The answer to a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// What the policy says.
    pub verdict: Verdict,
    /// SHA-256 over the draft, hexadecimal: names what was inspected.
    pub content: String,
    /// None where this draft may not be shared as it is.
    pub receipt: Option<Receipt>,
}

/// What the policy says of a draft. The agent tells more; see `agent/LOCAL-API.md`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// `clear`, `blocked`, `needs_reason` or `needs_acceptance`.
    pub outcome: String,
    /// `allow`, `audit`, `warn`, `justify`, `redact` or `block`.
    pub action: String,
    /// The rules that fired.
    pub rules: Vec<FiredRule>,
    /// Where something was found; never the matched text.
    pub findings: Vec<Finding>,
    /// What the policy would take out first: a draft with any has no receipt.
    pub redactions: Vec<String>,
    /// The draft's labels.
    pub labels: Vec<String>,
}

/// A rule that fired.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FiredRule {
    /// Its id.
    pub rule: String,
    /// What it asks for.
    pub action: String,
    /// The rule in a sentence.
    pub sentence: String,
    /// Whom to ask.
    pub owner: String,
    /// What its author may do.
    pub fixes: Vec<String>,
}

/// Something that was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What found it, in words.
    pub name: String,
    /// 0 for the text, then the files.
    pub item: u16,
    /// Where in it.
    #[serde(rename = "where")]
    pub place: String,
}

impl Verdict {
    /// The verdict for the author's eyes, a line each.
    #[must_use]
    pub fn in_words(&self) -> String {
        let rules = self.rules.iter().map(|rule| rule.sentence.clone());
        let findings = self
            .findings
            .iter()
            .map(|finding| format!("{}: {}", finding.name, finding.place));
        let lines: Vec<String> = rules
            .chain(findings)
            .chain(self.redactions.iter().cloned())
            .collect();
        if lines.is_empty() {
            self.outcome.clone()
        } else {
            lines.join("\n")
        }
    }
}

/// People whose devices a list is to hold, beside one's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefineList {
    /// None for a new list.
    #[serde(default)]
    pub list: Option<ListId>,
    /// Names, or ids.
    pub people: Vec<String>,
}

/// The lists of an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lists {
    /// In order of id.
    pub lists: Vec<List>,
}

/// A version of a list. The devices are those in the company's directory log, verified by the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Its id.
    pub list: ListId,
    /// From 1, one more with each change.
    pub version: u64,
    /// `internal`, or `guest` if a device on it is an outsider's.
    pub class: String,
    /// Whether its next version is this device's owner's to define.
    pub own: bool,
    /// In order of id, this one among them.
    pub devices: Vec<Device>,
}

/// A device of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id: 32 hexadecimal digits.
    pub device: String,
    /// Whose it is.
    pub person: String,
    /// The name that colleagues know.
    pub name: String,
    /// Whether it is the one that answers.
    pub this: bool,
    /// Whether it was revoked: nothing is relayed to this version then.
    pub revoked: bool,
}

/// What became of sealed bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// How it ended.
    pub outcome: Outcome,
    /// The story.
    pub story: StoryId,
    /// The gateway's signed acceptance (COSE_Sign1, base64url), if it was accepted.
    pub acceptance: Option<String>,
    /// When it is gone, Unix seconds, if it was accepted.
    pub expires_at_s: Option<u64>,
    /// Why not, if it was refused.
    pub refusal: Option<Refusal>,
}

/// How sharing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The gateway holds, recorded and delivers it.
    Accepted,
    /// The gateway did not take it: have it checked again.
    Refused,
    /// No answer yet. The same call again asks for it.
    Unanswered,
}

/// The gateway's refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable.
    pub code: String,
    /// `file:line` of the sharing rule that refused it, where one did.
    pub rule: Option<String>,
    /// In plain words.
    pub reason: String,
    /// What to do.
    pub help: String,
    /// The signed receipt (COSE_Sign1, base64url), verified by the agent; none for a refusal that says nothing about
    /// the story.
    pub receipt: Option<String>,
}

/// What arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stories {
    /// Oldest first.
    pub stories: Vec<Story>,
}

/// A story that arrived for the app, verified by the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// Its id.
    pub story: StoryId,
    /// The list that it was sealed for.
    pub list: ListId,
    /// Its version.
    pub version: u64,
    /// The device that sent it: 32 hexadecimal digits.
    pub device: String,
    /// Whose that is.
    pub person: String,
    /// The name that colleagues know.
    pub name: String,
    /// How it is sealed, as the sender says.
    pub protocol: String,
    /// The labels that the sender's verdict set.
    pub labels: Vec<String>,
    /// Unix seconds, gateway time.
    pub accepted_at_s: u64,
    /// When it is gone, Unix seconds.
    pub expires_at_s: u64,
    /// How long it is.
    pub size_bytes: u64,
}

/// Takes a story back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeBack {
    /// One of the app's own.
    pub story: StoryId,
}

/// It was taken back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TakenBack {
    /// The story.
    pub story: StoryId,
    /// Unix seconds.
    pub taken_back_at_s: u64,
}

/// Why the agent did not do it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}
