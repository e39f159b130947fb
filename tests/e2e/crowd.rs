//! Many devices in one audience: who commits at the same time, and who is asked to after a bulk add.

use std::str::FromStr as _;

use gateway_api::v1::sync::GroupBody;
use policies::terms::AudienceId;

use crate::world::World;

fn audience(world: &World, name: &str) -> AudienceId {
    let list = world.agent("Alice", ["audience", "list"]).succeeded().json();
    let audiences = list["audiences"].as_array().unwrap();
    let found = audiences
        .iter()
        .find(|audience| audience["name"] == name)
        .unwrap();
    AudienceId::from_str(found["audience"].as_str().unwrap()).unwrap()
}

/// A world with these people and Alice in the audience `all`.
fn with_crowd(names: &[&str]) -> World {
    let mut world = World::new();
    world.employ("Alice", "employees");
    for name in names {
        world.employ(name, "employees");
    }
    let people = names.iter().flat_map(|name| ["--with", name]);
    let create = ["audience", "create", "all"].into_iter().chain(people);
    world.agent("Alice", create).succeeded();
    world
}

/// M2, M12: everybody's first story of the day needs a commit, all at once; one wins each epoch, the others try
/// again, and every story arrives everywhere.
#[test]
fn devices_that_commit_at_once_all_settle() {
    let names = ["Bob", "Carl", "Dora", "Emil"];
    let world = with_crowd(&names);
    let first = world.share("Alice", "all", "good morning");
    for name in names {
        world.received(name, &first);
    }
    let world = &world;
    let stories: Vec<(&str, String)> = std::thread::scope(|scope| {
        let sharing: Vec<_> = names
            .iter()
            .map(|name| {
                (
                    *name,
                    scope.spawn(move || world.share(name, "all", &format!("from {name}"))),
                )
            })
            .collect();
        sharing
            .into_iter()
            .map(|(name, story)| (name, story.join().unwrap()))
            .collect()
    });
    for (_, story) in &stories {
        for reader in names.iter().chain(&["Alice"]) {
            world.received(reader, story);
        }
    }
    // One commit to add them, and one of each.
    let is_commit = |item: &&GroupBody| matches!(item, GroupBody::Commit { .. });
    world.device("Alice").log_until(audience(world, "all"), |items| {
        items.iter().filter(is_commit).count() > names.len()
    });
}

/// M9: after a bulk add the gateway asks one device of each larger subtree beside the poster's leaf, and they commit.
#[test]
fn bulk_add_is_followed_by_commits_of_those_who_were_asked() {
    let names = ["Bob", "Carl", "Dora", "Emil", "Fay", "Gus", "Hal", "Ida"];
    let world = with_crowd(&names);
    let group = audience(&world, "all");
    let is_commit = |item: &&GroupBody| matches!(item, GroupBody::Commit { .. });
    // Nine leaves: the addition, then subtrees of leaves 4 to 7 and 2 to 3; leaf 8 stands alone.
    let items = world
        .device("Alice")
        .log_until(group, |items| items.iter().filter(is_commit).count() >= 3);
    assert_eq!(items.iter().filter(is_commit).count(), 3);
    let story = world.share("Alice", "all", "welcome, all of you");
    for name in names {
        world.received(name, &story);
    }
}
