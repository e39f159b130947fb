//! Stories that arrived for apps that seal by themselves, until the app has them or they end (A12, D4).

use policies::terms::{App, Cti};
use sqlx::Row as _;

use super::{Connection, from_row, id16, to_row};

/// A story that waits for its app; `about` is ciphertext.
#[derive(Debug, Clone)]
pub(crate) struct WaitingRow {
    pub cti: Cti,
    pub bucket: u64,
    pub about: Vec<u8>,
}

/// A story to be kept; `about` and `content` are ciphertext.
#[derive(Debug, Clone)]
pub(crate) struct ForeignRow<'a> {
    pub cti: Cti,
    pub app: &'a App,
    pub received_at_s: u64,
    pub expires_at_s: u64,
    pub bucket: u64,
    pub about: &'a [u8],
    pub content: &'a [u8],
}

/// Keeps a story; one that came before stays as it is, taken or not (K15).
pub(crate) async fn insert(connection: &mut Connection, story: &ForeignRow<'_>) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO foreign_story (cti, app, received_at_s, expires_at_s, bucket, about, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (cti) DO NOTHING",
    )
    .bind(story.cti.as_bytes().as_slice())
    .bind(story.app.as_str())
    .bind(to_row(story.received_at_s))
    .bind(to_row(story.expires_at_s))
    .bind(to_row(story.bucket))
    .bind(story.about)
    .bind(story.content)
    .execute(connection)
    .await?;
    Ok(())
}

/// How many wait, for all apps.
pub(crate) async fn count(connection: &mut Connection) -> anyhow::Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM foreign_story WHERE content IS NOT NULL")
        .fetch_one(connection)
        .await?;
    Ok(row.get(0))
}

/// Those that wait for an app and have not ended, oldest first.
pub(crate) async fn waiting(
    connection: &mut Connection,
    app: &App,
    now_s: u64,
) -> anyhow::Result<Vec<WaitingRow>> {
    let rows = sqlx::query(
        "SELECT cti, bucket, about FROM foreign_story
         WHERE app = $1 AND about IS NOT NULL AND expires_at_s > $2 ORDER BY received_at_s, cti",
    )
    .bind(app.as_str())
    .bind(to_row(now_s))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(WaitingRow {
                cti: Cti::from_bytes(id16(row.get(0))?),
                bucket: from_row(row.get(1)),
                about: row.get(2),
            })
        })
        .collect()
}

/// Bucket and encrypted bytes of one that waits for an app and has not ended.
pub(crate) async fn content(
    connection: &mut Connection,
    app: &App,
    cti: Cti,
    now_s: u64,
) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
    let row = sqlx::query(
        "SELECT bucket, content FROM foreign_story
         WHERE cti = $1 AND app = $2 AND content IS NOT NULL AND expires_at_s > $3",
    )
    .bind(cti.as_bytes().as_slice())
    .bind(app.as_str())
    .bind(to_row(now_s))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (from_row(row.get(0)), row.get(1))))
}

/// The app has it; false if none waited for this app.
pub(crate) async fn acknowledge(connection: &mut Connection, app: &App, cti: Cti) -> anyhow::Result<bool> {
    let done = sqlx::query(
        "UPDATE foreign_story SET about = NULL, content = NULL
         WHERE cti = $1 AND app = $2 AND content IS NOT NULL",
    )
    .bind(cti.as_bytes().as_slice())
    .bind(app.as_str())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Its author took it back.
pub(crate) async fn close(connection: &mut Connection, cti: Cti) -> anyhow::Result<()> {
    sqlx::query("UPDATE foreign_story SET about = NULL, content = NULL WHERE cti = $1")
        .bind(cti.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets those whose time is over; how many there were.
pub(crate) async fn expire(connection: &mut Connection, now_s: u64) -> anyhow::Result<u64> {
    let done = sqlx::query("DELETE FROM foreign_story WHERE expires_at_s <= $1")
        .bind(to_row(now_s))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// When the next one ends.
pub(crate) async fn next_expiry(connection: &mut Connection) -> anyhow::Result<Option<u64>> {
    let row = sqlx::query("SELECT MIN(expires_at_s) FROM foreign_story")
        .fetch_one(connection)
        .await?;
    Ok(row.get::<Option<i64>, _>(0).map(from_row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::paths::Paths;
    use crate::vault::Vault;

    const END_S: u64 = 100;

    fn app(name: &str) -> App {
        App::parse(name).unwrap()
    }

    async fn arrives(connection: &mut Connection, number: u8) -> Cti {
        let cti = Cti::from_bytes([number; 16]);
        let story = ForeignRow {
            cti,
            app: &app("courier"),
            received_at_s: 1,
            expires_at_s: END_S,
            bucket: END_S,
            about: b"about",
            content: b"sealed",
        };
        insert(connection, &story).await.unwrap();
        cti
    }

    /// A12, D4, K15: a story waits for its app until it is taken, taken back or over, and never comes a second time.
    #[tokio::test]
    async fn a_story_waits_for_its_app_alone_and_comes_once() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let mut connection = vault.connection().await.unwrap();
        let (taken, taken_back) = (
            arrives(&mut connection, 1).await,
            arrives(&mut connection, 2).await,
        );
        arrives(&mut connection, 3).await;
        assert!(!acknowledge(&mut connection, &app("other"), taken).await.unwrap());
        assert!(
            acknowledge(&mut connection, &app("courier"), taken)
                .await
                .unwrap()
        );
        close(&mut connection, taken_back).await.unwrap();
        for number in 1..=3 {
            arrives(&mut connection, number).await;
        }
        let waits = async |connection: &mut Connection, name, now_s| {
            waiting(connection, &app(name), now_s).await.unwrap().len()
        };
        assert_eq!(waits(&mut connection, "courier", END_S - 1).await, 1);
        assert_eq!(waits(&mut connection, "other", END_S - 1).await, 0);
        assert_eq!(waits(&mut connection, "courier", END_S).await, 0);
        assert_eq!(next_expiry(&mut connection).await.unwrap(), Some(END_S));
        assert_eq!(expire(&mut connection, END_S).await.unwrap(), 3);
        assert_eq!(count(&mut connection).await.unwrap(), 0);
    }
}
