//! `ride completions <shell>`, and the answers the shell then asks for.
//!
//! The shell calls `ride` at each Tab with `RIDE_COMPLETE` set. Commands and options
//! are completed from the definitions of the command line, words of a thread's title
//! from the gateway, where it answers at once.

use std::ffi::OsStr;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};
use ride_core::wire::Row;

use super::{Context, print_exact, rows};
use crate::args::Cli;
use crate::env::Env;
use crate::error::{Error, Kind};
use crate::gateway::client::Access;
use crate::matching;
use crate::render::clean;

/// Set by the shell when it asks.
const VAR: &str = "RIDE_COMPLETE";
/// A person who pressed Tab waits for it. `ride ls` takes 10 to 30 ms on one machine.
const WITHIN: Duration = Duration::from_millis(700);
/// More than anybody reads after a Tab.
const MAX_OFFERED: usize = 100;

/// How the completions are loaded, for the help.
pub const HOW: &str = "\
To load them:
  bash        echo 'source <(ride completions bash)' >> ~/.bashrc
  zsh         echo 'source <(ride completions zsh)' >> ~/.zshrc
  fish        echo 'ride completions fish | source' >> ~/.config/fish/config.fish
  elvish      echo 'eval (ride completions elvish | slurp)' >> ~/.elvish/rc.elv
  powershell  ride completions powershell | Out-String | Invoke-Expression";

/// Prints what a shell loads.
pub fn run(shell: Shell) -> Result<(), Error> {
    let failed = |why: String| Error::new(Kind::Other, format!("could not write the completions of {shell}: {why}"));
    let shells = Shells::builtins();
    let completer = shells.completer(&shell.to_string()).ok_or_else(|| failed("it is not known".to_owned()))?;
    let mut text = Vec::new();
    completer.write_registration(VAR, "ride", "ride", "ride", &mut text).map_err(|e| failed(e.to_string()))?;
    print_exact(&String::from_utf8_lossy(&text));
    Ok(())
}

/// Whether this run was a question of the shell, which then is answered.
pub fn answered() -> bool {
    let cwd = std::env::current_dir().ok();
    // What cannot be completed is not worth a message in the middle of a line.
    CompleteEnv::with_factory(Cli::command).var(VAR).try_complete(std::env::args_os(), cwd.as_deref()).unwrap_or(true)
}

/// Words of the titles of threads that fit the words before. Nothing where the gateway
/// does not answer at once: a Tab is no place for an error.
pub fn words(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let line: Vec<_> = std::env::args_os().skip_while(|arg| arg != "--").skip(1).collect();
    // Without this fish means the last word, which is the one being typed.
    let index = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse().ok());
    let index = index.unwrap_or(line.len().saturating_sub(1)).min(line.len());
    // A line that is still being typed lacks something nearly always.
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(&line[..index]);
    let Ok(cli) = matches.and_then(|matches| Cli::from_arg_matches(&matches)) else { return Vec::new() };
    let before = cli.words();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let rows = runtime.block_on(async { tokio::time::timeout(WITHIN, threads(&cli)).await });
    runtime.shutdown_background();
    let rows = rows.ok().and_then(Result::ok).unwrap_or_default();
    offered(&rows, before, typed).into_iter().map(CompletionCandidate::new).collect()
}

async fn threads(cli: &Cli) -> Result<Vec<Row>, Error> {
    let env = Env::from_process();
    let context = Context { env: &env, gateway: &cli.gateway };
    let (connection, _events) = context.connect(&context.target()?, Access::Read).await?;
    Ok(rows(&connection).await?)
}

/// What can follow: in the case that was typed, so that any shell takes it for more of
/// the same word. Of words that a shell would have to quote, none.
fn offered(rows: &[Row], before: &[String], typed: &str) -> Vec<String> {
    let wanted = typed.to_lowercase();
    let mut words: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| matching::fits(row, before)) {
        for word in clean(&row.title).split(|c: char| !c.is_alphanumeric() && !"-_.".contains(c)) {
            let lower = word.to_lowercase();
            let fresh = !word.starts_with('-') && !before.iter().any(|word| word.to_lowercase() == lower);
            let Some(rest) = lower.strip_prefix(&wanted).filter(|_| fresh && !lower.is_empty()) else { continue };
            let offer = format!("{typed}{rest}");
            if words.len() < MAX_OFFERED && !words.contains(&offer) {
                words.push(offer);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_of_titles_are_offered() {
        let row = |title: &str, key: &str| {
            json!({
                "channel": "telegram", "displayName": null, "title": title, "conversationId": null, "cliSessionId": null,
                "echoTarget": null, "relayReady": true, "lastActivity": null, "key": key, "agentId": "main", "rideable": true,
            })
        };
        let rows: Vec<Row> = serde_json::from_value(json!([
            row("Forum / Plans", "a:1"),
            row("Holiday-plans \u{1b}[31m2027", "a:2"),
            row("日本の話 (old)", "b:3")
        ]))
        .unwrap();
        let check = |before: &[&str], typed: &str, expected: &[&str]| {
            let before: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(offered(&rows, &before, typed), expected, "{before:?} {typed:?}");
        };
        check(&[], "pl", &["plans"]);
        check(&[], "Ho", &["Holiday-plans"]);
        check(&["forum"], "", &["plans"]);
        check(&["b:3"], "", &["日本の話", "old"]);
        check(&["nothing"], "", &[]);
    }
}
