//! The reconciler: the one that moves files. It looks at start, at each hint, and once a minute.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policies::terms::{Cti, Digest};
use rand::Rng as _;
use zeroize::Zeroizing;

use super::claims::Claims;
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
use crate::vault::claim::{Claim, ClaimId};
use crate::vault::{audience, pending};

/// Runs until the agent ends.
///
/// # Errors
/// The outbox folder cannot be made or used.
pub(crate) async fn run(agent: Arc<Agent>) -> anyhow::Result<()> {
    let places = Places::create(&agent.paths.outbox())?;
    claims(&agent, &places).recover().await?;
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
    finish_decided(agent, places).await?;
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
    let mut claim = Claim {
        id,
        name: found.name.clone().unwrap_or_else(|| "unnamed".to_owned()),
        audience: found.audience.clone(),
        state: OutboxState::Processing,
        story: None,
        reason: None,
        kept: None,
        content: None,
        unplaced: false,
    };
    let claims = claims(agent, places);
    claims.save(&claim).await?;
    if let Err(error) = std::fs::rename(&found.path, places.claimed(id)) {
        tracing::debug!(%error, "a file of the outbox went away before it was claimed");
        return claims.put_back(&claim).await;
    }
    let end = match judge(found.name.as_deref()) {
        NameVerdict::Refuse(why) => End::error(why.to_owned()),
        NameVerdict::Take | NameVerdict::Unfinished => process(agent, places, &mut claim).await?,
    };
    settle(agent, places, id, end).await
}

fn claims<'a>(agent: &'a Agent, places: &'a Places) -> Claims<'a> {
    Claims {
        vault: &agent.vault,
        places,
        now_s: agent.now_s(),
    }
}

/// Where a claimed file goes, and why.
struct End {
    state: OutboxState,
    story: Option<Cti>,
    reason: Option<String>,
}

impl End {
    fn error(reason: String) -> Self {
        Self {
            state: OutboxState::Error,
            story: None,
            reason: Some(reason),
        }
    }

    /// Back to its folder, to be taken again.
    const fn again() -> Self {
        Self {
            state: OutboxState::Pending,
            story: None,
            reason: None,
        }
    }
}

/// Copies the claimed file once, and shares those bytes.
async fn process(agent: &Agent, places: &Places, claim: &mut Claim) -> anyhow::Result<End> {
    let bytes = match copy_once(&places.processing(), &hex::encode(claim.id)) {
        Ok(bytes) => bytes,
        Err(OpenError::Changed) => return Ok(End::again()),
        Err(error) => return Ok(End::error(error.to_string())),
    };
    claim.content = Some(Digest::of(&bytes));
    claims(agent, places).save(claim).await?;
    let header = ShareHeader {
        audience: Some(claim.audience.clone()),
        names: vec![claim.name.clone()],
        ..ShareHeader::default()
    };
    let draft = match draft::build(&header.names, vec![Zeroizing::new(Vec::new()), bytes]) {
        Ok(draft) => draft,
        Err(problem) => return Ok(End::error(problem.to_string())),
    };
    let shared = share(agent, &header, draft, Offline::Claimed(claim.id)).await;
    Ok(match shared {
        Ok(answer) => end_of(&answer),
        Err(error) => End::error(format!("{error:#}")),
    })
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
        },
        Outcome::Kept => End {
            state: OutboxState::Processing,
            story: None,
            reason: None,
        },
        Outcome::Blocked | Outcome::NeedsReason | Outcome::NeedsAcceptance | Outcome::Refused => End {
            state: OutboxState::Blocked,
            story: None,
            reason,
        },
    }
}

/// Records what was decided about a claimed file, then moves it.
async fn settle(agent: &Agent, places: &Places, id: ClaimId, end: End) -> anyhow::Result<()> {
    let claims = claims(agent, places);
    let Some(mut claim) = claims.read(id).await? else {
        return Ok(());
    };
    match end.state {
        OutboxState::Processing => {}
        OutboxState::Pending => claims.put_back(&claim).await?,
        // An error that came after the sealing says nothing about the story: that is asked for.
        OutboxState::Error if claim.story.is_some() || claim.kept.is_some() => {}
        OutboxState::Sent | OutboxState::Blocked | OutboxState::Error => {
            claim.state = end.state;
            claim.story = end.story;
            claim.reason = end.reason;
            claim.unplaced = true;
            claims.save(&claim).await?;
            claims.place(&mut claim).await?;
        }
    }
    tracing::info!(claim = hex::encode(id), state = ?end.state, "outbox file");
    agent.changed();
    Ok(())
}

/// Files that were decided elsewhere: by the gateway's answer, or with their kept draft.
async fn finish_decided(agent: &Agent, places: &Places) -> anyhow::Result<()> {
    let claims = claims(agent, places);
    let open = claims.open().await?;
    if open.is_empty() {
        return Ok(());
    }
    let states = {
        let mut connection = agent.vault.connection().await?;
        pending::states(&mut connection).await?
    };
    for mut claim in open {
        let decided = states
            .iter()
            .find(|(id, ..)| claim.kept.as_deref() == Some(hex::encode(id).as_str()));
        if claim.unplaced {
            claims.place(&mut claim).await?;
            agent.changed();
        } else if let Some((_, state, story)) = decided
            && let Some(end) = end_of_kept(*state, *story)
        {
            settle(agent, places, claim.id, end).await?;
        }
    }
    Ok(())
}

fn end_of_kept(state: PendingState, story: Option<Cti>) -> Option<End> {
    let blocked = |reason: &str| {
        Some(End {
            state: OutboxState::Blocked,
            story: None,
            reason: Some(reason.to_owned()),
        })
    };
    match state {
        PendingState::Kept => None,
        PendingState::Sent => Some(End {
            state: OutboxState::Sent,
            story,
            reason: None,
        }),
        PendingState::Blocked => {
            blocked("the policy in force on reconnect blocks it; see `sealgate-agent activity`\n")
        }
        PendingState::Refused => {
            blocked("the gateway refused it on reconnect; see `sealgate-agent activity`\n")
        }
        PendingState::Discarded => blocked("you discarded it (`sealgate-agent pending --discard`)\n"),
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
            PendingState::Discarded,
        ]
        .into_iter()
        .map(|state| end_of_kept(state, None).map(|end| end.state))
        .collect();
        let blocked = Some(OutboxState::Blocked);
        assert_eq!(
            ends,
            [None, Some(OutboxState::Sent), blocked, blocked, blocked, blocked]
        );
    }
}
