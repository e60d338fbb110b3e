//! One ride as a value: what has happened goes in with the time, what to do comes out.
//!
//! Invariants: a prompt or turn is let begin only while the lease can be proven, and
//! only in the thread's own Claude session; relay items leave in order and are
//! forgotten only when the gateway has them; the thread is released only after Claude
//! Code is gone. Absent on purpose: clock, files, network, processes (see `ride`).
//!
//! Time is counted from before a request was sent, so that our view of the lease
//! always ends before the gateway's.

use std::collections::{BTreeMap, VecDeque};

use ride_core::id::{Fence, Process};
use ride_core::limits;
use ride_core::wire::{
    CopyEnd, Grant, Holder, Inbox, Inboxed, Reason, Relay, RelayItem, RelayKind, Relayed, Release, Released, Renew,
    Renewed, Take, Taken, Waiting,
};
use uuid::Uuid;

use super::include;
use crate::link::{Ask, Ending, Origin, Prompt, Slip, Status, Turn, Verdict};
use crate::outbox;
use crate::render::{self, clean, cut, duration};

/// No prompt is let begin this close to the lease's end: more than the time from a
/// verdict to the prompt's line in the transcript (the mod gives a verdict 4 s).
pub(crate) const MARGIN_MS: u64 = 5_000;
/// How long Claude Code stays open, refusing prompts, after the lease ran out on our
/// own clock. The thread goes to nobody else while its process lives, so this bounds
/// how long an unreachable driver keeps it. A gateway restart takes up to 30 s.
pub(crate) const ADRIFT_MS: u64 = 300_000;
/// The pause after a failed renewal or relay, and between renewals caused by events.
pub(crate) const PAUSE_MS: u64 = 500;
/// The longest pause between attempts to relay while the gateway cannot take more.
const PAUSE_MAX_MS: u64 = 10_000;
/// How long the last items may take to reach the gateway after Claude Code ended.
const FLUSH_MS: u64 = 20_000;
/// How long releasing may be tried while the gateway cannot be reached.
pub(crate) const RELEASE_MS: u64 = 30_000;
/// How long the gateway may take over the hand-over, within one release.
pub(crate) const HANDOVER_MS: u64 = 30_000;
/// The status line warns this long before silence ends the ride.
pub(crate) const SILENCE_WARN_MS: u64 = 120_000;
/// Bytes of the texts in one `ride_relay`; a longer item travels alone.
const BATCH_BYTES: usize = 1024 * 1024;
/// Outbox places a turn may need: prompts that join it, its answer in parts, a notice.
const OUTBOX_ROOM: usize = 8;
/// Prompts with messages along that nothing was said to yet. One person types them.
const MAX_ALONG: usize = 16;
/// How long the mod may take to say what is typed and not sent, before Claude Code is ended.
const DRAFT_MS: u64 = 1_000;
/// How long Claude Code stays to show why it ends, where something typed goes with it.
const SHOWN_MS: u64 = 4_000;
/// Bytes of a draft that are kept: some screens full.
pub(crate) const MAX_DRAFT_BYTES: usize = 32 * 1024;
/// Columns of the title and of the newest waiting message in the status line.
pub(crate) const STATUS_COLUMNS: usize = 48;
/// Columns of why a ride is over: a name and some words.
const WHY_COLUMNS: usize = 80;

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// Time went by.
    Tick,
    /// A connection to the gateway stands.
    Up,
    /// It is gone, or could not be made; why.
    Down(String),
    /// The gateway said that the thread with this key changed.
    Changed(String),
    /// A renewal sent at `sent_ms` ended.
    Renewed {
        /// When it was sent.
        sent_ms: u64,
        /// How it ended.
        answer: Result<Renewed, Trouble>,
    },
    /// A hand-over of items ended.
    Relayed(Result<Relayed, Trouble>),
    /// A look at the messages that wait ended.
    Inboxed(Result<Inboxed, Trouble>),
    /// The gateway was told that messages rode along.
    Took(Result<Taken, Trouble>),
    /// A release ended.
    Released(Result<Released, Trouble>),
    /// Of a ride on a copy: a finished turn ends at this byte of it.
    Grown(u64),
    /// A frame of it reached the gateway.
    Pushing,
    /// The gateway has it up to this byte, or would not take it.
    Pushed(Result<u64, Trouble>),
    /// Nobody writes to it any more: where it ends, or why that cannot be told.
    Rests(Result<CopyEnd, String>),
    /// Claude Code greeted: the process that holds the Claude session.
    Claude(Process),
    /// Claude Code asks whether something may begin.
    Ask {
        /// To be repeated in the verdict.
        ask: u64,
        /// What wants to begin.
        what: Ask,
        /// In which Claude session.
        session: Uuid,
    },
    /// A prompt enters the conversation.
    Prompt(Prompt),
    /// A turn ended.
    Turn(Turn),
    /// Something is in the transcript that was not asked for.
    Slipped(Slip),
    /// A turn runs that did not ask.
    Runs,
    /// Lines for the conversation that were not shown yet; `None`: some never will be.
    Unshown(Option<Vec<String>>),
    /// The model has begun to answer these prompts.
    Heard(Vec<Uuid>),
    /// Claude Code went to another Claude session.
    Session(Uuid),
    /// What stands in the prompt box, typed and not sent.
    Draft(String),
    /// Claude Code is gone.
    ClaudeGone,
    /// The person or the system asked the ride to end.
    Stop(&'static str),
    /// The person does not wait for the gateway any longer.
    Leave,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The method refused.
    Refused {
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
        /// Who holds the thread now.
        holder: Option<Holder>,
    },
    /// It did not reach the method, or the outcome is unknown: worth repeating.
    Unsure(String),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Renew the lease.
    Renew(Renew),
    /// Hand these items over, in order.
    Relay(Vec<RelayItem>),
    /// Read the messages that wait.
    Inbox(Inbox),
    /// Tell the gateway that messages rode along.
    Take(Take),
    /// Show this in the conversation.
    Say(String),
    /// Extend the gateway's transcript by what the copy has between these bytes.
    Push {
        /// Up to here the gateway has it.
        from: u64,
        /// Up to here it is to have it.
        to: u64,
    },
    /// Release the thread.
    Release(Release),
    /// Write these to the outbox, before what caused it is acknowledged.
    Keep(Vec<RelayItem>),
    /// The gateway has these: remove them from the outbox.
    Forget(Vec<String>),
    /// Answer a question of Claude Code.
    Verdict(u64, Verdict),
    /// Show this in Claude Code.
    Status(Status),
    /// End Claude Code, and report when it is seen gone.
    EndClaude,
    /// Print this when the terminal is ours again.
    Tell(String),
    /// The ride is over.
    Done(Outcome),
}

/// How a ride ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Handed back.
    Released(Released),
    /// The thread was taken or given up meanwhile.
    Lost {
        /// Why.
        why: String,
        /// Who holds it now.
        holder: Option<Holder>,
    },
    /// The gateway could not be told; the lease ends by itself.
    Unreleased(String),
    /// The gateway refuses to take the thread back.
    Refused {
        /// The reason.
        reason: Reason,
        /// For people.
        message: String,
    },
}

/// The state of one ride.
#[derive(Debug)]
pub struct Ride {
    key: String,
    title: String,
    fence: Fence,
    secret: String,
    session: Uuid,
    /// Whether the thread shows what is handed over.
    shown_in_thread: bool,
    renew_every_ms: u64,
    /// Up to here the lease is ours for certain.
    deadline_ms: u64,
    silent_at_ms: u64,
    accept_broken_chain: bool,

    up: bool,
    trouble: Option<String>,
    renew_at_ms: u64,
    renewing: bool,

    claude: Option<Process>,
    elsewhere: Option<Uuid>,
    turn_running: bool,
    /// A prompt was typed since the last renewal was sent.
    typed: bool,

    queue: VecDeque<RelayItem>,
    relaying: usize,
    batch: usize,
    relay_at_ms: u64,
    relay_pause_ms: u64,

    waiting: Vec<Waiting>,
    waiting_total: u32,
    /// The messages that wait, whole, as far as they were read.
    inbox: Vec<Waiting>,
    /// How each of them was shown, by its number.
    shown_as: BTreeMap<u64, include::Shown>,
    /// Lines that were not shown yet, as last told.
    unshown: Option<Vec<String>>,
    /// How many prompts had messages along: each has a fence of its own.
    fences: u64,
    /// Read up to this one.
    read: u64,
    reading: bool,
    read_at_ms: u64,
    /// What goes along with the prompt that was let in last, if it asked for that.
    along: Option<Vec<u64>>,
    taken: Vec<Along>,
    taking: bool,
    take_at_ms: u64,
    gateway_outbox: u32,
    relay_stopped: Option<String>,
    /// The newest thing the gateway told of beside the ride, until the next prompt.
    news: Option<String>,
    /// Up to here it was told.
    news_seq: u64,

    copy: Option<OnCopy>,

    /// Whether this Claude Code can say what is typed and not sent.
    reads_draft: bool,
    /// When Claude Code is ended, where that waits for the draft.
    end_at_ms: Option<u64>,
    /// What was typed and not sent when it ended.
    draft: Option<String>,

    phase: Phase,
    shown: Status,
}

/// The driver's own copy of the conversation.
#[derive(Debug)]
struct OnCopy {
    /// Up to here the gateway has it.
    pushed: u64,
    /// Up to here it is to have it: a finished turn ends there, or all of it.
    wanted: u64,
    /// Where it ends, once nobody writes to it.
    end: Option<CopyEnd>,
    pushing: bool,
    push_at_ms: u64,
}

/// Messages that went along with a prompt.
#[derive(Debug)]
struct Along {
    prompt: Uuid,
    seqs: Vec<u64>,
    /// The model has begun to answer: they are the agent's no more.
    heard: bool,
}

#[derive(Debug)]
enum Phase {
    /// Claude Code runs.
    Riding,
    /// Claude Code was told to end; `Some` when the thread is not ours any more.
    Ending(Option<Loss>),
    /// Claude Code is gone; the last items go out.
    Flushing { until_ms: u64 },
    /// The release is on its way.
    Releasing { until_ms: u64, at_ms: u64, asked: bool },
    /// Nothing more to do.
    Done,
}

#[derive(Clone, Debug)]
struct Loss {
    why: String,
    holder: Option<Holder>,
}

/// Whether Claude Code may be started on a lease that was renewed by a request sent at
/// `sent_ms`: whatever passed since (a suspended laptop), it can still be proven.
pub fn may_start(sent_ms: u64, renewed: &Renewed, now_ms: u64) -> bool {
    now_ms + MARGIN_MS < sent_ms + renewed.expires_in_ms
}

impl Ride {
    /// Begins a ride with its grant. `leftover` are items an earlier ride of this
    /// thread could not hand over; they go first.
    ///
    /// The claim may have waited long for a running turn, so that the grant says
    /// nothing about when the lease began: the first renewal does.
    pub fn new(grant: &Grant, secret: &str, leftover: Vec<RelayItem>, now_ms: u64) -> Ride {
        Ride {
            key: grant.key.clone(),
            title: clean(&grant.title),
            fence: grant.fence,
            secret: secret.to_owned(),
            session: super::target(grant).session_id,
            shown_in_thread: grant.relay,
            renew_every_ms: grant.renew_every_ms.max(PAUSE_MS),
            deadline_ms: now_ms,
            silent_at_ms: now_ms + grant.silence_ms,
            accept_broken_chain: false,
            up: false,
            trouble: None,
            renew_at_ms: now_ms,
            renewing: false,
            claude: None,
            elsewhere: None,
            turn_running: false,
            typed: false,
            queue: leftover.into(),
            relaying: 0,
            batch: limits::RELAY_ITEMS,
            relay_at_ms: now_ms,
            relay_pause_ms: PAUSE_MS,
            waiting: grant.waiting.clone(),
            waiting_total: u32::try_from(grant.waiting.len()).unwrap_or(u32::MAX),
            inbox: Vec::new(),
            shown_as: BTreeMap::new(),
            unshown: Some(Vec::new()),
            fences: 0,
            read: 0,
            reading: false,
            read_at_ms: now_ms,
            along: None,
            taken: Vec::new(),
            taking: false,
            take_at_ms: now_ms,
            gateway_outbox: 0,
            relay_stopped: None,
            news: None,
            news_seq: 0,
            copy: None,
            reads_draft: false,
            end_at_ms: None,
            draft: None,
            phase: Phase::Riding,
            shown: Status::default(),
        }
    }

    /// This Claude Code can say what is typed and not sent: it is asked before it is ended.
    pub fn reads_draft(&mut self) {
        self.reads_draft = true;
    }

    /// What was typed and not sent when Claude Code was ended.
    pub fn draft(&self) -> Option<&str> {
        self.draft.as_deref()
    }

    /// What is waited for after Claude Code is gone, and for how long at most; for the person.
    pub fn waits_for(&self, now_ms: u64) -> Option<String> {
        let (until_ms, what) = match &self.phase {
            Phase::Flushing { until_ms } => (until_ms + RELEASE_MS, self.unsaid()),
            Phase::Releasing { asked: true, .. } => (now_ms + HANDOVER_MS, None),
            Phase::Releasing { until_ms, .. } => (*until_ms, self.unsaid()),
            Phase::Riding | Phase::Ending(_) | Phase::Done => return None,
        };
        let trouble =
            self.trouble.as_ref().filter(|_| !self.up).map_or_else(String::new, |why| format!(" ({})", clean(why)));
        let what = what.map_or_else(String::new, |what| format!("; {what}"));
        let left = duration(until_ms.saturating_sub(now_ms));
        Some(format!("waiting for the gateway to take {} back, at most {left}{trouble}{what}", self.title))
    }

    /// What the gateway does not have yet.
    fn unsaid(&self) -> Option<String> {
        let n = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        match (n, self.unpushed()) {
            (0, 0) => None,
            (0, _) => Some("the end of the conversation is still to be pushed".to_owned()),
            (n, _) => Some(format!(
                "{} still to be handed over",
                render::count(n, "prompt or answer is", "prompts and answers are")
            )),
        }
    }

    /// Rides on a copy of `size` bytes, of which the gateway has the first `pushed`.
    pub fn on_copy(&mut self, pushed: u64, size: u64, now_ms: u64) {
        self.copy = Some(OnCopy { pushed, wanted: size, end: None, pushing: false, push_at_ms: now_ms });
    }

    /// Takes what a copy has that never reached the gateway: it goes to the thread in the
    /// order it was said. Of what an earlier ride left in its outbox, the rest is older.
    pub fn said_before(&mut self, said: Vec<RelayItem>) {
        let said: Vec<RelayItem> = said.iter().flat_map(|item| in_parts(&item.id, item.kind, &item.text)).collect();
        self.queue.retain(|left| said.iter().all(|item| item.id != left.id));
        self.queue.extend(said);
    }

    /// How much of the copy the gateway does not have.
    pub fn unpushed(&self) -> u64 {
        self.copy.as_ref().map_or(0, |copy| copy.wanted.saturating_sub(copy.pushed))
    }

    /// Whether a turn is under way, as far as is known.
    pub fn turn_runs(&self) -> bool {
        self.turn_running
    }

    /// Hands the thread back although its chain could not be shown to be whole.
    pub fn accept_broken_chain(&mut self) {
        self.accept_broken_chain = true;
    }

    /// What waits for the agent, as last told.
    pub fn waiting(&self) -> (&[Waiting], u32) {
        (&self.waiting, self.waiting_total)
    }

    /// How many items never reached the gateway.
    pub fn unsent(&self) -> usize {
        self.queue.len()
    }

    /// The request that hands items over.
    pub fn relay_request(&self, items: Vec<RelayItem>) -> Relay {
        Relay { key: self.key.clone(), fence: self.fence, items }
    }

    /// Takes back what could not be written to the outbox; Claude Code was told so.
    pub fn unkept(&mut self, ids: &[String]) {
        self.queue.retain(|item| !ids.contains(&item.id));
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn wake_ms(&self, now_ms: u64) -> u64 {
        let mut wake = now_ms + 1_000;
        let mut at_most = |at: u64, due: bool| wake = if due { wake.min(at) } else { wake };
        // As `go_on` looks at it: what is not done there is not waited for.
        let holds = self.up && self.holds();
        at_most(self.renew_at_ms, holds && !self.renewing);
        at_most(self.relay_at_ms, holds && self.relaying == 0 && !self.queue.is_empty());
        at_most(self.take_at_ms, holds && !self.taking && self.taken.iter().any(|along| along.heard));
        at_most(
            self.copy.as_ref().map_or(0, |copy| copy.push_at_ms),
            holds && self.copy.as_ref().is_some_and(OnCopy::is_due),
        );
        at_most(self.end_at_ms.unwrap_or(0), self.end_at_ms.is_some());
        if let Phase::Releasing { at_ms, until_ms, asked: false } = self.phase {
            at_most(if self.up { at_ms } else { until_ms }, true);
        }
        wake.max(now_ms)
    }

    /// Takes one event in.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let out = &mut effects;
        match event {
            Event::Tick => {}
            Event::Up => {
                self.up = true;
                self.trouble = None;
                self.renew_at_ms = now_ms;
                self.relay_at_ms = now_ms;
                // Answers of the connection before come as failures, or not at all.
                self.renewing = false;
                self.relaying = 0;
                (self.reading, self.taking) = (false, false);
                (self.read_at_ms, self.take_at_ms) = (now_ms, now_ms);
                if let Some(copy) = &mut self.copy {
                    (copy.pushing, copy.push_at_ms) = (false, now_ms);
                }
                if let Phase::Releasing { at_ms, asked, .. } = &mut self.phase {
                    (*at_ms, *asked) = (now_ms, false);
                }
            }
            Event::Down(why) => {
                self.up = false;
                self.renewing = false;
                self.relaying = 0;
                (self.reading, self.taking) = (false, false);
                if let Some(copy) = &mut self.copy {
                    copy.pushing = false;
                }
                self.trouble = Some(why);
            }
            Event::Changed(key) => {
                if key == self.key {
                    self.renew_at_ms = self.renew_at_ms.min(now_ms + PAUSE_MS);
                }
            }
            Event::Renewed { sent_ms, answer } => self.renewed(sent_ms, answer, now_ms, out),
            Event::Relayed(answer) => self.relayed(answer, now_ms, out),
            Event::Inboxed(answer) => self.inboxed(answer, now_ms, out),
            Event::Took(answer) => self.took(answer, now_ms, out),
            Event::Released(answer) => self.released(answer, now_ms, out),
            Event::Grown(size) => {
                if let Some(copy) = &mut self.copy {
                    copy.wanted = copy.wanted.max(size);
                }
            }
            Event::Pushing => self.flush_on(now_ms),
            Event::Pushed(answer) => self.pushed(answer, now_ms, out),
            Event::Rests(Ok(end)) => {
                if let Some(copy) = &mut self.copy {
                    copy.wanted = end.size;
                    copy.end = Some(end);
                    self.flush_on(now_ms);
                }
            }
            Event::Rests(Err(why)) => self.cannot_push(Reason::Transcript, why, now_ms, out),
            Event::Claude(process) => {
                self.claude = Some(process);
                self.renew_at_ms = now_ms;
            }
            Event::Ask { ask, what, session } => {
                let verdict = self.verdict(&what, session, now_ms);
                let verdict = match &what {
                    Ask::Prompt { text, .. } if verdict == Verdict::Allow && include::asked_for(text).is_some() => {
                        self.take_along()
                    }
                    _ => verdict,
                };
                if !matches!(verdict, Verdict::Refuse(_)) {
                    match what {
                        Ask::Prompt { .. } => {
                            self.typed = true;
                            self.news = None;
                        }
                        Ask::Turn => self.turn_running = true,
                        Ask::Compaction { .. } => {}
                    }
                }
                out.push(Effect::Verdict(ask, verdict));
            }
            Event::Prompt(prompt) => self.prompt(prompt, out),
            Event::Turn(turn) => self.turn(turn, out),
            Event::Slipped(slip) => self.slipped(slip, now_ms, out),
            Event::Runs => self.turn_running = true,
            Event::Unshown(lines) => self.unshown = lines,
            Event::Heard(prompts) => {
                self.taken
                    .iter_mut()
                    .filter(|along| prompts.contains(&along.prompt))
                    .for_each(|along| along.heard = true);
            }
            Event::Session(session) => {
                self.elsewhere = (session != self.session).then_some(session);
                if self.elsewhere.is_some() {
                    out.push(Effect::Tell(format!(
                        "Claude Code went to another conversation ({session}); nothing of it went to the thread"
                    )));
                }
            }
            Event::ClaudeGone => match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::Ending(Some(Loss { why, holder })) => out.push(Effect::Done(Outcome::Lost { why, holder })),
                Phase::Done => {}
                _ => self.phase = Phase::Flushing { until_ms: now_ms + FLUSH_MS },
            },
            Event::Draft(text) => self.drafted(text, now_ms),
            Event::Stop(why) => {
                if matches!(self.phase, Phase::Riding) {
                    out.push(Effect::Tell(format!("the ride was ended: {why}")));
                    self.end(None, now_ms, out);
                }
            }
            Event::Leave => {
                if matches!(self.phase, Phase::Flushing { .. } | Phase::Releasing { .. }) {
                    self.phase = Phase::Done;
                    out.push(Effect::Done(Outcome::Unreleased("you did not wait for the gateway".to_owned())));
                }
            }
        }
        self.go_on(now_ms, out);
        effects
    }

    fn verdict(&self, what: &Ask, session: Uuid, now_ms: u64) -> Verdict {
        let no = |why: String| Verdict::Refuse(why);
        if !matches!(self.phase, Phase::Riding) {
            return no("this ride is ending".into());
        }
        if session != self.session {
            return no(format!(
                "this is not the conversation of {}: /resume {} goes back, or leave Claude Code",
                self.title, self.session
            ));
        }
        if !self.is_ours(now_ms) {
            let why = self.trouble.as_deref().unwrap_or("the gateway has not answered yet");
            return no(format!("the thread may not be yours any more: {why}"));
        }
        match what {
            Ask::Prompt { text, .. } if text.len() > limits::RELAY_BYTES => no(format!(
                "{} bytes are more than a prompt to a thread may have ({})",
                text.len(),
                limits::RELAY_BYTES
            )),
            // Room for the turn that runs and the one that begins.
            _ if self.queue.len() + OUTBOX_ROOM > outbox::MAX_ITEMS => {
                no(format!("{} prompts and answers wait for the gateway", self.queue.len()))
            }
            _ => Verdict::Allow,
        }
    }

    /// Whether Claude Code may be started once more in this ride.
    pub fn may_start_again(&self, now_ms: u64) -> bool {
        matches!(self.phase, Phase::Riding) && self.is_ours(now_ms)
    }

    /// A prompt that entered without a question is in the transcript and cannot be removed. While
    /// we hold the lease it is relayed to the thread. Without the lease, and if the guard did not
    /// work at all, Claude Code is ended.
    fn slipped(&mut self, slip: Slip, now_ms: u64, out: &mut Vec<Effect>) {
        let why = match slip {
            Slip::Prompt => "a prompt began although ride was not asked: Claude Code did not run ride's plugin",
            Slip::Unasked if self.is_ours(now_ms) => return,
            Slip::Unasked => "something entered the conversation while the thread may not have been yours",
        };
        if matches!(self.phase, Phase::Riding) {
            out.push(Effect::Tell(format!("the ride was ended: {why}")));
            self.end(None, now_ms, out);
        }
    }

    /// Ends Claude Code. What is typed and not sent goes with it: where this Claude Code can
    /// say it, it is asked first. No prompt begins meanwhile.
    fn end(&mut self, loss: Option<Loss>, now_ms: u64, out: &mut Vec<Effect>) {
        self.phase = Phase::Ending(loss);
        if self.reads_draft {
            self.end_at_ms = Some(now_ms + DRAFT_MS);
        } else {
            out.push(Effect::EndClaude);
        }
    }

    /// Something typed is kept, and the person gets the time to read why Claude Code ends.
    fn drafted(&mut self, text: String, now_ms: u64) {
        let Some(end_at_ms) = &mut self.end_at_ms else { return };
        if text.trim().is_empty() {
            *end_at_ms = now_ms;
            return;
        }
        *end_at_ms = now_ms + SHOWN_MS;
        self.draft = Some(text[..text.floor_char_boundary(MAX_DRAFT_BYTES)].to_owned());
    }

    /// Whether the lease can be proven for long enough to begin something.
    fn is_ours(&self, now_ms: u64) -> bool {
        now_ms + MARGIN_MS < self.deadline_ms
    }

    fn prompt(&mut self, prompt: Prompt, out: &mut Vec<Effect>) {
        // What a machine caused (a finished task, another session) is not the person's.
        if prompt.claude_session == self.session && prompt.origin == Origin::Person {
            self.typed = true;
            if include::asked_for(&prompt.text).is_some()
                && let Some(seqs) = self.along.take()
            {
                if self.taken.len() == MAX_ALONG {
                    // The oldest that nothing was ever said to.
                    self.taken.remove(self.taken.iter().position(|along| !along.heard).unwrap_or(0));
                }
                self.taken.push(Along { prompt: prompt.id, seqs, heard: false });
            }
            self.keep(&prompt.id.to_string(), RelayKind::Prompt, include::as_said(&prompt.text), out);
        }
    }

    /// The driver's own act: what waits goes to Claude with this prompt. Until the model
    /// has begun to answer it all stays where it is.
    fn take_along(&mut self) -> Verdict {
        let gone = |seq: u64| self.taken.iter().any(|along| along.heard && along.seqs.contains(&seq));
        let left = || self.inbox.iter().filter(|message| !gone(message.seq));
        let Some(unshown) = &self.unshown else {
            return Verdict::Refuse(
                "more waits than could be shown to you; the agent answers it after the ride".to_owned(),
            );
        };
        let mut is_new = false;
        let was_seen = |message: &&Waiting| {
            let shown = self.shown_as.get(&message.seq);
            is_new |= shown.is_some_and(|shown| shown.waits(unshown));
            shown.is_some_and(|shown| shown.is_whole() && !shown.waits(unshown))
        };
        let messages = include::fitting(left().filter(was_seen));
        if messages.is_empty() {
            return Verdict::Refuse(match left().next() {
                None => "no message waits in the thread".to_owned(),
                Some(_) if is_new => {
                    "what waits was not shown to you before; send it again once you have read it".to_owned()
                }
                Some(_) => "what waits is too long to go along; the agent answers it after the ride".to_owned(),
            });
        }
        self.fences += 1;
        let fence = include::fence(&self.secret, self.fences);
        let context = include::context(&self.title, &fence, &messages);
        let shown: Vec<_> = messages.iter().filter_map(|message| self.shown_as.get(&message.seq)?.sha256()).collect();
        if include::given(&context, &fence).as_ref() != Some(&shown) {
            return Verdict::Refuse(
                "what would go along is not what was shown to you; the agent answers it after the ride".to_owned(),
            );
        }
        let seqs = messages.iter().map(|message| message.seq).collect();
        self.along = Some(seqs);
        Verdict::Along(context)
    }

    fn inboxed(&mut self, answer: Result<Inboxed, Trouble>, now_ms: u64, out: &mut Vec<Effect>) {
        self.reading = false;
        match answer {
            Ok(inboxed) => {
                let before = self.read;
                for message in inboxed.messages {
                    self.read = self.read.max(message.seq);
                    let shown = include::Shown::of(&message);
                    shown.lines().iter().for_each(|line| out.push(Effect::Say(line.clone())));
                    self.shown_as.insert(message.seq, shown);
                    self.inbox.push(message);
                }
                if self.read > before {
                    let command = include::command();
                    out.push(Effect::Say(format!(
                        "⇄ {command} <prompt> includes the waiting messages; others are answered after you leave"
                    )));
                }
                self.read_at_ms = if self.read > before { now_ms } else { now_ms + PAUSE_MAX_MS };
            }
            Err(trouble) => {
                // A gateway that does not know the method shows the beginnings all the same.
                self.read_at_ms = now_ms + PAUSE_MAX_MS;
                self.failed(trouble, now_ms, out);
            }
        }
    }

    fn took(&mut self, answer: Result<Taken, Trouble>, now_ms: u64, out: &mut Vec<Effect>) {
        self.taking = false;
        match answer {
            Ok(taken) => {
                let Some(at) = self.taken.iter().position(|along| along.heard) else { return };
                let along = self.taken.remove(at);
                self.inbox.retain(|message| !along.seqs.contains(&message.seq));
                self.shown_as.retain(|seq, _| !along.seqs.contains(seq));
                self.waiting.retain(|message| !along.seqs.contains(&message.seq));
                self.waiting_total = taken.waiting;
                self.renew_at_ms = now_ms;
            }
            Err(trouble) => {
                self.take_at_ms = now_ms + PAUSE_MS;
                if let Trouble::Refused { message, reason, .. } = &trouble
                    && !matches!(reason, Reason::Stale | Reason::Held | Reason::UnknownThread | Reason::Store)
                    && let Some(at) = self.taken.iter().position(|along| along.heard)
                {
                    // It would not be taken at another time either: the agent answers it again.
                    self.taken.remove(at);
                    out.push(Effect::Tell(format!("messages that went along stay with the agent: {message}")));
                }
                self.failed(trouble, now_ms, out);
            }
        }
    }

    /// Whether messages wait that were not read whole.
    fn unread(&self) -> bool {
        self.waiting.iter().any(|message| message.seq > self.read)
            || self.waiting_total as usize > self.waiting.len().max(self.inbox.len())
    }

    fn turn(&mut self, turn: Turn, out: &mut Vec<Effect>) {
        if turn.claude_session != self.session {
            return;
        }
        self.turn_running = false;
        let by_prompt = |id: Uuid| format!("{id}/end");
        let id = turn
            .answer_id
            .map(|id| id.to_string())
            .unwrap_or_else(|| turn.prompt_id.map_or_else(|| format!("turn/{}", turn.turn_id), by_prompt));
        let notice = match (&turn.ending, turn.answer.is_empty()) {
            (Ending::Answered | Ending::Refused | Ending::Unknown(_), false) => None,
            (Ending::Aborted, false) => {
                self.keep(&id, RelayKind::Answer, &turn.answer, out);
                Some("interrupted at the terminal")
            }
            // Nothing was asked in the thread, so nobody waits for an answer.
            _ if turn.prompt_id.is_none() => return,
            (Ending::Aborted, true) => Some("interrupted at the terminal, no answer"),
            (Ending::Failed, _) => Some("no answer: the model could not be reached"),
            (Ending::Refused, true) => Some("no answer: the model refused"),
            (Ending::Answered | Ending::Unknown(_), true) => Some("the turn ended without a text"),
        };
        match notice {
            None => self.keep(&id, RelayKind::Answer, &turn.answer, out),
            Some(text) => {
                let id = turn.prompt_id.map_or_else(|| format!("turn/{}/end", turn.turn_id), by_prompt);
                self.keep(&id, RelayKind::Notice, text, out);
            }
        }
    }

    /// Queues a text, in parts where it is over the limit of one item. Where nothing is
    /// shown in the thread too: the gateway tells by the ids what this ride wrote.
    fn keep(&mut self, id: &str, kind: RelayKind, text: &str, out: &mut Vec<Effect>) {
        let mut items = in_parts(id, kind, text);
        // The mod repeats what it could not be sure of.
        items.retain(|item| self.queue.iter().all(|queued| queued.id != item.id));
        self.queue.extend(items.iter().cloned());
        if !items.is_empty() {
            out.push(Effect::Keep(items));
        }
    }

    fn renewed(&mut self, sent_ms: u64, answer: Result<Renewed, Trouble>, now_ms: u64, out: &mut Vec<Effect>) {
        self.renewing = false;
        match answer {
            Ok(renewed) => {
                self.trouble = None;
                self.deadline_ms = sent_ms + renewed.expires_in_ms;
                self.silent_at_ms = sent_ms + renewed.silent_in_ms;
                self.waiting = renewed.waiting;
                self.waiting_total = renewed.waiting_total;
                self.gateway_outbox = renewed.outbox;
                self.relay_stopped = renewed.relay_stopped.map(|why| why.to_string());
                for news in renewed.news {
                    if news.seq <= self.news_seq {
                        continue;
                    }
                    self.news_seq = news.seq;
                    let text = clean(&news.text);
                    out.push(Effect::Tell(format!("during the ride: {text}")));
                    // The status line forgets it with the next prompt, and by hooks is only shown then.
                    out.push(Effect::Say(format!("⇄ {text}")));
                    self.news = Some(text);
                }
            }
            Err(trouble) => {
                self.renew_at_ms = now_ms + PAUSE_MS;
                self.failed(trouble, now_ms, out);
            }
        }
    }

    /// Loses the thread where that is what the refusal says.
    fn failed(&mut self, trouble: Trouble, now_ms: u64, out: &mut Vec<Effect>) {
        match trouble {
            Trouble::Refused { reason: Reason::Stale | Reason::Held | Reason::UnknownThread, message, holder } => {
                self.lose(Loss { why: message, holder }, now_ms, out);
            }
            Trouble::Refused { message, .. } | Trouble::Unsure(message) => self.trouble = Some(message),
        }
    }

    fn lose(&mut self, loss: Loss, now_ms: u64, out: &mut Vec<Effect>) {
        self.deadline_ms = 0;
        match self.phase {
            Phase::Riding => self.end(Some(loss), now_ms, out),
            Phase::Ending(None) => self.phase = Phase::Ending(Some(loss)),
            Phase::Flushing { .. } | Phase::Releasing { .. } => {
                self.phase = Phase::Done;
                out.push(Effect::Done(Outcome::Lost { why: loss.why, holder: loss.holder }));
            }
            Phase::Ending(Some(_)) | Phase::Done => {}
        }
    }

    fn relayed(&mut self, answer: Result<Relayed, Trouble>, now_ms: u64, out: &mut Vec<Effect>) {
        let sent = std::mem::take(&mut self.relaying);
        match answer {
            Ok(relayed) => {
                self.gateway_outbox = relayed.outbox;
                let before = self.queue.len();
                self.queue.retain(|item| !relayed.accepted.contains(&item.id));
                if self.queue.len() == before {
                    self.relay_later(now_ms);
                } else {
                    self.relay_pause_ms = PAUSE_MS;
                    self.relay_at_ms = now_ms;
                    self.batch = limits::RELAY_ITEMS;
                }
                out.push(Effect::Forget(relayed.accepted));
            }
            Err(Trouble::Refused { reason: Reason::TooLarge | Reason::BadRequest, message, .. }) => {
                // One of them cannot be taken. Alone it shows which; it then stays on
                // disk and does not hold up the others.
                if sent > 1 {
                    self.batch = 1;
                } else if let Some(item) = self.queue.pop_front() {
                    self.batch = limits::RELAY_ITEMS;
                    out.push(Effect::Tell(format!("the gateway would not take {} for the thread: {message}", item.id)));
                }
            }
            Err(trouble) => {
                self.relay_later(now_ms);
                self.failed(trouble, now_ms, out);
            }
        }
    }

    fn relay_later(&mut self, now_ms: u64) {
        self.relay_at_ms = now_ms + self.relay_pause_ms;
        self.relay_pause_ms = (self.relay_pause_ms * 2).min(PAUSE_MAX_MS);
    }

    fn pushed(&mut self, answer: Result<u64, Trouble>, now_ms: u64, out: &mut Vec<Effect>) {
        let Some(copy) = &mut self.copy else { return };
        copy.pushing = false;
        match answer {
            Ok(size) => {
                copy.pushed = copy.pushed.max(size);
                self.flush_on(now_ms);
            }
            // It would not be taken at another time either.
            Err(Trouble::Refused { reason, message, .. })
                if matches!(
                    reason,
                    Reason::Diverged | Reason::BadRequest | Reason::TooLarge | Reason::Transcript | Reason::Unknown
                ) =>
            {
                self.cannot_push(reason, message, now_ms, out);
            }
            Err(trouble) => {
                copy.push_at_ms = now_ms + PAUSE_MS;
                self.failed(trouble, now_ms, out);
            }
        }
    }

    /// The gateway's transcript cannot be extended: nothing more is said in this ride.
    fn cannot_push(&mut self, reason: Reason, message: String, now_ms: u64, out: &mut Vec<Effect>) {
        let why = format!("the gateway cannot be given what was said here: {message}");
        match self.phase {
            Phase::Flushing { .. } | Phase::Releasing { .. } => {
                self.phase = Phase::Done;
                out.push(Effect::Done(Outcome::Refused { reason, message: why }));
            }
            _ => self.lose(Loss { why, holder: None }, now_ms, out),
        }
    }

    /// The last items go out: as long as something moves, they may take their time.
    fn flush_on(&mut self, now_ms: u64) {
        if let Phase::Flushing { until_ms } = &mut self.phase {
            *until_ms = now_ms + FLUSH_MS;
        }
    }

    fn released(&mut self, answer: Result<Released, Trouble>, now_ms: u64, out: &mut Vec<Effect>) {
        let Phase::Releasing { at_ms, asked, .. } = &mut self.phase else { return };
        let outcome = match answer {
            Ok(released) => Outcome::Released(released),
            Err(Trouble::Unsure(why)) => {
                (*at_ms, *asked) = (now_ms + PAUSE_MS, false);
                self.trouble = Some(why);
                return;
            }
            Err(Trouble::Refused { reason: Reason::Stale | Reason::UnknownThread, message, holder }) => {
                Outcome::Lost { why: message, holder }
            }
            Err(Trouble::Refused { reason, message, .. }) => Outcome::Refused { reason, message },
        };
        self.phase = Phase::Done;
        out.push(Effect::Done(outcome));
    }

    /// What is due by now, whatever happened.
    fn go_on(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        if self.end_at_ms.take_if(|at| *at <= now_ms).is_some() && matches!(self.phase, Phase::Ending(_)) {
            out.push(Effect::EndClaude);
        }
        if matches!(self.phase, Phase::Riding) && self.claude.is_some() && now_ms > self.deadline_ms + ADRIFT_MS {
            let why = format!(
                "the gateway could not be reached for {}: {}",
                duration(now_ms - self.deadline_ms),
                self.trouble.as_deref().unwrap_or("no answer")
            );
            self.lose(Loss { why, holder: None }, now_ms, out);
        }
        if self.up && self.relaying == 0 && now_ms >= self.relay_at_ms && self.holds() {
            let mut bytes = 0;
            let items: Vec<RelayItem> = self
                .queue
                .iter()
                .take(self.batch)
                .take_while(|item| {
                    bytes += item.text.len();
                    bytes <= BATCH_BYTES.max(item.text.len())
                })
                .cloned()
                .collect();
            if !items.is_empty() {
                self.relaying = items.len();
                out.push(Effect::Relay(items));
            }
        }
        if self.up && !self.reading && matches!(self.phase, Phase::Riding) && now_ms >= self.read_at_ms && self.unread()
        {
            self.reading = true;
            out.push(Effect::Inbox(Inbox { key: self.key.clone(), fence: self.fence, after: self.read }));
        }
        if self.up
            && !self.taking
            && self.holds()
            && now_ms >= self.take_at_ms
            && let Some(along) = self.taken.iter().find(|along| along.heard)
        {
            self.taking = true;
            let (prompt, seqs) = (along.prompt, along.seqs.clone());
            out.push(Effect::Take(Take { key: self.key.clone(), fence: self.fence, prompt, seqs }));
        }
        let holds = self.holds();
        if let Some(copy) =
            self.copy.as_mut().filter(|copy| self.up && holds && copy.is_due() && now_ms >= copy.push_at_ms)
        {
            copy.pushing = true;
            out.push(Effect::Push { from: copy.pushed, to: copy.wanted });
        }
        if let Phase::Flushing { until_ms } = self.phase
            && self.copy.as_ref().is_some_and(|copy| !copy.is_whole())
            && now_ms >= until_ms
        {
            // Released, the agent would go on without it.
            let why = self.trouble.clone().unwrap_or_else(|| "the gateway takes nothing more".to_owned());
            self.phase = Phase::Done;
            out.push(Effect::Done(Outcome::Unreleased(why)));
        }
        if let Phase::Flushing { until_ms } = self.phase
            && self.copy.as_ref().is_none_or(OnCopy::is_whole)
            && (self.queue.is_empty() && self.taken.iter().all(|along| !along.heard) || now_ms >= until_ms)
        {
            self.phase = Phase::Releasing { until_ms: now_ms + RELEASE_MS, at_ms: now_ms, asked: false };
        }
        if let Phase::Releasing { until_ms, at_ms, asked } = &mut self.phase {
            if self.up && !*asked && now_ms >= *at_ms {
                *asked = true;
                out.push(Effect::Release(Release {
                    key: self.key.clone(),
                    fence: self.fence,
                    accept_broken_chain: self.accept_broken_chain,
                    wait_ms: HANDOVER_MS,
                    copy: self.copy.as_ref().and_then(|copy| copy.end.clone()),
                }));
            } else if !*asked && now_ms >= *until_ms {
                let why = self.trouble.clone().unwrap_or_else(|| "no answer".to_owned());
                self.phase = Phase::Done;
                out.push(Effect::Done(Outcome::Unreleased(why)));
            }
        }
        if self.holds() && self.up && !self.renewing && now_ms >= self.renew_at_ms {
            self.renewing = true;
            self.renew_at_ms = now_ms + self.renew_every_ms;
            out.push(Effect::Renew(Renew {
                lock: None,
                key: self.key.clone(),
                fence: self.fence,
                secret: self.secret.clone(),
                claude: self.claude.clone(),
                active: self.turn_running || std::mem::take(&mut self.typed),
            }));
        }
        let status = self.status(now_ms);
        if status != self.shown {
            self.shown = status.clone();
            out.push(Effect::Status(status));
        }
    }

    /// Whether the thread is ours, as far as is known, and not handed back yet.
    fn holds(&self) -> bool {
        matches!(self.phase, Phase::Riding | Phase::Ending(None) | Phase::Flushing { .. })
    }

    fn status(&self, now_ms: u64) -> Status {
        let calm = |line: String| Status { line, warn: false, ending: false };
        let warn = |line: String| Status { line, warn: true, ending: false };
        let title = cut(&self.title, STATUS_COLUMNS);
        let kept = if self.draft.is_some() { "; what you typed is kept and shown again" } else { "" };
        match &self.phase {
            Phase::Riding => {}
            Phase::Ending(Some(loss)) => {
                let line = format!("⇄ your ride of {title} is over: {}{kept}", cut(&clean(&loss.why), WHY_COLUMNS));
                return Status { line, warn: true, ending: true };
            }
            Phase::Ending(None) => {
                return Status { line: format!("⇄ handing {title} back{kept}"), warn: false, ending: true };
            }
            _ => return calm(format!("⇄ handing {title} back")),
        }
        if self.elsewhere.is_some() {
            return warn(format!("⇄ not {title}: prompts are refused, /resume {} goes back", self.session));
        }
        if self.deadline_ms > 0 && self.claude.is_some() && !self.is_ours(now_ms) {
            let why = self.trouble.as_deref().unwrap_or("waiting for the gateway");
            return warn(format!("⇄ {title}: prompts are refused, {}", clean(why)));
        }
        let mut line = format!("⇄ riding {title}");
        if let Some(newest) = self.waiting.last() {
            let text = format!("{}: {}", clean(&newest.from), clean(&newest.text));
            line.push_str(&format!(" · {} waiting: {}", self.waiting_total, cut(&text, STATUS_COLUMNS)));
        }
        if let Some(why) = &self.relay_stopped {
            return warn(format!("{line} · nothing is relayed: {}", clean(why)));
        }
        if let Some(news) = &self.news {
            return warn(format!("{line} · {news}"));
        }
        if !self.shown_in_thread {
            line.push_str(" · nothing is shown in the thread");
        }
        if !self.up {
            return warn(format!("{line} · connection lost, trying again"));
        }
        let silent_in_ms = self.silent_at_ms.saturating_sub(now_ms);
        if !self.turn_running && silent_in_ms < SILENCE_WARN_MS {
            // Whole minutes, so that the line does not change every second.
            let minutes = silent_in_ms.div_ceil(60_000);
            return warn(format!("{line} · handed back in {minutes} min without a prompt"));
        }
        calm(line)
    }
}

impl OnCopy {
    /// Whether the gateway has all of it.
    fn is_whole(&self) -> bool {
        self.end.as_ref().is_some_and(|end| self.pushed >= end.size)
    }

    /// Whether there is something to push, and nothing on its way.
    fn is_due(&self) -> bool {
        !self.pushing && self.pushed < self.wanted
    }
}

/// A text as items, in parts where it is over the limit of one.
fn in_parts(id: &str, kind: RelayKind, text: &str) -> Vec<RelayItem> {
    let id = |i| if i == 0 { id.to_owned() } else { format!("{id}/{}", i + 1) };
    parts(text, limits::RELAY_BYTES)
        .enumerate()
        .map(|(i, part)| RelayItem { id: id(i), kind, text: part.to_owned() })
        .collect()
}

/// A text in pieces of at most `limit` bytes, at least one.
fn parts(text: &str, limit: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        if text.len() <= limit {
            return Some(text);
        }
        let at = text.floor_char_boundary(limit);
        let (head, tail) = text.split_at(at);
        rest = Some(tail);
        Some(head)
    })
}

#[cfg(test)]
mod tests;
