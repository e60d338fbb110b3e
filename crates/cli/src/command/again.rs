//! How a person comes back to a thread after a ride: the command, as the person would type it.
//!
//! Claude Code ends with `Resume this session with: claude --resume <id>`. Followed beside the
//! thread's agent, that line makes a second writer in the same conversation. So a ride's last
//! word is the command that is right, and a warning about that one.

use clap::Parser as _;
use ride_core::wire::Row;

use super::Context;
use crate::args::{Cli, GatewayArgs, RideArgs};
use crate::matching;
use crate::render::clean;

/// First words that the program takes for itself before it reads its command line.
const OWN: [&str; 2] = ["hook", "guard"];

/// The way back to one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// Options that say which gateway is meant.
    gateway: Vec<String>,
    /// Options of a ride alone.
    ride: Vec<String>,
    words: Vec<String>,
}

impl Again {
    /// The way back to `row`, which was found among `rows` by what was `typed`, or chosen.
    pub(super) fn new(context: &Context<'_>, args: &RideArgs, row: &Row, rows: &[Row]) -> Again {
        let claude = Some(args.claude.to_string_lossy().into_owned()).filter(|program| program != "claude");
        let ride = claude.map_or_else(Vec::new, |program| vec!["--claude".to_owned(), program]);
        Again { gateway: options(context.gateway), ride, words: words(row, rows, &args.words) }
    }

    /// The command that rides the thread; `more` are options of it.
    pub(super) fn ride(&self, more: &[&str]) -> String {
        let options = self.ride.iter().map(String::as_str).chain(more.iter().copied());
        self.line(options, &[])
    }

    /// Another command for the same thread; `more` stands behind the words.
    pub(super) fn command(&self, name: &str, more: &[&str]) -> String {
        self.line(std::iter::once(name), more)
    }

    /// A line, quoted for a shell.
    fn line<'a>(&'a self, before: impl Iterator<Item = &'a str>, behind: &[&'a str]) -> String {
        let all = ["ride"].into_iter().chain(self.gateway.iter().map(String::as_str)).chain(before);
        let all = all.chain(self.words.iter().map(String::as_str)).chain(behind.iter().copied());
        // Only a NUL cannot be quoted, and no argument of a process has one.
        shlex::try_join(all).unwrap_or_else(|_| "ride".to_owned())
    }

    /// The last word of a ride in which Claude Code ran.
    pub(super) fn farewell(&self) -> String {
        format!(
            "do not use \"claude --resume …\" from above: it opens a second writer beside the thread's agent\n\
             to come back: {}",
            self.ride(&[])
        )
    }
}

/// What was said about the gateway on this command line: without it, another gateway may be found.
fn options(gateway: &GatewayArgs) -> Vec<String> {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let named = [
        ("--url", gateway.url.clone()),
        ("--token-file", path(&gateway.token_file)),
        ("--pin", gateway.pin.clone()),
        ("--profile", gateway.profile.clone()),
        ("--state-dir", path(&gateway.state_dir)),
    ];
    let given = named.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten();
    given.chain(gateway.admin.then(|| "--admin".to_owned())).collect()
}

/// The words that name a thread: those that were typed, else those of its title, else its key.
fn words(row: &Row, rows: &[Row], typed: &[String]) -> Vec<String> {
    let titled: Vec<String> = clean(&row.title)
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let named = [typed.to_vec(), titled].into_iter().find(|words| names(words, row, rows));
    named.unwrap_or_else(|| vec![row.key.clone()])
}

/// Whether words name this thread alone, and are read as words. `-` names whatever was ridden last.
fn names(words: &[String], row: &Row, rows: &[Row]) -> bool {
    if words.is_empty() || words == ["-"] || OWN.contains(&words[0].as_str()) {
        return false;
    }
    let line = ["ride".to_owned()].into_iter().chain(words.iter().cloned());
    let read_as_words = Cli::try_parse_from(line).is_ok_and(|cli| cli.command.is_none() && cli.ride.words == words);
    read_as_words && matching::find(rows, words).is_ok_and(|found| found.key == row.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, title: &str) -> Row {
        let row = serde_json::json!({
            "channel": "telegram", "displayName": null, "title": title, "conversationId": null, "cliSessionId": null,
            "echoTarget": null, "relayReady": true, "lastActivity": null, "key": key, "agentId": "main", "rideable": true,
        });
        serde_json::from_value(row).expect("a row")
    }

    #[test]
    fn the_way_back_is_what_was_typed_or_what_names_the_thread_alone() {
        let rows = [
            row("agent:main:telegram:group:-100:topic:42", "Club › Plans"),
            row("agent:main:telegram:group:-100:topic:43", "Club › Kitchen"),
            row("agent:main:telegram:group:-100:topic:44", "Log"),
            row("agent:main:telegram:group:-100:topic:45", "It's $HOME"),
            row("agent:main:telegram:group:-100:topic:46", "Kitchen"),
        ];
        let check = |at: usize, typed: &[&str], expected: &str| {
            let typed: Vec<String> = typed.iter().map(|&word| word.to_owned()).collect();
            let again = Again { gateway: Vec::new(), ride: Vec::new(), words: words(&rows[at], &rows, &typed) };
            assert_eq!(again.ride(&[]), expected);
        };
        check(0, &["plans"], "ride plans");
        check(0, &["club plans"], "ride 'club plans'");
        // Chosen in the picker, or by what means another thread tomorrow.
        check(0, &[], "ride club plans");
        check(0, &["-"], "ride club plans");
        check(1, &["club"], "ride club kitchen");
        // A title that a shell or the command line would take for something else.
        check(2, &[], "ride agent:main:telegram:group:-100:topic:44");
        check(3, &[], "ride it s home");
        // A shell reads the very word that was typed.
        let again =
            Again { gateway: Vec::new(), ride: Vec::new(), words: words(&rows[3], &rows, &["it's $home".to_owned()]) };
        assert_eq!(shlex::split(&again.ride(&[])), Some(vec!["ride".to_owned(), "it's $home".to_owned()]));
        // The one thread with exactly this title.
        check(4, &["kitchen"], "ride kitchen");
    }

    #[test]
    fn the_same_gateway_is_named_again() {
        let gateway = GatewayArgs {
            url: Some("wss://gw.example".into()),
            token_file: Some("/home/ada/my token".into()),
            pin: None,
            profile: Some("work".into()),
            state_dir: None,
            admin: true,
        };
        let ride = vec!["--claude".into(), "/opt/claude".into()];
        let again = Again { gateway: options(&gateway), ride, words: vec!["plans".into()] };
        let gateway = "ride --url wss://gw.example --token-file '/home/ada/my token' --profile work --admin";
        assert_eq!(again.ride(&["--steal"]), format!("{gateway} --claude /opt/claude --steal plans"));
        assert_eq!(again.command("repair", &["--keep", "ab12"]), format!("{gateway} repair plans --keep ab12"));
    }
}
