//! What is told while a transcript is written: every recording, line by line.

use super::recorded::{VERSIONS, all_turns, recording, short};
use super::*;

/// One line per piece of news; `rest` where nothing closed the last turn.
fn told(bytes: &[u8]) -> String {
    let mut follow = Follow::default();
    let mut seen = String::new();
    let mut tell = |news: News| {
        let line = match news {
            News::Prompt { prompt, how } => format!("{how:?} {:?}: {}", prompt.from, short(&prompt.text)),
            News::Heard(_) => return,
            News::Compacted => "compacted".to_owned(),
            News::Ended(ended) => {
                let answer = ended.answer.as_ref().map_or("-".to_owned(), |answer| short(&answer.text));
                let end = match &ended.end {
                    End::Failed { .. } => "Failed".to_owned(),
                    end => format!("{end:?}"),
                };
                format!("=> {answer} [{end}]{}", if ended.prompt.is_none() { " nobody asked" } else { "" })
            }
        };
        writeln!(seen, "{line}").expect("writing to a string");
    };
    bytes.split(|byte| *byte == b'\n').flat_map(|line| follow.line(line)).for_each(&mut tell);
    let rest = follow.rest();
    if !rest.is_empty() {
        rest.into_iter().for_each(tell);
        seen.push_str("rest\n");
    }
    seen
}

fn check(name: &str, expected: &str) {
    for version in VERSIONS {
        let of = |line: &str| match line.trim().split_once(": ") {
            Some((v, rest)) if VERSIONS.contains(&v) => (v == version).then(|| rest.to_owned()),
            _ => Some(line.trim().to_owned()),
        };
        let expected: Vec<String> = expected.lines().filter_map(of).collect();
        assert_eq!(
            told(&recording(version, name)).lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>(),
            expected,
            "{version}/{name}"
        );
    }
}

#[test]
fn news_of_recordings() {
    check(
        "resume.jsonl",
        "Began Person: first
         => echo[1]: first [Complete]
         Began Person: second
         => echo[2]: second [Complete]
         rest",
    );
    check(
        "tools.jsonl",
        "Began Person: ::tool Bash {\"command\":\"echo hi\",\"descri…
         => tool-done: hi [Complete]
         Began Person: ::tools [[\"Read\",{\"file_path\":\"/home/p/p…
         => tool-done: 1\talpha\\n2\t | 1\tbeta\\n2\t | th… [Complete]
         Began Person: ::texts [\"part one\",\"part two\"]
         => part two [Complete]
         rest",
    );
    check(
        "interrupted.jsonl",
        "Began Person: plain
         => echo[1]: plain [Complete]
         Began Person: ::slowstream 20 ::len 40
         => w0 w1 w2 w3 w4 w5 w6 w7 [Interrupted]
         Began Person: after esc
         => echo[3]: [Request interrupted by user]\\n… [Complete]
         2.1.197: Began Person: ::tool Bash {\"command\":\"for i in 1 2 3 4…
         2.1.197: => calling tool [Interrupted]
         2.1.197: Began Person: after tool esc
         2.1.197: => tool-done: The user doesn't want to proc… [Complete]
         2.1.330: Began Person: ::tool Bash {\"command\":\"sleep 25\",\"descr…
         2.1.330: => tool-done: <tool_use_error>Blocked: stan… [Complete]
         2.1.330: Began Person: after tool esc
         2.1.330: => echo[6]: after tool esc [Complete]",
    );
    check(
        "interrupted-tool.jsonl",
        "Began Person: ::tool Bash {\"command\":\"for i in 1 2 3 4…
         => calling tool [Interrupted]
         Began Person: after tool esc
         => tool-done: The user doesn't want to proc… [Complete]",
    );
    check(
        "queued.jsonl",
        "Began Person: ::tool Bash {\"command\":\"sleep 6\",\"descri…
         Joined Person: typed mid turn
         => tool-done: (Bash completed with no outpu… [Complete]
         Began Person: ::slowstream 5 ::len 12
         => w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 [Complete]
         Began Person: typed while streaming
         => echo[4]: typed while streaming [Complete]",
    );
    check(
        "commands.jsonl",
        "2.1.197: Local Local: /labcmd foo bar
         2.1.330: Began Person: /labcmd foo bar
         => echo[1]: <command-message>labcmd</comman… [Complete]
         Began Person: plain too
         => echo[2]: plain too [Complete]",
    );
    check(
        "local-commands.jsonl",
        "Began Person: one
         => echo[1]: one [Complete]
         Local Local: !echo banged
         => echo[2]: <bash-input>echo banged</bash-i… [Complete]",
    );
    check(
        "api-error.jsonl",
        "Began Person: fine
         => echo[1]: fine [Complete]
         Began Person: ::err 400
         => - [Failed]
         Began Person: again
         => - [Failed]",
    );
    check(
        "compaction.jsonl",
        "Began Person: before one
         => echo[1]: before one [Complete]
         Began Person: before two
         => echo[2]: before two [Complete]
         compacted
         Began Person: after compact
         2.1.197: => echo[2]: the user explicitly asks you to… [Complete]
         2.1.330: => echo[2]: e as context for later messages… [Complete]
         Began Person: resumed after compact
         => echo[3]: resumed after compact [Complete]
         rest",
    );
    check(
        "rewind.jsonl",
        "Began Person: keep
         => echo[1]: keep [Complete]
         Began Person: drop me
         => echo[2]: drop me [Complete]
         Began Person: instead
         => echo[2]: instead [Complete]",
    );
    check(
        "sidechain.jsonl",
        "Began Person: ::tool Agent {\"description\":\"sub\",\"promp…
         2.1.197: => tool-done: sub answer here\\nagentId: a17… [Complete]
         2.1.330: => tool-done: Async agent launched successf… [Complete]
         2.1.330: Began Machine: <task-notification>\\n<task-id>aeae8c752b…
         2.1.330: => echo[3]: [Complete] nobody asked
         rest",
    );
    check(
        "crash.jsonl",
        "Began Person: safe
         => echo[1]: safe [Complete]
         Began Person: ::slowstream 30 ::len 60
         => - [Interrupted]
         rest",
    );
}

/// The last word of each prompt that the model began to answer.
fn heard(bytes: &[u8]) -> Vec<String> {
    let mut follow = Follow::default();
    let mut texts = Vec::new();
    let mut heard = Vec::new();
    for news in bytes.split(|byte| *byte == b'\n').flat_map(|line| follow.line(line)) {
        match news {
            News::Prompt { prompt, .. } => texts.push((prompt.uuid, prompt.text)),
            News::Heard(ids) => {
                heard.extend(texts.iter().filter(|(id, _)| ids.contains(id)).map(|(_, text)| text.clone()))
            }
            _ => {}
        }
    }
    heard
}

#[test]
fn a_prompt_counts_as_heard_when_something_is_said_to_it() {
    for version in VERSIONS {
        let all = |name: &str| heard(&recording(version, name));
        assert_eq!(all("resume.jsonl"), ["first", "second"], "{version}");
        assert_eq!(all("api-error.jsonl"), ["fine"], "{version}");
        assert_eq!(all("crash.jsonl"), ["safe"], "{version}");
        // Interrupted after a few words.
        assert_eq!(all("interrupted.jsonl")[..2], ["plain", "::slowstream 20 ::len 40"], "{version}");
    }
}

/// As 2.1.197 now and then writes the first turn of a new file.
#[test]
fn an_answer_written_before_its_prompt_waits_for_it() {
    for version in VERSIONS {
        let bytes = recording(version, "resume.jsonl");
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let is_answer = |line: &[u8]| line.windows(18).any(|part| part == br#""type":"assistant""#);
        let at = lines.iter().position(|line| is_answer(line)).expect("an answer");
        let swapped = [lines[at], &lines[..at].concat(), &lines[at + 1..].concat()].concat();
        assert_eq!(told(&swapped), told(&bytes), "{version}");
        assert_eq!(heard(&swapped), heard(&bytes), "{version}");
        // One whose parent never comes is not kept back for good.
        let mut follow = Follow::default();
        assert!(follow.line(lines[at]).is_empty() && follow.is_open(), "{version}");
        let news = follow.rest();
        assert!(matches!(&news[..], [News::Ended(Ended { prompt: None, answer: Some(_), .. })]), "{version}: {news:?}");
        // The chain is a matter of parents, not of places.
        assert_eq!(chain_of(&swapped), chain_of(&bytes), "{version}");
    }
}

/// The leaf, and what was asked and answered on the way to it.
fn chain_of(bytes: &[u8]) -> (Option<Uuid>, Vec<(usize, Option<Uuid>)>) {
    let leaf = read(bytes).leaf().expect("a conversation");
    let said = |turn: &Turn| (turn.prompts.len(), turn.answer.as_ref().map(|answer| answer.uuid));
    (leaf, all_turns(bytes).turns.iter().map(said).collect())
}
