//! `sealgate serve`: everything up, one line of JSON when ready, and down again without losing what was acknowledged (H7).

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use clap::Args;
use telemetry::{Exports, Program, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::output;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::layout::Layout;
use crate::domain::gateway::Gateway;
use crate::{admin, http, jobs, status};

/// Who exports.
const PROGRAM: Program = Program {
    name: "sealgate-gateway",
    version: env!("CARGO_PKG_VERSION"),
    signals: &Signal::ALL,
    begins_traces: false,
};

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The gateway's data folder
    #[arg(long)]
    dir: PathBuf,
    /// Address for agents (mTLS); port 0 takes a free one
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Loopback address of the status page; port 0 takes a free one
    #[arg(long)]
    status: Option<SocketAddr>,
}

pub(super) async fn run(serve: Serve) -> anyhow::Result<ExitCode> {
    let layout = Layout::new(&serve.dir);
    let config = Config::read(&layout.config())?;
    let status_address = serve.status.unwrap_or(config.listen.status);
    anyhow::ensure!(
        status_address.ip().is_loopback(),
        "--status must be a loopback address: the page has no login"
    );
    let devices = listen(serve.listen.unwrap_or(config.listen.device))?;
    let page = listen(status_address)?;
    let device_port = devices.local_addr()?.port();
    let status_port = page.local_addr()?.port();

    let exports = Exports::start(&config.telemetry, PROGRAM)?;
    let (gateway, writer) = Gateway::open_with(layout, Clock::default(), exports).await?;
    gateway.set_public_url(format!("https://localhost:{device_port}"));
    let servers = [
        http::server::serve(&gateway, devices)?,
        status::serve(&gateway, page)?,
        admin::socket::serve(&gateway)?,
    ];
    let handles: Vec<ServerHandle> = servers.iter().map(actix_web::dev::Server::handle).collect();
    let running: Vec<_> = servers.into_iter().map(tokio::spawn).collect();
    let (stop, stopped) = watch::channel(false);
    let jobs = tokio::spawn(jobs::run(Arc::clone(&gateway), stopped));
    output::json(&serde_json::json!({
        "device_url": gateway.public_url(),
        "status_url": format!("http://localhost:{status_port}/"),
    }))?;
    tracing::info!("serving");

    wait_for_signal().await?;
    tracing::info!("stopping");
    stop.send_replace(true);
    jobs.await.context("the jobs did not end well")?;
    // Long polls are answered at once, so that draining does not wait for them.
    gateway.relay.close();
    gateway.wake.everyone();
    for handle in handles {
        handle.stop(true).await;
    }
    for server in running {
        server.await.context("a server did not end well")??;
    }
    gateway.close(writer).await?;
    // A stale socket is harmless: the next start removes it.
    drop(std::fs::remove_file(gateway.layout.socket()));
    tracing::info!("stopped");
    gateway.exports.close(Some(gateway.metrics.provider())).await;
    Ok(ExitCode::SUCCESS)
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address}; choose another with --listen or --status"))
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
