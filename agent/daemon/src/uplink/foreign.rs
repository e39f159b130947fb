//! Stories that arrive for apps that seal by themselves (A12): judged before anything of them is handed on, kept under
//! the key of their expiry bucket (D4) until the app has them.

use agent_client::{ListId, Story, StoryId};
use agent_seal::{AcceptanceFacts, Delivery, ForeignStory, OpenError, open_foreign};
use gateway_api::receipt::Acceptance;
use policies::clearance::UnverifiedClearance;
use policies::terms::{App, Cti};
use zeroize::Zeroizing;

use super::directory::{self, Follower};
use crate::agent::Agent;
use crate::limits::FOREIGN_WAITING_MAX;
use crate::uplink::device_lists;
use crate::vault::Connection;
use crate::vault::expiry::bucket_of;
use crate::vault::foreign_story::{self, ForeignRow};

const TABLE: &str = "foreign_story";
const ABOUT: &str = "foreign_story_about";

/// A story as the inbox gives it.
#[derive(Clone, Copy)]
pub(crate) struct Delivered<'a> {
    pub list: &'a [u8],
    pub envelope: &'a [u8],
    pub clearance: &'a [u8],
    pub acceptance: &'a [u8],
}

/// Judges a delivery; one that names what the followed log does not hold is judged once more after fetching the log.
/// Inside, why it is not handed on; none is this device's own.
///
/// # Errors
/// The gateway's: the log could not be followed.
pub(crate) async fn judge(
    agent: &Agent,
    follower: &mut Follower,
    delivered: Delivered<'_>,
) -> anyhow::Result<Result<Option<ForeignStory>, String>> {
    let acceptance = match accepted(agent, delivered) {
        Ok(Some(acceptance)) => acceptance,
        Ok(None) => return Ok(Ok(None)),
        Err(reason) => return Ok(Err(reason)),
    };
    let delivery = Delivery {
        envelope: delivered.envelope,
        clearance: delivered.clearance,
        acceptance: &acceptance,
    };
    let me = agent.enrollment.device;
    let open = |follower: &Follower| {
        open_foreign(&delivery, delivered.list, me, follower.directory(), agent.now_s())
    };
    let mut opened = open(follower);
    if opened.as_ref().is_err_and(OpenError::needs_log) {
        directory::follow(agent, follower).await?;
        opened = open(follower);
    }
    Ok(opened.map(Some).map_err(|error| error.to_string()))
}

fn accepted(agent: &Agent, delivered: Delivered<'_>) -> Result<Option<AcceptanceFacts>, String> {
    let acceptance = Acceptance::verify(delivered.acceptance, &agent.pins.acceptance)
        .map_err(|error| error.to_string())?;
    let clearance = UnverifiedClearance::parse(delivered.clearance).map_err(|error| error.to_string())?;
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

/// Keeps a judged story for its app, in the caller's transaction; inside, why not.
///
/// # Errors
/// The store's.
pub(crate) async fn keep(
    agent: &Agent,
    connection: &mut Connection,
    follower: &Follower,
    story: &ForeignStory,
    signed_list: Vec<u8>,
    envelope: &[u8],
) -> anyhow::Result<Result<(), String>> {
    if foreign_story::count(connection).await? >= FOREIGN_WAITING_MAX {
        return Ok(Err(format!("{FOREIGN_WAITING_MAX} wait for their apps already")));
    }
    let list = story.list();
    let learned = device_lists::learn(agent, connection, follower, story.app(), list, signed_list).await;
    if let Err(error) = learned {
        return Ok(Err(format!("{error:#}")));
    }
    let about = about(agent, follower, story, envelope.len())?;
    let (cti, bucket) = (story.cti(), bucket_of(story.expires_s()));
    let cipher = agent.vault.expiry.cipher(bucket)?;
    let row = ForeignRow {
        cti,
        app: story.app(),
        received_at_s: agent.now_s(),
        expires_at_s: story.expires_s(),
        bucket,
        about: &cipher.seal(ABOUT, cti.as_bytes(), &serde_json::to_vec(&about)?)?,
        content: &cipher.seal(TABLE, cti.as_bytes(), envelope)?,
    };
    foreign_story::insert(connection, &row).await?;
    tracing::info!(story = %cti, list = %list.id(), app = %story.app(), "a story for an app received");
    Ok(Ok(()))
}

/// What the app is told of it.
fn about(
    agent: &Agent,
    follower: &Follower,
    story: &ForeignStory,
    size_bytes: usize,
) -> anyhow::Result<Story> {
    let author = follower.directory().device(story.author());
    let person = author.map(|logged| logged.person);
    let person = person.ok_or_else(|| anyhow::anyhow!("a judged story is of an unlogged device"))?;
    Ok(Story {
        story: StoryId(story.cti().to_string()),
        list: ListId(story.list().id().to_string()),
        version: story.list().version(),
        device: story.author().to_string(),
        person: person.to_string(),
        name: agent.name_of(person),
        protocol: story.protocol().to_owned(),
        labels: story.labels().iter().map(ToString::to_string).collect(),
        accepted_at_s: story.accepted_s(),
        expires_at_s: story.expires_s(),
        size_bytes: size_bytes as u64,
    })
}

/// What waits for an app.
///
/// # Errors
/// The store's.
pub(crate) async fn waiting(agent: &Agent, app: &App) -> anyhow::Result<Vec<Story>> {
    let mut connection = agent.vault.connection().await?;
    let rows = foreign_story::waiting(&mut connection, app, agent.now_s()).await?;
    drop(connection);
    let mut stories = Vec::with_capacity(rows.len());
    for row in rows {
        // A bucket's key that is gone took the story with it.
        let Some(cipher) = agent.vault.expiry.existing(row.bucket)? else {
            continue;
        };
        let about = cipher.open(ABOUT, row.cti.as_bytes(), &row.about)?;
        stories.push(serde_json::from_slice(&about)?);
    }
    Ok(stories)
}

/// The bytes of one that waits for an app.
///
/// # Errors
/// The store's.
pub(crate) async fn bytes(agent: &Agent, app: &App, cti: Cti) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut connection = agent.vault.connection().await?;
    let found = foreign_story::content(&mut connection, app, cti, agent.now_s()).await?;
    let Some((bucket, content)) = found else {
        return Ok(None);
    };
    let Some(cipher) = agent.vault.expiry.existing(bucket)? else {
        return Ok(None);
    };
    cipher.open(TABLE, cti.as_bytes(), &content).map(Some)
}

/// The app has it; false if none waited for this app.
///
/// # Errors
/// The store's.
pub(crate) async fn done(agent: &Agent, app: &App, cti: Cti) -> anyhow::Result<bool> {
    let mut connection = agent.vault.connection().await?;
    let had = foreign_story::acknowledge(&mut connection, app, cti).await?;
    drop(connection);
    if had {
        agent.vault.truncate_log().await?;
        agent.changed();
    }
    Ok(had)
}
