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

/// Names this boot of this machine: pids and start times mean nothing beyond it.
pub fn machine() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let digest = Sha256::digest(format!("{}\n{host}\n{}", id.trim(), boot_id()));
    digest[..8].iter().map(|b| format!("{b:02x}")).collect()
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
