//! Enrollment (E1-E3, K5): the device key is made here and never leaves; the gateway chooses the
//! device's name and certifies a TLS key of which we prove possession.

use std::path::Path;

use agent_seal::{DeviceSigner as _, FileDeviceKey};
use anyhow::{Context as _, bail};
use gateway_api::enrollment::EnrollmentFile;
use gateway_api::v1::enroll::{EnrollRequest, EnrollResponse, proof_message};
use policies::terms::DeviceId;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::client::Gateway;
use crate::clock;
use crate::config::enrollment::Enrollment;
use crate::config::paths::Paths;
use crate::vault::files;

/// Enrolls the folder's agent with the token file, then destroys the file.
///
/// # Errors
/// The folder is enrolled already, the token file is readable by others, expired or refused, or
/// the gateway is not the pinned one.
pub(crate) async fn enroll(paths: &Paths, token_file: &Path) -> anyhow::Result<Enrollment> {
    if paths.enrollment().exists() {
        bail!(
            "`{}` is enrolled already\n  help: use another folder for another agent",
            paths.root().display()
        );
    }
    let file = read_token_file(token_file)?;
    files::private_folder(paths.root())?;
    let device_key = make_device_key(paths)?;
    let (csr_pem, tls_key_pem) = make_request()?;
    let proof = device_key.sign(&proof_message(&file.token.0, &csr_pem))?;
    let request = EnrollRequest {
        token: file.token.clone(),
        csr_pem,
        device_key: device_key.public_key().to_sec1().to_vec().into(),
        proof: proof.to_vec().into(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let gateway = Gateway::new(&file.gateway_url, &file.ca_pem, None)?;
    let answer = gateway.enroll(&request).await.context("the enrollment failed")?;
    if answer.tenant != file.tenant {
        bail!("the gateway serves another tenant than the token file names; ask the administrator");
    }
    let enrollment = save(paths, &file, &tls_key_pem, &answer)?;
    // The token is spent; a copy left behind would only invite questions.
    files::destroy(token_file)
        .with_context(|| format!("cannot remove `{}`; remove it by hand", token_file.display()))?;
    Ok(enrollment)
}

fn read_token_file(token_file: &Path) -> anyhow::Result<EnrollmentFile> {
    let bytes = files::read_secret(token_file)?;
    let text = std::str::from_utf8(&bytes).context("the token file is no text")?;
    // The parser's message would quote the line, and with it the token.
    let Ok(file) = toml::from_str::<EnrollmentFile>(text) else {
        bail!(
            "`{}` is no enrollment file\n  help: sealgate token add --person NAME --out FILE",
            token_file.display()
        );
    };
    if file.expires_s <= clock::wall_s() {
        bail!(
            "the token has expired\n  help: ask the administrator for a new one: sealgate token add --person NAME --out FILE"
        );
    }
    Ok(file)
}

/// A repeated try uses the key of the first: the gateway may have logged it already.
fn make_device_key(paths: &Paths) -> anyhow::Result<FileDeviceKey> {
    let nameless = DeviceId::from_bytes([0; 16]);
    let file = paths.device_key();
    if file.exists() {
        return Ok(FileDeviceKey::from_pkcs8_der(
            nameless,
            &files::read_secret(&file)?,
        )?);
    }
    let key = FileDeviceKey::generate(nameless, &mut rand::rng())?;
    files::write_secret(&file, &key.to_pkcs8_der()?)?;
    Ok(key)
}

fn make_request() -> anyhow::Result<(String, zeroize::Zeroizing<String>)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok((request.pem()?, zeroize::Zeroizing::new(key.serialize_pem())))
}

fn save(
    paths: &Paths,
    file: &EnrollmentFile,
    tls_key_pem: &str,
    answer: &EnrollResponse,
) -> anyhow::Result<Enrollment> {
    let enrollment = Enrollment::new(file, answer);
    enrollment.pins()?;
    files::write_secret(&paths.authority(), file.ca_pem.as_bytes())?;
    files::write_secret(&paths.tls_key(), tls_key_pem.as_bytes())?;
    files::write_secret(&paths.tls_certificate(), answer.certificate_pem.as_bytes())?;
    // Last, since its presence says that the rest is whole.
    enrollment.save(paths)?;
    Ok(enrollment)
}
