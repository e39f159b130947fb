//! Stories that are written together are judged each by itself, in the order in which they came.

use futures_util::future::join_all;
use gateway_api::v1::rejoin::StateMark;

use super::*;
use crate::store::blobs::Blob;
use crate::store::stories::Question;

/// Submits all of them before the writer takes the first.
async fn submit(world: &World, submissions: Vec<Submission>) -> Vec<Result<u64, ErrorCode>> {
    let key = world.gateway.keys.acceptance.verifying_key().to_bytes();
    let key = Ed25519PublicKey::from_bytes(&key).unwrap();
    let answers = join_all(
        submissions
            .into_iter()
            .map(|submission| world.gateway.relay.submit(submission)),
    );
    let sequence = |signed: Vec<u8>| Acceptance::verify(&signed, &key).unwrap().sequence;
    answers
        .await
        .into_iter()
        .map(|answer| answer.map(sequence).map_err(|fault| fault.code))
        .collect()
}

/// K12, K13, M3: what is refused takes no place, and an id counts once.
#[tokio::test]
async fn stories_of_a_batch_are_judged_one_by_one() {
    let world = World::new().await;
    let mut other = world.submission(1, 0);
    other.story.envelope_digest = Digest::of(b"another envelope");
    let batch = vec![
        world.submission(1, 0),
        world.submission(2, 7),
        world.submission(3, 0),
        other,
        world.submission(1, 0),
        world.submission(4, 0),
    ];
    let answers = submit(&world, batch).await;
    assert_eq!(
        answers,
        [
            Ok(1),
            Err(ErrorCode::EpochMoved),
            Ok(2),
            Err(ErrorCode::ReplayRefused),
            Err(ErrorCode::Busy),
            Ok(3),
        ]
    );
    assert_eq!(world.state(2).await, None);
    let log = world
        .gateway
        .store
        .log_behind(group(), device(), 0)
        .await
        .unwrap();
    assert_eq!(
        log.iter().map(|item| item.sequence).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

/// H1: more stories than one statement holds.
#[tokio::test]
async fn large_batch_is_sequenced_whole() {
    let world = World::new().await;
    let batch = (1..=200).map(|number| world.submission(number, 0)).collect();
    let answers = submit(&world, batch).await;
    assert_eq!(answers, (1..=200).map(Ok).collect::<Vec<_>>());
    for number in 1..=200 {
        assert_eq!(world.state(number).await, Some(StoryState::Deliverable));
    }
}

/// M7: a batch sees the marks that its own stories raised.
#[tokio::test]
async fn mark_that_falls_within_a_batch_is_refused() {
    let world = World::new().await;
    let marked = |number, count| Submission {
        mark: Some(StateMark { rejoin: 0, count }),
        ..world.submission(number, 0)
    };
    let answers = submit(
        &world,
        vec![marked(1, 5), marked(2, 4), marked(3, 5), marked(4, 6)],
    )
    .await;
    assert_eq!(answers, [Ok(1), Err(ErrorCode::StateBehind), Ok(2), Ok(3)]);
    let answers = submit(&world, vec![marked(5, 5), world.submission(6, 0)]).await;
    assert_eq!(answers, [Err(ErrorCode::StateBehind), Ok(4)]);
    let mark = world.gateway.store.state_mark(device()).await.unwrap();
    assert_eq!(mark, Some(StateMark { rejoin: 0, count: 6 }));
}

/// A blob belongs to the first story that names it.
#[tokio::test]
async fn blob_is_taken_once_in_a_batch() {
    let world = World::new().await;
    let digest = Digest::of(b"blob");
    let blob = Blob {
        digest,
        object: [9; 16],
        device: device(),
        size_bytes: 4,
        expires_s: START_S + 60,
        wrapped_key: vec![1],
        cti: None,
    };
    assert!(world.gateway.store.add_blob(&blob).await.unwrap());
    let naming = |number| Submission {
        blobs: vec![(digest, vec![2])],
        ..world.submission(number, 0)
    };
    let answers = submit(&world, vec![naming(1), naming(2)]).await;
    assert_eq!(answers, [Ok(1), Err(ErrorCode::BlobMissing)]);
    let taken = world.gateway.store.blob(digest).await.unwrap().unwrap();
    assert_eq!(taken.cti, Some(Cti::from_bytes([1; 16])));
}

/// H1: questions that are answered together get each their own answer.
#[tokio::test]
async fn each_question_of_the_door_has_its_own_answer() {
    let world = World::new().await;
    assert_eq!(submit(&world, vec![world.submission(1, 0)]).await, [Ok(1)]);
    let ask = |number, audience, device| {
        let cti = Cti::from_bytes([number; 16]);
        world.gateway.door.ask(Question {
            cti,
            audience,
            device,
        })
    };
    let (stranger, nowhere) = (DeviceId::from_bytes([7; 16]), AudienceId::from_bytes([8; 16]));
    let answers = join_all([
        ask(1, group(), device()),
        ask(2, group(), device()),
        ask(1, group(), stranger),
        ask(2, nowhere, device()),
    ]);
    let answers: Vec<_> = answers
        .await
        .into_iter()
        .map(|answer| answer.map(|door| (door.known.is_some(), door.audience.is_some(), door.is_member)))
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(
        answers,
        [
            (true, true, true),
            (false, true, true),
            (true, true, false),
            (false, false, false),
        ]
    );
}
