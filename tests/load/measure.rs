//! Requests over connections, and what they took.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::Client;
use tokio::task::JoinSet;

use crate::gateway::Gateway;

/// Rounds of one kind of request, together.
#[derive(Default)]
pub(crate) struct Tally {
    latencies: Vec<Duration>,
    elapsed: Duration,
    /// CPU time of the gateway; none where it is not measured.
    cpu: Option<Duration>,
}

/// Runs all jobs, each connection taking the next one as soon as it has its answer. The first failure ends it.
pub(crate) async fn run<J, A, F>(
    gateway: &Gateway,
    connections: &[Client],
    jobs: Vec<J>,
    call: impl Fn(Client, J) -> F + Clone + Send + 'static,
    tally: &mut Tally,
) -> anyhow::Result<Vec<A>>
where
    J: Send + 'static,
    A: Send + 'static,
    F: Future<Output = anyhow::Result<A>> + Send,
{
    let jobs = Arc::new(Mutex::new(jobs.into_iter()));
    let mut workers = JoinSet::new();
    let (cpu_before, started) = (gateway.cpu(), Instant::now());
    for client in connections {
        let (client, jobs, call) = (client.clone(), Arc::clone(&jobs), call.clone());
        workers.spawn(async move {
            let mut answers = Vec::new();
            loop {
                let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(job) = job else {
                    return anyhow::Ok(answers);
                };
                let asked = Instant::now();
                let answer = call(client.clone(), job).await?;
                answers.push((asked.elapsed(), answer));
            }
        });
    }
    let mut all = Vec::new();
    while let Some(answers) = workers.join_next().await {
        for (latency, answer) in answers.context("a connection's task failed")?? {
            tally.latencies.push(latency);
            all.push(answer);
        }
    }
    tally.elapsed += started.elapsed();
    let cpu = gateway
        .cpu()
        .zip(cpu_before)
        .map(|(after, before)| after.saturating_sub(before));
    tally.cpu = cpu.map(|cpu| tally.cpu.unwrap_or_default() + cpu);
    Ok(all)
}

impl Tally {
    /// One line of figures.
    pub(crate) fn figures(&self, one: &str, many: &str) -> String {
        let cpu = self
            .cpu_us_each()
            .map_or_else(|| "not measured".to_owned(), |us| format!("{us:.0} us per {one}"));
        let [p50, p99] = [50, 99].map(|percent| self.percentile(percent).as_secs_f64() * 1e3);
        format!(
            "{:.0} {many}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, gateway CPU {cpu}",
            self.rate()
        )
    }

    /// Its rate and its CPU as multiples of a peer's.
    pub(crate) fn against(&self, peer: &Self) -> String {
        let cpu = self.cpu_us_each().zip(peer.cpu_us_each());
        let cpu = cpu.map_or_else(
            || "CPU not measured".to_owned(),
            |(own, its)| format!("{:.1} x its CPU", own / its),
        );
        format!(
            "{:.3} of the rate of the same server's cheap answer, {cpu}",
            self.rate() / peer.rate()
        )
    }

    fn rate(&self) -> f64 {
        self.count() / self.elapsed.as_secs_f64()
    }

    fn cpu_us_each(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.count())
    }

    fn count(&self) -> f64 {
        f64::from(u32::try_from(self.latencies.len()).unwrap_or(u32::MAX))
    }

    /// The latency that so many of a hundred requests do not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).copied().unwrap_or_default()
    }
}
