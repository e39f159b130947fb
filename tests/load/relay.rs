//! How many stories a gateway accepts, durably: a real process, real clearances, real connections.
//!
//! ```text
//! sealgate init, serve, policy publish, person add, token add
//!     └─► two devices enrol ─► an audience of both
//!             └─► rounds: seal stories ─► cheap answers over the connections ─► the stories over the same ones
//!                                                                                  └─► every receipt is verified
//!                     └─► the other device syncs: exactly these stories
//! ```
//!
//! Stories are sealed before a round's clock runs: what is measured is the gateway, and this process's TLS and HTTP
//! beside it on the same cores. The peer is the same server, over the same connections, answering a request that
//! needs the device's identity and one small file. The rounds take turns, so that noise meets both.
//!
//! ```text
//! cargo bench -p tests-e2e --bench relay -- --stories 2000     or SEALGATE_LOAD_STORIES=2000
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod author;
mod device;
mod gateway;
mod measure;

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use policies::terms::Digest;
use reqwest::Client;

use author::{Author, SealedStory};
use device::Device;
use gateway::Gateway;
use measure::Tally;

/// Stories unless told otherwise: some seconds on two cores.
const STORIES: usize = 2_000;
/// Stories of a round: all are posted long before the clearance of the first expires, 5 minutes after it was signed.
const ROUND_STORIES: usize = 1_000;
/// Devices that post at once, as the bars ask.
const CONNECTIONS: usize = 32;
/// Cheap answers per story: so many that the kernel's 10 ms ticks measure their CPU too.
const CHEAP_PER_STORY: usize = 4;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stories = stories_asked_for()?;
    let gateway = Gateway::start()?;
    gateway.publish_example_policy()?;
    let mut reader = Device::enrol(&gateway.invite("Bob")?).await?;
    let author = Device::enrol(&gateway.invite("Alice")?).await?;
    reader.offer_key_package().await?;
    let mut author = Author::with_audience_of(author, &reader).await?;
    let (opened, connections) = author.device().connections(CONNECTIONS)?;

    let rest_before = gateway.resident_bytes();
    let (mut cheap, mut relayed) = (Tally::default(), Tally::default());
    let (mut posted, mut envelope_bytes) = (BTreeSet::new(), 0);
    let mut left = stories;
    while left > 0 {
        let round = left.min(ROUND_STORIES);
        left -= round;
        let sealed = (0..round)
            .map(|_| author.seal())
            .collect::<anyhow::Result<Vec<_>>>()?;
        posted.extend(sealed.iter().map(|story| story.envelope_digest));
        envelope_bytes += sealed.iter().map(|story| story.envelope.len()).sum::<usize>();
        answer_cheaply(
            &gateway,
            &author,
            &connections,
            round * CHEAP_PER_STORY,
            &mut cheap,
        )
        .await?;
        post(&gateway, &author, &connections, sealed, &mut relayed).await?;
    }
    let connections_opened = opened.count();
    drop(connections);
    let delivered = reader.delivered(author.audience()).await?;
    ensure!(
        delivered.len() == stories,
        "{} of {stories} stories were delivered",
        delivered.len()
    );
    ensure!(
        delivered.into_iter().collect::<BTreeSet<Digest>>() == posted,
        "other stories than those posted were delivered"
    );
    let rest_after = gateway.resident_bytes();

    let cores = std::thread::available_parallelism().context("the number of cores is not known")?;
    println!(
        "gateway: {} build, {cores} cores shared with this bench",
        gateway.build()
    );
    println!(
        "stories: {stories}, envelopes of {} B, {CONNECTIONS} connections ({connections_opened} handshakes)",
        envelope_bytes / stories
    );
    println!("relayed: {}", relayed.figures("story", "stories"));
    println!("cheap:   {}", cheap.figures("answer", "answers"));
    println!(
        "memory:  {} at rest before, {} after",
        megabytes(rest_before),
        megabytes(rest_after)
    );
    println!("checked: {stories} receipts verified, {stories} stories in the other device's log");
    println!("ratio:   {}", relayed.against(&cheap));
    Ok(())
}

/// `--stories N`, or the environment; cargo's own flags and filters pass by.
fn stories_asked_for() -> anyhow::Result<usize> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--stories");
    let asked = match arguments.next() {
        Some(_) => Some(arguments.next().context("`--stories` needs a number")?),
        None => std::env::var("SEALGATE_LOAD_STORIES").ok(),
    };
    let stories = asked.map_or(Ok(STORIES), |text| {
        text.parse()
            .with_context(|| format!("`{text}` is no number of stories"))
    })?;
    ensure!(stories > 0, "ask for at least one story");
    Ok(stories)
}

async fn answer_cheaply(
    gateway: &Gateway,
    author: &Author,
    connections: &[Client],
    answers: usize,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let url = author.device().cheap_url();
    let call = move |client: Client, ()| {
        let request = client.get(&url);
        async move { device::answered(request).await.map(drop) }
    };
    measure::run(gateway, connections, vec![(); answers], call, tally)
        .await
        .map(drop)
}

async fn post(
    gateway: &Gateway,
    author: &Author,
    connections: &[Client],
    sealed: Vec<SealedStory>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let url = author.post_url();
    let call = move |client: Client, story: SealedStory| {
        let url = url.clone();
        async move { story.post(client.post(url)).await }
    };
    let receipts = measure::run(gateway, connections, sealed, call, tally).await?;
    receipts.iter().try_for_each(|receipt| author.check(receipt))
}

fn megabytes(bytes: Option<u64>) -> String {
    let tenths = bytes.map(|bytes| bytes / 100_000);
    tenths.map_or_else(
        || "not measured".to_owned(),
        |tenths| format!("{}.{} MB", tenths / 10, tenths % 10),
    )
}
