//! Whether a mirror has what it says it has.

use std::fs::File;
use std::io;

use ride_core::mirror::Begins;
use ride_core::transcript::Reader;

use super::copy::regular;
use super::{Kept, MirrorError};
use crate::byte_copy::{begins, feed};
use crate::error::StoreError;

/// What reading every line found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Lines of the transcript.
    pub lines: u32,
    /// Of those, lines Claude Code cannot read either: a crash of its own left them.
    pub unreadable: u32,
}

impl Kept {
    /// Shows that what counts is there, by the ends of the files.
    ///
    /// # Errors
    /// [`MirrorError::NotWhole`] names the file and why.
    pub fn whole(&self) -> Result<(), MirrorError> {
        self.transcript()?;
        for one in &self.about.beside {
            let (folder, name) = one.path.split_once('/').expect("it was read so");
            let there = match self.folder.inner(folder, false)? {
                Some(folder) => regular(&folder, name, false)?,
                None => None,
            };
            let Some(file) = there else { return Err(self.not_whole(format!("{} is missing", one.path))) };
            // Only a transcript is appended to; anything else may have been replaced since, whole.
            if name.ends_with(".jsonl")
                && begins(&file, one.size, &one.tail_sha256).map_err(|e| self.reads(&one.path, e))? == Begins::Otherwise
            {
                return Err(self.not_whole(format!("{} is not what was written", one.path)));
            }
        }
        Ok(())
    }

    /// The same, and reads every line of the transcript and shows its chain.
    ///
    /// # Errors
    /// The same.
    pub fn verify(&self) -> Result<Checked, MirrorError> {
        self.whole()?;
        let file = self.transcript()?;
        let mut reader = Reader::new();
        feed(&file, 0, self.about.size, |bytes| {
            reader.feed(bytes);
            Ok(())
        })
        .map_err(|e| self.reads(&self.about.transcript, e))?;
        let transcript = reader.finish();
        let broken = |what: String| self.not_whole(format!("{}: {what}", self.about.transcript));
        let leaf =
            transcript.leaf().map_err(|e| broken(e.to_string()))?.ok_or_else(|| broken("it has no turn".into()))?;
        transcript.path(None, leaf).map_err(|e| broken(e.to_string()))?;
        if let Some(last) = self.about.leaf.filter(|last| transcript.span(*last).is_none()) {
            return Err(broken(format!("the line its last turn ended with, {last}, is not in it")));
        }
        Ok(Checked { lines: transcript.lines, unreadable: transcript.malformed_count })
    }

    /// The transcript, which begins as it should.
    pub(super) fn transcript(&self) -> Result<File, MirrorError> {
        let about = &self.about;
        let name = &about.transcript;
        let Some(file) = regular(&self.folder, name, false)? else {
            return Err(self.not_whole(format!("{name} is missing")));
        };
        match begins(&file, about.size, &about.tail_sha256).map_err(|e| self.reads(name, e))? {
            Begins::So => Ok(file),
            Begins::Otherwise => Err(self.not_whole(format!("{name} is not what was written"))),
        }
    }

    fn not_whole(&self, why: String) -> MirrorError {
        MirrorError::NotWhole { session: self.session, why }
    }

    fn reads(&self, name: &str, source: io::Error) -> MirrorError {
        StoreError::Io { doing: "read", path: self.folder.path().join(name), source }.into()
    }
}
