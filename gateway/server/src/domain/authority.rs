//! The gateway's certificate authority: device certificates (E3, E4, K5) and its own server certificate.
//!
//! A CSR proves possession of the TLS key and says nothing else that counts: rcgen would copy its names, usages
//! and CA flag into the certificate, so every one of them is overwritten here.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use policies::terms::{DeviceId, TenantId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};

use super::random;

/// Certificates begin a little earlier, for clocks that are slow (C4).
const BACKDATED_S: u64 = 300;
const AUTHORITY_LIFETIME_S: u64 = 10 * 365 * 86_400;
const SERVER_LIFETIME_S: u64 = 397 * 86_400;

/// Signs certificates.
pub(crate) struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
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

    /// Issues a device's TLS client certificate, PEM.
    pub(crate) fn issue_device(
        &self,
        csr_pem: &str,
        tenant: &TenantId,
        device: DeviceId,
        now_s: u64,
        lifetime_s: u64,
    ) -> anyhow::Result<Result<String, CsrRefused>> {
        let Ok(mut request) = CertificateSigningRequestParams::from_pem(csr_pem) else {
            return Ok(Err(CsrRefused));
        };
        let uri = spiffe_uri(tenant, device);
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("agent {device}"));
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now_s, lifetime_s)?;
        request.params = params;
        Ok(Ok(request
            .signed_by(&self.issuer)
            .context("cannot sign the device's certificate")?
            .pem()))
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

fn set_validity(params: &mut CertificateParams, now_s: u64, lifetime_s: u64) -> anyhow::Result<()> {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(BACKDATED_S));
    params.not_after = epoch + Duration::from_secs(now_s.saturating_add(lifetime_s));
    params.serial_number = Some(SerialNumber::from_slice(&random::bytes::<16>()?));
    Ok(())
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

        let pem = authority(&tenant)
            .issue_device(&csr, &tenant, device, NOW_S, 86_400)
            .unwrap()
            .unwrap();

        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
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
        let tenant = TenantId::parse("acme").unwrap();
        let device = DeviceId::from_bytes([7; 16]);
        assert!(
            authority(&tenant)
                .issue_device("no request", &tenant, device, NOW_S, 86_400)
                .unwrap()
                .is_err()
        );
    }

    #[test]
    fn name_of_another_tenant_is_no_device() {
        let uri = spiffe_uri(&TenantId::parse("acme").unwrap(), DeviceId::from_bytes([7; 16]));
        assert_eq!(device_of_uri(&TenantId::parse("acm").unwrap(), &uri), None);
    }
}
