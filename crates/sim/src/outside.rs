//! What can be seen from outside: the transcript, the channel, the agent; and the account
//! of what was said and written, drawn up at the end.

use std::collections::HashMap;

use ride_core::thread::{Outgoing, Thread};
use ride_core::wire::{RelayItem, RelayKind};
use uuid::Uuid;

use crate::Run;
use crate::terminal::Terminal;

/// A line of the transcript.
#[derive(Clone, Debug)]
pub struct Line {
    pub id: Uuid,
    pub parent: Option<Uuid>,
    /// A driver's, of this kind; `None` for the agent's own.
    pub turn: Option<(usize, RelayKind)>,
}

/// The gateway's agent.
#[derive(Debug, Default)]
pub struct Agent {
    /// Its Claude lives, and has read the transcript up to this leaf.
    pub child: bool,
    pub leaf: Option<Uuid>,
    /// The turn that runs: its number, the message, the hand-over it belongs to.
    pub turn: Option<(u64, usize, Option<u64>)>,
    /// Messages the gate let in.
    pub pending: Vec<usize>,
    pub turns: u64,
}

impl Agent {
    pub fn is_idle(&self) -> bool {
        self.turn.is_none() && self.pending.is_empty()
    }
}

/// What became of a message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Turns of the agent that were about it, and hand-overs that said so.
    pub answered: u32,
    pub marked: u32,
    /// Let in by the gate, and lost with the gateway's process before its turn: the host's own loss.
    pub admitted: bool,
    /// Hand-overs whose outcome nobody knows.
    pub unknown: u32,
    pub held: bool,
    pub told: bool,
    pub along: bool,
}

#[derive(Debug, Default)]
pub struct Outside {
    pub transcript: Vec<Line>,
    /// The host's entry names the Claude session.
    pub parked: bool,
    pub agent: Agent,
    /// What the channel shows, in order: the id, whether marked, the text.
    pub channel: Vec<(String, bool, String)>,
    /// Sends of unknown outcome, by id.
    pub unknown: HashMap<String, u32>,
    /// The channel fails for so many more sends.
    pub bad_channel: u64,
    pub messages: HashMap<usize, Message>,
    /// Messages on their way to the gate.
    pub unsent: Vec<usize>,
    /// A Claude Code that has the session open, outside any ride.
    pub terminal: Option<Terminal>,
}

impl Outside {
    pub fn leaf(&self) -> Option<Uuid> {
        self.transcript.last().map(|line| line.id)
    }

    /// Appends, as a writer that takes `parent` for the leaf; false when that makes a fork.
    pub fn append(&mut self, line: Line) -> bool {
        let straight = line.parent == self.leaf();
        self.transcript.push(line);
        straight
    }

    /// The turns after a leaf, as the proof of the chain lists them.
    pub fn turns_after(&self, leaf: Option<Uuid>) -> Vec<RelayItem> {
        let from =
            leaf.map_or(0, |leaf| self.transcript.iter().position(|line| line.id == leaf).map_or(0, |at| at + 1));
        items(&self.transcript[from..])
    }

    pub fn shows(&mut self, item: &Outgoing) {
        self.channel.push((item.id.clone(), item.text.starts_with("(may be a repeat)"), item.text.clone()));
    }

    /// What is wrong with what was said and written, once all is at rest.
    pub fn account(&self, thread: &Thread, run: &mut Run) -> Option<String> {
        let lost: Vec<&str> = thread.undelivered.iter().map(|item| item.id.as_str()).collect();
        let mut order = Vec::new();
        for line in &self.transcript {
            let Some((driver, kind)) = line.turn else { continue };
            let id = line.id.to_string();
            run.turns += 1;
            let shown: Vec<bool> =
                self.channel.iter().filter(|(shown, ..)| *shown == id).map(|(_, marked, _)| *marked).collect();
            let unknown = self.unknown.get(&id).copied().unwrap_or(0);
            if shown.is_empty() && unknown < 2 && !lost.contains(&id.as_str()) {
                return Some(format!("I3: the {kind:?} {id} of d{driver} never reached the thread"));
            }
            let marked = shown.iter().filter(|marked| **marked).count();
            run.marked += marked as u64;
            if marked > 0 {
                *run.reached.entry("a turn was shown again, marked").or_default() += 1;
            }
            if shown.len() > 2 || shown.len() == 2 && (marked != 1 || unknown == 0) {
                return Some(format!(
                    "I4: the {kind:?} {id} of d{driver} stands in the thread {} times, {marked} marked",
                    shown.len()
                ));
            }
            order.extend(self.channel.iter().position(|(shown, ..)| *shown == id));
            let name = format!("🖥 d{driver}: ");
            if kind == RelayKind::Prompt
                && self.channel.iter().any(|(shown, _, text)| *shown == id && !text.contains(&name))
            {
                return Some(format!("I4: the prompt {id} of d{driver} stands in the thread under another name"));
            }
        }
        if !order.is_sorted() {
            return Some(format!("I4: turns stand in the thread out of order: {order:?}"));
        }
        for (n, message) in &self.messages {
            run.messages += 1;
            let Message { answered, marked, admitted, unknown, held, told, along } = message;
            // After a second one it is given up, and the thread is told.
            let given_up = *unknown > 1;
            let somewhere = *answered > 0 || *told || *along || given_up || *admitted && !*held;
            if !somewhere {
                return Some(format!(
                    "I3: message {n} reached neither agent nor driver, and its sender was not told: {message:?}"
                ));
            }
            if *answered > 1 && *marked == 0 || *answered > 2 || *answered > 1 + *unknown {
                return Some(format!("I4: message {n} was handed over {answered} times, {marked} marked"));
            }
            if *along && *answered > *unknown {
                return Some(format!("I4: message {n} rode along and was handed over"));
            }
        }
        None
    }
}

/// The turns of some lines, for the thread.
pub fn items(lines: &[Line]) -> Vec<RelayItem> {
    let item =
        |line: &Line| line.turn.map(|(_, kind)| RelayItem { id: line.id.to_string(), kind, text: line.id.to_string() });
    lines.iter().filter_map(item).collect()
}
