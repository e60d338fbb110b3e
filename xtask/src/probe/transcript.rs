//! The transcript file of one Claude session, as far as a measurement asks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ride_testkit::claude;
use serde_json::Value;

/// One transcript.
pub(super) struct Transcript {
    path: PathBuf,
}

impl Transcript {
    pub(super) fn of(claude_dir: &Path, session: &str) -> Result<Self> {
        let path = claude::transcript(claude_dir, session).with_context(|| format!("no transcript of {session}"))?;
        Ok(Transcript { path })
    }

    /// How long it is now.
    pub(super) fn lines(&self) -> Result<usize> {
        Ok(self.rows()?.len())
    }

    /// How many rows have more than one row after them.
    pub(super) fn forks(&self) -> Result<usize> {
        let mut after: BTreeMap<String, usize> = BTreeMap::new();
        for row in self.rows()? {
            if let (Some(_), Some(parent)) = (row["uuid"].as_str(), row["parentUuid"].as_str()) {
                *after.entry(parent.into()).or_default() += 1;
            }
        }
        Ok(after.values().filter(|count| **count > 1).count())
    }

    fn rows(&self) -> Result<Vec<Value>> {
        let raw = fs::read_to_string(&self.path).with_context(|| format!("could not read {}", self.path.display()))?;
        // The writer may be in the middle of the last line.
        Ok(raw.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}
