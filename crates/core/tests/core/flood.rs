//! Members of the chat who write without end: they hold up neither a turn nor a release,
//! keep nobody else out, and none of them is refused in silence.

use ride_core::event::{Act, Event, Inbound, Outcome, Reply};
use ride_core::limits;
use ride_core::thread::{Kind, Thread, Words};
use ride_core::wire::{Holder, RelayKind};

use super::walk::Dice;
use super::world::{World, fine, inbound, item, name, route};

/// Ridden by somebody whose lease does not end by itself.
fn ridden() -> World {
    let mut w = World::ridden_by("ada");
    (w.rules.lease_ms, w.rules.silence_ms) = (u64::MAX, u64::MAX);
    w
}

/// The notices sent now.
fn said(w: &mut World) -> Vec<String> {
    let sent =
        w.settle().into_iter().filter_map(|act| if let Act::Send { item, .. } = act { Some(item.text) } else { None });
    sent.collect()
}

/// So many messages of one sender.
fn floods(w: &mut World, sender: &str, from: u32, messages: u32, text: &str) {
    for n in from..from + messages {
        assert_eq!(w.says_as(sender, "Eve", n, text), Reply::Hold);
    }
}

/// How many refusals a notice of this thread tells of.
fn refusals(t: &Thread, seq: u64) -> u32 {
    let of = |words: &Words| if let Words::Owed { owed, .. } = words { owed.unkept + owed.commands } else { 0 };
    t.notices.iter().find(|notice| notice.seq == seq).map_or(0, |notice| of(&notice.words))
}

// Rules INBOX-2, INBOX-6.
#[test]
fn no_sender_has_more_than_a_quarter_of_the_inbox() {
    let mut w = ridden();
    floods(&mut w, "eve", 0, 200, "x");
    assert_eq!(w.t.inbox.len(), limits::INBOX_MESSAGES / 4);
    assert_eq!(w.says_as("tess", "Tess", 900, "a question"), Reply::Hold);
    assert_eq!(w.t.inbox.back().unwrap().sender, "tess", "there is room for others");
    let mut w = ridden();
    floods(&mut w, "eve", 0, 10, &"x".repeat(limits::HELD_BYTES - 8));
    assert_eq!(w.t.inbox.len(), 4, "of its bytes, too");
}

// Rules INBOX-2, INBOX-7.
#[test]
fn refusals_are_merged_per_sender_with_their_number() {
    let mut w = ridden();
    floods(&mut w, "eve", 0, 50, "x");
    assert_eq!(
        said(&mut w),
        ["⇄ ada@laptop rides this thread from a terminal. Your message is kept and will be answered after the ride."]
    );
    floods(&mut w, "eve", 50, 150, "x");
    floods(&mut w, "eve", 200, 30, "/new");
    w.says_as("bob", "Bob", 300, "/model opus");
    assert_eq!(
        said(&mut w),
        [
            "⇄ Eve: 150 messages could not be kept: send again afterwards; 30 commands refused, the last was /new. ada@laptop rides this thread from a terminal.",
            "⇄ ada@laptop rides this thread from a terminal: /model is not possible now.",
        ]
    );
    assert!(w.t.notices.is_empty(), "nothing is owed any more");
}

// Rule INBOX-7.
#[test]
fn what_is_owed_stays_owed_until_it_is_sent() {
    let mut w = ridden();
    w.says(1, "/new");
    for _ in 0..3 * limits::ATTEMPTS {
        for e in w.take() {
            w.done(e.op, Outcome::NotSent { what: "502".into(), retry: true, after_ms: None });
        }
        w.wait(60_000);
        // While one attempt is under way more is refused: it is added to what is owed.
        w.says(2, "/reset");
    }
    w.wait(60_000);
    let [text] = &said(&mut w)[..] else { panic!() };
    assert!(text.contains("25 commands refused, the last was /reset"), "{text}");
    // Nobody knows whether it arrived: once more, marked.
    w.says(3, "/new");
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.extend(
            w.take()
                .into_iter()
                .filter_map(|e| if let Act::Send { item, .. } = e.act { Some(item.text) } else { None }),
        );
        w.crash();
        w.wait(20_000);
    }
    assert!(matches!(&sent[..], [one, two] if two == &format!("(may be a repeat) {one}")), "{sent:?}");
}

// Rule INBOX-7.
#[test]
fn a_sender_is_told_once_a_ride_that_messages_are_kept() {
    let mut w = World::new();
    let holder = |since_ms| Holder {
        name: "ada".into(),
        identity: None,
        host: "laptop".into(),
        since_ms,
        expires_in_ms: 1,
        phase: "ridden".into(),
        waiting_for: None,
        acceptable: false,
    };
    let mut told = 0;
    for (n, since_ms) in [(1, 10), (2, 10), (3, 10), (4, 20), (5, 20)] {
        assert_eq!(w.message_behind(n, Some(holder(since_ms))), Reply::Hold);
        let performer = w.performer;
        let Reply::Work { effects, .. } = w.does(Event::Take { performer, behind: true, flying: Vec::new() }) else {
            panic!()
        };
        told += effects.len();
        effects.into_iter().for_each(|e| w.done(e.op, fine(&e.act)));
    }
    assert_eq!((told, w.t.inbox.len()), (2, 5), "two rides, through another thread");
}

#[test]
fn names_from_the_chat_are_cut_and_plain_in_notices() {
    let mut w = ridden();
    let name = format!("\u{1b}]52;c;x\u{7}[evil](http://evil.example) @everyone\n{}", "y".repeat(500));
    for n in 0..3 {
        w.says_as("eve", &name, n, &format!("/new{}", "z".repeat(500)));
    }
    let [text] = &said(&mut w)[..] else { panic!() };
    assert!(
        text.chars().all(|c| !c.is_control() && !"[]()@".contains(c) || c == '@' && text.contains("ada@laptop")),
        "{text:?}"
    );
    assert!(text.chars().count() < 300 && text.starts_with("⇄ 52 c x evil http evil example everyone"), "{text:?}");
}

// Rules INBOX-7, RELAY-6.
#[test]
fn with_the_queue_full_every_sender_still_hears() {
    let mut w = ridden();
    // The channel takes nothing meanwhile.
    for n in 0..500 {
        assert_eq!(w.says_as(&format!("s{n}"), "X", n, "/new"), Reply::Hold);
    }
    assert!(w.t.notices.len() <= limits::OWED + 1);
    let several =
        w.t.notices.iter().any(|n| matches!(&n.words, Words::Owed { sender: None, owed } if owed.commands == 468));
    assert!(several, "{:?}", w.t.notices.back());
    // In so many places that not even a shared notice has room, the host answers.
    let mut declined = 0;
    for n in 500..520 {
        let mut elsewhere = route();
        elsewhere.to = format!("telegram:{n}");
        let m = Inbound { route: Some(elsewhere), ..inbound(&format!("s{n}"), "X", n, "/new") };
        declined += usize::from(
            matches!(w.does(Event::Message(Box::new(m))), Reply::Decline { text } if text.contains("/new is not possible now")),
        );
    }
    assert_eq!(declined, 20 - (limits::OWED_PLACES - 1));
}

#[test]
fn not_more_notices_a_minute_than_a_group_takes() {
    let mut w = ridden();
    let mut sent = 0;
    for second in 0..600 {
        w.says_as(&format!("s{}", second % 20), "X", second, "/new");
        sent += said(&mut w).len();
        w.wait(1_000);
    }
    assert!((100..=10 * limits::NOTICES_A_MINUTE + limits::NOTICES_A_MINUTE).contains(&sent), "{sent}");
}

/// A ride with hostile members of the chat, on a channel that is slow, or down for a while.
fn hostile(seed: u64) {
    let mut dice = Dice(seed);
    let mut w = ridden();
    w.disk = false;
    let fence = w.fence();
    let (mut refused, mut told, mut n) = (0, 0, 0_u32);
    let mut turns = 0_usize;
    let mut down = 0;
    for round in 0..100 {
        for _ in 0..dice.roll(40) {
            n += 1;
            let sender = format!("s{}", dice.roll(if seed.is_multiple_of(2) { 3 } else { 60 }));
            let command = dice.roll(2) == 0;
            let before = w.t.inbox.len();
            match w.says_as(&sender, "X", n, if command { "/new" } else { "x" }) {
                Reply::Hold => refused += u32::from(w.t.inbox.len() == before),
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        if dice.roll(4) == 0 {
            turns += 1;
            let first = w.t.outbox.is_empty();
            let reply = w.does(Event::Relay { fence, items: vec![item(&format!("p{round}"), RelayKind::Prompt)] });
            assert!(matches!(reply, Reply::Relayed { .. }), "seed {seed}: a prompt was refused: {reply:?}");
            let next = w.take();
            let sends: Vec<_> =
                next.iter().filter(|e| matches!(&e.act, Act::Send { item, .. } if item.kind == Kind::Prompt)).collect();
            assert_eq!(sends.len(), usize::from(first), "seed {seed}: a turn waits for notices");
            for e in next {
                told += sent(&w, &e.act);
                w.done(e.op, fine(&e.act));
            }
        }
        down = if dice.roll(10) == 0 { 5 } else { down };
        for e in w.take() {
            if down > 0 {
                w.done(e.op, Outcome::NotSent { what: "502".into(), retry: true, after_ms: None });
            } else {
                told += sent(&w, &e.act);
                w.done(e.op, fine(&e.act));
            }
        }
        down -= u64::from(down > 0);
        w.wait(dice.roll(5_000));
        assert!(w.t.notices.len() <= limits::NOTICES + 2 * limits::OWED + limits::OWED_PLACES, "seed {seed}");
        assert!(w.t.inbox.len() <= limits::INBOX_MESSAGES, "seed {seed}");
    }
    assert!(refused > 500 && turns > 10, "seed {seed}: no flood: {refused}, {turns}");
    while !w.t.outbox.is_empty() {
        for e in w.take() {
            told += sent(&w, &e.act);
            w.done(e.op, fine(&e.act));
        }
        w.wait(1_000);
    }
    assert!(!w.t.notices.is_empty(), "seed {seed}: nothing is owed any more");
    // The ride ends: not one send of a notice is waited for.
    w.does(Event::Release { fence, accept_broken: false });
    let mut sends = 0;
    for _ in 0..4 {
        for e in w.take() {
            sends += usize::from(name(&e.act) == "send");
            told += sent(&w, &e.act);
            w.done(e.op, fine(&e.act));
        }
    }
    assert_eq!(w.t.phase_name(), "open", "seed {seed}: {:?}", w.t.phase);
    assert!(sends <= 4, "seed {seed}: {sends} sends");
    // And everybody hears in the end.
    while w.t.closed() || !w.t.notices.is_empty() {
        for e in w.take() {
            told += sent(&w, &e.act);
            w.done(e.op, fine(&e.act));
        }
        w.wait(1_000);
    }
    assert!(w.t.notices.is_empty() && !w.t.closed(), "seed {seed}");
    assert_eq!(told, refused, "seed {seed}: somebody was refused in silence");
}

/// Refusals a send tells of.
fn sent(w: &World, act: &Act) -> u32 {
    if let Act::Send { item, .. } = act { refusals(&w.t, item.seq) } else { 0 }
}

// Rules RELAY-6, LEASE-8, INBOX-7.
#[test]
fn a_hostile_sender_never_delays_a_turn_or_a_release() {
    for seed in 0..10 {
        hostile(seed);
    }
}
