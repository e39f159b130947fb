//! The one clock of the agent: whole seconds since 1970, UTC.
//!
//! A signed time that was seen is a lower bound (endpoint B5): a wall clock that was set back
//! cannot make an expired bundle or story look fresh.
//!
//! A wall clock that jumps against the boot clock is not trusted to destroy anything (K19), until the clocks agree
//! again, or a time that the gateway signed since then agrees with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use gateway_api::v1::events::boot_digest;
use policies::clock::{JUMP_S, Reading, has_jumped};
use policies::terms::{DeviceId, Digest};

use crate::limits::SIGNED_AHEAD_S_MAX;
use crate::vault::Vault;
use crate::vault::setting::{self, Setting};

/// Wall time with a floor taken from signed times.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    floor_s: AtomicU64,
    /// How far the wall clock was ahead of the gateway's when it last answered.
    ahead_s: AtomicU64,
    /// Both clocks when a signed time last agreed with the wall clock.
    agreed: Mutex<Option<Reading>>,
    source: Source,
}

/// A moment as an event tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub boot: Digest,
    pub since_boot_ns: u64,
    /// Unix seconds.
    pub wall_s: u64,
}

/// Where time comes from.
#[derive(Debug, Default)]
enum Source {
    /// The system's clocks.
    #[default]
    System,
    /// A test's own clocks.
    #[cfg(test)]
    Manual(Mutex<Reading>),
}

impl Clock {
    /// Seconds since 1970: the wall clock, or the last signed time when that is later.
    pub(crate) fn now_s(&self) -> u64 {
        self.wall_s().max(self.floor_s.load(Ordering::Relaxed))
    }

    /// Remembers a time that a trusted key signed before.
    pub(crate) fn remember_signed(&self, at_s: u64) {
        self.floor_s.fetch_max(at_s, Ordering::Relaxed);
    }

    /// Remembers the time that the gateway gave with an answer. It bounds nothing: it is only compared.
    pub(crate) fn saw_gateway(&self, at_s: u64) {
        self.ahead_s
            .store(self.wall_s().saturating_sub(at_s), Ordering::Relaxed);
    }

    /// How far the wall clock is ahead of the gateway's, in seconds.
    pub(crate) fn ahead_s(&self) -> u64 {
        self.ahead_s.load(Ordering::Relaxed)
    }

    /// Remembers a time that a trusted key has just signed.
    pub(crate) fn saw_signed(&self, at_s: u64) {
        self.remember_signed(at_s);
        if let Ok(now) = self.reading()
            && now.wall_s.abs_diff(at_s) <= JUMP_S
        {
            *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
    }

    /// How far the wall clock is behind the last signed time, in seconds.
    pub(crate) fn behind_s(&self) -> u64 {
        self.floor_s.load(Ordering::Relaxed).saturating_sub(self.wall_s())
    }

    /// Whether a time that the gateway signed is too far ahead of the wall clock to be kept.
    pub(crate) fn is_far_ahead(&self, at_s: u64) -> bool {
        at_s > self.wall_s().saturating_add(SIGNED_AHEAD_S_MAX)
    }

    /// Whether anything may be destroyed by this clock: it did not jump since it was last held against the boot clock,
    /// over restarts too, or a signed time has agreed with it since; and no signed time is ahead of it (K19).
    ///
    /// # Errors
    /// The store's, or the boot clock cannot be read.
    pub(crate) async fn is_settled(&self, vault: &Vault) -> anyhow::Result<bool> {
        let now = self.reading()?;
        if self.behind_s() > JUMP_S && !self.has_agreed(&now) {
            return Ok(false);
        }
        let mut connection = vault.connection().await?;
        let before = setting::read(&mut connection, &vault.cipher, Setting::Clock).await?;
        let before: Option<Reading> = before
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()
            .context("the clock seen last is damaged")?;
        let jumped = before.as_ref().is_some_and(|before| has_jumped(before, &now));
        if jumped && !self.has_agreed(&now) {
            return Ok(false);
        }
        let is_stale = before.is_none_or(|before| now.wall_s.abs_diff(before.wall_s) >= JUMP_S);
        if jumped || is_stale {
            let reading = serde_json::to_vec(&now)?;
            setting::write(&mut connection, &vault.cipher, Setting::Clock, &reading).await?;
        }
        Ok(true)
    }

    /// Both clocks and the boot as an event tells them (S3).
    ///
    /// # Errors
    /// The boot clock cannot be read.
    pub(crate) fn moment(&self, device: DeviceId) -> anyhow::Result<Moment> {
        Ok(Moment {
            boot: boot_digest(device, &boot_id()),
            since_boot_ns: u64::try_from(boot()?.as_nanos())?,
            wall_s: self.wall_s(),
        })
    }

    /// Whether the wall clock has not moved against the boot clock since a signed time agreed with it.
    fn has_agreed(&self, now: &Reading) -> bool {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.as_ref().is_some_and(|agreed| !has_jumped(agreed, now))
    }

    /// The wall clock alone: what is destroyed, is destroyed by it, once it is settled.
    pub(crate) fn wall_s(&self) -> u64 {
        match &self.source {
            Source::System => wall_s(),
            #[cfg(test)]
            Source::Manual(reading) => reading.lock().unwrap().wall_s,
        }
    }

    fn reading(&self) -> anyhow::Result<Reading> {
        match &self.source {
            Source::System => Ok(Reading {
                boot_id: boot_id(),
                wall_s: wall_s(),
                boot_s: boot()?.as_secs(),
            }),
            #[cfg(test)]
            Source::Manual(reading) => Ok(reading.lock().unwrap().clone()),
        }
    }
}

/// The bare wall clock; before 1970 it reads 0.
pub(crate) fn wall_s() -> u64 {
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

/// Time since boot.
fn boot() -> anyhow::Result<Duration> {
    let time = nix::time::clock_gettime(BOOT_CLOCK).context("cannot read the boot clock")?;
    Ok(Duration::from(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::paths::Paths;

    const START_S: u64 = 1_800_000_000;
    const YEAR_S: u64 = 365 * 86_400;

    impl Clock {
        fn manual() -> Self {
            let reading = Reading {
                boot_id: "test".to_owned(),
                wall_s: START_S,
                boot_s: 1_000,
            };
            Self {
                source: Source::Manual(Mutex::new(reading)),
                ..Self::default()
            }
        }

        fn set(&self, change: impl FnOnce(&mut Reading)) {
            let Source::Manual(reading) = &self.source else {
                panic!("the system's clock cannot be set");
            };
            change(&mut reading.lock().unwrap());
        }
    }

    /// B5
    #[test]
    fn a_wall_clock_behind_a_signed_time_does_not_count() {
        let clock = Clock::default();
        let ahead = wall_s() + 5_000;
        clock.saw_signed(ahead);
        assert!(clock.now_s() >= ahead);
        assert!(clock.behind_s() > 4_000);
    }

    /// B5: a clock that is ahead is told and not corrected.
    #[test]
    fn a_wall_clock_ahead_of_the_gateway_is_seen() {
        let clock = Clock::default();
        clock.saw_gateway(wall_s() - 5_000);
        assert!(clock.ahead_s() >= 5_000);
        assert_eq!(clock.behind_s(), 0);
        clock.saw_gateway(wall_s() + 5_000);
        assert_eq!(clock.ahead_s(), 0);
    }

    /// K19: a year forward or back, over a restart of the agent too; set right again, or confirmed by a signed time.
    #[tokio::test]
    async fn a_clock_that_jumped_destroys_nothing() {
        for forward in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
            let clock = Clock::manual();
            assert!(clock.is_settled(&vault).await.unwrap());
            clock.set(|reading| {
                reading.wall_s += 3_600;
                reading.boot_s += 3_600;
            });
            clock.saw_signed(START_S + 3_600);
            assert!(clock.is_settled(&vault).await.unwrap());

            let jumped_s = if forward {
                START_S + YEAR_S
            } else {
                START_S - YEAR_S
            };
            clock.set(|reading| reading.wall_s = jumped_s);
            assert!(!clock.is_settled(&vault).await.unwrap(), "forward {forward}");
            let restarted = Clock::manual();
            restarted.set(|reading| {
                reading.wall_s = jumped_s;
                reading.boot_s += 3_600;
            });
            assert!(!restarted.is_settled(&vault).await.unwrap(), "forward {forward}");
            // What was signed before the jump, or is far from it, says nothing.
            restarted.saw_signed(START_S + 3_600);
            assert!(!restarted.is_settled(&vault).await.unwrap(), "forward {forward}");

            restarted.saw_signed(jumped_s + 2);
            assert!(restarted.is_settled(&vault).await.unwrap(), "forward {forward}");
        }
    }

    /// K19, B5: a gateway whose clock is ahead makes a device destroy nothing, and its time is not kept.
    #[tokio::test]
    async fn a_signed_time_that_is_ahead_destroys_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let clock = Clock::manual();
        assert!(clock.is_settled(&vault).await.unwrap());
        assert!(clock.is_far_ahead(START_S + YEAR_S));
        assert!(!clock.is_far_ahead(START_S + 120));
        clock.saw_signed(START_S + 120);
        assert!(!clock.is_settled(&vault).await.unwrap());
        clock.set(|reading| {
            reading.wall_s += 100;
            reading.boot_s += 100;
        });
        assert!(clock.is_settled(&vault).await.unwrap());
    }

    /// K19: a clock that is right again needs nobody.
    #[tokio::test]
    async fn a_clock_that_agrees_again_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let clock = Clock::manual();
        assert!(clock.is_settled(&vault).await.unwrap());
        clock.set(|reading| reading.wall_s += YEAR_S);
        assert!(!clock.is_settled(&vault).await.unwrap());
        clock.set(|reading| reading.wall_s -= YEAR_S);
        assert!(clock.is_settled(&vault).await.unwrap());
    }
}
