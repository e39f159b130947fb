//! The way to the collector. The SDK exports on threads of its own, on which an asynchronous client would wait for ever:
//! this one does the request on the program's runtime, and the thread waits for its end.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use crate::settings::Signal;

/// An answer is an empty message, or says how much was refused; more is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why an export failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody answers at the address.
    Unreachable,
    /// No answer in time.
    TooSlow,
    /// An answer that says no, by its HTTP status.
    Refused(u16),
    /// The program is at its end.
    Ended,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it cannot be reached"),
            Self::TooSlow => f.write_str("it does not answer in time"),
            Self::Refused(status) => write!(f, "it answers {status}"),
            Self::Ended => f.write_str("the program was ending"),
        }
    }
}

impl std::error::Error for Cause {}

/// Exports that failed.
#[derive(Debug, Default)]
pub struct Failures {
    by_signal: [OfSignal; 3],
}

#[derive(Debug, Default)]
struct OfSignal {
    count: AtomicU64,
    /// Of the last export, if it failed.
    standing: Mutex<Option<Cause>>,
}

impl Failures {
    /// How many, since the start.
    #[must_use]
    pub fn count(&self, signal: Signal) -> u64 {
        self.of(signal).count.load(Ordering::Relaxed)
    }

    /// Why the last export failed, unless it did not.
    #[must_use]
    pub fn standing(&self) -> Option<Cause> {
        let mut causes = Signal::ALL.iter().map(|signal| self.of(*signal).standing());
        causes.find_map(|cause| cause)
    }

    fn of(&self, signal: Signal) -> &OfSignal {
        let [traces, metrics, logs] = &self.by_signal;
        match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
            Signal::Logs => logs,
        }
    }

    fn settle(&self, signal: Signal, outcome: Option<Cause>) {
        let of = self.of(signal);
        let was = std::mem::replace(
            &mut *of.standing.lock().unwrap_or_else(PoisonError::into_inner),
            outcome,
        );
        if outcome.is_some() {
            of.count.fetch_add(1, Ordering::Relaxed);
        }
        match (was, outcome) {
            (None, Some(cause)) => {
                tracing::warn!(signal = signal.as_str(), %cause, "the collector does not take telemetry");
            }
            (Some(_), None) => {
                tracing::info!(signal = signal.as_str(), "the collector takes telemetry again")
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

impl OfSignal {
    fn standing(&self) -> Option<Cause> {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the SDK sends through.
#[derive(Debug)]
pub(crate) struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    failures: Arc<Failures>,
}

impl Collector {
    /// For use from any thread, while the current runtime runs.
    pub(crate) fn new(timeout: Duration, failures: Arc<Failures>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            runtime: Handle::current(),
            failures,
        })
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let path = request.uri().path().to_owned();
        let sending = self.runtime.spawn(send(self.http.clone(), request));
        let outcome = sending.await.unwrap_or(Err(Cause::Ended));
        let signal = Signal::ALL
            .into_iter()
            .find(|signal| path.ends_with(signal.as_str()));
        if let Some(signal) = signal {
            self.failures.settle(signal, outcome.as_ref().err().copied());
        }
        outcome.map_err(Into::into)
    }
}

async fn send(http: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, Cause> {
    let request = request.try_into().map_err(|error| why(&error))?;
    let mut response = http.execute(request).await.map_err(|error| why(&error))?;
    let status = response.status();
    if !status.is_success() {
        return Err(Cause::Refused(status.as_u16()));
    }
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| why(&error))? {
        if answer.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            break;
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(Response::new(answer.into()))
}

fn why(error: &reqwest::Error) -> Cause {
    if error.is_timeout() {
        Cause::TooSlow
    } else {
        Cause::Unreachable
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A collector that answers one request so, or never.
    fn collector(answer: Option<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut bytes = [0; 1_024];
            let _ = connection.read(&mut bytes).unwrap();
            match answer {
                Some(answer) => connection.write_all(answer.as_bytes()).unwrap(),
                // Until the other side gives up.
                None => while connection.read(&mut bytes).is_ok_and(|count| count > 0) {},
            }
        });
        url
    }

    /// From a thread that no runtime knows, as the SDK's are.
    async fn export(url: String) -> (Result<Bytes, String>, Arc<Failures>) {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let failures = Arc::<Failures>::default();
        let client = Collector::new(Duration::from_millis(500), Arc::clone(&failures)).unwrap();
        let request = Request::post(url).body(Bytes::from_static(b"spans")).unwrap();
        let (told, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let blocking = tokio::runtime::Builder::new_current_thread().build().unwrap();
            drop(told.send(blocking.block_on(client.send_bytes(request))));
        });
        let answer = ended.await.unwrap();
        let answer = answer.map(Response::into_body).map_err(|error| error.to_string());
        (answer, failures)
    }

    #[tokio::test]
    async fn export_from_a_foreign_thread_arrives() {
        let url = collector(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
        let (answer, failures) = export(url).await;
        assert_eq!(answer.unwrap(), "ok");
        assert_eq!((failures.count(Signal::Traces), failures.standing()), (0, None));
    }

    #[tokio::test]
    async fn collector_that_refuses_hangs_or_is_away_is_told_apart() {
        let away = "http://127.0.0.1:1/v1/traces".to_owned();
        let busy = collector(Some("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"));
        for (url, cause) in [
            (busy, Cause::Refused(503)),
            (collector(None), Cause::TooSlow),
            (away, Cause::Unreachable),
        ] {
            let (answer, failures) = export(url).await;
            assert_eq!(answer, Err(cause.to_string()));
            assert_eq!(
                (failures.count(Signal::Traces), failures.standing()),
                (1, Some(cause))
            );
            assert_eq!(failures.count(Signal::Logs), 0);
        }
    }
}
