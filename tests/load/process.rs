//! What a process uses, from `/proc`.

use std::fs;
use std::time::Duration;

/// Ticks per second in `/proc/PID/stat`: USER_HZ, 100 on every architecture that Rust's std supports on Linux.
const TICKS_PER_S: u64 = 100;

/// CPU time that a process (`self` for this one) has used, in user and kernel mode; none where there is no `/proc`.
pub(crate) fn cpu(process: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The fields after the name in brackets start with the third of proc_pid_stat(5); utime and stime are 14 and 15.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields
        .split_ascii_whitespace()
        .skip(11)
        .map_while(|field| field.parse::<u64>().ok());
    let ticks = times.next()?.checked_add(times.next()?)?;
    Some(Duration::from_millis(ticks * (1_000 / TICKS_PER_S)))
}

/// CPU time since an earlier reading.
pub(crate) fn cpu_since(process: &str, before: Option<Duration>) -> Option<Duration> {
    Some(cpu(process)?.saturating_sub(before?))
}

/// Memory of a process in RAM; none where there is no `/proc`.
pub(crate) fn resident_bytes(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1_024)
}

/// Load averages of the machine over 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let three: Vec<&str> = text.split_ascii_whitespace().take(3).collect();
    if three.is_empty() {
        "unknown".to_owned()
    } else {
        three.join(" ")
    }
}
