//! `sealgate-agent`: the agent on a managed device.
//!
//! It inspects what is about to be shared, decides by the company's signed policy, seals only what
//! the policy lets through, and posts it with a clearance. What it receives it checks, opens,
//! shows and forgets.
//!
//! **Architecture Invariant.** Nothing is sealed without a policy in force, and nothing is posted
//! that was not sealed from the very bytes that were inspected. Content, matched text, file names
//! and addresses reach no log, no error and no event. There is no TCP listener.
//!
//! ```text
//!  sealgate-agent share ──► local/ (Unix socket) ──► compose/ ──► agent-inspect, policies::decide
//!  outbox/<audience>/file ──────────────────────────────┘   └──► agent-seal ──► uplink/ ──► gateway
//!                                                           └──► vault/ (journal, spool, state)
//! ```

mod agent;
mod card;
mod clock;
mod command;
mod compose;
mod config;
mod daemon;
mod doctor;
mod emergency;
mod exit;
#[cfg(test)]
#[path = "../../../tests/fuzz/agent.rs"]
mod fuzz;
mod limits;
mod local;
mod outbox;
mod print;
mod sealing;
mod spool;
mod uplink;
mod vault;

use std::process::ExitCode;

use clap::Parser as _;
use gateway_api::error::ErrorCode;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, filter::LevelFilter, fmt};

/// The program: reads the command line, carries it out, says how it ended.
pub fn main() -> ExitCode {
    let command = command::Command::parse();
    start_log();
    // Two providers may be in the tree; ours is chosen once, before any TLS.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a TLS provider was installed already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::problem(&format!("cannot start: {error}"));
            return exit::Exit::Failed.into();
        }
    };
    runtime.block_on(command.execute()).into()
}

/// Logs go to standard error: warnings for commands, more with `SEALGATE_LOG`.
fn start_log() {
    let filter =
        EnvFilter::try_from_env("SEALGATE_LOG").unwrap_or_else(|_| EnvFilter::new("warn,agent_daemon=info"));
    let to_stderr = fmt::layer()
        .with_writer(std::io::stderr)
        // Told on standard error, and a panic where that cannot be written: a full disk.
        .log_internal_errors(false)
        .with_ansi(false);
    let codes = ErrorCode::ALL.iter().map(|code| code.as_str());
    let to_collector =
        telemetry::LogLayer::new(env!("CARGO_CRATE_NAME"), include_str!("messages.txt"), codes);
    tracing_subscriber::registry()
        .with(to_stderr.with_filter(filter))
        .with(to_collector.with_filter(LevelFilter::INFO))
        .init();
}
