//! M9: what a commit costs in an audience of 1,000 devices: after a bulk add, where it pays for each leaf, and after
//! one self-update in each subtree beside the poster's leaf, largest first. Prints bytes, times and their ratio, and fails
//! if a warm commit is larger than it may be.
//!
//! `cargo bench -p agent-seal --bench warm_up [-- --devices 1000]`
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench reads clocks, prints its figures and stops at the first failure"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_seal::{DeviceSigner as _, FileDeviceKey, Member, MembershipChange, Processed, StagedCommit};
use policies::directory::{Directory, DirectoryEntry};
use policies::keys::Ed25519PublicKey;
use policies::roster::Roster;
use policies::terms::{AudienceClass, AudienceId, DeviceId, PersonId, TenantId};

const AUDIENCE: AudienceId = AudienceId::from_bytes([0xA0; 16]);
const PERSON: PersonId = PersonId::from_bytes([1; 16]);
const DEVICES: usize = 1_000;
/// Largest commit of the poster in a warm tree of so many devices.
const COMMIT_BYTES_MAX: usize = 2_048;
/// Commits whose times are taken; the median is printed.
const ROUNDS: usize = 21;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn device(number: usize, directory: &mut Directory) -> Member {
    let id = DeviceId::from_bytes((number as u128).to_be_bytes());
    let key = FileDeviceKey::generate(id, &mut rand::rng()).unwrap();
    // The Ed25519 base point: a key whose private half nobody needs here.
    let mut gateway = [0x66; 32];
    gateway[0] = 0x58;
    let entry = DirectoryEntry::DeviceAdd {
        device: id,
        person: PERSON,
        key: key.public_key().to_sec1(),
        class: AudienceClass::Internal,
        at_s: now_s(),
    };
    directory.apply(directory.size(), &entry).unwrap();
    let tenant = TenantId::parse("acme").unwrap();
    let gateway = Ed25519PublicKey::from_bytes(&gateway).unwrap();
    Member::create(tenant, gateway, &key, &mut rand::rng()).unwrap()
}

/// Who commits in the course of it: the first leaf of each subtree beside leaf 0, largest first.
fn renewing(devices: usize) -> Vec<usize> {
    let mut leaves: Vec<usize> = (0..usize::BITS)
        .map(|height| 1_usize << height)
        .take_while(|leaf| *leaf < devices)
        .collect();
    leaves.reverse();
    leaves
}

/// Stages self-updates and discards all but the last; the median of their times.
fn self_update(member: &mut Member, directory: &Directory) -> (StagedCommit, Duration) {
    let mut times = Vec::with_capacity(ROUNDS);
    loop {
        let start = Instant::now();
        let staged = member.stage_self_update(AUDIENCE, directory).unwrap();
        times.push(start.elapsed());
        if times.len() == ROUNDS {
            times.sort();
            return (staged, times.swap_remove(ROUNDS / 2));
        }
        member.discard_staged(AUDIENCE).unwrap();
    }
}

fn follow(member: &mut Member, commit: &[u8], directory: &Directory) -> Duration {
    let start = Instant::now();
    let processed = member.process(AUDIENCE, commit, directory).unwrap();
    let Processed::CommitApplied { .. } = processed else {
        panic!("the commit was not applied");
    };
    start.elapsed()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--devices");
    let devices = arguments.nth(1).map_or(DEVICES, |count| count.parse().unwrap());
    let mut directory = Directory::new();
    let mut poster = device(0, &mut directory);
    let roster = Roster {
        owners: [PERSON].into(),
        persons: [PERSON].into(),
    };
    poster.create_audience(AUDIENCE, &roster, &directory).unwrap();
    let renewing = renewing(devices);
    let (mut active, mut packages) = (Vec::new(), Vec::new());
    for number in 1..devices {
        let mut member = device(number, &mut directory);
        packages.push(member.key_packages(1, now_s()).unwrap().remove(0));
        if renewing.contains(&number) {
            active.push(member);
        }
    }
    let change = MembershipChange {
        add: packages,
        ..MembershipChange::default()
    };
    let start = Instant::now();
    let added = poster
        .stage_membership(AUDIENCE, &change, &directory, now_s())
        .unwrap();
    let adding = start.elapsed();
    poster.merge_staged(AUDIENCE).unwrap();
    let welcome = added.welcome.unwrap();
    println!(
        "bulk add of {}: commit {} B, welcome {} B, tree {} B (sent once each, M10), {:.0} ms",
        devices - 1,
        added.commit.len(),
        welcome.len(),
        added.ratchet_tree.len(),
        milliseconds(adding),
    );
    let start = Instant::now();
    for member in &mut active {
        member.join(&welcome, &added.ratchet_tree, &directory).unwrap();
    }
    println!(
        "join: {:.0} ms each",
        milliseconds(start.elapsed()) / active.len() as f64
    );

    let (cold, cold_time) = self_update(&mut poster, &directory);
    poster.discard_staged(AUDIENCE).unwrap();
    for index in (0..active.len()).rev() {
        let staged = active[index].stage_self_update(AUDIENCE, &directory).unwrap();
        active[index].merge_staged(AUDIENCE).unwrap();
        let processed = follow(&mut poster, &staged.commit, &directory);
        for (other, member) in active.iter_mut().enumerate() {
            if other != index {
                follow(member, &staged.commit, &directory);
            }
        }
        println!(
            "renewal by leaf {}: {} B, processed in {:.1} ms",
            1_usize << index,
            staged.commit.len(),
            milliseconds(processed),
        );
    }
    let (warm, warm_time) = self_update(&mut poster, &directory);
    println!(
        "commit of the poster: cold {} B, {:.1} ms; warm {} B, {:.1} ms; ratio {:.3} in bytes, {:.3} in time",
        cold.commit.len(),
        milliseconds(cold_time),
        warm.commit.len(),
        milliseconds(warm_time),
        warm.commit.len() as f64 / cold.commit.len() as f64,
        warm_time.as_secs_f64() / cold_time.as_secs_f64(),
    );
    println!(
        "what one such commit uploads: {} B (commit and GroupInfo)",
        warm.commit.len() + warm.group_info.len()
    );
    let (found, most) = (warm.commit.len(), COMMIT_BYTES_MAX);
    assert!(
        devices > DEVICES || found <= most,
        "M9: a warm commit has {found} B, and {most} B at most"
    );
}
