//! Short runs of the commands that look for violations; CI and people run them longer.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::process::Command;

/// Runs a command that prints its figures last; they are as they should be.
fn check(args: &[&str], figures: impl Fn(&str) -> bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = said.lines().last().unwrap_or_default();
    assert!(
        output.status.success() && figures(last),
        "{args:?}: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn number(line: &str, name: &str) -> u64 {
    let after = line.split(&format!("{name}: ")).nth(1).unwrap_or_default();
    after.split(',').next().unwrap_or_default().parse().unwrap_or_default()
}

#[test]
fn foreign_input_breaks_no_reader() {
    check(&["fuzz", "--seconds", "8"], |last| number(last, "inputs") > 100 && last.ends_with("violations: 0"));
}

// Rules LEASE-1, LEASE-2, STORE-1, STORE-5.
#[test]
fn contention_and_kills_break_no_promise_of_the_store() {
    let figures =
        |last: &str| number(last, "grants") >= 100 && number(last, "kills") == 40 && last.ends_with("violations: 0");
    check(&["chaos", "--rounds", "40", "--grants", "100"], figures);
}
