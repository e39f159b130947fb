//! A gateway with its devices: authors, each with an audience per number of recipients, and the recipients.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gateway_api::bytes::Bytes;
use gateway_api::error::ErrorCode;
use gateway_api::v1::key_packages;
use gateway_api::v1::stories::CLEARANCE_HEADER;
use policies::terms::{DeviceId, Digest};
use reqwest::Client;
use tokio::task::JoinSet;

use crate::author::{Author, SealedStory};
use crate::device::{self, Device};
use crate::gateway::{Batches, Gateway};
use crate::measure::{self, Job, Lane, Tally};
use crate::reader::Reader;

/// Stories of a round: all are posted long before the clearance of the first expires, 5 minutes after it was signed.
pub(crate) const ROUND_STORIES: usize = 1_000;

/// All of it.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) authors: Vec<Author>,
    readers: Vec<Reader>,
}

/// Connections that stay open, by author.
pub(crate) type Connections = Vec<Vec<Client>>;

/// Stories that were posted, and what that took.
pub(crate) struct Posted {
    pub(crate) recipients: usize,
    pub(crate) tally: Tally,
    pub(crate) digests: BTreeSet<Digest>,
    /// What they did to the ledger.
    pub(crate) batches: Batches,
    pub(crate) envelope_bytes: usize,
    pub(crate) clearance_bytes: usize,
}

/// How stories are posted.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) recipients: usize,
    /// Stories per second; none: as fast as the answers come.
    pub(crate) rate: Option<f64>,
}

impl World {
    /// `batch_max` as in [`Gateway::start`].
    pub(crate) async fn build(
        batch_max: Option<u32>,
        authors: usize,
        fan_outs: &BTreeSet<usize>,
    ) -> anyhow::Result<Self> {
        let gateway = Gateway::start(batch_max)?;
        gateway.publish_example_policy()?;
        let most = fan_outs.last().copied().unwrap_or(1);
        let mut readers = Vec::new();
        let invitation = gateway.invite("Bob", most)?;
        for number in 0..most {
            let mut device = Device::enrol(&invitation).await?;
            let audiences = fan_outs.iter().filter(|recipients| **recipients > number).count();
            device.offer_key_packages(audiences * authors).await?;
            readers.push(Reader::new(number, device));
        }
        let invitation = gateway.invite("Alice", authors)?;
        let mut devices = Vec::new();
        for _ in 0..authors {
            devices.push(Device::enrol(&invitation).await?);
        }
        let person = readers.first().context("no recipient")?.device.person;
        let ids: Vec<DeviceId> = readers.iter().map(Reader::id).collect();
        let mut authors = Vec::new();
        for device in devices {
            let mut author = Author::new(device).await?;
            for recipients in fan_outs {
                let ids = ids.get(..*recipients).context("too few recipients")?;
                author.make_audience(person, ids).await?;
            }
            authors.push(author);
        }
        for reader in &mut readers {
            reader.settle().await?;
        }
        Ok(Self {
            gateway,
            authors,
            readers,
        })
    }

    /// Opens connections, shared out among the authors, each with an answer behind it.
    pub(crate) async fn connect(&self, count: usize) -> anyhow::Result<Connections> {
        let each = count / self.authors.len();
        ensure!(
            each > 0,
            "{count} connections are too few for {} authors",
            self.authors.len()
        );
        let connections = self
            .authors
            .iter()
            .map(|author| author.device().connections(each))
            .collect::<anyhow::Result<_>>()?;
        self.answer_cheaply(&connections, count * 2, &mut Tally::new()?)
            .await?;
        Ok(connections)
    }

    /// The least that the gateway does for a device that it knows: a file of a few lines.
    pub(crate) async fn answer_cheaply(
        &self,
        connections: &Connections,
        answers: usize,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let author = self.authors.first().context("no author")?;
        let url: Arc<str> = author.device().cheap_url().into();
        let lanes = lanes(
            connections,
            (0..answers).map(|number| (number, Arc::clone(&url))),
            None,
        );
        let call = |client: Client, url: Arc<str>| async move {
            device::answered(client.get(&*url)).await.map(drop)
        };
        measure::run(&self.gateway, lanes, call, tally).await.map(drop)
    }

    /// What TLS, HTTP and the device's identity cost for a story's very bytes, clearance included: a route that reads
    /// them, and answers that they are no JSON.
    pub(crate) async fn exchange(
        &mut self,
        connections: &Connections,
        recipients: usize,
        count: usize,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let author = self.authors.first_mut().context("no author")?;
        let story = author.seal(recipients)?;
        let url: Arc<str> = author.device().url(key_packages::PATH).into();
        let (clearance, envelope) = (Bytes(story.clearance).to_text(), story.envelope);
        let jobs = (0..count).map(|number| (number, ()));
        let call = move |client: Client, ()| {
            let request = client
                .post(&*url)
                .header(CLEARANCE_HEADER, clearance.as_str())
                .body(envelope.clone());
            async move {
                let refused = device::attempted(request).await?.err();
                let code = refused.map(|problem| problem.code);
                ensure!(
                    code == Some(ErrorCode::BadRequest),
                    "an envelope was taken for JSON"
                );
                Ok(())
            }
        };
        measure::run(&self.gateway, lanes(connections, jobs, None), call, tally)
            .await
            .map(drop)
    }

    /// Seals stories, then posts them: every receipt is verified.
    pub(crate) async fn post(
        &mut self,
        connections: &Connections,
        pace: Pace,
        count: usize,
        posted: &mut Posted,
    ) -> anyhow::Result<()> {
        let authors = self.authors.len();
        let mut jobs = Vec::with_capacity(count);
        for number in 0..count {
            let author = self.authors.get_mut(number % authors).context("no author")?;
            let story = author.seal(pace.recipients)?;
            posted.digests.insert(story.envelope_digest);
            posted.envelope_bytes = story.envelope.len();
            posted.clearance_bytes = story.clearance.len();
            jobs.push((number, story));
        }
        let before = self.gateway.batches(u64::MAX)?;
        let call = |client: Client, story: SealedStory| story.post(client);
        let lanes = lanes(connections, jobs, pace.rate);
        let receipts = measure::run(&self.gateway, lanes, call, &mut posted.tally).await?;
        let batches = self.gateway.batches(before.end)?;
        posted.batches.entries += batches.entries;
        posted.batches.commits += batches.commits;
        posted.batches.bytes += batches.bytes;
        let author = self.authors.first().context("no author")?;
        receipts.iter().try_for_each(|receipt| author.check(receipt))
    }

    /// All recipients fetch what was posted, and must find exactly that: the gateway's CPU time for it.
    pub(crate) async fn deliver(&mut self, posted: &Posted) -> anyhow::Result<Option<Duration>> {
        let before = self.gateway.cpu();
        let mut reading = JoinSet::new();
        for mut reader in self.readers.drain(..posted.recipients) {
            let count = posted.digests.len();
            reading.spawn(async move {
                let stories = reader.receive(count).await?;
                anyhow::Ok((reader, stories))
            });
        }
        let mut back = Vec::new();
        while let Some(read) = reading.join_next().await {
            let (reader, stories) = read.context("a recipient's task failed")??;
            ensure!(
                stories == posted.digests,
                "other stories than those posted were delivered"
            );
            back.push(reader);
        }
        let cpu = self.gateway.cpu_since(before);
        // The first ones are in every audience.
        back.sort_by_key(|reader| reader.number);
        self.readers.splice(0..0, back);
        Ok(cpu)
    }
}

impl Posted {
    pub(crate) fn new(recipients: usize) -> anyhow::Result<Self> {
        Ok(Self {
            recipients,
            tally: Tally::new()?,
            digests: BTreeSet::new(),
            batches: Batches::default(),
            envelope_bytes: 0,
            clearance_bytes: 0,
        })
    }
}

/// Shares numbered jobs out among the authors' connections; with a rate, each is due when its turn comes.
fn lanes<J>(
    connections: &Connections,
    jobs: impl IntoIterator<Item = (usize, J)>,
    rate: Option<f64>,
) -> Vec<Lane<J>> {
    let mut lanes: Vec<Lane<J>> = connections
        .iter()
        .map(|connections| Lane {
            connections: connections.clone(),
            jobs: VecDeque::new(),
        })
        .collect();
    let count = lanes.len().max(1);
    for (number, what) in jobs {
        let due = rate.map(|rate| Duration::from_secs_f64(measure::count(number) / rate));
        if let Some(lane) = lanes.get_mut(number % count) {
            lane.jobs.push_back(Job { due, what });
        }
    }
    lanes
}
