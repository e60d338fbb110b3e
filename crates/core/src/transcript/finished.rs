//! How far a transcript goes that has no turn under way: what a mirror takes.
//!
//! Goes by the lines in the order they were written, not by the chain, so that a look at
//! what was appended needs nothing of what stood before it. A rewind therefore ends
//! nothing and begins nothing. Memory: the longest single line.

use uuid::Uuid;

use super::MAX_LINE_BYTES;
use super::reader::SKIPPED;
use super::turn::ends;

/// Follows lines to the end of the last finished turn.
#[derive(Debug)]
pub struct Finished {
    /// Bytes of whole lines read.
    at: u64,
    /// No turn is under way at `at`.
    over: bool,
    end: u64,
    leaf: Option<Uuid>,
    turned: bool,
    /// The line under way, as far as it is looked at.
    carry: Vec<u8>,
    carried: u64,
    /// It is not looked at.
    skip: bool,
}

impl Finished {
    /// Begins at byte `from`, the end of a finished turn; 0 is the beginning of the file,
    /// where nothing is finished yet.
    pub fn from(from: u64) -> Self {
        Finished {
            at: from,
            over: from > 0,
            end: from,
            leaf: None,
            turned: false,
            carry: Vec::new(),
            carried: 0,
            skip: false,
        }
    }

    /// Takes the next bytes of the file.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        while let Some(at) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = chunk.split_at(at);
            chunk = &rest[1..];
            self.hold(line);
            self.line();
        }
        self.hold(chunk);
    }

    /// Bytes up to the end of the last finished turn, whole lines all of them.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The line the last finished turn ended with; `None` where none was read.
    pub fn leaf(&self) -> Option<Uuid> {
        self.leaf
    }

    /// Whether a turn ended in what was read: a local command, and lines between turns, are none.
    pub fn turned(&self) -> bool {
        self.turned
    }

    fn hold(&mut self, piece: &[u8]) {
        self.carried += piece.len() as u64;
        if self.skip {
            return;
        }
        self.carry.extend_from_slice(piece);
        if self.carry.starts_with(SKIPPED) || self.carry.len() > MAX_LINE_BYTES {
            self.skip = true;
            self.carry = Vec::new();
        }
    }

    fn line(&mut self) {
        self.at += std::mem::take(&mut self.carried) + 1;
        if !std::mem::take(&mut self.skip)
            && let Some((over, line)) = ends(&self.carry)
        {
            self.turned |= over && !self.over;
            self.over = over;
            if over {
                self.leaf = line.or(self.leaf);
            }
        }
        self.carry.clear();
        if self.over {
            self.end = self.at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = r#"{"type":"user","uuid":"00000000-0000-4000-8000-000000000001","promptSource":"typed","message":{"role":"user","content":"hello"}}"#;
    const ANSWER: &str = r#"{"type":"assistant","uuid":"00000000-0000-4000-8000-000000000002","message":{"role":"assistant","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}]}}"#;
    const CALL: &str = r#"{"type":"assistant","uuid":"00000000-0000-4000-8000-000000000003","message":{"role":"assistant","stop_reason":"tool_use","content":[{"type":"tool_use","id":"t","name":"Bash","input":{}}]}}"#;
    const RESULT: &str = r#"{"type":"user","uuid":"00000000-0000-4000-8000-000000000004","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}}"#;
    const SIDE: &str = r#"{"type":"assistant","isSidechain":true,"uuid":"00000000-0000-4000-8000-000000000005","message":{"role":"assistant","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}]}}"#;
    const HINT: &str = r#"{"type":"last-prompt","leafUuid":"00000000-0000-4000-8000-000000000002"}"#;
    const QUEUED: &str = r#"{"type":"queue-operation","operation":"enqueue","content":"next"}"#;
    const BODY: &str = r#"{"type":"api-request-body","message":{"role":"user"}}"#;
    const MODE: &str = r#"{"type":"mode","mode":"normal"}"#;

    /// Which of these lines count, by their number, and the id the last turn ended with.
    fn check(lines: &[&str], expected: usize, leaf: Option<u128>) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let whole: u64 = lines[..expected].iter().map(|line| line.len() as u64 + 1).sum();
        for size in [1, 7, text.len().max(1)] {
            let mut finished = Finished::from(0);
            text.as_bytes().chunks(size).for_each(|chunk| finished.feed(chunk));
            assert_eq!(finished.end(), whole, "in chunks of {size}: {lines:?}");
            assert_eq!(finished.leaf().map(|id| id.as_u128() & 0xf), leaf, "{lines:?}");
        }
    }

    #[test]
    fn what_is_finished_counts_with_what_is_written_after_it() {
        check(&[], 0, None);
        check(&[MODE], 0, None);
        check(&[MODE, PROMPT], 0, None);
        check(&[MODE, PROMPT, ANSWER, HINT], 4, Some(2));
        check(&[PROMPT, CALL, RESULT], 0, None);
        check(&[PROMPT, CALL, SIDE, RESULT, ANSWER], 5, Some(2));
        check(&[PROMPT, CALL, SIDE], 0, None);
        check(&[PROMPT, ANSWER, HINT, PROMPT, CALL, RESULT, BODY], 3, Some(2));
        check(&[PROMPT, ANSWER, BODY, HINT, QUEUED], 4, Some(2));
        check(&[PROMPT, ANSWER, QUEUED, PROMPT, ANSWER, MODE], 6, Some(2));
    }

    #[test]
    fn what_stands_between_turns_is_none() {
        const LOCAL: &str = r#"{"type":"user","uuid":"00000000-0000-4000-8000-000000000006","message":{"role":"user","content":"<command-name>/exit</command-name>"}}"#;
        let check = |lines: &[&str], expected| {
            // Behind a turn that was read before.
            let mut finished = Finished::from(7);
            lines.iter().for_each(|line| finished.feed(format!("{line}\n").as_bytes()));
            assert_eq!(finished.turned(), expected, "{lines:?}");
        };
        check(&[MODE, HINT, LOCAL, BODY], false);
        check(&[LOCAL, PROMPT, CALL], false);
        check(&[LOCAL, PROMPT, CALL, RESULT, ANSWER, MODE], true);
    }

    #[test]
    fn a_line_that_is_being_written_does_not_count() {
        let text = format!("{PROMPT}\n{ANSWER}\n{HINT}");
        let mut finished = Finished::from(0);
        finished.feed(text.as_bytes());
        assert_eq!(finished.end(), (PROMPT.len() + ANSWER.len() + 2) as u64);
        finished.feed(b"\n");
        assert_eq!(finished.end(), text.len() as u64 + 1);
    }

    #[test]
    fn going_on_from_any_end_ends_where_the_whole_does() {
        let lines = [MODE, PROMPT, CALL, RESULT, ANSWER, HINT, QUEUED, PROMPT, ANSWER, PROMPT, CALL];
        let text: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        let ended = |from: u64, to: usize| {
            let mut finished = Finished::from(from);
            finished.feed(&text[from as usize..to]);
            finished.end()
        };
        for to in 0..=text.len() {
            let first = ended(0, to);
            assert_eq!(ended(first, text.len()), ended(0, text.len()), "after a look at {to} bytes");
        }
    }
}
