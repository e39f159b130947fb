//! Stories that arrive: judged before anything of them is shown (K14), kept under the key of
//! their expiry bucket (D4), forgotten when they expire or are taken back.

use agent_seal::{AcceptanceFacts, Delivery, Manifest, Member, OpenError, OpenedStory, open_story};
use gateway_api::receipt::Acceptance;
use policies::clearance::UnverifiedClearance;
use policies::terms::{AudienceId, Cti, Digest};
use zeroize::Zeroizing;

use super::directory::{self, Follower};
use super::sync;
use crate::agent::Agent;
use crate::vault::audience::Audience;
use crate::vault::expiry::bucket_of;
use crate::vault::story::{StoryRow, StoryState};
use crate::vault::{Connection, Vault, audience, foreign_story, mls_record, story};

/// A story as the group's log gives it.
pub(crate) struct Delivered {
    pub sequence: u64,
    pub envelope: Vec<u8>,
    pub clearance: Vec<u8>,
    pub acceptance: Vec<u8>,
}

/// Opens a story, or raises an alarm and shows nothing; either way the cursor moves on.
///
/// # Errors
/// The store's.
pub(crate) async fn receive(
    agent: &Agent,
    member: &mut Member,
    follower: &mut Follower,
    known: &Audience,
    delivered: Delivered,
) -> anyhow::Result<()> {
    let opened = open(agent, member, follower, known.id, &delivered).await?;
    let mut transaction = agent.vault.begin().await?;
    match opened {
        Ok(Opening::Own) => {}
        Ok(Opening::Opened(opened)) => {
            let manifest = opened.manifest();
            name_audience(agent, &mut transaction, known, manifest).await?;
            insert(agent, &mut transaction, manifest, opened.expires_s(), false).await?;
            tracing::info!(story = %manifest.cti(), group = %known.id, "story received");
        }
        Err(reason) => agent.alarm(
            &format!("story/{}", known.id),
            format!("a story in audience {} is not shown: {reason}", known.id),
        ),
    }
    mls_record::apply(&mut transaction, &agent.vault.cipher, member.take_changes()).await?;
    audience::set_cursor(&mut transaction, known.id, delivered.sequence).await?;
    transaction.commit().await?;
    agent.changed();
    Ok(())
}

enum Opening {
    /// This device's own: kept when it was accepted.
    Own,
    Opened(Box<OpenedStory>),
}

/// Opens a delivery; one that names what the followed log does not hold is tried once more after
/// fetching the log (K8).
async fn open(
    agent: &Agent,
    member: &mut Member,
    follower: &mut Follower,
    group: AudienceId,
    delivered: &Delivered,
) -> anyhow::Result<Result<Opening, String>> {
    let acceptance = match judge_acceptance(agent, group, delivered) {
        Ok(Some(acceptance)) => acceptance,
        Ok(None) => return Ok(Ok(Opening::Own)),
        Err(reason) => return Ok(Err(reason)),
    };
    let delivery = Delivery {
        envelope: &delivered.envelope,
        clearance: &delivered.clearance,
        acceptance: &acceptance,
    };
    let mut opened = open_story(member, &delivery, follower.directory(), agent.now_s());
    if opened.as_ref().is_err_and(OpenError::needs_log) {
        directory::follow(agent, follower).await?;
        opened = open_story(member, &delivery, follower.directory(), agent.now_s());
    }
    Ok(match opened {
        Ok(story) => Ok(Opening::Opened(Box::new(story))),
        Err(OpenError::Envelope(error)) => Err(sync::why(&error)),
        Err(error) => Err(error.to_string()),
    })
}

/// Verifies the acceptance and holds it to this delivery; `None` is a story of this device itself.
fn judge_acceptance(
    agent: &Agent,
    group: AudienceId,
    delivered: &Delivered,
) -> Result<Option<AcceptanceFacts>, String> {
    let acceptance = Acceptance::verify(&delivered.acceptance, &agent.pins.acceptance)
        .map_err(|error| error.to_string())?;
    let is_this = acceptance.group == group
        && acceptance.envelope == Digest::of(&delivered.envelope)
        && acceptance.clearance == Digest::of(&delivered.clearance);
    if !is_this {
        return Err("its acceptance is of another story".to_owned());
    }
    let clearance = UnverifiedClearance::parse(&delivered.clearance).map_err(|error| error.to_string())?;
    if clearance.issuer() == agent.enrollment.device {
        return Ok(None);
    }
    Ok(Some(AcceptanceFacts {
        cti: acceptance.cti,
        env: acceptance.envelope,
        clearance: acceptance.clearance,
        group: acceptance.group,
        at_s: acceptance.at_s,
        expires_s: acceptance.expires_s,
    }))
}

/// The first story tells a new member what its author calls the audience. A name that this device has given to
/// another audience gets a number: nobody names somebody else's audience.
async fn name_audience(
    agent: &Agent,
    connection: &mut Connection,
    known: &Audience,
    manifest: &Manifest,
) -> anyhow::Result<()> {
    if known.name.is_some() || manifest.audience_name().is_empty() {
        return Ok(());
    }
    let others = audience::all(connection, &agent.vault.cipher).await?;
    let is_taken = |name: &str| others.iter().any(|other| other.name.as_deref() == Some(name));
    let called = manifest.audience_name();
    let mut numbered = (2_usize..).map(|number| format!("{called} ({number})"));
    let name = if is_taken(called) {
        numbered.find(|name| !is_taken(name))
    } else {
        Some(called.to_owned())
    };
    audience::put(
        connection,
        &agent.vault.cipher,
        &Audience {
            name,
            ..known.clone()
        },
    )
    .await
}

/// Keeps a manifest until it expires; one that is over already is only noted.
pub(crate) async fn insert(
    agent: &Agent,
    connection: &mut Connection,
    manifest: &Manifest,
    expires_at_s: u64,
    own: bool,
) -> anyhow::Result<()> {
    let now_s = agent.now_s();
    let bucket = bucket_of(expires_at_s);
    let alive = expires_at_s > now_s;
    let content = if alive {
        let cipher = agent.vault.expiry.cipher(bucket)?;
        Some(cipher.seal("story", manifest.cti().as_bytes(), &manifest.to_bytes())?)
    } else {
        None
    };
    let row = StoryRow {
        cti: manifest.cti(),
        audience: manifest.audience(),
        received_at_s: now_s,
        expires_at_s,
        bucket,
        state: if alive {
            StoryState::Open
        } else {
            StoryState::Expired
        },
        own,
        content,
    };
    story::insert(connection, &row).await
}

/// The manifest of a story that can still be read.
pub(crate) fn manifest(vault: &Vault, row: &StoryRow, now_s: u64) -> anyhow::Result<Option<Manifest>> {
    if row.state != StoryState::Open || row.expires_at_s <= now_s {
        return Ok(None);
    }
    let (Some(content), Some(cipher)) = (&row.content, vault.expiry.existing(row.bucket)?) else {
        return Ok(None);
    };
    let bytes: Zeroizing<Vec<u8>> = cipher.open("story", row.cti.as_bytes(), content)?;
    Ok(Some(Manifest::from_bytes(&bytes)?))
}

/// The author took a story back.
///
/// # Errors
/// The store's.
pub(crate) async fn forget(agent: &Agent, group: AudienceId, sequence: u64, cti: Cti) -> anyhow::Result<()> {
    let mut transaction = agent.vault.begin().await?;
    story::close(&mut transaction, cti, StoryState::Revoked).await?;
    audience::set_cursor(&mut transaction, group, sequence).await?;
    transaction.commit().await?;
    agent.vault.truncate_log().await?;
    tracing::info!(story = %cti, "story revoked by its author");
    agent.changed();
    Ok(())
}

/// Whether anything may be destroyed by the clock (K19); its owner is told when not.
///
/// # Errors
/// The store's, or the clocks cannot be read.
pub(crate) async fn may_forget(agent: &Agent) -> anyhow::Result<bool> {
    const ALARM: &str = "clock";
    let is_settled = agent.clock.is_settled(&agent.vault).await?;
    if is_settled {
        agent.all_clear(ALARM);
    } else {
        agent.alarm(
            ALARM,
            "this device's clock has jumped, or is behind the gateway's: nothing that expires is destroyed until it is set right, or the gateway confirms it",
        );
    }
    Ok(is_settled)
}

/// Forgets what has expired: rows first, then the keys, then the traces in the log file.
///
/// # Errors
/// The store's.
pub(crate) async fn forget_expired(agent: &Agent) -> anyhow::Result<()> {
    let now_s = agent.clock.wall_s();
    let mut transaction = agent.vault.begin().await?;
    let own = story::expire(&mut transaction, now_s).await?;
    let expired = own.saturating_add(foreign_story::expire(&mut transaction, now_s).await?);
    transaction.commit().await?;
    let destroyed = agent.vault.expiry.destroy_ended(now_s)?;
    if expired > 0 {
        agent.vault.truncate_log().await?;
        tracing::info!(expired, destroyed, "stories forgotten");
        agent.changed();
    }
    Ok(())
}
