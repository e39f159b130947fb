//! One request, one answer: HTTP/1.1 over the agent's Unix socket, a connection each (RFC 9112).

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::Error;

/// Longest answer: a story of 256 KiB, a list of 512 devices with their names, with room.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Headers of an answer: the agent sends a handful.
const HEADERS_MAX: usize = 32;
/// How long an answer may take beyond what was asked to wait: a large draft's inspection, or the gateway's deadlines.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A request's body.
pub(crate) enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    Json(Vec<u8>),
}

impl Body<'_> {
    pub(crate) fn json<T: Serialize>(value: &T) -> Result<Self, Error> {
        serde_json::to_vec(value)
            .map(Self::Json)
            .map_err(|error| Error::Unreadable(error.to_string()))
    }

    fn parts(&self) -> (&str, &[u8]) {
        match self {
            Self::None => ("", &[]),
            Self::Bytes(bytes) => ("content-type: application/octet-stream\r\n", bytes),
            Self::Json(bytes) => ("content-type: application/json\r\n", bytes),
        }
    }
}

/// A request to be. Path and header values must be tokens: the caller checks them.
pub(crate) struct Request<'a> {
    method: &'static str,
    path: &'a str,
    header: Option<(&'static str, &'a str)>,
    body: Body<'a>,
    wait: Duration,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl<'a> Request<'a> {
    pub(crate) const fn get(path: &'a str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) const fn post(path: &'a str) -> Self {
        Self::new("POST", path)
    }

    pub(crate) const fn delete(path: &'a str) -> Self {
        Self::new("DELETE", path)
    }

    const fn new(method: &'static str, path: &'a str) -> Self {
        Self {
            method,
            path,
            header: None,
            body: Body::None,
            wait: Duration::ZERO,
        }
    }

    pub(crate) fn header(self, name: &'static str, value: &'a str) -> Self {
        Self {
            header: Some((name, value)),
            ..self
        }
    }

    pub(crate) fn body(self, body: Body<'a>) -> Self {
        Self { body, ..self }
    }

    /// The agent may take so long to answer.
    pub(crate) fn waits(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    pub(crate) fn send(&self, socket: &Path, credential: &str) -> Result<Answer, Error> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(self.wait.saturating_add(ANSWER_TIMEOUT)))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let (kind, body) = self.body.parts();
        let header = self
            .header
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\nauthorization: Bearer {credential}\r\n\
             {header}{kind}content-length: {}\r\n\r\n",
            self.method,
            self.path,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        parse(&answer)
    }
}

/// A whole answer: a head, and as many bytes as it says.
fn parse(bytes: &[u8]) -> Result<Answer, Error> {
    let unreadable = |what: &str| Error::Unreadable(what.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head
        .parse(bytes)
        .map_err(|error| Error::Unreadable(error.to_string()))?;
    let httparse::Status::Complete(body_at) = parsed else {
        return Err(unreadable("it ends early"));
    };
    let named = |name: &str| {
        let mut found = head.headers.iter();
        found.find(|header| header.name.eq_ignore_ascii_case(name))
    };
    if named("transfer-encoding").is_some() {
        return Err(unreadable("it comes in chunks"));
    }
    let length = named("content-length")
        .and_then(|header| std::str::from_utf8(header.value).ok())
        .and_then(|text| text.parse::<usize>().ok());
    let body = bytes.get(body_at..).unwrap_or_default();
    let body = match length {
        Some(length) => body.get(..length).ok_or_else(|| unreadable("it ends early"))?,
        None => body,
    };
    Ok(Answer {
        status: head.code.ok_or_else(|| unreadable("it has no status"))?,
        body: body.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &[u8], expected: Option<(u16, &[u8])>) {
        let parsed = parse(answer).ok();
        let parsed = parsed
            .as_ref()
            .map(|answer| (answer.status, answer.body.as_slice()));
        assert_eq!(parsed, expected);
    }

    #[test]
    fn answer_is_read_whole_or_not_at_all() {
        check(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            Some((200, b"hi")),
        );
        check(b"HTTP/1.1 204 No Content\r\n\r\n", Some((204, b"")));
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", None);
        check(b"HTTP/1.1 200 OK\r\ncontent-le", None);
        check(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi",
            None,
        );
        check(b"220 mail.example ESMTP\r\n", None);
    }
}
