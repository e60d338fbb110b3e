//! `cargo xtask pack`: everything that is given out, into `target/pack`.
//!
//! | what | for |
//! | --- | --- |
//! | `claude-code-sync-<version>.tgz` | the gateway: the plugin, with the addons inside |
//! | `npm/<platform>/`, `claude-code-sync-<platform>-<version>.tgz` | one platform's addon, in napi's layout |
//! | `ride-<version>-<triple>.tar.gz` | the terminal |
//! | `marketplace/`, `claude-code-sync-marketplace-<version>.tar.gz` | Claude Code's `plugin marketplace add` |
//! | `SHA256SUMS` | the files above that are sent around |
//!
//! The plugin does not depend on the platform packages: hosts install without npm, or
//! with `--ignore-scripts`, so what it needs is inside. The packages are how a platform's
//! addon travels to where all are put into one plugin (`--gather`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::CommandFactory as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::build::{self, Addon, Built};
use crate::notices;
use crate::platform::{PLATFORMS, Platform};
use crate::versions::{self, VERSION};

/// The shells whose completions are packed, and the files these look for.
const SHELLS: [(&str, &str); 3] = [("bash", "ride.bash"), ("zsh", "_ride"), ("fish", "ride.fish")];

#[derive(clap::Args)]
pub(crate) struct Pack {
    /// Build for this target instead of this machine's
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Build nothing: make one gateway plugin of all platforms' addons below this folder, each
    /// in its package as `pack` made it, and take the archives of `ride` along
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    gather: Option<PathBuf>,
    /// With --gather: let platforms be missing
    #[arg(long, requires = "gather")]
    partial: bool,
}

impl Pack {
    pub(crate) fn run(&self) -> Result<()> {
        let root = build::root();
        versions::check(&root)?;
        let out = build::pack_dir()?;
        match &self.gather {
            None => {
                let platform = self.target.as_deref().map_or_else(Platform::host, Platform::of)?;
                let built = Built::new(platform, self.target.is_some())?;
                let packed = build::plugin(&[Addon { platform, file: built.addon.clone() }], &built.ride)?;
                let mut made = vec![
                    file_name(&packed.plugin)?,
                    package(platform, &built.addon, &out)?,
                    archive(platform, &built.ride, &out)?,
                ];
                made.push(marketplace(&out)?);
                sums(&out, made)?;
                packed.tell();
            }
            Some(from) => {
                // Copied onto itself a file would be empty.
                if from.canonicalize().is_ok_and(|from| from.starts_with(&out) || out.starts_with(from)) {
                    bail!("could not gather from {}: it is where the outcome goes", from.display());
                }
                let found = Found::below(from)?;
                found.complete(self.partial)?;
                let made = gather(&found, &out)?;
                sums(&out, made)?;
                println!("{}", out.display());
            }
        }
        Ok(())
    }
}

/// What a folder of other machines' outcomes has.
#[derive(Default)]
struct Found {
    addons: Vec<Addon>,
    archives: Vec<PathBuf>,
}

impl Found {
    fn below(folder: &Path) -> Result<Found> {
        let mut found = Found::default();
        found.look(folder)?;
        found.addons.sort_by_key(|addon| addon.platform.name);
        found.archives.sort();
        if let Some(pair) = found.addons.windows(2).find(|pair| pair[0].platform == pair[1].platform) {
            bail!(
                "{} is there twice: {} and {}",
                pair[0].platform.name,
                pair[0].file.display(),
                pair[1].file.display()
            );
        }
        Ok(found)
    }

    fn look(&mut self, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = file_name(&path)?;
            if path.is_dir() {
                self.look(&path)?;
            } else if name.ends_with(".node") {
                self.addons.push(checked(path)?);
            } else if PLATFORMS.iter().any(|one| name == archive_name(one) || name == package_name(one)) {
                self.archives.push(path);
            }
        }
        Ok(())
    }

    /// Sees that no platform is missing, the archive included.
    fn complete(&self, partial: bool) -> Result<()> {
        let there = |one: &Platform| {
            let archive = archive_name(one);
            self.addons.iter().any(|addon| addon.platform == one)
                && self.archives.iter().any(|path| path.ends_with(&archive))
        };
        let missing: Vec<&str> = PLATFORMS.iter().filter(|one| !there(one)).map(|one| one.name).collect();
        match missing.is_empty() {
            true => Ok(()),
            false if partial && !self.addons.is_empty() => {
                eprintln!("without {}", missing.join(", "));
                Ok(())
            }
            false => bail!("addon or archive is missing for {}", missing.join(", ")),
        }
    }
}

/// An addon in its package: of this version, and of the platform it says.
fn checked(file: PathBuf) -> Result<Addon> {
    let name = file_name(&file)?;
    let platform = PLATFORMS
        .iter()
        .find(|one| one.addon() == name)
        .with_context(|| format!("{} is the addon of no platform there are packages for", file.display()))?;
    let at = file.with_file_name("package.json");
    let text = fs::read_to_string(&at).with_context(|| format!("could not read {}", at.display()))?;
    let manifest: Value = serde_json::from_str(&text).with_context(|| format!("could not read {}", at.display()))?;
    for (key, expected) in platform.manifest().as_object().expect("it was made as one") {
        if &manifest[key] != expected {
            bail!("{}: {key} is {}, expected {expected}", at.display(), manifest[key]);
        }
    }
    platform.check(&file)?;
    Ok(Addon { platform, file })
}

fn gather(found: &Found, out: &Path) -> Result<Vec<String>> {
    let mut made = vec![build::plugin_of(&found.addons)?];
    for path in &found.archives {
        let name = file_name(path)?;
        if made.contains(&name) {
            bail!("{name} is there twice, once as {}", path.display());
        }
        fs::copy(path, out.join(&name)).with_context(|| format!("could not copy {}", path.display()))?;
        made.push(name);
    }
    made.push(marketplace(out)?);
    Ok(made)
}

/// A platform's package: the folder, and the tarball npm makes of it.
fn package(platform: &Platform, addon: &Path, out: &Path) -> Result<String> {
    platform.check(addon)?;
    let folder = fresh(&out.join("npm").join(platform.name))?;
    copy(addon, &folder.join(platform.addon()))?;
    let text = serde_json::to_string_pretty(&platform.manifest())? + "\n";
    fs::write(folder.join("package.json"), text).context("could not write package.json")?;
    build::licences(&folder)?;
    fs::write(folder.join("THIRD-PARTY.txt"), notices::of(&["ride-node"], &[platform.triple])?)
        .context("could not write THIRD-PARTY.txt")?;
    build::npm_pack(&folder, out)?;
    let name = package_name(platform);
    match out.join(&name).exists() {
        true => Ok(name),
        false => bail!("npm packed {}, but not {name}", folder.display()),
    }
}

fn package_name(platform: &Platform) -> String {
    format!("{}-{VERSION}.tgz", platform.package())
}

/// The archive of `ride`: what it is, how it is read about, what its licences are. Its pages
/// are its own, so it has to run here.
fn archive(platform: &Platform, ride: &Path, out: &Path) -> Result<String> {
    let top = format!("ride-{VERSION}-{}", platform.triple);
    let private = tempfile::tempdir_in(out).context("could not make a staging folder")?;
    let stage = private.path().join(&top);
    for folder in ["man/man1", "completions", "docs"] {
        fs::create_dir_all(stage.join(folder))?;
    }
    let root = build::root();
    copy(ride, &stage.join("ride"))?;
    // With all that they refer to.
    for file in ["README.md", "CHANGELOG.md", "ARCHITECTURE.md"] {
        copy(&root.join(file), &stage.join(file))?;
    }
    for page in fs::read_dir(root.join("docs"))? {
        let page = page?;
        copy(&page.path(), &stage.join("docs").join(page.file_name()))?;
    }
    build::licences(&stage)?;
    fs::write(stage.join("THIRD-PARTY.txt"), notices::of(&["ride"], &[platform.triple])?)?;
    fs::write(stage.join("man/man1/ride.1"), said(ride, &["man"])?)?;
    let command = ride::args::Cli::command();
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        fs::write(stage.join(format!("man/man1/ride-{name}.1")), said(ride, &["man", name])?)?;
        for under in command.get_subcommands() {
            let under = under.get_name();
            fs::write(stage.join(format!("man/man1/ride-{name}-{under}.1")), said(ride, &["man", name, under])?)?;
        }
    }
    for (shell, file) in SHELLS {
        fs::write(stage.join("completions").join(file), said(ride, &["completions", shell])?)?;
    }
    tarred(&stage, &top, &out.join(archive_name(platform)))?;
    Ok(archive_name(platform))
}

fn archive_name(platform: &Platform) -> String {
    format!("ride-{VERSION}-{}.tar.gz", platform.triple)
}

/// What `ride` prints.
fn said(ride: &Path, args: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(ride)
        .args(args)
        .output()
        .with_context(|| format!("could not run {}, and its pages are its own to print", ride.display()))?;
    match output.status.success() && !output.stdout.is_empty() {
        true => Ok(output.stdout),
        false => bail!(
            "{} {args:?} ended with {}: {}",
            ride.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// The marketplace folder, and an archive of it.
fn marketplace(out: &Path) -> Result<String> {
    let folder = fresh(&out.join("marketplace"))?;
    lay_marketplace(&folder)?;
    let name = format!("claude-code-sync-marketplace-{VERSION}.tar.gz");
    tarred(&folder, &format!("claude-code-sync-marketplace-{VERSION}"), &out.join(&name))?;
    Ok(name)
}

/// The marketplace as the repository itself is one, and nothing else of it.
fn lay_marketplace(folder: &Path) -> Result<()> {
    let root = build::root();
    build::copy_tree(&root.join(".claude-plugin"), &folder.join(".claude-plugin"))?;
    let plugin = folder.join("plugins/claude-code");
    build::copy_tree(&root.join("plugins/claude-code"), &plugin)?;
    build::licences(&plugin)
}

/// Writes one line per file, as `sha256sum --check` reads them.
fn sums(out: &Path, mut made: Vec<String>) -> Result<()> {
    made.sort();
    let mut text = String::new();
    for name in &made {
        let bytes = fs::read(out.join(name)).with_context(|| format!("could not read {name}"))?;
        text += &format!("{:x}  {name}\n", Sha256::digest(bytes));
    }
    fs::write(out.join("SHA256SUMS"), text).context("could not write SHA256SUMS")
}

/// A folder as `top` in a `.tar.gz`: the same bytes for the same files, whoever packs them.
fn tarred(folder: &Path, top: &str, to: &Path) -> Result<()> {
    let file = fs::File::create(to).with_context(|| format!("could not write {}", to.display()))?;
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::best()));
    let mut files = Vec::new();
    listed(folder, &mut files)?;
    files.sort();
    for path in files {
        let name = Path::new(top).join(path.strip_prefix(folder).context("it was found below")?);
        let bytes = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(if path.file_name().is_some_and(|name| name == "ride") { 0o755 } else { 0o644 });
        tar.append_data(&mut header, name, bytes.as_slice())?;
    }
    tar.into_inner()?
        .finish()
        .and_then(|file| file.sync_all())
        .with_context(|| format!("could not write {}", to.display()))
}

fn listed(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { listed(&entry.path(), files)? } else { files.push(entry.path()) }
    }
    Ok(())
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("could not empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    Ok(folder.to_path_buf())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(|_| ()).with_context(|| format!("could not copy {} to {}", from.display(), to.display()))
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).with_context(|| format!("{} has no name that is text", path.display()))
}

#[cfg(test)]
mod tests {
    use ride_testkit::peers::{Peer, pinned};

    use super::*;
    use crate::platform::tests::library;

    /// A platform's outcome, as `pack` leaves it.
    fn outcome(below: &Path, platform: &Platform) -> PathBuf {
        let folder = below.join(platform.triple).join("npm").join(platform.name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(platform.addon()), library(platform)).unwrap();
        fs::write(folder.join("package.json"), platform.manifest().to_string()).unwrap();
        fs::write(below.join(platform.triple).join(archive_name(platform)), platform.name).unwrap();
        folder
    }

    fn error(result: Result<Found>) -> String {
        format!("{:#}", result.err().expect("it is refused"))
    }

    #[test]
    fn all_platforms_are_gathered_into_one_plugin() {
        let dir = tempfile::tempdir().unwrap();
        PLATFORMS.iter().for_each(|one| drop(outcome(dir.path(), one)));
        let found = Found::below(dir.path()).unwrap();
        found.complete(false).unwrap();
        assert_eq!((found.addons.len(), found.archives.len()), (PLATFORMS.len(), PLATFORMS.len()));
        let stage = dir.path().join("stage");
        build::lay_plugin(&found.addons, &stage).unwrap();
        let mut inside: Vec<String> = fs::read_dir(stage.join("native"))
            .unwrap()
            .map(|entry| file_name(&entry.unwrap().path()).unwrap())
            .collect();
        inside.sort();
        let mut expected: Vec<String> = PLATFORMS.iter().map(Platform::addon).collect();
        expected.sort();
        assert_eq!(inside, expected);
    }

    #[test]
    fn what_does_not_belong_together_is_not_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path();
        let [x64, arm64, ..] = &PLATFORMS;
        let folder = outcome(below, x64);
        let found = Found::below(below).unwrap();
        assert!(
            found
                .complete(false)
                .unwrap_err()
                .to_string()
                .starts_with("addon or archive is missing for linux-arm64-gnu, linux-x64-musl, ")
        );
        found.complete(true).unwrap();
        assert!(Found::default().complete(true).is_err());

        let addon = folder.join(x64.addon());
        fs::write(&addon, library(arm64)).unwrap();
        assert!(error(Found::below(below)).ends_with("is built for linux arm64 glibc, not for linux-x64-gnu"));
        fs::write(&addon, library(x64)).unwrap();
        let manifest = x64.manifest().to_string();
        fs::write(folder.join("package.json"), manifest.replace(VERSION, "0.0.1")).unwrap();
        assert!(
            error(Found::below(below)).ends_with(&format!("package.json: version is \"0.0.1\", expected {VERSION:?}"))
        );
        fs::write(folder.join("package.json"), manifest).unwrap();
        let twin = outcome(&below.join("again"), x64);
        assert!(error(Found::below(below)).starts_with("linux-x64-gnu is there twice: "));
        fs::remove_dir_all(twin).unwrap();
        fs::write(below.join("claude-code-sync.win32-x64-msvc.node"), "MZ").unwrap();
        assert!(error(Found::below(below)).ends_with("is the addon of no platform there are packages for"));
    }

    #[test]
    fn an_archive_has_the_same_bytes_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("some");
        fs::create_dir_all(folder.join("man")).unwrap();
        fs::write(folder.join("ride"), "#!").unwrap();
        fs::write(folder.join("man/ride.1"), ".TH").unwrap();
        let archives = ["a", "b"].map(|name| {
            let to = dir.path().join(name);
            tarred(&folder, "top", &to).unwrap();
            fs::read(to).unwrap()
        });
        assert_eq!(archives[0], archives[1]);
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archives[0].as_slice()));
        let inside: Vec<(PathBuf, u32)> = tar
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path().unwrap().into_owned(), entry.header().mode().unwrap()))
            .collect();
        assert_eq!(inside, [(PathBuf::from("top/man/ride.1"), 0o644), (PathBuf::from("top/ride"), 0o755)]);
        sums(dir.path(), vec!["b".into(), "a".into()]).unwrap();
        let sum = format!("{:x}", Sha256::digest(&archives[0]));
        assert_eq!(fs::read_to_string(dir.path().join("SHA256SUMS")).unwrap(), format!("{sum}  a\n{sum}  b\n"));
    }

    /// Every pinned Claude Code takes the marketplace and loads the plugin of it.
    #[test]
    fn the_real_claude_code_installs_from_the_marketplace() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("marketplace");
        lay_marketplace(&folder).unwrap();
        let plugin = folder.join("plugins/claude-code");
        for version in &pinned().claude_code {
            let claude = Peer::claude_code(version).entry().unwrap_or_else(|e| panic!("{e}"));
            let home = dir.path().join(version);
            fs::create_dir(&home).unwrap();
            let run = |args: &[&str]| {
                let output = Command::new(&claude)
                    .args(args)
                    .env_clear()
                    .envs([("HOME", home.to_str().unwrap()), ("PATH", "/usr/bin:/bin")])
                    .current_dir(&home)
                    .output()
                    .unwrap();
                let said =
                    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{version} {args:?}: {said}");
                said
            };
            run(&["plugin", "validate", "--strict", folder.to_str().unwrap()]);
            run(&["plugin", "validate", "--strict", plugin.to_str().unwrap()]);
            run(&["plugin", "marketplace", "add", folder.to_str().unwrap()]);
            run(&["plugin", "install", "openclaw-session-sync@claude-code-sync"]);
            let listed = run(&["plugin", "list"]);
            assert!(
                listed.contains(&format!("Version: {VERSION}"))
                    && listed.contains("enabled")
                    && !listed.contains("Error"),
                "{version}: {listed}"
            );
            run(&["plugin", "uninstall", "openclaw-session-sync@claude-code-sync"]);
            run(&["plugin", "marketplace", "remove", "claude-code-sync"]);
        }
    }
}
