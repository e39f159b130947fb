//! `feed`

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use policies::terms::{Cti, Digest};

use super::{Context, duration};
use crate::exit::Exit;
use crate::local::client::{LocalAgent, query};
use crate::local::wire::{self, FeedAnswer, FileQuery, FileView, StoryView, WaitQuery};
use crate::print;

/// Tries for a free name in the folder of saved files.
const NAMES_TRIED_MAX: u32 = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Feed {
    /// Save the files of stories into this folder.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Wait for one story, by its id.
    #[arg(long, value_name = "STORY")]
    wait: Option<Cti>,
    /// The state to wait for.
    #[arg(long, value_parser = ["open", "expired", "revoked"], requires = "wait")]
    until: Option<String>,
    /// How long to wait.
    #[arg(long, value_parser = duration::parse, requires = "wait")]
    timeout: Option<Duration>,
}

impl Feed {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        let asked = WaitQuery {
            wait: self.wait.map(|story| story.to_string()),
            until: self.until,
            timeout_s: self.timeout.map(|timeout| timeout.as_secs()),
        };
        let mut feed: FeedAnswer = agent.get(&query(wire::FEED, &asked)?).await?;
        if let Some(folder) = &self.save {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .context("the folder cannot be made")?;
            for story in feed.stories.iter_mut().filter(|story| story.state == "open") {
                save(&agent, folder, story).await?;
            }
        }
        if context.json {
            print::json(&feed)?;
        } else {
            print::line(&text(&feed));
        }
        Ok(Exit::Done)
    }
}

async fn save(agent: &LocalAgent, folder: &Path, story: &mut StoryView) -> anyhow::Result<()> {
    let id = story.story;
    for (index, file) in story.files.iter_mut().enumerate() {
        let asked = FileQuery {
            story: id,
            file: index,
        };
        let bytes = agent.bytes(&query(wire::FEED_FILE, &asked)?).await?;
        let path = write_new(folder, &safe_name(&file.name), &bytes)?;
        file.sha256 = Some(Digest::of(&bytes));
        file.saved = Some(path.display().to_string());
    }
    Ok(())
}

/// A name that its author chose is never a path, and never what a terminal would obey.
fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe: String = last
        .chars()
        .map(|c| {
            if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) {
                '_'
            } else {
                c
            }
        })
        .collect();
    let safe = safe.trim_start_matches('.').trim();
    if safe.is_empty() {
        "file".to_owned()
    } else {
        safe.to_owned()
    }
}

/// Writes a file that was not there; a taken name gets a number.
fn write_new(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let (stem, end) = name
        .rsplit_once('.')
        .map_or((name, String::new()), |(stem, end)| (stem, format!(".{end}")));
    for number in 1..NAMES_TRIED_MAX {
        let name = if number == 1 {
            name.to_owned()
        } else {
            format!("{stem} ({number}){end}")
        };
        let path = folder.join(name);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(mut file) => {
                file.write_all(bytes)?;
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context("a file cannot be saved"),
        }
    }
    anyhow::bail!("too many files of one name in the folder")
}

fn text(feed: &FeedAnswer) -> String {
    if feed.stories.is_empty() {
        return "nothing has arrived".to_owned();
    }
    feed.stories.iter().map(story).collect::<Vec<_>>().join("\n\n")
}

fn story(view: &StoryView) -> String {
    let who = if view.own {
        "you".to_owned()
    } else {
        view.author.clone()
    };
    let mut text = format!("[{}] {} to {} ({})", view.state, who, view.audience, view.story);
    if let Some(words) = &view.text {
        text.push_str(&format!("\n{words}"));
    }
    text.extend(view.files.iter().map(file));
    text.extend(view.hints.iter().map(|hint| format!("\n  hint: {hint}")));
    text
}

fn file(view: &FileView) -> String {
    let saved = view
        .saved
        .as_ref()
        .map(|path| format!(" saved as {path}"))
        .unwrap_or_default();
    format!("\n  file: {} ({} bytes){saved}", view.name, view.size_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authors_file_name_is_never_a_path() {
        for (name, safe) in [
            ("photo.jpg", "photo.jpg"),
            ("../../.ssh/authorized_keys", "authorized_keys"),
            ("..\\boot.ini", "boot.ini"),
            (".bashrc", "bashrc"),
            ("..", "file"),
            ("a\u{1b}[2Jb", "a_[2Jb"),
        ] {
            assert_eq!(safe_name(name), safe, "{name}");
        }
    }

    #[test]
    fn a_saved_file_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        write_new(folder.path(), "a.txt", b"one").unwrap();
        let second = write_new(folder.path(), "a.txt", b"two").unwrap();
        assert_eq!(second.file_name().unwrap(), "a (2).txt");
        assert_eq!(std::fs::read(folder.path().join("a.txt")).unwrap(), b"one");
    }
}
