//! The measured rows, as a table for the terminal and as `docs/measurements.md`.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use ride_testkit::peers::pinned;

use super::sample::digits;
use crate::build;

/// One subject: its table and what must be known to read it.
pub(super) struct Section {
    pub(super) title: &'static str,
    /// What was done, for somebody who wants to doubt it.
    pub(super) how: String,
    pub(super) rows: Vec<Row>,
}

/// One line of a table.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) measured: String,
    /// What it is measured against, where that is something else.
    pub(super) against: Option<String>,
    /// Measured ÷ against.
    pub(super) ratio: Option<f64>,
    pub(super) target: Option<Target>,
}

/// What was promised, and whether it was kept.
pub(super) struct Target {
    pub(super) text: &'static str,
    pub(super) met: bool,
}

impl Row {
    pub(super) fn plain(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Row { what: what.into(), measured: measured.into(), against: None, ratio: None, target: None }
    }

    pub(super) fn against(mut self, what: impl Into<String>, ratio: f64) -> Self {
        self.against = Some(what.into());
        self.ratio = Some(ratio);
        self
    }

    pub(super) fn target(mut self, text: &'static str, met: bool) -> Self {
        self.target = Some(Target { text, met });
        self
    }

    fn cells(&self) -> [String; 5] {
        let ratio =
            self.ratio.map(|r| if r < 0.5 { format!("1/{}", digits(1.0 / r)) } else { format!("{}×", digits(r)) });
        let target = self.target.as_ref().map(|t| format!("{}: {}", t.text, if t.met { "met" } else { "MISSED" }));
        [
            self.what.clone(),
            self.measured.clone(),
            self.against.clone().unwrap_or_default(),
            ratio.unwrap_or_default(),
            target.unwrap_or_default(),
        ]
    }
}

const HEADS: [&str; 5] = ["what", "measured", "against", "ratio", "target"];

pub(super) struct Report {
    date: String,
    loads: Vec<f64>,
    sections: Vec<Section>,
}

impl Report {
    pub(super) fn begin() -> Self {
        let mut report =
            Report { date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]), loads: Vec::new(), sections: Vec::new() };
        report.quiet_look();
        report
    }

    /// Notes how loaded the machine is.
    pub(super) fn quiet_look(&mut self) {
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        self.loads.extend(text.split_whitespace().next().and_then(|one| one.parse::<f64>().ok()));
    }

    pub(super) fn add(&mut self, section: Section) {
        self.quiet_look();
        self.sections.push(section);
    }

    pub(super) fn end(&mut self) {
        self.quiet_look();
    }

    pub(super) fn terminal(&self) -> String {
        let mut out = String::new();
        for section in &self.sections {
            let _ = writeln!(out, "\n{}", section.title);
            for row in &section.rows {
                let [what, measured, against, ratio, target] = row.cells();
                let _ = writeln!(out, "  {what}\n      {measured}");
                if !against.is_empty() {
                    let _ = writeln!(out, "      against {against}: {ratio}");
                }
                if !target.is_empty() {
                    let _ = writeln!(out, "      target {target}");
                }
            }
        }
        let _ = writeln!(
            out,
            "\nload {}; {} targets, {} missed",
            self.load(),
            self.targets().count(),
            self.targets().filter(|t| !t.met).count()
        );
        out
    }

    pub(super) fn page(&self) -> String {
        let peers = pinned();
        let mut out = format!(
            "# Measurements\n\n\
             Written whole by one run of `cargo xtask bench`; not edited by hand. Repeat it with that command; it fetches the\n\
             pinned hosts by itself.\n\n\
             | | |\n|---|---|\n\
             | when | {} |\n| sources | {} |\n| machine | {} |\n| load (1 min) | {} |\n\
             | versions | OpenClaw {}, Node {}, Claude Code {}, {} |\n\
             | targets | {}, {} missed |\n\n\
             Figures are medians with (least–most) and the number of samples. What is compared was sampled alternately in the\n\
             same run, so load falls on both sides; ratios travel to other machines, absolute times do not.\n",
            self.date,
            said("git", &["describe", "--always", "--dirty"]),
            machine(),
            self.load(),
            peers.openclaw[0],
            peers.node,
            peers.claude_code[0],
            said("rustc", &["--version"]),
            self.targets().count(),
            self.targets().filter(|t| !t.met).count(),
        );
        for section in &self.sections {
            let _ = write!(out, "\n## {}\n\n{}\n\n", section.title, section.how);
            let _ = writeln!(out, "| {} |\n|{}", HEADS.join(" | "), "---|".repeat(HEADS.len()));
            for row in &section.rows {
                let _ = writeln!(out, "| {} |", row.cells().join(" | "));
            }
        }
        out
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.sections.iter().flat_map(|s| &s.rows).filter_map(|r| r.target.as_ref())
    }

    fn load(&self) -> String {
        let (least, most) = self.loads.iter().fold((f64::MAX, 0.0_f64), |(a, b), l| (a.min(*l), b.max(*l)));
        match self.loads.as_slice() {
            [] => "unknown".into(),
            [first, ..] => format!("{first} before, {least}–{most} during, our own peers included"),
        }
    }
}

/// The class of machine, nothing that names it.
fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("unknown CPU", |(_, m)| m);
    let virtual_machine = if cpu.contains(" hypervisor") { ", virtual machine" } else { "" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} × {model}{virtual_machine}, {}", said("uname", &["-srm"]))
}

/// What a small command prints on its one line.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(build::root()).output();
    let line = output.ok().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    line.filter(|l| !l.is_empty()).unwrap_or_else(|| format!("unknown ({program} did not say)"))
}
