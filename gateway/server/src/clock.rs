//! The one clock. The wall clock is what rules and lifetimes go by; the boot clock tells whether it jumped (K19).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use policies::clock::Reading;

/// Wall time, and whether it can be trusted.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    unsettled: AtomicBool,
    source: Source,
}

/// Where time comes from.
#[derive(Debug, Default)]
enum Source {
    /// The system's clocks.
    #[default]
    System,
    /// A test's own clocks.
    #[cfg(test)]
    Manual(std::sync::Mutex<Reading>),
}

impl Clock {
    /// Unix seconds.
    pub(crate) fn now_s(&self) -> u64 {
        match &self.source {
            Source::System => wall_s(),
            #[cfg(test)]
            Source::Manual(reading) => reading.lock().unwrap().wall_s,
        }
    }

    pub(crate) fn reading(&self) -> anyhow::Result<Reading> {
        match &self.source {
            Source::System => Ok(Reading {
                boot_id: boot_id(),
                wall_s: wall_s(),
                boot_s: boot_s()?,
            }),
            #[cfg(test)]
            Source::Manual(reading) => Ok(reading.lock().unwrap().clone()),
        }
    }

    /// Whether the wall clock has jumped and nobody has confirmed it.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Acquire)
    }

    pub(crate) fn set_unsettled(&self, unsettled: bool) {
        self.unsettled.store(unsettled, Ordering::Release);
    }
}

fn wall_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(target_os = "linux")]
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

#[cfg(not(target_os = "linux"))]
fn boot_id() -> String {
    String::new()
}

#[cfg(target_os = "linux")]
const BOOT_CLOCK: nix::time::ClockId = nix::time::ClockId::CLOCK_BOOTTIME;
/// On macOS this clock counts sleep.
#[cfg(not(target_os = "linux"))]
const BOOT_CLOCK: nix::time::ClockId = nix::time::ClockId::CLOCK_MONOTONIC;

fn boot_s() -> anyhow::Result<u64> {
    let time = nix::time::clock_gettime(BOOT_CLOCK).context("cannot read the boot clock")?;
    Ok(u64::try_from(time.tv_sec()).unwrap_or(0))
}

#[cfg(test)]
impl Clock {
    /// A clock that stands until it is moved.
    pub(crate) fn manual(wall_s: u64) -> Self {
        Self {
            unsettled: AtomicBool::default(),
            source: Source::Manual(std::sync::Mutex::new(Reading {
                boot_id: "test".to_owned(),
                wall_s,
                boot_s: 1_000,
            })),
        }
    }

    /// Time passes: both clocks go on.
    pub(crate) fn advance(&self, seconds: u64) {
        let Source::Manual(reading) = &self.source else {
            panic!("the system's clock cannot be moved");
        };
        let mut reading = reading.lock().unwrap();
        reading.wall_s += seconds;
        reading.boot_s += seconds;
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump_to(&self, wall_s: u64) {
        let Source::Manual(reading) = &self.source else {
            panic!("the system's clock cannot be set");
        };
        reading.lock().unwrap().wall_s = wall_s;
    }
}

#[cfg(test)]
mod tests {
    use policies::clock::has_jumped;

    use super::*;

    /// K19: a clock that is set jumps, one that goes on does not.
    #[test]
    fn manual_clock_advances_and_jumps() {
        let clock = Clock::manual(10_000);
        let before = clock.reading().unwrap();
        clock.advance(3_600);
        assert!(!has_jumped(&before, &clock.reading().unwrap()));
        clock.jump_to(10_000 + 365 * 86_400);
        assert!(has_jumped(&before, &clock.reading().unwrap()));
    }
}
