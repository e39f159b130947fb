//! The reconciler: the one that moves files. It looks at start, at each hint, and once a minute.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use policies::terms::Cti;
use rand::Rng as _;
use zeroize::Zeroizing;

use super::names::{NameVerdict, judge};
use super::open::{OpenError, copy_once, shape};
use super::places::{Found, Places};
use super::quiet::Rest;
use super::watch::Watch;
use crate::agent::Agent;
use crate::card::{self, Tense};
use crate::compose::draft;
use crate::compose::share::{Offline, share};
use crate::limits::{OUTBOX_FILES_PER_ROUND, OUTBOX_RECONCILE};
use crate::local::wire::{OutboxState, Outcome, PendingState, ShareAnswer, ShareHeader};
use crate::vault::audience::AudienceState;
use crate::vault::claim::{self, Claim};
use crate::vault::{audience, pending};

/// Runs until the agent ends.
///
/// # Errors
/// The outbox folder cannot be made or used.
pub(crate) async fn run(agent: Arc<Agent>) -> anyhow::Result<()> {
    let places = Places::create(&agent.paths.outbox())?;
    recover(&agent, &places).await?;
    let hurry = Arc::new(tokio::sync::Notify::new());
    let mut watch = match Watch::start(Arc::clone(&hurry)) {
        Ok(watch) => Some(watch),
        Err(error) => {
            agent.alarm(
                "outbox-watch",
                format!("the outbox is looked at once a minute only: {error:#}"),
            );
            None
        }
    };
    let mut changes = agent.subscribe();
    let mut rest = Rest::default();
    let start = Instant::now();
    loop {
        let round = round(&agent, &places, watch.as_mut(), &mut rest, start.elapsed()).await;
        let pause = match round {
            Ok(()) if rest.is_waiting() => agent.settings.outbox.quiet(),
            Ok(()) => OUTBOX_RECONCILE,
            Err(error) => {
                // The whole error names folders, and a folder has its audience's name.
                let cause = error
                    .chain()
                    .find_map(|cause| cause.downcast_ref::<std::io::Error>());
                let kind = cause.map(std::io::Error::kind);
                tracing::error!(?kind, "the outbox could not be looked at");
                agent.alarm("outbox", "the outbox folder cannot be used; see the agent's log");
                OUTBOX_RECONCILE
            }
        };
        tokio::select! {
            () = hurry.notified() => {}
            () = tokio::time::sleep(pause) => {}
            changed = changes.changed() => changed?,
        }
    }
}

/// One look at everything: folders, kept drafts that were decided, files that have come to rest.
async fn round(
    agent: &Agent,
    places: &Places,
    watch: Option<&mut Watch>,
    rest: &mut Rest,
    now: Duration,
) -> anyhow::Result<()> {
    // The outbox itself may have been renamed or removed (O12).
    let places = &Places::create(places.root())?;
    create_folders(agent, places).await?;
    if let Some(watch) = watch {
        watch.add(places.root())?;
        for (_, folder) in places.audience_folders()? {
            watch.add(&folder)?;
        }
    }
    finish_kept(agent, places).await?;
    let found = places.scan()?;
    let paths: Vec<PathBuf> = found.iter().map(|found| found.path.clone()).collect();
    rest.keep_only(&paths);
    let mut taken = 0;
    for found in found {
        if taken < OUTBOX_FILES_PER_ROUND && is_ready(agent, &found, rest, now) {
            taken += 1;
            take(agent, places, &found).await?;
        }
    }
    Ok(())
}

async fn create_folders(agent: &Agent, places: &Places) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    let known = audience::all(&mut connection, &agent.vault.cipher).await?;
    let members = known
        .iter()
        .filter(|audience| audience.state == AudienceState::Member);
    places.create_audiences(members.filter_map(|audience| audience.name.as_deref()))
}

fn is_ready(agent: &Agent, found: &Found, rest: &mut Rest, now: Duration) -> bool {
    if judge(found.name.as_deref()) == NameVerdict::Unfinished {
        return false;
    }
    let Ok(metadata) = std::fs::symlink_metadata(&found.path) else {
        return false;
    };
    rest.observe(&found.path, shape(&metadata), now, agent.settings.outbox.quiet())
}

/// Claims a file: recorded, then renamed, then judged. Whatever happens next, a restart finds it.
async fn take(agent: &Agent, places: &Places, found: &Found) -> anyhow::Result<()> {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    let name = found.name.clone().unwrap_or_else(|| "unnamed".to_owned());
    let mut claim = Claim {
        id,
        name,
        audience: found.audience.clone(),
        state: OutboxState::Processing,
        story: None,
        reason: None,
        kept: None,
    };
    save(agent, &claim).await?;
    let claimed = places.processing().join(hex::encode(id));
    if let Err(error) = std::fs::rename(&found.path, &claimed) {
        tracing::debug!(%error, "a file of the outbox went away before it was claimed");
        let mut connection = agent.vault.connection().await?;
        return claim::remove(&mut connection, id).await;
    }
    let end = match judge(found.name.as_deref()) {
        NameVerdict::Refuse(why) => End::error(why.to_owned()),
        NameVerdict::Take | NameVerdict::Unfinished => process(agent, places, &claim).await,
    };
    settle(agent, places, &mut claim, end).await
}

/// Where a claimed file goes, and why.
struct End {
    state: OutboxState,
    story: Option<Cti>,
    reason: Option<String>,
    kept: Option<String>,
}

impl End {
    fn error(reason: String) -> Self {
        Self {
            state: OutboxState::Error,
            story: None,
            reason: Some(reason),
            kept: None,
        }
    }
}

/// Copies the claimed file once, and shares those bytes.
async fn process(agent: &Agent, places: &Places, claim: &Claim) -> End {
    let bytes = match copy_once(&places.processing(), &hex::encode(claim.id)) {
        Ok(bytes) => bytes,
        Err(OpenError::Changed) => {
            return End {
                state: OutboxState::Pending,
                ..End::error(String::new())
            };
        }
        Err(error) => return End::error(error.to_string()),
    };
    let header = ShareHeader {
        audience: Some(claim.audience.clone()),
        names: vec![claim.name.clone()],
        ..ShareHeader::default()
    };
    let shared = match draft::build(&header.names, vec![Zeroizing::new(Vec::new()), bytes]) {
        Ok(draft) => share(agent, &header, draft, Offline::Keep).await,
        Err(problem) => return End::error(problem.to_string()),
    };
    match shared {
        Ok(answer) => end_of(&answer),
        Err(error) => End::error(format!("{error:#}")),
    }
}

/// What a decision means for a file: only `shared` sends it; a question that nobody can answer
/// here holds it like a block.
fn end_of(answer: &ShareAnswer) -> End {
    let reason = Some(card::render(answer, Tense::Done));
    match answer.outcome {
        Outcome::Shared | Outcome::Clear => End {
            state: OutboxState::Sent,
            story: answer.story,
            reason: None,
            kept: None,
        },
        Outcome::Kept => End {
            state: OutboxState::Processing,
            story: None,
            reason: None,
            kept: answer.kept.clone(),
        },
        Outcome::Blocked | Outcome::NeedsReason | Outcome::NeedsAcceptance | Outcome::Refused => End {
            state: OutboxState::Blocked,
            story: None,
            reason,
            kept: None,
        },
    }
}

/// Moves a claimed file to where it belongs, then records it.
async fn settle(agent: &Agent, places: &Places, claim: &mut Claim, end: End) -> anyhow::Result<()> {
    let claimed = places.processing().join(hex::encode(claim.id));
    let folder = match end.state {
        OutboxState::Processing => None,
        OutboxState::Pending => {
            put_back(agent, places, claim).await?;
            return Ok(());
        }
        OutboxState::Sent => Some(places.sent()),
        OutboxState::Blocked => Some(places.blocked()),
        OutboxState::Error => Some(places.error()),
    };
    if let Some(folder) = folder {
        let target = places.move_into(&claimed, &folder, &claim.name)?;
        if let Some(reason) = &end.reason {
            write_reason(&target, reason)?;
        }
    }
    claim.state = end.state;
    claim.story = end.story;
    claim.reason = end.reason;
    claim.kept = end.kept;
    save(agent, claim).await?;
    tracing::info!(claim = hex::encode(claim.id), state = ?claim.state, "outbox file");
    agent.changed();
    Ok(())
}

fn write_reason(target: &Path, reason: &str) -> anyhow::Result<()> {
    let mut name = target
        .file_name()
        .map(std::ffi::OsStr::to_owned)
        .unwrap_or_default();
    name.push(".reason.txt");
    std::fs::write(target.with_file_name(name), reason)?;
    Ok(())
}

async fn save(agent: &Agent, claim: &Claim) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    claim::put(&mut connection, &agent.vault.cipher, agent.now_s(), claim).await
}

/// Back to the audience's folder, to be taken again.
async fn put_back(agent: &Agent, places: &Places, claim: &Claim) -> anyhow::Result<()> {
    let claimed = places.processing().join(hex::encode(claim.id));
    let folder = places
        .of_audience(&claim.audience)
        .filter(|folder| folder.is_dir());
    if claimed.exists() {
        places.move_into(&claimed, &folder.unwrap_or_else(|| places.error()), &claim.name)?;
    }
    let mut connection = agent.vault.connection().await?;
    claim::remove(&mut connection, claim.id).await
}

/// After a crash: a claim without an end goes back, unless its draft is kept for later (O7).
async fn recover(agent: &Agent, places: &Places) -> anyhow::Result<()> {
    for claim in processing(agent).await? {
        if claim.kept.is_none() {
            put_back(agent, places, &claim).await?;
        }
    }
    Ok(())
}

/// Files whose kept draft was decided.
async fn finish_kept(agent: &Agent, places: &Places) -> anyhow::Result<()> {
    let claims = processing(agent).await?;
    if claims.is_empty() {
        return Ok(());
    }
    let states = {
        let mut connection = agent.vault.connection().await?;
        pending::states(&mut connection).await?
    };
    for mut claim in claims {
        let decided = states
            .iter()
            .find(|(id, ..)| claim.kept.as_deref() == Some(hex::encode(id).as_str()));
        if let Some((_, state, story)) = decided
            && let Some(end) = end_of_kept(*state, *story)
        {
            settle(agent, places, &mut claim, end).await?;
        }
    }
    Ok(())
}

async fn processing(agent: &Agent) -> anyhow::Result<Vec<Claim>> {
    let mut connection = agent.vault.connection().await?;
    let claims = claim::all(&mut connection, &agent.vault.cipher).await?;
    Ok(claims
        .into_iter()
        .filter(|claim| claim.state == OutboxState::Processing)
        .collect())
}

fn end_of_kept(state: PendingState, story: Option<Cti>) -> Option<End> {
    let blocked = |reason: &str| {
        Some(End {
            state: OutboxState::Blocked,
            story: None,
            reason: Some(reason.to_owned()),
            kept: None,
        })
    };
    match state {
        PendingState::Kept => None,
        PendingState::Sent => Some(End {
            state: OutboxState::Sent,
            story,
            reason: None,
            kept: None,
        }),
        PendingState::Blocked => {
            blocked("the policy in force on reconnect blocks it; see `sealgate-agent activity`\n")
        }
        PendingState::Refused => {
            blocked("the gateway refused it on reconnect; see `sealgate-agent activity`\n")
        }
        PendingState::NeedsReason => blocked(
            "the policy in force on reconnect asks for a reason; use `sealgate-agent share --reason`\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// O7: each decision about a kept draft has one end for its file.
    #[test]
    fn only_a_sent_draft_sends_its_file() {
        let ends: Vec<Option<OutboxState>> = [
            PendingState::Kept,
            PendingState::Sent,
            PendingState::Blocked,
            PendingState::Refused,
            PendingState::NeedsReason,
        ]
        .into_iter()
        .map(|state| end_of_kept(state, None).map(|end| end.state))
        .collect();
        let blocked = Some(OutboxState::Blocked);
        assert_eq!(ends, [None, Some(OutboxState::Sent), blocked, blocked, blocked]);
    }
}
