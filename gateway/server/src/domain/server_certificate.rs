//! The gateway's own TLS certificate. It is made anew while the gateway serves when its key's file or the names in
//! `gateway.toml` change, and at half of its life (H5). Connections that are open keep what they began with; what cannot be
//! used changes nothing, and the status page says so.
//!
//! The two small files are read with each round of the jobs: that also works where a file system gives no hints.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use policies::terms::Digest;
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::authority::{Authority, SERVER_LIFETIME_S};
use crate::config::Config;
use crate::config::keys::server_key;
use crate::config::layout::Layout;

/// What new connections are shown.
#[derive(Debug)]
pub(crate) struct ServerCertificate {
    current: ArcSwap<CertifiedKey>,
    made: Mutex<Made>,
    /// Why the files of now are not in use.
    trouble: Mutex<Option<String>>,
}

/// Of what the certificate was made, and when.
#[derive(Debug, Clone, Copy)]
struct Made {
    of: Digest,
    at_s: u64,
}

impl ServerCertificate {
    pub(crate) fn new(layout: &Layout, authority: &Authority, now_s: u64) -> anyhow::Result<Self> {
        let source = Source::read(layout)?;
        Ok(Self {
            current: ArcSwap::from_pointee(source.certify(authority, now_s)?),
            made: Mutex::new(Made {
                of: source.digest(),
                at_s: now_s,
            }),
            trouble: Mutex::default(),
        })
    }

    /// Looks at the files; makes another certificate if they changed, or if the one in use grows old.
    pub(crate) fn look(&self, layout: &Layout, authority: &Authority, now_s: u64) {
        let looked = self.renew_if_due(layout, authority, now_s);
        let trouble = looked.err().map(|error| format!("{error:#}"));
        let mut told = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_some() && *told != trouble {
            tracing::error!("the TLS certificate is not renewed; the one before stays in use");
        }
        *told = trouble;
    }

    /// Why the files of now are not in use.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// When the one in use ends, Unix seconds.
    pub(crate) fn ends_s(&self) -> u64 {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.at_s.saturating_add(SERVER_LIFETIME_S)
    }

    fn renew_if_due(&self, layout: &Layout, authority: &Authority, now_s: u64) -> anyhow::Result<()> {
        let source = Source::read(layout)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = now_s.abs_diff(made.at_s) >= SERVER_LIFETIME_S / 2;
        if made.of == source.digest() && !is_old {
            return Ok(());
        }
        self.current.store(Arc::new(source.certify(authority, now_s)?));
        *made = Made {
            of: source.digest(),
            at_s: now_s,
        };
        tracing::info!("another TLS certificate is in use");
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The files as they are.
struct Source {
    key_pem: Zeroizing<String>,
    names: Vec<String>,
}

impl Source {
    fn read(layout: &Layout) -> anyhow::Result<Self> {
        Ok(Self {
            key_pem: server_key(layout)?,
            names: Config::read(&layout.config())?.listen.names,
        })
    }

    fn digest(&self) -> Digest {
        let mut bytes = Zeroizing::new(self.key_pem.as_bytes().to_vec());
        for name in &self.names {
            bytes.push(0);
            bytes.extend_from_slice(name.as_bytes());
        }
        Digest::of(&bytes)
    }

    fn certify(&self, authority: &Authority, now_s: u64) -> anyhow::Result<CertifiedKey> {
        const DAMAGED: &str =
            "`keys/server.key` cannot be used; restore it from the sealed backup of `keys/`";
        let key = KeyPair::from_pem(&self.key_pem).context(DAMAGED)?;
        let certificate = authority.issue_server(&key, &self.names, now_s)?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| anyhow::anyhow!(DAMAGED))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(vec![certificate], key, &provider)
            .context("the server's certificate and key do not go together")
    }
}
