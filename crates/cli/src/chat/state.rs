//! One chat ride as a value: what has happened goes in with the time, what to do comes out.
//!
//! Invariants: one prompt at a time, and none begins unless the lease can be proven; a
//! prompt is written down on the gateway before it is sent, and sent again only while it
//! has not begun. What the thread is shown is the gateway's doing: here answers are only
//! for the person at the terminal. Absent on purpose: clock, network, terminal, random.

use std::collections::VecDeque;

use ride_core::id::Fence;
use ride_core::wire::{Grant, Holder, Reason, Release, Released, Renew, Renewed, Say, SayState, Saying, Waiting};

use super::wire::{State, Told};
use crate::link::Status;
use crate::render::{self, clean, cut, duration};
use crate::ride::state::{
    ADRIFT_MS, HANDOVER_MS, MARGIN_MS, Outcome, PAUSE_MS, RELEASE_MS, SILENCE_WARN_MS, STATUS_COLUMNS, Trouble,
};

/// Prompts typed ahead. A person waits long before.
const MAX_QUEUED: usize = 32;
/// A prompt that was sent and has not begun for so long is sent again.
const UNBEGUN_MS: u64 = 5_000;
/// How often it is sent in all.
const SENDS: u32 = 3;

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
    /// Writing a prompt down ended.
    Said(Result<Saying, Trouble>),
    /// Sending it to the host ended.
    Sent(Result<(), NotSent>),
    /// The host told how a turn goes.
    Told(Told),
    /// The answer as the host's history has it; `None` where it has none.
    Found(Option<String>),
    /// A release ended.
    Released(Result<Released, Trouble>),
    /// The person typed a prompt; `id` was drawn for it.
    Typed {
        /// Names it everywhere.
        id: String,
        /// The prompt.
        text: String,
    },
    /// The person wants the running turn to end.
    Interrupt,
    /// The person wants to leave.
    Leave,
    /// The system wants the ride to end.
    Stop(&'static str),
}

/// Why the host does not have a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum NotSent {
    /// It may have it all the same.
    Unsure(String),
    /// It refused.
    Refused(String),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Renew the lease.
    Renew(Renew),
    /// Write a prompt down.
    Say(Say),
    /// Send it to the host.
    Send {
        /// Its id.
        id: String,
        /// Its text.
        text: String,
    },
    /// End the host's turn.
    Abort(String),
    /// Find the answer to a prompt in the host's history.
    LookUp(String),
    /// Release the thread.
    Release(Release),
    /// Show the person something.
    Show(Show),
    /// The ride is over.
    Done(Outcome),
}

/// What the person is shown, once.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    /// A prompt of theirs is on its way.
    Prompt(String),
    /// The answer, whole.
    Answer {
        /// The prompt's id.
        id: String,
        /// The text.
        text: String,
    },
    /// A turn that ended without one, or not as it should.
    NoAnswer {
        /// The prompt's id.
        id: String,
        /// Why.
        why: String,
    },
    /// A message that came to the thread and waits.
    Waiting(Waiting),
    /// Anything else.
    Note(String),
}

/// The state of one chat ride.
#[derive(Debug)]
pub struct Chat {
    key: String,
    title: String,
    fence: Fence,
    secret: String,
    shown_in_thread: bool,
    renew_every_ms: u64,
    deadline_ms: u64,
    silent_at_ms: u64,

    up: bool,
    trouble: Option<String>,
    renew_at_ms: u64,
    renewing: bool,
    /// A prompt was typed since the last renewal was sent.
    typed: bool,

    queue: VecDeque<(String, String)>,
    turn: Turn,

    waiting: Vec<Waiting>,
    waiting_total: u32,
    /// The last of the host's news that was shown.
    news_seq: u64,
    relay_stopped: Option<String>,
    phase: Phase,
}

/// The one prompt.
#[derive(Debug)]
enum Turn {
    None,
    /// To be written down, or being so.
    Saying {
        id: String,
        text: String,
        at_ms: u64,
        asked: bool,
        sends: u32,
    },
    /// To be sent, or being so.
    Sending {
        id: String,
        text: String,
        asked: bool,
        sends: u32,
    },
    /// With the agent, as far as is known.
    Running {
        id: String,
        text: String,
        since_ms: u64,
        sends: u32,
        answer: String,
    },
    /// Over; its answer is looked for.
    LookingUp {
        id: String,
        at_ms: u64,
        asked: bool,
    },
}

#[derive(Debug)]
enum Phase {
    Riding,
    /// The person wants to leave when the turn is over.
    Leaving,
    Releasing {
        until_ms: u64,
        at_ms: u64,
        asked: bool,
    },
    Done,
}

impl Chat {
    /// Begins a ride with its grant.
    pub fn new(grant: &Grant, secret: &str, now_ms: u64) -> Chat {
        let running = |turn: &ride_core::wire::Turn| Turn::Running {
            id: turn.id.clone(),
            text: String::new(),
            since_ms: now_ms,
            sends: SENDS,
            answer: String::new(),
        };
        Chat {
            key: grant.key.clone(),
            title: clean(&grant.title),
            fence: grant.fence,
            secret: secret.to_owned(),
            shown_in_thread: grant.relay,
            renew_every_ms: grant.renew_every_ms.max(PAUSE_MS),
            deadline_ms: now_ms,
            silent_at_ms: now_ms + grant.silence_ms,
            up: false,
            trouble: None,
            renew_at_ms: now_ms,
            renewing: false,
            typed: false,
            queue: VecDeque::new(),
            turn: grant.turn.as_ref().map_or(Turn::None, running),
            waiting: grant.waiting.clone(),
            waiting_total: u32::try_from(grant.waiting.len()).unwrap_or(u32::MAX),
            news_seq: 0,
            relay_stopped: None,
            phase: Phase::Riding,
        }
    }

    /// Leaves, once nothing is under way.
    pub fn leave_when_idle(&mut self, now_ms: u64) -> Vec<Effect> {
        if matches!(self.phase, Phase::Riding) && self.idle() { self.step(Event::Leave, now_ms) } else { Vec::new() }
    }

    /// What waits for the agent, as last told.
    pub fn waiting(&self) -> (&[Waiting], u32) {
        (&self.waiting, self.waiting_total)
    }

    /// The answer as far as it has come.
    pub fn answer(&self) -> &str {
        match &self.turn {
            Turn::Running { answer, .. } => answer,
            _ => "",
        }
    }

    /// Whether nothing is under way and nothing waits to be.
    pub fn idle(&self) -> bool {
        matches!(self.turn, Turn::None) && self.queue.is_empty()
    }

    /// Prompts typed ahead.
    pub fn queued(&self) -> impl Iterator<Item = &str> {
        self.queue.iter().map(|(_, text)| text.as_str())
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn wake_ms(&self, now_ms: u64) -> u64 {
        let mut wake = now_ms + 1_000;
        // As `go_on` looks at it: what is not done there is not waited for.
        let rides = self.up && matches!(self.phase, Phase::Riding | Phase::Leaving);
        if rides && !self.renewing {
            wake = wake.min(self.renew_at_ms);
        }
        match &self.turn {
            Turn::Saying { at_ms, asked: false, .. } if rides && self.is_ours(now_ms) => wake = wake.min(*at_ms),
            Turn::LookingUp { at_ms, asked: false, .. } if rides => wake = wake.min(*at_ms),
            _ => {}
        }
        if let Phase::Releasing { at_ms, until_ms, asked: false } = self.phase {
            wake = wake.min(if self.up { at_ms } else { until_ms });
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
                self.renewing = false;
                self.ask_again(now_ms);
                if let Phase::Releasing { at_ms, asked, .. } = &mut self.phase {
                    (*at_ms, *asked) = (now_ms, false);
                }
            }
            Event::Down(why) => {
                self.up = false;
                self.renewing = false;
                self.trouble = Some(why);
            }
            Event::Changed(key) => {
                if key == self.key {
                    self.renew_at_ms = self.renew_at_ms.min(now_ms + PAUSE_MS);
                }
            }
            Event::Renewed { sent_ms, answer } => self.renewed(sent_ms, answer, now_ms, out),
            Event::Said(answer) => self.said(answer, now_ms, out),
            Event::Sent(answer) => self.sent(answer, now_ms, out),
            Event::Told(told) => self.told(told, now_ms, out),
            Event::Found(text) => self.found(text, out),
            Event::Released(answer) => self.released(answer, now_ms, out),
            Event::Typed { id, text } => self.typed(id, text, out),
            Event::Interrupt => self.interrupt(out),
            Event::Leave => match (&self.phase, &self.turn) {
                (Phase::Riding, Turn::None) if self.queue.is_empty() => self.release(now_ms),
                (Phase::Riding, _) => {
                    self.phase = Phase::Leaving;
                    if !self.queue.is_empty() {
                        out.push(note(format!(
                            "{} not sent",
                            render::count(self.queued().count() as u32, "prompt was", "prompts were")
                        )));
                        self.queue.clear();
                    }
                    out.push(note("leaving when the answer is there; Esc ends the turn, Ctrl-D leaves at once".into()));
                }
                (Phase::Leaving, _) => self.release(now_ms),
                _ => {}
            },
            Event::Stop(why) => {
                if matches!(self.phase, Phase::Riding | Phase::Leaving) {
                    out.push(note(format!("the ride was ended: {why}")));
                    self.release(now_ms);
                }
            }
        }
        self.go_on(now_ms, out);
        effects
    }

    fn typed(&mut self, id: String, text: String, out: &mut Vec<Effect>) {
        if text.trim().is_empty() || !matches!(self.phase, Phase::Riding) {
            return;
        }
        if self.queue.len() == MAX_QUEUED {
            out.push(note(format!("{MAX_QUEUED} prompts wait already: this one was not taken")));
            return;
        }
        self.typed = true;
        self.queue.push_back((id, text));
    }

    /// After a lost connection nobody knows how far the prompt came: the gateway does.
    fn ask_again(&mut self, now_ms: u64) {
        match &mut self.turn {
            Turn::Saying { at_ms, asked, .. } | Turn::LookingUp { at_ms, asked, .. } => {
                (*at_ms, *asked) = (now_ms, false)
            }
            Turn::Sending { id, text, sends, .. } => {
                let (id, text, sends) = (std::mem::take(id), std::mem::take(text), *sends);
                self.turn = Turn::Saying { id, text, at_ms: now_ms, asked: false, sends };
            }
            Turn::None | Turn::Running { .. } => {}
        }
    }

    fn said(&mut self, answer: Result<Saying, Trouble>, now_ms: u64, out: &mut Vec<Effect>) {
        let Turn::Saying { id, text, at_ms, asked, sends } = &mut self.turn else { return };
        match answer {
            Ok(Saying { state: SayState::Said }) => {
                let (id, text, sends) = (std::mem::take(id), std::mem::take(text), *sends);
                self.turn = Turn::Sending { id, text, asked: false, sends };
            }
            Ok(Saying { state: SayState::Begun }) => self.runs(now_ms),
            Ok(Saying { state: SayState::Over }) => {
                self.turn = Turn::LookingUp { id: std::mem::take(id), at_ms: now_ms, asked: false };
            }
            // The answer before is being put into the thread.
            Err(Trouble::Refused { reason: Reason::TurnRunning, .. }) | Err(Trouble::Unsure(_)) => {
                (*at_ms, *asked) = (now_ms + PAUSE_MS, false);
            }
            Err(Trouble::Refused { reason: Reason::Stale | Reason::Held | Reason::UnknownThread, message, holder }) => {
                self.lose(message, holder, out);
            }
            Err(Trouble::Refused { message, .. }) => {
                let id = std::mem::take(id);
                self.over(id, Err(format!("the gateway did not take it: {}", clean(&message))), out);
            }
        }
    }

    fn sent(&mut self, answer: Result<(), NotSent>, now_ms: u64, out: &mut Vec<Effect>) {
        let Turn::Sending { id, text, sends, .. } = &mut self.turn else { return };
        match answer {
            Ok(()) => self.runs(now_ms),
            Err(NotSent::Unsure(_)) => {
                let (id, text, sends) = (std::mem::take(id), std::mem::take(text), *sends);
                self.turn = Turn::Saying { id, text, at_ms: now_ms + PAUSE_MS, asked: false, sends };
            }
            Err(NotSent::Refused(why)) => {
                let id = std::mem::take(id);
                self.over(id, Err(format!("the agent did not get it: {}", clean(&why))), out);
            }
        }
    }

    fn runs(&mut self, now_ms: u64) {
        if let Turn::Saying { id, text, sends, .. } | Turn::Sending { id, text, sends, .. } = &mut self.turn {
            let (id, text, sends) = (std::mem::take(id), std::mem::take(text), *sends);
            self.turn = Turn::Running { id, text, since_ms: now_ms, sends, answer: String::new() };
        }
    }

    fn told(&mut self, told: Told, now_ms: u64, out: &mut Vec<Effect>) {
        // The first words may overtake the answer to the request.
        if let Turn::Sending { id, .. } = &self.turn
            && *id == told.run
        {
            self.runs(now_ms);
        }
        let Turn::Running { id, answer, .. } = &mut self.turn else { return };
        if *id != told.run {
            return;
        }
        if !told.text.is_empty() {
            *answer = told.text;
        }
        let id = id.clone();
        let said = std::mem::take(answer);
        match told.state {
            State::Delta => *answer = said,
            State::Final if said.is_empty() => self.renew_at_ms = now_ms,
            State::Final => self.over(id, Ok(said), out),
            State::Aborted => {
                if !said.is_empty() {
                    out.push(Effect::Show(Show::Answer { id: id.clone(), text: said }));
                }
                self.over(id, Err("interrupted".into()), out);
            }
            State::Error => self.over(id, Err(told.error.map_or_else(|| "the turn failed".into(), |e| clean(&e))), out),
        }
    }

    fn over(&mut self, id: String, how: Result<String, String>, out: &mut Vec<Effect>) {
        self.turn = Turn::None;
        out.push(Effect::Show(match how {
            Ok(text) => Show::Answer { id, text },
            Err(why) => Show::NoAnswer { id, why },
        }));
    }

    fn found(&mut self, text: Option<String>, out: &mut Vec<Effect>) {
        let Turn::LookingUp { id, .. } = &mut self.turn else { return };
        let id = std::mem::take(id);
        self.over(id, text.ok_or_else(|| "the turn ended without a text".to_owned()), out);
    }

    fn renewed(&mut self, sent_ms: u64, answer: Result<Renewed, Trouble>, now_ms: u64, out: &mut Vec<Effect>) {
        self.renewing = false;
        let renewed = match answer {
            Ok(renewed) => renewed,
            Err(Trouble::Refused { reason: Reason::Stale | Reason::Held | Reason::UnknownThread, message, holder }) => {
                return self.lose(message, holder, out);
            }
            Err(Trouble::Refused { message, .. } | Trouble::Unsure(message)) => {
                self.renew_at_ms = now_ms + PAUSE_MS;
                self.trouble = Some(message);
                return;
            }
        };
        self.trouble = None;
        self.deadline_ms = sent_ms + renewed.expires_in_ms;
        self.silent_at_ms = sent_ms + renewed.silent_in_ms;
        let last = self.waiting.last().map_or(0, |w| w.seq);
        out.extend(renewed.waiting.iter().filter(|w| w.seq > last).map(|w| Effect::Show(Show::Waiting(w.clone()))));
        self.waiting = renewed.waiting;
        self.waiting_total = renewed.waiting_total;
        let known = self.news_seq;
        for news in renewed.news.iter().filter(|news| news.seq > known) {
            self.news_seq = news.seq;
            out.push(Effect::Show(Show::Note(clean(&news.text))));
        }
        self.relay_stopped = renewed.relay_stopped.map(|why| why.to_string());
        let Turn::Running { id, text, since_ms, sends, .. } = &mut self.turn else { return };
        // What was asked before it was sent tells nothing about it.
        if sent_ms < *since_ms {
            return;
        }
        match renewed.turn.filter(|turn| turn.id == *id).map(|turn| turn.state) {
            Some(SayState::Begun) => {}
            Some(_) if now_ms < *since_ms + UNBEGUN_MS => {}
            Some(_) if *sends < SENDS => {
                let (id, text, sends) = (std::mem::take(id), std::mem::take(text), *sends);
                self.turn = Turn::Saying { id, text, at_ms: now_ms, asked: false, sends };
            }
            Some(_) => {
                let id = std::mem::take(id);
                self.over(id, Err("the agent did not begin it".into()), out);
            }
            // Over, and the end was not heard.
            None => self.turn = Turn::LookingUp { id: std::mem::take(id), at_ms: now_ms, asked: false },
        }
    }

    fn interrupt(&mut self, out: &mut Vec<Effect>) {
        match &self.turn {
            Turn::Running { id, .. } | Turn::Sending { id, .. } => out.push(Effect::Abort(id.clone())),
            _ if !self.queue.is_empty() => self.queue.clear(),
            _ => {}
        }
    }

    fn release(&mut self, now_ms: u64) {
        self.phase = Phase::Releasing { until_ms: now_ms + RELEASE_MS, at_ms: now_ms, asked: false };
    }

    fn lose(&mut self, why: String, holder: Option<Holder>, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Done) {
            self.deadline_ms = 0;
            self.phase = Phase::Done;
            out.push(Effect::Done(Outcome::Lost { why, holder }));
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

    /// Whether the lease can be proven for long enough to begin something.
    fn is_ours(&self, now_ms: u64) -> bool {
        now_ms + MARGIN_MS < self.deadline_ms
    }

    /// What is due by now, whatever happened.
    fn go_on(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        let rides = matches!(self.phase, Phase::Riding | Phase::Leaving);
        if rides && now_ms > self.deadline_ms + ADRIFT_MS {
            let why = self.trouble.as_deref().unwrap_or("no answer");
            let why = format!("the gateway could not be reached for {}: {why}", duration(now_ms - self.deadline_ms));
            self.lose(why, None, out);
        }
        if matches!(self.phase, Phase::Leaving) && matches!(self.turn, Turn::None) {
            self.release(now_ms);
        }
        if matches!(self.phase, Phase::Riding)
            && matches!(self.turn, Turn::None)
            && self.is_ours(now_ms)
            && let Some((id, text)) = self.queue.pop_front()
        {
            out.push(Effect::Show(Show::Prompt(text.clone())));
            self.turn = Turn::Saying { id, text, at_ms: now_ms, asked: false, sends: 0 };
        }
        if matches!(self.phase, Phase::Riding | Phase::Leaving) && self.up {
            self.move_on(now_ms, out);
        }
        self.go_home(now_ms, out);
        if matches!(self.phase, Phase::Riding | Phase::Leaving)
            && self.up
            && !self.renewing
            && now_ms >= self.renew_at_ms
        {
            self.renewing = true;
            self.renew_at_ms = now_ms + self.renew_every_ms;
            out.push(Effect::Renew(Renew {
                lock: None,
                key: self.key.clone(),
                fence: self.fence,
                secret: self.secret.clone(),
                claude: None,
                active: !matches!(self.turn, Turn::None) || std::mem::take(&mut self.typed),
            }));
        }
    }

    /// The prompt's next step. A lease that cannot be proven lets it wait where it is.
    fn move_on(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        let ours = self.is_ours(now_ms);
        match &mut self.turn {
            Turn::Saying { id, text, at_ms, asked, .. } if !*asked && now_ms >= *at_ms && ours => {
                *asked = true;
                out.push(Effect::Say(Say {
                    key: self.key.clone(),
                    fence: self.fence,
                    id: id.clone(),
                    text: text.clone(),
                }));
            }
            Turn::Sending { id, text, asked, sends } if !*asked && ours => {
                (*asked, *sends) = (true, *sends + 1);
                out.push(Effect::Send { id: id.clone(), text: text.clone() });
            }
            Turn::LookingUp { id, at_ms, asked } if !*asked && now_ms >= *at_ms => {
                *asked = true;
                out.push(Effect::LookUp(id.clone()));
            }
            _ => {}
        }
    }

    fn go_home(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        let Phase::Releasing { until_ms, at_ms, asked } = &mut self.phase else { return };
        if self.up && !*asked && now_ms >= *at_ms {
            *asked = true;
            // A turn that still runs is answered in the thread; nobody waits for it here.
            let wait_ms = if matches!(self.turn, Turn::None) { HANDOVER_MS } else { PAUSE_MS };
            out.push(Effect::Release(Release {
                key: self.key.clone(),
                fence: self.fence,
                accept_broken_chain: false,
                wait_ms,
                copy: None,
            }));
        } else if !*asked && now_ms >= *until_ms {
            let why = self.trouble.clone().unwrap_or_else(|| "no answer".to_owned());
            self.phase = Phase::Done;
            out.push(Effect::Done(Outcome::Unreleased(why)));
        }
    }

    /// The line that tells how things stand.
    pub fn status(&self, now_ms: u64) -> Status {
        let calm = |line: String| Status { line, warn: false, ending: false };
        let warn = |line: String| Status { line, warn: true, ending: false };
        let title = cut(&self.title, STATUS_COLUMNS);
        match self.phase {
            Phase::Riding | Phase::Leaving => {}
            _ => return calm(format!("⇄ handing {title} back")),
        }
        let mut line = format!("⇄ riding {title}");
        if self.waiting_total > 0 {
            line.push_str(&format!(" · {} waiting", self.waiting_total));
        }
        match &self.turn {
            Turn::None => {}
            Turn::Running { .. } => line.push_str(" · answering, Esc ends it"),
            _ => line.push_str(" · sending"),
        }
        if !self.queue.is_empty() {
            line.push_str(&format!(" · {} next", self.queue.len()));
        }
        if !self.up {
            return warn(format!("{line} · connection lost, trying again"));
        }
        if self.deadline_ms > 0 && !self.is_ours(now_ms) && !self.renewing {
            let why = self.trouble.as_deref().unwrap_or("waiting for the gateway");
            return warn(format!("{line} · prompts wait: {}", clean(why)));
        }
        if let Some(why) = &self.relay_stopped {
            return warn(format!("{line} · nothing is relayed: {}", clean(why)));
        }
        if !self.shown_in_thread {
            line.push_str(" · nothing is shown in the thread");
        }
        let silent_in_ms = self.silent_at_ms.saturating_sub(now_ms);
        if matches!(self.turn, Turn::None) && silent_in_ms < SILENCE_WARN_MS {
            let minutes = silent_in_ms.div_ceil(60_000);
            return warn(format!("{line} · handed back in {minutes} min without a prompt"));
        }
        calm(line)
    }
}

fn note(text: String) -> Effect {
    Effect::Show(Show::Note(text))
}

#[cfg(test)]
mod tests;
