//! The commands' way to the running agent.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::LocalProblem;
use crate::config::paths::Paths;

/// A client of the agent that runs on this folder.
pub(crate) struct LocalAgent {
    http: reqwest::Client,
}

/// Long enough for a large draft on a slow link; the agent's own calls have their own deadlines.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

impl LocalAgent {
    /// # Errors
    /// No agent was enrolled in the folder, or none runs on it.
    pub(crate) fn of(paths: &Paths) -> anyhow::Result<Self> {
        if !paths.enrollment().exists() {
            bail!(
                "`{}` holds no enrolled agent\n  help: sealgate-agent --dir {} enroll --token-file FILE",
                paths.root().display(),
                paths.root().display()
            );
        }
        let socket = paths.socket();
        if !socket.exists() {
            bail!(not_running(paths.root()));
        }
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .tls_backend_preconfigured(crate::uplink::tls::no_tls()?)
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        Ok(Self { http })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        answer(self.http.get(url(path)).send().await).await
    }

    pub(crate) async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> anyhow::Result<T> {
        answer(self.http.post(url(path)).json(body).send().await).await
    }

    /// Posts a frame (content).
    pub(crate) async fn post_frame<T: DeserializeOwned>(
        &self,
        path: &str,
        frame: &[u8],
    ) -> anyhow::Result<T> {
        let request = self
            .http
            .post(url(path))
            .header("content-type", "application/octet-stream")
            .body(frame.to_vec());
        answer(request.send().await).await
    }

    /// Reads raw bytes (content).
    pub(crate) async fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let response = self.http.get(url(path)).send().await.context(AGENT_GONE)?;
        let status = response.status();
        let bytes = response.bytes().await.context(AGENT_GONE)?;
        if status.is_success() {
            Ok(bytes.to_vec())
        } else {
            Err(problem(&bytes))
        }
    }
}

const AGENT_GONE: &str = "the agent does not answer on its socket; is `sealgate-agent run` still running?";

/// What to do when no agent runs.
pub(crate) fn not_running(root: &Path) -> String {
    format!(
        "the agent of `{}` is not running\n  help: start it: sealgate-agent --dir {} run",
        root.display(),
        root.display()
    )
}

fn url(path: &str) -> String {
    format!("http://agent{path}")
}

async fn answer<T: DeserializeOwned>(sent: reqwest::Result<reqwest::Response>) -> anyhow::Result<T> {
    let response = sent.context(AGENT_GONE)?;
    let status = response.status();
    let bytes = response.bytes().await.context(AGENT_GONE)?;
    if !status.is_success() {
        return Err(problem(&bytes));
    }
    serde_json::from_slice(&bytes).context("the agent answers in another version; restart it")
}

fn problem(bytes: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<LocalProblem>(bytes) {
        Ok(problem) => problem.into(),
        Err(_) => anyhow::anyhow!("the agent refused the request"),
    }
}

/// A path with a query.
///
/// # Errors
/// The query cannot be written.
pub(crate) fn query<Q: Serialize>(path: &str, query: &Q) -> anyhow::Result<String> {
    let value = serde_json::to_value(query)?;
    let fields = value.as_object().cloned().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in fields {
        if value.is_null() {
            continue;
        }
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(&name);
        text.push('=');
        text.push_str(&percent_encoded(&value));
    }
    Ok(format!("{path}{text}"))
}

/// RFC 3986: everything but unreserved characters is encoded.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::wire::WaitQuery;

    #[test]
    fn a_query_is_encoded() {
        let asked = WaitQuery {
            wait: Some("a b&c=ü".to_owned()),
            until: None,
            timeout_s: Some(5),
        };
        assert_eq!(
            query("/v1/outbox", &asked).unwrap(),
            "/v1/outbox?timeout_s=5&wait=a%20b%26c%3D%C3%BC"
        );
    }
}
