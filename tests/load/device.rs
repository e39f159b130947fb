//! A simulated device: its own keys and MLS state, enrolled by the real API, in memory alone.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_seal::{DeviceSigner as _, FileDeviceKey, Member};
use anyhow::{Context as _, anyhow, bail, ensure};
use gateway_api::bytes::Bytes;
use gateway_api::enrollment::EnrollmentFile;
use gateway_api::error::Problem;
use gateway_api::v1::{bundle, directory, enroll, key_packages};
use gateway_ledger::tile::decode_bundle;
use gateway_ledger::{CheckpointKey, Frontier, SignedCheckpoint, TilePath, leaf_hash};
use policies::bundle::{Trust, UnverifiedBundle};
use policies::directory::{Directory, DirectoryEntry};
use policies::keys::Ed25519PublicKey;
use policies::plan::Plan;
use policies::terms::{DeviceId, PersonId};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use reqwest::{Client, RequestBuilder};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A call that takes longer is a failure.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Entries of a full tile.
const TILE_ENTRIES: u64 = 256;

/// An enrolled device.
pub(crate) struct Device {
    pub(crate) key: FileDeviceKey,
    pub(crate) person: PersonId,
    pub(crate) member: Member,
    /// What it pins.
    pub(crate) enrollment: EnrollmentFile,
    tls: ClientConfig,
    client: Client,
}

impl Device {
    /// Draws the keys, spends the token.
    pub(crate) async fn enrol(token_file: &Path) -> anyhow::Result<Self> {
        let enrollment: EnrollmentFile = toml::from_str(&std::fs::read_to_string(token_file)?)?;
        let nameless = FileDeviceKey::generate(DeviceId::from_bytes([0; 16]), &mut rand::rng())?;
        let tls_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name = DistinguishedName::new();
        let csr_pem = parameters.serialize_request(&tls_key)?.pem()?;
        let proof = nameless.sign(&enroll::proof_message(&enrollment.token.0, &csr_pem))?;
        let request = enroll::EnrollRequest {
            token: enrollment.token.clone(),
            again: None,
            host: None,
            serial: None,
            csr_pem,
            device_key: nameless.public_key().to_sec1().to_vec().into(),
            proof: proof.to_vec().into(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let stranger = client(tls(&enrollment, None)?)?;
        let url = format!("{}{}", enrollment.gateway_url, enroll::PATH);
        let answer: enroll::EnrollResponse = json(stranger.post(url).json(&request)).await?;
        let key = FileDeviceKey::from_pkcs8_der(answer.device, &nameless.to_pkcs8_der()?)?;
        let gateway = ed25519(&enrollment.external_sender_key)?;
        let member = Member::create(answer.tenant, gateway, &key, &mut rand::rng())?;
        let tls = tls(&enrollment, Some((&answer.certificate_pem, &tls_key)))?;
        Ok(Self {
            key,
            person: answer.person,
            member,
            client: client(tls.clone())?,
            tls,
            enrollment,
        })
    }

    /// Clients of one connection each.
    pub(crate) fn connections(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        (0..count).map(|_| client(self.tls.clone())).collect()
    }

    /// Uploads key packages, so that the audiences' authors can add this device.
    pub(crate) async fn offer_key_packages(&mut self, count: usize) -> anyhow::Result<()> {
        let packages = self.member.key_packages(count, now_s()?)?;
        let upload = key_packages::Upload {
            one_time: packages.into_iter().map(Bytes).collect(),
            last_resort: None,
            renew: false,
        };
        self.post::<_, key_packages::Stock>(key_packages::PATH, &upload)
            .await
            .map(drop)
    }

    /// The directory log, held to its signed checkpoint.
    pub(crate) async fn directory(&self) -> anyhow::Result<Directory> {
        let note = self.get(directory::CHECKPOINT_PATH).await?;
        let key = CheckpointKey::parse(&self.enrollment.directory_log_key)?;
        let signed = SignedCheckpoint::open(std::str::from_utf8(&note)?, &key)?;
        let (size, root) = (signed.checkpoint().size, signed.checkpoint().root);
        let (mut fold, mut frontier) = (Directory::new(), Frontier::new());
        for tile in 0..size.div_ceil(TILE_ENTRIES) {
            let path = TilePath::entries(tile, size).context("no such tile")?;
            let name = path.to_string();
            let name = name.strip_prefix("tile/").context("no path of a tile")?;
            let tile = self.get(&format!("{}/{name}", directory::TILE_PREFIX)).await?;
            for entry in decode_bundle(&tile, path.width()).context("the tile cannot be read")? {
                fold.apply(frontier.size(), &DirectoryEntry::decode(entry)?)?;
                frontier.append(leaf_hash(entry));
            }
        }
        ensure!(
            frontier.root() == root,
            "the log is not the one that the checkpoint signs"
        );
        Ok(fold)
    }

    /// The bundle in force, verified as an agent does.
    pub(crate) async fn plan(&self, directory: &Directory) -> anyhow::Result<Plan> {
        let bundle = UnverifiedBundle::parse(&self.get(bundle::PATH).await?)?;
        let keys = |keys: &[Bytes]| keys.iter().map(ed25519).collect::<anyhow::Result<Vec<_>>>();
        let trust = Trust {
            tenant: self.enrollment.tenant.clone(),
            authors: keys(&self.enrollment.author_keys)?,
            approvers: keys(&self.enrollment.approver_keys)?,
        };
        let logged = directory.bundle(&bundle.digest()).map(|(index, _)| index);
        Ok(Plan::from_bundle(&bundle.verify(&trust, 0, now_s()?, logged)?)?)
    }

    /// What the gateway answers with the least work to a device that it knows: a file of a few lines.
    pub(crate) fn cheap_url(&self) -> String {
        self.url(directory::CHECKPOINT_PATH)
    }

    /// A route of the gateway.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.enrollment.gateway_url)
    }

    /// Posts JSON, reads JSON.
    pub(crate) async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> anyhow::Result<T> {
        json(self.client.post(self.url(path)).json(body)).await
    }

    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        answered(self.client.get(self.url(path))).await
    }
}

/// The body of an answer; a problem is an error with its code.
pub(crate) async fn answered(request: RequestBuilder) -> anyhow::Result<Vec<u8>> {
    match attempted(request).await? {
        Ok(body) => Ok(body),
        Err(problem) => bail!("{}: {}", problem.code.as_str(), problem.detail),
    }
}

/// The body of an answer, or its problem.
pub(crate) async fn attempted(request: RequestBuilder) -> anyhow::Result<Result<Vec<u8>, Problem>> {
    let response = request.timeout(CALL_TIMEOUT).send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    if status.is_success() {
        return Ok(Ok(body.to_vec()));
    }
    let problem = serde_json::from_slice(&body).with_context(|| format!("status {status}"))?;
    Ok(Err(problem))
}

/// An Ed25519 key as enrollment files hold it.
pub(crate) fn ed25519(key: &Bytes) -> anyhow::Result<Ed25519PublicKey> {
    let bytes = key
        .0
        .as_slice()
        .try_into()
        .context("a pinned key has another length")?;
    Ed25519PublicKey::from_bytes(bytes).map_err(|_| anyhow!("a pinned key is none"))
}

/// Unix seconds.
pub(crate) fn now_s() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> anyhow::Result<T> {
    Ok(serde_json::from_slice(&answered(request).await?)?)
}

fn client(tls: ClientConfig) -> anyhow::Result<Client> {
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .pool_max_idle_per_host(1)
        .build()?)
}

/// TLS 1.3 with the pinned authority, and the device's certificate if it has one.
fn tls(enrollment: &EnrollmentFile, own: Option<(&str, &KeyPair)>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(enrollment.ca_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let Some((certificate_pem, key)) = own else {
        return Ok(builder.with_no_client_auth());
    };
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())?;
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|error| anyhow!("the TLS key cannot be used: {error}"))?;
    Ok(builder.with_client_auth_cert(vec![certificate], key)?)
}
