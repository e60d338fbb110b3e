//! `ride <words>`: claim a thread, open Claude Code on its Claude session, hand it
//! back afterwards. What can be known to fail is looked at before the claim, so that
//! a failure disturbs nobody.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ride_core::wire::{Check, Checked, Claim, Driver, Grant, Mode, Release, Row, Side, method};
use ride_store::clock;

use super::again::Again;
use super::keep::Kept;
use super::{Context, Last, Missed, chat, name, release, remote_gateway, say};
use crate::args::{self, RideArgs};
use crate::error::{Error, Kind};
use crate::gateway::client::{Access, Connection};
use crate::gateway::device::hex;
use crate::gateway::locate::Target;
use crate::interrupt::Interrupts;
use crate::launch::{ClaudeBinary, Ended, check_options, check_settings};
use crate::picker::view::Look;
use crate::picker::{self, Pair};
use crate::render::{self, clean, count};
use crate::ride::record::Record;
use crate::ride::state::Outcome;
use crate::ride::{self, Plan, Report};
use crate::transcript::{self, NotHere};

/// What a claim may take beyond the wait for the running turn: the gateway ends its
/// own Claude Code (2.1.330: within 2 s) and reads the transcript.
const CLAIM_MORE: Duration = Duration::from_secs(30);
/// Columns of the last prompt of a branch: as much as tells it from another one.
const SIDE_COLUMNS: usize = 120;

pub async fn run(context: &Context<'_>, args: &RideArgs) -> Result<(), Error> {
    let env = context.env;
    if !env.terminal.interactive && args.say.is_none() {
        let e = Error::new(Kind::Usage, "riding needs a terminal: standard input or output is not one");
        return Err(e.hint(match args.words.is_empty() {
            true => "`ride ls` lists the threads, `ride --help` tells the rest",
            false => "--say sends one prompt without one, to a thread without a Claude session",
        }));
    }
    check_options(&args.extra)?;
    let mut interrupts = Interrupts::take()?;
    let target = context.target()?;
    let state_dir = context.state_dir()?;
    let pair = interrupts.or("connecting to the gateway", context.connect(&target, Access::Write)).await?;
    let (row, again, pair) = choose(context, args, &target, &state_dir, pair, &mut interrupts).await?;
    let (connection, events) = pair;
    let title = clean(&row.title);
    let earlier = Record::load(&state_dir, target.origin(), &row.key)?;
    check_row(&row, earlier.as_ref(), args.steal)?;
    // A ride of this machine that died comes back by its secret, and takes nothing from anybody.
    let ours = match earlier.as_ref().and_then(|record| record.fence).filter(|_| args.steal) {
        Some(fence) => {
            let check = Check { key: Some(row.key.clone()), fence: Some(fence), ..Check::default() };
            connection.call::<_, Checked>(method::CHECK, &check).await?.valid == Some(true)
        }
        None => false,
    };
    if let Some(holder) = row.driver.as_ref().filter(|_| args.steal && !ours && !args.yes) {
        let held = format!("{title} is {}", render::held(holder));
        if !env.terminal.interactive {
            return Err(Error::new(Kind::Usage, held).hint("--yes takes it over without asking"));
        }
        let question = format!(
            "{held} for {}. Take it over? Its Claude Code there is ended.",
            render::duration(env.now_ms.saturating_sub(holder.since_ms))
        );
        if !confirm(&question, &mut interrupts).await? {
            return Err(Error::new(Kind::Left, format!("{title} is not taken over")));
        }
    }
    if row.shared && !args.yes && !env.terminal.interactive {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "{title} is shared by several conversations; what is said is posted where its last message came from"
            ),
        )
        .hint("--yes rides it all the same"));
    }
    let shared = format!(
        "{title} is shared by several conversations; what you type is posted where its last message came from. Ride it?"
    );
    if row.shared && !args.yes && !confirm(&shared, &mut interrupts).await? {
        return Err(Error::new(Kind::Left, format!("{title} is not ridden")));
    }
    let binary = async || {
        let path = env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
        ClaudeBinary::find(&args.claude, OsStr::new(path), env).await
    };
    // A gateway of before says only whether there is a Claude session.
    let by_chat = row.mode.map_or(row.cli_session_id.is_none(), |mode| mode == Mode::Chat);
    let words = chat::words(args, by_chat, &title, &mut interrupts).await?;
    let found = if by_chat { None } else { Some(interrupts.or("looking for Claude Code", binary()).await?) };

    let (record, grant) =
        claim(context, args, &row, &target, &connection, earlier, &state_dir, &mut interrupts).await?;
    Last { gateway: target.origin().to_owned(), key: grant.key.clone() }.save(&state_dir);
    let mut grant = grant;
    let copied = match check_grant(&grant) {
        Err(e) if e.is_elsewhere() => {
            let kept = Kept::new(&grant, &record, &connection);
            remote_gateway::begin(context, args, &target, &mut grant, (&connection, &kept), e.into(), &mut interrupts)
                .await
                .map(Some)
        }
        checked => checked.map(|()| None).map_err(Error::from),
    };
    let copy = match copied.and_then(|copy| check_place(&grant).map(|()| copy)) {
        Ok(copy) => copy,
        Err(e) => return give_back(&connection, &grant, &record, &state_dir, e, &mut interrupts).await,
    };
    if grant.claude.is_none() {
        let ridden = chat::ride(context, args, words, target, (connection, events), grant.clone(), &record).await;
        return match ridden {
            Ok(done) => done,
            Err((e, connection)) => give_back(&connection, &grant, &record, &state_dir, e, &mut interrupts).await,
        };
    }
    // It got its Claude session between the listing and the claim.
    let claude = match (found, chat::unsayable(args, &title)) {
        (_, Err(e)) => return give_back(&connection, &grant, &record, &state_dir, e, &mut interrupts).await,
        (Some(found), Ok(())) => found,
        (None, Ok(())) => match interrupts.or("looking for Claude Code", binary()).await {
            Ok(found) => found,
            Err(e) => return give_back(&connection, &grant, &record, &state_dir, e, &mut interrupts).await,
        },
    };
    if let Err(e) = agree_beside(args, &grant, &again, &Kept::new(&grant, &record, &connection), &mut interrupts).await
    {
        return give_back(&connection, &grant, &record, &state_dir, e, &mut interrupts).await;
    }
    say(render::waiting(&grant.waiting, env.now_ms, env.terminal));
    let plan = Plan {
        env: env.clone(),
        access: context.access(Access::Write),
        config_dir: config_dir(context, &grant),
        connection: (connection, events),
        target,
        runtime_dir: env.get("XDG_RUNTIME_DIR").or(env.get("TMPDIR")).map_or_else(|| "/tmp".into(), PathBuf::from),
        state_dir: state_dir.clone(),
        secret: record.secret.clone(),
        program: env.program.clone(),
        claude,
        extra: args.extra.clone(),
        copy,
        grant: grant.clone(),
    };
    match ride::drive(plan, &mut interrupts).await {
        Ok(report) => last_word(tell(context, &title, report, &record, &state_dir), &again),
        Err((e, connection)) => give_back(&connection, &grant, &record, &state_dir, e, &mut interrupts).await,
    }
}

/// The thread that was named, or chosen where none or several were.
async fn choose(
    context: &Context<'_>,
    args: &RideArgs,
    target: &Target,
    state_dir: &Path,
    pair: Pair,
    interrupts: &mut Interrupts,
) -> Result<(Row, Again, Pair), Error> {
    let listed = async { picker::list(&pair.0).await.map_err(Error::from) };
    let threads = interrupts.or("reading the threads", listed).await?;
    if !args.words.is_empty() {
        match context.find(target, threads.rows(), &args.words) {
            Ok(row) => return Ok((row.clone(), Again::new(context, args, row, threads.rows()), pair)),
            Err(Missed::Several(_)) if context.env.can_draw() => {}
            Err(missed) => return Err(mistyped(missed.into(), &args.words)),
        }
    } else if !context.env.can_draw() {
        return Err(Error::new(Kind::Usage, "which thread? this terminal cannot show them to choose from")
            .hint("give words of its title, channel or key; `ride ls` lists them"));
    }
    let ours = |row: &Row| check_row(row, Record::load(state_dir, target.origin(), &row.key)?.as_ref(), args.steal);
    let connect = async || context.reconnect(target, Access::Write).await;
    let look = Look { colour: context.env.terminal.colour };
    let rows = threads.rows().to_vec();
    let chosen = picker::pick(threads, &args.words.join(" "), "ride", pair, connect, ours, look, interrupts).await?;
    let (row, pair) = chosen.ok_or_else(|| Error::new(Kind::Left, ""))?;
    let again = Again::new(context, args, &row, &rows);
    Ok((row, again, pair))
}

/// Words that fit no thread may be a command with a mistake in it.
fn mistyped(missed: Error, words: &[String]) -> Error {
    let meant = if let [word] = words { args::command_like(word) } else { None };
    let Some(meant) = meant.filter(|_| missed.kind == Kind::Match) else { return missed };
    let hint = missed.hint.as_deref().map_or_else(String::new, |hint| format!("\n{hint}"));
    Error { hint: Some(format!("did you mean the command `ride {meant}`?{hint}")), ..missed }
}

/// Somebody wrote to the conversation beside the thread and its rides: what that was is said,
/// and the person decides whether to ride on without it.
async fn agree_beside(
    args: &RideArgs,
    grant: &Grant,
    again: &Again,
    lease: &Kept,
    interrupts: &mut Interrupts,
) -> Result<(), Error> {
    let Some(newest) = grant.beside.first() else { return Ok(()) };
    let title = clean(&grant.title);
    grant.beside.iter().for_each(|side| say(beside(side, &title)));
    let keep = again.command("repair", &["--keep", &newest.leaf.to_string()]);
    say(format_args!("to go on with them instead: {keep}"));
    if args.yes {
        return Ok(());
    }
    let agreed = lease.during(false, confirm(&format!("Ride {title} without them?"), interrupts)).await?;
    if agreed { Ok(()) } else { Err(Error::new(Kind::Left, format!("{title} is not ridden"))) }
}

/// One branch in words.
pub(super) fn beside(side: &Side, title: &str) -> String {
    let prompts = count(side.prompts, "prompt was", "prompts were");
    let last = render::cut(&clean(&side.last_prompt), SIDE_COLUMNS);
    format!(
        "{prompts} typed into the conversation of {title} outside of the thread and its rides, and would not be gone on with.\n\
         the last: “{last}” (leaf {})",
        side.leaf
    )
}

/// Says how a ride ended and, below everything else on the screen, how to come back.
fn last_word(done: Result<(), Error>, again: &Again) -> Result<(), Error> {
    let done = done.map_err(|e| {
        say(&e);
        // It is said by now.
        Error::new(e.kind, "")
    });
    say(again.farewell());
    done
}

pub(super) fn check_row(row: &Row, earlier: Option<&Record>, steal: bool) -> Result<(), Error> {
    let title = clean(&row.title);
    if let Some(earlier) = earlier
        && earlier.is_alive()
    {
        return Err(Error::new(
            Kind::Held,
            format!("{title} is ridden from here already, by process {}", earlier.process.pid),
        )
        .hint(format!("`ride release {}` ends that ride", clean(&row.key))));
    }
    // A ride of this machine that died comes back by its secret, whoever seems to hold it.
    if earlier.is_some_and(|record| record.fence.is_some()) {
        return Ok(());
    }
    if let Some(holder) = &row.driver {
        if steal {
            return Ok(());
        }
        let holding = render::holding(holder, clock::now().wall_ms);
        return Err(Error::new(Kind::Held, format!("{title} is {}", render::holder(holder)))
            .hint(format!("{holding}\nto take it over: ride {} --steal", clean(&row.key))));
    }
    if let Some(pid) = row.in_use {
        return Err(Error::new(
            Kind::Held,
            format!("{title} cannot be ridden: its Claude session is open in a Claude Code, process {pid}"),
        )
        .hint("leave that with /exit, or go on there"));
    }
    if !row.rideable {
        let why = row.why_not.as_ref().map_or_else(|| "the gateway does not say why".to_owned(), clean);
        return Err(Error::new(Kind::NotRideable, format!("{title} cannot be ridden: {why}")));
    }
    Ok(())
}

pub(super) async fn confirm(question: &str, interrupts: &mut Interrupts) -> Result<bool, Error> {
    let answer = ask(&format!("{question} [y/N] "), interrupts).await?;
    Ok(matches!(answer.as_str(), "y" | "Y" | "yes"))
}

/// What a person answers to a question, without the blanks around it.
pub(super) async fn ask(question: &str, interrupts: &mut Interrupts) -> Result<String, Error> {
    let _ = std::io::stderr().write_all(clean(question).as_bytes());
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let failed = |e: std::io::Error| Error::new(Kind::Other, format!("could not read the answer: {e}"));
    let answer = interrupts
        .or("asking", async { read.await.map_err(std::io::Error::other).and_then(|read| read).map_err(failed) })
        .await;
    if answer.is_err() {
        // Not onto the line of the question.
        say("\n");
    }
    Ok(answer?.trim().to_owned())
}

#[expect(clippy::too_many_arguments, reason = "one claim, from everything that was looked at before")]
pub(super) async fn claim(
    context: &Context<'_>,
    args: &RideArgs,
    row: &Row,
    target: &Target,
    connection: &Connection,
    earlier: Option<Record>,
    state_dir: &Path,
    interrupts: &mut Interrupts,
) -> Result<(Record, Grant), Error> {
    let (secret, fence) = match earlier {
        Some(record) => (record.secret, record.fence),
        None => {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes)
                .map_err(|e| Error::new(Kind::Other, format!("could not draw the claim's secret: {e}")))?;
            (hex(&bytes), None)
        }
    };
    let mut record = Record::new(target.origin(), &row.key, &secret);
    // Of a ride before, which may not be handed back yet: it stays until a new grant.
    record.fence = fence;
    record.save(state_dir)?;
    let request = Claim {
        key: row.key.clone(),
        driver: Driver {
            name: name(&context.env.person()),
            host: name(&context.env.host),
            process: record.process.clone(),
        },
        secret,
        wait_ms: args.wait * 1000,
        steal: args.steal,
        gone: args.gone.clone(),
    };
    let limit = Duration::from_millis(request.wait_ms) + CLAIM_MORE;
    match row.driver.as_ref().filter(|_| args.steal) {
        Some(holder) => say(format_args!("taking {} over from {} …", clean(&row.title), render::who(holder))),
        None => say(format_args!("claiming {} …", clean(&row.title))),
    }
    let claimed = tokio::select! {
        claimed = connection.call_within::<_, Grant>(method::CLAIM, &request, limit) => claimed,
        came = interrupts.next() => {
            // The gateway sees the connection end, and a grant that comes too late
            // is never renewed. The record stays, in case it was made.
            connection.hang_up();
            return Err(came.while_doing("claiming; the gateway takes the thread back by itself"));
        }
    };
    let grant = match claimed {
        Ok(grant) => grant,
        Err(e) => {
            let Some(refusal) = e.refusal() else { return Err(e.into()) };
            if record.fence.is_none() {
                record.remove(state_dir);
            }
            // Where this machine's own ride is what is stuck, it is released from here.
            let stuck = refusal
                .details
                .holder
                .as_ref()
                .filter(|holder| fence.is_some() && holder.host == request.driver.host.as_str());
            let hint = stuck.and_then(|holder| release::accept_hint(&row.key, holder.acceptable));
            let holding = refusal.details.holder.as_ref().map(|holder| render::holding(holder, clock::now().wall_ms));
            let e = Error::from(e);
            return Err(Error { hint: hint.or(e.hint).or(holding), ..e });
        }
    };
    record.fence = Some(grant.fence);
    record.save(state_dir)?;
    Ok((record, grant))
}

pub(super) fn check_grant(grant: &Grant) -> Result<(), NotHere> {
    grant.claude.as_ref().map_or(Ok(()), |claude| transcript::check(&claude.transcript))
}

/// What Claude Code needs around the transcript.
fn check_place(grant: &Grant) -> Result<(), Error> {
    let Some(claude) = &grant.claude else { return Ok(()) };
    if !Path::new(&claude.cwd).is_dir() {
        return Err(Error::new(
            Kind::Transcript,
            format!("the thread's project folder is gone: {}", clean(&claude.cwd)),
        )
        .hint("Claude Code can resume a conversation only in its folder: make it again"));
    }
    check_settings(Path::new(&claude.config_dir), Path::new(&claude.cwd))?;
    Ok(())
}

/// Hands a thread back that was claimed and could not be ridden.
pub(super) async fn give_back(
    connection: &Connection,
    grant: &Grant,
    record: &Record,
    state_dir: &Path,
    cause: Error,
    interrupts: &mut Interrupts,
) -> Result<(), Error> {
    let request =
        Release { key: grant.key.clone(), fence: grant.fence, accept_broken_chain: false, wait_ms: 30_000, copy: None };
    let asked = tokio::select! {
        asked = release::ask(connection, &request, record, state_dir) => asked,
        _ = interrupts.next() => {
            say("not waiting for the hand-back; the gateway finishes it by itself");
            return Err(cause);
        }
    };
    match asked {
        Ok(released) => {
            if let Err(e) = release::tell(&clean(&grant.title), &grant.key, &released) {
                say(format_args!("{e}"));
            }
        }
        // Not ours any more, so there is nothing to hand back.
        Err(e) if release::is_stale(&e) => {}
        Err(e) => say(format_args!(
            "the thread could not be handed back: {e}; its lease ends in {}",
            render::duration(grant.lease_ms)
        )),
    }
    Err(cause)
}

/// The Claude configuration folder, only where it is not the one Claude Code would
/// take by itself: naming the default one changes where it keeps `.claude.json`.
fn config_dir(context: &Context<'_>, grant: &Grant) -> Option<PathBuf> {
    let wanted = PathBuf::from(&ride::target(grant).config_dir);
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match context.env.get("CLAUDE_CONFIG_DIR") {
        Some(set) if real(&context.env.cwd.join(set)) == real(&wanted) => None,
        Some(_) => Some(wanted),
        None => {
            let default = context.env.home().map(|home| home.join(".claude"));
            default.is_none_or(|default| real(&default) != real(&wanted)).then_some(wanted)
        }
    }
}

pub(super) fn tell(
    context: &Context<'_>,
    title: &str,
    report: Report,
    record: &Record,
    state_dir: &Path,
) -> Result<(), Error> {
    for note in &report.notes {
        say(format_args!("{note}"));
    }
    let (waiting, total) = &report.waiting;
    if *total > 0 {
        say(format_args!("{} meanwhile:", count(*total, "message came", "messages came")));
        say(render::waiting(waiting, context.env.now_ms, context.env.terminal));
    }
    if report.unpushed > 0 {
        say(format_args!(
            "what was said here last did not reach the gateway; it stays on this machine, and the next ride of {title} from here can go on with it"
        ));
    }
    if report.unsent > 0 {
        let what = count(u32::try_from(report.unsent).unwrap_or(u32::MAX), "item", "items");
        say(format_args!("{what} did not reach the gateway; the next ride of {title} hands them over"));
    }
    if let Some(draft) = &report.draft {
        say("you had typed this and not sent it:");
        draft.lines().for_each(|line| say(format_args!("  {}", clean(line))));
    }
    let died = match report.claude {
        Some(Ended::Exited(code)) if code != 0 => Some(format!("Claude Code ended with exit code {code}")),
        Some(Ended::Signaled(signal)) => Some(format!("Claude Code was ended by signal {signal}")),
        _ => None,
    };
    let all_there = report.unsent == 0 && report.unpushed == 0;
    match (handed_back(title, report.outcome, all_there, record, state_dir), died) {
        (back, None) => back,
        (Ok(()), Some(died)) => Err(Error::new(Kind::Claude, died)),
        // What the thread needs is the exit code; the person learns of both.
        (Err(e), Some(died)) => {
            say(format_args!("{died}"));
            Err(e)
        }
    }
}

fn handed_back(title: &str, outcome: Outcome, all_there: bool, record: &Record, state_dir: &Path) -> Result<(), Error> {
    match outcome {
        Outcome::Released(released) => {
            record.settle(state_dir, &released);
            release::tell(title, &record.key, &released)
        }
        Outcome::Lost { why, holder } => {
            if all_there {
                say("everything you sent is kept: it is in the thread, or comes there before anybody else writes");
            }
            // The record stays: where the hand-back is stuck, its fence is what can end that.
            let acceptable = holder.as_ref().is_some_and(|holder| holder.acceptable);
            let hint = release::accept_hint(&record.key, acceptable);
            Err(Error { hint, ..Error::lost(title, &why, holder.as_ref()) })
        }
        Outcome::Unreleased(why) => {
            Err(Error::new(Kind::Unreachable, format!("{title} could not be handed back: {}", clean(&why))).hint(
                format!(
                    "the gateway takes it back by itself when the lease ends, or: ride release {}",
                    clean(&record.key)
                ),
            ))
        }
        Outcome::Refused { message, .. } => {
            Err(Error::new(Kind::Waiting, format!("{title} could not be handed back: {}", clean(&message)))
                .hint(format!("to try again: ride release {}", clean(&record.key))))
        }
    }
}
