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
}
