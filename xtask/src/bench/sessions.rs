//! The picker over 5,000 Claude sessions: `crates/cli/benches/sessions.rs`, which writes
//! them in a folder of its own and times the library's own functions.

use anyhow::Result;
use serde::Deserialize;

use super::picker::run;
use super::report::{Row, Section};
use super::sample::{Samples, Unit};

/// What the bench prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timed {
    sessions: usize,
    bytes: f64,
    first_ms: Vec<f64>,
    titles_ms: Vec<f64>,
    all_ms: Vec<f64>,
}

pub(super) fn measure() -> Result<Section> {
    let timed: Timed = run("sessions")?;
    let (first, titles, all) =
        (Samples::from(timed.first_ms), Samples::from(timed.titles_ms), Samples::from(timed.all_ms));
    Ok(Section {
        title: "The picker over 5,000 Claude sessions",
        how: format!(
            "{} transcripts ({:.0} MB) in 200 project folders; listed, read and drawn on a screen of 160 × 50, nothing kept from the\n\
             round before, the files' contents dropped by the system (names and dates are not: only root could have that). The\n\
             functions `ride adopt` calls, one after another; there the reading is on another thread.",
            timed.sessions,
            timed.bytes / 1e6,
        ),
        rows: vec![
            Row::plain("from nothing to the first rows", first.shown(Unit::Ms))
                .target("≤ 50 ms", first.median() <= 50.0),
            Row::plain("until all rows in sight have their titles", titles.shown(Unit::Ms)),
            Row::plain("until every file was read", all.shown(Unit::Ms)),
        ],
    })
}
