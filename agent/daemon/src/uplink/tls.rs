//! TLS 1.3 with the authority pinned at enrollment; the system's authorities are not consulted.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

/// The daily TLS key with its certificate, both PEM.
pub(crate) struct TlsIdentity {
    pub certificate_pem: Vec<u8>,
    pub key_pem: Zeroizing<Vec<u8>>,
}

impl TlsIdentity {
    /// When the certificate ends, Unix seconds.
    ///
    /// # Errors
    /// The certificate is no PEM of an X.509 certificate.
    pub(crate) fn ends_s(&self) -> anyhow::Result<u64> {
        let certificate = CertificateDer::from_pem_slice(&self.certificate_pem)
            .context("the device's certificate is no PEM")?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&certificate)
            .context("the device's certificate cannot be read; enrol again")?;
        Ok(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default())
    }
}

/// A client configuration for the gateway.
///
/// # Errors
/// The authority, the certificate or the key is no valid PEM, or they do not belong together.
pub(crate) fn client_config(ca_pem: &str, identity: Option<&TlsIdentity>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.context("the pinned authority is no PEM certificate")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(&identity.certificate_pem)
        .collect::<Result<Vec<_>, _>>()
        .context("the device's certificate is no PEM")?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).context("the device's TLS key is no PEM")?;
    builder
        .with_client_auth_cert(chain, key)
        .context("the device's certificate and TLS key do not belong together; enrol again")
}

/// A configuration that trusts nobody, for the local socket, on which no TLS is spoken.
pub(crate) fn no_tls() -> anyhow::Result<ClientConfig> {
    client_config("", None)
}
