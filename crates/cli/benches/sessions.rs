//! The picker over 5,000 Claude sessions of this machine, timed: from nothing to the first
//! frame with rows, to the frame in which all rows in sight have their titles, and until
//! every file was read. The library's own functions and a terminal that only counts bytes.
//! Prints its samples as JSON; `cargo xtask bench` makes figures of them.

#[path = "shared/screen.rs"]
mod screen;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use ride::picker::sessions::{Effect, Event, SessionPicker, list};
use ride::picker::view::Panes;
use ride_store::claude::{ClaudeDir, glance};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};
use uuid::Uuid;

use screen::{Result, SCREEN, Screen};

const SESSIONS: usize = 5_000;
const PROJECTS: usize = 200;
/// The last used ones are longer than what is read of one.
const LONG: usize = 200;
const ROUNDS: usize = 9;

fn main() -> Result<()> {
    let home = tempfile::tempdir()?;
    let dir = ClaudeDir::at(home.path());
    let now = SystemTime::now();
    let now_ms = u64::try_from(now.duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
    let bytes = write(&dir, now)?;
    let (mut first, mut titles, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        forget(home.path())?;
        let begin = Instant::now();
        let mut picker = SessionPicker::new(now_ms);
        let mut screen = Screen::new()?;
        let rows = Panes::of(SCREEN, false).rows();
        assert_eq!(picker.step(Event::Room { rows }, now_ms), [Effect::List]);
        let mut effects = picker.step(Event::Listed(list(&dir)), now_ms);
        screen.draw(&mut picker)?;
        first.push(ms(begin));
        assert!(screen.bytes.get() > 500, "the first frame is {} bytes", screen.bytes.get());
        let mut handfuls = 0;
        while let Some(Effect::Read(paths)) = effects.pop() {
            let read =
                paths.into_iter().map(|path| (glance(&path).ok(), path)).map(|(seen, path)| (path, seen)).collect();
            effects = picker.step(Event::Read(read), now_ms);
            screen.draw(&mut picker)?;
            handfuls += 1;
            if handfuls == 1 {
                titles.push(ms(begin));
            }
        }
        all.push(ms(begin));
        let left = picker.choice().list().unread();
        assert_eq!(left, 0, "{left} were not read");
    }
    println!("{}", json!({"sessions": SESSIONS, "bytes": bytes, "firstMs": first, "titlesMs": titles, "allMs": all}));
    Ok(())
}

/// Transcripts as Claude Code leaves them: a few turns, then what it writes at the end.
fn write(dir: &ClaudeDir, now: SystemTime) -> Result<u64> {
    let mut bytes = 0;
    for n in 0..SESSIONS {
        let cwd = format!("/home/ada/src/project-{}", n % PROJECTS);
        let folder = dir.project(Path::new(&cwd));
        fs::create_dir_all(&folder)?;
        let id = Uuid::from_u128(0x5e55_1013_0000_4000_8000_0000_0000_0000 + n as u128);
        let text = transcript(id, n, &cwd);
        bytes += text.len() as u64;
        let mut file = File::create(folder.join(format!("{id}.jsonl")))?;
        file.write_all(text.as_bytes())?;
        file.set_modified(now - Duration::from_secs(60 * n as u64))?;
    }
    Ok(bytes)
}

fn transcript(id: Uuid, n: usize, cwd: &str) -> String {
    let turns = if n < LONG { 40 } else { 2 };
    let mut lines: Vec<Value> = Vec::new();
    let mut parent = Value::Null;
    for turn in 0..turns {
        let prompt = format!("prompt {turn} of session {n}: what about the release?");
        for (kind, text) in [("user", prompt), ("assistant", "an answer of some length. ".repeat(80))] {
            let uuid = Uuid::from_u128((n * 1_000 + lines.len()) as u128);
            lines.push(json!({"type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": id, "cwd": cwd, "version": "2.1.330", "message": {"role": kind, "content": [{"type": "text", "text": text}]}}));
            parent = json!(uuid);
        }
    }
    if n.is_multiple_of(3) {
        lines.push(json!({"type": "custom-title", "customTitle": format!("Release {n}"), "sessionId": id}));
    }
    lines.push(json!({"type": "last-prompt", "lastPrompt": format!("prompt {} of session {n}: what about the release?", turns - 1), "leafUuid": parent, "sessionId": id}));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Asks the system to drop what it keeps of the files' contents. Names and dates stay:
/// only root can have those dropped.
fn forget(home: &Path) -> Result<()> {
    for folder in fs::read_dir(home.join("projects"))? {
        for file in fs::read_dir(folder?.path())? {
            let file = File::open(file?.path())?;
            file.sync_data()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
