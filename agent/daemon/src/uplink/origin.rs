//! Where this agent runs, as digests (E7): two copies of one folder run in two places.

use gateway_api::v1::renew::{Origin, origin_digest};
use policies::terms::DeviceId;

/// The operating system's own id, made at its installation.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// Differs from start to start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What this platform tells; what it does not is left out, and the status says so.
pub(crate) fn of(device: DeviceId) -> Origin {
    let digest = |id: String| origin_digest(device, &id);
    Origin {
        machine: machine_id().map(digest),
        boot: read(BOOT_ID).map(digest),
    }
}

/// The operating system's id of this machine.
pub(crate) fn machine_id() -> Option<String> {
    MACHINE_IDS.iter().copied().find_map(read)
}

/// Digits and letters alone: an id that is not made yet is written as a word with a line end or as nothing.
fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let id = text.trim();
    (id.len() >= 32).then(|| id.to_owned())
}

/// The host's name.
///
/// # Errors
/// The system does not tell.
pub(crate) fn host() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname()?;
    name.into_string()
        .map_err(|_| anyhow::anyhow!("this device's host name is no text"))
}

/// The machine's serial number.
///
/// # Errors
/// Only root may read it.
pub(crate) fn serial() -> anyhow::Result<String> {
    use anyhow::Context as _;
    std::fs::read_to_string("/sys/class/dmi/id/product_serial").context(
        "the token is bound to a serial number, which cannot be read here\n  help: enrol as root, or ask for a token that is bound to the host's name: sealgate token add --host NAME",
    )
}
