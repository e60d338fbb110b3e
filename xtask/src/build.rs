//! What is shipped: the addon inside the gateway plugin's tarball, and `ride`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::notices;
use crate::platform::Platform;
use crate::versions::{self, VERSION};

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
             install -D -m 755 {ride} ~/.local/bin/ride && ride doctor"
        );
    }
}

/// The workspace folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_path_buf()
}

/// What was built for one platform.
pub(crate) struct Built {
    pub(crate) addon: PathBuf,
    pub(crate) ride: PathBuf,
}

impl Built {
    /// Builds in release mode: for this machine as ever, or with the target named.
    pub(crate) fn new(platform: &Platform, named: bool) -> Result<Built> {
        let root = root();
        let build = |package: &str| {
            let mut command = Command::new(cargo());
            command.current_dir(&root).args(["build", "--quiet", "--release", "--locked"]);
            if named {
                command.args(["--target", platform.triple]);
            }
            command.args(["-p", package]);
            command
        };
        let out = root.join("target").join(if named { platform.triple } else { "" }).join("release");
        if platform.is_musl() {
            // musl is linked in unless told otherwise: right for `ride`, and no library at all
            // comes out of that for Node to load.
            let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", platform.triple.to_uppercase().replace('-', "_"));
            run(build("ride-node").env(flags, "-C target-feature=-crt-static"))?;
            run(&mut build("ride"))?;
        } else {
            run(build("ride-node").args(["-p", "ride"]))?;
        }
        Ok(Built { addon: out.join(platform.library()), ride: out.join("ride") })
    }
}

/// An addon, and where it is.
pub(crate) struct Addon {
    pub(crate) platform: &'static Platform,
    pub(crate) file: PathBuf,
}

/// Builds in release mode and packs the plugin with the addon of this platform.
pub(crate) fn pack() -> Result<Packed> {
    versions::check(&root())?;
    let platform = Platform::host()?;
    let built = Built::new(platform, false)?;
    plugin(&[Addon { platform, file: built.addon }], &built.ride)
}

/// Where the packed things go.
pub(crate) fn pack_dir() -> Result<PathBuf> {
    let pack = root().join("target/pack");
    fs::create_dir_all(&pack).with_context(|| format!("could not make {}", pack.display()))?;
    Ok(pack)
}

/// Packs the plugin with these addons inside.
pub(crate) fn plugin(addons: &[Addon], ride: &Path) -> Result<Packed> {
    let pack = pack_dir()?;
    // Its own folder: two of these may run at once.
    let private = tempfile::tempdir_in(&pack).context("could not make a staging folder")?;
    let stage = private.path().join("claude-code-sync");
    lay_plugin(addons, &stage)?;
    npm_pack(&stage, private.path())?;
    let name = format!("claude-code-sync-{VERSION}.tgz");
    let plugin = pack.join(&name);
    fs::rename(private.path().join(&name), &plugin).with_context(|| format!("npm packed, but not {name}"))?;
    let addon = stage.join("native").join(addons.first().context("there is no addon to pack")?.platform.addon());
    Ok(Packed { plugin, ride: ride.to_path_buf(), addon, _stage: private })
}

/// The same where no `ride` belongs to it; gives the tarball's name.
pub(crate) fn plugin_of(addons: &[Addon]) -> Result<String> {
    let packed = plugin(addons, Path::new(""))?;
    let name = packed.plugin.file_name().and_then(|name| name.to_str());
    Ok(name.expect("it was made of text").to_owned())
}

/// Lays out the plugin's package.
pub(crate) fn lay_plugin(addons: &[Addon], stage: &Path) -> Result<()> {
    copy_tree(&root().join("plugins/openclaw"), stage)?;
    fs::remove_file(stage.join("tsconfig.json")).context("could not leave out tsconfig.json")?;
    licences(stage)?;
    let native = stage.join("native");
    fs::create_dir_all(&native)?;
    for Addon { platform, file } in addons {
        fs::copy(file, native.join(platform.addon())).with_context(|| format!("could not copy {}", file.display()))?;
    }
    let triples: Vec<&str> = addons.iter().map(|addon| addon.platform.triple).collect();
    fs::write(stage.join("THIRD-PARTY.txt"), notices::of(&["ride-node"], &triples)?)
        .context("could not write THIRD-PARTY.txt")
}

/// Our own licences.
pub(crate) fn licences(to: &Path) -> Result<()> {
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        fs::copy(root().join(file), to.join(file))
            .with_context(|| format!("could not copy {file} to {}", to.display()))?;
    }
    Ok(())
}

/// Has npm make a package's tarball; no script of any package runs.
pub(crate) fn npm_pack(package: &Path, to: &Path) -> Result<()> {
    let args = ["pack", "--silent", "--ignore-scripts", "--loglevel=error", "--pack-destination"];
    run(Command::new("npm").current_dir(package).args(args).arg(to).stdout(Stdio::null()))
}

pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
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
