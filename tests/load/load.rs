//! How many stories a gateway accepts, durably, and what that costs it: a real process, real clearances, real groups.
//!
//! ```text
//! sealgate init, serve, policy publish, person add, token add
//!     └─► devices enrol ─► each author's groups with 1, 10 and 100 recipients' devices
//!             └─► per line: seal stories ─► post them over the connections ─► verify every receipt
//!                                                └─► each recipient's device syncs: exactly these stories
//! ```
//!
//! Stories are sealed before a round's clock runs: what is measured is the gateway, and this process's TLS and HTTP
//! beside it on the same cores. The peers run over the same connections, in turns with the stories, so that noise meets
//! all of them: the same server's cheap answer; TLS, HTTP and identity for a story's very bytes; and the same gateway
//! with `relay.batch_max = 1`, which is an insert per request.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod author;
mod device;
mod gateway;
mod measure;
mod options;
mod primitives;
mod process;
mod reader;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;

use gateway::Gateway;
use measure::{Tally, count};
use options::Options;
use primitives::{Primitives, Sizes};
use world::{Pace, Posted, ROUND_STORIES, World};

/// Cheap answers and exchanges per story: so many that the kernel's 10 ms ticks measure their CPU too.
const CHEAP_PER_STORY: usize = 4;
/// Stories per second at many connections, against an insert per request (H2).
const GROUP_COMMIT_BAR: f64 = 8.0;
/// CPU per story, against the sum of its primitives (K31).
const PRIMITIVES_BAR: f64 = 1.5;
/// An acceptance as it is stored.
const ACCEPTANCE_BYTES: usize = 240;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::read()?;
    let mut world = World::build(options.batch_max, options.authors, &options.fan_outs()).await?;
    let cores = std::thread::available_parallelism().context("the number of cores is not known")?;
    println!(
        "gateway: {} build, {cores} cores shared with this tool, load average {}",
        world.gateway.build(),
        process::load_average()
    );
    let loop_kind = options.rate.map_or_else(
        || "closed loop".to_owned(),
        |rate| format!("open loop, {rate} stories/s"),
    );
    println!(
        "stories: {} a line, {} authors' devices, {loop_kind}\n",
        options.stories, options.authors
    );
    idle(&world, options.idle).await?;
    table(&mut world, &options).await?;
    if options.rate.is_none() && !options.no_peers {
        for connections in &options.connections {
            against_peers(&mut world, &options, *connections).await?;
        }
    }
    println!("\nload average at the end: {}", process::load_average());
    Ok(())
}

/// A line per number of connections and recipients.
async fn table(world: &mut World, options: &Options) -> anyhow::Result<()> {
    let (rest_bytes, disk_before) = (world.gateway.resident_bytes(), world.gateway.disk_bytes()?);
    println!(
        "{:>11} {:>7} {:>10} {:>8} {:>8} {:>8} {:>8} {:>12} {:>14} {:>6}",
        "connections",
        "fan-out",
        "accepted/s",
        "p50 ms",
        "p99 ms",
        "p999 ms",
        "max ms",
        "CPU/accepted",
        "CPU/delivered",
        "batch"
    );
    let mut stories = 0_usize;
    let (mut envelope_bytes, mut clearance_bytes, mut entry_bytes) = (0, 0, 0);
    for count_of_connections in &options.connections {
        let connections = world.connect(*count_of_connections).await?;
        for recipients in options.fan_outs() {
            let pace = Pace {
                recipients,
                rate: options.rate,
            };
            let mut posted = Posted::new(recipients)?;
            for round in rounds(options.stories, options.rate) {
                world.post(&connections, pace, round, &mut posted).await?;
            }
            let delivery = world.deliver(&posted).await?;
            print_line(*count_of_connections, &posted, delivery);
            stories += posted.digests.len();
            (envelope_bytes, clearance_bytes) = (posted.envelope_bytes, posted.clearance_bytes);
            entry_bytes = posted.batches.entry_bytes();
        }
    }
    let disk_bytes = world.gateway.disk_bytes()?.saturating_sub(disk_before);
    println!(
        "\nenvelope {envelope_bytes} B, clearance {clearance_bytes} B, ledger entry {entry_bytes} B; on disk {:.0} B a story",
        f64::from(u32::try_from(disk_bytes / 1_024)?) * 1_024.0 / count(stories)
    );
    println!(
        "memory: {} at rest before, {} after",
        megabytes(rest_bytes),
        megabytes(world.gateway.resident_bytes())
    );
    Ok(())
}

fn print_line(connections: usize, posted: &Posted, delivery: Option<Duration>) {
    let latency = posted.tally.latency();
    let deliveries = count(posted.digests.len() * posted.recipients);
    let delivered_us = delivery.map(|cpu| cpu.as_secs_f64() * 1e6 / deliveries);
    println!(
        "{connections:>11} {:>7} {:>10.0} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>12} {:>14} {:>6.1}",
        posted.recipients,
        posted.tally.rate(),
        latency.p50,
        latency.p99,
        latency.p999,
        latency.max,
        micros(posted.tally.cpu_us()),
        micros(delivered_us),
        posted.batches.mean()
    );
}

/// What a connection costs in memory while nothing happens on it.
async fn idle(world: &World, connections: usize) -> anyhow::Result<()> {
    let authors = world.authors.len();
    let rounded = connections / authors * authors;
    if rounded == 0 {
        return Ok(());
    }
    let before = world.gateway.resident_bytes();
    let held = world.connect(rounded).await?;
    let after = world.gateway.resident_bytes();
    drop(held);
    if let Some((before, after)) = before.zip(after) {
        let each = after.saturating_sub(before) / u64::try_from(rounded)?;
        println!(
            "memory per idle connection: {:.1} KB ({rounded} opened)",
            f64::from(u32::try_from(each)?) / 1e3
        );
    }
    Ok(())
}

/// The same number of connections against the peers, in turns, and the ratios of the bars.
async fn against_peers(world: &mut World, options: &Options, connections: usize) -> anyhow::Result<()> {
    let recipients = options.fan_outs().first().copied().context("no fan-out")?;
    let mut single = World::build(Some(1), options.authors, &BTreeSet::from([recipients])).await?;
    let (open, open_single) = (
        world.connect(connections).await?,
        single.connect(connections).await?,
    );
    let pace = Pace {
        recipients,
        rate: None,
    };
    let (mut cheap, mut exchange) = (Tally::new()?, Tally::new()?);
    let (mut relayed, mut one_by_one) = (Posted::new(recipients)?, Posted::new(recipients)?);
    for round in rounds(options.stories, None) {
        world
            .answer_cheaply(&open, round * CHEAP_PER_STORY, &mut cheap)
            .await?;
        world
            .exchange(&open, recipients, round * CHEAP_PER_STORY, &mut exchange)
            .await?;
        world.post(&open, pace, round, &mut relayed).await?;
        single.post(&open_single, pace, round, &mut one_by_one).await?;
    }
    world.deliver(&relayed).await?;
    single.deliver(&one_by_one).await?;
    let sizes = Sizes {
        envelope_bytes: relayed.envelope_bytes,
        clearance_bytes: relayed.clearance_bytes,
        acceptance_bytes: ACCEPTANCE_BYTES,
        entry_bytes: relayed.batches.entry_bytes(),
        batch: relayed.batches.per_commit(),
    };
    let primitives = primitives(&world.gateway, sizes).await?;
    println!("\nat {connections} connections, fan-out {recipients}");
    let line = |name: &str, tally: &Tally| {
        let latency = tally.latency();
        println!(
            "  {name:<44} {:>8.0}/s  p50 {:>7.1}  p99 {:>7.1} ms  CPU {}",
            tally.rate(),
            latency.p50,
            latency.p99,
            micros(tally.cpu_us())
        );
    };
    line("relayed", &relayed.tally);
    line("relayed, an insert per request (batch_max 1)", &one_by_one.tally);
    line("the same bytes, refused as no JSON", &exchange);
    line("the same server's cheap answer", &cheap);
    println!(
        "  primitives: TLS + HTTP {}, ES256 verification {:.0} us, rows {:.0} us and entry {:.0} us of a commit of {}",
        micros(exchange.cpu_us()),
        primitives.verify_us,
        primitives.rows_us,
        primitives.entry_us,
        sizes.batch
    );
    let ratio = relayed.tally.rate() / one_by_one.tally.rate();
    println!(
        "  ratio: {ratio:.1} x an insert per request ({})",
        judge(ratio >= GROUP_COMMIT_BAR, ">= 8 at 256 connections")
    );
    if let Some((cpu_us, exchange_us)) = relayed.tally.cpu_us().zip(exchange.cpu_us()) {
        let sum_us = exchange_us + primitives.verify_us + primitives.rows_us + primitives.entry_us;
        let ratio = cpu_us / sum_us;
        println!(
            "  ratio: {ratio:.2} x the CPU of its primitives, {sum_us:.0} us ({})",
            judge(ratio <= PRIMITIVES_BAR, "<= 1.5")
        );
    }
    Ok(())
}

async fn primitives(gateway: &Gateway, sizes: Sizes) -> anyhow::Result<Primitives> {
    let scratch = gateway.scratch()?;
    Primitives::measure(scratch.path(), sizes).await
}

/// Stories of each round; an open loop is not interrupted.
fn rounds(stories: usize, rate: Option<f64>) -> Vec<usize> {
    if rate.is_some() {
        return vec![stories];
    }
    (0..stories)
        .step_by(ROUND_STORIES)
        .map(|done| (stories - done).min(ROUND_STORIES))
        .collect()
}

fn judge(reached: bool, bar: &str) -> String {
    let verdict = if reached { "reached" } else { "missed" };
    format!("bar {bar}: {verdict}")
}

fn micros(us: Option<f64>) -> String {
    us.map_or_else(|| "not measured".to_owned(), |us| format!("{us:.0} us"))
}

fn megabytes(bytes: Option<u64>) -> String {
    let tenths = bytes.map(|bytes| bytes / 100_000);
    tenths.map_or_else(
        || "not measured".to_owned(),
        |tenths| format!("{}.{} MB", tenths / 10, tenths % 10),
    )
}
