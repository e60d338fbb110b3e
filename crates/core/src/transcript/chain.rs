//! Ancestry, the active leaf, and the proof that what was appended since a
//! claim is one chain.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reader::{Hint, Kind, Link, Node, Tail, Transcript};
use super::turn::is_over;
use super::{PRUNED_ABOVE_BYTES, Span};

/// Whether the chain could be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "chain")]
pub enum Chain {
    /// It could.
    Shown(Shown),
    /// It could not.
    Broken(Broken),
}

/// The evidence: `from` is an ancestor of `to`, and every chain line appended
/// after the claim descends from `from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The leaf at claim; `None` where there was no turn yet.
    pub from: Option<Uuid>,
    /// The active leaf now.
    pub to: Option<Uuid>,
    /// Chain lines appended on the way, oldest first.
    pub path: Vec<Span>,
    /// Chain lines appended beside the way, oldest first: parallel tool
    /// results, turns a person rewound.
    pub beside: Vec<Span>,
    /// Compactions on the way.
    pub compactions: u32,
    /// Lines appended that the host cannot read either, such as one torn by a crash.
    pub unreadable: u32,
    /// How the file ends.
    pub tail: Tail,
}

/// Why the chain could not be shown, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Broken {
    /// Why.
    pub why: Why,
    /// The offending chain line.
    pub uuid: Option<Uuid>,
    /// Where it stands.
    pub at: Option<Span>,
}

/// Why a chain could not be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// A leaf is not in the file.
    LeafMissing,
    /// The host finds no conversation: its leaf is a sidechain.
    NoConversation,
    /// The active leaf does not descend from the leaf at claim.
    NotAncestor,
    /// An appended line hangs outside the subtree of the leaf at claim.
    Outside,
    /// A parent on the way up is not in the file.
    UnknownParent,
    /// A parent on the way up is no id.
    OddParent,
    /// Parents run in a circle.
    Cycle,
    /// An id was written again under another parent.
    Moved,
    /// A line the host can read and this reader cannot.
    Unreadable,
    /// The file is shorter than at claim.
    Shrunk,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::LeafMissing => "the last turn before the claim is not in the transcript",
            Why::NoConversation => "the transcript's active leaf is a side conversation",
            Why::NotAncestor => "the active conversation does not continue the claimed one",
            Why::Outside => "something was appended outside the claimed conversation",
            Why::UnknownParent => "a line follows one that is not in the transcript",
            Why::OddParent => "the parent of a line is no id",
            Why::Cycle => "parents run in a circle",
            Why::Moved => "an id was written again under another parent",
            Why::Unreadable => "a line could not be read",
            Why::Shrunk => "the transcript is shorter than at the claim",
        })?;
        if let Some(at) = self.at {
            write!(f, ": line {}, byte {}", at.line, at.byte)?;
        }
        if let Some(uuid) = self.uuid {
            write!(f, " ({uuid})")?;
        }
        Ok(())
    }
}

/// What a line of an unknown type does to the way through it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Novel {
    Passes,
    Ends,
}

/// One step towards the root.
pub(super) enum Up {
    Root,
    To(usize),
    Broken(Why),
}

impl Transcript {
    /// The active leaf, by the rule in the module header; `None` for a transcript without a conversation.
    /// Lines of an unknown type pass their parent on, as they do for the newer host that wrote them.
    ///
    /// # Errors
    /// [`Why::NoConversation`] where the host refuses to resume.
    pub fn leaf(&self) -> Result<Option<Uuid>, Broken> {
        Ok(self.find_leaf(Novel::Passes)?.map(|at| self.nodes[at].uuid))
    }

    /// The same for the measured hosts: to them the way ends at a line of an unknown type.
    pub(super) fn host_leaf(&self) -> Result<Option<usize>, Broken> {
        self.find_leaf(Novel::Ends)
    }

    fn find_leaf(&self, novel: Novel) -> Result<Option<usize>, Broken> {
        let pruned = self.size > PRUNED_ABOVE_BYTES;
        let loaded_from = self.boundary_byte.filter(|_| pruned).unwrap_or(0);
        let hint = match self.hint {
            Some(Hint::Id(id)) => self.at(id).filter(|at| {
                let node = &self.nodes[*at];
                node.kind.is_spoken() && node.span.byte >= loaded_from && self.speaks(*at, novel)
            }),
            Some(Hint::Odd) | None => None,
        };
        if let Some(at) = hint.filter(|at| self.nodes[*at].sidechain) {
            return Err(self.broken(Why::NoConversation, at));
        }
        let rewound_at = self.rewound.filter(|(to, _)| self.hint == Some(*to)).map_or(0, |(_, at)| at);
        Ok(match (hint, self.last(novel)) {
            (Some(hint), Some(last))
                if self.nodes[last].span.byte >= rewound_at && self.descends(last, hint, novel) =>
            {
                Some(last)
            }
            (Some(hint), _) => Some(hint),
            (None, last) => last,
        })
    }

    /// The lowest line that is both or above both.
    pub(super) fn meet(&self, one: usize, other: usize) -> Result<usize, Broken> {
        let above: BTreeSet<usize> = self.upwards(one).collect();
        let none = || self.broken(Why::NotAncestor, other);
        self.upwards(other).find(|at| above.contains(at)).ok_or_else(none)
    }

    /// A line and those above it, as far as the way is whole.
    fn upwards(&self, from: usize) -> impl Iterator<Item = usize> {
        let parent = |at: &usize| match self.up(*at) {
            Up::To(parent) => Some(parent),
            Up::Root | Up::Broken(_) => None,
        };
        std::iter::successors(Some(from), parent).take(self.nodes.len())
    }

    /// Whether no turn is under way at `leaf`: the last thing said is an answer,
    /// an interruption or a local command, and no tool call waits. `fetch`
    /// gives the bytes of a line.
    ///
    /// # Errors
    /// The first error of `fetch`.
    pub fn is_quiet<E>(&self, leaf: Uuid, mut fetch: impl FnMut(Span) -> Result<Vec<u8>, E>) -> Result<bool, E> {
        let Some(at) = self.at(leaf) else { return Ok(true) };
        for node in self.by_parent(at, Novel::Passes) {
            if let Some(over) = is_over(&fetch(node.span)?) {
                return Ok(over);
            }
        }
        Ok(true)
    }

    /// Where an id's line stands; `None` when the chain has no such id.
    pub fn span(&self, id: Uuid) -> Option<Span> {
        self.at(id).map(|at| self.nodes[at].span)
    }

    /// Whether `a` is `b` or an ancestor of it, by `parentUuid`, or by
    /// `logicalParentUuid` across a compaction. False where the way is broken.
    pub fn is_ancestor(&self, a: Uuid, b: Uuid) -> bool {
        self.way(Some(a), b).is_ok()
    }

    /// The lines strictly after `from` down to `to`, oldest first; from the
    /// root where `from` is `None`.
    ///
    /// # Errors
    /// Says at which line the way up from `to` ends elsewhere.
    pub fn path(&self, from: Option<Uuid>, to: Uuid) -> Result<Vec<Span>, Broken> {
        Ok(self.spans(self.way(from, to)?))
    }

    /// Shows that everything appended after the first `size` bytes continues
    /// the conversation whose leaf was `from`. Dead branches from before do
    /// not matter, and a line torn at claim and ended since is not new.
    pub fn show(&self, from: Option<Uuid>, size: u64) -> Chain {
        match self.try_show(from, size) {
            Ok(shown) => Chain::Shown(shown),
            Err(broken) => Chain::Broken(broken),
        }
    }

    fn try_show(&self, from: Option<Uuid>, size: u64) -> Result<Shown, Broken> {
        if self.size < size {
            return Err(Broken { why: Why::Shrunk, uuid: None, at: None });
        }
        // What the host cannot read is no line to it either; what only this
        // reader cannot read might hang anywhere.
        if let Some(bad) = self.unreadable.filter(|bad| bad.at.byte >= size) {
            return Err(Broken { why: Why::Unreadable, uuid: None, at: Some(bad.at) });
        }
        let start = match from {
            Some(id) => Some(self.at(id).ok_or(missing(id))?),
            None => None,
        };
        let to = self.leaf()?;
        let mut way = match to {
            Some(to) => self.way(from, to)?,
            None => Vec::new(),
        };
        let on_way: BTreeSet<usize> = way.iter().copied().collect();
        let mut beside = self.appended_below(start, size)?;
        beside.retain(|at| !on_way.contains(at));
        // Between an anchor and the leaf of old there may be lines from before.
        way.retain(|at| self.nodes[*at].span.byte >= size);
        Ok(Shown {
            from,
            to,
            compactions: way.iter().filter(|at| self.nodes[**at].boundary).count() as u32,
            path: self.spans(way),
            beside: self.spans(beside),
            unreadable: self.malformed.iter().filter(|m| m.at.byte >= size).count() as u32,
            tail: self.tail,
        })
    }

    /// The nodes appended after `size` bytes, all of which must descend from
    /// `start`. Sidechains are nobody's conversation. Each node is walked once.
    fn appended_below(&self, start: Option<usize>, size: u64) -> Result<Vec<usize>, Broken> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            Walking,
            Below,
        }
        let mut seen = vec![Seen::No; self.nodes.len()];
        if let Some(start) = start {
            seen[start] = Seen::Below;
        }
        let mut appended = Vec::new();
        let mut walked = Vec::new();
        for first in 0..self.nodes.len() {
            let node = &self.nodes[first];
            // A line whose id was written again later stands there.
            if node.span.byte < size || node.sidechain || self.at(node.uuid) != Some(first) {
                continue;
            }
            if node.moved {
                return Err(self.broken(Why::Moved, first));
            }
            appended.push(first);
            let mut at = first;
            while seen[at] != Seen::Below {
                if seen[at] == Seen::Walking {
                    return Err(self.broken(Why::Cycle, at));
                }
                seen[at] = Seen::Walking;
                walked.push(at);
                match self.up(at) {
                    Up::To(parent) => at = parent,
                    Up::Root if start.is_none() => break,
                    Up::Root => return Err(self.broken(Why::Outside, first)),
                    Up::Broken(why) => return Err(self.broken(why, at)),
                }
            }
            for at in walked.drain(..) {
                seen[at] = Seen::Below;
            }
        }
        Ok(appended)
    }

    /// The nodes strictly after `from` down to `to`, oldest first.
    fn way(&self, from: Option<Uuid>, to: Uuid) -> Result<Vec<usize>, Broken> {
        let from = match from {
            Some(id) => Some(self.at(id).ok_or(missing(id))?),
            None => None,
        };
        let leaf = self.at(to).ok_or(missing(to))?;
        let mut way = Vec::new();
        let mut at = leaf;
        while Some(at) != from {
            if way.len() >= self.nodes.len() {
                // A line that was written again may be what closed the circle.
                let moved = way.iter().find(|at: &&usize| self.nodes[**at].moved);
                return Err(moved.map_or_else(|| self.broken(Why::Cycle, leaf), |at| self.broken(Why::Moved, *at)));
            }
            way.push(at);
            match self.up(at) {
                Up::To(parent) => at = parent,
                Up::Root if from.is_none() => break,
                Up::Root => return Err(self.broken(Why::NotAncestor, leaf)),
                Up::Broken(why) => return Err(self.broken(why, at)),
            }
        }
        way.reverse();
        Ok(way)
    }

    /// The parent, across a compaction too.
    pub(super) fn up(&self, at: usize) -> Up {
        let node = &self.nodes[at];
        let link = if node.parent == Link::None { node.logical } else { node.parent };
        match link {
            Link::None => Up::Root,
            Link::To(parent) => Up::To(parent as usize),
            Link::Unknown(_) => Up::Broken(Why::UnknownParent),
            Link::Odd => Up::Broken(Why::OddParent),
        }
    }

    /// The last node that can be a leaf.
    fn last(&self, novel: Novel) -> Option<usize> {
        (0..self.nodes.len()).rev().find(|at| {
            let node = &self.nodes[*at];
            node.kind.is_spoken() && !node.sidechain && self.speaks(*at, novel)
        })
    }

    /// Whether somebody said something at a line or above it.
    fn speaks(&self, at: usize, novel: Novel) -> bool {
        self.by_parent(at, novel).any(|node| matches!(node.kind, Kind::User | Kind::Assistant))
    }

    fn descends(&self, at: usize, ancestor: usize, novel: Novel) -> bool {
        let ancestor = self.nodes[ancestor].uuid;
        self.by_parent(at, novel).any(|node| node.uuid == ancestor)
    }

    /// A node and its ancestors by `parentUuid` alone; ends in a circle too.
    fn by_parent(&self, at: usize, novel: Novel) -> impl Iterator<Item = &Node> {
        let known = move |node: &&Node| novel == Novel::Passes || node.kind != Kind::Novel;
        let parent = move |node: &&Node| match node.parent {
            Link::To(at) => self.nodes.get(at as usize).filter(known),
            _ => None,
        };
        std::iter::successors(self.nodes.get(at), parent).take(self.nodes.len())
    }

    pub(super) fn at(&self, id: Uuid) -> Option<usize> {
        self.index.get(&id).map(|at| *at as usize)
    }

    fn spans(&self, nodes: Vec<usize>) -> Vec<Span> {
        nodes.into_iter().map(|at| self.nodes[at].span).collect()
    }

    fn broken(&self, why: Why, at: usize) -> Broken {
        let node = &self.nodes[at];
        Broken { why, uuid: Some(node.uuid), at: Some(node.span) }
    }
}

fn missing(id: Uuid) -> Broken {
    Broken { why: Why::LeafMissing, uuid: Some(id), at: None }
}
