//! Seeded mistakes: the product's `step` with one thing wrong, to see that the
//! exploration would find it.

use ride_core::event::{Act, Event, Outcome, Reply, Seen};
use ride_core::id::Fence;
use ride_core::rules::Rules;
use ride_core::thread::{At, ClaimStage, Lease, LeaveStage, Phase, Thread, Words};
use ride_core::time::Now;
use ride_core::view;
use uuid::Uuid;

/// The function under exploration.
pub type Step = fn(Thread, Event, Now, &Rules) -> (Thread, Reply);

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant { $($(#[$doc])* $name,)* }
        impl Mutant {
            /// Each of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];
        }
    };
}

mutants! {
    /// Nothing: the product as it is.
    None,
    /// The claim does not wait for the running turn.
    NoSettle,
    /// The claim is granted without the proof that nobody has the session.
    NoProofAtClaim,
    /// The thread returns without the proof that the driver's Claude Code is gone.
    NoProofAtRelease,
    /// The binding returns before that proof.
    RestoreBeforeProof,
    /// The binding is taken out before it is copied.
    ParkBeforeCopy,
    /// A claim that fails after parking opens the thread at once.
    FailWithoutRestore,
    /// Items are accepted whatever their fence.
    StaleRelay,
    /// A message is taken along whatever the fence.
    StaleAlong,
    /// A message that rode along is handed to the agent too.
    AlongKept,
    /// A release counts whatever its fence.
    StaleRelease,
    /// A renewal revives a lease that has ended.
    RenewRevives,
    /// The epoch does not grow.
    SameEpoch,
    /// A lease never runs out.
    NeverExpires,
    /// A message that could not be handed over is dropped.
    DropsHead,
    /// The inbox is emptied when the thread opens.
    InboxForgotten,
    /// The gate opens while messages wait.
    OpensEarly,
    /// The gate closes only when the driver has the thread.
    ClosesLate,
    /// A second attempt to send is not marked.
    RepeatUnmarked,
    /// A send of unknown outcome counts as not sent.
    UnknownIsNotSent,
    /// A send of unknown outcome is repeated without end.
    RepeatsForEver,
    /// A failed send is dropped.
    DropsFailed,
    /// Relay ids are not remembered.
    TakenForgotten,
    /// The thread opens before the outbox is empty.
    NoDrain,
    /// What another performer acknowledges counts as one's own.
    AnyPerformer,
    /// A turn beside the ride is not announced.
    SlipUnsaid,
    /// What it left is gone before it was announced.
    RestoresOver,
    /// What the transcript says and the driver did not hand over is not taken.
    TranscriptIgnored,
    /// Another driver's claim takes the thread at once.
    ClaimSteals,
    /// Whoever takes a thread over has it before the one before is seen off.
    StealWithoutProof,
    /// What the driver before had said, and not handed over, is forgotten.
    StealWithoutShow,
    /// A thread that is taken back opens at once.
    TakeBackOpens,
    /// The fence of the driver before stays in force while it is seen off.
    StolenRenews,
    /// A driver on a copy may push as long as nobody else has the thread.
    PushesLate,
    /// A driver on a copy may push whatever its fence.
    StalePush,
    /// A copy's driver is seen off like one whose processes can be looked at.
    CopyIsSeen,
    /// The update callback of a patch does not ask whether its operation is still in flight.
    PatchesUnasked,
    /// The claim does not wait for what another gateway of the `lockDir` has let in.
    NoAcknowledgement,
    /// A process that is seen to write to the ridden Claude session is not heeded.
    WriterUnheeded,
    /// A ride that ends by such a process gives the thread to the agent at once.
    WriterOpens,
    /// The next performer does not pass an empty patch behind the one that may still write.
    NoBarrier,
}

impl Mutant {
    /// Whether the gateway's transcript may be extended, with this mistake.
    pub fn may_push(self, t: &Thread, fence: Fence, now: Now, rules: &Rules) -> bool {
        let of = |lease: &&Lease| lease.copy.is_some() && (lease.fence == fence || self == Mutant::StalePush);
        match self {
            Mutant::PushesLate | Mutant::StalePush => t.lease().filter(of).is_some(),
            _ => view::on_copy(t, fence, now, rules).is_some(),
        }
    }

    /// Whether an operation is still in flight, with this mistake.
    pub fn in_flight(self, t: &Thread, op: u64, performer: Uuid) -> bool {
        self == Mutant::PatchesUnasked || view::in_flight(t, op, performer)
    }

    /// The step with this mistake.
    pub fn step(self, old: Thread, mut event: Event, now: Now, rules: &Rules, step: Step) -> (Thread, Reply) {
        let before = old.clone();
        let unknown = matches!(&event, Event::Done { outcome: Outcome::Unknown { .. }, .. });
        let current = before.lease().map(|l| l.fence);
        match (self, &mut event, current) {
            (Mutant::StaleRelay, Event::Relay { fence, .. }, Some(now)) => *fence = now,
            (Mutant::StaleAlong, Event::TakeAlong { fence, .. }, Some(now)) => *fence = now,
            (Mutant::AlongKept, Event::TakeAlong { .. }, _) => {
                let (mut new, reply) = step(old.clone(), event, now, rules);
                new.inbox = old.inbox;
                return (new, reply);
            }
            (Mutant::StaleRelease, Event::Release { fence, .. }, Some(now)) => *fence = now,
            (
                Mutant::UnknownIsNotSent | Mutant::RepeatsForEver,
                Event::Done { outcome: outcome @ Outcome::Unknown { .. }, .. },
                _,
            ) => {
                *outcome = Outcome::NotSent { what: String::new(), retry: true, after_ms: None };
            }
            (Mutant::DropsFailed, Event::Done { outcome: Outcome::NotSent { .. }, op, performer }, _) => {
                event = Event::Done {
                    op: *op,
                    performer: *performer,
                    outcome: Outcome::Sent { message_id: String::new() },
                };
            }
            (Mutant::TranscriptIgnored, Event::Done { outcome: Outcome::Shown { turns, .. }, .. }, _) => turns.clear(),
            (Mutant::SlipUnsaid, Event::Done { outcome: Outcome::Slipped { .. }, .. }, _) => {
                let (mut new, reply) = step(old, event, now, rules);
                new.notices.retain(|n| !matches!(&n.words, Words::Text { text } if text.contains("ran a turn beside")));
                return (new, reply);
            }
            (Mutant::AnyPerformer, Event::Done { op, performer, outcome }, _) => {
                let kind = match outcome {
                    Outcome::Sent { .. } => before.sending,
                    _ => match &before.phase {
                        Phase::Claiming { at, .. } => at.flight,
                        Phase::Leaving { at, .. } => at.flight,
                        _ => None,
                    },
                };
                if let Some(flight) = kind {
                    (*op, *performer) = (flight.op, flight.performer);
                }
            }
            (Mutant::ClosesLate, Event::Message(_), _) if matches!(before.phase, Phase::Claiming { .. }) => {
                return (old, Reply::Admit { because: "mutant" });
            }
            (Mutant::OpensEarly, Event::Message(_), _) if matches!(before.phase, Phase::Open) => {
                return (old, Reply::Admit { because: "mutant" });
            }
            (Mutant::NeverExpires, _, _) => {
                let mut old = old;
                if let Some(lease) = old.lease_mut() {
                    lease.renewed = now.stamp();
                    lease.dropped = None;
                }
                return step(old, event, now, rules);
            }
            (Mutant::RenewRevives, Event::Renew { fence, .. }, Some(now)) if now == *fence => {
                if let Phase::Leaving { lease, .. } = &before.phase {
                    let mut new = old;
                    new.phase = Phase::Ridden { lease: lease.clone() };
                    return (new, Reply::Ok);
                }
            }
            (Mutant::TakeBackOpens, Event::TakeBack { .. }, Some(_))
                if matches!(before.phase, Phase::Ridden { .. }) =>
            {
                let mut new = old;
                new.phase = Phase::Open;
                return (new, Reply::Ok);
            }
            (Mutant::WriterUnheeded, Event::Seen(Seen::Writer { .. }), _) => return (old, Reply::Ok),
            (Mutant::WriterOpens, Event::Seen(Seen::Writer { .. }), _) => {
                let mut new = old;
                new.phase = Phase::Open;
                return (new, Reply::Ok);
            }
            (Mutant::StolenRenews, Event::Renew { fence, .. }, Some(now))
                if now == *fence && before.heir().is_some() =>
            {
                return (old, Reply::Ok);
            }
            (Mutant::ClaimSteals, Event::Claim(asked), Some(_)) => {
                let mut old = old;
                if let Phase::Ridden { lease } = &before.phase
                    && lease.secret_sha256 != asked.secret_sha256
                {
                    let parked = lease.parked.clone();
                    old.phase = Phase::Open;
                    let (mut new, reply) = step(old, event, now, rules);
                    if let Some(lease) = new.lease_mut() {
                        lease.parked = parked;
                    }
                    return (new, reply);
                }
                return step(old, event, now, rules);
            }
            _ => {}
        }
        let handed_badly = matches!(&event, Event::Done { outcome: Outcome::NotYet { .. }, .. });
        let (mut new, mut reply) = step(old, event, now, rules);
        self.spoil(&before, &mut new, &mut reply, handed_badly, unknown);
        (new, reply)
    }

    fn spoil(self, old: &Thread, new: &mut Thread, reply: &mut Reply, not_yet: bool, unknown: bool) {
        match self {
            Mutant::NoSettle => claim_skips(new, ClaimStage::Settle, ClaimStage::EndChild),
            Mutant::NoAcknowledgement => claim_skips(new, ClaimStage::Acknowledge, ClaimStage::Prove),
            Mutant::NoProofAtClaim => claim_skips(new, ClaimStage::Prove, ClaimStage::Mark),
            Mutant::NoProofAtRelease => leave_skips(new, LeaveStage::Prove, LeaveStage::Show),
            Mutant::RestoreBeforeProof => leave_skips(new, LeaveStage::Prove, LeaveStage::Restore),
            Mutant::StealWithoutProof if new.heir().is_some() => leave_skips(new, LeaveStage::Prove, LeaveStage::Drain),
            Mutant::StealWithoutShow if new.heir().is_some() => leave_skips(new, LeaveStage::Show, LeaveStage::Drain),
            Mutant::NoDrain => leave_skips(new, LeaveStage::Drain, LeaveStage::Restore),
            Mutant::ParkBeforeCopy => {
                // Copy and Park in the other order.
                let stage = |t: &Thread| match &t.phase {
                    Phase::Claiming { at, .. } => Some(at.stage),
                    _ => None,
                };
                let next = match (stage(old), stage(new)) {
                    (Some(ClaimStage::EndChild), Some(ClaimStage::Copy)) => ClaimStage::Park,
                    (Some(ClaimStage::Park), Some(ClaimStage::Acknowledge)) => ClaimStage::Copy,
                    (Some(ClaimStage::Copy), Some(ClaimStage::Park)) => ClaimStage::Acknowledge,
                    _ => return,
                };
                if let Phase::Claiming { at, .. } = &mut new.phase {
                    *at = stage_at(next);
                }
            }
            Mutant::FailWithoutRestore
                if matches!(old.phase, Phase::Claiming { .. }) && matches!(new.phase, Phase::Leaving { .. }) =>
            {
                new.phase = Phase::Open;
            }
            Mutant::SameEpoch => {
                new.epoch = old.epoch;
                if old.lease().is_none()
                    && let Some(lease) = new.lease_mut()
                {
                    lease.fence.epoch = old.epoch;
                    let fence = lease.fence;
                    *reply = Reply::Claiming { fence };
                }
            }
            Mutant::DropsHead if not_yet && old.handing.is_some() && new.handing.is_none() => {
                new.inbox.pop_front();
            }
            Mutant::InboxForgotten if !matches!(old.phase, Phase::Open) && matches!(new.phase, Phase::Open) => {
                new.inbox.clear();
            }
            Mutant::RepeatsForEver => {
                if unknown && let Some(head) = new.outbox.front_mut() {
                    head.repeat = true;
                }
            }
            Mutant::RepeatUnmarked => {
                for out in &mut new.outbox {
                    out.repeat = false;
                }
                if let Reply::Work { effects, .. } = reply {
                    for effect in effects {
                        if let Act::Send { item, .. } = &mut effect.act {
                            item.text = item.text.replace("(may be a repeat) ", "");
                        }
                    }
                }
            }
            Mutant::RestoresOver => {
                if let Reply::Work { effects, .. } = reply {
                    for effect in effects {
                        if let Act::Restore { over, .. } = &mut effect.act {
                            *over = true;
                        }
                    }
                }
            }
            Mutant::TakenForgotten => new.taken.clear(),
            Mutant::NoBarrier => match &mut new.phase {
                Phase::Claiming { at, .. } => at.late = false,
                Phase::Leaving { at, .. } => at.late = false,
                Phase::Open | Phase::Ridden { .. } => {}
            },
            Mutant::CopyIsSeen => {
                if let Some(lease) = new.lease_mut() {
                    lease.copy = None;
                }
            }
            _ => {}
        }
    }
}

fn stage_at<S>(stage: S) -> At<S> {
    At { stage, flight: None, again: None, blocked: None, acceptable: false, tries: 0, late: false }
}

fn claim_skips(t: &mut Thread, from: ClaimStage, to: ClaimStage) {
    if let Phase::Claiming { at, .. } = &mut t.phase
        && at.stage == from
        && at.flight.is_none()
    {
        *at = stage_at(to);
    }
}

fn leave_skips(t: &mut Thread, from: LeaveStage, to: LeaveStage) {
    if let Phase::Leaving { at, .. } = &mut t.phase
        && at.stage == from
        && at.flight.is_none()
    {
        *at = stage_at(to);
    }
}
