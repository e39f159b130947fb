//! `sealgate-agent run`: the loops that make the agent.
//!
//! ```text
//! connect: directory log ─► policy ─► people ─► logs up to date ─► key packages
//! then:    kept drafts ─► long poll ─► apply ─► whatever it says is newer       (a failure: back off, say offline)
//! beside:  events' upload · renewal of the certificate · forgetting what expired · outbox · local API
//! ```

use std::fs::OpenOptions;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use gateway_api::error::ErrorCode;
use nix::fcntl::{Flock, FlockArg};
use rand::RngExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::agent::{Agent, Link};
use crate::compose::{foreign, pending};
use crate::config::paths::Paths;
use crate::emergency;
use crate::limits;
use crate::local::server;
use crate::outbox::worker;
use crate::spool;
use crate::uplink::client::CallError;
use crate::uplink::{
    behind, directory, events, identity, key_packages, people, policy, rejoin, renewal, stories, sync,
};
use crate::vault::{claim, files, foreign_sent, foreign_story, journal, spent_receipt, story};

/// How often people, groups and the policy's freshness are asked for without a hint.
const REFRESH: Duration = Duration::from_secs(60);
/// Longest sleep of the forgetting loop; it wakes for each story's end anyway.
const FORGET_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Upload of events without a hint.
const EVENTS_PAUSE: Duration = Duration::from_secs(30);

/// What `run` says when the agent is ready.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Ready {
    pub ready: bool,
    pub online: bool,
    pub policy_version: u64,
}

/// Holds the folder: one agent on it at a time.
///
/// # Errors
/// Another agent runs on the folder.
pub(crate) fn lock(paths: &Paths) -> anyhow::Result<Flock<std::fs::File>> {
    match Flock::lock(lock_file(paths)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err(_) => bail!("another agent runs on `{}`", paths.root().display()),
    }
}

/// The same, once the agent that runs on the folder has ended.
///
/// # Errors
/// The lock file cannot be made or locked.
pub(crate) async fn lock_when_free(paths: &Paths) -> anyhow::Result<Flock<std::fs::File>> {
    let file = lock_file(paths)?;
    let (locked, ended) = oneshot::channel();
    // A thread of its own: unlike the runtime's, it keeps no process that has stopped waiting.
    std::thread::spawn(move || drop(locked.send(Flock::lock(file, FlockArg::LockExclusive))));
    ended.await?.map_err(|(_, error)| error.into())
}

fn lock_file(paths: &Paths) -> anyhow::Result<std::fs::File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(paths.lock())?;
    files::restrict(&paths.lock())?;
    Ok(file)
}

/// Runs until a signal ends it; `ready` is told once the first try at the gateway is over.
///
/// # Errors
/// The folder is not enrolled or in use, the state is damaged, or the socket cannot be made.
pub(crate) async fn run(paths: Paths, ready: impl FnOnce(Ready)) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if !paths.enrollment().exists() {
        crate::config::enrollment::Enrollment::load(&paths)?;
    }
    let _lock = lock(&paths)?;
    let agent = Arc::new(Agent::open(paths).await?);
    spool::begin_run(&agent.vault).await?;
    emergency::tell(&agent, agent.emergency.lock().await.count());
    policy::stored::begin_run(&agent).await?;
    policy::load_last_good(&agent).await?;
    pending::recover(&agent.vault, agent.now_s()).await?;
    if stories::may_forget(&agent).await? {
        stories::forget_expired(&agent).await?;
    }
    // The agent may have died between forgetting and emptying what it had written before (D2).
    agent.vault.truncate_log().await?;
    let server = server::start(&agent)?;
    let handle = server.handle();
    let served = tokio::spawn(server);
    let (first, tried) = oneshot::channel();
    let mut loops = vec![
        tokio::spawn(follow(Arc::clone(&agent), first)),
        tokio::spawn(upload_events(Arc::clone(&agent))),
        tokio::spawn(forget(Arc::clone(&agent))),
        tokio::spawn(identity::keep(Arc::clone(&agent))),
    ];
    if agent.settings.outbox.enabled {
        loops.push(tokio::spawn(watch_outbox(Arc::clone(&agent))));
    }
    tokio::select! {
        _ = tried => ready(Ready { ready: true, online: agent.link() == Link::Online, policy_version: agent.policy.version() }),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = agent.stop.notified() => {}
        ended = served => ended?.context("the local API ended")?,
    }
    tracing::info!("stopping");
    for task in &loops {
        task.abort();
    }
    handle.stop(true).await;
    policy::stored::end_run(&agent).await?;
    agent.vault.close().await;
    agent.exports.close(None).await;
    // A missing socket says that no agent runs.
    let _ = std::fs::remove_file(agent.paths.socket());
    Ok(())
}

/// Connects, then follows; backs off after each failure, with full jitter (S6).
async fn follow(agent: Arc<Agent>, first: oneshot::Sender<()>) {
    let mut first = Some(first);
    let mut pause = limits::BACKOFF_FIRST;
    loop {
        let connected = connect(&agent).await;
        let online = connected.is_ok();
        if let Err(error) = connected {
            note(&agent, &error);
        }
        if let Some(first) = first.take() {
            // The receiver is gone only when the agent ends.
            let _ = first.send(());
        }
        if online {
            pause = limits::BACKOFF_FIRST;
            if let Err(error) = poll(&agent).await {
                note(&agent, &error);
            }
        }
        if agent.link() == Link::Revoked {
            return;
        }
        let jittered = rand::rng().random_range(pause / 2..=pause);
        tokio::select! {
            () = tokio::time::sleep(jittered) => {}
            () = agent.hurry.notified() => {}
        }
        pause = pause.saturating_mul(2).min(limits::BACKOFF_MAX);
    }
}

/// Everything that must be known before the first wait.
async fn connect(agent: &Agent) -> anyhow::Result<()> {
    identity::renew_if_due(agent).await?;
    {
        let mut follower = agent.directory.write().await;
        directory::follow(agent, &mut follower).await?;
    }
    agent.set_link(Link::Online);
    agent.all_clear("identity");
    policy::pull(agent).await?;
    policy::tell_again(agent).await?;
    people::refresh(agent).await?;
    rejoin::resume(agent).await?;
    {
        let mut member = agent.sealing.change(&agent.vault).await?;
        let caught_up = sync::catch_up(agent, &mut member).await;
        member.settled(caught_up)?;
    }
    behind::catch_up(agent).await?;
    key_packages::replenish(agent).await?;
    renewal::carry_out(agent).await;
    agent.events_wait.notify_one();
    Ok(())
}

/// Sends what waits, then the long poll, until it fails.
async fn poll(agent: &Agent) -> anyhow::Result<()> {
    foreign::settle(agent).await?;
    let mut unsent = pending::send_waiting(agent).await?;
    let mut refreshed = Instant::now();
    loop {
        let wait_s = if unsent {
            limits::UNSENT_POLL_S
        } else {
            poll_wait_s(agent)
        };
        let response = tokio::select! {
            response = sync::wait(agent, wait_s) => response?,
            () = agent.kept.notified() => {
                tokio::time::sleep(limits::BACKOFF_FIRST).await;
                unsent = pending::send_waiting(agent).await?;
                continue;
            }
        };
        agent.clock.saw_gateway(response.now_s);
        let offered = response.policy_version;
        let policy_is_newer = offered > agent.policy.asked_version();
        let joined = !response.inbox.is_empty();
        let directory_moved = response.directory_size != agent.directory.read().await.size();
        {
            let mut member = agent.sealing.change(&agent.vault).await?;
            let applied = sync::apply(agent, &mut member, response).await;
            member.settled(applied)?;
        }
        behind::catch_up(agent).await?;
        agent.set_link(Link::Online);
        renewal::carry_out(agent).await;
        let due = refreshed.elapsed() >= REFRESH
            || policy::freshness::refresh_at_s(agent).is_some_and(|at_s| at_s <= agent.now_s());
        if policy_is_newer || due {
            policy::pull(agent).await?;
            agent.policy.passed_over(offered);
        }
        if directory_moved || due {
            people::refresh(agent).await?;
        }
        if joined || due {
            key_packages::replenish(agent).await?;
        }
        if due {
            rejoin::resume(agent).await?;
            refreshed = Instant::now();
        }
        foreign::settle(agent).await?;
        unsent = pending::send_waiting(agent).await?;
    }
}

/// How long the gateway may hold the next poll: with jitter, and not past the half of the life of the proof that the
/// policy is the latest (B4, B9).
fn poll_wait_s(agent: &Agent) -> u32 {
    let shortest_s = limits::LONG_POLL_S.saturating_sub(limits::LONG_POLL_JITTER_S);
    let wait_s = rand::rng().random_range(shortest_s..=limits::LONG_POLL_S);
    let left_s = policy::freshness::refresh_at_s(agent).map(|at_s| at_s.saturating_sub(agent.now_s()));
    let left_s = left_s.and_then(|left_s| u32::try_from(left_s).ok());
    left_s.map_or(wait_s, |left_s| wait_s.min(left_s.max(1)))
}

/// What a failure means for the link.
fn note(agent: &Agent, error: &anyhow::Error) {
    let answer = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<CallError>())
        .find(|error| error.code().is_some());
    if let Some(link) = answer.and_then(|answer| identity::judge(agent, answer)) {
        agent.set_link(link);
        return;
    }
    if answer.and_then(CallError::code) == Some(ErrorCode::StateBehind) {
        rejoin::due(
            agent,
            "this device had a later state than the one that it runs on",
        );
    } else {
        tracing::warn!(error = %format!("{error:#}"), "the gateway could not be followed");
    }
    agent.set_link(Link::Offline);
}

async fn upload_events(agent: Arc<Agent>) {
    let mut pause = limits::EVENTS_BACKOFF_FIRST;
    loop {
        tokio::select! {
            () = agent.events_wait.notified() => {}
            () = tokio::time::sleep(EVENTS_PAUSE) => {}
        }
        if let Err(error) = emergency::settle(&agent).await {
            tracing::warn!(error = %format!("{error:#}"), "blocks are counted and cannot be recorded yet");
        }
        if agent.link() != Link::Online {
            continue;
        }
        match events::upload(&agent).await {
            Ok(()) => pause = limits::EVENTS_BACKOFF_FIRST,
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "events wait");
                let jittered = rand::rng().random_range(Duration::ZERO..=pause);
                tokio::time::sleep(jittered.max(events::retry_after(&error))).await;
                pause = pause.saturating_mul(2).min(limits::EVENTS_BACKOFF_MAX);
            }
        }
    }
}

/// Sleeps until the next story ends, and forgets it; the policy grows stale here too.
async fn forget(agent: Arc<Agent>) {
    let mut changes = agent.subscribe();
    loop {
        let pause = until_next_expiry(&agent)
            .await
            .map_or(FORGET_PAUSE_MAX, |pause| pause.min(FORGET_PAUSE_MAX));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        policy::end_if_expired(&agent);
        policy::freshness::look(&agent);
        let done = async {
            if stories::may_forget(&agent).await? {
                stories::forget_expired(&agent).await?;
                forget_old(&agent).await?;
            } else {
                tokio::time::sleep(limits::UNSETTLED_PAUSE).await;
            }
            anyhow::Ok(())
        };
        if let Err(error) = done.await {
            tracing::error!(error = %format!("{error:#}"), "what expired could not be forgotten");
            agent.alarm(
                "forget",
                "expired stories could not be forgotten; see the agent's log",
            );
            tokio::time::sleep(limits::BACKOFF_MAX).await;
        }
    }
}

async fn until_next_expiry(agent: &Agent) -> anyhow::Result<Duration> {
    let mut connection = agent.vault.connection().await?;
    let until =
        |at_s: Option<u64>, now_s| at_s.map(|at_s: u64| Duration::from_secs(at_s.saturating_sub(now_s)));
    let wall_s = agent.clock.wall_s();
    let next = [
        until(story::next_expiry(&mut connection).await?, wall_s),
        until(foreign_story::next_expiry(&mut connection).await?, wall_s),
        until(policy::freshness::next_change_s(agent), agent.now_s()),
    ];
    Ok(next.into_iter().flatten().min().unwrap_or(FORGET_PAUSE_MAX))
}

/// Journal, decided drafts, outbox records and closed stories end after a month (K26).
async fn forget_old(agent: &Agent) -> anyhow::Result<()> {
    let before_s = agent.now_s().saturating_sub(limits::JOURNAL_DAYS * 86_400);
    let mut transaction = agent.vault.begin().await?;
    journal::forget_before(&mut transaction, before_s).await?;
    crate::vault::pending::forget_before(&mut transaction, before_s).await?;
    crate::vault::pending::forget_discarded(&mut transaction, agent.now_s()).await?;
    claim::forget_before(&mut transaction, before_s).await?;
    story::forget_before(&mut transaction, before_s).await?;
    spent_receipt::forget_before(&mut transaction, agent.now_s()).await?;
    foreign_sent::forget_before(&mut transaction, before_s).await?;
    transaction.commit().await?;
    agent.vault.truncate_log().await
}

async fn watch_outbox(agent: Arc<Agent>) {
    if let Err(error) = worker::run(Arc::clone(&agent)).await {
        tracing::error!(error = %format!("{error:#}"), "the outbox ended");
        agent.alarm(
            "outbox-ended",
            "the outbox is off until the agent starts again; see the agent's log",
        );
    }
}
