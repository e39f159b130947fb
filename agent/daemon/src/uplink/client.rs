//! Calls to the gateway: mutual TLS with the pinned authority, JSON or raw bytes, problems of
//! RFC 9457. An unreachable gateway is a different answer from one that says no.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gateway_api::bytes::Bytes as WireBytes;
use gateway_api::error::{ErrorCode, Problem};
use gateway_api::v1;
use gateway_api::v1::rejoin::StateMark;
use policies::terms::{AudienceId, Cti, Digest};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry::TRACEPARENT;

use super::tls::TlsIdentity;
use crate::limits;

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No answer: the network, the gateway or its certificate. Trying later helps.
    #[error("the gateway cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The gateway is overloaded, cannot store, or was asked too much. Trying after this time helps (`Retry-After`, RFC 9110).
    #[error("the gateway takes nothing at the moment: {}", .0.detail)]
    Busy(Box<Problem>, Duration),
    /// The gateway says no.
    #[error("{}: {}", .0.title, .0.detail)]
    Refused(Box<Problem>),
    /// The state that the call is about cannot be read.
    #[error("the agent's own state cannot be read")]
    State(#[source] anyhow::Error),
    /// The answer is not what the contract says.
    #[error("the gateway's answer cannot be read: {0}")]
    Unreadable(String),
}

/// Whether a call ended since the pinned authority does not vouch for who answered under the gateway's name (E2).
/// Nothing was sent then.
pub(crate) fn is_not_pinned(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(of_tls);
    causes.any(|cause| matches!(cause, rustls::Error::InvalidCertificate(_)))
}

/// An error of TLS, which comes wrapped in errors of I/O that do not name it as their source.
fn of_tls<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    cause
        .downcast_ref()
        .or_else(|| of_tls(cause.downcast_ref::<std::io::Error>()?.get_ref()?))
}

impl CallError {
    /// Whether the same call may succeed later, by itself, after a rejoin (M7) or with a renewed identity (E5, E8), so
    /// that what waits is kept.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Busy(..) => true,
            Self::Refused(problem) => matches!(
                problem.code,
                ErrorCode::StateBehind
                    | ErrorCode::IdentityExpired
                    | ErrorCode::IdentityInvalid
                    | ErrorCode::DeviceQuarantined
            ),
            Self::Unreadable(_) | Self::State(_) => false,
        }
    }

    /// The gateway's code, where it gave one.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(problem) | Self::Busy(problem, _) => Some(problem.code),
            Self::Unreachable(_) | Self::Unreadable(_) | Self::State(_) => None,
        }
    }

    /// How long the gateway asks not to be called.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(_, pause) => Some(*pause),
            Self::Refused(_) | Self::Unreachable(_) | Self::Unreadable(_) | Self::State(_) => None,
        }
    }
}

/// A bundle with the proof of its freshness.
pub(crate) struct FetchedBundle {
    pub bundle: Option<Bytes>,
    pub timestamp: Option<Vec<u8>>,
}

/// What an enrollment is answered with.
pub(crate) enum Enrolled {
    Yes(v1::enroll::EnrollResponse),
    /// An administrator must approve it.
    Waiting,
}

/// The gateway, as this device sees it.
pub(crate) struct Gateway {
    http: ArcSwap<reqwest::Client>,
    ca_pem: String,
    base: String,
}

impl Gateway {
    /// A client that trusts the pinned authority alone.
    ///
    /// # Errors
    /// The pinned authority or the device's certificate cannot be used.
    pub(crate) fn new(base: &str, ca_pem: &str, identity: Option<&TlsIdentity>) -> anyhow::Result<Self> {
        Ok(Self {
            http: ArcSwap::from_pointee(client(ca_pem, identity)?),
            ca_pem: ca_pem.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// The same gateway, with this identity.
    ///
    /// # Errors
    /// Certificate and key cannot be used, or do not belong together.
    pub(crate) fn with_identity(&self, identity: &TlsIdentity) -> anyhow::Result<Self> {
        Self::new(&self.base, &self.ca_pem, Some(identity))
    }

    /// Uses this identity from now on; calls on their way end with the one that they began with.
    ///
    /// # Errors
    /// As [`Self::with_identity`].
    pub(crate) fn use_identity(&self, identity: &TlsIdentity) -> anyhow::Result<()> {
        self.http.store(Arc::new(client(&self.ca_pem, Some(identity))?));
        Ok(())
    }

    /// Enrolls: the one call without a client certificate.
    pub(crate) async fn enroll(&self, request: &v1::enroll::EnrollRequest) -> Result<Enrolled, CallError> {
        let request = self.request(Method::POST, v1::enroll::PATH).json(request);
        let response = succeeded(send(request).await?).await?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(Enrolled::Waiting);
        }
        json(response).await.map(Enrolled::Yes)
    }

    /// The next certificate of this device (E4).
    pub(crate) async fn renew(
        &self,
        request: &v1::renew::RenewRequest,
    ) -> Result<v1::renew::RenewResponse, CallError> {
        self.post(v1::renew::PATH, request).await
    }

    /// Leaves for good.
    pub(crate) async fn unenroll(&self) -> Result<(), CallError> {
        let request = self.request(Method::POST, v1::unenroll::PATH);
        succeeded(send(request).await?).await.map(drop)
    }

    pub(crate) async fn people(&self) -> Result<v1::directory::People, CallError> {
        self.read(v1::directory::PEOPLE_PATH).await
    }

    /// The signed checkpoint of the directory log.
    pub(crate) async fn checkpoint(&self) -> Result<Bytes, CallError> {
        self.read_bytes(v1::directory::CHECKPOINT_PATH).await
    }

    /// Shows the gateway a checkpoint of its directory log that is later than the one that it serves.
    pub(crate) async fn show_checkpoint(&self, note: &str) -> Result<(), CallError> {
        let request = self
            .request(Method::POST, v1::directory::CHECKPOINT_PATH)
            .json(note);
        succeeded(send(request).await?).await.map(drop)
    }

    /// A tile or entry bundle; `path` as in C2SP tlog-tiles, beginning with `tile/`.
    pub(crate) async fn tile(&self, path: &str) -> Result<Bytes, CallError> {
        let below = path.strip_prefix("tile/").unwrap_or(path);
        self.read_bytes(&format!("{}/{below}", v1::directory::TILE_PREFIX))
            .await
    }

    /// The bundle in force; `bundle` is none when it is the one named by the ETag.
    pub(crate) async fn bundle(&self, known: Option<Digest>) -> Result<FetchedBundle, CallError> {
        let mut request = self.request(Method::GET, v1::bundle::PATH);
        if let Some(digest) = known {
            request = request.header(IF_NONE_MATCH, format!("\"{digest}\""));
        }
        let response = send(request).await?;
        let timestamp = response
            .headers()
            .get(v1::bundle::TIMESTAMP_HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| WireBytes::from_text(text).ok())
            .map(|bytes| bytes.0);
        tracing::trace!(etag = ?response.headers().get(ETAG), status = response.status().as_u16(), "bundle answered");
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(FetchedBundle {
                bundle: None,
                timestamp,
            });
        }
        Ok(FetchedBundle {
            bundle: Some(body(succeeded(response).await?).await?),
            timestamp,
        })
    }

    /// Says how far this device came with a bundle (B10).
    pub(crate) async fn acknowledge_bundle(&self, ack: &v1::bundle::Ack) -> Result<(), CallError> {
        let request = self.request(Method::POST, v1::bundle::ACK_PATH).json(ack);
        succeeded(send(request).await?).await.map(drop)
    }

    pub(crate) async fn key_package_stock(&self) -> Result<v1::key_packages::Stock, CallError> {
        self.read(v1::key_packages::PATH).await
    }

    pub(crate) async fn upload_key_packages(
        &self,
        upload: &v1::key_packages::Upload,
    ) -> Result<v1::key_packages::Stock, CallError> {
        self.post(v1::key_packages::PATH, upload).await
    }

    pub(crate) async fn claim_key_packages(
        &self,
        claim: &v1::key_packages::Claim,
    ) -> Result<v1::key_packages::Claimed, CallError> {
        self.post(v1::key_packages::CLAIM_PATH, claim).await
    }

    pub(crate) async fn create_group(
        &self,
        create: &v1::groups::Create,
    ) -> Result<v1::groups::GroupState, CallError> {
        self.post(v1::groups::PATH, create).await
    }

    pub(crate) async fn commit(
        &self,
        group: AudienceId,
        commit: &v1::groups::Commit,
    ) -> Result<v1::groups::Committed, CallError> {
        self.post(&v1::groups::commits_path(group), commit).await
    }

    pub(crate) async fn propose(
        &self,
        group: AudienceId,
        proposal: &v1::groups::Proposal,
    ) -> Result<v1::groups::Committed, CallError> {
        self.post(&v1::groups::proposals_path(group), proposal).await
    }

    /// Has the rejoin of this device logged (K4).
    pub(crate) async fn rejoin(
        &self,
        request: &v1::rejoin::RejoinRequest,
    ) -> Result<v1::rejoin::RejoinResponse, CallError> {
        self.post(v1::rejoin::PATH, request).await
    }

    /// What an external commit is made from.
    pub(crate) async fn public_state(&self, group: AudienceId) -> Result<v1::rejoin::PublicState, CallError> {
        self.read(&v1::rejoin::public_state_path(group)).await
    }

    pub(crate) async fn external_commit(
        &self,
        group: AudienceId,
        commit: &v1::rejoin::ExternalCommit,
    ) -> Result<v1::groups::Committed, CallError> {
        self.post(&v1::rejoin::external_commit_path(group), commit).await
    }

    /// Asks for the removal of this device's old leaf, so that a member can add it anew.
    pub(crate) async fn readmission(&self, group: AudienceId) -> Result<(), CallError> {
        let request = self.request(Method::POST, &v1::rejoin::readmission_path(group));
        succeeded(send(request).await?).await.map(drop)
    }

    pub(crate) async fn preflight(
        &self,
        request: &v1::preflight::PreflightRequest,
    ) -> Result<v1::preflight::Decision, CallError> {
        self.post(v1::preflight::PATH, request).await
    }

    /// The long poll of everything that concerns this device (K15).
    pub(crate) async fn sync(
        &self,
        request: &v1::sync::SyncRequest,
    ) -> Result<v1::sync::SyncResponse, CallError> {
        let wait = std::time::Duration::from_secs(u64::from(request.wait_s));
        let request = self
            .request(Method::POST, v1::sync::PATH)
            .timeout(wait.saturating_add(limits::CALL_TIMEOUT))
            .json(request);
        json(succeeded(send(request).await?).await?).await
    }

    pub(crate) async fn put_blob(&self, digest: Digest, ciphertext: Vec<u8>) -> Result<(), CallError> {
        let request = self
            .request(Method::PUT, &v1::blobs::path(digest))
            .body(ciphertext);
        succeeded(send(request).await?).await.map(drop)
    }

    pub(crate) async fn blob(&self, digest: Digest) -> Result<Bytes, CallError> {
        let request = self.request(Method::GET, &v1::blobs::path(digest));
        body_up_to(
            succeeded(send(request).await?).await?,
            limits::LOCAL_BODY_BYTES_MAX,
        )
        .await
    }

    /// Posts an envelope with its clearance.
    pub(crate) async fn post_story(
        &self,
        group: AudienceId,
        envelope: Vec<u8>,
        clearance: &[u8],
        state: StateMark,
    ) -> Result<v1::stories::Accepted, CallError> {
        let request = self
            .envelope(&v1::stories::post_path(group), envelope, clearance)
            .header(v1::rejoin::STATE_HEADER, state.to_string());
        json(succeeded(send(request).await?).await?).await
    }

    /// Puts a device list in force, or its next version (K17).
    pub(crate) async fn define_list(
        &self,
        define: &v1::device_lists::Define,
    ) -> Result<v1::device_lists::DeviceListState, CallError> {
        self.post(v1::device_lists::PATH, define).await
    }

    /// The version of a list that is in force.
    pub(crate) async fn device_list(
        &self,
        list: AudienceId,
    ) -> Result<v1::device_lists::DeviceListState, CallError> {
        self.read(&v1::device_lists::path(list)).await
    }

    /// Posts what an app sealed for a list, with its clearance (A12).
    pub(crate) async fn post_to_list(
        &self,
        list: AudienceId,
        envelope: Vec<u8>,
        clearance: &[u8],
    ) -> Result<v1::stories::Accepted, CallError> {
        let request = self.envelope(&v1::device_lists::post_path(list), envelope, clearance);
        json(succeeded(send(request).await?).await?).await
    }

    fn envelope(&self, path: &str, envelope: Vec<u8>, clearance: &[u8]) -> RequestBuilder {
        let clearance = WireBytes(clearance.to_vec()).to_text();
        self.request(Method::POST, path)
            .header(v1::stories::CLEARANCE_HEADER, clearance)
            .body(envelope)
    }

    /// Whether the gateway holds this device's story (K13).
    pub(crate) async fn story(&self, cti: Cti) -> Result<Option<v1::stories::Accepted>, CallError> {
        match self.read(&v1::stories::path(cti)).await {
            Ok(accepted) => Ok(Some(accepted)),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn revoke_story(&self, cti: Cti) -> Result<v1::stories::Revoked, CallError> {
        let request = self.request(Method::POST, &v1::stories::revoke_path(cti));
        json(succeeded(send(request).await?).await?).await
    }

    pub(crate) async fn upload_events(
        &self,
        upload: &v1::events::Upload,
    ) -> Result<v1::events::Acknowledged, CallError> {
        let text = serde_json::to_vec(upload).map_err(|error| CallError::State(error.into()))?;
        let body = zstd::bulk::compress(&text, 0).map_err(|error| CallError::State(error.into()))?;
        let request = self
            .request(Method::POST, v1::events::PATH)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "zstd")
            .body(body);
        json(succeeded(send(request).await?).await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .http
            .load()
            .request(method, format!("{}{path}", self.base))
            .timeout(limits::CALL_TIMEOUT);
        match telemetry::traceparent() {
            Some(traceparent) => request.header(TRACEPARENT, traceparent),
            None => request,
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        json(succeeded(send(self.request(Method::GET, path)).await?).await?).await
    }

    async fn read_bytes(&self, path: &str) -> Result<Bytes, CallError> {
        body(succeeded(send(self.request(Method::GET, path)).await?).await?).await
    }

    async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, CallError> {
        json(succeeded(send(self.request(Method::POST, path).json(body)).await?).await?).await
    }
}

fn client(ca_pem: &str, identity: Option<&TlsIdentity>) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(super::tls::client_config(ca_pem, identity)?)
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?)
}

async fn send(request: RequestBuilder) -> Result<Response, CallError> {
    request
        .send()
        .await
        .map_err(|error| CallError::Unreachable(error.without_url()))
}

async fn succeeded(response: Response) -> Result<Response, CallError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after_s = retry_after
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    let pause = Duration::from_secs(retry_after_s).min(limits::EVENTS_BACKOFF_MAX);
    let bytes = body(response).await?;
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem)
            if status == StatusCode::SERVICE_UNAVAILABLE
                || matches!(problem.code, ErrorCode::RateLimited | ErrorCode::BodyTooSlow) =>
        {
            Err(CallError::Busy(Box::new(problem), pause))
        }
        Ok(problem) => Err(CallError::Refused(Box::new(problem))),
        // Of a proxy before the gateway: it says when, not what (S6).
        Err(_) if is_about_time(status) => {
            let detail = format!("something before it answers {}", status.as_u16());
            Err(CallError::Busy(
                Box::new(Problem::new(ErrorCode::Busy, detail)),
                pause,
            ))
        }
        Err(_) => Err(CallError::Unreadable(format!(
            "status {} without a problem document",
            status.as_u16()
        ))),
    }
}

fn is_about_time(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, CallError> {
    let bytes = body(response).await?;
    serde_json::from_slice(&bytes).map_err(|error| CallError::Unreadable(error.to_string()))
}

async fn body(response: Response) -> Result<Bytes, CallError> {
    body_up_to(response, limits::ANSWER_BYTES_MAX).await
}

async fn body_up_to(mut response: Response, bytes_max: usize) -> Result<Bytes, CallError> {
    let mut bytes = bytes::BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| CallError::Unreachable(error.without_url()))?
    {
        if bytes.len().saturating_add(chunk.len()) > bytes_max {
            return Err(CallError::Unreadable(format!("longer than {bytes_max} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
