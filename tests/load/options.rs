//! The command line.

use std::collections::BTreeSet;

use anyhow::ensure;
use clap::Parser;

/// Measure how many stories a gateway accepts, durably, and what that costs it
///
/// Starts a release `sealgate serve` of its own, enrols devices over its API, makes MLS groups, and posts stories that
/// are sealed and cleared as an agent does, over mTLS connections that stay open. Every receipt is verified, and every
/// recipient's device must find exactly what was posted.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
pub(crate) struct Options {
    /// Stories per line of the table
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    pub(crate) stories: usize,
    /// Connections that post at once
    #[arg(long, value_delimiter = ',', default_value = "32,256", value_name = "N,...")]
    pub(crate) connections: Vec<usize>,
    /// Recipients' devices of a story, at most 100
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_name = "N,...")]
    pub(crate) fan_out: Vec<usize>,
    /// Devices that post, each with groups of its own
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub(crate) authors: usize,
    /// Open loop: stories per second, due at a steady rate; latency counts from when a story was due
    #[arg(long, value_name = "STORIES")]
    pub(crate) rate: Option<f64>,
    /// The gateway's setting `relay.batch_max`
    #[arg(long, value_name = "STORIES")]
    pub(crate) batch_max: Option<u32>,
    /// Leave out the peers and the ratios
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// Connections that do nothing, for the gateway's memory per connection
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(crate) idle: usize,
    /// Cargo says so to every bench
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

impl Options {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let options = Self::parse();
        ensure!(options.stories > 0, "`--stories` must be at least 1");
        ensure!(
            (1..=100).contains(&options.authors),
            "`--authors` must lie between 1 and 100"
        );
        ensure!(
            options
                .fan_out
                .iter()
                .all(|recipients| (1..=100).contains(recipients)),
            "`--fan-out` must lie between 1 and 100"
        );
        let fewest = options.connections.iter().min();
        ensure!(
            fewest.is_some_and(|fewest| *fewest >= options.authors),
            "`--connections` must be at least the number of `--authors`"
        );
        ensure!(
            options.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0),
            "`--rate` must be above 0"
        );
        Ok(options)
    }

    pub(crate) fn fan_outs(&self) -> BTreeSet<usize> {
        self.fan_out.iter().copied().collect()
    }
}
