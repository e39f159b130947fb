//! `sealgate demo`: a scripted day with real content through the real way.
//!
//! It starts the gateway and three agents as separate processes, each with a folder of its own, and drives
//! them by their command lines alone, as people would. It holds no key of an agent and links no agent code.
//!
//! ```text
//! stage    folders, processes, commands       day      the steps and what each must show
//! samples  files that people drop             evening  expiry, revocation, the record
//! answers  reading what commands said         table    what is printed
//! ```

mod answers;
mod day;
mod evening;
mod stage;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use stage::Stage;
use table::Table;

/// Flags of `sealgate demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// Folder for the demo's data; one that an earlier demo made is made anew
    #[arg(long, default_value = "sealgate-demo")]
    dir: PathBuf,
    /// Port of the status page on localhost; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Stop after the last step; exit with 0 only if every step had the expected outcome
    #[arg(long)]
    once: bool,
    /// Print one JSON object a step on standard output, everything else on standard error
    #[arg(long)]
    json: bool,
}

/// Runs the day; then stays up until Ctrl-C, unless told otherwise.
pub(crate) async fn run(options: DemoOptions) -> anyhow::Result<ExitCode> {
    let mut table = Table::new(options.json);
    table.say("Sealgate: the main job on one machine, with real processes, keys and content.");
    let started = table.watch(
        "setting up the gateway, three people and their agents",
        Stage::set(&options.dir, options.port),
    );
    let mut stage = started.await.context("the demo could not be set up")?;
    table.say(&format!("data folder   {}", stage.root().display()));
    table.say(&format!("status page   {}", stage.status_url()));
    table.head();
    let day = tokio::select! {
        day = day::run(&mut stage, &mut table) => day,
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot wait for Ctrl-C").and(Err(anyhow::anyhow!("stopped by Ctrl-C before the day was over"))),
    };
    let all_expected = table.closing() && day.is_ok();
    if day.is_ok() && !options.once {
        table.say(&format!(
            "Everything stays up: {} (Ctrl-C stops it).",
            stage.status_url()
        ));
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    }
    stage.strike().await;
    day?;
    Ok(if all_expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
