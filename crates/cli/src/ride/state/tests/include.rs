//! Held messages in the driver's hands, and what gets into the conversation unasked.

use ride_core::wire::{Inboxed, Taken};

use super::*;

fn message(seq: u64, text: &str) -> Waiting {
    Waiting { seq, from: "Omar".into(), text: text.into(), at_ms: 0 }
}

/// Riding, with these messages waiting and read.
fn waiting(texts: &[&str]) -> Ride {
    let mut ride = riding();
    let all: Vec<Waiting> = (1..).zip(texts).map(|(seq, text)| message(seq, text)).collect();
    let told = Renewed { waiting: all.clone(), waiting_total: all.len() as u32, ..renewed() };
    let effects = step(&mut ride, Event::Renewed { sent_ms: 2_000, answer: Ok(told) }, 2_000);
    assert!(matches!(&effects[..], [Effect::Inbox(Inbox { after: 0, .. })]), "{effects:?}");
    let effects = step(&mut ride, Event::Inboxed(Ok(Inboxed { messages: all, more: false })), 2_100);
    let said: Vec<_> =
        effects.iter().filter_map(|effect| if let Effect::Say(line) = effect { Some(line) } else { None }).collect();
    let messages = said.iter().filter(|line| line.starts_with("⇄ Omar wrote in the thread: ")).count();
    assert_eq!((messages, said.last().is_some_and(|line| line.contains(INBOX))), (texts.len(), true));
    ride
}

const INBOX: &str = "/openclaw-session-sync:inbox";

fn ask_along(ride: &mut Ride) -> Verdict {
    let what = Ask::Prompt { text: format!("{INBOX} answer him"), origin: Origin::Person };
    let effects = ride.step(Event::Ask { ask: 9, what, session: SESSION }, 3_000);
    effects
        .into_iter()
        .find_map(|effect| if let Effect::Verdict(9, verdict) = effect { Some(verdict) } else { None })
        .unwrap()
}

fn takes(effects: &[Effect]) -> Vec<(Uuid, Vec<u64>)> {
    effects
        .iter()
        .filter_map(
            |effect| if let Effect::Take(take) = effect { Some((take.prompt, take.seqs.clone())) } else { None },
        )
        .collect()
}

// Rule INBOX-4.
#[test]
fn messages_are_taken_once_the_model_answers_and_not_before() {
    let mut ride = waiting(&["what about the PAPAYA?", "and the KIWI?"]);
    let Verdict::Along(context) = ask_along(&mut ride) else { panic!("not along") };
    let both =
        "{\"from\":\"Omar\",\"text\":\"what about the PAPAYA?\"}\n{\"from\":\"Omar\",\"text\":\"and the KIWI?\"}\n";
    assert!(context.contains(both), "{context}");
    let effects = step(&mut ride, prompt(5, &format!("{INBOX} answer him")), 3_100);
    let shown: Vec<_> = effects
        .iter()
        .filter_map(|e| if let Effect::Keep(items) = e { Some(items[0].text.as_str()) } else { None })
        .collect();
    assert_eq!((shown, takes(&effects)), (vec!["answer him"], Vec::new()));
    assert_eq!(takes(&step(&mut ride, turn(4, Ending::Failed, ""), 3_200)), []);

    let effects = step(&mut ride, Event::Heard(vec![Uuid::from_u128(5)]), 3_300);
    assert_eq!(takes(&effects), [(Uuid::from_u128(5), vec![1, 2])]);
    // The answer is lost with the connection: asked again.
    step(&mut ride, Event::Took(Err(unsure())), 3_400);
    assert_eq!(takes(&step(&mut ride, Event::Tick, 3_500)), []);
    assert_eq!(takes(&step(&mut ride, Event::Tick, 3_900)).len(), 1);
    step(&mut ride, Event::Took(Ok(Taken { waiting: 0 })), 4_000);
    assert_eq!(takes(&step(&mut ride, Event::Tick, 9_000)), []);
    assert_eq!(ask_along(&mut ride), Verdict::Refuse("no message waits in the thread".into()));
}

#[test]
fn a_prompt_that_was_withdrawn_takes_nothing_and_the_next_one_can() {
    let mut ride = waiting(&["hi"]);
    assert!(matches!(ask_along(&mut ride), Verdict::Along(_)));
    step(&mut ride, prompt(5, INBOX), 3_100);
    step(&mut ride, turn(5, Ending::Aborted, ""), 3_200);
    assert!(matches!(ask_along(&mut ride), Verdict::Along(_)));
    step(&mut ride, prompt(6, INBOX), 3_300);
    assert_eq!(takes(&step(&mut ride, Event::Heard(vec![Uuid::from_u128(6)]), 3_400)), [(Uuid::from_u128(6), vec![1])]);
    // Another prompt's answer is nobody's permission.
    let mut other = waiting(&["hi"]);
    ask_along(&mut other);
    step(&mut other, prompt(5, INBOX), 3_100);
    assert_eq!(takes(&step(&mut other, Event::Heard(vec![Uuid::from_u128(77)]), 3_200)), []);
}

#[test]
fn the_thread_is_released_only_when_the_gateway_knows_what_went_along() {
    let mut ride = waiting(&["hi"]);
    ask_along(&mut ride);
    step(&mut ride, prompt(5, INBOX), 3_100);
    step(&mut ride, Event::Relayed(Ok(Relayed { accepted: vec![Uuid::from_u128(5).to_string()], outbox: 0 })), 3_150);
    assert_eq!(takes(&step(&mut ride, Event::Heard(vec![Uuid::from_u128(5)]), 3_200)).len(), 1);
    let released = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Release(_)));
    assert!(!released(&step(&mut ride, Event::ClaudeGone, 3_300)));
    assert!(released(&step(&mut ride, Event::Took(Ok(Taken { waiting: 0 })), 3_400)));
}

// Rule INBOX-4.
#[test]
fn what_was_not_shown_does_not_go_along() {
    let mut ride = waiting(&["hi", "ho"]);
    let unshown = |ride: &mut Ride, lines: Option<Vec<String>>| drop(step(ride, Event::Unshown(lines), 2_900));
    let [hi, ho] = ["hi", "ho"].map(|text| format!("⇄ Omar wrote in the thread: {text}"));
    unshown(&mut ride, Some(vec![hi, ho.clone()]));
    let why = "what waits was not shown to you before; send it again once you have read it";
    assert_eq!(ask_along(&mut ride), Verdict::Refuse(why.into()));
    unshown(&mut ride, Some(vec![ho]));
    let Verdict::Along(context) = ask_along(&mut ride) else { panic!("not along") };
    assert!(context.contains(r#""text":"hi""#) && !context.contains(r#""text":"ho""#), "{context}");
    // A line that was dropped is never shown.
    unshown(&mut ride, None);
    let why = "more waits than could be shown to you; the agent answers it after the ride";
    assert_eq!(ask_along(&mut ride), Verdict::Refuse(why.into()));
}

// Rule INBOX-5.
#[test]
fn each_prompt_has_a_fence_of_its_own() {
    let mut ride = waiting(&["hi"]);
    let fence = |verdict: Verdict| match verdict {
        Verdict::Along(context) => context.split_once("-----").unwrap().1.split(' ').nth(1).unwrap().to_owned(),
        other => panic!("not along: {other:?}"),
    };
    let (one, other) = (fence(ask_along(&mut ride)), fence(ask_along(&mut ride)));
    assert!(one != other && one.len() == 32, "{one} {other}");
}

#[test]
fn what_is_too_long_stays_and_says_so() {
    let mut ride = waiting(&[&"x".repeat(10_000)]);
    let why = "what waits is too long to go along; the agent answers it after the ride";
    assert_eq!(ask_along(&mut ride), Verdict::Refuse(why.into()));
}

#[test]
fn what_gets_in_unasked_is_judged_by_the_lease() {
    let ends = |slip, now_ms: u64| {
        let effects = step(&mut riding(), Event::Slipped(slip), now_ms);
        let told =
            effects.iter().any(|effect| matches!(effect, Effect::Tell(why) if why.starts_with("the ride was ended: ")));
        assert_eq!(told, effects.contains(&Effect::EndClaude));
        told
    };
    // Renewed at 1,000 for 60,000; the margin is 5,000.
    assert!(!ends(Slip::Unasked, 2_000));
    assert!(ends(Slip::Unasked, 56_500));
    assert!(ends(Slip::Prompt, 2_000));
}

#[test]
fn claude_code_is_started_again_only_in_a_ride_that_holds() {
    let mut ride = riding();
    assert!(ride.may_start_again(2_000));
    assert!(!ride.may_start_again(56_500));
    ride.step(Event::Stop("SIGTERM"), 2_100);
    assert!(!ride.may_start_again(2_200));
}
