//! Prompts and answers: what a stretch of the chain says, to reconcile what a
//! crash lost. Reads whole lines, so it is given only the few that matter.
//!
//! Told apart by fields: a prompt has `promptSource` or `origin`, an
//! interruption `interruptedMessageId`. Where an interruption has no field its
//! text is taken, on a line that nobody typed (it lacks both fields).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Span;
use super::line::Field;
use crate::wire::{RelayItem, RelayKind};

/// The turns of a stretch of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turns {
    /// In order.
    pub turns: Vec<Turn>,
    /// Ids of tool calls that have no result, in order.
    pub open_tools: Vec<String>,
    /// Prompts that stand beside the way: turns the driver rewound, or turns
    /// of a second writer. Told apart by who sent them, not here.
    pub beside: Vec<Prompt>,
    /// Prompts and answers without their text, since there was no room for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<Uuid>,
}

/// Which texts are wanted; the turns of others have an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Those behind this prompt or answer; all when absent.
    pub after: Option<Uuid>,
    /// Not those of these.
    pub known: BTreeSet<Uuid>,
    /// Bytes of one text; more is cut off.
    pub each: usize,
    /// Bytes of all of them together.
    pub room: usize,
}

impl Default for Wanted {
    /// All.
    fn default() -> Self {
        Wanted { after: None, known: BTreeSet::new(), each: usize::MAX, room: usize::MAX }
    }
}

impl Turns {
    /// They as relay items: ids are those of the transcript lines, as a driver uses them.
    pub fn into_items(self) -> Vec<RelayItem> {
        let mut items = Vec::new();
        for turn in self.turns {
            // `!command` asks the model something where an answer follows, and not otherwise.
            let asked = |from: Origin| from == Origin::Person || from == Origin::Local && turn.answer.is_some();
            for prompt in turn.prompts.into_iter().filter(|p| asked(p.from)) {
                items.push(RelayItem { id: prompt.uuid.to_string(), kind: RelayKind::Prompt, text: prompt.text });
            }
            if let Some(answer) = turn.answer.filter(|_| turn.end == End::Complete) {
                items.push(RelayItem { id: answer.uuid.to_string(), kind: RelayKind::Answer, text: answer.text });
            }
        }
        items
    }
}

/// One turn: what was asked, what was answered, how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// What began it, then what was typed while it ran. Empty only where the
    /// stretch begins inside a turn.
    pub prompts: Vec<Prompt>,
    /// The last text Claude said in it, whatever the end: what the host's
    /// `Stop` hook gives as `last_assistant_message` when it is complete.
    pub answer: Option<Answer>,
    /// How it ended.
    pub end: End,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// Its chain line.
    pub uuid: Uuid,
    /// The host's id of the turn, as hooks give it.
    pub prompt_id: Option<String>,
    /// The text, without attached files.
    pub text: String,
    /// Who wrote it.
    pub from: Origin,
    /// `origin.kind` as the host writes it: `human`, `peer`, `plugin`, `task-notification`.
    pub origin: Option<String>,
    /// `promptSource` as the host writes it: `typed`, `queued`, `sdk`, `system`.
    pub source: Option<String>,
}

/// Who wrote a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// A person, through whatever surface; a plugin speaking as the person too.
    Person,
    /// The host, a tool or another Claude session.
    Machine,
    /// A person's command in the terminal (`/model`, `!ls`; on 2.1.197 also a
    /// command that prompts the model). The thread's concern where an answer follows.
    Local,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Its chain line.
    pub uuid: Uuid,
    /// The text.
    pub text: String,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "end")]
pub enum End {
    /// Claude had said what it had to say.
    Complete,
    /// A person interrupted it.
    Interrupted,
    /// The model API failed; what the host showed.
    Failed {
        /// Its text.
        text: String,
    },
    /// Nothing more was written: it runs still, or its process died.
    Open,
}

/// What a whole line says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Whole<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Field<'a>,
    #[serde(borrow)]
    pub(super) subtype: Field<'a>,
    #[serde(borrow)]
    pub(super) uuid: Field<'a>,
    #[serde(borrow)]
    pub(super) parent_uuid: Field<'a>,
    #[serde(borrow)]
    pub(super) is_sidechain: Field<'a>,
    #[serde(borrow)]
    prompt_id: Field<'a>,
    #[serde(borrow)]
    prompt_source: Field<'a>,
    #[serde(borrow)]
    origin: Field<'a>,
    #[serde(borrow)]
    pub(super) message: Field<'a>,
    #[serde(borrow)]
    attachment: Field<'a>,
    #[serde(borrow)]
    interrupted_message_id: Field<'a>,
    #[serde(borrow)]
    pub(super) is_meta: Field<'a>,
    #[serde(borrow)]
    pub(super) is_compact_summary: Field<'a>,
    #[serde(borrow)]
    pub(super) is_api_error_message: Field<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: Field<'a>,
    #[serde(borrow)]
    model: Field<'a>,
    #[serde(borrow)]
    stop_reason: Field<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Field<'a>,
    #[serde(borrow)]
    text: Field<'a>,
    #[serde(borrow)]
    id: Field<'a>,
    #[serde(borrow)]
    tool_use_id: Field<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct From<'a> {
    #[serde(borrow)]
    kind: Field<'a>,
    #[serde(borrow, rename = "asUser")]
    as_user: Field<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attachment<'a> {
    #[serde(borrow, rename = "type")]
    kind: Field<'a>,
    #[serde(borrow)]
    prompt: Field<'a>,
    #[serde(borrow)]
    origin: Field<'a>,
    #[serde(borrow, rename = "commandMode")]
    command_mode: Field<'a>,
}

/// Reads the turns of `path`, a stretch of the chain, oldest line first.
/// `beside` are lines next to it, where results of parallel tool calls stand.
/// `fetch` gives the bytes of a line.
///
/// # Errors
/// The first error of `fetch`.
pub fn turns<E>(path: &[Span], beside: &[Span], fetch: impl FnMut(Span) -> Result<Vec<u8>, E>) -> Result<Turns, E> {
    turns_within(path, beside, Wanted::default(), fetch)
}

/// The same, with the texts that are wanted alone: memory does not grow with the others.
///
/// # Errors
/// The first error of `fetch`.
pub fn turns_within<E>(
    path: &[Span],
    beside: &[Span],
    wanted: Wanted,
    mut fetch: impl FnMut(Span) -> Result<Vec<u8>, E>,
) -> Result<Turns, E> {
    let mut state = State { wanted, ..State::default() };
    for span in path {
        state.line(&fetch(*span)?);
    }
    for span in beside {
        state.beside(&fetch(*span)?);
    }
    Ok(state.finish())
}

/// Whether a turn whose last line this is, is over; `None` for lines that say
/// nothing either way.
pub(super) fn is_over(bytes: &[u8]) -> Option<bool> {
    let line = serde_json::from_slice::<Whole<'_>>(bytes).ok()?;
    // A thought or white space alone says nothing: the host drops it when it resumes.
    let silent = || line.kind.plain() == Some("assistant") && said(&line).is_silent();
    over(&line).filter(|over| *over || !silent())
}

/// Whether a line of the model says why it stopped; `None` for lines that are neither the model's nor a person's.
pub fn gives_reason(bytes: &[u8]) -> Option<bool> {
    let line = serde_json::from_slice::<Whole<'_>>(bytes).ok()?;
    match line.kind.plain() {
        _ if line.is_sidechain.is_true() => None,
        Some("user") => Some(true),
        Some("assistant") => Some(inner::<Message<'_>>(line.message).stop_reason.raw().is_some()),
        _ => None,
    }
}

/// What a person asked with a line, in words for a label. Sessions from before 2.1.170 do not say who wrote a prompt:
/// then it is a prompt where it is no command of the terminal and nothing of the host's.
pub fn asked(bytes: &[u8]) -> Option<String> {
    let line = serde_json::from_slice::<Whole<'_>>(bytes).ok()?;
    if line.is_sidechain.is_true() {
        return None;
    }
    let prompt = match line.kind.plain() {
        Some("user") => prompt(&line),
        Some("attachment") => queued(&line),
        _ => None,
    }?;
    let untold = prompt.from == Origin::Local && !prompt.text.starts_with(['/', '!', '<']);
    (prompt.from == Origin::Person || untold).then_some(prompt.text)
}

/// The same for lines in the order of the file, where others stand between those of the
/// chain: what a subagent said ends nothing, and what was queued begins a turn. With the
/// line's own id.
pub(super) fn ends(bytes: &[u8]) -> Option<(bool, Option<Uuid>)> {
    let line = serde_json::from_slice::<Whole<'_>>(bytes).ok()?;
    if line.is_sidechain.is_true() {
        return None;
    }
    let over = if line.kind.plain() == Some("queue-operation") { Some(false) } else { over(&line) };
    over.map(|over| (over, line.uuid.uuid()))
}

fn over(line: &Whole<'_>) -> Option<bool> {
    match line.kind.plain() {
        Some("user") if line.is_meta.is_true() => None,
        Some("user") if !said(line).results.is_empty() => Some(false),
        Some("user") => Some(prompt(line).is_none_or(|prompt| prompt.from == Origin::Local)),
        Some("assistant") => {
            let said = said(line);
            Some(said.over && said.calls.is_empty() && !said.text.trim().is_empty())
        }
        Some("attachment") => queued(line).map(|_| false),
        _ => None,
    }
}

#[derive(Default)]
struct State {
    turns: Vec<Turn>,
    beside: Vec<Prompt>,
    called: Vec<String>,
    answered: BTreeSet<String>,
    /// Of which turn each line is.
    of: BTreeMap<Uuid, usize>,
    wanted: Wanted,
    left_out: BTreeSet<Uuid>,
}

impl State {
    /// A text of the way, if it is wanted.
    fn wanted(&mut self, id: Uuid, mut text: String) -> String {
        if let Some(after) = self.wanted.after {
            self.wanted.after = Some(after).filter(|after| *after != id);
            return String::new();
        }
        if self.wanted.known.contains(&id) {
            return String::new();
        }
        text.truncate(text.ceil_char_boundary(self.wanted.each));
        if !self.left_out.is_empty() || text.len() > self.wanted.room {
            self.left_out.insert(id);
            return String::new();
        }
        self.wanted.room -= text.len();
        text
    }

    /// A prompt with its text, if that is wanted. What the machine asked is never relayed.
    fn asked(&mut self, mut prompt: Prompt) -> Prompt {
        let text = std::mem::take(&mut prompt.text);
        let bounded = self.wanted.each != usize::MAX;
        prompt.text =
            if bounded && prompt.from == Origin::Machine { String::new() } else { self.wanted(prompt.uuid, text) };
        prompt
    }

    fn line(&mut self, bytes: &[u8]) {
        // Lines on the path were read before; one that cannot be is changed
        // under our hands, and the next look at the chain will tell.
        let Ok(line) = serde_json::from_slice::<Whole<'_>>(bytes) else {
            return;
        };
        match line.kind.plain() {
            Some("user") => self.user(&line),
            Some("assistant") => self.assistant(&line),
            Some("attachment") => self.attachment(&line),
            _ => {}
        }
        if let (Some(uuid), Some(turn)) = (line.uuid.uuid(), self.turns.len().checked_sub(1)) {
            self.of.insert(uuid, turn);
        }
    }

    fn beside(&mut self, bytes: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Whole<'_>>(bytes) else {
            return;
        };
        match line.kind.plain() {
            Some("user") => {
                self.answered.extend(said(&line).results);
                self.beside.extend(prompt(&line));
            }
            Some("attachment") => self.beside.extend(queued(&line)),
            Some("assistant") => self.answer_beside(&line),
            _ => {}
        }
        self.belongs_beside(&line);
    }

    /// A line beside the way is of the turn of its parent, where it does not begin one itself.
    fn belongs_beside(&mut self, line: &Whole<'_>) {
        let begins = line.kind.plain() == Some("user") && prompt(line).is_some();
        let turn = line.parent_uuid.uuid().and_then(|parent| self.of.get(&parent).copied());
        if let (Some(uuid), Some(turn), false) = (line.uuid.uuid(), turn, begins) {
            self.of.insert(uuid, turn);
        }
    }

    /// After an error of the model's service the host goes on below the error, beside the answer.
    fn answer_beside(&mut self, line: &Whole<'_>) {
        let said = said(line);
        let turn =
            line.parent_uuid.uuid().and_then(|parent| self.of.get(&parent)).and_then(|turn| self.turns.get_mut(*turn));
        let (Some(uuid), Some(turn)) = (line.uuid.uuid(), turn) else { return };
        let text = said.text.trim();
        let is_answer = said.over
            && said.calls.is_empty()
            && !said.synthetic
            && !text.is_empty()
            && !line.is_api_error_message.is_true();
        if is_answer && turn.answer.is_none() && turn.end == End::Open {
            turn.answer = Some(Answer { uuid, text: text.to_owned() });
            turn.end = End::Complete;
        }
    }

    fn user(&mut self, line: &Whole<'_>) {
        let results = said(line).results;
        if !results.is_empty() {
            self.answered.extend(results);
            if let Some(turn) = self.turns.last_mut() {
                turn.end = End::Open;
            }
        } else if is_interruption(line) {
            if let Some(turn) = self.turns.last_mut() {
                turn.end = End::Interrupted;
            }
        } else if let Some(prompt) = prompt(line) {
            // A local command is over when it is written, unless an answer follows.
            let end = if prompt.from == Origin::Local { End::Complete } else { End::Open };
            let prompt = self.asked(prompt);
            self.turns.push(Turn { prompts: vec![prompt], answer: None, end });
        }
    }

    fn assistant(&mut self, line: &Whole<'_>) {
        let said = said(line);
        let Some(uuid) = line.uuid.uuid() else { return };
        if line.is_api_error_message.is_true() {
            self.turn().end = End::Failed { text: said.text };
            return;
        }
        // What the host puts in the model's mouth to complete a turn that a
        // crash cut off ("No response requested.") is no answer.
        if said.synthetic {
            return;
        }
        if !said.text.trim().is_empty() {
            // The one before is not the turn's last.
            let before = self.turn().answer.take().map_or(0, |answer| answer.text.len());
            self.wanted.room = self.wanted.room.saturating_add(before);
            // Trimmed, as the host does for its `Stop` hook.
            let text = self.wanted(uuid, said.text.trim().to_owned());
            self.turn().answer = Some(Answer { uuid, text });
        }
        let turn = self.turn();
        turn.end = if said.over && said.calls.is_empty() { End::Complete } else { End::Open };
        self.called.extend(said.calls);
    }

    fn attachment(&mut self, line: &Whole<'_>) {
        if let Some(prompt) = queued(line) {
            let prompt = self.asked(prompt);
            let turn = self.turn();
            turn.prompts.push(prompt);
            turn.end = End::Open;
        }
    }

    /// The turn under way; one without a prompt where the stretch begins inside it.
    fn turn(&mut self) -> &mut Turn {
        if self.turns.is_empty() {
            self.turns.push(Turn { prompts: Vec::new(), answer: None, end: End::Open });
        }
        self.turns.last_mut().expect("one was pushed if there was none")
    }

    fn finish(mut self) -> Turns {
        self.called.retain(|id| !self.answered.contains(id));
        self.turns.retain(|turn| !turn.prompts.is_empty() || turn.answer.is_some());
        Turns { turns: self.turns, open_tools: self.called, beside: self.beside, left_out: self.left_out }
    }
}

/// The prompt of a user line, where it is one.
pub(super) fn prompt(line: &Whole<'_>) -> Option<Prompt> {
    let said = said(line);
    let aside = line.is_meta.is_true() || line.is_compact_summary.is_true();
    if aside || !said.results.is_empty() || is_interruption(line) {
        return None;
    }
    Some(Prompt {
        uuid: line.uuid.uuid()?,
        prompt_id: line.prompt_id.text(),
        text: as_typed(said.text)?,
        from: origin(line.origin, line.prompt_source),
        origin: kind(line.origin),
        source: line.prompt_source.text(),
    })
}

/// A prompt typed while a turn ran, and taken in by it: no user line.
pub(super) fn queued(line: &Whole<'_>) -> Option<Prompt> {
    let attachment: Attachment<'_> = inner(line.attachment);
    let queued = attachment.kind.plain() == Some("queued_command");
    if !queued || attachment.command_mode.plain().is_some_and(|mode| mode != "prompt") {
        return None;
    }
    let from = match kind(attachment.origin) {
        Some(_) => origin(attachment.origin, Field::default()),
        None => Origin::Person,
    };
    Some(Prompt {
        uuid: line.uuid.uuid()?,
        prompt_id: line.prompt_id.text(),
        text: content(attachment.prompt).text,
        from,
        origin: kind(attachment.origin),
        source: Some("queued".to_owned()),
    })
}

pub(super) fn is_interruption(line: &Whole<'_>) -> bool {
    let typed = !line.prompt_source.is_falsy() || !line.origin.is_falsy();
    let marked = || said(line).text.starts_with("[Request interrupted by user");
    !line.interrupted_message_id.is_falsy() || !typed && marked()
}

/// What a message says.
#[derive(Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) calls: Vec<String>,
    pub(super) results: Vec<String>,
    /// Written by the host in the model's name.
    pub(super) synthetic: bool,
    /// The model stopped, and not to call a tool.
    pub(super) over: bool,
    /// The model would not.
    pub(super) refused: bool,
}

impl Said {
    fn is_silent(&self) -> bool {
        self.text.trim().is_empty() && self.calls.is_empty()
    }
}

pub(super) fn said(line: &Whole<'_>) -> Said {
    let message: Message<'_> = inner(line.message);
    let stop = message.stop_reason.plain();
    let said = content(message.content);
    Said {
        synthetic: message.model.plain() == Some("<synthetic>"),
        // Without a reason, words end a turn: both versions write none where the endpoint gives none. A tool
        // call of the same message has a line of its own, behind this one.
        over: stop.map_or_else(|| !said.is_silent() && said.calls.is_empty(), |reason| reason != "tool_use"),
        refused: stop == Some("refusal"),
        ..said
    }
}

fn content(content: Field<'_>) -> Said {
    let mut said = Said::default();
    if let Some(text) = content.text() {
        said.text = text;
        return said;
    }
    let blocks: Vec<Block<'_>> = content.raw().and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    for block in blocks {
        match block.kind.plain() {
            Some("text") => {
                if let Some(text) = block.text.text() {
                    if !said.text.is_empty() {
                        said.text.push('\n');
                    }
                    said.text.push_str(&text);
                }
            }
            Some("tool_use") => said.calls.extend(block.id.text()),
            Some("tool_result") => said.results.extend(block.tool_use_id.text()),
            _ => {}
        }
    }
    said
}

/// A prompt as the person typed it. The host writes commands in tags
/// (`/name args`, `!shell`), and their output as lines of their own: no prompts.
fn as_typed(text: String) -> Option<String> {
    let tag = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner)
    };
    if ["<local-command-stdout>", "<local-command-stderr>", "<bash-stdout>", "<bash-stderr>"]
        .iter()
        .any(|output| text.starts_with(output))
    {
        return None;
    }
    let typed = if text.starts_with("<bash-input>") {
        tag("bash-input").map(|shell| format!("!{shell}"))
    } else if text.starts_with("<command-message>") || text.starts_with("<command-name>") {
        tag("command-name").map(|name| match tag("command-args") {
            Some(args) if !args.is_empty() => format!("{name} {args}"),
            _ => name.to_owned(),
        })
    } else {
        None
    };
    Some(typed.unwrap_or(text))
}

fn origin(origin: Field<'_>, source: Field<'_>) -> Origin {
    let from: From<'_> = inner(origin);
    match (from.kind.plain(), source.plain()) {
        (Some("human"), _) => Origin::Person,
        (Some("plugin"), _) if from.as_user.is_true() => Origin::Person,
        (Some(_), _) | (None, Some("system")) => Origin::Machine,
        (None, Some(_)) => Origin::Person,
        (None, None) => Origin::Local,
    }
}

fn kind(origin: Field<'_>) -> Option<String> {
    let from: From<'_> = inner(origin);
    from.kind.text()
}

/// An object inside a line; an empty one where there is none.
fn inner<'a, T: Deserialize<'a> + Default>(field: Field<'a>) -> T {
    field.raw().and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
}
