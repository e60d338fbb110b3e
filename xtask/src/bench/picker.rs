//! The picker over 10,000 threads: `crates/cli/benches/picker.rs`, which times the
//! library's own functions in a process built as `ride` is.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use crate::build;

/// What the bench prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timed {
    threads: usize,
    bytes: f64,
    first_ms: Vec<f64>,
    keystrokes: Vec<Keystroke>,
}

/// One letter, with what stood there once it was typed.
#[derive(Deserialize)]
struct Keystroke {
    typed: String,
    ms: Vec<f64>,
}

pub(super) fn measure() -> Result<Section> {
    let timed: Timed = run("picker")?;
    let first = Samples::from(timed.first_ms);
    let all = Samples::from(timed.keystrokes.iter().flat_map(|key| key.ms.clone()).collect::<Vec<_>>());
    let by_key = timed.keystrokes.into_iter().map(|key| (Samples::from(key.ms), key.typed));
    let (slowest, typed) =
        by_key.max_by(|(a, _), (b, _)| a.median().total_cmp(&b.median())).context("no keystroke was timed")?;
    Ok(Section {
        title: "The picker over 10,000 threads",
        how: format!(
            "The answer of `sessions_rideable` with {} rows ({:.1} MB), read and drawn on a screen of 160 × 50; then four searches typed\n\
             letter by letter, each letter until the frame that shows it. The functions `ride` calls, in a process of their own; the\n\
             terminal only counts bytes.",
            timed.threads,
            timed.bytes / 1e6,
        ),
        rows: vec![
            Row::plain("from the answer to the first frame", first.shown(Unit::Ms))
                .target("≤ 30 ms", first.median() <= 30.0),
            Row::plain("a keystroke, all of them", all.shown(Unit::Ms)),
            Row::plain(format!("the slowest one, the last of `{typed}`"), slowest.shown(Unit::Ms))
                .target("≤ 8 ms", slowest.median() <= 8.0),
        ],
    })
}

/// Runs one of the command's own benches; what it printed.
pub(super) fn run<T: serde::de::DeserializeOwned>(bench: &str) -> Result<T> {
    let args = ["bench", "--quiet", "--locked", "-p", "ride", "--bench", bench];
    let output = Command::new(build::cargo())
        .current_dir(build::root())
        .args(args)
        .output()
        .context("could not run cargo bench")?;
    if !output.status.success() {
        bail!("the bench {bench} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("could not read what the bench {bench} printed"))
}
