//! A 4 KB story inspected whole, against a pass over the same memory in the same run (K31: a bar is a ratio).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench says what it measures"
)]

use std::hint::black_box;
use std::time::Instant;

use agent_inspect::{Draft, Engine, Limits};
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "../tests/inspect/company.rs"]
mod company;

const STORY_BYTES: usize = 4_096;
const RUNS: usize = 2_000;

/// Everyday sentences, some with numbers, none with a finding.
fn story() -> String {
    let sentences = "Lunch on the roof at 12:30, bring a friend. The train leaves from platform 7 at 18:04, and \
                     room 4.02 is booked until Friday. We sold 1,284 tickets in 2026, 17 % more than the year before. ";
    sentences.chars().cycle().take(STORY_BYTES).collect()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn p50_ns(mut run: impl FnMut()) -> u128 {
    let mut times: Vec<u128> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn story_against_memory(criterion: &mut Criterion) {
    let engine: Engine = company::engine();
    let draft = Draft::new(story(), Vec::new());
    let limits = Limits::default();
    assert!(engine.inspect(&draft, &limits).matches().is_empty());
    let inspect = p50_ns(|| {
        black_box(engine.inspect(black_box(&draft), &limits));
    });
    let memory = p50_ns(|| {
        black_box(memchr::memchr(b'\0', black_box(draft.text().as_bytes())));
    });
    println!(
        "4 KB story: p50 {inspect} ns; memory pass {memory} ns; ratio {}",
        inspect / memory.max(1)
    );
    criterion.bench_function("inspect a 4 KB story", |b| {
        b.iter(|| engine.inspect(black_box(&draft), &limits))
    });
    criterion.bench_function("pass over 4 KB", |b| {
        b.iter(|| memchr::memchr(b'\0', black_box(draft.text().as_bytes())))
    });
}

criterion_group!(benches, story_against_memory);
criterion_main!(benches);
