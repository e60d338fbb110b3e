//! Where a Claude Code continues a transcript that it resumes: below which line its next one hangs.
//!
//! Before it continues, Claude Code tidies the conversation. It drops some assistant lines, and it
//! answers a last user line by itself (`No response requested.`), above system lines that stand after
//! it. What exactly it does depends on its version. The rules below were measured with
//! `claude -p --resume` of each version on hand-made transcripts, and are checked again by
//! `cargo xtask resume-check` in every test run.
//!
//! Reads only the end of a conversation: whole lines up to the last one with words of the model.
//! Absent on purpose: what Claude Code sends to the model.

use std::collections::BTreeSet;

use serde::Deserialize;
use uuid::Uuid;

use super::line::Field;
use super::reader::{Kind, Link, Transcript};
use super::turn::{Whole, said};
use super::{Broken, Span};

/// Most lines of a conversation's end that are looked at. The longest turn without a word of the model
/// that was seen had some hundred; a longer end is judged by its last lines.
const MAX_END_LINES: usize = 10_000;

/// An assistant line of white space is short: the host's own fields and a line feed.
const MAX_BLANK_BYTES: u32 = 16 << 10;

/// How one version of Claude Code continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The version that this was measured with.
    pub version: &'static str,
    /// A tool call without a result gets a result under it. Otherwise it is dropped.
    answers_calls: bool,
    /// What ends with a tool result or an attachment is continued at its very end. Otherwise it is answered
    /// above the system lines that stand after it.
    continues_turns: bool,
    /// The lines of a local command are answered, like a prompt.
    answers_local_commands: bool,
    /// An assistant line of white space, anywhere in the conversation, makes neighbouring user lines one.
    joins_after_blank: bool,
}

/// The rules of every measured version, newest first.
pub const MEASURED: [Rules; 2] = [
    Rules {
        version: "2.1.330",
        answers_calls: true,
        continues_turns: false,
        answers_local_commands: false,
        joins_after_blank: false,
    },
    Rules {
        version: "2.1.197",
        answers_calls: false,
        continues_turns: true,
        answers_local_commands: true,
        joins_after_blank: true,
    },
];

impl Rules {
    /// The rules of a version; `None` for one that was not measured.
    pub fn of(version: &str) -> Option<&'static Rules> {
        MEASURED.iter().find(|rules| rules.version == version)
    }
}

/// What a line is when a conversation is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A user line that is answered: a prompt, an interruption, a `!command`, something the host says.
    Prompt,
    Result,
    /// What the host says before the lines of a local command.
    Caveat,
    /// A local command or its output.
    Local,
    Summary,
    /// Words of the model, and no tool call.
    Words,
    Call,
    Error,
    /// An assistant line without content: it is passed over as a place to continue.
    Empty,
    /// Dropped, but for a thought that belongs to a message with words or calls.
    Thought,
    /// White space: dropped.
    Blank,
    Attachment,
    System,
}

impl What {
    fn is_user(self) -> bool {
        matches!(self, What::Prompt | What::Result | What::Caveat | What::Local | What::Summary)
    }

    fn is_aside(self) -> bool {
        matches!(self, What::Attachment | What::System)
    }
}

#[derive(Clone, Debug)]
struct Item {
    at: usize,
    what: What,
    meta: bool,
    message: Option<String>,
    calls: Vec<String>,
    results: Vec<String>,
}

impl Transcript {
    /// The line below which a Claude Code that follows `rules` continues; `None` where there is no
    /// conversation. `fetch` gives the bytes of a line.
    ///
    /// # Errors
    /// The first error of `fetch`.
    pub fn continues<E>(
        &self,
        rules: &Rules,
        mut fetch: impl FnMut(Span) -> Result<Vec<u8>, E>,
    ) -> Result<Result<Option<Uuid>, Broken>, E> {
        Ok(match self.host_leaf() {
            Ok(Some(leaf)) => Ok(Some(self.nodes[self.place(leaf, rules, &mut fetch)?].uuid)),
            Ok(None) => Ok(None),
            Err(broken) => Err(broken),
        })
    }

    /// The lowest line above every place where a measured Claude Code would continue: the mark of a claim,
    /// since it is not known which version the driver has. Where all agree it is that very line.
    ///
    /// # Errors
    /// The first error of `fetch`.
    pub fn anchor<E>(
        &self,
        mut fetch: impl FnMut(Span) -> Result<Vec<u8>, E>,
    ) -> Result<Result<Option<Uuid>, Broken>, E> {
        // A host that knows a line type that the measured ones do not know goes on behind it.
        let host = match self.host_leaf() {
            Ok(host) => host,
            Err(broken) => return Ok(Err(broken)),
        };
        let newer = self.leaf().ok().flatten().and_then(|id| self.at(id)).filter(|newer| Some(*newer) != host);
        let mut anchor: Option<usize> = None;
        for leaf in host.into_iter().chain(newer) {
            for rules in &MEASURED {
                let place = self.place(leaf, rules, &mut fetch)?;
                anchor = Some(match anchor {
                    None => place,
                    Some(other) => match self.meet(other, place) {
                        Ok(at) => at,
                        Err(broken) => return Ok(Err(broken)),
                    },
                });
            }
        }
        Ok(Ok(anchor.map(|at| self.nodes[at].uuid)))
    }

    fn place<E>(
        &self,
        leaf: usize,
        rules: &Rules,
        fetch: &mut impl FnMut(Span) -> Result<Vec<u8>, E>,
    ) -> Result<usize, E> {
        let leaf = self.kept_tail(leaf);
        let mut items = self.end(leaf, fetch)?;
        let beside = self.beside(&items, fetch)?;
        let answered: BTreeSet<String> = items.iter().chain(&beside).flat_map(|item| item.results.clone()).collect();
        if !rules.answers_calls {
            items.retain(|item| item.calls.is_empty() || item.calls.iter().any(|id| answered.contains(id)));
        }
        drop_thoughts(&mut items);
        if rules.joins_after_blank && has_neighbours(&items) && self.has_blank(leaf, &items, fetch)? {
            items.retain(|item| item.what != What::Blank);
            join(&mut items);
        }
        items.retain(|item| item.what != What::Blank);
        let place = match rules.continues_turns {
            true => place_after_turn(&items),
            false => open_call(&items, &beside, &answered).or_else(|| place_in_turn(&items, rules)),
        };
        Ok(place.unwrap_or(leaf))
    }

    /// The end of the conversation, oldest line first: from the last words of the model on.
    fn end<E>(&self, leaf: usize, fetch: &mut impl FnMut(Span) -> Result<Vec<u8>, E>) -> Result<Vec<Item>, E> {
        let mut items = Vec::new();
        for at in self.told(leaf).take(MAX_END_LINES) {
            let item = read_item(at, self.nodes[at].kind, &fetch(self.nodes[at].span)?);
            let words = item.what == What::Words;
            items.push(item);
            if words {
                break;
            }
        }
        items.reverse();
        Ok(items)
    }

    /// Parallel calls of the messages in `items`, and results, that stand beside the way.
    fn beside<E>(&self, items: &[Item], fetch: &mut impl FnMut(Span) -> Result<Vec<u8>, E>) -> Result<Vec<Item>, E> {
        let calls = items.iter().filter(|item| item.what == What::Call);
        let mut under: Vec<(u32, Option<String>)> = calls.map(|item| (item.at as u32, item.message.clone())).collect();
        let on_way: BTreeSet<usize> = items.iter().map(|item| item.at).collect();
        let Some(first) = under.first().map(|(at, _)| *at as usize) else { return Ok(Vec::new()) };
        let mut beside = Vec::new();
        for at in first..self.nodes.len() {
            let node = &self.nodes[at];
            let spoken = matches!(node.kind, Kind::User | Kind::Assistant) && !node.sidechain && !on_way.contains(&at);
            let Link::To(parent) = node.parent else { continue };
            let Some((_, message)) = under.iter().find(|(call, _)| spoken && *call == parent).cloned() else {
                continue;
            };
            let item = read_item(at, node.kind, &fetch(node.span)?);
            if item.what == What::Call && item.message.is_some() && item.message == message {
                under.push((at as u32, message));
                beside.push(item);
            } else if item.what == What::Result {
                beside.push(item);
            }
        }
        Ok(beside)
    }

    /// Whether an assistant line of white space is in the conversation.
    fn has_blank<E>(
        &self,
        leaf: usize,
        items: &[Item],
        fetch: &mut impl FnMut(Span) -> Result<Vec<u8>, E>,
    ) -> Result<bool, E> {
        if items.iter().any(|item| item.what == What::Blank) {
            return Ok(true);
        }
        for at in self.told(leaf) {
            let node = &self.nodes[at];
            let short = node.kind == Kind::Assistant && node.span.len <= MAX_BLANK_BYTES;
            if short && read_item(at, node.kind, &fetch(node.span)?).what == What::Blank {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where a compaction kept a part of the conversation and nothing stands below its summary, the
    /// conversation ends with that part.
    fn kept_tail(&self, leaf: usize) -> usize {
        let kept = self.kept.filter(|kept| kept.anchor == self.nodes[leaf].uuid);
        kept.and_then(|kept| self.at(kept.tail)).unwrap_or(leaf)
    }

    /// A line and those before it as the host tells the conversation: across a parent that is not there, and
    /// with what a compaction kept below its summary.
    fn told(&self, leaf: usize) -> impl Iterator<Item = usize> {
        let mut seen = BTreeSet::new();
        let all = std::iter::successors(Some(leaf), |at| self.told_parent(*at));
        all.take_while(move |at| seen.insert(*at)).filter(|at| self.nodes[*at].kind.is_spoken())
    }

    fn told_parent(&self, at: usize) -> Option<usize> {
        let node = &self.nodes[at];
        let bridge =
            || (0..at).rev().find(|before| self.nodes[*before].kind.is_spoken() && !self.nodes[*before].sidechain);
        let parent = match node.parent {
            Link::To(parent) if self.nodes[parent as usize].kind == Kind::Novel => bridge(),
            Link::To(parent) => Some(parent as usize),
            Link::Unknown(_) | Link::Odd => bridge(),
            Link::None => None,
        };
        let Some(kept) = self.kept else { return parent };
        if node.uuid == kept.head {
            return self.at(kept.anchor);
        }
        match parent {
            Some(parent) if self.nodes[parent].uuid == kept.anchor => self.at(kept.tail).or(Some(parent)),
            parent => parent,
        }
    }
}

/// Drops thoughts that belong to no message with more than thoughts.
fn drop_thoughts(items: &mut Vec<Item>) {
    let more = |item: &&Item| matches!(item.what, What::Words | What::Call | What::Blank | What::Error);
    let said: BTreeSet<String> = items.iter().filter(more).filter_map(|item| item.message.clone()).collect();
    items.retain(|item| item.what != What::Thought || item.message.as_ref().is_some_and(|id| said.contains(id)));
}

fn has_neighbours(items: &[Item]) -> bool {
    let kept: Vec<&Item> = items.iter().filter(|item| item.what != What::Blank).collect();
    kept.windows(2).any(|two| two[0].what.is_user() && two[1].what.is_user())
}

/// Makes neighbouring user lines one. It has the id of the first, or of the next where the first is the host's own.
fn join(items: &mut Vec<Item>) {
    let mut joined: Vec<Item> = Vec::new();
    for item in items.drain(..) {
        match joined.last_mut() {
            Some(before) if before.what.is_user() && item.what.is_user() => {
                if before.meta {
                    before.at = item.at;
                }
            }
            _ => joined.push(item),
        }
    }
    *items = joined;
}

/// Where there is nothing to answer: the last line.
fn last_place(items: &[Item]) -> Option<usize> {
    items.iter().rev().find(|item| item.what != What::Empty).map(|item| item.at)
}

/// Where a host continues that takes a turn up again at its very end.
fn place_after_turn(items: &[Item]) -> Option<usize> {
    let last = items.iter().rposition(|item| !item.what.is_aside() && item.what != What::Error);
    let attached = |from: usize| items[from..].iter().any(|item| item.what == What::Attachment);
    let under_way = last.is_some_and(|at| match items[at].what {
        What::Result => true,
        What::Prompt | What::Local | What::Caveat => attached(at),
        _ => false,
    });
    let said = items.iter().rev().find(|item| item.what != What::System);
    match said.filter(|item| item.what.is_user() && !under_way) {
        Some(user) => Some(user.at),
        None => last_place(items),
    }
}

/// Where a host continues that answers a turn where it stopped.
fn place_in_turn(items: &[Item], rules: &Rules) -> Option<usize> {
    let last = items.iter().rposition(|item| !item.what.is_aside());
    let attached = |from: usize| items[from..].iter().any(|item| item.what == What::Attachment);
    let answers = last.is_some_and(|at| match items[at].what {
        What::Prompt | What::Result => true,
        What::Summary => !attached(at),
        What::Caveat | What::Local => rules.answers_local_commands || !is_after_caveat(&items[..=at]),
        _ => false,
    });
    match answers {
        true => items.iter().rev().find(|item| item.what != What::System).map(|item| item.at),
        false => last_place(items),
    }
}

/// Whether lines that end with a local command begin, as such, with the host's caveat.
fn is_after_caveat(items: &[Item]) -> bool {
    let lines = items.iter().rev().filter(|item| !item.what.is_aside());
    lines.map(|item| item.what).find(|what| *what != What::Local) == Some(What::Caveat)
}

/// The first call without a result of the last message, where nothing but results stands after it.
fn open_call(items: &[Item], beside: &[Item], answered: &BTreeSet<String>) -> Option<usize> {
    let last = items.iter().rev().find(|item| !item.what.is_aside() && item.what != What::Result)?;
    let calls = |item: &&Item| {
        item.what == What::Call && (item.at == last.at || last.message.is_some() && item.message == last.message)
    };
    let open = |item: &&Item| item.calls.iter().any(|id| !answered.contains(id));
    let of_message = items.iter().chain(beside).filter(calls);
    (last.what == What::Call).then(|| of_message.filter(open).map(|item| item.at).min()).flatten()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Field<'a>,
    #[serde(borrow)]
    content: Field<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BlockKind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Field<'a>,
}

fn read_item(at: usize, kind: Kind, bytes: &[u8]) -> Item {
    let line: Whole<'_> = serde_json::from_slice(bytes).unwrap_or_default();
    let message: Message<'_> = line.message.raw().and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    let said = said(&line);
    let what = match kind {
        Kind::User => user(&line, &said.text, &said.results),
        Kind::Assistant => assistant(&line, message.content, &said.text, &said.calls),
        Kind::Attachment => What::Attachment,
        Kind::System | Kind::Through | Kind::Novel => What::System,
    };
    Item {
        at,
        what,
        meta: line.is_meta.is_true(),
        message: message.id.text(),
        calls: said.calls,
        results: said.results,
    }
}

fn user(line: &Whole<'_>, text: &str, results: &[String]) -> What {
    const LOCAL: [&str; 4] =
        ["<command-name>", "<command-message>", "<local-command-stdout>", "<local-command-stderr>"];
    if !results.is_empty() {
        What::Result
    } else if line.is_compact_summary.is_true() {
        What::Summary
    } else if line.is_meta.is_true() && text.starts_with("<local-command-caveat>") {
        What::Caveat
    } else if LOCAL.iter().any(|tag| text.starts_with(tag)) {
        What::Local
    } else {
        What::Prompt
    }
}

fn assistant(line: &Whole<'_>, content: Field<'_>, text: &str, calls: &[String]) -> What {
    if line.is_api_error_message.is_true() {
        return What::Error;
    }
    let raw = content.raw().filter(|raw| raw.starts_with('['));
    let Some(blocks) = raw.and_then(|raw| serde_json::from_str::<Vec<BlockKind<'_>>>(raw).ok()) else {
        return What::Words;
    };
    let all = |kinds: &[&str]| blocks.iter().all(|block| block.kind.plain().is_some_and(|kind| kinds.contains(&kind)));
    if blocks.is_empty() {
        What::Empty
    } else if !calls.is_empty() {
        What::Call
    } else if all(&["text"]) && text.trim().is_empty() {
        What::Blank
    } else if all(&["thinking", "redacted_thinking"]) {
        What::Thought
    } else {
        What::Words
    }
}
