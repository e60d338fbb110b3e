//! Rows and states as text for people. Names and messages come from a chat: what cannot be
//! seen never reaches the terminal ([`ride_core::text`]). Nothing is decided here.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ride_core::person::labelled;
pub use ride_core::text::plain as clean;
use ride_core::view::UNREADABLE;
use ride_core::wire::{self, AuditLine, AuditWhat, Holder, JournalLine, Row, ThreadStatus, Waiting};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use crate::env::Terminal;

const GAP: &str = "  ";
/// A title column narrower than this tells nothing.
const MIN_TITLE: usize = 12;

/// How many lines of its journal a thread's status has: several threads fit a screen.
const RECENT: usize = 3;

/// The table of `ride ls`.
pub fn rows(rows: &[Row], now_ms: u64, terminal: Terminal) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cells: Vec<[String; 5]> = rows.iter().map(|row| cells(row, now_ms)).collect();
    let heads = ["THREAD", "CHANNEL", "AGE", "WAITING", "STATE"];
    let mut widths = heads.map(UnicodeWidthStr::width);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    if let Some(limit) = terminal.width {
        // The two long columns give way: first the state, then the title.
        let fixed: usize = widths[1..4].iter().sum::<usize>() + GAP.len() * 4;
        let room = limit.saturating_sub(fixed);
        widths[4] = widths[4].min(room.saturating_sub(widths[0].min(room * 3 / 5)).max("STATE".len()));
        widths[0] = widths[0].min(room.saturating_sub(widths[4]).max(MIN_TITLE));
    }
    let mut out = String::new();
    let mut line = |cells: [&str; 5], style: Style| {
        let mut text = String::new();
        for (i, cell) in cells.into_iter().enumerate() {
            let cell = cut(cell, widths[i]);
            let pad = " ".repeat(widths[i].saturating_sub(cell.width()));
            let _ = match i {
                2 | 3 => write!(text, "{pad}{cell}{GAP}"),
                4 => write!(text, "{cell}"),
                _ => write!(text, "{cell}{pad}{GAP}"),
            };
        }
        out.push_str(&style.paint(text.trim_end(), terminal));
        out.push('\n');
    };
    line(heads, Style::Dim);
    for (row, cells) in rows.iter().zip(&cells) {
        let style = match (&row.driver, row.rideable) {
            (Some(_), _) => Style::Bold,
            (None, true) => Style::Plain,
            (None, false) => Style::Dim,
        };
        line(cells.each_ref().map(String::as_str), style);
    }
    out
}

fn cells(row: &Row, now_ms: u64) -> [String; 5] {
    let mut state = match (&row.driver, &row.why_not) {
        (Some(holder), _) => self::holder(holder),
        (None, Some(why)) => clean(why),
        (None, None) if row.rideable => String::new(),
        (None, None) => "cannot be ridden".to_owned(),
    };
    if row.shared {
        state = if state.is_empty() { "shared".into() } else { format!("shared, {state}") };
    }
    [
        clean(&row.title),
        row.channel.as_ref().map_or_else(|| "-".to_owned(), clean),
        row.last_activity.map_or_else(|| "-".to_owned(), |at| age(now_ms, at)),
        if row.waiting == 0 { String::new() } else { row.waiting.to_string() },
        state,
    ]
}

/// The text of `ride status`.
pub fn statuses(threads: &[ThreadStatus], now_ms: u64, terminal: Terminal) -> String {
    let mut out = String::new();
    for (i, thread) in threads.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let _ = status(&mut out, thread, now_ms, terminal);
    }
    out
}

/// The text of `ride log`: what happened, oldest first, in this machine's time.
pub fn log(journal: &[JournalLine], zone: &TimeZone) -> String {
    journal.iter().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "{}  {}", at(line.at_ms, zone), clean(&line.what));
        out
    })
}

/// The text of `ride log --audit`, oldest first.
pub fn audit(lines: &[AuditLine], zone: &TimeZone) -> String {
    lines.iter().fold(String::new(), |mut out, line| {
        let by = labelled(&line.by, line.identity.as_deref());
        let from = line.from.as_deref().map_or_else(String::new, |from| format!(" from {from}"));
        let what = match line.what {
            AuditWhat::TakeOver => format!("{by} took it over{from}"),
            AuditWhat::TakeBack => format!("{by} took it back{from}"),
            AuditWhat::AcceptBroken => format!("{by} accepted what could not be shown{from}"),
            AuditWhat::DeclareGone => format!("{by} declared gone: {}", line.waits_for.as_deref().unwrap_or_default()),
            AuditWhat::Adopt => format!("{by} bound it to another Claude session"),
            AuditWhat::Unknown => format!("{by} did something that a newer ride knows{from}"),
        };
        let waited = line.waits_for.as_deref().filter(|_| line.what != AuditWhat::DeclareGone);
        let waits = waited.map_or_else(String::new, |what| format!("; it waited for: {what}"));
        let _ = writeln!(out, "{}  {}  {}", at(line.at_ms, zone), clean(&line.key), clean(&format!("{what}{waits}")));
        out
    })
}

fn at(ms: u64, zone: &TimeZone) -> String {
    let at =
        i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn status(out: &mut String, thread: &ThreadStatus, now_ms: u64, terminal: Terminal) -> std::fmt::Result {
    writeln!(out, "{}", Style::Bold.paint(&clean(&thread.key), terminal))?;
    match &thread.holder {
        Some(holder) => {
            let for_ms = duration(now_ms.saturating_sub(holder.since_ms));
            writeln!(out, "  {} for {for_ms}, lease ends in {}", held(holder), duration(holder.expires_in_ms))?;
        }
        None if thread.phase.raw() == UNREADABLE => {
            let why = thread.waiting_for.as_ref().map_or("its state file cannot be read", |why| why.raw());
            return writeln!(out, "  stays closed: {}", clean(why));
        }
        None if !thread.open.is_empty() => {}
        None => writeln!(out, "  {}", clean(&thread.phase))?,
    }
    for terminal in &thread.open {
        writeln!(out, "  {}", open(terminal, now_ms))?;
    }
    if let Some(waiting_for) = &thread.waiting_for {
        writeln!(out, "  waits: {}", clean(waiting_for))?;
    }
    let fence = thread.fence.as_deref().map_or_else(String::new, |fence| format!(", fence {}", clean(fence)));
    writeln!(out, "  epoch {}{fence}", thread.epoch)?;
    if let Some(id) = &thread.cli_session_id {
        writeln!(out, "  Claude session {id}{}", if thread.copy { ", on a copy at its driver's machine" } else { "" })?;
    }
    let pids = [("ride", &thread.process), ("Claude Code", &thread.claude)];
    let pids: Vec<String> =
        pids.into_iter().filter_map(|(name, p)| Some(format!("{name} is process {}", p.as_ref()?.pid))).collect();
    if !pids.is_empty() {
        writeln!(out, "  {}", pids.join(", "))?;
    }
    writeln!(out, "  {}", depths(thread))?;
    let earlier = thread.journal.len().saturating_sub(RECENT);
    if earlier > 0 {
        writeln!(out, "  {} before, which `ride log` shows", count(earlier as u32, "event", "events"))?;
    }
    for line in &thread.journal[earlier..] {
        let when = match age(now_ms, line.at_ms).as_str() {
            "now" => "now".to_owned(),
            age => format!("{age} ago"),
        };
        writeln!(out, "  {when:>8}  {}", clean(&line.what))?;
    }
    Ok(())
}

/// A terminal that has a thread's Claude session open, outside any ride.
pub fn open(terminal: &wire::Terminal, now_ms: u64) -> String {
    let (host, pid) = (clean(&terminal.host), terminal.process.pid);
    let since = duration(now_ms.saturating_sub(terminal.since_ms));
    format!("open in a terminal on {host} for {since} (process {pid}), not a ride")
}

/// What waits, for whom.
pub fn depths(thread: &ThreadStatus) -> String {
    let parts = [
        (thread.inbox, count(thread.inbox, "message waits for the agent", "messages wait for the agent")),
        (thread.outbox, count(thread.outbox, "item waits for the channel", "items wait for the channel")),
        (thread.undelivered, format!("{} undelivered", thread.undelivered)),
    ];
    let some: Vec<String> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(_, text)| text).collect();
    if some.is_empty() { "nothing waits".to_owned() } else { some.join(", ") }
}

/// Who holds a thread, on one line.
pub fn held(holder: &Holder) -> String {
    let verb = match holder.phase.raw() {
        "claiming" => "being claimed by",
        "leaving" => "being handed back by",
        _ => "ridden by",
    };
    format!("{verb} {}", who(holder))
}

/// The same, with what it waits for.
pub fn holder(holder: &Holder) -> String {
    let waits = holder.waiting_for.as_ref().map_or_else(String::new, |what| format!(": {what}"));
    format!("{}{waits}", held(holder))
}

/// A holder in words: `ada at laptop (user ada@example.org)`.
pub fn who(holder: &Holder) -> String {
    clean(&labelled(
        &format!("{} at {}", holder.name, holder.host),
        holder.identity.as_ref().map(ToString::to_string).as_deref(),
    ))
}

/// Since when a thread is held.
pub fn holding(holder: &Holder, now_ms: u64) -> String {
    format!("since {}", duration(now_ms.saturating_sub(holder.since_ms)))
}

/// Messages that wait, one line each.
pub fn waiting(messages: &[Waiting], now_ms: u64, terminal: Terminal) -> String {
    messages.iter().fold(String::new(), |mut out, message| {
        let line = format!("  {:>4}  {}: {}", age(now_ms, message.at_ms), clean(&message.from), clean(&message.text));
        let _ = writeln!(out, "{}", terminal.width.map_or(line.clone(), |width| cut(&line, width)));
        out
    })
}

/// A number with its noun.
pub fn count(n: u32, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// How long ago: `now`, `5m`, `3h`, `12d`.
pub fn age(now_ms: u64, at_ms: u64) -> String {
    match now_ms.saturating_sub(at_ms) {
        0..60_000 => "now".to_owned(),
        past => duration(past),
    }
}

/// A length of time in its largest unit.
pub fn duration(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// Text cut to a width, with an ellipsis where something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > width {
            break;
        }
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Dim,
}

impl Style {
    fn paint(self, text: &str, terminal: Terminal) -> String {
        match self {
            Style::Bold if terminal.colour => format!("\x1b[1m{text}\x1b[0m"),
            Style::Dim if terminal.colour => format!("\x1b[2m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_800_000_000_000;

    fn plain(width: usize) -> Terminal {
        Terminal { width: Some(width), colour: false, interactive: false }
    }

    fn sample() -> Vec<Row> {
        let rows = json!([
            {"channel": "telegram", "displayName": null, "title": "Deploys", "conversationId": null,
             "cliSessionId": null, "echoTarget": null, "relayReady": true, "lastActivity": NOW - 180_000,
             "key": "a", "agentId": "main", "rideable": false, "waiting": 2,
             "driver": {"name": "Ada", "host": "box", "sinceMs": NOW, "expiresInMs": 1, "phase": "ridden"}},
            {"channel": "telegram", "displayName": null, "title": "日本の話 \u{1b}[31mred", "conversationId": null,
             "cliSessionId": null, "echoTarget": null, "relayReady": true, "lastActivity": NOW - 10_000_000,
             "key": "b", "agentId": "main", "rideable": true},
            {"channel": null, "displayName": null, "title": "A rather long title of a thread", "conversationId": null,
             "cliSessionId": null, "echoTarget": null, "relayReady": false, "lastActivity": null,
             "key": "c", "agentId": "main", "rideable": false, "shared": true, "whyNot": "it has no stored route"},
        ]);
        serde_json::from_value(rows).unwrap()
    }

    #[test]
    fn a_table_within_its_width() {
        assert_eq!(
            rows(&sample(), NOW, plain(100)),
            "\
THREAD                           CHANNEL   AGE  WAITING  STATE
Deploys                          telegram   3m        2  ridden by Ada at box
日本の話 [31mred                 telegram   2h
A rather long title of a thread  -           -           shared, it has no stored route
"
        );
        let narrow = rows(&sample(), NOW, plain(60));
        assert_eq!(
            narrow,
            "\
THREAD                CHANNEL   AGE  WAITING  STATE
Deploys               telegram   3m        2  ridden by Ada…
日本の話 [31mred      telegram   2h
A rather long title…  -           -           shared, it ha…
"
        );
        assert!(narrow.lines().all(|line| line.width() <= 60));
    }

    #[test]
    fn colours_only_where_they_may_be() {
        let colour = Terminal { width: None, colour: true, interactive: true };
        let text = rows(&sample(), NOW, colour);
        let starts: Vec<String> = text.lines().map(|line| line.chars().take(4).collect()).collect();
        assert_eq!(starts, ["\x1b[2m", "\x1b[1m", "日本の話", "\x1b[2m"]);
    }

    #[test]
    fn a_status_tells_the_whole_story() {
        let threads: Vec<ThreadStatus> = serde_json::from_value(json!([{
            "key": "agent:main:x", "phase": "leaving", "epoch": 7, "fence": "ab.7.cd",
            "holder": {"name": "Ada", "host": "box", "sinceMs": NOW - 600_000, "expiresInMs": 40_000,
                       "phase": "leaving", "waitingFor": "process 12"},
            "process": {"machine": "m", "pid": 11, "start": 1}, "claude": {"machine": "m", "pid": 12, "start": 2},
            "cliSessionId": null, "inbox": 1, "outbox": 2, "undelivered": 0, "waitingFor": "process 12",
            "journal": [
                {"atMs": NOW - 700_000, "what": "claimed by Ada"}, {"atMs": NOW - 600_000, "what": "granted to Ada"},
                {"atMs": NOW - 300_000, "what": "withdrawn"}, {"atMs": NOW - 1_000, "what": "leaving"},
            ],
        }]))
        .unwrap();
        assert_eq!(
            statuses(&threads, NOW, plain(80)),
            "\
agent:main:x
  being handed back by Ada at box for 10m, lease ends in 40s
  waits: process 12
  epoch 7, fence ab.7.cd
  ride is process 11, Claude Code is process 12
  1 message waits for the agent, 2 items wait for the channel
  1 event before, which `ride log` shows
   10m ago  granted to Ada
    5m ago  withdrawn
       now  leaving
"
        );
    }

    // Rule STORE-3.
    #[test]
    fn a_thread_of_a_newer_version_says_which_file_and_why() {
        let why = "state file /l/t/x has format 9, this version reads 1 to 4";
        let unreadable: ThreadStatus =
            serde_json::from_value(serde_json::to_value(ride_core::view::unreadable("agent:main:x", why)).unwrap())
                .unwrap();
        assert_eq!(statuses(&[unreadable], NOW, plain(80)), format!("agent:main:x\n  stays closed: {why}\n"));
        let row: Row = serde_json::from_value(json!({
            "channel": null, "displayName": null, "title": "Plans", "conversationId": null, "cliSessionId": null,
            "echoTarget": null, "relayReady": true, "lastActivity": null, "key": "agent:main:x", "agentId": "main",
            "rideable": false, "whyNot": why,
        }))
        .unwrap();
        assert_eq!(cells(&row, NOW)[4], why);
    }

    #[test]
    fn a_session_that_is_open_in_a_terminal_is_told_and_is_no_ride() {
        let threads: Vec<ThreadStatus> = serde_json::from_value(json!([{
            "key": "agent:main:x", "phase": "open", "epoch": 0, "fence": null, "holder": null, "process": null,
            "claude": null, "cliSessionId": "00000000-0000-0000-0000-000000000001", "inbox": 1, "outbox": 0,
            "undelivered": 0, "waitingFor": null, "journal": [],
            "open": [{"host": "box\u{1b}[2J", "process": {"machine": "m", "pid": 7, "start": 1}, "sinceMs": NOW - 300_000}],
        }]))
        .unwrap();
        assert_eq!(
            statuses(&threads, NOW, plain(80)),
            "\
agent:main:x
  open in a terminal on box[2J for 5m (process 7), not a ride
  epoch 0
  Claude session 00000000-0000-0000-0000-000000000001
  1 message waits for the agent
"
        );
    }

    #[test]
    fn lengths_of_time() {
        let check = |ms, expected| assert_eq!(duration(ms), expected);
        check(0, "0s");
        check(119_999, "119s");
        check(120_000, "2m");
        check(7_200_000, "2h");
        check(172_800_000, "2d");
        assert_eq!((age(5, 100), age(100_000, 50_000).as_str()), ("now".to_owned(), "now"));
    }

    #[test]
    fn the_audit_log_is_cleaned_before_it_is_printed() {
        let line = AuditLine {
            at_ms: 0,
            key: "agent:main:x\u{1b}[2J".into(),
            what: AuditWhat::TakeOver,
            by: "bob@h\u{1b}]52;c;eA==\u{7}".into(),
            identity: Some("user:bob".into()),
            from: Some("ada@h (user ada)\n\u{202e}".into()),
            fence: None,
            waits_for: Some("process 7".into()),
        };
        let text = audit(&[line], &TimeZone::UTC);
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("1970-01-01 00:00:00  agent:main:x"), "{text:?}");
        assert!(
            text.contains("(user bob) took it over from ada@h (user ada)") && text.contains("it waited for: process 7"),
            "{text:?}"
        );
        assert!(text.trim_end().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text:?}");
    }
}
