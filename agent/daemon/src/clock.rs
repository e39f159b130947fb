//! The one clock of the agent: whole seconds since 1970, UTC.
//!
//! A signed time that was seen is a lower bound (endpoint B5): a wall clock that was set back
//! cannot make an expired bundle or story look fresh.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time with a floor taken from signed times.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    floor_s: AtomicU64,
    /// How far the wall clock was ahead of the gateway's when it last answered.
    ahead_s: AtomicU64,
}

impl Clock {
    /// Seconds since 1970: the wall clock, or the last signed time when that is later.
    pub(crate) fn now_s(&self) -> u64 {
        wall_s().max(self.floor_s.load(Ordering::Relaxed))
    }

    /// Remembers a time that a trusted key signed.
    pub(crate) fn saw_signed(&self, at_s: u64) {
        self.floor_s.fetch_max(at_s, Ordering::Relaxed);
    }

    /// Remembers the time that the gateway gave with an answer. It bounds nothing: it is only compared.
    pub(crate) fn saw_gateway(&self, at_s: u64) {
        self.ahead_s
            .store(wall_s().saturating_sub(at_s), Ordering::Relaxed);
    }

    /// How far the wall clock is ahead of the gateway's, in seconds.
    pub(crate) fn ahead_s(&self) -> u64 {
        self.ahead_s.load(Ordering::Relaxed)
    }

    /// How far the wall clock is behind the last signed time, in seconds.
    pub(crate) fn behind_s(&self) -> u64 {
        self.floor_s.load(Ordering::Relaxed).saturating_sub(wall_s())
    }
}

/// The bare wall clock; before 1970 it reads 0.
pub(crate) fn wall_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
