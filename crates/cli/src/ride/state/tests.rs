//! The state alone, on a clock that is a number.

use ride_core::id::{Fence, Process};
use ride_core::limits;
use ride_core::wire::{
    ChainMark, ClaudeTarget, Grant, Holder, News, Reason, Relay, RelayItem, RelayKind, Relayed, Released, Renewed,
    Waiting,
};
use uuid::Uuid;

use super::*;

mod copy;
mod include;

const SESSION: Uuid = Uuid::from_u128(7);

fn grant() -> Grant {
    Grant {
        locks: false,
        key: "agent:main:telegram:group:-100:topic:42".into(),
        fence: Fence { incarnation: Uuid::from_u128(1), epoch: 3, grant: Uuid::from_u128(2) },
        title: "Deploys".into(),
        route: None,
        claude: Some(ClaudeTarget {
            session_id: SESSION,
            config_dir: "/home/ada/.claude".into(),
            cwd: "/srv/app".into(),
            transcript: ChainMark {
                path: "/t".into(),
                dev: 1,
                ino: 2,
                size: 3,
                tail_sha256: String::new(),
                leaf: None,
            },
        }),
        turn: None,
        lease_ms: 60_000,
        renew_every_ms: 5_000,
        silence_ms: 1_800_000,
        relay: true,
        waiting: Vec::new(),
        beside: Vec::new(),
    }
}

fn process() -> Process {
    Process { machine: "m".into(), namespace: None, pid: 10, start: 20 }
}

fn renewed() -> Renewed {
    Renewed {
        lock: None,
        expires_in_ms: 60_000,
        silent_in_ms: 1_800_000,
        waiting: Vec::new(),
        waiting_total: 0,
        outbox: 0,
        relay_stopped: None,
        turn: None,
        news: Vec::new(),
    }
}

fn refused(reason: Reason, message: &str) -> Trouble {
    Trouble::Refused { reason, message: message.into(), holder: None }
}

fn unsure() -> Trouble {
    Trouble::Unsure("the connection was lost".into())
}

fn ask(ask: u64) -> Event {
    Event::Ask { ask, what: Ask::Prompt { text: "hi".into(), origin: Origin::Person }, session: SESSION }
}

fn prompt(n: u128, text: &str) -> Event {
    Event::Prompt(Prompt { id: Uuid::from_u128(n), text: text.into(), origin: Origin::Person, claude_session: SESSION })
}

fn turn(n: u128, ending: Ending, answer: &str) -> Event {
    Event::Turn(Turn {
        turn_id: "t".into(),
        ending,
        answer: answer.into(),
        answer_id: (!answer.is_empty()).then(|| Uuid::from_u128(n + 100)),
        prompt_id: Some(Uuid::from_u128(n)),
        claude_session: SESSION,
    })
}

/// A ride with a connection and one renewal, at time 1,000.
fn riding() -> Ride {
    let mut ride = Ride::new(&grant(), "secret", Vec::new(), 0);
    ride.step(Event::Claude(process()), 0);
    ride.step(Event::Up, 900);
    ride.step(Event::Renewed { sent_ms: 1_000, answer: Ok(renewed()) }, 1_000);
    ride
}

/// The effects without status lines, which have a test of their own.
fn step(ride: &mut Ride, event: Event, now_ms: u64) -> Vec<Effect> {
    let mut effects = ride.step(event, now_ms);
    assert!(ride.wake_ms(now_ms) > now_ms, "there is nothing to wait for, and nothing is done");
    effects.retain(|effect| !matches!(effect, Effect::Status(_)));
    effects
}

fn verdict(ride: &mut Ride, event: Event, now_ms: u64) -> Result<(), String> {
    let effects = ride.step(event, now_ms);
    let found = effects.into_iter().find_map(|effect| match effect {
        Effect::Verdict(_, Verdict::Allow) => Some(Ok(())),
        Effect::Verdict(_, Verdict::Refuse(why)) => Some(Err(why)),
        _ => None,
    });
    found.expect("every question gets a verdict")
}

fn relayed_ids(effects: &[Effect]) -> Vec<&str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Relay(items) => Some(items.iter().map(|item| item.id.as_str())),
            _ => None,
        })
        .flatten()
        .collect()
}

fn id(n: u128) -> String {
    Uuid::from_u128(n).to_string()
}

// Rule LEASE-11.
#[test]
fn prompts_begin_only_while_the_lease_can_be_proven() {
    let mut fresh = Ride::new(&grant(), "secret", Vec::new(), 0);
    assert_eq!(
        verdict(&mut fresh, ask(1), 0),
        Err("the thread may not be yours any more: the gateway has not answered yet".into())
    );

    // The lease runs from when the renewal was sent, to 61,000; the margin is 5,000.
    let mut ride = riding();
    assert_eq!(verdict(&mut ride, ask(1), 55_999), Ok(()));
    assert_eq!(
        verdict(&mut ride, ask(2), 56_000),
        Err("the thread may not be yours any more: the gateway has not answered yet".into())
    );
    ride.step(Event::Down("the connection was lost: reset".into()), 56_100);
    assert_eq!(
        verdict(&mut ride, ask(3), 57_000),
        Err("the thread may not be yours any more: the connection was lost: reset".into())
    );
    // The gateway came back and still counts us as the driver.
    ride.step(Event::Up, 70_000);
    ride.step(Event::Renewed { sent_ms: 70_000, answer: Ok(renewed()) }, 70_010);
    assert_eq!(verdict(&mut ride, ask(4), 70_020), Ok(()));
}

// Rule LEASE-14.
#[test]
fn another_claude_session_is_neither_let_begin_nor_relayed() {
    let mut ride = riding();
    let other = Uuid::from_u128(8);
    let moved = step(&mut ride, Event::Session(other), 1_100);
    assert_eq!(
        moved,
        [Effect::Tell(format!("Claude Code went to another conversation ({other}); nothing of it went to the thread"))]
    );
    let asked = Event::Ask { ask: 1, what: Ask::Turn, session: other };
    assert_eq!(
        verdict(&mut ride, asked, 1_200),
        Err(format!("this is not the conversation of Deploys: /resume {SESSION} goes back, or leave Claude Code"))
    );
    let strange = Prompt { id: Uuid::from_u128(1), text: "x".into(), origin: Origin::Person, claude_session: other };
    assert_eq!(step(&mut ride, Event::Prompt(strange), 1_300), []);
    ride.step(Event::Session(SESSION), 1_400);
    assert_eq!(verdict(&mut ride, ask(2), 1_500), Ok(()));
}

#[test]
fn what_a_machine_caused_is_let_begin_and_not_relayed_as_a_prompt() {
    let mut ride = riding();
    let done = Prompt {
        id: Uuid::from_u128(1),
        text: "<task-notification>".into(),
        origin: Origin::Machine("task-notification".into()),
        claude_session: SESSION,
    };
    assert_eq!(step(&mut ride, Event::Prompt(done), 1_100), []);
}

// Rules RELAY-1, RELAY-5.
#[test]
fn items_leave_in_order_and_are_forgotten_when_the_gateway_has_them() {
    let mut ride = riding();
    let first = step(&mut ride, prompt(1, "one"), 1_100);
    let item = RelayItem { id: id(1), kind: RelayKind::Prompt, text: "one".into() };
    assert_eq!(first, [Effect::Keep(vec![item.clone()]), Effect::Relay(vec![item])]);
    // One hand-over at a time; what comes meanwhile waits.
    assert_eq!(relayed_ids(&step(&mut ride, turn(1, Ending::Answered, "yes"), 1_200)), [""; 0]);
    assert_eq!(relayed_ids(&step(&mut ride, prompt(2, "two"), 1_300)), [""; 0]);
    let answer = Event::Relayed(Ok(Relayed { accepted: vec![id(1)], outbox: 1 }));
    let next = step(&mut ride, answer, 1_400);
    assert_eq!(next[0], Effect::Forget(vec![id(1)]));
    assert_eq!(relayed_ids(&next), [id(101), id(2)]);
    assert_eq!(ride.unsent(), 2);
}

// Rule RELAY-5.
#[test]
fn a_cut_connection_resends_the_same_ids() {
    let mut ride = riding();
    step(&mut ride, prompt(1, "one"), 1_100);
    step(&mut ride, Event::Down("gone".into()), 1_200);
    assert_eq!(relayed_ids(&step(&mut ride, prompt(2, "two"), 1_300)), [""; 0]);
    assert_eq!(relayed_ids(&step(&mut ride, Event::Up, 9_000)), [id(1), id(2)]);
    // The mod repeats what it was not sure of: it is held once.
    assert_eq!(step(&mut ride, prompt(2, "two"), 9_100), []);
}

#[test]
fn a_full_outbox_is_tried_again_later_and_less_often() {
    let mut ride = riding();
    step(&mut ride, prompt(1, "one"), 1_100);
    let full = || Event::Relayed(Err(refused(Reason::OutboxFull, "the channel takes nothing")));
    assert_eq!(relayed_ids(&step(&mut ride, full(), 2_000)), [""; 0]);
    assert_eq!(relayed_ids(&step(&mut ride, Event::Tick, 2_499)), [""; 0]);
    assert_eq!(relayed_ids(&step(&mut ride, Event::Tick, 2_500)), [id(1)]);
    step(&mut ride, full(), 3_000);
    assert_eq!(relayed_ids(&step(&mut ride, Event::Tick, 3_999)), [""; 0]);
    assert_eq!(relayed_ids(&step(&mut ride, Event::Tick, 4_000)), [id(1)]);
}

#[test]
fn an_item_the_gateway_cannot_take_does_not_hold_up_the_others() {
    let mut ride = riding();
    step(&mut ride, prompt(1, "one"), 1_100);
    step(&mut ride, prompt(2, "two"), 1_150);
    step(&mut ride, Event::Relayed(Err(unsure())), 1_200);
    assert_eq!(relayed_ids(&step(&mut ride, Event::Tick, 1_700)), [id(1), id(2)]);
    let large = || Event::Relayed(Err(refused(Reason::TooLarge, "too large")));
    assert_eq!(relayed_ids(&step(&mut ride, large(), 1_800)), [id(1)]);
    let told = step(&mut ride, large(), 1_900);
    assert_eq!(told[0], Effect::Tell(format!("the gateway would not take {} for the thread: too large", id(1))));
    assert_eq!(relayed_ids(&told), [id(2)]);
}

#[test]
fn every_end_of_a_turn_has_its_items() {
    let check = |ending: Ending, answer: &str, expected: &[(RelayKind, String, &str)]| {
        let mut ride = riding();
        let effects = step(&mut ride, turn(1, ending, answer), 1_100);
        let kept: Vec<_> = effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Keep(items) => Some(items),
                _ => None,
            })
            .flatten()
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, id, text)| RelayItem { id: id.clone(), kind: *kind, text: (*text).into() })
            .collect();
        assert_eq!(kept, expected);
    };
    let (answer, notice) = (RelayKind::Answer, RelayKind::Notice);
    let end = format!("{}/end", id(1));
    check(Ending::Answered, "yes", &[(answer, id(101), "yes")]);
    check(Ending::Answered, "", &[(notice, end.clone(), "the turn ended without a text")]);
    check(Ending::Aborted, "", &[(notice, end.clone(), "interrupted at the terminal, no answer")]);
    check(
        Ending::Aborted,
        "so far",
        &[(answer, id(101), "so far"), (notice, end.clone(), "interrupted at the terminal")],
    );
    check(Ending::Failed, "", &[(notice, end.clone(), "no answer: the model could not be reached")]);
    check(Ending::Refused, "no", &[(answer, id(101), "no")]);
    let long = "é".repeat(limits::RELAY_BYTES / 2 + 1);
    check(
        Ending::Answered,
        &long,
        &[(answer, id(101), &long[..limits::RELAY_BYTES]), (answer, format!("{}/2", id(101)), "é")],
    );
}

// Rule RELAY-6.
#[test]
fn a_prompt_over_the_limit_is_refused_with_the_limit() {
    let mut ride = riding();
    let text = "x".repeat(limits::RELAY_BYTES + 1);
    let asked = Event::Ask { ask: 1, what: Ask::Prompt { text, origin: Origin::Person }, session: SESSION };
    assert_eq!(
        verdict(&mut ride, asked, 1_100),
        Err("262145 bytes are more than a prompt to a thread may have (262144)".into())
    );
}

#[test]
fn leaving_claude_code_flushes_then_releases() {
    let mut ride = riding();
    step(&mut ride, prompt(1, "one"), 1_100);
    // The item is on its way, so nothing is released yet.
    let gone = step(&mut ride, Event::ClaudeGone, 2_000);
    assert_eq!(gone, []);
    let flushed = step(&mut ride, Event::Relayed(Ok(Relayed { accepted: vec![id(1)], outbox: 0 })), 2_100);
    let [Effect::Forget(_), Effect::Release(request)] = flushed.as_slice() else { panic!("{flushed:?}") };
    assert_eq!((request.fence, request.accept_broken_chain), (grant().fence, false));
    // Not sure whether it came through: asked again, the fence makes it one release.
    assert_eq!(step(&mut ride, Event::Released(Err(unsure())), 2_200), []);
    assert!(matches!(step(&mut ride, Event::Tick, 2_700).as_slice(), [Effect::Release(_)]));
    let released = Released { open: true, waiting_for: None, acceptable: false, waiting: 2, undelivered: 0 };
    let done = step(&mut ride, Event::Released(Ok(released.clone())), 2_800);
    assert_eq!(done, [Effect::Done(Outcome::Released(released))]);
}

#[test]
fn without_a_gateway_the_flush_and_the_release_give_up_in_time() {
    let mut ride = riding();
    step(&mut ride, prompt(1, "one"), 1_100);
    step(&mut ride, Event::Down("gone".into()), 1_200);
    assert_eq!(step(&mut ride, Event::ClaudeGone, 2_000), []);
    assert_eq!(step(&mut ride, Event::Tick, 22_000), []);
    assert_eq!(step(&mut ride, Event::Tick, 52_000), [Effect::Done(Outcome::Unreleased("gone".into()))]);
    assert_eq!(ride.unsent(), 1);
}

#[test]
fn a_person_who_does_not_wait_for_the_gateway_leaves_and_keeps_what_was_said() {
    let mut ride = riding();
    step(&mut ride, prompt(1, "one"), 1_100);
    assert_eq!(ride.waits_for(1_100), None, "Claude Code has the terminal");
    step(&mut ride, Event::Down("connection refused".into()), 1_200);
    step(&mut ride, Event::ClaudeGone, 2_000);
    let waits = "waiting for the gateway to take Deploys back, at most 49s (connection refused); 1 prompt or answer is still to be handed over";
    assert_eq!(ride.waits_for(3_000).as_deref(), Some(waits));
    let left = step(&mut ride, Event::Leave, 3_100);
    assert_eq!(left, [Effect::Done(Outcome::Unreleased("you did not wait for the gateway".into()))]);
    assert_eq!((ride.unsent(), ride.waits_for(3_200)), (1, None));
    // While Claude Code runs there is nothing to leave.
    assert_eq!(step(&mut riding(), Event::Leave, 1_100), []);
}

/// A ride that was taken over, of a Claude Code that can say what is typed.
fn taken_over() -> Ride {
    let mut ride = riding();
    ride.reads_draft();
    let answer = Err(refused(Reason::Stale, "Omar took the thread back"));
    let effects = ride.step(Event::Renewed { sent_ms: 6_000, answer }, 6_100);
    let line =
        Status { line: "⇄ your ride of Deploys is over: Omar took the thread back".into(), warn: true, ending: true };
    assert_eq!(effects, [Effect::Status(line)], "it is asked what is typed, and not ended yet");
    assert_eq!(verdict(&mut ride, ask(1), 6_150), Err("this ride is ending".into()));
    ride
}

#[test]
fn what_was_typed_is_kept_before_claude_code_is_ended() {
    let mut ride = taken_over();
    let said = ride.step(Event::Draft("half a th".into()), 6_200);
    let line = "⇄ your ride of Deploys is over: Omar took the thread back; what you typed is kept and shown again";
    assert_eq!(said, [Effect::Status(Status { line: line.into(), warn: true, ending: true })]);
    assert_eq!(ride.wake_ms(6_200), 7_200);
    assert_eq!(ride.step(Event::Tick, 10_100), [], "there is time to read it");
    assert_eq!(ride.step(Event::Tick, 10_200), [Effect::EndClaude]);
    assert_eq!(ride.step(Event::Tick, 10_300), [], "once");
    assert_eq!(ride.draft(), Some("half a th"));

    // Nothing was typed: nobody waits.
    let mut ride = taken_over();
    assert_eq!(ride.step(Event::Draft(" \n".into()), 6_200), [Effect::EndClaude]);
    assert_eq!(ride.draft(), None);
    // No answer.
    let mut ride = taken_over();
    assert_eq!(ride.step(Event::Tick, 7_000), []);
    assert_eq!(ride.step(Event::Tick, 7_100), [Effect::EndClaude]);
    // Longer than is kept, cut between characters.
    let mut ride = taken_over();
    ride.step(Event::Draft("ä".repeat(MAX_DRAFT_BYTES)), 6_200);
    assert_eq!(ride.draft().map(str::len), Some(MAX_DRAFT_BYTES));
    // One that comes late, or without being asked for, changes nothing.
    let mut ride = riding();
    assert_eq!(step(&mut ride, Event::Draft("early".into()), 1_100), []);
    assert_eq!(ride.draft(), None);
}

// Rule LEASE-13.
#[test]
fn a_stale_fence_ends_claude_code_and_refuses_prompts() {
    let mut ride = riding();
    let holder = Holder {
        name: "Bob".into(),
        identity: None,
        host: "box".into(),
        since_ms: 0,
        expires_in_ms: 1,
        phase: "ridden".into(),
        waiting_for: None,
        acceptable: false,
    };
    let stale = Trouble::Refused { reason: Reason::Stale, message: "taken".into(), holder: Some(holder.clone()) };
    let effects = ride.step(Event::Renewed { sent_ms: 6_000, answer: Err(stale) }, 6_100);
    let line = Status { line: "⇄ your ride of Deploys is over: taken".into(), warn: true, ending: true };
    assert_eq!(effects, [Effect::EndClaude, Effect::Status(line)]);
    assert_eq!(verdict(&mut ride, ask(1), 6_200), Err("this ride is ending".into()));
    // A late answer stays on disk for the next ride; it is not sent under this fence.
    assert!(matches!(
        step(&mut ride, turn(1, Ending::Aborted, "half"), 6_300).as_slice(),
        [Effect::Keep(_), Effect::Keep(_)]
    ));
    let done = step(&mut ride, Event::ClaudeGone, 6_400);
    assert_eq!(done, [Effect::Done(Outcome::Lost { why: "taken".into(), holder: Some(holder) })]);
}

#[test]
fn an_unreachable_gateway_ends_the_ride_after_a_while() {
    let mut ride = riding();
    step(&mut ride, Event::Down("no route".into()), 2_000);
    assert_eq!(step(&mut ride, Event::Tick, 361_000), []);
    assert_eq!(step(&mut ride, Event::Tick, 361_001), [Effect::EndClaude]);
    let done = step(&mut ride, Event::ClaudeGone, 361_500);
    let why = "the gateway could not be reached for 5m: no route".to_owned();
    assert_eq!(done, [Effect::Done(Outcome::Lost { why, holder: None })]);
}

#[test]
fn renewals_tell_whether_the_person_is_active() {
    let active = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Renew(renew) => Some(renew.active),
            _ => None,
        })
    };
    let done = |ride: &mut Ride, at| ride.step(Event::Renewed { sent_ms: at, answer: Ok(renewed()) }, at);
    let mut ride = riding();
    assert_eq!(active(ride.step(Event::Tick, 5_899)), None);
    assert_eq!(active(ride.step(Event::Tick, 6_000)), Some(false));
    done(&mut ride, 6_000);
    ride.step(ask(1), 6_100);
    assert_eq!(active(ride.step(Event::Tick, 11_000)), Some(true));
    done(&mut ride, 11_000);
    ride.step(Event::Ask { ask: 2, what: Ask::Turn, session: SESSION }, 11_100);
    assert_eq!(active(ride.step(Event::Tick, 16_000)), Some(true));
    done(&mut ride, 16_000);
    assert_eq!(active(ride.step(Event::Tick, 21_000)), Some(true));
    done(&mut ride, 21_000);
    ride.step(turn(1, Ending::Answered, "yes"), 21_100);
    ride.step(Event::Tick, 26_000);
    done(&mut ride, 26_000);
    assert_eq!(active(ride.step(Event::Tick, 31_000)), Some(false));
    // The gateway's word about our own thread brings it forward.
    done(&mut ride, 31_000);
    ride.step(Event::Changed("agent:main:main".into()), 31_050);
    assert_eq!(ride.wake_ms(31_050), 32_050);
    ride.step(Event::Changed(grant().key), 31_100);
    assert_eq!(ride.wake_ms(31_100), 31_600);
    assert_eq!(active(ride.step(Event::Tick, 31_600)), Some(false));
}

#[test]
fn the_status_line_says_what_matters_most() {
    let line = |ride: &Ride, now_ms| {
        let status = ride.status(now_ms);
        format!("{}{}", if status.warn { "! " } else { "" }, status.line)
    };
    let mut ride = riding();
    assert_eq!(line(&ride, 1_100), "⇄ riding Deploys");
    let waiting = Waiting { seq: 1, from: "Ada".into(), text: "is it\nout?".into(), at_ms: 0 };
    let told = Renewed { waiting: vec![waiting], waiting_total: 2, ..renewed() };
    ride.step(Event::Renewed { sent_ms: 2_000, answer: Ok(told) }, 2_000);
    assert_eq!(line(&ride, 2_100), "⇄ riding Deploys · 2 waiting: Ada: is it out?");
    ride.step(Event::Down("reset".into()), 3_000);
    assert_eq!(line(&ride, 3_000), "! ⇄ riding Deploys · 2 waiting: Ada: is it out? · connection lost, trying again");
    assert_eq!(line(&ride, 60_000), "! ⇄ Deploys: prompts are refused, reset");
    ride.step(Event::Up, 61_000);
    let told = Renewed { silent_in_ms: 90_000, ..renewed() };
    ride.step(Event::Renewed { sent_ms: 61_000, answer: Ok(told) }, 61_000);
    assert_eq!(line(&ride, 61_000), "! ⇄ riding Deploys · handed back in 2 min without a prompt");
    let told = Renewed { relay_stopped: Some("the route changed".into()), ..renewed() };
    ride.step(Event::Renewed { sent_ms: 62_000, answer: Ok(told) }, 62_000);
    assert_eq!(line(&ride, 62_000), "! ⇄ riding Deploys · nothing is relayed: the route changed");
    ride.step(Event::Session(Uuid::from_u128(8)), 62_100);
    assert_eq!(line(&ride, 62_100), format!("! ⇄ not Deploys: prompts are refused, /resume {SESSION} goes back"));
    ride.step(Event::Stop("SIGTERM"), 62_200);
    assert_eq!(line(&ride, 62_200), "⇄ handing Deploys back");
}

#[test]
fn what_happened_to_the_thread_is_told_once_and_shown_until_the_next_prompt() {
    let mut ride = riding();
    let news = |seq, text: &str| News { seq, text: text.into(), at_ms: 0 };
    let told = Renewed { news: vec![news(7, "Tess asked in the chat to stop")], ..renewed() };
    let effects = ride.step(Event::Renewed { sent_ms: 2_000, answer: Ok(told.clone()) }, 2_000);
    assert!(effects.contains(&Effect::Tell("during the ride: Tess asked in the chat to stop".into())));
    // By hooks the status line is first shown with the next prompt, which has cleared it then.
    assert!(effects.contains(&Effect::Say("⇄ Tess asked in the chat to stop".into())));
    assert_eq!(ride.status(2_000).line, "⇄ riding Deploys · Tess asked in the chat to stop");
    let effects = ride.step(Event::Renewed { sent_ms: 3_000, answer: Ok(told) }, 3_000);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Tell(_) | Effect::Say(_))), "the gateway tells it each time");
    assert_eq!(verdict(&mut ride, ask(1), 3_100), Ok(()));
    assert_eq!(ride.status(3_100).line, "⇄ riding Deploys");
}

#[test]
fn where_nothing_is_shown_the_gateway_still_gets_every_id() {
    let mut ride = Ride::new(&Grant { relay: false, ..grant() }, "secret", Vec::new(), 0);
    ride.step(Event::Claude(process()), 0);
    ride.step(Event::Up, 0);
    ride.step(Event::Renewed { sent_ms: 0, answer: Ok(renewed()) }, 10);
    assert_eq!(verdict(&mut ride, ask(1), 20), Ok(()));
    let item = RelayItem { id: id(1), kind: RelayKind::Prompt, text: "one".into() };
    assert_eq!(
        step(&mut ride, prompt(1, "one"), 30),
        [Effect::Keep(vec![item.clone()]), Effect::Relay(vec![item.clone()])]
    );
    let request = ride.relay_request(vec![item.clone()]);
    assert_eq!(request, Relay { key: grant().key, fence: grant().fence, items: vec![item] });
    assert_eq!(ride.status(40).line, "⇄ riding Deploys · nothing is shown in the thread");
}

#[test]
fn claude_code_starts_only_on_a_lease_that_holds() {
    // Renewed at 1,000 for 60,000; the margin is 5,000.
    let check = |now_ms, expected| assert_eq!(may_start(1_000, &renewed(), now_ms), expected, "{now_ms}");
    check(1_010, true);
    check(55_999, true);
    check(56_000, false);
    check(3_600_000, false);
}
