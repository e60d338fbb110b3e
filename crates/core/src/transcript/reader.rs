//! Bytes to nodes, in chunks of any size. Memory grows with the number of
//! chain lines and the longest single one, not with the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::line::{Field, Line};
use super::{MAX_LINE_BYTES, MAX_NODES, Span};

/// The bodies of model requests, most bytes of a file; never chain lines.
pub(super) const SKIPPED: &[u8] = br#"{"type":"api-request"#;

/// Most malformed lines that are kept; more are only counted.
const MAX_MALFORMED_KEPT: usize = 64;

/// Most bytes of a title or prompt that is kept for a picker.
const MAX_LABEL_BYTES: usize = 4096;

/// One line of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub uuid: Uuid,
    pub parent: Link,
    /// Across a compaction, where there is no parent.
    pub logical: Link,
    pub span: Span,
    pub kind: Kind,
    pub sidechain: bool,
    pub boundary: bool,
    /// An earlier line had this id under another parent.
    pub moved: bool,
}

/// A parent as the line names it, then as a position among the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    None,
    /// An id that is not among the nodes (before linking: not yet looked up).
    Unknown(Uuid),
    /// Something that is no id.
    Odd,
    To(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Assistant,
    Attachment,
    System,
    /// `progress`: passes its parent on, is never a leaf.
    Through,
    /// A type that no measured host has. Those hosts end the way here; a newer one may know it.
    Novel,
}

impl Kind {
    /// Whether the hosts take it for a line of the conversation.
    pub fn is_spoken(self) -> bool {
        !matches!(self, Kind::Through | Kind::Novel)
    }
}

/// The part of a conversation that a compaction keeps behind its summary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub head: Uuid,
    /// The summary; the kept part is read as standing below it.
    pub anchor: Uuid,
    pub tail: Uuid,
}

/// A line that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Malformed {
    /// Where.
    pub at: Span,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wrong {
    /// No JSON object. The host skips such a line.
    Json,
    /// A chain line whose `uuid` is no UUID.
    Id,
    /// Longer than [`MAX_LINE_BYTES`].
    TooLong,
    /// More chain lines than [`MAX_NODES`].
    TooMany,
}

/// How the file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tail {
    /// With a line feed, or empty.
    Whole,
    /// A whole JSON object without its line feed. The host reads it, so it counts.
    Unterminated(Span),
    /// The beginning of a line, as a crash or a full disk leaves it.
    Torn(Span),
}

/// A transcript as far as the chain needs it.
#[derive(Clone, Debug)]
pub struct Transcript {
    pub(super) nodes: Vec<Node>,
    pub(super) index: BTreeMap<Uuid, u32>,
    pub(super) hint: Option<Hint>,
    /// The last hint that was set by going back to it, and where: what stands
    /// above that line is left behind.
    pub(super) rewound: Option<(Hint, u64)>,
    /// Offset of the last compaction boundary line.
    pub(super) boundary_byte: Option<u64>,
    /// What the last compaction kept.
    pub(super) kept: Option<Kept>,
    /// The last line that only this reader cannot read.
    pub(super) unreadable: Option<Malformed>,
    /// Bytes read.
    pub size: u64,
    /// Lines read, a torn one included.
    pub lines: u32,
    /// Lines that could not be read, the first 64 of them.
    pub malformed: Vec<Malformed>,
    /// How many there are.
    pub malformed_count: u32,
    /// How the file ends.
    pub tail: Tail,
    /// The name a person gave, the last one.
    pub custom_title: Option<String>,
    /// The name the host made up, the last one.
    pub ai_title: Option<String>,
    /// The name an older host made up for the conversation that has this line, with the line.
    pub(super) summary: Option<(Uuid, String)>,
    /// The prompt of the last `last-prompt` line.
    pub last_prompt: Option<String>,
    /// The folder of the last line that has one.
    pub cwd: Option<String>,
}

/// What the last `last-prompt` line points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    Id(Uuid),
    /// No UUID, so no node.
    Odd,
}

/// Reads a transcript, chunk by chunk.
#[derive(Debug)]
pub struct Reader {
    out: Transcript,
    /// The line under way, when it began in an earlier chunk.
    carry: Vec<u8>,
    /// Its length, also where its bytes are not kept.
    carried: u64,
    skip: Skip,
    last_byte: u8,
}

/// Whether the bytes of the line under way are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Skip {
    No,
    Body,
    TooLong,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// Begins.
    pub fn new() -> Self {
        let out = Transcript {
            nodes: Vec::new(),
            index: BTreeMap::new(),
            hint: None,
            rewound: None,
            boundary_byte: None,
            kept: None,
            unreadable: None,
            size: 0,
            lines: 0,
            malformed: Vec::new(),
            malformed_count: 0,
            tail: Tail::Whole,
            custom_title: None,
            ai_title: None,
            summary: None,
            last_prompt: None,
            cwd: None,
        };
        Reader { out, carry: Vec::new(), carried: 0, skip: Skip::No, last_byte: 0 }
    }

    /// Takes the next bytes of the file.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = chunk.split_at(end);
            chunk = &rest[1..];
            if self.carried == 0 {
                self.line(line);
            } else {
                self.hold(line);
                self.end_held();
            }
            self.out.size += 1;
        }
        if !chunk.is_empty() {
            self.hold(chunk);
        }
    }

    /// Ends the file.
    pub fn finish(mut self) -> Transcript {
        if self.carried > 0 {
            let at = self.span(self.carried);
            if self.skip == Skip::No && Line::parse(&self.carry).is_some() {
                self.end_held();
                self.out.tail = Tail::Unterminated(at);
            } else {
                self.advance(self.carried);
                let blank = self.skip == Skip::No && is_blank(&self.carry);
                self.out.tail = if blank { Tail::Whole } else { Tail::Torn(at) };
            }
        }
        self.out.link();
        self.out
    }

    /// Takes a piece of a line that spans chunks.
    fn hold(&mut self, piece: &[u8]) {
        if let Some(last) = piece.last() {
            self.last_byte = *last;
        }
        self.carried += piece.len() as u64;
        if self.skip != Skip::No {
            return;
        }
        self.carry.extend_from_slice(piece);
        if self.carry.starts_with(SKIPPED) {
            self.skip = Skip::Body;
        } else if self.carry.len() > MAX_LINE_BYTES {
            self.skip = Skip::TooLong;
        } else {
            return;
        }
        self.carry = Vec::new();
    }

    fn end_held(&mut self) {
        let len = std::mem::take(&mut self.carried);
        match std::mem::replace(&mut self.skip, Skip::No) {
            Skip::No => {
                let mut line = std::mem::take(&mut self.carry);
                self.line(&line);
                line.clear();
                self.carry = line;
            }
            Skip::Body => self.body(len, self.last_byte),
            Skip::TooLong => self.refuse(len, Wrong::TooLong),
        }
    }

    fn line(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u64;
        if bytes.starts_with(SKIPPED) {
            return self.body(len, bytes[bytes.len() - 1]);
        }
        if bytes.len() > MAX_LINE_BYTES {
            return self.refuse(len, Wrong::TooLong);
        }
        if is_blank(bytes) {
            return self.advance(len);
        }
        let taken = match Line::parse(bytes) {
            Some(line) => self.out.take(&line, self.span(len)),
            None => Err(Wrong::Json),
        };
        match taken {
            Ok(()) => self.advance(len),
            Err(wrong) => self.refuse(len, wrong),
        }
    }

    /// Passes over a request body; only its ends are looked at.
    fn body(&mut self, len: u64, last: u8) {
        if last == b'}' || last == b'\r' { self.advance(len) } else { self.refuse(len, Wrong::Json) }
    }

    fn refuse(&mut self, len: u64, wrong: Wrong) {
        let bad = Malformed { at: self.span(len), wrong };
        self.out.malformed_count += 1;
        if wrong != Wrong::Json {
            self.out.unreadable = Some(bad);
        }
        if self.out.malformed.len() < MAX_MALFORMED_KEPT {
            self.out.malformed.push(bad);
        }
        self.advance(len);
    }

    fn advance(&mut self, len: u64) {
        self.out.lines = self.out.lines.saturating_add(1);
        self.out.size += len;
    }

    fn span(&self, len: u64) -> Span {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Span { line: self.out.lines.saturating_add(1), byte: self.out.size, len }
    }
}

impl Transcript {
    /// What the conversation is called: by a person, else by the host.
    pub fn title(&self) -> Option<&str> {
        let summary = self.summary.as_ref().filter(|(leaf, _)| self.index.contains_key(leaf)).map(|(_, text)| text);
        self.custom_title.as_ref().or(self.ai_title.as_ref()).or(summary).map(String::as_str)
    }

    /// Whether it is a subagent's: lines of the conversation, and none of a person's own.
    pub fn is_side(&self) -> bool {
        let mut spoken = self.nodes.iter().filter(|node| node.kind.is_spoken()).peekable();
        spoken.peek().is_some() && spoken.all(|node| node.sidechain)
    }

    fn take(&mut self, line: &Line<'_>, at: Span) -> Result<(), Wrong> {
        keep(&mut self.cwd, line.cwd);
        let kind = match line.kind.plain().unwrap_or_default() {
            "user" => Kind::User,
            "assistant" => Kind::Assistant,
            "attachment" => Kind::Attachment,
            "system" => Kind::System,
            "last-prompt" => {
                keep(&mut self.last_prompt, line.last_prompt);
                if !line.leaf_uuid.is_falsy() {
                    let hint = line.leaf_uuid.uuid().map_or(Hint::Odd, Hint::Id);
                    if line.explicit.is_true() {
                        self.rewound = Some((hint, at.byte));
                    } else if self.rewound.is_some_and(|(to, _)| to != hint) {
                        self.rewound = None;
                    }
                    self.hint = Some(hint);
                }
                return Ok(());
            }
            // Older hosts also wrote here what other conversations are called.
            "summary" => {
                let mut text = None;
                keep(&mut text, line.summary);
                self.summary = line.leaf_uuid.uuid().zip(text).or(self.summary.take());
                return Ok(());
            }
            "custom-title" => {
                keep(&mut self.custom_title, line.custom_title);
                return Ok(());
            }
            "ai-title" => {
                keep(&mut self.ai_title, line.ai_title);
                return Ok(());
            }
            // They have a place in the tree, a root's too.
            "progress" if line.uuid.uuid().is_some() => Kind::Through,
            _ if line.uuid.uuid().is_some() => Kind::Novel,
            _ => return Ok(()),
        };
        let uuid = line.uuid.uuid().ok_or(Wrong::Id)?;
        if self.nodes.len() >= MAX_NODES {
            return Err(Wrong::TooMany);
        }
        let boundary = kind == Kind::System && line.subtype.plain() == Some("compact_boundary");
        if boundary {
            self.hint = None;
            self.boundary_byte = Some(at.byte);
            self.kept = Kept::read(line.compact_metadata);
        }
        self.nodes.push(Node {
            uuid,
            parent: Link::from(&line.parent_uuid),
            logical: Link::from(&line.logical_parent_uuid),
            span: at,
            kind,
            sidechain: line.is_sidechain.is_true(),
            boundary,
            moved: false,
        });
        Ok(())
    }

    /// Looks every parent up, once all lines are known: a child may precede
    /// its parent, and of a repeated id the later line counts.
    fn link(&mut self) {
        for at in 0..self.nodes.len() {
            // Fits: there are at most MAX_NODES.
            if let Some(earlier) = self.index.insert(self.nodes[at].uuid, at as u32) {
                let earlier = self.nodes[earlier as usize];
                self.nodes[at].moved = earlier.moved || earlier.parent != self.nodes[at].parent;
            }
        }
        for node in &mut self.nodes {
            for link in [&mut node.parent, &mut node.logical] {
                if let Link::Unknown(id) = *link
                    && let Some(at) = self.index.get(&id)
                {
                    *link = Link::To(*at);
                }
            }
        }
    }
}

impl Kept {
    fn read(metadata: Field<'_>) -> Option<Kept> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Metadata<'a> {
            #[serde(borrow)]
            preserved_segment: Field<'a>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Segment<'a> {
            #[serde(borrow)]
            head_uuid: Field<'a>,
            #[serde(borrow)]
            anchor_uuid: Field<'a>,
            #[serde(borrow)]
            tail_uuid: Field<'a>,
        }
        let metadata: Metadata<'_> = serde_json::from_str(metadata.raw()?).ok()?;
        let segment: Segment<'_> = serde_json::from_str(metadata.preserved_segment.raw()?).ok()?;
        Some(Kept {
            head: segment.head_uuid.uuid()?,
            anchor: segment.anchor_uuid.uuid()?,
            tail: segment.tail_uuid.uuid()?,
        })
    }
}

impl From<&Field<'_>> for Link {
    fn from(id: &Field<'_>) -> Self {
        match id.uuid() {
            Some(id) => Link::Unknown(id),
            None if id.is_falsy() => Link::None,
            None => Link::Odd,
        }
    }
}

/// Keeps the latest text, cut to what a picker shows.
fn keep(slot: &mut Option<String>, field: Field<'_>) {
    // Most lines repeat the folder: compare before decoding.
    if field.is_falsy() || slot.is_some() && field.plain() == slot.as_deref() {
        return;
    }
    if let Some(mut text) = field.text() {
        text.truncate(text.floor_char_boundary(MAX_LABEL_BYTES));
        *slot = Some(text);
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}
