//! The gateway's certificate authority: device certificates (E3, E4, K5) and its own server certificate.
//!
//! A CSR proves possession of the TLS key and says nothing else that counts: rcgen would copy its names, usages
//! and CA flag into the certificate, so every one of them is overwritten here.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use policies::terms::{DeviceId, Digest, TenantId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
    SerialNumber, date_time_ymd,
};

use super::random;

/// Certificates begin a little earlier, for clocks that are slow (C4); short ones by this part of their life.
const BACKDATED_S: u64 = 300;
const BACKDATED_PART: u64 = 10;
const AUTHORITY_LIFETIME_S: u64 = 10 * 365 * 86_400;
/// Life of the gateway's own certificate, seconds.
pub(super) const SERVER_LIFETIME_S: u64 = 397 * 86_400;

/// Signs certificates.
pub(crate) struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A request for a certificate, whose proof of possession was checked.
pub(crate) struct Csr {
    params: CertificateSigningRequestParams,
    /// SHA-256 of the public key.
    pub(crate) key: Digest,
    /// SHA-256 of the request.
    pub(crate) digest: Digest,
}

impl Csr {
    pub(crate) fn parse(pem: &str) -> Result<Self, CsrRefused> {
        let params = CertificateSigningRequestParams::from_pem(pem).map_err(|_| CsrRefused)?;
        Ok(Self {
            key: Digest::of(params.public_key.der_bytes()),
            digest: Digest::of(pem.as_bytes()),
            params,
        })
    }
}

/// A device's certificate.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) serial: [u8; 16],
    pub(crate) ends_s: u64,
}

/// A CSR that cannot be read or does not prove possession of its key.
#[derive(Debug, thiserror::Error)]
#[error("the certificate request cannot be read, or its signature does not verify")]
pub(crate) struct CsrRefused;

impl Authority {
    /// Makes a new authority: (certificate, key), both PEM.
    pub(crate) fn generate(tenant: &TenantId, now_s: u64) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate().context("cannot make the authority's key")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name(&format!("Sealgate CA of {}", tenant.as_str()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now_s, AUTHORITY_LIFETIME_S)?;
        let certificate = params.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    pub(crate) fn load(certificate_pem: String, key_pem: &str) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(key_pem).context("the authority's key cannot be read")?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .context("the authority's certificate cannot be read")?;
        Ok(Self {
            certificate_pem,
            issuer,
        })
    }

    /// When its certificate ends, Unix seconds.
    pub(crate) fn ends_s(&self) -> Option<u64> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(self.certificate_pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        u64::try_from(certificate.validity().not_after.timestamp()).ok()
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a device's TLS client certificate.
    pub(crate) fn issue_device(
        &self,
        csr: Csr,
        tenant: &TenantId,
        device: DeviceId,
        now_s: u64,
        lifetime_s: u64,
    ) -> anyhow::Result<Issued> {
        let uri = spiffe_uri(tenant, device);
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("agent {device}"));
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = set_validity(&mut params, now_s, lifetime_s)?;
        let mut request = csr.params;
        request.params = params;
        let certificate = request
            .signed_by(&self.issuer)
            .context("cannot sign the device's certificate")?;
        Ok(Issued {
            pem: certificate.pem(),
            serial,
            ends_s: now_s.saturating_add(lifetime_s),
        })
    }

    /// Issues the gateway's own server certificate, PEM.
    pub(crate) fn issue_server(&self, key: &KeyPair, names: &[String], now_s: u64) -> anyhow::Result<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Sealgate gateway");
        params.subject_alt_names = names
            .iter()
            .map(|name| subject(name))
            .collect::<anyhow::Result<_>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now_s, SERVER_LIFETIME_S)?;
        Ok(params
            .signed_by(key, &self.issuer)
            .context("cannot sign the server's certificate")?
            .pem())
    }
}

/// The one name of a device in its certificate (E3).
pub(crate) fn spiffe_uri(tenant: &TenantId, device: DeviceId) -> String {
    format!("spiffe://{}/agent/{device}", tenant.as_str())
}

/// The device that a certificate's name is for.
pub(crate) fn device_of_uri(tenant: &TenantId, uri: &str) -> Option<DeviceId> {
    uri.strip_prefix("spiffe://")?
        .strip_prefix(tenant.as_str())?
        .strip_prefix("/agent/")?
        .parse()
        .ok()
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn subject(name: &str) -> anyhow::Result<SanType> {
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(
            name.try_into()
                .with_context(|| format!("`{name}` is not a host name"))?,
        ),
    })
}

/// Sets validity and a random serial number, which comes back.
fn set_validity(params: &mut CertificateParams, now_s: u64, lifetime_s: u64) -> anyhow::Result<[u8; 16]> {
    let epoch = date_time_ymd(1970, 1, 1);
    let backdated_s = BACKDATED_S.min(lifetime_s / BACKDATED_PART);
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(backdated_s));
    params.not_after = epoch + Duration::from_secs(now_s.saturating_add(lifetime_s));
    let mut serial = random::bytes::<16>()?;
    // Positive and of full length, so that DER neither adds a byte nor takes one away.
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(serial)
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn authority(tenant: &TenantId) -> Authority {
        let (certificate, key) = Authority::generate(tenant, NOW_S).unwrap();
        Authority::load(certificate, &key).unwrap()
    }

    /// E3: a request for other names, a CA flag and server use gets none of them.
    #[test]
    fn requested_names_and_usages_are_overwritten() {
        let tenant = TenantId::parse("acme").unwrap();
        let device = DeviceId::from_bytes([7; 16]);
        let key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec!["admin.example".to_owned()]).unwrap();
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let csr = wish.serialize_request(&key).unwrap().pem().unwrap();

        let issued = authority(&tenant)
            .issue_device(Csr::parse(&csr).unwrap(), &tenant, device, NOW_S, 86_400)
            .unwrap();

        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
        assert_eq!(certificate.raw_serial(), issued.serial);
        let names = &certificate
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names;
        assert!(
            matches!(names.as_slice(), [GeneralName::URI(uri)] if device_of_uri(&tenant, uri) == Some(device))
        );
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert_eq!(
            certificate.validity().not_after.timestamp(),
            i64::try_from(NOW_S + 86_400).unwrap()
        );
    }

    #[test]
    fn request_with_a_broken_signature_is_refused() {
        let key = KeyPair::generate().unwrap();
        let mut csr = CertificateParams::new(vec![])
            .unwrap()
            .serialize_request(&key)
            .unwrap()
            .der()
            .to_vec();
        *csr.last_mut().unwrap() ^= 1;
        let altered = x509_parser::pem::Pem {
            label: "CERTIFICATE REQUEST".to_owned(),
            contents: csr,
        };
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &altered.contents);
        let pem = format!(
            "-----BEGIN {0}-----\n{base64}\n-----END {0}-----\n",
            altered.label
        );
        assert!(Csr::parse(&pem).is_err());
        assert!(Csr::parse("no request").is_err());
    }

    #[test]
    fn name_of_another_tenant_is_no_device() {
        let uri = spiffe_uri(&TenantId::parse("acme").unwrap(), DeviceId::from_bytes([7; 16]));
        assert_eq!(device_of_uri(&TenantId::parse("acm").unwrap(), &uri), None);
    }
}
