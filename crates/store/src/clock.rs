//! The one place that looks at the clocks and names this machine.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use ride_core::time::Now;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};

/// Reads the clocks.
pub fn now() -> Now {
    // CLOCK_BOOTTIME counts sleep and cannot be set; elsewhere the closest is monotonic.
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let mono = clock_gettime(clock);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    Now { boot: boot(), mono_ms: mono.tv_sec as u64 * 1000 + mono.tv_nsec as u64 / 1_000_000, wall_ms: wall }
}

/// Names this machine and this boot of it: pids and start times mean nothing beyond it.
pub fn machine() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let short = |text: String| Sha256::digest(text)[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
    match id.trim() {
        // Without an id of its own nothing tells it from another machine but its boot.
        "" => short(format!("{host}\n{}", boot_id())),
        id => format!("{}.{}", short(format!("{id}\n{host}")), short(boot_id())),
    }
}

/// Whether a name is of this machine before it was started again: nothing of then runs.
pub(crate) fn earlier_boot(name: &str) -> bool {
    let now = machine();
    match (name.split_once('.'), now.split_once('.')) {
        (Some((machine, boot)), Some((here, this))) => machine == here && boot != this,
        _ => false,
    }
}

/// The user this process runs as.
pub fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Which boot of this machine it is.
pub(crate) fn boot() -> u64 {
    static BOOT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BOOT.get_or_init(|| {
        let digest = Sha256::digest(boot_id());
        // 53 bits: the number passes through JavaScript.
        u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes")) >> 11
    })
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_before_the_machine_was_started_again_is_known_to_be_gone() {
        let now = machine();
        let Some((here, _)) = now.split_once('.') else { return };
        assert!(earlier_boot(&format!("{here}.0000000000000000")));
        for other in [now.as_str(), "0000000000000000.0000000000000000", "elsewhere", here] {
            assert!(!earlier_boot(other), "{other}");
        }
    }
}
