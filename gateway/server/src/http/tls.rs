//! TLS 1.3 by aws-lc-rs, and 1.2 beside it where `listen.tls12` says so; a client certificate is optional at the handshake (enrollment has none) and demanded
//! by the routes that need a device.

mod verifier;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use self::verifier::EndedToo;
use crate::clock::Clock;
use crate::domain::gateway::Gateway;

/// The server's side.
pub(crate) fn server_config(gateway: &Gateway) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(gateway.keys.authority.certificate_pem().as_bytes())
        .context("the authority's certificate cannot be read")?;
    roots.add(authority)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .context("cannot set up the check of client certificates")?;
    let clock = GatewayTime(Arc::clone(&gateway.clock));
    let config = ServerConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(versions(gateway.config.listen.tls12))?
        .with_client_cert_verifier(Arc::new(EndedToo(verifier)))
        .with_cert_resolver(Arc::clone(&gateway.server_certificate) as Arc<dyn ResolvesServerCert>);
    Ok(config)
}

/// TLS 1.3, and 1.2 after it where that is asked for.
static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn versions(tls12: bool) -> &'static [&'static SupportedProtocolVersion] {
    let (tls13, _) = VERSIONS.split_at(1);
    if tls12 { &VERSIONS } else { tls13 }
}

/// The gateway's one clock, for the checks of a handshake.
#[derive(Debug)]
struct GatewayTime(Arc<Clock>);

impl TimeProvider for GatewayTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now_s())))
    }
}
