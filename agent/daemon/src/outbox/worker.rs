//! The reconciler: the one that moves files. It looks at start, at each hint, and once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use policies::terms::{Cti, Digest};
use rand::Rng as _;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::claims::{Claims, move_manifest};
use super::disk::{self, Disk};
use super::manifest::{self, Promise};
use super::names::{NameVerdict, composed, judge};
use super::open::{OpenError, copy_once, is_being_written, shape};
use super::places::{Found, Places};
use super::quiet::{Rest, Shape};
use super::watch::Watch;
use crate::agent::Agent;
use crate::card::{self, Tense};
use crate::compose::draft;
use crate::compose::share::{Offline, share};
use crate::limits::{OUTBOX_FILES_PER_ROUND, OUTBOX_PAUSE_MIN, OUTBOX_POLL, OUTBOX_RECONCILE};
use crate::local::wire::{OutboxState, Outcome, PendingState, ShareAnswer, ShareHeader};
use crate::vault::audience::AudienceState;
use crate::vault::claim::{Claim, ClaimId};
use crate::vault::{audience, is_disk_full, pending};

/// What the reconciler remembers from look to look.
#[derive(Default)]
struct Memory {
    rest: Rest,
    /// Files that are not yet what their manifest says, as file and manifest were then (O4).
    unfulfilled: BTreeMap<PathBuf, (Shape, Shape)>,
}

/// Runs until the agent ends.
///
/// # Errors
/// The outbox folder cannot be made or used.
pub(crate) async fn run(agent: Arc<Agent>) -> anyhow::Result<()> {
    let places = Places::create(&agent.paths.outbox())?;
    let (hurry, mut watch) = hints(&agent, &places)?;
    let mut changes = agent.subscribe();
    let mut memory = Memory::default();
    let start = Instant::now();
    loop {
        let looked = round(&agent, &places, watch.as_mut(), &mut memory, start.elapsed()).await;
        let pause = match looked {
            Ok(is_watched) => {
                agent.all_clear("outbox");
                pause(&agent, &memory, is_watched)
            }
            Err(error) => {
                failed(&agent, &error);
                OUTBOX_POLL
            }
        };
        tokio::select! {
            () = hurry.notified() => {}
            () = tokio::time::sleep(pause) => {}
            changed = changes.changed() => changed?,
        }
    }
}

/// The hints of the folder's file system; none from a network's (O10).
///
/// # Errors
/// It lies on a network's, and that is not allowed.
fn hints(agent: &Agent, places: &Places) -> anyhow::Result<(Arc<Notify>, Option<Watch>)> {
    let hurry = Arc::new(Notify::new());
    if let Disk::Remote(kind) = disk::of(places.root())? {
        if !agent.settings.outbox.allow_network {
            agent.alarm("outbox", format!("the outbox is off: its folder lies on {kind}, where another machine may change a file unseen. Use a local folder, or set `allow_network = true` under `[outbox]` in agent.toml"));
            bail!("the outbox lies on {kind}");
        }
        agent.alarm("outbox-network", format!("the outbox lies on {kind}: it is looked at every few seconds, and another machine may change a file unseen"));
        return Ok((hurry, None));
    }
    let watch = Watch::start(places.root(), Arc::clone(&hurry));
    let watch = watch.map_err(|error| unwatched(agent, &error)).ok();
    Ok((hurry, watch))
}

/// Watches the outbox, its folders and its parent, so that its own renaming or removal is noticed (O12).
/// False if the system gives no hints: then it is looked at more often.
fn watch_all(agent: &Agent, places: &Places, watch: Option<&mut Watch>) -> bool {
    let Some(watch) = watch else {
        return false;
    };
    let mut add_all = || {
        watch.add(agent.paths.root())?;
        watch.add(places.root())?;
        let folders = places.audience_folders()?;
        folders.iter().try_for_each(|(_, folder)| watch.add(folder))
    };
    match add_all() {
        Ok(()) => {
            agent.all_clear("outbox-watch");
            true
        }
        Err(error) => {
            unwatched(agent, &error);
            false
        }
    }
}

/// The error names a limit of the system, no folder (O11).
fn unwatched(agent: &Agent, error: &anyhow::Error) {
    agent.alarm(
        "outbox-watch",
        format!("the outbox is looked at every few seconds only: {error}"),
    );
}

fn pause(agent: &Agent, memory: &Memory, is_watched: bool) -> Duration {
    if memory.rest.is_waiting() {
        agent.settings.outbox.quiet().max(OUTBOX_PAUSE_MIN)
    } else if is_watched {
        OUTBOX_RECONCILE
    } else {
        OUTBOX_POLL
    }
}

/// Says that a look failed. The whole error names folders, and a folder has its audience's name.
fn failed(agent: &Agent, error: &anyhow::Error) {
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<std::io::Error>());
    // The kind of an error names no file.
    let kind = cause.map_or(String::new(), |cause| format!(" ({})", cause.kind()));
    let message = if is_disk_full(error) {
        "the disk is full: files stay in the outbox, and are taken when there is room".to_owned()
    } else {
        format!(
            "the outbox, or a folder or file of it, cannot be used{kind}: it must be yours, local and no link; it is tried again"
        )
    };
    agent.alarm("outbox", message);
}

/// One look at everything: folders, kept drafts that were decided, files that have come to rest. Says whether the
/// system gives hints.
async fn round(
    agent: &Agent,
    places: &Places,
    watch: Option<&mut Watch>,
    memory: &mut Memory,
    now: Duration,
) -> anyhow::Result<bool> {
    if !places.root().exists() {
        let told = "the outbox folder was renamed or removed; it was made again";
        agent.notice(&mut *agent.vault.connection().await?, told).await?;
        agent.changed();
    }
    let places = &Places::create(places.root())?;
    let folders = create_folders(agent, places).await;
    // Before the scan: what comes in between is either found or hinted at.
    let is_watched = watch_all(agent, places, watch);
    let decided = finish_decided(agent, places).await;
    // What a crash left, or a look that failed half way.
    let recovered = claims(agent, places).recover().await;
    let found = places.scan()?;
    let paths: BTreeSet<PathBuf> = found.iter().map(|found| found.path.clone()).collect();
    memory.rest.keep_only(&paths);
    memory.unfulfilled.retain(|path, _| paths.contains(path));
    let mut taken = 0;
    for found in found {
        if taken < OUTBOX_FILES_PER_ROUND && is_ready(agent, &found, memory, now) {
            taken += 1;
            take(agent, places, &found).await?;
        }
    }
    // A folder or a file that cannot be used is told after the others were served.
    folders.and(decided).and(recovered).map(|()| is_watched)
}

async fn create_folders(agent: &Agent, places: &Places) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    let known = audience::all(&mut connection, &agent.vault.cipher).await?;
    let members = known
        .iter()
        .filter(|audience| audience.state == AudienceState::Member);
    places.create_audiences(members.filter_map(|audience| audience.name.as_deref()))
}

/// Whether a file has come to rest (O3) and is what its manifest says, if it has one (O4).
fn is_ready(agent: &Agent, found: &Found, memory: &mut Memory, now: Duration) -> bool {
    match judge(found.name.as_deref()) {
        NameVerdict::Unfinished | NameVerdict::Manifest => return false,
        NameVerdict::Take | NameVerdict::Refuse(_) => {}
    }
    let Ok(metadata) = std::fs::symlink_metadata(&found.path) else {
        return false;
    };
    let file = shape(&metadata);
    let quiet = agent.settings.outbox.quiet();
    if !memory.rest.observe(&found.path, file, now, quiet) {
        return false;
    }
    let (Some(folder), Some(name)) = (found.path.parent(), found.name.as_deref()) else {
        return true;
    };
    !is_being_written(folder, name) && is_fulfilled(found, folder, name, file, memory)
}

/// Whether a file is what its manifest says. One that is not is read again only once it, or the manifest, has changed.
fn is_fulfilled(found: &Found, folder: &Path, name: &str, file: Shape, memory: &mut Memory) -> bool {
    let Ok(promised) = std::fs::symlink_metadata(manifest::beside(&found.path)) else {
        return true;
    };
    let shapes = (file, shape(&promised));
    if memory.unfulfilled.get(&found.path) == Some(&shapes) {
        return false;
    }
    match manifest::judge(folder, name, &found.audience) {
        // The wrong folder is no matter of waiting: it is told when the file is taken.
        Promise::None | Promise::Kept | Promise::OtherAudience => true,
        Promise::Open => {
            memory.unfulfilled.insert(found.path.clone(), shapes);
            false
        }
    }
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
    // After its file: a manifest without a file waits, a file without a manifest would be taken.
    move_manifest(&found.path, &places.claimed(id))?;
    let end = match judge(found.name.as_deref()) {
        NameVerdict::Refuse(why) => End::error(why.to_owned()),
        NameVerdict::Take | NameVerdict::Unfinished | NameVerdict::Manifest => {
            process(agent, places, &mut claim).await?
        }
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
    let (folder, file) = (places.processing(), hex::encode(claim.id));
    match manifest::judge(&folder, &file, &claim.audience) {
        Promise::None | Promise::Kept => {}
        Promise::Open => return Ok(End::again()),
        Promise::OtherAudience => return Ok(End::error("its manifest names another audience\n".to_owned())),
    }
    let bytes = match copy_once(&folder, &file) {
        Ok(bytes) => bytes,
        Err(OpenError::Changed) => return Ok(End::again()),
        Err(error) => return Ok(End::error(error.to_string())),
    };
    claim.content = Some(Digest::of(&bytes));
    claims(agent, places).save(claim).await?;
    let header = ShareHeader {
        audience: Some(claim.audience.clone()),
        names: vec![composed(&claim.name)],
        ..ShareHeader::default()
    };
    let draft = match draft::build(&header.names, vec![Zeroizing::new(Vec::new()), bytes]) {
        Ok(draft) => draft,
        Err(problem) => return Ok(End::error(problem.to_string())),
    };
    let shared = share(agent, &header, draft, Offline::Claimed(claim.id)).await;
    Ok(match shared {
        Ok(answer) => end_of(&answer),
        // The file says nothing about that: it goes back, and is taken when there is room.
        Err(error) if is_disk_full(&error) => return Err(error),
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
    let mut finished = Ok(());
    for mut claim in open {
        let decided = states
            .iter()
            .find(|(id, ..)| claim.kept.as_deref() == Some(hex::encode(id).as_str()));
        if claim.unplaced {
            finished = claims.place(&mut claim).await.and(finished);
            agent.changed();
        } else if let Some((_, state, story)) = decided
            && let Some(end) = end_of_kept(*state, *story)
        {
            finished = settle(agent, places, claim.id, end).await.and(finished);
        }
    }
    finished
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
