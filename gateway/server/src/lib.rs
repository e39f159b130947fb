//! `sealgate`, the gateway: relays sealed stories, authorises them by the customer's rules, records what it did, and
//! shreds what has expired.
//!
//! **Architecture Invariant.** It cannot read a story: it links neither the inspection engine nor the sealing crate, holds
//! no group's secret, and follows MLS groups by their public state alone. It cannot make policy: bundles are signed by
//! keys that it does not have. What it stores of a story goes at the end of its expiry bucket.
//!
//! ```text
//! agents ─ mTLS ─► http/v1 ─► domain (checks, casbin) ─► relay (one writer) ─► store: SQLite, ledger, blobs, bucket keys
//!                     │            ▲                                              ▲
//! admin socket ─► admin ──────────┘             jobs: expiry, clocks ─────────────┘            status page
//! ```
//!
//! ```sh
//! sealgate init --dir data && sealgate serve --dir data/gateway
//! ```

mod admin;
mod backup;
mod cli;
mod clock;
mod config;
mod demo;
mod doctor;
mod domain;
#[cfg(test)]
#[path = "../../../tests/fuzz/edits.rs"]
mod edits;
mod evidence;
mod http;
mod jobs;
mod limits;
mod metrics;
mod relay;
mod seam;
mod sharing;
mod status;
mod store;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use gateway_api::error::ErrorCode;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, filter::LevelFilter, fmt};

/// The program: reads the command line, carries it out, says how it ended.
pub async fn main() -> ExitCode {
    let filter =
        EnvFilter::try_from_env("SEALGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info,actix_server=warn"));
    let to_stderr = fmt::layer()
        .with_writer(std::io::stderr)
        // Told on standard error, and a panic where that cannot be written: a full disk.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let to_collector =
        telemetry::LogLayer::new(env!("CARGO_CRATE_NAME"), include_str!("messages.txt"), words());
    tracing_subscriber::registry()
        .with(to_stderr.with_filter(filter))
        .with(to_collector.with_filter(LevelFilter::INFO))
        .init();
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::warn!("another TLS provider was installed first");
    }
    match cli::run(cli::Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do if standard error is closed too.
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Words of ours that a record of the log may bring to a collector.
fn words() -> impl Iterator<Item = &'static str> {
    let codes = ErrorCode::ALL.iter().map(|code| code.as_str());
    codes.chain(["jumped", "agrees again", "low", "enough again"])
}
