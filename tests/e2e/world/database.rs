//! The gateway's database, as a hostile operator would change it while the gateway is down; and a look into an agent's.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

fn with_database<T>(path: &Path, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let result = work(&mut connection).await;
        connection.close().await.unwrap();
        result
    })
}

/// Stories that a database knows, and those of which it holds any bytes.
pub(crate) fn stories_with_ciphertext(path: &Path) -> (i64, i64) {
    with_database(path, async |database| {
        let sql = "SELECT COUNT(*), SUM(envelope IS NOT NULL OR clearance IS NOT NULL OR wrapped_key IS NOT NULL) FROM story";
        sqlx::query_as(sql).fetch_one(database).await.unwrap()
    })
}

/// A key package that some device uploaded.
pub(crate) fn any_key_package(path: &Path) -> Vec<u8> {
    with_database(path, async |database| {
        sqlx::query_scalar("SELECT package FROM key_package ORDER BY id LIMIT 1")
            .fetch_one(database)
            .await
            .unwrap()
    })
}

/// Puts one package in place of all that a device uploaded.
pub(crate) fn replace_key_packages(path: &Path, device: &str, package: &[u8]) {
    let device = hex::decode(device).unwrap();
    with_database(path, async |database| {
        let delete = sqlx::query("DELETE FROM key_package WHERE device = $1").bind(&device);
        assert!(delete.execute(&mut *database).await.unwrap().rows_affected() > 0);
        let insert = "INSERT INTO key_package (device, last_resort, digest, package) VALUES ($1, 1, $2, $3)";
        let digest = policies::terms::Digest::of(package).as_bytes().to_vec();
        sqlx::query(insert)
            .bind(&device)
            .bind(digest)
            .bind(package)
            .execute(database)
            .await
            .unwrap();
    })
}

/// Forgets an audience's handshakes and says how far, as the gateway does 30 days after them.
pub(crate) fn forget_handshakes(path: &Path, audience: &str) {
    let audience = hex::decode(audience).unwrap();
    with_database(path, async |database| {
        let note = "INSERT INTO audience_horizon (audience, sequence) SELECT audience, MAX(sequence) \
                    FROM audience_log WHERE audience = $1 AND kind = 'commit'";
        sqlx::query(note)
            .bind(&audience)
            .execute(&mut *database)
            .await
            .unwrap();
        let forget = "DELETE FROM audience_log WHERE audience = $1 AND kind IN ('commit', 'proposal')";
        sqlx::query(forget)
            .bind(&audience)
            .execute(database)
            .await
            .unwrap();
    })
}

/// Withholds the last commit of an audience.
pub(crate) fn withhold_commit(path: &Path, audience: &str) {
    let audience = hex::decode(audience).unwrap();
    with_database(path, async |database| {
        let withhold = "DELETE FROM audience_log WHERE audience = $1 AND sequence = \
                        (SELECT MAX(sequence) FROM audience_log WHERE audience = $1 AND kind = 'commit')";
        let withheld = sqlx::query(withhold).bind(&audience);
        assert_eq!(withheld.execute(database).await.unwrap().rows_affected(), 1);
    })
}

/// Puts another message into an audience's log in place of its last commit.
pub(crate) fn replace_commit(path: &Path, audience: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let audience = hex::decode(audience).unwrap();
    with_database(path, async |database| {
        let last = "SELECT sequence, message FROM audience_log WHERE audience = $1 AND kind = 'commit' \
                    ORDER BY sequence DESC LIMIT 1";
        let (sequence, mut message) = sqlx::query_as::<_, (i64, Vec<u8>)>(last)
            .bind(&audience)
            .fetch_one(&mut *database)
            .await
            .unwrap();
        change(&mut message);
        let replace =
            sqlx::query("UPDATE audience_log SET message = $3 WHERE audience = $1 AND sequence = $2")
                .bind(&audience)
                .bind(sequence)
                .bind(message);
        assert_eq!(replace.execute(database).await.unwrap().rows_affected(), 1);
    })
}

/// Alters every Welcome that waits for its joiners.
pub(crate) fn spoil_welcomes(path: &Path) {
    with_database(path, async |database| {
        let spoil = r#"UPDATE inbox_shared SET body =
            CAST(replace(CAST(body AS TEXT), '"welcome":"', '"welcome":"AAAA') AS BLOB)"#;
        let spoilt = sqlx::query(spoil).execute(database).await.unwrap();
        assert_eq!(spoilt.rows_affected(), 1);
    });
}

/// The one story of an app that an agent's store holds, as it is stored.
pub(crate) fn app_story(path: &Path) -> Vec<u8> {
    with_database(path, async |database| {
        sqlx::query_scalar("SELECT content FROM foreign_story WHERE content IS NOT NULL")
            .fetch_one(database)
            .await
            .unwrap()
    })
}

/// Puts one story's acceptance in place of another's.
pub(crate) fn swap_acceptance(path: &Path, of: &str, with: &str) {
    let (of, with) = (hex::decode(of).unwrap(), hex::decode(with).unwrap());
    with_database(path, async |database| {
        let swap =
            "UPDATE story SET acceptance = (SELECT acceptance FROM story WHERE cti = $2) WHERE cti = $1";
        let swapped = sqlx::query(swap).bind(of).bind(with);
        assert_eq!(swapped.execute(database).await.unwrap().rows_affected(), 1);
    })
}

/// Alters the signature under a story's acceptance.
pub(crate) fn alter_acceptance(path: &Path, of: &str) {
    let of = hex::decode(of).unwrap();
    with_database(path, async |database| {
        let mut acceptance = sqlx::query_scalar::<_, Vec<u8>>("SELECT acceptance FROM story WHERE cti = $1")
            .bind(&of)
            .fetch_one(&mut *database)
            .await
            .unwrap();
        *acceptance.last_mut().unwrap() ^= 1;
        let alter = sqlx::query("UPDATE story SET acceptance = $2 WHERE cti = $1")
            .bind(of)
            .bind(acceptance);
        assert_eq!(alter.execute(database).await.unwrap().rows_affected(), 1);
    })
}
