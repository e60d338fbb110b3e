//! A Claude session that is open in a terminal, outside any ride.

use ride_core::event::{Act, Event, OpenedBy, Outcome, Reply};
use ride_core::id::Process;
use ride_core::limits;
use ride_core::thread::{ClaudeSession, OpenedStage};
use ride_core::view;
use ride_core::wire::{Holder, Reason};

use super::world::{World, fine, id, name};

fn process(pid: u32) -> Process {
    Process { machine: "m".into(), namespace: Some("pid:[1]".into()), pid, start: 20 }
}

fn session(n: u128) -> ClaudeSession {
    ClaudeSession { id: id(n), config_dir: "/c".into(), cwd: "/w".into() }
}

impl World {
    fn opens(&mut self, pid: u32) -> Reply {
        let by = OpenedBy {
            claude: session(50),
            twins: vec!["twin".into()],
            process: process(pid),
            host: "box".into(),
            answered: false,
        };
        self.does(Event::Opened(Box::new(by)))
    }

    fn closes(&mut self, pid: u32, left: bool) -> Reply {
        self.does(Event::Closed { process: process(pid), left })
    }

    /// Performs everything; these processes are found gone, of those nobody can tell.
    fn settle_with(&mut self, gone: &[u32], unseen: &[u32]) -> Vec<Act> {
        let named = |pids: &[u32]| pids.iter().map(|pid| process(*pid)).collect();
        self.settle_by(|act| match act {
            Act::Look { .. } => Outcome::Looked { gone: named(gone), unseen: named(unseen) },
            act => fine(act),
        })
    }

    fn settle_by(&mut self, outcome: impl Fn(&Act) -> Outcome) -> Vec<Act> {
        let mut acts = Vec::new();
        for _ in 0..50 {
            let effects = self.take();
            if effects.is_empty() {
                return acts;
            }
            for effect in effects {
                self.done(effect.op, outcome(&effect.act));
                acts.push(effect.act);
            }
        }
        panic!("never came to rest");
    }
}

fn names(acts: &[Act]) -> Vec<&'static str> {
    acts.iter().map(name).collect()
}

fn notices(acts: &[Act]) -> Vec<&str> {
    acts.iter()
        .filter_map(|act| if let Act::Send { item, .. } = act { Some(item.text.as_str()) } else { None })
        .collect()
}

// Rules OPEN-1, OPEN-2, OPEN-3, INBOX-7.
#[test]
fn messages_are_held_while_it_is_open_and_handed_over_in_order_afterwards() {
    let mut w = World::new();
    assert_eq!(w.opens(5), Reply::Ok);
    assert!(w.t.closed(), "the gate holds from the first moment on");
    assert_eq!((w.t.claude(), w.t.twins()), (Some(id(50)), &["twin".to_owned()][..]));
    assert_eq!(names(&w.settle()), ["settle", "end child", "look"], "first nothing of the gateway writes any more");
    assert_eq!((w.says(1, "one"), w.says(2, "two")), (Reply::Hold, Reply::Hold));
    assert_eq!(w.says_as("1002", "Bob", 3, "three"), Reply::Hold);
    let acts = w.settle();
    let told = "⇄ The conversation of this thread is open in a terminal on box. \
                Your message is kept and will be answered once it is closed there.";
    assert_eq!(notices(&acts), [told, told], "each sender is told once");
    for _ in 0..20 {
        w.wait(limits::TERMINAL_LOOK_MS);
        assert_eq!(names(&w.settle()), ["look"], "held for as long as it lives");
    }
    assert_eq!(w.says(4, "four"), Reply::Hold);
    w.wait(limits::TERMINAL_LOOK_MS);
    let acts = w.settle_with(&[5], &[]);
    assert_eq!(names(&acts), ["look", "settle", "end child", "hand", "hand", "hand", "hand"]);
    let handed: Vec<_> = acts
        .iter()
        .filter_map(|a| if let Act::Hand { held, .. } = a { Some(held.text.as_str()) } else { None })
        .collect();
    assert_eq!(handed, ["one", "two", "three", "four"]);
    assert!(!w.t.closed() && w.t.opened.is_none());
    assert_eq!(w.says(5, "five"), Reply::Admit { because: "nobody rides" });
}

// Rule OPEN-7.
#[test]
fn one_that_was_opened_while_the_agent_answered_is_stale() {
    // A turn of before that ended is no matter; of one that ended meanwhile nothing is seen by *settle* any more.
    for (answered, stale) in [(false, [false, false]), (true, [true, false])] {
        let mut w = World::new();
        let by = |pid, answered| {
            let (claude, host) = (session(50), "box".into());
            Event::Opened(Box::new(OpenedBy { claude, twins: Vec::new(), process: process(pid), host, answered }))
        };
        w.does(by(5, answered));
        w.settle();
        // One that comes later knows what the agent answered, and a prompt changes nothing.
        w.does(by(6, false));
        w.does(by(5, false));
        w.settle();
        let terminals = &w.t.opened.as_ref().unwrap().terminals;
        assert_eq!(terminals.iter().map(|terminal| terminal.stale).collect::<Vec<_>>(), stale, "{answered}");
    }
}

// Rule OPEN-2.
#[test]
fn a_turn_that_runs_is_waited_for_and_nothing_is_ended_before() {
    let mut w = World::new();
    w.opens(5);
    let busy = |act: &Act| match act {
        Act::Settle { .. } => Outcome::NotYet { what: "a turn is running".into() },
        act => fine(act),
    };
    assert_eq!(names(&w.settle_by(busy)), ["settle"]);
    assert_eq!(view::waiting_for(&w.t).as_deref(), Some("a turn is running"));
    w.wait(1_000);
    assert_eq!(names(&w.settle()), ["settle", "end child", "look"]);
    assert_eq!(view::waiting_for(&w.t), None);
}

// Rule OPEN-3.
#[test]
fn one_that_says_that_it_ends_is_looked_for_at_once_and_counts_until_it_is_gone() {
    let mut w = World::new();
    w.opens(5);
    w.settle();
    w.says(1, "one");
    w.settle();
    w.closes(5, false);
    assert_eq!(names(&w.settle()), ["look"], "its last lines may still be written");
    assert!(w.t.closed());
    w.wait(limits::PROBE_MS);
    assert_eq!(names(&w.settle_with(&[5], &[])), ["look", "settle", "end child", "hand"]);
    // It resumed the same session once more instead.
    w.opens(6);
    w.settle();
    w.closes(6, false);
    w.opens(6);
    w.settle();
    w.wait(limits::PROBE_MS);
    assert_eq!(names(&w.settle()), [""; 0]);
}

// Rule OPEN-3.
#[test]
fn one_that_goes_on_with_another_session_holds_nothing() {
    let mut w = World::new();
    w.opens(5);
    w.opens(6);
    w.settle();
    w.closes(7, true);
    w.closes(5, true);
    assert_eq!(w.t.opened.as_ref().unwrap().terminals.len(), 1);
    assert_eq!(names(&w.settle()), ["look"]);
    w.closes(6, true);
    assert_eq!(names(&w.settle()), ["settle", "end child"]);
    assert!(!w.t.closed());
}

// Rule OPEN-4.
#[test]
fn one_that_cannot_be_seen_counts_as_alive_for_a_time_that_each_prompt_renews() {
    let mut w = World::new();
    w.opens(5);
    w.settle();
    let look = |w: &mut World, ms: u64| {
        w.wait(ms);
        w.settle_with(&[], &[5]);
        w.t.closed()
    };
    assert!(look(&mut w, limits::TERMINAL_UNSEEN_MS - 1));
    w.opens(5);
    assert!(look(&mut w, limits::TERMINAL_UNSEEN_MS - 1));
    // A restart of the machine: the time counts anew, since nothing was looked at meanwhile.
    (w.now.boot, w.now.mono_ms) = (2, 1);
    assert!(look(&mut w, limits::TERMINAL_LOOK_MS));
    assert!(look(&mut w, limits::TERMINAL_UNSEEN_MS - 1));
    assert!(!look(&mut w, limits::TERMINAL_LOOK_MS));
}

// Rule OPEN-1.
#[test]
fn a_gateway_that_was_restarted_holds_until_it_has_looked() {
    let mut w = World::new();
    w.opens(5);
    w.settle();
    w.wait(limits::TERMINAL_LOOK_MS);
    assert_eq!(w.take().len(), 1, "a look is under way");
    w.crash();
    assert_eq!(w.says(1, "one"), Reply::Hold);
    w.wait(limits::TERMINAL_LOOK_MS);
    let acts = w.settle();
    assert!(names(&acts).contains(&"look") && !names(&acts).contains(&"hand"), "{acts:?}");
    assert!(w.t.closed());
}

// Rules OPEN-5, LEASE-3, LEASE-4.
#[test]
fn a_claim_meanwhile_is_refused_with_the_process_and_it_stays_held() {
    let mut w = World::new();
    w.opens(5);
    w.settle();
    w.says(1, "one");
    w.claim("ada", 500);
    let in_use = "process 5 (claude) has the Claude session open";
    let acts = w.settle_by(|act| match act {
        Act::Prove { open, .. } => {
            assert_eq!(*open, [process(5)], "it is to be shown gone, too");
            Outcome::NotYet { what: in_use.into() }
        }
        act => fine(act),
    });
    assert!(names(&acts).contains(&"restore") && !names(&acts).contains(&"hand"), "{acts:?}");
    let last = w.t.last.as_ref().unwrap();
    assert!(format!("{:?}", last.why).contains(in_use));
    assert!(w.t.closed() && w.t.phase_name() == "open" && w.t.opened.is_some());
    // Left, it can be ridden; what was noted before is looked at again afterwards.
    w.claim("ada", 501);
    w.settle();
    assert_eq!(w.t.phase_name(), "ridden");
    let fence = w.fence();
    w.does(Event::Release { fence, accept_broken: false });
    let acts = w.settle_with(&[5], &[]);
    assert_eq!(names(&acts), ["prove", "show", "restore", "look", "settle", "end child", "hand"]);
    assert!(!w.t.closed());
}

// Rule OPEN-5.
#[test]
fn who_claims_it_through_another_thread_is_told_where_it_is_open() {
    let mut w = World::new();
    w.opens(5);
    let keeper = view::keeper(&w.t, w.now, &w.rules).unwrap();
    let mut other = World::new();
    let reply = other.claim_of_held(keeper);
    let Reply::Refused { message, refusal } = reply else { panic!("{reply:?}") };
    assert_eq!(message, "its Claude session is open in a terminal on box, through another thread");
    assert_eq!(refusal.reason, Reason::Held);
    assert!(view::holder(&w.t, w.now, &w.rules).is_none(), "nobody rides it");
}

// Rule OPEN-1.
#[test]
fn another_thread_of_the_session_is_held_and_its_senders_are_told_once() {
    let mut w = World::new();
    w.opens(5);
    let keeper = view::keeper(&w.t, w.now, &w.rules);
    let mut twin = World::new();
    let says = |twin: &mut World, n: u32| twin.message_behind(n, keeper.clone());
    assert_eq!((says(&mut twin, 1), says(&mut twin, 2)), (Reply::Hold, Reply::Hold));
    assert_eq!(notices(&twin.settle_behind()).len(), 1);
}

// Rule OPEN-6.
#[test]
fn terminals_are_bounded_and_another_session_takes_their_place() {
    let mut w = World::new();
    (0..20).for_each(|pid| {
        w.opens(pid);
    });
    assert_eq!(w.t.opened.as_ref().unwrap().terminals.len(), limits::TERMINALS);
    assert_eq!(w.t.journal.iter().filter(|line| line.what.contains("more terminals")).count(), 1);
    let by =
        OpenedBy { claude: session(51), twins: Vec::new(), process: process(3), host: "box".into(), answered: false };
    w.does(Event::Opened(Box::new(by)));
    assert_eq!((w.t.claude(), w.t.opened.as_ref().unwrap().terminals.len()), (Some(id(51)), 1));
    // Bound to another one by a person: it is not this thread's conversation any more.
    w.adopt("ada", 60, Some(51));
    w.settle();
    assert!(w.t.opened.is_none());
}

#[test]
fn one_that_is_opened_while_the_last_one_goes_is_watched() {
    let mut w = World::new();
    w.opens(5);
    w.settle();
    w.wait(limits::TERMINAL_LOOK_MS);
    let look = w.take().pop().unwrap();
    w.done(look.op, Outcome::Looked { gone: vec![process(5)], unseen: Vec::new() });
    let settle = w.take().pop().unwrap();
    assert_eq!(w.t.opened.as_ref().unwrap().at.stage, OpenedStage::SettleAgain);
    w.opens(6);
    w.done(settle.op, Outcome::Ok);
    assert_eq!(names(&w.settle()), ["settle", "end child", "look"]);
    assert!(w.t.closed());
}

#[test]
fn in_the_chat_it_is_told_and_is_not_called_a_ride() {
    let mut w = World::new();
    w.opens(5);
    w.wait(180_000);
    assert_eq!(
        view::in_chat(Some(&w.t), None, w.now, &w.rules),
        "⇄ The conversation of this thread has been open in a terminal on box for 3 minutes, which is no ride."
    );
    let reply = w.does(Event::TakeBack { by: "Ada".into(), accept_broken: false });
    assert_eq!(
        view::unridden(&reply),
        "⇄ Nobody rides this thread; its Claude session is open in a terminal on box (process 5): leave Claude Code there."
    );
    let status = view::status(&w.t, w.now, &w.rules);
    assert_eq!((status.phase.raw(), status.holder, status.open.len()), ("open", None::<Holder>, 1));
}
