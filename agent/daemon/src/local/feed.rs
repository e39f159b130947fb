//! `feed`: what has arrived, opened for its reader.

use actix_web::web::{Bytes, Data, Json, Query};
use agent_inspect::{Draft, Limits};
use agent_seal::{Manifest, open_blob};
use anyhow::Context as _;

use super::server::Failure;
use super::wait;
use super::wire::{FeedAnswer, FileQuery, FileView, LocalProblem, StoryView, WaitQuery};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::uplink::stories;
use crate::vault::audience;
use crate::vault::story::{self, StoryRow, StoryState};

/// All stories, or the one that is waited for.
pub(crate) async fn feed(agent: Data<Agent>, query: Query<WaitQuery>) -> Result<Json<FeedAnswer>, Failure> {
    let Some(wanted) = query.wait.clone() else {
        return Ok(Json(FeedAnswer {
            stories: views(&agent).await?,
        }));
    };
    let until = query
        .until
        .clone()
        .unwrap_or_else(|| StoryState::Open.as_str().to_owned());
    let found = wait::until(&agent, query.timeout_s, async || {
        let mut stories = views(&agent).await?.into_iter();
        let Some(view) = stories.find(|view| view.story.to_string() == wanted) else {
            return Ok(None);
        };
        if view.state == until {
            return Ok(Some(view));
        }
        if view.state == StoryState::Open.as_str() {
            return Ok(None);
        }
        let message = format!("the story is {}", view.state);
        Err(LocalProblem {
            message,
            help: None,
            exit: Exit::Failed,
        }
        .into())
    });
    Ok(Json(FeedAnswer {
        stories: vec![found.await?],
    }))
}

/// The bytes of one file, fetched and opened.
pub(crate) async fn file(agent: Data<Agent>, query: Query<FileQuery>) -> Result<Bytes, Failure> {
    Ok(fetch(&agent, &query).await?)
}

async fn fetch(agent: &Agent, query: &FileQuery) -> anyhow::Result<Bytes> {
    let row = {
        let mut connection = agent.vault.connection().await?;
        story::by_cti(&mut connection, query.story)
            .await?
            .context("there is no such story here")?
    };
    let manifest = stories::manifest(&agent.vault, &row, agent.now_s())?.context("the story is gone")?;
    let entry = manifest
        .files()
        .get(query.file)
        .context("the story has no such file")?;
    let key = manifest
        .file_key(query.file)
        .context("the story has no such file")?;
    let blob = agent
        .gateway
        .blob(entry.digest())
        .await
        .context("the file cannot be fetched")?;
    let bytes = tokio::task::spawn_blocking(move || open_blob(&key, &blob)).await??;
    Ok(Bytes::copy_from_slice(&bytes))
}

async fn views(agent: &Agent) -> anyhow::Result<Vec<StoryView>> {
    let (rows, audiences) = {
        let mut connection = agent.vault.connection().await?;
        let rows = story::all(&mut connection).await?;
        (rows, audience::all(&mut connection, &agent.vault.cipher).await?)
    };
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        let name = audiences
            .iter()
            .find(|known| known.id == row.audience)
            .and_then(|known| known.name.clone());
        let name = name.unwrap_or_else(|| row.audience.to_string());
        views.push(view(agent, &row, name).await?);
    }
    Ok(views)
}

async fn view(agent: &Agent, row: &StoryRow, audience: String) -> anyhow::Result<StoryView> {
    let now_s = agent.now_s();
    let manifest = stories::manifest(&agent.vault, row, now_s)?;
    let over = row.state == StoryState::Open && row.expires_at_s <= now_s;
    let state = if over { StoryState::Expired } else { row.state };
    let hints = match &manifest {
        Some(manifest) if !row.own => hints(agent, manifest).await?,
        Some(_) | None => Vec::new(),
    };
    Ok(StoryView {
        story: row.cti,
        audience,
        author: manifest
            .as_ref()
            .map(|manifest| agent.name_of(manifest.author_person()))
            .unwrap_or_default(),
        own: row.own,
        received_at_s: row.received_at_s,
        expires_at_s: row.expires_at_s,
        text: manifest.as_ref().map(|manifest| manifest.text().to_owned()),
        files: manifest.as_ref().map(files).unwrap_or_default(),
        state: state.as_str().to_owned(),
        hints,
    })
}

fn files(manifest: &Manifest) -> Vec<FileView> {
    let view = |file: &agent_seal::FileEntry| FileView {
        name: file.name().to_owned(),
        size_bytes: file.size_bytes(),
        sha256: None,
        saved: None,
    };
    manifest.files().iter().map(view).collect()
}

/// What this device's own inspection says about the text (K22): shown to the reader, never sent.
async fn hints(agent: &Agent, manifest: &Manifest) -> anyhow::Result<Vec<String>> {
    let Some(policy) = agent.policy.loaded() else {
        return Ok(Vec::new());
    };
    let draft = Draft::new(manifest.text().to_owned(), Vec::new());
    let hints = tokio::task::spawn_blocking(move || {
        let report = policy.engine.inspect(&draft, &Limits::default());
        report
            .matches()
            .iter()
            .map(|located| format!("{}: {}", located.detector, located.place.sentence()))
            .collect()
    });
    Ok(hints.await?)
}
