//! Requests over connections, and what they took.
//!
//! Closed loop: each connection asks again as soon as it has its answer. Open loop: requests are due at a steady rate,
//! whatever the answers do, and a latency begins when its request was due: one that waits because others are slow
//! counts that wait (no coordinated omission).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use reqwest::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::gateway::Gateway;

/// Requests of one device, and the connections that it has.
pub(crate) struct Lane<J> {
    pub(crate) connections: Vec<Client>,
    pub(crate) jobs: VecDeque<Job<J>>,
}

/// A request.
pub(crate) struct Job<J> {
    /// When it is due after the start; none: as soon as a connection is free.
    pub(crate) due: Option<Duration>,
    pub(crate) what: J,
}

/// Rounds of one kind of request, together.
pub(crate) struct Tally {
    latencies_us: Histogram<u64>,
    elapsed: Duration,
    /// CPU time of the gateway; none where it is not measured.
    cpu: Option<Duration>,
}

/// Latencies, milliseconds.
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// Runs all jobs. The first failure ends it.
pub(crate) async fn run<J, A, F>(
    gateway: &Gateway,
    lanes: Vec<Lane<J>>,
    call: impl Fn(Client, J) -> F + Clone + Send + 'static,
    tally: &mut Tally,
) -> anyhow::Result<Vec<A>>
where
    J: Send + 'static,
    A: Send + 'static,
    F: Future<Output = anyhow::Result<A>> + Send + 'static,
{
    let mut workers = JoinSet::new();
    let (cpu_before, started) = (gateway.cpu(), Instant::now());
    for Lane { connections, jobs } in lanes {
        let jobs = Arc::new(Mutex::new(jobs));
        for client in connections {
            workers.spawn(work(client, Arc::clone(&jobs), call.clone(), started));
        }
    }
    let mut all = Vec::new();
    while let Some(answers) = workers.join_next().await {
        for (latency, answer) in answers.context("a connection's task failed")?? {
            tally.latencies_us.saturating_record(micros(latency));
            all.push(answer);
        }
    }
    tally.elapsed += started.elapsed();
    tally.cpu = gateway
        .cpu_since(cpu_before)
        .map(|cpu| tally.cpu.unwrap_or_default() + cpu);
    Ok(all)
}

/// One connection: the next job of its device, when it is due.
async fn work<J, A, F>(
    client: Client,
    jobs: Arc<Mutex<VecDeque<Job<J>>>>,
    call: impl Fn(Client, J) -> F,
    started: Instant,
) -> anyhow::Result<Vec<(Duration, A)>>
where
    F: Future<Output = anyhow::Result<A>>,
{
    let mut answers = Vec::new();
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(job) = job else {
            return Ok(answers);
        };
        let asked = match job.due {
            Some(due) => {
                let due = started + due;
                tokio::time::sleep_until(due).await;
                due
            }
            None => Instant::now(),
        };
        let answer = call(client.clone(), job.what).await?;
        answers.push((asked.elapsed(), answer));
    }
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            // Up to a minute, three figures.
            latencies_us: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            elapsed: Duration::ZERO,
            cpu: None,
        })
    }

    /// Answers per second.
    pub(crate) fn rate(&self) -> f64 {
        self.count() / self.elapsed.as_secs_f64()
    }

    /// CPU time of the gateway per answer, microseconds.
    pub(crate) fn cpu_us(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.count())
    }

    pub(crate) fn latency(&self) -> Latency {
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
        let at = |quantile| ms(self.latencies_us.value_at_quantile(quantile));
        Latency {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(self.latencies_us.max()),
        }
    }

    fn count(&self) -> f64 {
        count(usize::try_from(self.latencies_us.len()).unwrap_or(usize::MAX))
    }
}

/// A number of things, for ratios.
pub(crate) fn count(things: usize) -> f64 {
    f64::from(u32::try_from(things).unwrap_or(u32::MAX))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
