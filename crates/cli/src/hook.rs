//! `ride hook <event>`: what a Claude Code without mods runs at a prompt and around it.
//!
//! It carries the event to the `ride` that started Claude Code, and that one's answer
//! back; nothing is decided here. Not in `--help`: only the embedded plugin runs it.
//!
//! Invariants: a prompt that was not answered with yes is blocked, whatever went wrong
//! (Claude Code counts a hook that fails as a yes); without ride's variables it does nothing.
//! It runs once per prompt, so it has no runtime, no command-line parser and few allocations.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::error::Kind;
use crate::link::{HOOK_WITHIN, MAX_BODY_BYTES, SOCKET_VAR, START_WITHIN, TOKEN_VAR};

/// The event that can keep a prompt out.
const PROMPT: &str = "UserPromptSubmit";
/// The event that a Claude session begins with.
const START: &str = "SessionStart";
/// Largest answer: what rides along with a prompt, and its frame.
const MAX_ANSWER_BYTES: u64 = 256 * 1024;
/// What Claude Code takes for a refusal even of a hook that broke.
const BLOCK: u8 = 2;

/// Runs it; `event` is the hook's own name.
pub fn main(event: &str) -> ExitCode {
    // A panic's own exit code would let the prompt through.
    std::panic::set_hook(Box::new(|broken| {
        eprintln!("not sent: ride hook broke: {broken}");
        std::process::exit(BLOCK.into());
    }));
    if io::stdin().is_terminal() {
        eprintln!(
            "error: `ride hook` is Claude Code's to run\nhint: to ride a thread of that name, give another word of its title, its channel or its key"
        );
        return ExitCode::from(Kind::Usage.code());
    }
    let (Some(socket), Some(token)) = (std::env::var_os(SOCKET_VAR), std::env::var(TOKEN_VAR).ok()) else {
        return ExitCode::SUCCESS;
    };
    match ask(event, socket.as_ref(), &token) {
        Ok(answer) => match io::stdout().write_all(&answer) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(BLOCK),
        },
        Err(why) => fail(event, &why),
    }
}

/// Says no where that can be said, and why wherever somebody reads it.
fn fail(event: &str, why: &str) -> ExitCode {
    let said = match event {
        PROMPT => {
            let reason = format!("not sent: {why}\nhint: leave Claude Code with /exit, then ride the thread again");
            serde_json::json!({ "decision": "block", "reason": reason })
        }
        START => serde_json::json!({ "systemMessage": format!("{why}: prompts are refused") }),
        _ => return ExitCode::SUCCESS,
    };
    match writeln!(io::stdout(), "{said}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(BLOCK),
    }
}

fn ask(event: &str, socket: &std::path::Path, token: &str) -> Result<Vec<u8>, String> {
    let within = if event == START { START_WITHIN } else { HOOK_WITHIN };
    let by = Instant::now() + within;
    let mut said = Vec::new();
    let most = MAX_BODY_BYTES as u64;
    io::stdin()
        .take(most + 1)
        .read_to_end(&mut said)
        .map_err(|e| format!("the hook's input could not be read: {e}"))?;
    if said.len() as u64 > most {
        return Err(format!("it is larger than {} KiB", most / 1024));
    }
    // A socket whose ride was killed refuses at once; one that was never removed, too.
    let mut stream = UnixStream::connect(socket).map_err(|e| format!("ride does not run any more ({e})"))?;
    let head = format!(
        "POST /hook/{event} HTTP/1.1\r\nhost: ride\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        said.len()
    );
    let silent = |e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("ride does not answer within {} s; is it stopped?", within.as_secs())
        }
        _ => format!("ride does not answer ({e})"),
    };
    // One limit for every call is enough: ride answers whole, or not at all.
    let left = by.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let limits = stream.set_write_timeout(Some(left)).and_then(|()| stream.set_read_timeout(Some(left)));
    limits.map_err(silent)?;
    let mut request = head.into_bytes();
    request.append(&mut said);
    // A refusal may come before all is read: then the answer says why.
    match stream.write_all(&request) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(silent(e)),
        _ => {}
    }
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).map_err(silent)?;
    body(&answer).map(<[u8]>::to_vec)
}

/// The body of a whole, good answer.
fn body(answer: &[u8]) -> Result<&[u8], String> {
    let broken = || "ride's answer was cut off".to_owned();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let head = str::from_utf8(head).map_err(|_| broken())?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length != Some(body.len()) {
        return Err(broken());
    }
    match head.split(' ').nth(1) {
        Some("200") => Ok(body),
        _ => {
            let said: Option<serde_json::Value> = serde_json::from_slice(body).ok();
            let why = said.as_ref().and_then(|said| said["error"].as_str()).unwrap_or("ride refused");
            Err(why.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn only_a_whole_good_answer_counts() {
        let check = |answer: &str, expected: Result<&str, &str>| {
            let found = body(answer.as_bytes()).map(|body| String::from_utf8_lossy(body).into_owned());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{answer:?}");
        };
        let cut = Err("ride's answer was cut off");
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Ok("{}"));
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", cut);
        check("HTTP/1.1 200 OK\r\n\r\n{}", cut);
        check("HTTP/1.1 200 OK\r\n", cut);
        check("", cut);
        check("HTTP/1.1 409 Conflict\r\ncontent-length: 19\r\n\r\n{\"error\":\"stranger\"", Err("ride refused"));
        check("HTTP/1.1 409 Conflict\r\ncontent-length: 20\r\n\r\n{\"error\":\"stranger\"}", Err("stranger"));
    }
}
