//! Enrollment (E1-E3, K5): the device key is made here and never leaves; the gateway chooses the
//! device's name and certifies a TLS key of which we prove possession. The same request is sent
//! again until it is answered: after a crash, and while an administrator has not approved it.

use std::path::{Path, PathBuf};

use agent_seal::{DeviceSigner as _, FileDeviceKey};
use anyhow::{Context as _, bail, ensure};
use gateway_api::enrollment::EnrollmentFile;
use gateway_api::v1::enroll::{EnrollRequest, EnrollResponse, binding_digest, fingerprint, proof_message};
use policies::terms::{DeviceId, Digest};
use zeroize::Zeroizing;

use super::client::{self, Enrolled, Gateway};
use super::origin;
use super::tls::{self, TlsIdentity};
use crate::clock;
use crate::config::enrollment::Enrollment;
use crate::config::paths::Paths;
use crate::vault::files;

const NOT_PINNED: &str = "the gateway's certificate is not of the authority that the token file pins; nothing was sent\n  \
                          help: ask the administrator whether the gateway's authority was replaced, and for a new token";

/// How far an enrollment came.
pub(crate) enum Outcome {
    Enrolled(Box<Enrollment>),
    /// An administrator must approve it, who compares the fingerprint.
    Waiting {
        fingerprint: String,
    },
}

/// Enrols the folder's agent with the token file, then destroys the file.
///
/// # Errors
/// The folder is enrolled already, the token file is readable by others, expired or refused, or
/// the gateway is not the pinned one.
pub(crate) async fn enroll(paths: &Paths, token_file: &Path) -> anyhow::Result<Outcome> {
    if paths.enrollment().exists() {
        bail!(
            "`{}` is enrolled already\n  help: use another folder for another agent, or --again if the gateway does not accept this one any more",
            paths.root().display()
        );
    }
    let file = read_token_file(paths, token_file)?;
    let missing = missing(paths, &file);
    files::private_folder(paths.root())?;
    let device_key = make_device_key(paths)?;
    let asked = ask(paths, &file, &device_key, None).await;
    if let Err(error) = &asked
        && client::is_not_pinned(error)
    {
        take_back(&missing)?;
    }
    let answer = match asked? {
        Asked::Waiting(fingerprint) => return Ok(Outcome::Waiting { fingerprint }),
        Asked::Enrolled(answer) => answer,
    };
    let enrollment = Enrollment::new(&file, &answer);
    enrollment.pins()?;
    files::write_secret(&paths.authority(), file.ca_pem.as_bytes())?;
    save_identity(paths, &file, &answer)?;
    // Its presence says that the rest is whole.
    enrollment.save(paths)?;
    clean_up(paths, &file, token_file)?;
    Ok(Outcome::Enrolled(Box::new(enrollment)))
}

/// Enrols the folder's device again as itself: another certificate, everything else stays (E8).
///
/// # Errors
/// As [`enroll`]; and the token file is of another gateway or company than the enrollment pinned.
pub(crate) async fn enroll_again(paths: &Paths, token_file: &Path) -> anyhow::Result<Outcome> {
    let enrollment = Enrollment::load(paths)?;
    let file = read_token_file(paths, token_file)?;
    ensure!(
        enrollment.has_pins_of(&file)
            && files::read_secret(&paths.authority())?.as_slice() == file.ca_pem.as_bytes(),
        "the token file is of another gateway than this folder's\n  help: enrol in a new folder"
    );
    let device_key =
        FileDeviceKey::from_pkcs8_der(enrollment.device, &files::read_secret(&paths.device_key())?)?;
    let answer = match ask(paths, &file, &device_key, Some(enrollment.device)).await? {
        Asked::Waiting(fingerprint) => return Ok(Outcome::Waiting { fingerprint }),
        Asked::Enrolled(answer) => answer,
    };
    ensure!(
        answer.device == enrollment.device && answer.person == enrollment.person,
        "the gateway enrolled another device than this one; nothing was changed"
    );
    // A renewal that was begun is over: it was of the identity that is replaced.
    if paths.tls_next().exists() {
        files::destroy(&paths.tls_next())?;
    }
    save_identity(paths, &file, &answer)?;
    clean_up(paths, &file, token_file)?;
    Ok(Outcome::Enrolled(Box::new(enrollment)))
}

/// What a try makes before it asks, files first, as far as it is not there.
fn missing(paths: &Paths, file: &EnrollmentFile) -> Vec<PathBuf> {
    let made = [
        paths.enrolling(&Digest::of(&file.token.0)),
        paths.device_key(),
        paths.keys(),
        paths.root().to_owned(),
    ];
    made.into_iter().filter(|path| !path.exists()).collect()
}

/// Nothing was sent, so no gateway knows of what was made.
fn take_back(made: &[PathBuf]) -> anyhow::Result<()> {
    for path in made.iter().filter(|path| path.exists()) {
        let removed = if path.is_dir() {
            std::fs::remove_dir(path)
        } else {
            files::destroy(path)
        };
        removed.with_context(|| format!("cannot remove `{}`; remove it by hand", path.display()))?;
    }
    Ok(())
}

enum Asked {
    Enrolled(EnrollResponse),
    Waiting(String),
}

/// Sends the request of this token: the one on disk, or a fresh one that is there before it is sent.
async fn ask(
    paths: &Paths,
    file: &EnrollmentFile,
    device_key: &FileDeviceKey,
    again: Option<DeviceId>,
) -> anyhow::Result<Asked> {
    let request_file = paths.enrolling(&Digest::of(&file.token.0));
    if !request_file.exists() {
        files::write_secret(&request_file, &tls::make_request()?)?;
    }
    let csr_pem = tls::request_pem(&files::read_secret(&request_file)?)?;
    let public_key = device_key.public_key().to_sec1();
    let bind = |name: String| binding_digest(&file.token.0, &name);
    let proof = device_key.sign(&proof_message(&file.token.0, &csr_pem))?;
    let request = EnrollRequest {
        token: file.token.clone(),
        again,
        host: file.bound_to_host.then(origin::host).transpose()?.map(bind),
        serial: file.bound_to_serial.then(origin::serial).transpose()?.map(bind),
        csr_pem,
        device_key: public_key.to_vec().into(),
        proof: proof.to_vec().into(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let gateway = Gateway::new(&file.gateway_url, &file.ca_pem, None)?;
    let answer = gateway
        .enroll(&request)
        .await
        .map_err(anyhow::Error::from)
        .map_err(|error| {
            if client::is_not_pinned(&error) {
                error.context(NOT_PINNED)
            } else {
                error
            }
        });
    match answer.context("the enrollment failed")? {
        Enrolled::Yes(answer) => {
            ensure!(
                answer.tenant == file.tenant,
                "the gateway serves another tenant than the token file names; ask the administrator"
            );
            Ok(Asked::Enrolled(answer))
        }
        // Of our own key, not what the gateway says: this is what is compared.
        Enrolled::Waiting => Ok(Asked::Waiting(fingerprint(&public_key))),
    }
}

fn read_token_file(paths: &Paths, token_file: &Path) -> anyhow::Result<EnrollmentFile> {
    let bytes = files::read_secret(token_file)?;
    let text = std::str::from_utf8(&bytes).context("the token file is no text")?;
    // The parser's message would quote the line, and with it the token.
    let Ok(file) = toml::from_str::<EnrollmentFile>(text) else {
        bail!(
            "`{}` is no enrollment file\n  help: sealgate token add --person NAME --out FILE",
            token_file.display()
        );
    };
    // One that was spent in time may have waited for an administrator.
    let is_spent = paths.enrolling(&Digest::of(&file.token.0)).exists();
    if file.expires_s <= clock::wall_s() && !is_spent {
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

/// Key and certificate, in one file.
fn save_identity(paths: &Paths, file: &EnrollmentFile, answer: &EnrollResponse) -> anyhow::Result<()> {
    let request_file = paths.enrolling(&Digest::of(&file.token.0));
    let key_and_request: Zeroizing<Vec<u8>> = files::read_secret(&request_file)?;
    let identity = TlsIdentity::assemble(&key_and_request, &answer.certificate_pem)?;
    tls::client_config(&file.ca_pem, Some(&identity))?;
    files::write_secret(&paths.tls_identity(), identity.pem())?;
    if paths.tls_key_apart().exists() {
        files::destroy(&paths.tls_key_apart())?;
    }
    Ok(())
}

/// Request and token are spent; a copy left behind would only invite questions.
fn clean_up(paths: &Paths, file: &EnrollmentFile, token_file: &Path) -> anyhow::Result<()> {
    files::destroy(&paths.enrolling(&Digest::of(&file.token.0)))?;
    files::destroy(token_file)
        .with_context(|| format!("cannot remove `{}`; remove it by hand", token_file.display()))
}
