//! Against recordings of the real Claude Code, every file of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use super::*;

pub(super) const VERSIONS: [&str; 2] = ["2.1.197", "2.1.330"];

pub(super) fn recording(version: &str, name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/claude-code");
    let path = root.join(version).join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn fetch(bytes: &[u8]) -> impl FnMut(Span) -> Result<Vec<u8>, Infallible> {
    |span| Ok(bytes[span.byte as usize..][..span.len as usize].to_vec())
}

pub(super) fn all_turns(bytes: &[u8]) -> Turns {
    let Chain::Shown(shown) = read(bytes).show(None, 0) else { panic!("not one chain") };
    let Ok(turns) = turns(&shown.path, &shown.beside, fetch(bytes));
    turns
}

/// One line per turn: prompts with who wrote them, the answer, the end.
fn check_turns(name: &str, expected: &str) {
    for version in VERSIONS {
        let turns = all_turns(&recording(version, name));
        let mut seen = String::new();
        for turn in &turns.turns {
            let prompts: Vec<_> = turn.prompts.iter().map(|p| format!("{:?} {}", p.from, short(&p.text))).collect();
            let answer = turn.answer.as_ref().map_or("-".to_owned(), |a| short(&a.text));
            let end = match &turn.end {
                End::Failed { text } => format!("Failed: {text}"),
                end => format!("{end:?}"),
            };
            writeln!(seen, "{} => {answer} [{end}]", prompts.join(" + ")).expect("writing to a string");
        }
        if !turns.open_tools.is_empty() {
            writeln!(seen, "open tools: {}", turns.open_tools.len()).expect("writing to a string");
        }
        let expected: String = expected
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .filter_map(|l| match l.split_once(": ") {
                Some((v, rest)) if VERSIONS.contains(&v) => (v == version).then_some(rest),
                _ => Some(l),
            })
            .map(|l| format!("{l}\n"))
            .collect();
        assert_eq!(seen, expected, "{version}/{name}");
    }
}

pub(super) fn short(text: &str) -> String {
    let line = text.replace('\n', "\\n");
    match line.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[test]
fn turns_of_recordings() {
    check_turns(
        "resume.jsonl",
        "Person first => echo[1]: first [Complete]\nPerson second => echo[2]: second [Complete]",
    );
    check_turns(
        "tools.jsonl",
        "Person ::tool Bash {\"command\":\"echo hi\",\"descri… => tool-done: hi [Complete]
         Person ::tools [[\"Read\",{\"file_path\":\"/home/p/p… => tool-done: 1\talpha\\n2\t | 1\tbeta\\n2\t | th… [Complete]
         Person ::texts [\"part one\",\"part two\"] => part two [Complete]",
    );
    check_turns(
        "queued.jsonl",
        "Person ::tool Bash {\"command\":\"sleep 6\",\"descri… + Person typed mid turn => tool-done: (Bash completed with no outpu… [Complete]
         Person ::slowstream 5 ::len 12 => w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 [Complete]
         Person typed while streaming => echo[4]: typed while streaming [Complete]",
    );
    check_turns(
        "interrupted.jsonl",
        "Person plain => echo[1]: plain [Complete]
         2.1.197: Person ::slowstream 20 ::len 40 => - [Interrupted]
         2.1.330: Person ::slowstream 20 ::len 40 => w0 w1 w2 w3 w4 w5 w6 w7 [Interrupted]
         Person after esc => echo[3]: [Request interrupted by user]\\n… [Complete]
         2.1.197: Person ::tool Bash {\"command\":\"for i in 1 2 3 4… => calling tool [Interrupted]
         2.1.197: Person after tool esc => tool-done: The user doesn't want to proc… [Complete]
         2.1.197: Local /exit => - [Complete]
         2.1.330: Person ::tool Bash {\"command\":\"sleep 25\",\"descr… => tool-done: <tool_use_error>Blocked: stan… [Complete]
         2.1.330: Person after tool esc => echo[6]: after tool esc [Complete]",
    );
    check_turns(
        "interrupted-tool.jsonl",
        "Person ::tool Bash {\"command\":\"for i in 1 2 3 4… => calling tool [Interrupted]
         Person after tool esc => tool-done: The user doesn't want to proc… [Complete]",
    );
    check_turns(
        "api-error.jsonl",
        "Person fine => echo[1]: fine [Complete]
         Person ::err 400 => - [Failed: API Error: 400 fake error 400]
         Person again => - [Failed: API Error: 400 fake error 400]",
    );
    check_turns(
        "commands.jsonl",
        "2.1.197: Local /labcmd foo bar => echo[1]: <command-message>labcmd</comman… [Complete]
         2.1.330: Person /labcmd foo bar => echo[1]: <command-message>labcmd</comman… [Complete]
         Person plain too => echo[2]: plain too [Complete]",
    );
    check_turns(
        "local-commands.jsonl",
        "Person one => echo[1]: one [Complete]
         Local !echo banged => echo[2]: <bash-input>echo banged</bash-i… [Complete]
         Local /model sonnet => - [Complete]",
    );
    check_turns(
        "sidechain.jsonl",
        "2.1.197: Person ::tool Agent {\"description\":\"sub\",\"promp… => tool-done: sub answer here\\nagentId: a17… [Complete]
         2.1.330: Person ::tool Agent {\"description\":\"sub\",\"promp… => tool-done: Async agent launched successf… [Complete]
         2.1.330: Machine <task-notification>\\n<task-id>aeae8c752b… => echo[3]: [Complete]",
    );
    check_turns(
        "compaction.jsonl",
        "Person before one => echo[1]: before one [Complete]
         Person before two => echo[2]: before two [Complete]
         Local /compact => - [Complete]
         2.1.197: Person after compact => echo[2]: the user explicitly asks you to… [Complete]
         2.1.330: Person after compact => echo[2]: e as context for later messages… [Complete]
         Person resumed after compact => echo[3]: resumed after compact [Complete]",
    );
    check_turns(
        "crash-resumed.jsonl",
        "Person safe => echo[1]: safe [Complete]
         Person ::tool Bash {\"command\":\"for i in 1 2 3 4… => calling tool [Open]
         2.1.197: Person back again => echo[3]: back again [Complete]
         2.1.197: Local /exit => - [Complete]
         2.1.330: Person back again => echo[4]: back again [Complete]",
    );
    check_turns(
        "crash.jsonl",
        "Person safe => echo[1]: safe [Complete]
         Person ::slowstream 30 ::len 60 => - [Open]",
    );
}

/// What the host's own hooks said of the same sessions.
#[test]
fn answers_are_those_of_the_stop_hook() {
    for version in VERSIONS {
        let mut said = BTreeMap::new();
        for line in String::from_utf8(recording(version, "hooks.jsonl")).expect("UTF-8").lines() {
            let hook: Value = serde_json::from_str(line).expect("a hook's input");
            if let (Some(id), Some(text)) = (hook["prompt_id"].as_str(), hook["last_assistant_message"].as_str()) {
                // 2.1.197 gives a turn begun by `!shell` the id of the one before.
                said.entry(id.to_owned()).or_insert(text.to_owned());
            }
        }
        let mut compared = 0;
        for name in NAMES {
            for turn in all_turns(&recording(version, name)).turns {
                let id = turn.prompts.first().and_then(|p| p.prompt_id.clone()).unwrap_or_default();
                if let Some(text) = said.remove(&id) {
                    let answer = turn.answer.map(|a| a.text);
                    assert_eq!(answer.as_ref(), Some(&text), "{version}/{name}");
                    assert_eq!(turn.end, End::Complete, "{version}/{name}");
                    compared += 1;
                }
            }
        }
        assert!(compared >= 20, "{version}: only {compared} compared");
    }
}

const NAMES: [&str; 16] = [
    "api-error.jsonl",
    "branch.jsonl",
    "branch-source.jsonl",
    "commands.jsonl",
    "compaction.jsonl",
    "crash.jsonl",
    "crash-resumed.jsonl",
    "interrupted.jsonl",
    "interrupted-tool.jsonl",
    "local-commands.jsonl",
    "queued.jsonl",
    "resume.jsonl",
    "rewind.jsonl",
    "sidechain.jsonl",
    "tools.jsonl",
    "two-drivers.jsonl",
];

/// Where a `-p --resume` began in a recording, the next chain line hangs from
/// the leaf this module finds in what stood before.
#[test]
fn resumes_continue_the_leaf() {
    for version in VERSIONS {
        let mut resumes = 0;
        for name in NAMES {
            if name == "queued.jsonl" || name == "sidechain.jsonl" {
                continue; // What is queued there came while the process ran.
            }
            let bytes = recording(version, name);
            let mut at = 0;
            for line in bytes.split_inclusive(|b| *b == b'\n') {
                let before = read(&bytes[..at]);
                at += line.len();
                if before.nodes.is_empty()
                    || !line.starts_with(b"{\"type\":\"queue-operation\",\"operation\":\"enqueue\"")
                {
                    continue;
                }
                let leaf = before.leaf().expect("a leaf").expect("a leaf");
                let after = read(&bytes);
                let next = after.nodes.iter().find(|n| n.span.byte >= at as u64).expect("the resume's first line");
                let parent = match next.parent {
                    super::super::reader::Link::To(parent) => after.nodes[parent as usize].uuid,
                    link => panic!("{version}/{name}: {link:?}"),
                };
                assert_eq!(leaf, parent, "{version}/{name} at byte {at}");
                resumes += 1;
            }
        }
        assert_eq!(resumes, 9, "{version}");
    }
}

/// Claimed before its second prompt, every recording stays one chain.
#[test]
fn recordings_from_the_second_prompt_on() {
    for version in VERSIONS {
        for name in NAMES {
            let bytes = recording(version, name);
            let prompts = bytes.split_inclusive(|b| *b == b'\n').scan(0, |at, line| {
                let start = *at;
                *at += line.len();
                Some((start, line))
            });
            let typed = |line: &[u8]| {
                let line: Value = serde_json::from_slice(line).expect("a line");
                line["promptSource"].is_string() && line["promptSource"] != "system"
            };
            let Some((size, _)) = prompts.filter(|(_, line)| typed(line)).nth(1) else {
                continue;
            };
            let before = read(&bytes[..size]);
            let Ok(anchor) = before.anchor(fetch(&bytes));
            let anchor = anchor.expect("a place to continue");
            let after = read(&bytes);
            assert_eq!((after.malformed_count, after.tail), (0, Tail::Whole), "{version}/{name}");
            match after.show(anchor, size as u64) {
                Chain::Shown(shown) => {
                    assert_eq!(shown.compactions, u32::from(name == "compaction.jsonl"), "{version}/{name}");
                    let Ok(turns) = turns(&shown.path, &shown.beside, fetch(&bytes));
                    let beside: Vec<_> = turns.beside.iter().map(|p| p.text.as_str()).collect();
                    let expected: &[&str] = match name {
                        // Both drivers began at the claimed leaf: within its
                        // subtree, one of them beside the way.
                        "two-drivers.jsonl" => &["PRINT-one", "PRINT-two"],
                        "rewind.jsonl" => &["drop me"],
                        _ => &[],
                    };
                    assert_eq!(beside, expected, "{version}/{name}");
                }
                Chain::Broken(broken) => panic!("{version}/{name}: {broken}"),
            }
        }
    }
}

/// Claimed in the middle of two drivers, the other one's branch shows.
#[test]
fn two_drivers_are_no_chain() {
    for version in VERSIONS {
        let bytes = recording(version, "two-drivers.jsonl");
        let at = |text: &str| {
            let text = format!("\"content\":\"{text}\"");
            let found = bytes.windows(text.len()).position(|w| w == text.as_bytes()).expect("that prompt");
            bytes[..found].iter().rposition(|b| *b == b'\n').expect("a line before it") + 1
        };
        for prompt in ["TUI-two", "PRINT-two", "AFTER-exit"] {
            let size = at(prompt);
            let leaf = read(&bytes[..size]).leaf().expect("a leaf");
            let shown = match read(&bytes).show(leaf, size as u64) {
                Chain::Shown(_) => "shown".to_owned(),
                Chain::Broken(broken) => format!("{:?}", broken.why),
            };
            let expected = match prompt {
                "AFTER-exit" => "shown",
                _ => "NotAncestor",
            };
            assert_eq!(shown, expected, "{version} before {prompt}");
        }
    }
}

/// Cut off after any line, a recording is quiet exactly between its turns.
#[test]
fn quiet_between_turns() {
    let quiet = |bytes: &[u8]| {
        let t = read(bytes);
        let leaf = t.leaf().expect("a leaf").expect("a leaf");
        let Ok(quiet) = t.is_quiet(leaf, fetch(bytes));
        quiet
    };
    for version in VERSIONS {
        for name in NAMES {
            let expected = name != "crash.jsonl";
            assert_eq!(quiet(&recording(version, name)), expected, "{version}/{name}");
        }
    }
    let bytes = recording("2.1.330", "tools.jsonl");
    let mut at = 0;
    let mut seen = String::new();
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        if !read(&bytes[..at]).nodes.is_empty() {
            let now = if quiet(&bytes[..at]) { 'q' } else { '.' };
            if !seen.ends_with(now) {
                seen.push(now);
            }
        }
    }
    assert_eq!(seen, ".q.q.q");
}

/// A subagent's own file is one sidechain: nothing to resume, nothing said by a person.
#[test]
fn sidechains_are_nobodys_conversation() {
    for version in VERSIONS {
        let transcript = read(&recording(version, "subagent.jsonl"));
        assert!(!transcript.nodes.is_empty() && transcript.malformed_count == 0, "{version}");
        assert_eq!(transcript.leaf(), Ok(None), "{version}");
    }
}

#[test]
fn labels_for_a_picker() {
    for version in VERSIONS {
        let t = read(&recording(version, "commands.jsonl"));
        assert_eq!(t.custom_title.as_deref(), Some("newname"));
        assert_eq!(t.last_prompt.as_deref(), Some("plain too"));
        assert_eq!(t.cwd.as_deref(), Some("/home/p/proj"));
    }
    assert_eq!(read(&recording("2.1.197", "queued.jsonl")).ai_title.as_deref(), Some("Fake title for lab"));
}
