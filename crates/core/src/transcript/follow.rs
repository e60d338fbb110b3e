//! A conversation while it is written: line by line, what has just been said.
//!
//! For a Claude Code that tells nothing itself (its hooks name no line), so that
//! prompts and answers get the ids of their lines. Measured on 2.1.197 and 2.1.330:
//!
//! - a turn that ended by itself is closed by a `turn_duration` line, mostly; a failed
//!   one by its error; an interrupted one by `[Request interrupted by user]`, and one that
//!   was interrupted before anything was said by nothing at all: the prompt returns to the
//!   input box and its line stays. [`Follow::rest`] ends what no line does.
//! - what was said before an interruption stands in a line of the host's own
//!   (`<synthetic>`), right before the interruption's;
//! - `!command` and local commands are lines of nobody; only those that an answer
//!   follows asked the model something;
//! - while 2.1.197 makes the file, a quick answer may stand before its own prompt: such a
//!   line waits for the one it continues.
//!
//! Absent on purpose: the tree. Lines are else taken as they come, for they are reported
//! as they come; whether they are one chain is shown at the end (see `chain`).

use uuid::Uuid;

use super::turn::{Answer, End, Origin, Prompt, Whole, is_interruption, prompt, queued, said};

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A prompt is in the conversation.
    Prompt {
        /// The prompt.
        prompt: Prompt,
        /// How it came in.
        how: Entry,
    },
    /// The model has begun to answer these prompts: they, and what came with them, are
    /// in the conversation for good.
    Heard(Vec<Uuid>),
    /// The conversation was compacted.
    Compacted,
    /// A turn ended.
    Ended(Ended),
}

/// How a prompt came into the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It began a turn, or began it with others that had waited.
    Began,
    /// It joined the turn that ran.
    Joined,
    /// It is a command of the terminal (`!command`) that the model is told of.
    Local,
}

/// A turn that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The person's last prompt in it.
    pub prompt: Option<Uuid>,
    /// What was said last.
    pub answer: Option<Answer>,
    /// How it ended; never [`End::Open`].
    pub end: End,
    /// The model refused.
    pub refused: bool,
}

/// Lines that wait for the one they continue; and lines between turns one may continue.
const MAX_EARLY: usize = 16;
const MAX_BETWEEN: usize = 256;

/// Follows one conversation.
#[derive(Debug, Default)]
pub struct Follow {
    turn: Option<Turn>,
    /// A terminal command that nothing followed yet.
    local: Option<Prompt>,
    /// The lines since the last turn, while none is open.
    between: Vec<Uuid>,
    early: Vec<Early>,
}

/// A line that was written before the one it continues.
#[derive(Debug)]
struct Early {
    parent: Uuid,
    uuid: Option<Uuid>,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Turn {
    prompt: Option<Uuid>,
    /// Prompts that nothing was said to yet.
    unheard: Vec<Uuid>,
    answer: Option<Answer>,
    /// The host's own line, until it is known what it was for.
    aside: Option<Answer>,
    /// The model stopped, and not to call a tool.
    over: bool,
    refused: bool,
}

impl Follow {
    /// Takes the next whole line in.
    pub fn line(&mut self, bytes: &[u8]) -> Vec<News> {
        let Ok(line) = serde_json::from_slice::<Whole<'_>>(bytes) else { return Vec::new() };
        if line.is_sidechain.is_true() {
            return Vec::new();
        }
        let uuid = line.uuid.uuid();
        if let Some(parent) = line.parent_uuid.uuid().filter(|parent| self.is_early(*parent, &line)) {
            self.early.push(Early { parent, uuid, bytes: bytes.to_vec() });
            return Vec::new();
        }
        let mut news = self.take(&line);
        let mut here: Vec<Uuid> = uuid.into_iter().collect();
        while let Some(uuid) = here.pop() {
            if self.turn.is_none() && self.between.len() < MAX_BETWEEN {
                self.between.push(uuid);
            }
            while let Some(at) = self.early.iter().position(|early| early.parent == uuid) {
                let early = self.early.remove(at);
                news.extend(self.take_early(&early));
                here.extend(early.uuid);
            }
        }
        news
    }

    fn take_early(&mut self, early: &Early) -> Vec<News> {
        serde_json::from_slice(&early.bytes).map_or_else(|_| Vec::new(), |line| self.take(&line))
    }

    /// Whether a line must wait for its parent: it answers what is not there yet, or
    /// continues a line that does.
    fn is_early(&self, parent: Uuid, line: &Whole<'_>) -> bool {
        let orphan =
            || self.turn.is_none() && line.kind.plain() == Some("assistant") && !self.between.contains(&parent);
        let follows = || self.early.iter().any(|early| early.uuid == Some(parent));
        self.early.len() < MAX_EARLY && (orphan() || follows())
    }

    fn take(&mut self, line: &Whole<'_>) -> Vec<News> {
        match line.kind.plain() {
            Some("user") => self.user(line),
            Some("assistant") => self.assistant(line),
            Some("attachment") => queued(line).map(|prompt| self.enters(prompt, Entry::Joined)).into_iter().collect(),
            Some("system") => match line.subtype.plain() {
                Some("turn_duration") => self.end(None),
                Some("compact_boundary") => vec![News::Compacted],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Whether a turn has begun and not ended, as far as the lines tell.
    pub fn is_open(&self) -> bool {
        self.turn.is_some() || !self.early.is_empty()
    }

    /// Claude Code rests, and no line is to come: a turn still open has ended.
    pub fn rest(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for early in std::mem::take(&mut self.early) {
            news.extend(self.take_early(&early));
        }
        let over = self.turn.as_ref().is_some_and(|turn| turn.over);
        news.extend(self.end((!over).then_some(End::Interrupted)));
        news
    }

    fn user(&mut self, line: &Whole<'_>) -> Vec<News> {
        if !said(line).results.is_empty() {
            if let Some(turn) = &mut self.turn {
                turn.over = false;
            }
            return Vec::new();
        }
        if is_interruption(line) {
            return self.end(Some(End::Interrupted));
        }
        let Some(prompt) = prompt(line) else { return Vec::new() };
        if prompt.from == Origin::Local {
            self.local = Some(prompt);
            return Vec::new();
        }
        self.local = None;
        // Not every turn is closed by a line.
        let over = self.turn.as_ref().is_some_and(|turn| turn.over);
        let mut news = if over { self.end(None) } else { Vec::new() };
        news.push(self.enters(prompt, Entry::Began));
        news
    }

    fn enters(&mut self, prompt: Prompt, how: Entry) -> News {
        let turn = self.turn.get_or_insert_default();
        turn.over = false;
        turn.unheard.push(prompt.uuid);
        if prompt.from != Origin::Machine {
            turn.prompt = Some(prompt.uuid);
        }
        News::Prompt { prompt, how }
    }

    fn assistant(&mut self, line: &Whole<'_>) -> Vec<News> {
        let said = said(line);
        let Some(uuid) = line.uuid.uuid() else { return Vec::new() };
        let mut news = Vec::new();
        if line.is_api_error_message.is_true() {
            // Nobody asked anything: an error of the host's own work, such as a compaction.
            return self.end(Some(End::Failed { text: said.text }));
        }
        let text = said.text.trim();
        let answer = (!text.is_empty()).then(|| Answer { uuid, text: text.to_owned() });
        if said.synthetic {
            if let Some(turn) = &mut self.turn {
                turn.aside = answer;
            }
            return news;
        }
        if let Some(local) = self.local.take().filter(|_| self.turn.is_none()) {
            news.push(self.enters(local, Entry::Local));
        }
        let turn = self.turn.get_or_insert_default();
        if answer.is_some() {
            turn.answer = answer;
        }
        turn.over = said.over && said.calls.is_empty();
        turn.refused = said.refused;
        news.extend(turn.heard());
        news
    }

    fn end(&mut self, end: Option<End>) -> Vec<News> {
        let Some(mut turn) = self.turn.take() else { return Vec::new() };
        self.between.clear();
        let end = end.unwrap_or(End::Complete);
        let mut news = Vec::new();
        let answer = match (&end, turn.aside.take()) {
            (End::Interrupted, Some(aside)) => {
                news.extend(turn.heard());
                Some(aside)
            }
            _ => turn.answer,
        };
        news.push(News::Ended(Ended { prompt: turn.prompt, answer, end, refused: turn.refused }));
        news
    }
}

impl Turn {
    fn heard(&mut self) -> Option<News> {
        (!self.unheard.is_empty()).then(|| News::Heard(std::mem::take(&mut self.unheard)))
    }
}
