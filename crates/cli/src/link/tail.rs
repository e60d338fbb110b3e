//! The transcript of the ridden Claude session, read while Claude Code writes it.
//!
//! Where there is no mod, prompts and answers come from here, under the ids of their
//! lines. Everywhere it is the second line of defence: a prompt that is in the
//! transcript and was never let in means that the guard did not work.
//!
//! Absent on purpose: judging. What slipped in is said; the ride decides.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ride_core::transcript::{End, Ended, Entry, Follow, MAX_LINE_BYTES, News, Origin as From, Prompt as Line};
use ride_store::claude::{ClaudeDir, Registry, Status as Doing};
use ride_store::clock;
use tokio::time::timeout;
use uuid::Uuid;

use super::server::{Shared, keep, tell};
use super::{Ending, LinkEvent, Origin, Prompt, Slip, Source, Turn};

/// How often the file is looked at; a hook asks for a look at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks in a row at a resting Claude Code and an unchanged file after which an open
/// turn is over: lines are written up to 0.1 s late.
const RESTED: u32 = 4;
/// How late a line may be written, and more.
const WRITTEN_WITHIN_MS: u64 = 300;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Prompts let in and not seen in the transcript yet. They are typed by one person.
const MAX_ASKED: usize = 64;

/// What is followed.
#[derive(Clone, Debug)]
pub struct Tailed {
    /// The transcript.
    pub path: PathBuf,
    /// From which byte on: its size at the claim.
    pub from: u64,
    /// The Claude session it belongs to.
    pub claude_session: Uuid,
    /// Claude Code's configuration folder, where the live registry is.
    pub config_dir: PathBuf,
}

/// Prompts that were let in, by what will tell their lines.
#[derive(Debug, Default)]
pub struct Asked {
    ids: VecDeque<String>,
    /// Asked for while a turn ran: their lines will have other ids.
    waiting: usize,
}

impl Asked {
    /// Remembers a prompt that was let in.
    pub fn admit(&mut self, id: Option<String>, turn_runs: bool) {
        self.waiting = (self.waiting + usize::from(turn_runs)).min(MAX_ASKED);
        let Some(id) = id.filter(|id| !self.ids.contains(id)) else { return };
        if self.ids.len() == MAX_ASKED {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }

    /// What is to be said of a prompt of a person that is in the transcript. A turn's id
    /// stays good: prompts that waited together begin one turn.
    fn slip(&mut self, prompt: &Line, how: Entry) -> Option<Slip> {
        // 2.1.197 gives `!command` the id of the prompt before it.
        let shell = how == Entry::Local && prompt.text.starts_with('!');
        if !shell && prompt.prompt_id.as_ref().is_some_and(|id| self.ids.contains(id)) {
            return None;
        }
        let queued = how == Entry::Joined || prompt.source.as_deref() == Some("queued");
        let waited = queued && self.waiting > 0;
        self.waiting -= usize::from(waited);
        // One that was asked about when it was typed may begin much later.
        Some(if waited || how != Entry::Began { Slip::Unasked } else { Slip::Prompt })
    }
}

/// Follows it until the task is aborted.
pub(super) async fn follow(what: Tailed, shared: Arc<Shared>) {
    let mut lines = Lines { at: what.from, carry: Vec::new() };
    let mut follow = Follow::default();
    let mut rested = 0;
    let (mut looked_ms, mut open_since_ms) = (0, 0);
    loop {
        // Late or told: a look either way.
        let _ = timeout(LOOK_EVERY, shared.look.notified()).await;
        let before_ms = std::mem::replace(&mut looked_ms, clock::now().wall_ms);
        let was_open = follow.is_open();
        let mut new = false;
        while let Some(batch) = lines.next(&what.path) {
            new = true;
            for line in batch {
                for news in follow.line(&line) {
                    report(news, &what, &shared).await;
                }
            }
        }
        if follow.is_open() && !was_open {
            open_since_ms = before_ms.saturating_sub(WRITTEN_WITHIN_MS);
        }
        shared.peer().turn_runs = follow.is_open();
        rested = if !new && follow.is_open() && rests(&what, &shared, open_since_ms) { rested + 1 } else { 0 };
        if rested >= RESTED {
            for news in follow.rest() {
                report(news, &what, &shared).await;
            }
        }
    }
}

/// Whether Claude Code says that it does nothing in this Claude session, and has said so
/// since the turn began: a slow hook of somebody else's keeps it at what it said before.
fn rests(what: &Tailed, shared: &Shared, since_ms: u64) -> bool {
    let Some(pid) = shared.peer().pid else { return false };
    // One that cannot be read now is read at the next look.
    match Registry::entry(&ClaudeDir::at(&what.config_dir), pid) {
        Ok(Some(entry)) => {
            let idle = matches!(entry.status, Doing::Idle | Doing::Shell)
                && entry.status_at_ms.is_none_or(|at| at >= since_ms);
            entry.session != what.claude_session || idle
        }
        _ => false,
    }
}

async fn report(news: News, what: &Tailed, shared: &Shared) {
    let source = shared.peer().source;
    match news {
        News::Prompt { prompt, how } => {
            let by_hooks = source != Some(Source::Mod) && prompt.from != From::Machine;
            if let Some(slip) = by_hooks.then(|| shared.peer().asked.slip(&prompt, how)).flatten() {
                tell(LinkEvent::Slipped(slip), shared).await;
            }
            if source == Some(Source::Mod) {
                return;
            }
            let origin = match prompt.from {
                From::Machine => Origin::Machine(prompt.origin.unwrap_or_default()),
                From::Person | From::Local => Origin::Person,
            };
            let prompt = Prompt { id: prompt.uuid, text: prompt.text, origin, claude_session: what.claude_session };
            tell(LinkEvent::Runs, shared).await;
            // What is not kept now is taken from the transcript when the ride ends.
            let _ = keep(|kept| LinkEvent::Prompt { prompt, kept }, shared).await;
        }
        News::Heard(prompts) => tell(LinkEvent::Heard(prompts), shared).await,
        News::Compacted if source != Some(Source::Mod) => tell(LinkEvent::Slipped(Slip::Unasked), shared).await,
        News::Ended(ended) if source != Some(Source::Mod) => {
            let turn = turn(ended, what.claude_session);
            let _ = keep(|kept| LinkEvent::Turn { turn, kept }, shared).await;
        }
        News::Compacted | News::Ended(_) => {}
    }
}

fn turn(ended: Ended, claude_session: Uuid) -> Turn {
    let ending = match &ended.end {
        End::Failed { .. } => Ending::Failed,
        End::Interrupted => Ending::Aborted,
        End::Complete | End::Open if ended.refused => Ending::Refused,
        End::Complete | End::Open => Ending::Answered,
    };
    let id = ended.prompt.or(ended.answer.as_ref().map(|answer| answer.uuid));
    Turn {
        turn_id: id.map_or_else(String::new, |id| id.to_string()),
        ending,
        answer_id: ended.answer.as_ref().map(|answer| answer.uuid),
        answer: ended.answer.map_or_else(String::new, |answer| answer.text),
        prompt_id: ended.prompt,
        claude_session,
    }
}

/// Whole lines as they are appended.
struct Lines {
    at: u64,
    carry: Vec<u8>,
}

impl Lines {
    /// The lines of the next bytes; `None` when there are none now. The file is opened
    /// anew each time: Claude Code may not have made it yet.
    fn next(&mut self, path: &std::path::Path) -> Option<Vec<Vec<u8>>> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = File::open(path).and_then(|file| file.read_at(&mut chunk, self.at)).unwrap_or(0);
        if read == 0 {
            return None;
        }
        self.at += read as u64;
        let mut lines = Vec::new();
        for piece in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
            if self.carry.len() <= MAX_LINE_BYTES {
                self.carry.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.carry));
            }
        }
        Some(lines)
    }
}
