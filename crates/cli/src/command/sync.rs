//! `ride sync`: the mirror of finished turns. Works on its folder alone; the gateway is
//! asked only where that is.

use std::path::{Path, PathBuf};

use ride_core::plugin_report::Condition;
use ride_core::wire::method;
use ride_store::clock;
use ride_store::mirror::{Gone, Kept, MirrorDir, Restored};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::adopt::claude_dir;
use super::{Context, print, print_json, say};
use crate::args::Sync;
use crate::error::{Error, Kind};
use crate::gateway::client::Access;
use crate::render::{self, clean, count};

const DAY_MS: u64 = 24 * 3_600_000;
/// Sessions an error lists.
const LISTED: usize = 12;

/// The answer of `ride_config`, as far as it matters here.
#[derive(Deserialize)]
struct Told {
    condition: Option<Condition>,
}

/// A mirrored Claude session, as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    session: Uuid,
    thread: String,
    title: String,
    cwd: String,
    /// Bytes of its transcript.
    size: u64,
    /// Bytes of all that is kept of it.
    bytes: u64,
    turn_ms: u64,
    mirrored_ms: u64,
    leaf: Option<Uuid>,
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
    /// With `--verify`: lines, and those Claude Code cannot read either.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<u32>,
}

pub async fn run(context: &Context<'_>, what: &Sync) -> Result<(), Error> {
    let (Sync::Status { dir, .. } | Sync::Restore { dir, .. } | Sync::Prune { dir, .. }) = what;
    let path = match dir {
        Some(dir) => context.env.cwd.join(dir),
        None => gateways(context).await?,
    };
    let mirror = MirrorDir::existing(&path)?.ok_or_else(|| {
        Error::new(Kind::Match, format!("there is no mirror at {}", path.display()))
            .hint("the gateway makes it with the first turn it mirrors")
    })?;
    match what {
        Sync::Status { verify, json, .. } => status(context, &mirror, *verify, *json),
        Sync::Restore { words, into, json, .. } => restore(context, &mirror, words, into.as_deref(), *json),
        Sync::Prune { older_than, dry_run, json, .. } => prune(context, &mirror, *older_than, *dry_run, *json),
    }
}

/// The gateway's own mirror, where it is on this machine.
async fn gateways(context: &Context<'_>) -> Result<PathBuf, Error> {
    const NAME_IT: &str = "or name the mirror's folder: --dir DIR";
    let asked = async {
        let (connection, _events) = context.connect(&context.target()?, Access::Read).await?;
        Ok::<Told, Error>(connection.call(method::CONFIG, &json!({})).await?)
    };
    let told = asked.await.map_err(|e| {
        let hint = e.hint.as_ref().map_or_else(|| NAME_IT.to_owned(), |hint| format!("{hint}\n{NAME_IT}"));
        e.hint(hint)
    })?;
    let Some((mirror, machine)) = told.condition.and_then(|condition| Some((condition.mirror?, condition.machine)))
    else {
        return Err(Error::new(Kind::Config, "the gateway mirrors nothing: syncMirrorDir is not set").hint(format!(
            "openclaw config set plugins.entries.claude-code-sync.config.syncMirrorDir ~/claude-mirror\n{NAME_IT}"
        )));
    };
    if machine != clock::machine() {
        return Err(Error::new(
            Kind::Config,
            format!("the gateway's mirror is on its own machine: {}", clean(&mirror.dir)),
        )
        .hint("copy it here, and name it: --dir DIR"));
    }
    Ok(PathBuf::from(mirror.dir))
}

fn status(context: &Context<'_>, mirror: &MirrorDir, verify: bool, json: bool) -> Result<(), Error> {
    let (mut rows, mut odd) = (Vec::new(), Vec::new());
    for one in mirror.all()? {
        match one {
            Ok(kept) => rows.push(row(&kept, verify)),
            Err(e) => odd.push(clean(&e.to_string())),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.turn_ms));
    if json {
        print_json(&json!({ "dir": mirror.path(), "sessions": rows, "unreadable": odd }))?;
    } else {
        for row in &rows {
            let whole = match (&row.why_not, row.lines) {
                (Some(why), _) => clean(why),
                (None, Some(lines)) => format!("whole, {}", count(lines, "line", "lines")),
                (None, None) => "whole".to_owned(),
            };
            let age = render::age(context.env.now_ms, row.turn_ms);
            print(&format!(
                "{}  {age:>4}  {:>8}  {whole}\n    {}, in {}\n",
                row.session,
                size(row.bytes),
                clean(&row.title),
                clean(&row.cwd)
            ));
        }
        odd.iter().for_each(|why| say(format_args!("warning: {why}")));
        if rows.is_empty() {
            say(format_args!("nothing is mirrored in {} yet", mirror.path().display()));
        }
    }
    let broken = rows.iter().filter(|row| !row.whole).count() + odd.len();
    match u32::try_from(broken).unwrap_or(u32::MAX) {
        0 => Ok(()),
        n => Err(Error::new(
            Kind::Transcript,
            format!("{} not whole", count(n, "mirrored Claude session is", "mirrored Claude sessions are")),
        )),
    }
}

fn row(kept: &Kept, verify: bool) -> Row {
    let checked = if verify { kept.verify().map(Some) } else { kept.whole().map(|()| None) };
    let about = kept.about.clone();
    let lines = checked.as_ref().ok().copied().flatten();
    Row {
        session: kept.session,
        thread: about.thread,
        title: about.title,
        cwd: about.cwd,
        size: about.size,
        bytes: kept.bytes().unwrap_or(about.size),
        turn_ms: about.turn_ms,
        mirrored_ms: about.mirrored_ms,
        leaf: about.leaf,
        whole: checked.is_ok(),
        why_not: checked.err().map(|e| e.to_string()),
        lines: lines.map(|checked| checked.lines),
        unreadable: lines.map(|checked| checked.unreadable),
    }
}

fn restore(
    context: &Context<'_>,
    mirror: &MirrorDir,
    words: &[String],
    into: Option<&Path>,
    json: bool,
) -> Result<(), Error> {
    let all: Vec<Kept> = mirror.all()?.into_iter().flatten().collect();
    let kept = find(&all, words)?;
    let cwd = into.map_or_else(|| PathBuf::from(&kept.about.cwd), |into| context.env.cwd.join(into));
    // Pruning it meanwhile would take it away under our hands.
    let _held = mirror.hold()?;
    let restored = kept.restore(&claude_dir(context)?, &cwd)?;
    if json {
        let (state, was) = match &restored {
            Restored::New(_) => ("new", 0),
            Restored::Continued(_, was) => ("continued", *was),
            Restored::Same(_) => ("same", kept.about.size),
            Restored::Ahead(_) => ("ahead", kept.about.size),
        };
        return print_json(
            &json!({ "session": kept.session, "cwd": cwd, "transcript": restored.path(), "state": state, "was": was, "size": kept.about.size }),
        );
    }
    let title = clean(&kept.about.title);
    say(match &restored {
        Restored::New(_) => format!("{title} is here, {}", size(kept.about.size)),
        Restored::Continued(_, was) => {
            format!("{title} was here with {}, and goes on to {}", size(*was), size(kept.about.size))
        }
        Restored::Same(_) => format!("{title} is here already, as it is mirrored"),
        Restored::Ahead(_) => {
            format!("{title} is here already, and goes on further than the mirror; nothing was changed")
        }
    });
    say(format_args!("resume it:  cd {} && claude --resume {}", quoted(&clean(&cwd.to_string_lossy())), kept.session));
    Ok(())
}

/// The one session that the beginning of an id, or words, name.
fn find<'k>(all: &'k [Kept], words: &[String]) -> Result<&'k Kept, Error> {
    let joined = words.join(" ").to_lowercase();
    let named: Vec<&Kept> = all.iter().filter(|kept| kept.session.to_string().starts_with(&joined)).collect();
    let text = |kept: &Kept| {
        format!("{}\n{}\n{}\n{}", kept.session, kept.about.title, kept.about.thread, kept.about.cwd).to_lowercase()
    };
    let fits = |kept: &&Kept| joined.split_whitespace().all(|word| text(kept).contains(word));
    let fitting = if named.is_empty() { all.iter().filter(fits).collect() } else { named };
    match fitting.as_slice() {
        [one] => Ok(*one),
        [] => Err(Error::new(Kind::Match, format!("no mirrored Claude session fits {:?}", clean(&joined)))
            .hint("`ride sync status` lists them")),
        several => {
            let list: Vec<String> = several
                .iter()
                .take(LISTED)
                .map(|kept| format!("{}  {}", kept.session, clean(&kept.about.title)))
                .collect();
            Err(Error::new(Kind::Match, format!("{} mirrored Claude sessions fit {:?}", several.len(), clean(&joined)))
                .hint(list.join("\n")))
        }
    }
}

fn prune(context: &Context<'_>, mirror: &MirrorDir, days: u64, dry: bool, json: bool) -> Result<(), Error> {
    let now_ms = context.env.now_ms;
    let pruned = mirror.prune(now_ms.saturating_sub(days * DAY_MS), now_ms, dry)?;
    if json {
        let one = |gone: &ride_store::mirror::Pruned| {
            let former = if let Gone::Former(n) = gone.gone { Some(n) } else { None };
            json!({ "session": gone.session, "title": gone.title, "bytes": gone.bytes, "formerOnly": former })
        };
        return print_json(&json!({ "dryRun": dry, "pruned": pruned.iter().map(one).collect::<Vec<_>>() }));
    }
    for gone in &pruned {
        let what = match gone.gone {
            Gone::All => String::new(),
            Gone::Former(n) => format!("  only {}", count(n, "former transcript", "former transcripts")),
        };
        print(&format!("{}  {:>8}  {}{what}\n", gone.session, size(gone.bytes), clean(&gone.title)));
    }
    let bytes = size(pruned.iter().map(|gone| gone.bytes).sum());
    let verb = if dry { "would go" } else { "went" };
    say(format_args!("{bytes} {verb}"));
    Ok(())
}

/// A path as a shell takes it: the line is there to be pasted.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, size};

    #[test]
    fn a_path_can_be_pasted() {
        let check = |path, expected| assert_eq!(quoted(path), expected);
        check("/home/ada/src/a-b_c.d", "/home/ada/src/a-b_c.d");
        check("/home/ada/über", "/home/ada/über");
        check("/home/ada/my work", "'/home/ada/my work'");
        check("/tmp/$(id)'s", r"'/tmp/$(id)'\''s'");
    }

    #[test]
    fn sizes_are_short() {
        let check = |bytes, expected| assert_eq!(size(bytes), expected);
        check(0, "0 B");
        check(999, "999 B");
        check(1_000, "1 kB");
        check(142_877, "142 kB");
        check(3_450_000, "3.4 MB");
        check(12_060_000_000, "12.0 GB");
    }
}
