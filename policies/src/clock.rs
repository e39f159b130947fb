//! Whether a wall clock can be trusted: it is held against the clock that counts from the machine's start, which nobody
//! sets (K19).

use serde::{Deserialize, Serialize};

/// Disagreement of wall and boot clock that counts as a jump, seconds: far above slewing between two readings.
pub const JUMP_S: u64 = 60;

/// Both clocks at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Differs from boot to boot.
    pub boot_id: String,
    /// Unix seconds.
    pub wall_s: u64,
    /// Seconds since boot, sleep included.
    pub boot_s: u64,
}

/// Whether `now` cannot follow from `before`: within one boot both clocks advance alike; over a restart of the
/// machine the wall clock at least never goes back.
#[must_use]
pub fn has_jumped(before: &Reading, now: &Reading) -> bool {
    if before.boot_id != now.boot_id || now.boot_s < before.boot_s {
        return now.wall_s.saturating_add(JUMP_S) < before.wall_s;
    }
    let expected_s = before.wall_s.saturating_add(now.boot_s - before.boot_s);
    expected_s.abs_diff(now.wall_s) > JUMP_S
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: &str, wall_s: u64, boot_s: u64) -> Reading {
        Reading {
            boot_id: boot.to_owned(),
            wall_s,
            boot_s,
        }
    }

    /// K19
    #[test]
    fn clocks_that_part_are_a_jump() {
        let before = at("a", 10_000, 100);
        let cases = [
            (at("a", 10_050, 150), false),
            (at("a", 10_050 + JUMP_S, 150), false),
            (at("a", 10_051 + JUMP_S, 150), true),
            (at("a", 9_000, 150), true),
            (at("b", 90_000, 5), false),
            (at("b", 9_000, 5), true),
        ];
        for (now, expected) in cases {
            assert_eq!(has_jumped(&before, &now), expected, "{now:?}");
        }
    }
}
