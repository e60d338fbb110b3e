//! The table of the matrix: read from the page, one cell changed, written back.
//!
//! The page is the only place where cells are kept: `20/20`, `18/20` with a note that
//! names what is not so, `–` where a story has nothing to show, empty where it was
//! never played. Cells of hosts or stories that are pinned no more are dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ride_testkit::peers::pinned;
use ride_testkit::story::Story;

use crate::play::{Came, Cell};

const BEGIN: &str = "<!-- matrix: written by `cargo xtask test --matrix`, not by hand -->\n";
const END: &str = "<!-- end of matrix -->\n";
/// Characters of a note about a story that was stopped.
const NOTE: usize = 160;

/// How a cell is shown.
impl Came {
    fn short(&self) -> String {
        let so = self.told - self.wrong.len();
        format!("{so}/{}{}", self.told, if self.stopped.is_some() { ", stopped" } else { "" })
    }

    fn note(&self) -> Option<String> {
        let mut parts: Vec<String> = self.wrong.iter().map(|fact| format!("not so: {fact}")).collect();
        parts.extend(self.stopped.clone());
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())?;
        self.note().map_or(Ok(()), |note| write!(f, ": {note}"))
    }
}

/// What the page says of each cell: its text, and its note.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Table {
    cells: BTreeMap<(String, String, &'static str), (String, Option<String>)>,
}

impl Table {
    pub(super) fn read(page: &Path) -> Result<Table> {
        let text = fs::read_to_string(page).with_context(|| format!("could not read {}", page.display()))?;
        let (_, section, _) =
            parts(&text).with_context(|| format!("could not find the matrix in {}", page.display()))?;
        Ok(Table::parse(section))
    }

    pub(super) fn write(&self, page: &Path) -> Result<()> {
        let text = fs::read_to_string(page).with_context(|| format!("could not read {}", page.display()))?;
        let (before, _, after) = parts(&text)?;
        let fresh = format!("{before}{BEGIN}{}{END}{after}", self.section());
        fs::write(page, fresh).with_context(|| format!("could not write {}", page.display()))
    }

    pub(super) fn set(&mut self, cell: Cell, came: Came) {
        self.cells.insert((cell.host, cell.claude, cell.story.name()), (came.short(), came.note()));
    }

    /// Whether the page shows every fact of a cell as so.
    pub(super) fn is_whole(&self, host: &str, claude: &str, story: Story) -> bool {
        let cell = self.cells.get(&(host.to_owned(), claude.to_owned(), story.name()));
        cell.is_some_and(|(text, note)| note.is_none() && text.split_once('/').is_some_and(|(so, told)| so == told))
    }

    fn parse(section: &str) -> Table {
        let mut table = Table::default();
        let mut heads: Vec<Option<Story>> = Vec::new();
        for line in section.lines() {
            if let Some(row) = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |")) {
                let row: Vec<&str> = row.split(" | ").map(str::trim).collect();
                let [host, claude, cells @ ..] = row.as_slice() else { continue };
                if heads.is_empty() {
                    heads = cells.iter().map(|name| Story::ALL.into_iter().find(|s| s.name() == *name)).collect();
                    continue;
                }
                for (story, text) in heads.iter().zip(cells) {
                    if let Some(story) = story.filter(|_| text.contains('/')) {
                        table.cells.insert(
                            ((*host).to_owned(), (*claude).to_owned(), story.name()),
                            ((*text).to_owned(), None),
                        );
                    }
                }
            } else if let Some((cell, note)) = line.strip_prefix("* ").and_then(|l| l.split_once(": ")) {
                let [host, claude, name] = cell.split(", ").collect::<Vec<_>>()[..] else { continue };
                let Some(story) = Story::ALL.into_iter().find(|s| s.name() == name) else { continue };
                if let Some((_, kept)) = table.cells.get_mut(&(host.to_owned(), claude.to_owned(), story.name())) {
                    *kept = Some(note.to_owned());
                }
            }
        }
        table
    }

    fn section(&self) -> String {
        let names: Vec<&str> = Story::ALL.iter().map(|story| story.name()).collect();
        let mut out =
            format!("\n| OpenClaw | Claude Code | {} |\n|---|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        let (mut notes, mut reasons) = (String::new(), Vec::new());
        for host in hosts() {
            for claude in &pinned().claude_code {
                let mut row = vec![host.to_owned(), claude.clone()];
                for story in Story::ALL {
                    if let Some(why) = story.why_not(host, claude) {
                        row.push("–".into());
                        if !reasons.contains(&(story, why)) {
                            reasons.push((story, why));
                        }
                        continue;
                    }
                    let kept = self.cells.get(&(host.to_owned(), claude.clone(), story.name()));
                    let (text, note) = kept.cloned().unwrap_or_else(|| (" ".into(), None));
                    row.push(text);
                    if let Some(note) = note {
                        notes.push_str(&format!("* {host}, {claude}, {}: {note}\n", story.name()));
                    }
                }
                out.push_str(&format!("| {} |\n", row.join(" | ")));
            }
        }
        out.push('\n');
        if !notes.is_empty() {
            out.push_str(&notes);
            out.push('\n');
        }
        // One line per reason, with the stories it keeps away.
        let mut told: Vec<&str> = Vec::new();
        for (_, why) in &reasons {
            if told.contains(why) {
                continue;
            }
            told.push(why);
            let of: Vec<&str> =
                reasons.iter().filter(|(_, other)| other == why).map(|(story, _)| story.name()).collect();
            out.push_str(&format!("* –, {}: {why}\n", of.join(", ")));
        }
        if !reasons.is_empty() {
            out.push('\n');
        }
        out
    }
}

/// The rows' hosts: those where everything must work, then those that only load the plugin.
pub(super) fn hosts() -> impl Iterator<Item = &'static str> {
    pinned().openclaw.iter().chain(&pinned().openclaw_loads).map(String::as_str)
}

/// The first line of an error, shortened.
pub(super) fn first_line(text: &str) -> String {
    let line: String = text.lines().next().unwrap_or_default().chars().take(NOTE).collect();
    line.replace('|', "/")
}

fn parts(text: &str) -> Result<(&str, &str, &str)> {
    let Some((before, rest)) = text.split_once(BEGIN) else { bail!("there is no line {:?}", BEGIN.trim_end()) };
    let Some((section, after)) = rest.split_once(END) else { bail!("there is no line {:?}", END.trim_end()) };
    Ok((before, section, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(host: usize, claude: usize, story: Story) -> Cell {
        Cell { host: pinned().openclaw[host].clone(), claude: pinned().claude_code[claude].clone(), story }
    }

    #[test]
    fn cells_survive_the_page() {
        let mut table = Table::default();
        table.set(cell(0, 0, Story::FirstRide), Came { told: 20, wrong: Vec::new(), stopped: None });
        table.set(
            cell(1, 1, Story::FirstRide),
            Came { told: 20, wrong: vec!["in order".into(), "once: ever".into()], stopped: None },
        );
        table.set(
            cell(4, 0, Story::FirstRide),
            Came { told: 3, wrong: Vec::new(), stopped: Some("waited 90 s for a: b".into()) },
        );
        let again = Table::parse(&table.section());
        assert_eq!(again, table);
        let whole = |c: &Cell| again.is_whole(&c.host, &c.claude, c.story);
        assert!(whole(&cell(0, 0, Story::FirstRide)));
        assert!(!whole(&cell(1, 1, Story::FirstRide)));
        assert!(!whole(&cell(4, 0, Story::FirstRide)), "stopped before its end");
        assert!(!whole(&cell(2, 0, Story::FirstRide)), "never played");
    }

    #[test]
    fn one_cell_is_changed_and_the_page_around_it_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = folder.path().join("page.md");
        fs::write(&page, format!("# before\n{BEGIN}old\n{END}after\n")).expect("written");
        let mut table = Table::read(&page).expect("read");
        table.set(cell(0, 0, Story::FirstRide), Came { told: 2, wrong: Vec::new(), stopped: None });
        table.write(&page).expect("written");
        let text = fs::read_to_string(&page).expect("read");
        assert!(text.starts_with("# before\n") && text.ends_with("after\n") && text.contains("| 2/2 |"), "{text}");
    }
}
