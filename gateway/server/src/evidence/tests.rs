//! Numbers of a writer that are missing from the ledger (L6): each way to look at it names the first gap.

use serde_json::{Value, json};

use super::verify::verify;
use crate::admin::{self, Command};
use crate::domain::record::Kind;
use crate::domain::search::Filter;
use crate::relay::tests::World;
use crate::store::ledger::verify::verify_folder;

/// A ledger in which two numbers are missing, and the first entry behind them.
async fn world_with_gap() -> (World, u64) {
    let world = World::new().await;
    for _ in 0..3 {
        world.gateway.record(Kind::Person, None, json!({})).await.unwrap();
    }
    let gap = world.gateway.ledger.size();
    world.gateway.ledger.skip_numbers(2);
    world.gateway.record(Kind::Person, None, json!({})).await.unwrap();
    (world, gap)
}

async fn search(world: &World, page: Option<String>, limit: usize) -> Value {
    let command = Command::LogSearch {
        filter: Filter::default(),
        person: None,
        page,
        limit,
    };
    admin::run(&world.gateway, command).await.unwrap().json
}

/// L6, L8
#[tokio::test]
async fn verifier_names_the_first_gap_in_a_writers_numbers() {
    let (world, gap) = world_with_gap().await;
    world.gateway.ledger.publish().await.unwrap();
    let fault = verify_folder(&world.layout.ledger(), None, None).unwrap_err();
    assert_eq!(fault.entry, Some(gap));
    assert_eq!(
        fault.sentence,
        format!(
            "entry {gap}: `gateway-1` numbered this entry {}, and {gap} at most can follow what stands before it: entries \
             that it wrote are missing from the log",
            gap + 2
        )
    );
}

/// L6: a number that is beyond what was left out of the export is missing from the ledger too.
#[tokio::test]
async fn export_with_a_gap_does_not_verify() {
    let (world, gap) = world_with_gap().await;
    let folder = tempfile::tempdir().unwrap();
    for (name, kind) in [("all", None), ("some", Some("person".to_owned()))] {
        let out = folder.path().join(name);
        let filter = Filter {
            kind,
            ..Filter::default()
        };
        let export = Command::LogExport {
            filter,
            person: None,
            out: out.clone(),
        };
        let answer = admin::run(&world.gateway, export).await.unwrap().json;
        assert_eq!(answer["complete"], false);
        assert_eq!(answer["coverage"]["first_gap"]["entry"], gap);
        let fault = verify(&out, None).map(drop).unwrap_err();
        assert_eq!(fault.file, format!("entries/{gap}"));
        assert!(fault.fault.contains("are missing from the log"), "{fault}");
    }
}

/// L6: a search over a ledger that lacks entries is not complete, wherever its pages end.
#[tokio::test]
async fn search_over_a_gap_is_not_complete() {
    let (world, gap) = world_with_gap().await;
    let whole = search(&world, None, 100).await;
    assert_eq!(whole["complete"], false);
    assert_eq!(whole["coverage"]["first_gap"]["entry"], gap);

    let before = search(&world, None, usize::try_from(gap).unwrap()).await;
    assert_eq!(before["coverage"].get("first_gap"), None);
    let next = before["next"].as_str().unwrap().to_owned();
    let behind = search(&world, Some(next), 100).await;
    assert_eq!(behind["coverage"]["from"], gap);
    assert_eq!(behind["coverage"]["first_gap"]["entry"], gap);
}

/// L6: numbers go on over a restart, so a ledger that lacks nothing is complete.
#[tokio::test]
async fn numbers_go_on_after_a_restart() {
    let world = World::new().await.restart().await;
    let whole = search(&world, None, 100).await;
    assert_eq!(whole["complete"], true);
    world.gateway.ledger.publish().await.unwrap();
    verify_folder(&world.layout.ledger(), None, None).unwrap();
}
