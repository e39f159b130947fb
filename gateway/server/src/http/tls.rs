//! TLS 1.3 alone, by aws-lc-rs; a client certificate is optional at the handshake (enrollment has none) and demanded
//! by the routes that need a device.

mod verifier;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};

use self::verifier::EndedToo;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::keys::Keys;

/// The server's side, with a certificate made for this start.
pub(crate) fn server_config(
    config: &Config,
    keys: &Keys,
    clock: &Arc<Clock>,
) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(keys.authority.certificate_pem().as_bytes())
        .context("the authority's certificate cannot be read")?;
    roots.add(authority)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .context("cannot set up the check of client certificates")?;
    let certificate = keys
        .authority
        .issue_server(&keys.server, &config.listen.names, clock.now_s())?;
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
    let key = PrivateKeyDer::try_from(keys.server.serialize_der())
        .map_err(|_| anyhow::anyhow!("the server's key cannot be used"))?;
    ServerConfig::builder_with_details(provider, Arc::new(GatewayTime(Arc::clone(clock))))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(EndedToo(verifier)))
        .with_single_cert(vec![certificate], key)
        .context("the server's certificate and key do not go together")
}

/// The gateway's one clock, for the checks of a handshake.
#[derive(Debug)]
struct GatewayTime(Arc<Clock>);

impl TimeProvider for GatewayTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now_s())))
    }
}
