//! One ride, from a grant to its release: the thin loop around [`state`].
//!
//! It carries what happens (the gateway's answers, Claude Code's questions, signals,
//! time) into the state and performs what comes out, in order. It decides nothing
//! about lease, relay or hand-over.

pub mod include;
pub mod record;
pub mod state;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ride_core::id::{Fence, Process};
use ride_core::wire::{self, ClaudeTarget, CopyEnd, Grant, Reason, Renew, Renewed, Waiting, method};
use ride_store::claude::lock::DriverLock;
use ride_store::claude::process::{self, Alive};
use ride_store::claude::{ClaudeDir, chain_mark, runs_claude_code};
use ride_store::clock;
use ride_store::copy::Files;
use rustix::process::{Pid, Signal as ProcessSignal, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::copy::push::{PushError, push, push_beside, whole_lines};
use crate::copy::{self, Copy};
use crate::env::Env;
use crate::error::{Error, Kind};
use crate::gateway::client::{Access, CallError, Connection, Events};
use crate::gateway::keep::{Line, keep};
use crate::gateway::locate::Target;
use crate::interrupt::Interrupts;
use crate::launch::{Claude, ClaudeBinary, Ended, Launch, LaunchError, Plugin, PrivateDir, TerminalSignals, unpack};
use crate::link::{Link, LinkEvent, Source, Status, Tailed, Token, Verdict};
use crate::outbox::{Outbox, Owner, Pushed, Queued, Reopened, leftovers};
use crate::render::{clean, count};
use state::{Effect, Event, Outcome, Ride, Trouble};

/// The gateway's word that a thread changed.
pub(crate) const CHANGED: &str = "plugin.claude-code-sync.changed";
/// A renewal or relay that takes longer means a connection that is not one.
pub(crate) const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// What a release may take beyond the hand-over's own time.
pub(crate) const RELEASE_MORE: Duration = Duration::from_secs(15);
/// From SIGTERM to SIGKILL: Claude Code 2.1.330 ends within 1 s of the former.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How often a process that is not our child is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How late the last lines of a turn are written, and more.
const WRITTEN_WITHIN: Duration = Duration::from_millis(300);
/// How often the file is looked at after a turn, each time after twice the pause: within 19 s.
const LOOKS: u32 = 6;
/// How long Claude Code may take to load our plugin; it comes up in 1 to 3 s, and
/// may show a question first.
const HELLO_WITHIN: Duration = Duration::from_secs(60);
/// A hand-back that takes longer than this is told of: most take less.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// Everything a ride needs.
pub struct Plan {
    /// What Claude Code inherits.
    pub env: Env,
    /// The gateway, to come back to.
    pub target: Target,
    /// What to ask it for.
    pub access: Access,
    /// The connection the claim was made on.
    pub connection: (Connection, Events),
    /// Where device identity, outboxes and records are.
    pub state_dir: PathBuf,
    /// Where the socket may be.
    pub runtime_dir: PathBuf,
    /// What was granted.
    pub grant: Grant,
    /// The secret it was claimed with.
    pub secret: String,
    /// This program, for the hooks of a Claude Code without mods.
    pub program: PathBuf,
    /// Claude Code's binary.
    pub claude: ClaudeBinary,
    /// The Claude configuration folder, where it is not the person's default.
    pub config_dir: Option<PathBuf>,
    /// What the person wrote after `--`.
    pub extra: Vec<OsString>,
    /// The conversation's files, where they are another machine's than the gateway's.
    pub copy: Option<Copy>,
}

/// What a ride leaves to be said.
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// How Claude Code ended, when it did so by itself.
    pub claude: Option<Ended>,
    /// What could not be said while Claude Code had the terminal.
    pub notes: Vec<String>,
    /// What waits for the agent, as last told, and how many in all.
    pub waiting: (Vec<Waiting>, u32),
    /// Items that never reached the gateway; they stay on disk.
    pub unsent: usize,
    /// Bytes of the copy that never reached it.
    pub unpushed: u64,
    /// What was typed and not sent when Claude Code was ended.
    pub draft: Option<String>,
}

/// Rides until Claude Code is gone and the thread handed back, or lost. An error
/// means that Claude Code never ran; the thread is then still to be released.
pub async fn drive(plan: Plan, interrupts: &mut Interrupts) -> Result<Report, (Error, Connection)> {
    let keep_for_release = plan.connection.0.clone();
    // Claude Code is started by the last step of `start`, which nothing cuts in two.
    let (started, seat, renewed) = match interrupts.or("starting Claude Code", start(&plan)).await {
        Ok(started) => started,
        Err(e) => return Err((e, keep_for_release)),
    };
    drop(keep_for_release);
    Ok(Drive::new(plan, started, seat).run(renewed).await)
}

/// Claude Code and what it holds on to.
struct Started {
    claude: Claude,
    place: Place,
    outboxes: Vec<Outbox>,
    notes: Vec<String>,
    terminated: Signal,
    hung_up: Signal,
    signals: TerminalSignals,
}

/// Where one Claude Code is started, and speaks to us from: all that another start,
/// with the plugin laid out another way, makes anew.
struct Place {
    launch: Launch,
    source: Source,
    plugin: Plugin,
    link_events: mpsc::Receiver<LinkEvent>,
    status: watch::Sender<Status>,
    link: Link,
    _dir: PrivateDir,
}

impl Place {
    fn prepare(seat: &Seat, source: Source, lock: Option<Arc<DriverLock>>) -> Result<Place, Error> {
        let token = Token::draw().map_err(|e| Error::new(Kind::Other, format!("could not draw a token: {e}")))?;
        let dir = PrivateDir::create(&seat.runtime_dir)?;
        let plugin = unpack(dir.path(), source, &seat.program)?;
        let (status, shown) = watch::channel(Status::default());
        let tailed = Tailed {
            path: PathBuf::from(&seat.target.transcript.path),
            from: seat.target.transcript.size,
            claude_session: seat.target.session_id,
            config_dir: PathBuf::from(&seat.target.config_dir),
        };
        let (link, link_events) = Link::open(dir.path(), token.clone(), source, shown, Some(tailed))?;
        let launch = Launch {
            env: seat.env.clone(),
            claude: seat.claude.path.clone(),
            claude_session: seat.target.session_id,
            cwd: PathBuf::from(&seat.target.cwd),
            config_dir: seat.config_dir.clone(),
            plugin: plugin.root.clone(),
            socket: link.socket().to_owned(),
            token,
            extra: seat.extra.clone(),
            lock,
        };
        Ok(Place { launch, source, plugin, link_events, status, link, _dir: dir })
    }

    fn start(&self) -> Result<Claude, LaunchError> {
        self.launch.start()
    }

    /// Whether what asks for prompts is where Claude Code looks for it.
    fn is_intact(&self) -> bool {
        self.plugin.program.is_file()
    }
}

/// What starting Claude Code needs to know of the ride.
struct Seat {
    env: Env,
    program: PathBuf,
    claude: ClaudeBinary,
    target: ClaudeTarget,
    config_dir: Option<PathBuf>,
    runtime_dir: PathBuf,
    extra: Vec<OsString>,
}

/// Starts Claude Code, with everything around it prepared and the lease proven last.
/// Gives the renewal that proved it, too.
async fn start(plan: &Plan) -> Result<(Started, Seat, Event), Error> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |e: std::io::Error| Error::new(Kind::Other, format!("could not {what}: {e}"))
    };
    let mut notes = Vec::new();
    let outboxes = outboxes(plan, &mut notes)?;
    let seat = Seat {
        env: plan.env.clone(),
        program: plan.program.clone(),
        claude: plan.claude.clone(),
        target: target(&plan.grant).clone(),
        config_dir: plan.config_dir.clone(),
        runtime_dir: plan.runtime_dir.clone(),
        extra: plan.extra.clone(),
    };
    let lock = driver_lock(plan, &mut notes);
    let place = Place::prepare(&seat, seat.claude.source(), lock.clone())?;
    let signals = TerminalSignals::hold().map_err(io("hold the terminal's signals"))?;
    let terminated = signal(SignalKind::terminate()).map_err(io("wait for SIGTERM"))?;
    let hung_up = signal(SignalKind::hangup()).map_err(io("wait for SIGHUP"))?;
    let (sent_ms, renewed) = prove_lease(plan, lock.as_deref()).await?;
    if !state::may_start(sent_ms, &renewed, now_ms()) {
        let why = "the lease ran out before Claude Code was started";
        return Err(Error::lost(&clean(&plan.grant.title), why, None));
    }
    let claude = place.start()?;
    let renewed = Event::Renewed { sent_ms, answer: Ok(renewed) };
    let started = Started { claude, place, outboxes, notes, terminated, hung_up, signals };
    Ok((started, seat, renewed))
}

/// The lock that shows that this ride and its Claude Code live, where the gateway meets it. On a
/// copy nothing here writes to the gateway's transcript.
fn driver_lock(plan: &Plan, notes: &mut Vec<String>) -> Option<Arc<DriverLock>> {
    let asked = plan.grant.locks && plan.copy.is_none();
    let taken = asked.then(|| DriverLock::take(&ClaudeDir::at(&target(&plan.grant).config_dir)))?;
    match taken {
        Ok(lock) => Some(Arc::new(lock)),
        Err(e) => {
            notes.push(format!("warning: no lock tells the gateway that this ride lives: {e}"));
            None
        }
    }
}

/// Renews before there is a Claude Code: the grant may be old by now, and another
/// process may be writing to the transcript. With a lock the gateway is met in its file.
async fn prove_lease(plan: &Plan, lock: Option<&DriverLock>) -> Result<(u64, Renewed), Error> {
    let asked =
        |seen| lock.map(|lock| wire::Lock { name: lock.name().to_owned(), nonce: lock.nonce().to_owned(), seen });
    let (sent_ms, renewed) = renew(plan, asked(None)).await?;
    match renewed.lock.clone().filter(|nonce| lock.is_some_and(|lock| lock.sees_gateway(nonce))) {
        Some(nonce) => renew(plan, asked(Some(nonce))).await,
        None => Ok((sent_ms, renewed)),
    }
}

async fn renew(plan: &Plan, lock: Option<wire::Lock>) -> Result<(u64, Renewed), Error> {
    let request = Renew {
        key: plan.grant.key.clone(),
        fence: plan.grant.fence,
        secret: plan.secret.clone(),
        claude: None,
        active: false,
        lock,
    };
    let sent_ms = now_ms();
    match plan.connection.0.call_within(method::RENEW, &request, RENEW_WITHIN).await {
        Ok(renewed) => Ok((sent_ms, renewed)),
        Err(CallError::Refused(refusal)) => {
            Err(Error::lost(&clean(&plan.grant.title), &refusal.message.to_string(), refusal.details.holder.as_ref()))
        }
        Err(e) => Err(e.into()),
    }
}

/// A new outbox, after those that earlier rides of this thread left behind. One that
/// cannot be read, of whatever thread, is left as it is.
fn outboxes(plan: &Plan, notes: &mut Vec<String>) -> Result<Vec<Outbox>, Error> {
    let root = plan.state_dir.join("outbox");
    let owner = Owner {
        gateway: plan.target.origin().to_owned(),
        thread: plan.grant.key.clone(),
        claude_session: target(&plan.grant).session_id,
    };
    let mut all = Vec::new();
    for dir in leftovers(&root)? {
        match Outbox::reopen(&dir) {
            Ok(Reopened::Ours(outbox))
                if (&outbox.owner().gateway, &outbox.owner().thread) == (&owner.gateway, &owner.thread) =>
            {
                all.push(outbox);
            }
            Ok(_) => {}
            Err(e) => notes.push(format!("warning: skipped what an earlier ride left in {}: {e}", dir.display())),
        }
    }
    // Oldest first, as their items were written.
    all.sort_by_key(|outbox| outbox.held().next().map_or(u64::MAX, |queued| queued.at_ms));
    all.push(Outbox::create(&root, owner)?);
    Ok(all)
}

struct Drive {
    ride: Ride,
    seat: Seat,
    started: Started,
    /// Claude Code is being ended to be started again, with hooks in the mod's place.
    again: bool,
    lines: mpsc::Receiver<Line>,
    connection: Option<Connection>,
    /// Grows with each connection; answers of an earlier one are dropped.
    generation: u64,
    answers: mpsc::Receiver<(u64, Event)>,
    answer_in: mpsc::Sender<(u64, Event)>,
    asks: Vec<(u64, oneshot::Sender<Verdict>)>,
    next_ask: u64,
    /// The process that holds the Claude session, once it greeted. Where our child is
    /// a wrapper, this one may outlive it.
    holder: Option<Process>,
    told_to_end: bool,
    kill_at: Option<Instant>,
    hello_by: Instant,
    ended: Option<Ended>,
    gone: bool,
    /// When the person is told what is waited for, once Claude Code is gone.
    tell_at: Option<Instant>,
    /// Ctrl-C was pressed once while that was waited for.
    interrupted: bool,
    notes: Vec<String>,
    outcome: Option<Outcome>,
    copy: Option<OnCopy>,
    /// What this machine's own files tell; not of any connection.
    told: mpsc::Receiver<Event>,
    tell: mpsc::Sender<Event>,
}

/// The conversation's files on this machine, while they are pushed.
struct OnCopy {
    key: String,
    fence: Fence,
    files: Files,
    /// What the gateway has of the files of subagents; one push at a time has it.
    beside: Arc<Mutex<BTreeMap<String, u64>>>,
    /// What could not be pushed, in words.
    notes: Arc<std::sync::Mutex<Vec<String>>>,
    /// A turn ended: when the file is looked at, and how often it was.
    grown_at: Option<Instant>,
    looks: u32,
}

impl Drive {
    fn new(mut plan: Plan, mut started: Started, seat: Seat) -> Drive {
        let left: Vec<_> = started.outboxes.iter().flat_map(Outbox::held).map(|queued| queued.item.clone()).collect();
        let mut notes = std::mem::take(&mut started.notes);
        if !left.is_empty() {
            let n = u32::try_from(left.len()).unwrap_or(u32::MAX);
            let what = count(n, "prompt or answer", "prompts and answers");
            notes.push(format!("{what} of an earlier ride waited to be handed over, and went first"));
        }
        let mut ride = Ride::new(&plan.grant, &plan.secret, left, now_ms());
        let copy = plan.copy.take().map(|copy| {
            ride.on_copy(copy.pushed, copy.size, now_ms());
            ride.said_before(copy.said);
            let (beside, notes) = (Arc::new(Mutex::new(copy.beside)), Arc::default());
            OnCopy {
                key: plan.grant.key.clone(),
                fence: plan.grant.fence,
                files: copy.files,
                beside,
                notes,
                grown_at: None,
                looks: 0,
            }
        });
        let (answer_in, answers) = mpsc::channel(16);
        let (tell, told) = mpsc::channel(1);
        Drive {
            ride,
            seat,
            started,
            again: false,
            lines: keep(plan.target, plan.access, plan.state_dir, plan.connection),
            connection: None,
            generation: 0,
            answers,
            answer_in,
            asks: Vec::new(),
            next_ask: 1,
            holder: None,
            told_to_end: false,
            kill_at: None,
            hello_by: Instant::now() + HELLO_WITHIN,
            ended: None,
            gone: false,
            tell_at: None,
            interrupted: false,
            notes,
            outcome: None,
            copy,
            told,
            tell,
        }
    }

    async fn run(mut self, renewed: Event) -> Report {
        self.take(renewed);
        self.came_up();
        loop {
            if let Some(outcome) = self.outcome.take() {
                return self.report(outcome);
            }
            self.turn().await;
        }
    }

    /// Claude Code was started: until it greets, our child stands for it.
    fn came_up(&mut self) {
        let child =
            Process { start: self.started.claude.start().unwrap_or(0), ..process::identity(self.started.claude.pid()) };
        self.take(Event::Claude(child));
    }

    /// Starts Claude Code once more, with hooks in the mod's place. Nobody has typed
    /// anything yet: the first prompt waits for what a session begins with.
    fn start_again(&mut self) {
        self.again = false;
        let started = match self.ride.may_start_again(now_ms()) {
            true => Place::prepare(&self.seat, Source::Hooks, self.started.place.launch.lock.clone())
                .and_then(|place| Ok((place.start()?, place))),
            false => Err(Error::new(Kind::LeaseLost, "the thread may not be yours any more")),
        };
        match started {
            Ok((claude, place)) => {
                place.status.send_replace(self.started.place.status.borrow().clone());
                self.started.place.link.unshown().into_iter().flatten().for_each(|line| place.link.say(line));
                (self.started.claude, self.started.place) = (claude, place);
                (self.ended, self.holder, self.kill_at) = (None, None, None);
                self.hello_by = Instant::now() + HELLO_WITHIN;
                self.came_up();
            }
            Err(e) => {
                self.notes
                    .push(format!("Claude Code was not started again with hooks in the mod's place: {}", e.message));
                self.gone = true;
                self.take(Event::ClaudeGone);
            }
        }
    }

    /// Waits for the next thing to happen and acts on it.
    async fn turn(&mut self) {
        let wake = Duration::from_millis(self.ride.wake_ms(now_ms()).saturating_sub(now_ms()));
        let mut tick = Instant::now() + wake;
        for at in [self.kill_at, self.tell_at, self.copy.as_ref().and_then(|copy| copy.grown_at)].into_iter().flatten()
        {
            tick = tick.min(at);
        }
        let alive = self.ended.is_none();
        if !alive && !self.gone {
            tick = tick.min(Instant::now() + LOOK_EVERY);
        }
        tokio::select! {
            Some(line) = self.lines.recv() => self.line(line),
            Some((generation, event)) = self.answers.recv() => {
                if generation == self.generation {
                    self.take(event);
                }
            }
            Some(event) = self.told.recv() => self.take(event),
            Some(event) = self.started.place.link_events.recv() => self.link(event),
            ended = self.started.claude.ended(), if alive => {
                self.ended = Some(ended);
                if self.holder_lives() && self.kill_at.is_none() {
                    // The wrapper went first. Nobody would see to the other one.
                    self.end_claude();
                }
            }
            () = self.started.signals.interrupted() => self.interrupted(),
            _ = self.started.terminated.recv() => self.take(Event::Stop("SIGTERM")),
            _ = self.started.hung_up.recv() => self.take(Event::Stop("the terminal was closed")),
            () = sleep_until(tick) => self.tick(),
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            self.started.claude.kill();
            self.signal_holder(ProcessSignal::KILL);
        }
        if self.ended.is_some() && !self.gone && self.again && !self.told_to_end && !self.holder_lives() {
            self.start_again();
        } else if self.ended.is_some() && !self.gone && !self.holder_lives() {
            self.gone = true;
            self.kill_at = None;
            self.tell_at = Some(now + SILENT_FOR);
            // Its Claude Code is gone, and no other is started: the gateway is to see that.
            self.started.place.launch.lock = None;
            // What it said last may still be in the queue.
            while let Ok(event) = self.started.place.link_events.try_recv() {
                self.link(event);
            }
            self.take(Event::ClaudeGone);
            self.rests();
        }
        if self.tell_at.take_if(|at| *at <= now).is_some() {
            self.tell_wait("Ctrl-C twice leaves at once");
        }
        if let Some(copy) = self.copy.as_mut().filter(|copy| copy.grown_at.is_some_and(|at| at <= now)) {
            copy.grown_at = None;
            // Another turn ends by itself.
            if !self.ride.turn_runs() {
                // On a busy machine its last line comes late.
                copy.looks += 1;
                copy.grown_at = (copy.looks < LOOKS).then(|| now + WRITTEN_WITHIN * 2_u32.pow(copy.looks));
                let size = copy::length(&copy.files, None).unwrap_or(0);
                let end = whole_lines(&copy.files, None, 0, size);
                self.take(Event::Grown(end));
            }
        }
        if self.holder.is_none() && self.ended.is_none() && now >= self.hello_by {
            // Its prompts would neither be checked nor reach the thread.
            self.hello_by = now + HELLO_WITHIN;
            self.take(Event::Stop("Claude Code did not load ride's plugin"));
        }
        if self.started.place.source == Source::Hooks && self.ended.is_none() && !self.started.place.is_intact() {
            // Claude Code would let the next prompt through.
            self.take(Event::Stop("the plugin that guards its prompts was removed"));
        }
        self.take(Event::Tick);
    }

    /// Ctrl-C after Claude Code has ended: the first tells what is waited for, the second leaves.
    fn interrupted(&mut self) {
        if !self.gone {
            return;
        }
        if std::mem::replace(&mut self.interrupted, true) {
            self.take(Event::Leave);
        } else {
            self.tell_at = None;
            self.tell_wait("Ctrl-C again leaves at once");
        }
    }

    /// Says what is waited for, and how to leave.
    fn tell_wait(&self, how: &str) {
        if let Some(what) = self.ride.waits_for(now_ms()) {
            // The terminal may be gone, and what is waited for goes on all the same.
            let _ = writeln!(std::io::stderr(), "{what}; {how}");
        }
    }

    fn line(&mut self, line: Line) {
        match line {
            Line::Up(connection) => {
                self.generation += 1;
                self.connection = Some(connection);
                self.take(Event::Up);
            }
            Line::Event(event) => {
                if let (CHANGED, Some(key)) = (event.name.as_str(), event.key) {
                    self.take(Event::Changed(key));
                }
            }
            Line::Down(why) => {
                self.generation += 1;
                self.connection = None;
                self.take(Event::Down(format!("the connection was lost: {why}")));
            }
            Line::Failed(why) => self.take(Event::Down(why)),
        }
    }

    fn link(&mut self, event: LinkEvent) {
        match event {
            // Whoever inherits the token and greets first makes the mod of the real one inert.
            LinkEvent::Hello(hello) if !is_our_claude(hello.pid, self.started.claude.pid()) => {
                self.take(Event::Stop("a process that this ride did not start answered in Claude Code's place"));
            }
            LinkEvent::Hello(hello) => {
                let holder = process::identity(hello.pid);
                self.holder = Some(holder.clone());
                if hello.source == Source::Mod {
                    self.ride.reads_draft();
                }
                self.take(Event::Session(hello.claude_session));
                self.take(Event::Claude(holder));
            }
            LinkEvent::Ask { what, claude_session, reply } => {
                let ask = self.next_ask;
                self.next_ask += 1;
                self.asks.push((ask, reply));
                self.take(Event::Unshown(self.started.place.link.unshown()));
                self.take(Event::Ask { ask, what, session: claude_session });
            }
            LinkEvent::Prompt { prompt, kept } => {
                if self.take_kept(Event::Prompt(prompt)) {
                    let _ = kept.send(());
                }
            }
            LinkEvent::Turn { turn, kept } => {
                if let Some(copy) = &mut self.copy {
                    (copy.grown_at, copy.looks) = (Some(Instant::now() + WRITTEN_WITHIN), 0);
                }
                if self.take_kept(Event::Turn(turn)) {
                    let _ = kept.send(());
                }
            }
            LinkEvent::NoMod => {
                if self.holder.is_none() && !self.told_to_end && !self.again {
                    self.again = true;
                    self.end_claude();
                }
            }
            LinkEvent::Slipped(slip) => self.take(Event::Slipped(slip)),
            LinkEvent::Runs => self.take(Event::Runs),
            LinkEvent::Heard(prompts) => self.take(Event::Heard(prompts)),
            LinkEvent::SessionChanged { to, .. } => {
                self.take(Event::Session(to));
            }
            LinkEvent::Draft(text) => self.take(Event::Draft(text)),
            LinkEvent::Bye { .. } => {}
        }
    }

    fn take(&mut self, event: Event) {
        self.take_kept(event);
    }

    /// Lets the state take an event and performs what comes out. Answers whether
    /// everything that was to be kept is on disk.
    fn take_kept(&mut self, event: Event) -> bool {
        let mut kept = true;
        for effect in self.ride.step(event, now_ms()) {
            kept &= self.perform(effect);
        }
        kept
    }

    fn perform(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Renew(request) => {
                self.call(method::RENEW, request, RENEW_WITHIN, |sent_ms, answer| Event::Renewed { sent_ms, answer })
            }
            Effect::Relay(items) => {
                let request = self.ride.relay_request(items);
                self.call(method::RELAY, request, RENEW_WITHIN, |_, answer| Event::Relayed(answer));
            }
            Effect::Inbox(request) => {
                self.call(method::INBOX, request, RENEW_WITHIN, |_, answer| Event::Inboxed(answer));
            }
            Effect::Push { from, to } => self.push(from, to),
            Effect::Take(request) => self.call(method::TAKE, request, RENEW_WITHIN, |_, answer| Event::Took(answer)),
            Effect::Say(line) => self.started.place.link.say(line),
            Effect::Release(request) => {
                let limit = Duration::from_millis(request.wait_ms) + RELEASE_MORE;
                self.call(method::RELEASE, request, limit, |_, answer| Event::Released(answer));
            }
            Effect::Keep(items) => return self.keep(items),
            Effect::Forget(ids) => {
                for id in ids {
                    for outbox in &mut self.started.outboxes {
                        if let Err(e) = outbox.acknowledge(&id) {
                            // It is sent again next time, and known there by its id.
                            self.notes.push(e.to_string());
                        }
                    }
                }
            }
            Effect::Verdict(ask, verdict) => {
                if let Some(at) = self.asks.iter().position(|(waiting, _)| *waiting == ask) {
                    let _ = self.asks.swap_remove(at).1.send(verdict);
                }
            }
            Effect::Status(status) => {
                self.started.place.status.send_replace(status);
            }
            Effect::EndClaude => {
                self.told_to_end = true;
                self.end_claude();
            }
            Effect::Tell(note) => self.notes.push(note),
            Effect::Done(outcome) => self.outcome = Some(outcome),
        }
        true
    }

    fn end_claude(&mut self) {
        self.started.claude.terminate();
        self.signal_holder(ProcessSignal::TERM);
        self.kill_at = Some(Instant::now() + KILL_AFTER);
    }

    fn holder_lives(&self) -> bool {
        // One that may not be looked at may live.
        self.holder.as_ref().is_some_and(|holder| !matches!(process::alive(holder), Ok(Alive::No)))
    }

    /// Signals the greeted process where it is not our child, which has its own way.
    fn signal_holder(&self, signal: ProcessSignal) {
        let Some(holder) = self.holder.as_ref().filter(|holder| holder.pid != self.started.claude.pid()) else {
            return;
        };
        if let Some(pid) = i32::try_from(holder.pid).ok().and_then(Pid::from_raw)
            && self.holder_lives()
        {
            // It may have ended since the line above: nothing to do then.
            let _ = kill_process(pid, signal);
        }
    }

    fn keep(&mut self, items: Vec<wire::RelayItem>) -> bool {
        let at_ms = clock::now().wall_ms;
        let outbox = self.started.outboxes.last_mut().expect("the last one was made for this ride");
        let mut lost = Vec::new();
        for item in items {
            let id = item.id.clone();
            let why = match outbox.push(Queued { item, at_ms }) {
                Ok(Pushed::Kept | Pushed::Known) => continue,
                Ok(Pushed::Full) => "too many items wait for the gateway".to_owned(),
                Ok(Pushed::TooLarge) => "it is larger than the gateway takes".to_owned(),
                Err(e) => e.to_string(),
            };
            self.notes.push(format!("could not keep {id} for the thread: {why}"));
            lost.push(id);
        }
        let all = lost.is_empty();
        if !all {
            self.ride.unkept(&lost);
        }
        all
    }

    /// Sends a request; its answer comes back as an event of this connection.
    fn call<Q, A>(
        &mut self,
        method: &'static str,
        request: Q,
        limit: Duration,
        event: fn(u64, Result<A, Trouble>) -> Event,
    ) where
        Q: serde::Serialize + Send + Sync + 'static,
        A: serde::de::DeserializeOwned + Send + 'static,
    {
        let Some(connection) = self.connection.clone() else { return };
        let (answers, generation, sent_ms) = (self.answer_in.clone(), self.generation, now_ms());
        tokio::spawn(async move {
            let answer = connection.call_within(method, &request, limit).await;
            if let Err(CallError::Late { .. }) = &answer {
                connection.hang_up();
            }
            let _ = answers.send((generation, event(sent_ms, answer.map_err(trouble)))).await;
        });
    }

    /// Pushes a range of the copy, and before it what subagents wrote.
    fn push(&self, from: u64, to: u64) {
        let (Some(copy), Some(connection)) = (&self.copy, self.connection.clone()) else { return };
        let (answers, generation) = (self.answer_in.clone(), self.generation);
        let thread =
            copy::Thread { connection, key: copy.key.clone(), fence: copy.fence, session: self.seat.target.session_id };
        let (files, beside, notes) = (copy.files.clone(), copy.beside.clone(), copy.notes.clone());
        tokio::spawn(async move {
            let moved = || drop(answers.try_send((generation, Event::Pushing)));
            let mut beside = beside.lock().await;
            let pushed = match push_beside(&thread, &files, &mut beside, moved).await {
                Ok(left) => {
                    notes.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
                    push(&thread, &files, None, from, to, moved).await
                }
                Err(e) => Err(e.into()),
            };
            let pushed = pushed.map(|()| to).map_err(|e| match e {
                PushError::Call(e) => trouble(e),
                here => Trouble::Refused { reason: Reason::Transcript, message: here.to_string(), holder: None },
            });
            let _ = answers.send((generation, Event::Pushed(pushed))).await;
        });
    }

    /// Nobody writes to the copy any more: where does it end?
    fn rests(&self) {
        let Some(copy) = &self.copy else { return };
        let (path, tell) = (copy.files.transcript().to_owned(), self.tell.clone());
        tokio::task::spawn_blocking(move || {
            let end = chain_mark(&path).map(|mark| CopyEnd {
                size: mark.size,
                tail_sha256: mark.tail_sha256,
                leaf: mark.leaf,
            });
            let _ = tell.blocking_send(Event::Rests(end.map_err(|e| e.to_string())));
        });
    }

    fn report(mut self, outcome: Outcome) -> Report {
        if let Some(copy) = &self.copy {
            self.notes.append(&mut copy.notes.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let (waiting, total) = self.ride.waiting();
        let report = Report {
            outcome,
            claude: self.ended.filter(|_| !self.told_to_end),
            notes: self.notes,
            waiting: (waiting.to_vec(), total),
            unsent: self.ride.unsent(),
            unpushed: self.ride.unpushed(),
            draft: self.ride.draft().map(str::to_owned),
        };
        for outbox in self.started.outboxes {
            // One that still holds items stays for the next ride.
            let _ = outbox.close();
        }
        report
    }
}

/// The Claude session of a ride that opens one.
pub(crate) fn target(grant: &Grant) -> &ClaudeTarget {
    grant.claude.as_ref().expect("a grant without a Claude session is ridden by crate::chat")
}

/// A failed call, as the state takes it.
pub(crate) fn trouble(e: CallError) -> Trouble {
    match e {
        CallError::Refused(refusal) => Trouble::Refused {
            reason: refusal.details.reason,
            message: refusal.message.to_string(),
            holder: refusal.details.holder,
        },
        // A gateway that restarts may for a moment not know the method.
        other => Trouble::Unsure(other.to_string()),
    }
}

/// Milliseconds on the clock that counts sleep, as the gateway's leases do.
fn now_ms() -> u64 {
    clock::now().mono_ms
}

/// Whether a process is the Claude Code that was started as `child`, or that a wrapper in its
/// place started. A server or a tool that Claude Code starts is its child, and is not it.
fn is_our_claude(pid: u32, child: u32) -> bool {
    pid == child || descends(pid, child) && runs_claude_code(pid)
}

/// Whether a process is `ancestor` or was started by it, through a few wrappers at most.
fn descends(mut pid: u32, ancestor: u32) -> bool {
    for _ in 0..4 {
        if pid == ancestor {
            return true;
        }
        match process::look(pid) {
            Ok(Some(seen)) => pid = seen.ppid,
            _ => return false,
        }
    }
    false
}
