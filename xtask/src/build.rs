//! What is shipped: the addon inside the gateway plugin's tarball, and `ride`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Where the built things are.
pub(crate) struct Packed {
    /// The gateway plugin's tarball.
    pub(crate) plugin: PathBuf,
    /// The command.
    pub(crate) ride: PathBuf,
    /// The addon, in the unpacked package.
    pub(crate) addon: PathBuf,
    /// Removes the unpacked package.
    _stage: TempDir,
}

impl Packed {
    /// Prints both halves, and how each is installed (docs/operations.md).
    pub(crate) fn tell(&self) {
        let (plugin, ride) = (self.plugin.display(), self.ride.display());
        println!("{plugin}\n{ride}");
        eprintln!(
            "\non the gateway (before OpenClaw 2026.8 without --accept-capabilities):\n  \
             openclaw plugins install {plugin} --force --accept-capabilities\n  \
             openclaw config set plugins.entries.claude-code-sync.hooks.allowConversationAccess true\n\
             where you sit:\n  \
             install -m 755 {ride} ~/.local/bin/ && ride doctor"
        );
    }
}

/// The workspace folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Builds in release mode and packs the plugin with the addon of this platform.
pub(crate) fn pack() -> Result<Packed> {
    let root = root();
    run(Command::new(cargo()).current_dir(&root).args(["build", "--quiet", "--release", "--locked", "-p", "ride-node", "-p", "ride"]))?;
    let release = root.join("target/release");
    let pack = root.join("target/pack");
    fs::create_dir_all(&pack)?;
    // Its own folder: two of these may run at once.
    let private = tempfile::tempdir_in(&pack).context("could not make a staging folder")?;
    let stage = private.path().join("claude-code-sync");
    copy_tree(&root.join("plugins/openclaw"), &stage)?;
    fs::remove_file(stage.join("tsconfig.json")).context("could not leave out tsconfig.json")?;
    let built = release.join(if cfg!(target_os = "macos") { "libride_node.dylib" } else { "libride_node.so" });
    let addon = stage.join("native").join(addon_name());
    fs::create_dir_all(stage.join("native"))?;
    fs::copy(&built, &addon).with_context(|| format!("could not copy {}", built.display()))?;
    run(Command::new("npm").current_dir(&stage).args(["pack", "--silent", "--ignore-scripts", "--loglevel=error", "--pack-destination", ".."]).stdout(Stdio::null()))?;
    let name = format!("claude-code-sync-{}.tgz", env!("CARGO_PKG_VERSION"));
    let plugin = pack.join(&name);
    fs::rename(private.path().join(&name), &plugin)
        .with_context(|| format!("npm packed, but not {name}: do the versions agree?"))?;
    Ok(Packed { plugin, ride: release.join("ride"), addon, _stage: private })
}

/// The file name `lib/addon.js` asks for on this platform.
fn addon_name() -> &'static str {
    match (cfg!(target_os = "macos"), cfg!(target_arch = "aarch64"), cfg!(target_env = "musl")) {
        (true, true, _) => "claude-code-sync.darwin-arm64.node",
        (true, false, _) => "claude-code-sync.darwin-x64.node",
        (false, true, true) => "claude-code-sync.linux-arm64-musl.node",
        (false, true, false) => "claude-code-sync.linux-arm64-gnu.node",
        (false, false, true) => "claude-code-sync.linux-x64-musl.node",
        (false, false, false) => "claude-code-sync.linux-x64-gnu.node",
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}
