//! A gateway without the plugin. `ride doctor` tells each missing thing in turn, and
//! the very line it prints mends it, until all is well; then every other way to install.
//!
//! Where a line ends in `openclaw gateway restart`, the story restarts the gateway
//! itself: that command is for one that runs as a service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use super::stage::{TURN, plain, said};
use super::{Facts, Product};
use crate::anthropic::Anthropic;
use crate::error::{Doing, Error, Result};
use crate::gateway::{Family, Gateway};
use crate::telegram::{Person, Place, Telegram};

const FORUM: i64 = -1_002_222_222_222;
const PLUGIN: &str = "claude-code-sync";

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
    let gateway = Gateway::builder(&telegram, &anthropic).version(&product.openclaw).claude_code(&product.claude_code);
    let mut host = Host { product, gateway: gateway.prepare().await? };
    // What a person downloaded; lines name it as it lies in their folder.
    let tarball = host.gateway.home().join(product.plugin.file_name().unwrap_or_default());
    fs::copy(&product.plugin, &tarball).doing(|| format!("copy {}", product.plugin.display()))?;

    host.tells(facts, "a gateway that is not running", "gateway", "could not reach").await?;
    host.gateway.start().await?;
    telegram.wait_until_polled(TURN).await?;
    let line =
        host.tells(facts, "a gateway without the plugin", "plugin", "without the claude-code-sync plugin").await?;
    host.follow(&line).await?;
    let line = host.tells(facts, "hooks that the host holds back", "hooks", "may not see conversations").await?;
    host.follow(&line).await?;
    host.is_well(facts, &format!("after the lines the doctor printed, the last of them `{line}`, all is well")).await?;

    host.removed_and_back(facts, &tarball).await?;
    host.other_ways(facts, &tarball).await?;
    host.without_addon(facts, &tarball).await?;
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    telegram.says(&Person::tess(), &plans, "is anybody there?");
    let answered = telegram.wait_for_bot(&plans, TURN, "is anybody there?").await;
    facts.tell(
        answered.is_ok(),
        "and the gateway answers its channels as ever",
        telegram.chat(&plans).lines().join(" | "),
    );
    Ok(())
}

struct Host<'p> {
    product: &'p Product,
    gateway: Gateway,
}

impl Host<'_> {
    /// The doctor's findings, and its exit code.
    async fn doctor(&self) -> Result<(Vec<Value>, Output)> {
        let ran = tokio::process::Command::new(&self.product.ride)
            .args(["doctor", "--json"])
            .env_clear()
            .envs(self.gateway.environment().iter().map(|(name, value)| (name, value)))
            .env("TERM", "xterm-256color")
            .kill_on_drop(true)
            .output();
        let broke = |cause: String| Error::Peer { what: "ride doctor".into(), said: cause };
        let output = tokio::time::timeout(TURN, ran).await.map_err(|_| broke("no end".into()))?;
        let output = output.map_err(|e| broke(e.to_string()))?;
        let page: Value =
            serde_json::from_slice(&output.stdout).map_err(|e| broke(format!("{e}: {}", said(&output))))?;
        Ok((page["findings"].as_array().cloned().unwrap_or_default(), output))
    }

    /// Tells whether the doctor finds this and nothing else wrong; gives the line it prints.
    async fn tells(&self, facts: &mut Facts, fact: &str, what: &str, says: &str) -> Result<String> {
        let (findings, output) = self.doctor().await?;
        let wrong: Vec<&Value> = findings.iter().filter(|finding| finding["state"] == "wrong").collect();
        let found = matches!(wrong.as_slice(), [one] if one["what"] == what && one["says"].as_str().is_some_and(|text| text.contains(says)));
        facts.tell(found && output.status.code() == Some(1), &format!("ride doctor tells {fact}"), told(&wrong));
        Ok(wrong.first().map_or_else(String::new, |finding| plain(&finding["mend"])))
    }

    async fn is_well(&self, facts: &mut Facts, fact: &str) -> Result<()> {
        let (findings, output) = self.doctor().await?;
        let wrong: Vec<&Value> = findings.iter().filter(|f| f["state"] == "wrong" || f["state"] == "unknown").collect();
        let plugin = findings.iter().find(|finding| finding["what"] == "plugin").map(|finding| plain(&finding["says"]));
        let observed = if wrong.is_empty() { plugin.unwrap_or_default() } else { told(&wrong) };
        facts.tell(wrong.is_empty() && output.status.success(), fact, observed);
        Ok(())
    }

    /// Does what a line says.
    async fn follow(&mut self, line: &str) -> Result<()> {
        let (command, restart) = match line.strip_suffix(" && openclaw gateway restart") {
            Some(command) => (command, true),
            None => (line, false),
        };
        let args: Vec<&str> = command.split(' ').skip(1).collect();
        self.gateway.cli(&args).await?;
        if restart { self.gateway.restart().await } else { self.settled(&args).await }
    }

    /// Runs a command about the plugin in the words of this host, and lets it take effect.
    async fn run(&mut self, args: &[&str]) -> Result<()> {
        let late = self.gateway.family() == Family::Late2026;
        let asks = late && args.iter().any(|arg| *arg == "install" || *arg == "enable");
        let args: Vec<&str> = args.iter().copied().chain(asks.then_some("--accept-capabilities")).collect();
        self.gateway.cli(&args).await?;
        if self.applies_by_itself() { self.settled(&args).await } else { self.gateway.restart().await }
    }

    fn applies_by_itself(&self) -> bool {
        self.gateway.version().starts_with("2026.9")
    }

    /// Waits for a running gateway to have applied a command: the plugin's service starts
    /// after its methods answer, and a changed setting is taken up a while after the command.
    async fn settled(&self, args: &[&str]) -> Result<()> {
        let setting = args.first() == Some(&"config");
        let end = tokio::time::Instant::now() + TURN;
        loop {
            let (findings, _) = self.doctor().await?;
            let starting = findings.iter().any(|f| {
                f["state"] == "wrong"
                    && (f["what"] == "service" || f["what"] == "gateway" || setting && f["what"] == "hooks")
            });
            if !starting || tokio::time::Instant::now() >= end {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    }

    /// Removed, and installed again.
    async fn removed_and_back(&mut self, facts: &mut Facts, tarball: &Path) -> Result<()> {
        self.run(&["plugins", "uninstall", PLUGIN, "--force"]).await?;
        let (findings, _) = self.doctor().await?;
        let plugin = findings.iter().find(|f| f["what"] == "plugin").cloned().unwrap_or_default();
        facts.tell(plugin["state"] == "wrong", "uninstalled, it is gone", plain(&plugin["says"]));
        self.run(&["plugins", "install", &tarball.display().to_string(), "--force"]).await?;
        if self.applies_by_itself() {
            let line = self
                .tells(facts, "that a plugin installed again stays switched off", "plugin", "is switched off")
                .await?;
            self.follow(&line).await?;
        }
        self.allow_conversations().await?;
        self.is_well(facts, "installed again, all is well").await
    }

    /// Uninstalling takes the permission away with the rest of the plugin's settings.
    async fn allow_conversations(&mut self) -> Result<()> {
        let key = format!("plugins.entries.{PLUGIN}.hooks.allowConversationAccess");
        self.run(&["config", "set", &key, "true"]).await
    }

    async fn other_ways(&mut self, facts: &mut Facts, tarball: &Path) -> Result<()> {
        let folder = unpack(tarball, &self.gateway.home().join("unpacked")).await?;
        let newer = repack(tarball, &self.gateway.home().join("newer"), |folder| {
            for file in ["package.json", "openclaw.plugin.json"] {
                let path = folder.join(file);
                let text = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
                let text = text.replacen(
                    &format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION")),
                    "\"version\": \"0.1.99\"",
                    1,
                );
                fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
            }
            Ok(())
        })
        .await?;
        self.run(&["plugins", "install", &newer.display().to_string(), "--force"]).await?;
        let version = self.installed().await?;
        facts.tell(version == "0.1.99", "a newer tarball replaces it in place", format!("installed is {version}"));
        self.is_well(facts, "and the gateway runs with it").await?;
        self.run(&["plugins", "install", &folder.display().to_string(), "--force"]).await?;
        self.is_well(facts, "from a folder, it loads without npm").await?;
        self.run(&["plugins", "install", &format!("npm-pack:{}", tarball.display()), "--force"]).await?;
        self.is_well(facts, "as an npm package (`npm-pack:`), it loads").await?;
        self.run(&["plugins", "uninstall", PLUGIN, "--force"]).await?;
        let folder = folder.display().to_string();
        let mut link = vec!["plugins", "install", "--link", &folder];
        link.extend((self.gateway.family() == Family::Late2026).then_some("--force"));
        self.run(&link).await?;
        self.run(&["plugins", "enable", PLUGIN]).await?;
        self.allow_conversations().await?;
        self.is_well(facts, "linked to a folder, it loads").await
    }

    /// The version the host has on record.
    async fn installed(&self) -> Result<String> {
        let told = self.gateway.cli(&["plugins", "inspect", PLUGIN, "--json"]).await?;
        let json: Value = told.find('{').and_then(|at| serde_json::from_str(&told[at..]).ok()).unwrap_or_default();
        Ok(plain(&json["plugin"]["version"]))
    }

    /// A package that was built for another platform.
    async fn without_addon(&mut self, facts: &mut Facts, tarball: &Path) -> Result<()> {
        let foreign = repack(tarball, &self.gateway.home().join("foreign"), |folder| {
            let native = folder.join("native");
            let addon = fs::read_dir(&native).doing(|| format!("read {}", native.display()))?.flatten().next();
            let addon = addon.map(|entry| entry.path()).unwrap_or_default();
            let other = native.join("claude-code-sync.sunos-sparc.node");
            fs::rename(&addon, other).doing(|| format!("rename {}", addon.display()))
        })
        .await?;
        self.run(&["plugins", "uninstall", PLUGIN, "--force"]).await?;
        let source = foreign.display().to_string();
        let says = "only for sunos-sparc";
        let mut tried = self.run(&["plugins", "install", &source, "--force"]).await;
        if tried.is_ok() {
            tried = self.run(&["plugins", "enable", PLUGIN]).await;
        }
        if self.applies_by_itself() {
            let said = tried.err().map(|e| e.to_string()).unwrap_or_default();
            let line = said.lines().find(|line| line.contains(says)).unwrap_or("it was applied");
            facts.tell(
                said.contains(says),
                "a package that has no addon for this platform is refused by the running host",
                line,
            );
            self.gateway.stop().await;
            self.gateway.cli(&["plugins", "enable", PLUGIN, "--accept-capabilities"]).await?;
            self.gateway.start().await?;
        }
        self.tells(facts, "a package that has no addon for this platform", "plugin", says).await.map(|_| ())
    }
}

fn told(findings: &[&Value]) -> String {
    let lines =
        findings.iter().map(|f| format!("{}: {} → {}", plain(&f["what"]), plain(&f["says"]), plain(&f["mend"])));
    let told: Vec<String> = lines.collect();
    if told.is_empty() { "nothing is wrong".into() } else { told.join(" | ") }
}

/// Unpacks the tarball; gives the package's folder.
async fn unpack(tarball: &Path, into: &Path) -> Result<PathBuf> {
    fs::create_dir_all(into).doing(|| format!("create {}", into.display()))?;
    tar(&["xzf", &tarball.display().to_string(), "-C", &into.display().to_string()]).await?;
    Ok(into.join("package"))
}

/// The tarball with something changed.
async fn repack(tarball: &Path, into: &Path, change: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    change(&unpack(tarball, into).await?)?;
    let packed = into.join(tarball.file_name().unwrap_or_default());
    tar(&["czf", &packed.display().to_string(), "-C", &into.display().to_string(), "package"]).await?;
    Ok(packed)
}

async fn tar(args: &[&str]) -> Result<()> {
    let output = tokio::process::Command::new("tar").args(args).output().await.doing(|| "run tar".into())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Peer { what: format!("tar {}", args.join(" ")), said: said(&output) }),
    }
}
