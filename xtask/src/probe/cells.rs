//! The lines that are printed, one per cell.

use std::fmt::Display;

/// The answers of one host to one question, printed as they are found.
pub(super) struct Cells {
    host: String,
    question: char,
}

impl Cells {
    pub(super) fn new(host: &str, question: char) -> Self {
        Cells { host: host.into(), question }
    }

    /// Tells what was observed.
    pub(super) fn cell(&mut self, name: &str, observed: impl Display) {
        let observed = observed.to_string().replace('\n', " ");
        println!("{:<9} {} {name:<36} {observed}", self.host, self.question);
    }

    /// Tells that the question's remaining cells could not be measured.
    pub(super) fn cut_off(&mut self, cause: &anyhow::Error) {
        let whole = format!("{cause:#}");
        let first = whole.lines().next().unwrap_or_default();
        self.cell("NOT MEASURED from here on", first);
        eprintln!("{whole}");
    }
}

/// Joins what holds, or says that nothing does.
pub(super) fn those<'a>(named: impl IntoIterator<Item = (&'a str, bool)>) -> String {
    let holding: Vec<&str> = named.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect();
    listed(&holding)
}

/// Joins names, or says that there are none.
pub(super) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Says yes or no.
pub(super) fn yes(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}
