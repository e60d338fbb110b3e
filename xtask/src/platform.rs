//! The platforms that packages are made for, as npm, Node and Rust name them.
//!
//! Absent on purpose: Windows. Neither `ride` nor the addon can be built for it
//! (docs/operations.md, What was built where).

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    /// Rust's name.
    pub(crate) triple: &'static str,
    /// napi's name, as `lib/addon.js` makes it from what Node says.
    pub(crate) name: &'static str,
    /// `process.platform`.
    os: &'static str,
    /// `process.arch`.
    cpu: &'static str,
    /// npm's name of the C library, where there are several.
    libc: Option<&'static str>,
}

/// All of them.
pub(crate) const PLATFORMS: [Platform; 6] = [
    Platform {
        triple: "x86_64-unknown-linux-gnu",
        name: "linux-x64-gnu",
        os: "linux",
        cpu: "x64",
        libc: Some("glibc"),
    },
    Platform {
        triple: "aarch64-unknown-linux-gnu",
        name: "linux-arm64-gnu",
        os: "linux",
        cpu: "arm64",
        libc: Some("glibc"),
    },
    Platform {
        triple: "x86_64-unknown-linux-musl",
        name: "linux-x64-musl",
        os: "linux",
        cpu: "x64",
        libc: Some("musl"),
    },
    Platform {
        triple: "aarch64-unknown-linux-musl",
        name: "linux-arm64-musl",
        os: "linux",
        cpu: "arm64",
        libc: Some("musl"),
    },
    Platform { triple: "x86_64-apple-darwin", name: "darwin-x64", os: "darwin", cpu: "x64", libc: None },
    Platform { triple: "aarch64-apple-darwin", name: "darwin-arm64", os: "darwin", cpu: "arm64", libc: None },
];

impl Platform {
    /// The one this program was built for.
    pub(crate) fn host() -> Result<&'static Platform> {
        let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
        let cpu = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let libc = (os == "linux").then_some(if cfg!(target_env = "musl") { "musl" } else { "glibc" });
        let host = PLATFORMS.iter().find(|one| (one.os, one.cpu, one.libc) == (os, cpu, libc));
        host.with_context(|| format!("there are no packages for this machine ({os} {})", std::env::consts::ARCH))
    }

    /// The one of a target triple.
    pub(crate) fn of(triple: &str) -> Result<&'static Platform> {
        let known = || PLATFORMS.map(|one| one.triple).join(", ");
        PLATFORMS
            .iter()
            .find(|one| one.triple == triple)
            .with_context(|| format!("there are no packages for {triple}, only for {}", known()))
    }

    /// The addon's file, as `lib/addon.js` asks for it.
    pub(crate) fn addon(&self) -> String {
        format!("claude-code-sync.{}.node", self.name)
    }

    /// What the build calls the addon.
    pub(crate) fn library(&self) -> &'static str {
        if self.os == "darwin" { "libride_node.dylib" } else { "libride_node.so" }
    }

    pub(crate) fn is_musl(&self) -> bool {
        self.libc == Some("musl")
    }

    /// npm's name of its package.
    pub(crate) fn package(&self) -> String {
        format!("claude-code-sync-{}", self.name)
    }

    /// The package's `package.json`.
    pub(crate) fn manifest(&self) -> Value {
        let mut manifest = json!({
            "name": self.package(),
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!("The addon of claude-code-sync for {}.", self.name),
            "license": "MIT OR Apache-2.0",
            "main": self.addon(),
            "files": [self.addon(), "LICENSE-MIT", "LICENSE-APACHE", "THIRD-PARTY.txt"],
            "os": [self.os],
            "cpu": [self.cpu],
        });
        if let Some(libc) = self.libc {
            manifest["libc"] = json!([libc]);
        }
        manifest
    }

    /// Sees by its first bytes that a file is a library of this platform: a gatherer's
    /// mistake would else be found on somebody's gateway.
    pub(crate) fn check(&self, file: &Path) -> Result<()> {
        let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
        let number = |at: usize, length: usize| {
            bytes
                .get(at..at + length)
                .map(|bytes| bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        let found = match (bytes.get(..4), number(4, 4), number(18, 2)) {
            (Some(b"\x7fELF"), _, Some(62)) => ("linux", "x64"),
            (Some(b"\x7fELF"), _, Some(183)) => ("linux", "arm64"),
            (Some(b"\xcf\xfa\xed\xfe"), Some(0x0100_0007), _) => ("darwin", "x64"),
            (Some(b"\xcf\xfa\xed\xfe"), Some(0x0100_000c), _) => ("darwin", "arm64"),
            _ => bail!("{} is no library of a platform there are packages for", file.display()),
        };
        // The name under which GNU's library, and no other, is asked for.
        let glibc = bytes.windows(10).any(|some| some == b"libc.so.6\0");
        if found != (self.os, self.cpu) || (self.os == "linux" && glibc == self.is_musl()) {
            let libc = if found.0 == "linux" { if glibc { " glibc" } else { " musl" } } else { "" };
            bail!("{} is built for {} {}{libc}, not for {}", file.display(), found.0, found.1, self.name);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As much of a platform's library as is looked at.
    pub(crate) fn library(platform: &Platform) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        if platform.os == "darwin" {
            bytes[..4].copy_from_slice(b"\xcf\xfa\xed\xfe");
            bytes[4..8]
                .copy_from_slice(&(if platform.cpu == "x64" { 0x0100_0007_u32 } else { 0x0100_000c }).to_le_bytes());
        } else {
            bytes[..4].copy_from_slice(b"\x7fELF");
            bytes[18] = if platform.cpu == "x64" { 62 } else { 183 };
            bytes.extend(if platform.is_musl() { b"libc.so\0".as_slice() } else { b"libc.so.6\0" });
        }
        bytes
    }

    #[test]
    fn a_library_is_told_by_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("addon");
        for one in &PLATFORMS {
            std::fs::write(&file, library(one)).unwrap();
            for other in &PLATFORMS {
                assert_eq!(other.check(&file).is_ok(), one == other, "{} as {}", one.name, other.name);
            }
        }
        for foreign in [&b"MZ"[..], b"", b"\x7fELF"] {
            std::fs::write(&file, foreign).unwrap();
            assert!(PLATFORMS.iter().all(|one| one.check(&file).is_err()));
        }
        std::fs::write(&file, library(&PLATFORMS[1])).unwrap();
        let said = PLATFORMS[0].check(&file).unwrap_err().to_string();
        assert!(said.ends_with("is built for linux arm64 glibc, not for linux-x64-gnu"), "{said}");
    }

    #[test]
    fn the_names_are_those_of_npm_and_node() {
        let gnu = Platform::of("x86_64-unknown-linux-gnu").unwrap();
        let manifest = gnu.manifest();
        assert_eq!(
            (gnu.addon().as_str(), &manifest["name"]),
            ("claude-code-sync.linux-x64-gnu.node", &json!("claude-code-sync-linux-x64-gnu"))
        );
        assert_eq!(
            (&manifest["os"], &manifest["cpu"], &manifest["libc"]),
            (&json!(["linux"]), &json!(["x64"]), &json!(["glibc"]))
        );
        assert_eq!(Platform::of("aarch64-apple-darwin").unwrap().manifest().get("libc"), None);
        assert!(
            Platform::of("x86_64-pc-windows-msvc")
                .unwrap_err()
                .to_string()
                .starts_with("there are no packages for x86_64-pc-windows-msvc, only for ")
        );
    }
}
