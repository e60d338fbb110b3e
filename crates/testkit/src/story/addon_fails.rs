//! The addon throws, one export after the other, under a ride: the gateway stays up, no turn
//! runs on the ridden Claude session, and nobody's message disappears without a word.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::stage::{Stage, TURN};
use super::{Facts, Product};
use crate::error::{Doing as _, Error, Result};
use crate::telegram::{Person, Place};
use crate::wait::{poll_until, settled};

const FORUM: i64 = -1_002_222_222_222;
/// As crates/node/src/lib.rs exports them; a test below holds that they are all.
const EXPORTS: [&str; 20] = [
    "gate",
    "ridden",
    "waits",
    "configure",
    "riding",
    "learn",
    "changed",
    "known",
    "stale",
    "bound",
    "beginList",
    "route",
    "perform",
    "resign",
    "busy",
    "call",
    "inFlight",
    "leave",
    "owed",
    "prepared",
];
/// Put around the addon: the export that a file in the gateway's folder names throws.
const SPOIL: &str = r#"
import { readFileSync as spoilRead } from "node:fs";
function spoil(Sync) {
  return class {
    constructor(options) {
      const file = `${JSON.parse(options).stateDir}/throws`;
      const spoiled = () => { try { return spoilRead(file, "utf8"); } catch { return ""; } };
      return new Proxy(new Sync(options), {
        get: (target, name) => typeof target[name] !== "function" ? target[name] : (...args) => {
          if (spoiled() !== name) return target[name](...args);
          const error = new Error(`${name} is spoiled`);
          if (name === "call") return Promise.reject(error);
          throw error;
        },
      });
    }
  };
}
"#;

pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let folder = tempfile::tempdir().doing(|| "make a folder".into())?;
    let product = &Product { plugin: spoiled(&product.plugin, folder.path())?, ..product.clone() };
    let stage = &Stage::open(product, &[1001], json!({})).await?;
    let ridden = Place::topic(FORUM, "Forum", 42, "Plans");
    let other = Place::topic(FORUM, "Forum", 43, "Other");
    let (session, _) = stage.begun(&ridden, &format!("agent:main:telegram:group:{FORUM}:topic:42")).await?;
    stage.telegram.says(&Person::tess(), &other, "hello other topic");
    stage.telegram.wait_for_bot(&other, TURN, "]: hello other topic").await?;
    let mut ride = stage.drive(&["forum", "topic:42"]).await?;
    ride.submit("before it throws").await?;
    stage.telegram.wait_for_bot(&ridden, TURN, "]: before it throws").await?;
    let pid = stage.gateway.pid();
    let throws = stage.gateway.state_dir().join("throws");

    let (mut silent, mut ran) = (Vec::new(), Vec::new());
    for export in EXPORTS {
        fs::write(&throws, export).doing(|| "name an export".into())?;
        let [told, told_here] = [&other, &ridden].map(|place| stage.telegram.chat(place).count("Send it again"));
        stage.telegram.says(&Person::tess(), &ridden, &format!("in the ridden thread: {export}"));
        stage.telegram.says(&Person::tess(), &other, &format!("in another thread: {export}"));
        let answer = format!("]: in another thread: {export}");
        let heard = || {
            let chat = stage.telegram.chat(&other);
            (chat.bot_wrote(&answer) || chat.count("Send it again") > told).then_some(())
        };
        if poll_until("an answer or a word", TURN, heard).await.is_err() {
            silent.push(export);
        }
        stage.telegram.wait_until_read(TURN).await?;
        if export == "gate" || export == "call" {
            // What is written while 2026.7.1 still sends that reply never reaches a plugin.
            let refused = || (stage.telegram.chat(&ridden).count("Send it again") > told_here).then_some(());
            let _ = poll_until("a word in the ridden thread", TURN, refused).await;
        }
        fs::write(&throws, "").doing(|| "name none".into())?;
    }
    let on = |r: &crate::anthropic::Recorded| r.prompt().contains("in the ridden thread");
    ran.extend(stage.anthropic.turns().into_iter().filter(on).map(|r| r.prompt()));
    facts.tell(
        stage.gateway.pid() == pid,
        &format!("each of {} exports throws, and the gateway's process goes on", EXPORTS.len()),
        EXPORTS.join(", "),
    );
    facts.tell(
        silent.is_empty(),
        "whoever writes in another thread is answered, or told to write again",
        format!("without a word: {silent:?}"),
    );
    facts.tell(ran.is_empty(), "no turn runs for what is written in the ridden thread", format!("{ran:?}"));

    ride.submit("after it threw").await?;
    let told = stage.telegram.wait_for_bot(&ridden, TURN, "]: after it threw").await;
    facts.tell(told.is_ok(), "the ride goes on", "");
    let code = stage.leave(&mut ride).await?;
    facts.tell(code == 0, "and is handed back", format!("exit {code}"));
    // Each message is answered now, or its sender was told to send it again.
    let left = async || {
        let chat = stage.telegram.chat(&ridden);
        let lost: Vec<&str> = EXPORTS
            .into_iter()
            .filter(|export| !chat.bot_wrote(&format!("]: in the ridden thread: {export}")))
            .collect();
        Ok((lost, chat.count("Send it again")))
    };
    // Hosts before 2026.9 send 20 messages a minute into a group.
    let (unanswered, told) = settled(2 * TURN, left, |(lost, told)| lost.len() <= *told).await?;
    let once = EXPORTS
        .into_iter()
        .all(|export| stage.telegram.chat(&ridden).count(&format!("]: in the ridden thread: {export}")) <= 1);
    facts.tell(
        unanswered.len() == told && once,
        "each message of the ridden thread is answered once, or its sender was told to send it again",
        format!("not answered: {unanswered:?}, {told} told"),
    );
    let same = stage.anthropic.turns().iter().filter(|r| on(r)).all(|r| r.session() == Some(&session));
    facts.tell(same, "on the Claude session that was ridden", "");
    Ok(())
}

/// The plugin's package, with that put around the addon.
fn spoiled(package: &Path, folder: &Path) -> Result<PathBuf> {
    let tar = |args: &[&str]| {
        let done = Command::new("tar").current_dir(folder).args(args).output().doing(|| "run tar".into())?;
        match done.status.success() {
            true => Ok(()),
            false => Err(Error::Peer {
                what: format!("tar {}", args.join(" ")),
                said: String::from_utf8_lossy(&done.stderr).into_owned(),
            }),
        }
    };
    tar(&["-xzf", &package.to_string_lossy()])?;
    let shell = folder.join("package/lib/addon.js");
    let text = fs::read_to_string(&shell).doing(|| format!("read {}", shell.display()))?;
    let opens = "const { Sync } = load();";
    if !text.contains(opens) {
        return Err(Error::Peer { what: "the shell's addon.js".into(), said: format!("it has no {opens}") });
    }
    let text = format!("{SPOIL}{}", text.replace(opens, "const Sync = spoil(load().Sync);"));
    fs::write(&shell, text).doing(|| format!("write {}", shell.display()))?;
    tar(&["-czf", "spoiled.tgz", "package"])?;
    Ok(folder.join("spoiled.tgz"))
}

#[cfg(test)]
mod tests {
    use super::EXPORTS;

    /// The methods of the class that the addon exports, as JavaScript names them.
    #[test]
    fn every_export_of_the_addon_is_spoiled() {
        let source = include_str!("../../../node/src/lib.rs");
        let class = source.split("impl JsSync {").nth(1).and_then(|rest| rest.split("\n}").next());
        let lines = class.expect("the class is there").lines().filter(|line| line.contains("(&self"));
        let mut exports: Vec<String> =
            lines.filter_map(|line| line.trim().strip_prefix("pub fn ")).map(camel).collect();
        let mut spoiled = EXPORTS.to_vec();
        exports.sort();
        spoiled.sort_unstable();
        assert_eq!(spoiled, exports);
    }

    fn camel(text: &str) -> String {
        let name = text.split('(').next().unwrap_or_default();
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
    }
}
