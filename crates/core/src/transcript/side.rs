//! What grew beside the active conversation: the branch of a second writer, or the conversation
//! as it was known where a second writer went back behind it.
//!
//! Decides which lines belong to such a branch. Whose they are is told by their prompts, which
//! the caller reads. Bounded: the newest [`SIDES`] branches.

use uuid::Uuid;

use super::Span;
use super::chain::Up;
use super::reader::{Kind, Transcript};

/// Branches that are told; a person chooses among them by hand.
pub const SIDES: usize = 8;

/// One branch beside the active conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its last line.
    pub leaf: Uuid,
    /// Its lines that can be prompts, oldest first, from where it leaves the active conversation.
    pub asked: Vec<Span>,
}

impl Transcript {
    /// The branches beside the active conversation that grew behind the first `size` bytes, and
    /// the one that ends at `known` where the active conversation does not contain it. The newest first.
    pub fn sides(&self, known: Option<Uuid>, size: u64) -> Vec<Side> {
        let Ok(Some(leaf)) = self.leaf() else { return Vec::new() };
        let Some(leaf) = self.at(leaf) else { return Vec::new() };
        let mut active = vec![false; self.nodes.len()];
        self.ancestry(leaf).for_each(|at| active[at] = true);
        let known = known.and_then(|known| self.at(known));
        let grown = |at: usize| {
            let node = &self.nodes[at];
            let counts = node.kind != Kind::Through && !node.sidechain && self.at(node.uuid) == Some(at);
            counts && !active[at] && (node.span.byte >= size || known == Some(at))
        };
        let tips = self.tips(grown, &active);
        tips.into_iter().rev().take(SIDES).map(|tip| self.side(tip, &active)).collect()
    }

    /// Those of the lines that no other of them follows, in the order of the file.
    fn tips(&self, grown: impl Fn(usize) -> bool, active: &[bool]) -> Vec<usize> {
        let mut followed = vec![false; self.nodes.len()];
        let all: Vec<usize> = (0..self.nodes.len()).filter(|at| grown(*at)).collect();
        for at in &all {
            // Lines between that are no nodes only pass a parent on.
            let parent = self.ancestry(*at).skip(1).find(|at| self.nodes[*at].kind != Kind::Through);
            if let Some(parent) = parent.filter(|parent| !active[*parent]) {
                followed[parent] = true;
            }
        }
        all.into_iter().filter(|at| !followed[*at]).collect()
    }

    fn side(&self, tip: usize, active: &[bool]) -> Side {
        let way = self.ancestry(tip).take_while(|at| !active[*at]);
        let asks = |at: &usize| matches!(self.nodes[*at].kind, Kind::User | Kind::Attachment);
        let mut asked: Vec<Span> = way.filter(asks).map(|at| self.nodes[at].span).collect();
        asked.reverse();
        Side { leaf: self.nodes[tip].uuid, asked }
    }

    /// A line and those it descends from, across compactions; ends in a circle too.
    fn ancestry(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let parent = |at: &usize| match self.up(*at) {
            Up::To(parent) => Some(parent),
            Up::Root | Up::Broken(_) => None,
        };
        std::iter::successors(Some(at), parent).take(self.nodes.len())
    }
}
