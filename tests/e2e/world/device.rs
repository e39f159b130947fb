//! A device's own mTLS connection, with the keys of its agent's folder: what an attacker on a managed device
//! could send.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gateway_api::bytes::Bytes;
use gateway_api::error::Problem;
use gateway_api::v1::stories::CLEARANCE_HEADER;
use gateway_api::v1::{device_lists, events, renew, stories, sync};
use policies::terms::AudienceId;
use reqwest::blocking::{Client, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Longer than any poll that is waited for.
const CALL: Duration = Duration::from_secs(120);

/// A story as it lies in a group's log.
#[derive(Clone)]
pub(crate) struct Relayed {
    pub(crate) group: AudienceId,
    pub(crate) envelope: Vec<u8>,
    pub(crate) clearance: Vec<u8>,
    pub(crate) acceptance: Vec<u8>,
}

pub(crate) struct Device {
    client: Client,
    url: String,
}

impl Device {
    pub(crate) fn new(folder: &Path, url: String) -> Self {
        Self {
            client: client(folder),
            url,
        }
    }

    /// Asks for a certificate.
    pub(crate) fn renew(&self, request: &renew::RenewRequest) -> Response {
        let url = format!("{}{}", self.url, renew::PATH);
        self.client.post(url).json(request).send().unwrap()
    }

    /// A page that asks for no identity.
    pub(crate) fn page(&self, url: &str) -> String {
        self.client.get(url).send().unwrap().text().unwrap()
    }

    /// Polls as from another place.
    pub(crate) fn sync_from(&self, origin: renew::Origin) -> Response {
        let request = sync::SyncRequest {
            origin,
            ..Default::default()
        };
        let url = format!("{}{}", self.url, sync::PATH);
        self.client.post(url).json(&request).send().unwrap()
    }

    /// Everything in the groups' logs that this device may read, from the start.
    pub(crate) fn stories(&self, group: AudienceId) -> Vec<Relayed> {
        let request = sync::SyncRequest {
            groups: [(group, 0)].into(),
            ..Default::default()
        };
        let response = self
            .client
            .post(format!("{}{}", self.url, sync::PATH))
            .json(&request)
            .send()
            .unwrap();
        let response: sync::SyncResponse = response.error_for_status().unwrap().json().unwrap();
        let items = response.groups.into_values().flatten();
        items
            .filter_map(|item| match item.body {
                sync::GroupBody::Story {
                    envelope,
                    clearance,
                    acceptance,
                } => Some(Relayed {
                    group,
                    envelope: envelope.0,
                    clearance: clearance.0,
                    acceptance: acceptance.0,
                }),
                sync::GroupBody::Commit { .. }
                | sync::GroupBody::Proposal { .. }
                | sync::GroupBody::Revoked { .. } => None,
            })
            .collect()
    }

    /// The group's log from the start, as soon as it holds enough.
    pub(crate) fn log_until(
        &self,
        group: AudienceId,
        enough: impl Fn(&[sync::GroupBody]) -> bool,
    ) -> Vec<sync::GroupBody> {
        let (mut cursor, mut items) = (0, Vec::new());
        while !enough(&items) {
            let request = sync::SyncRequest {
                groups: [(group, cursor)].into(),
                policy_version: 1,
                directory_size: u64::MAX,
                wait_s: 25,
                ..Default::default()
            };
            let url = format!("{}{}", self.url, sync::PATH);
            let response = self.client.post(url).json(&request).send().unwrap();
            let mut response: sync::SyncResponse = response.error_for_status().unwrap().json().unwrap();
            for item in response.groups.remove(&group).unwrap_or_default() {
                cursor = item.sequence;
                items.push(item.body);
            }
        }
        items
    }

    /// List and clearance of the first story of an app in this device's inbox, once it is there.
    pub(crate) fn list_story(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut cursor, mut found) = (0, None);
        while found.is_none() {
            let request = sync::SyncRequest {
                inbox: cursor,
                policy_version: 1,
                directory_size: u64::MAX,
                wait_s: 25,
                ..Default::default()
            };
            let url = format!("{}{}", self.url, sync::PATH);
            let response = self.client.post(url).json(&request).send().unwrap();
            let response: sync::SyncResponse = response.error_for_status().unwrap().json().unwrap();
            for item in response.inbox {
                cursor = item.sequence;
                if let sync::InboxBody::Story { list, clearance, .. } = item.body {
                    found = Some((list.0, clearance.0));
                    break;
                }
            }
        }
        found.unwrap()
    }

    /// Posts an envelope, with a clearance if there is one.
    pub(crate) fn post(&self, group: AudienceId, envelope: &[u8], clearance: Option<&[u8]>) -> Response {
        self.post_at(&stories::post_path(group), envelope, clearance)
    }

    /// The same for a device list.
    pub(crate) fn post_to_list(
        &self,
        list: AudienceId,
        envelope: &[u8],
        clearance: Option<&[u8]>,
    ) -> Response {
        self.post_at(&device_lists::post_path(list), envelope, clearance)
    }

    fn post_at(&self, path: &str, envelope: &[u8], clearance: Option<&[u8]>) -> Response {
        let mut request = self.client.post(format!("{}{path}", self.url));
        if let Some(clearance) = clearance {
            request = request.header(CLEARANCE_HEADER, Bytes(clearance.to_vec()).to_text());
        }
        request.body(envelope.to_vec()).send().unwrap()
    }

    /// Defines a device list.
    pub(crate) fn define_list(&self, signed: Vec<u8>) -> Response {
        self.post_json(device_lists::PATH, &device_lists::Define { list: Bytes(signed) })
    }

    /// Uploads events.
    pub(crate) fn upload(&self, events: &serde_json::Value) -> Response {
        self.post_json(events::PATH, events)
    }

    /// Uploads events as these bytes.
    pub(crate) fn upload_encoded(&self, encoding: &str, body: Vec<u8>) -> Response {
        let request = self.client.post(format!("{}{}", self.url, events::PATH));
        let request = request
            .header("content-type", "application/json")
            .header("content-encoding", encoding);
        request.body(body).send().unwrap()
    }

    pub(crate) fn post_json(&self, path: &str, body: &impl serde::Serialize) -> Response {
        let request = self.client.post(format!("{}{path}", self.url));
        request.json(body).send().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().unwrap()
    }
}

/// A client with the keys of an agent's folder.
pub(super) fn client(folder: &Path) -> Client {
    let pem = |name: &str| fs::read(folder.join("keys").join(name)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem("ca.pem")) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let chain = CertificateDer::pem_slice_iter(&pem("tls.pem"))
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&pem("tls.pem")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(CALL)
        .build()
        .unwrap()
}

/// The problem that a response holds.
pub(crate) fn problem(response: Response) -> Problem {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let status = response.status().as_u16();
    let problem: Problem = response.json().unwrap();
    assert_eq!(problem.status, status);
    problem
}
