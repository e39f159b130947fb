//! For apps that seal by themselves (Double Ratchet, Sender Keys, MLS, anything): verdicts from the agent on the
//! device, clearances for what they sealed, and what arrived for them (A10, A12). Blocking calls over the agent's Unix
//! socket; `agent/LOCAL-API.md` describes the same routes for other languages.
//!
//! ```text
//! draft ─► check ─► receipt ─┐
//!   └─► the app seals ───────┴─► share ─► clearance ─► gateway ─► the other device's agent ─► stories, read ─► done
//! ```
//!
//! **Architecture Invariant.** Nothing of this crate reads a draft beyond handing it to the agent, keeps anything, or
//! speaks to anybody but the agent's socket.
//!
//! # An app
//!
//! Its owner registered it once: `sealgate-agent app register courier --program /usr/bin/courier`, which wrote the
//! credential file. Both sides run the same app; which keys it seals with is its own affair.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use agent_client::{Agent, Draft, Outcome, Sealed};
//! # fn seal(text: &str) -> Vec<u8> { text.bytes().rev().collect() }
//! # fn open(envelope: &[u8]) {}
//!
//! # fn main() -> Result<(), agent_client::Error> {
//! let agent = Agent::open(Path::new("courier.credential"))?;
//! let list = agent.define_list(&["Bob"])?; // Bob's devices and one's own
//!
//! // To send: the verdict on the draft, then what the app sealed of it.
//! let text = "Lunch at 12:30";
//! let checked = agent.check(&Draft::text(text), Some(&list.list))?;
//! let Some(receipt) = &checked.receipt else {
//!     println!("{}", checked.verdict.in_words()); // what the policy found, and what to do
//!     return Ok(());
//! };
//! let envelope = seal(text);
//! let sealed = Sealed { list: &list.list, content: &checked.content, protocol: "olm/2", ttl_s: None };
//! let shared = agent.share(receipt, &sealed, &envelope)?;
//! match shared.outcome {
//!     Outcome::Accepted => println!("story {}", shared.story),
//!     Outcome::Refused => println!("{:?}", shared.refusal), // signed by the gateway
//!     Outcome::Unanswered => println!("call share again with the same bytes: they count once"),
//! }
//!
//! // To receive: what arrived, verified by the agent, until the app says that it has it.
//! for story in agent.stories(Duration::from_secs(25))? {
//!     open(&agent.read(&story.story)?);
//!     agent.done(&story.story)?;
//! }
//! # Ok(())
//! # }
//! ```

mod draft;
mod http;
pub mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use draft::Draft;
use http::{Body, Request};
pub use wire::{Checked, Device, List, ListId, Outcome, Receipt, Refusal, Shared, Story, StoryId, Verdict};

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credential file cannot be read.
    #[error(
        "the credential file cannot be used: {0}\n  help: sealgate-agent app register NAME --program FILE writes it"
    )]
    Credential(String),
    /// No agent answers on the socket.
    #[error("the agent does not answer on its socket: {0}\n  help: is `sealgate-agent run` running?")]
    Unreachable(#[from] std::io::Error),
    /// The agent says no, and why.
    #[error("{}{}", .problem.message, .problem.help.as_deref().map(|help| format!("\n  help: {help}")).unwrap_or_default())]
    Refused {
        /// HTTP status: 401 for an unknown credential, 403 for what is not allowed, 404 for what is not here, 503 for
        /// what may be tried again as it is, 422 for the rest.
        status: u16,
        /// In words.
        problem: wire::Problem,
    },
    /// The answer is not what this crate expects.
    #[error("the agent's answer cannot be read: {0}\n  help: agent and app may differ in version")]
    Unreadable(String),
    /// An argument that would not be one request.
    #[error(
        "`{0}` cannot stand in a request\n  help: ids as the agent gave them; a protocol such as `olm/2`"
    )]
    Argument(&'static str),
}

/// The agent of this device, for one registered app.
pub struct Agent {
    socket: PathBuf,
    credential: String,
}

/// What an app says about the bytes that it sealed.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// For whom.
    pub list: &'a ListId,
    /// Of which draft: [`Checked::content`] of its check.
    pub content: &'a str,
    /// How, in the app's own name for it: at most 32 lower-case letters, digits, `.`, `-`, `/`.
    pub protocol: &'a str,
    /// Lifetime in seconds; none means a day.
    pub ttl_s: Option<u32>,
}

/// The credential file.
#[derive(Deserialize)]
struct CredentialFile {
    socket: PathBuf,
    credential: String,
}

impl Agent {
    /// Reads the credential file that `sealgate-agent app register` wrote. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Credential`].
    pub fn open(credential_file: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(credential_file).map_err(|error| Error::Credential(error.to_string()))?;
        let file: CredentialFile =
            serde_json::from_slice(&bytes).map_err(|error| Error::Credential(error.to_string()))?;
        if !is_token(&file.credential) {
            return Err(Error::Credential("the credential is not one".to_owned()));
        }
        Ok(Self {
            socket: file.socket,
            credential: file.credential,
        })
    }

    /// Asks what the policy says of a draft. With a list it is an attempt to share: the verdict has a receipt where this
    /// very draft may go to its devices, and a block is reported as the rules say. Without, nothing is kept or reported.
    ///
    /// # Errors
    /// [`Error`]; a draft that is held is an answer.
    pub fn check(&self, draft: &Draft<'_>, list: Option<&ListId>) -> Result<Checked, Error> {
        let frame = draft.frame(list)?;
        self.json(Request::post(wire::CHECK).body(Body::Bytes(&frame)))
    }

    /// Has what the app sealed cleared and relayed. The receipt is used up; the same call again, with the same bytes,
    /// counts once and answers the same.
    ///
    /// # Errors
    /// [`Error`]; a refusal of the gateway is an answer. With status 503 nothing was used up.
    pub fn share(&self, receipt: &Receipt, sealed: &Sealed<'_>, envelope: &[u8]) -> Result<Shared, Error> {
        let path = format!(
            "{}?list={}&content={}&protocol={}{}",
            wire::SHARE,
            token(&sealed.list.0, "list")?,
            token(sealed.content, "content")?,
            token(sealed.protocol, "protocol")?,
            sealed
                .ttl_s
                .map(|ttl_s| format!("&ttl_s={ttl_s}"))
                .unwrap_or_default(),
        );
        let receipt = token(&receipt.0, "receipt")?;
        self.json(
            Request::post(&path)
                .header(wire::RECEIPT_HEADER, receipt)
                .body(Body::Bytes(envelope)),
        )
    }

    /// Takes one of the app's stories back: it is gone at the gateway, and forgotten where it was fetched.
    ///
    /// # Errors
    /// [`Error`].
    pub fn take_back(&self, story: &StoryId) -> Result<wire::TakenBack, Error> {
        let request = wire::TakeBack { story: story.clone() };
        self.json(Request::post(wire::TAKE_BACK).body(Body::json(&request)?))
    }

    /// Makes a list of the devices of these people, by name or id, and one's own.
    ///
    /// # Errors
    /// [`Error`]: nobody, or several, are called so; the device is offline.
    pub fn define_list(&self, people: &[&str]) -> Result<List, Error> {
        self.define(None, people)
    }

    /// Defines the next version of one's own list: other people, or the same with the devices that they have now.
    ///
    /// # Errors
    /// [`Error`]: as [`Self::define_list`], or it is somebody else's.
    pub fn redefine_list(&self, list: &ListId, people: &[&str]) -> Result<List, Error> {
        self.define(Some(list.clone()), people)
    }

    fn define(&self, list: Option<ListId>, people: &[&str]) -> Result<List, Error> {
        let people = people.iter().map(|&person| person.to_owned()).collect();
        let request = wire::DefineList { list, people };
        self.json(Request::post(wire::LISTS).body(Body::json(&request)?))
    }

    /// The lists of this app that the device knows.
    ///
    /// # Errors
    /// [`Error`].
    pub fn lists(&self) -> Result<Vec<List>, Error> {
        let answer: wire::Lists = self.json(Request::get(wire::LISTS))?;
        Ok(answer.lists)
    }

    /// The version of a list that is in force, fetched from the gateway and verified.
    ///
    /// # Errors
    /// [`Error`]: this device is not on it, or is offline.
    pub fn list(&self, list: &ListId) -> Result<List, Error> {
        self.json(Request::get(&format!(
            "{}/{}",
            wire::LISTS,
            token(&list.0, "list")?
        )))
    }

    /// What arrived for this app and is not [`done`](Self::done), oldest first. If there is nothing, it waits so long,
    /// at most a minute.
    ///
    /// # Errors
    /// [`Error`].
    pub fn stories(&self, wait: Duration) -> Result<Vec<Story>, Error> {
        let path = format!("{}?wait_s={}", wire::STORIES, wait.as_secs());
        let answer: wire::Stories = self.json(Request::get(&path).waits(wait))?;
        Ok(answer.stories)
    }

    /// The bytes that the other side's app sealed.
    ///
    /// # Errors
    /// [`Error`]: it is done, taken back, or its time is over.
    pub fn read(&self, story: &StoryId) -> Result<Vec<u8>, Error> {
        let path = format!("{}/{}", wire::STORIES, token(&story.0, "story")?);
        self.call(Request::get(&path))
    }

    /// Says that the app has a story: the agent forgets its bytes.
    ///
    /// # Errors
    /// [`Error`]: none of this app waits under this id.
    pub fn done(&self, story: &StoryId) -> Result<(), Error> {
        let path = format!("{}/{}", wire::STORIES, token(&story.0, "story")?);
        self.call(Request::delete(&path)).map(drop)
    }

    fn json<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, Error> {
        let bytes = self.call(request)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Unreadable(error.to_string()))
    }

    fn call(&self, request: Request<'_>) -> Result<Vec<u8>, Error> {
        let answer = request.send(&self.socket, &self.credential)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        // What is refused before routing has no body.
        let problem = serde_json::from_slice(&answer.body).unwrap_or_else(|_| wire::Problem {
            message: format!("the agent refused the request (status {})", answer.status),
            help: Some("`sealgate-agent status` shows what was refused".to_owned()),
        });
        Err(Error::Refused {
            status: answer.status,
            problem,
        })
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The text, if it can stand in a request's head as it is.
fn token<'a>(text: &'a str, name: &'static str) -> Result<&'a str, Error> {
    if is_token(text) {
        Ok(text)
    } else {
        Err(Error::Argument(name))
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_that_would_end_the_head_is_refused() {
        for text in ["", "a b", "a\r\nhost: x", "a&list=b", "a#b", "ä"] {
            assert!(
                matches!(token(text, "list"), Err(Error::Argument("list"))),
                "{text}"
            );
        }
        assert_eq!(token("olm/2", "protocol").unwrap(), "olm/2");
    }

    /// A10: the credential is in no output.
    #[test]
    fn debug_prints_no_credential() {
        let agent = Agent {
            socket: PathBuf::from("/run/agent.sock"),
            credential: "courier.secret".to_owned(),
        };
        assert!(!format!("{agent:?}").contains("secret"));
    }
}
