//! TLS 1.3 with the authority pinned at enrollment; the system's authorities are not consulted.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use policies::terms::Digest;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};
use zeroize::Zeroizing;

/// The TLS key with its certificate: one PEM of both, so that one rename replaces them (E4).
#[derive(Clone)]
pub(crate) struct TlsIdentity {
    pem: Zeroizing<Vec<u8>>,
    certificate: CertificateDer<'static>,
}

/// When a certificate begins and ends, Unix seconds, and what tells it from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validity {
    pub starts_s: u64,
    pub ends_s: u64,
    /// Serial number, in hexadecimal digits.
    pub serial: String,
    digest: Digest,
}

const DAMAGED: &str = "the device's certificate and TLS key in `keys/tls.pem` are damaged or do not belong together; \
                       restore the file, or enrol with `sealgate-agent enroll --again`";

impl TlsIdentity {
    /// # Errors
    /// The PEM holds no certificate.
    pub(crate) fn parse(pem: Zeroizing<Vec<u8>>) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from_pem_slice(&pem).context(DAMAGED)?;
        Ok(Self { pem, certificate })
    }

    /// A key, as `make_request` made it, with the certificate that answers it.
    ///
    /// # Errors
    /// The certificate is no PEM.
    pub(crate) fn assemble(key_and_request: &[u8], certificate_pem: &str) -> anyhow::Result<Self> {
        let mut pem = Zeroizing::new(certificate_pem.as_bytes().to_vec());
        pem.extend_from_slice(key_and_request);
        Self::parse(pem)
    }

    /// The bytes of the file.
    pub(crate) fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// # Errors
    /// The certificate cannot be read.
    pub(crate) fn validity(&self) -> anyhow::Result<Validity> {
        let (_, certificate) = x509_parser::parse_x509_certificate(&self.certificate)
            .context("the device's certificate cannot be read; enrol again")?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
        Ok(Validity {
            starts_s: seconds(certificate.validity().not_before),
            ends_s: seconds(certificate.validity().not_after),
            serial: hex::encode(certificate.raw_serial()),
            digest: Digest::of(&self.certificate),
        })
    }
}

impl Validity {
    /// When the next certificate is asked for: after two thirds of the life and up to a twelfth more, which differs
    /// from certificate to certificate, so that a fleet does not ask at once (E4).
    pub(crate) fn due_s(&self) -> u64 {
        let life_s = self.ends_s.saturating_sub(self.starts_s);
        let part = self.digest.as_bytes().first().copied().unwrap_or_default();
        let jitter_s = (life_s / 12).saturating_mul(u64::from(part)) / 256;
        self.starts_s
            .saturating_add(life_s.saturating_mul(2) / 3)
            .saturating_add(jitter_s)
    }

    /// Least time between two renewals, seconds: a clock that is far ahead of the gateway's would ask without end.
    pub(crate) fn pause_min_s(&self) -> u64 {
        (self.ends_s.saturating_sub(self.starts_s) / 12).max(1)
    }

    /// From when on its owner is told that it was not renewed: the last sixth.
    pub(crate) fn overdue_s(&self) -> u64 {
        self.ends_s
            .saturating_sub(self.ends_s.saturating_sub(self.starts_s) / 6)
    }
}

/// A TLS key and the request that proves it, in one PEM.
pub(crate) fn make_request() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?.pem()?;
    let mut pem = Zeroizing::new(key.serialize_pem().into_bytes());
    pem.extend_from_slice(request.as_bytes());
    Ok(pem)
}

/// Key and request of a PEM that may hold the certificate too.
///
/// # Errors
/// They are damaged, or do not belong together.
pub(crate) fn key_and_request(pem: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
    let key = KeyPair::try_from(&PrivateKeyDer::from_pem_slice(pem)?)?;
    let request = CertificateSigningRequestDer::from_pem_slice(pem)?;
    let (_, request) = X509CertificationRequest::from_der(&request)?;
    ensure!(
        request.certification_request_info.subject_pki.raw == key.subject_public_key_info(),
        "the certificate request is of another key"
    );
    let (_, behind) = std::str::from_utf8(pem)?
        .split_once(BEGIN)
        .context("there is no key")?;
    Ok(Zeroizing::new([BEGIN, behind].concat().into_bytes()))
}

/// The request of such a PEM, as it is sent.
///
/// # Errors
/// It holds none.
pub(crate) fn request_pem(key_and_request: &[u8]) -> anyhow::Result<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
    CertificateSigningRequestDer::from_pem_slice(key_and_request)
        .context("the certificate request cannot be read")?;
    let text = std::str::from_utf8(key_and_request)?;
    let (_, request) = text
        .split_once(BEGIN)
        .context("there is no certificate request")?;
    Ok(format!("{BEGIN}{request}"))
}

/// A client configuration for the gateway.
///
/// # Errors
/// The authority, the certificate or the key is no valid PEM, or they do not belong together.
pub(crate) fn client_config(ca_pem: &str, identity: Option<&TlsIdentity>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.context(
            "the pinned authority `keys/ca.pem` is damaged; restore the file, or enrol this device again",
        )?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(&identity.pem)
        .collect::<Result<Vec<_>, _>>()
        .context(DAMAGED)?;
    ensure!(!chain.is_empty(), DAMAGED);
    let key = PrivateKeyDer::from_pem_slice(&identity.pem).context(DAMAGED)?;
    builder.with_client_auth_cert(chain, key).context(DAMAGED)
}

/// A configuration that trusts nobody, for the local socket, on which no TLS is spoken.
pub(crate) fn no_tls() -> anyhow::Result<ClientConfig> {
    client_config("", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK_S: u64 = 7 * 86_400;

    fn validity(digest: u8) -> Validity {
        Validity {
            starts_s: 1_000,
            ends_s: 1_000 + WEEK_S,
            serial: String::new(),
            digest: Digest::from_bytes([digest; 32]),
        }
    }

    /// E4: between two thirds and three quarters of its life, not all at once.
    #[test]
    fn certificate_is_renewed_after_two_thirds_with_jitter() {
        assert_eq!(validity(0).due_s(), 1_000 + WEEK_S * 2 / 3);
        assert!(validity(255).due_s() > validity(0).due_s() + WEEK_S / 13);
        assert!(validity(255).due_s() < 1_000 + WEEK_S * 3 / 4);
        assert!(validity(255).due_s() < validity(255).overdue_s());
    }

    #[test]
    fn request_is_read_back_from_its_file() {
        let pem = make_request().unwrap();
        let request = request_pem(&pem).unwrap();
        assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        assert!(!request.contains("PRIVATE"));
        assert!(request_pem(b"nothing").is_err());
    }
}
