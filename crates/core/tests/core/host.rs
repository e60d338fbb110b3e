//! Entries of both store shapes, as the real hosts have them, and the rows they become.

use std::collections::{HashMap, HashSet};

use ride_core::host::{Channel, Entry, HostEntry};
use ride_core::listing::{Around, listed, row, shared};
use ride_core::person::{Allow, Person};
use ride_core::rules::Rules;
use serde_json::{Value, json};

use super::world::World;

/// Its transcript is there.
const CLAUDE: &str = "e9cce7e8-6aad-4529-8c36-a80ffaa2f8db";
/// Its transcript is, and a Claude Code has it open.
const OPEN: &str = "22222222-6aad-4529-8c36-a80ffaa2f8db";
/// Its transcript is not.
const LOST: &str = "11111111-6aad-4529-8c36-a80ffaa2f8db";
const TOPIC: &str = "agent:main:telegram:group:-1002:topic:42";

fn entry(key: &str, entry: Value) -> Entry {
    serde_json::from_value::<HostEntry>(json!({ "key": key, "agentId": "main", "entry": entry })).unwrap().into()
}

fn channels(accounts: Value) -> Vec<Channel> {
    serde_json::from_value(json!([
        { "id": "telegram", "enabled": true, "accounts": accounts },
        { "id": "discord", "enabled": false, "accounts": {} },
    ]))
    .unwrap()
}

fn check_in(channels: &[Channel], key: &str, given: Value, want: Value) {
    let around = Around {
        channels,
        transcripts: &HashSet::from([CLAUDE.parse().unwrap(), OPEN.parse().unwrap()]),
        in_use: &HashMap::from([(OPEN.parse().unwrap(), 4711)]),
        person: &Person::default(),
        allow: &Allow(None),
        now: World::new().now,
        rules: &Rules::default(),
    };
    let row = serde_json::to_value(row(&entry(key, given), None, &around)).unwrap();
    for (field, value) in want.as_object().unwrap() {
        assert_eq!(&row[field], value, "{field} of {key}: {row}");
    }
}

fn check(key: &str, given: Value, want: Value) {
    check_in(&channels(json!({})), key, given, want);
}

#[test]
fn rows() {
    check(
        TOPIC,
        json!({
            "chatType": "group", "groupId": "-1002:topic:42", "subject": "Lab Forum", "topicName": "Topic 42",
            "displayName": "telegram:g-lab-forum-topic-42", "lastInteractionAt": 5, "updatedAt": 9,
            "delivery": { "context": { "channel": "telegram", "to": "telegram:-1002:topic:42", "accountId": "default", "threadId": 42 } },
            "cliSessionBindings": { "claude-cli": { "sessionId": CLAUDE } },
        }),
        json!({
            "title": "Lab Forum › Topic 42", "channel": "telegram", "conversationId": "-1002:topic:42", "cliSessionId": CLAUDE,
            "echoTarget": { "channel": "telegram", "to": "telegram:-1002:topic:42", "accountId": "default", "threadId": "42" },
            "relayReady": true, "lastActivity": 5, "rideable": true, "mode": "claude", "shared": false, "displayName": "telegram:g-lab-forum-topic-42",
        }),
    );
    // 2026.6: the route in deliveryContext, else in last*; no topic name is stored.
    check(
        TOPIC,
        json!({
            "subject": "Lab Forum", "claudeCliSessionId": CLAUDE, "origin": { "label": "Lab Forum id:-1002 topic:42" },
            "lastChannel": "telegram", "lastTo": "telegram:-1002:topic:42", "lastAccountId": "default", "lastThreadId": 42,
        }),
        json!({ "title": "Lab Forum › topic 42", "relayReady": true, "cliSessionId": CLAUDE, "rideable": true, "mode": "claude" }),
    );
    // A direct message is named by who writes, not by what the host made up.
    check(
        "agent:main:main",
        json!({
            "chatType": "direct", "displayName": "Hello DM one", "origin": { "label": "Tess Ter (@tess) id:1001" },
            "delivery": { "context": { "channel": "telegram", "to": "telegram:1001" } },
        }),
        json!({ "title": "Tess Ter (@tess)", "shared": true, "rideable": true, "mode": "chat", "conversationId": "1001" }),
    );
    check(
        "agent:main:dashboard:x",
        json!({ "deliveryContext": { "channel": "webchat" }, "cliSessionIds": { "claude-cli": CLAUDE } }),
        json!({ "channel": null, "echoTarget": null, "relayReady": false, "rideable": true, "title": "agent:main:dashboard:x" }),
    );
    // A person's own name for it comes before everything.
    check(
        TOPIC,
        json!({ "label": "release work", "subject": "Lab Forum", "topicName": "Topic 42", "claudeCliSessionId": CLAUDE }),
        json!({ "title": "release work" }),
    );
}

#[test]
fn why_not() {
    let no_route = "no channel route is stored for it: write in the thread first";
    let at = |channel: &str, account: &str| json!({ "context": { "channel": channel, "to": format!("{channel}:1"), "accountId": account } });
    let check = |given: Value, mode: Value, why: Value| {
        check_in(
            &channels(json!({ "work": true, "old": false })),
            TOPIC,
            given,
            json!({ "mode": mode, "whyNot": why }),
        );
    };
    check(json!({ "delivery": at("telegram", "default") }), json!("chat"), Value::Null);
    check(json!({ "delivery": at("telegram", "work") }), json!("chat"), Value::Null);
    check(
        json!({ "delivery": at("telegram", "old") }),
        Value::Null,
        json!("no Claude session behind it, and its account old of telegram is switched off"),
    );
    check(
        json!({ "delivery": at("telegram", "gone") }),
        Value::Null,
        json!("no Claude session behind it, and its account gone of telegram is not configured"),
    );
    check(
        json!({ "delivery": at("discord", "default") }),
        Value::Null,
        json!("no Claude session behind it, and its channel discord is switched off"),
    );
    check(
        json!({ "delivery": at("slack", "default") }),
        Value::Null,
        json!("no Claude session behind it, and its channel slack is not configured"),
    );
    check(json!({}), Value::Null, json!(format!("no Claude session behind it, and {no_route}")));
    let lost = json!(
        "the transcript of its Claude session is not on the gateway's machine: its next message in the chat begins a new one"
    );
    check(json!({ "claudeCliSessionId": LOST }), Value::Null, lost.clone());
    // Its channel would take what is relayed, but nobody goes on in another Claude session unasked.
    check(json!({ "claudeCliSessionId": LOST, "delivery": at("telegram", "default") }), Value::Null, lost);
    check(json!({ "claudeCliSessionId": CLAUDE, "delivery": at("slack", "default") }), json!("claude"), Value::Null);
    check(json!({ "claudeCliSessionId": CLAUDE, "archivedAt": 5 }), json!("claude"), json!("archived"));
    let open = "its Claude session is open in a Claude Code on the gateway's machine (process 4711)";
    check(json!({ "claudeCliSessionId": OPEN }), json!("claude"), json!(open));
    check_in(
        &channels(json!({})),
        TOPIC,
        json!({ "claudeCliSessionId": OPEN }),
        json!({ "rideable": false, "inUse": 4711 }),
    );
    check_in(
        &channels(json!({})),
        TOPIC,
        json!({ "claudeCliSessionId": CLAUDE }),
        json!({ "rideable": true, "inUse": null }),
    );
}

#[test]
fn several_accounts_are_told_apart() {
    let dm = json!({
        "chatType": "direct", "origin": { "label": "Tess Ter id:1001" },
        "delivery": { "context": { "channel": "telegram", "to": "telegram:1001", "accountId": "work" } },
    });
    let two = channels(json!({ "default": true, "work": true }));
    check_in(
        &two,
        "agent:main:telegram:work:direct:1001",
        dm.clone(),
        json!({ "title": "Tess Ter (work)", "shared": false }),
    );
    let one = channels(json!({ "work": true }));
    check_in(&one, "agent:main:telegram:work:direct:1001", dm, json!({ "title": "Tess Ter", "shared": false }));
}

#[test]
fn which_sessions_are_shared() {
    let (one, two) = (channels(json!({ "default": true })), channels(json!({ "default": true, "work": true })));
    let check = |key: &str, with_one: bool, with_two: bool| {
        assert_eq!((shared(key, &one), shared(key, &two)), (with_one, with_two), "{key}");
    };
    check("agent:main:main", true, true);
    // `session.mainKey`
    check("agent:main:home", true, true);
    check("global", true, true);
    check("agent:main:direct:1001", true, true);
    check("agent:main:telegram:direct:1001", false, true);
    check("agent:main:telegram:work:direct:1001", false, false);
    check("agent:main:telegram:group:-1", false, false);
    check(TOPIC, false, false);
}

#[test]
fn what_is_a_thread() {
    let check = |key: &str, expected: bool| {
        let bound = entry(key, json!({ "claudeCliSessionId": CLAUDE, "updatedAt": 1 }));
        assert_eq!(listed(&bound), expected, "{key}");
        assert!(!listed(&entry(key, json!({ "claudeCliSessionId": CLAUDE, "archivedAt": 1 }))), "{key}, archived");
        assert!(!listed(&entry(key, json!({ "updatedAt": 1 }))), "{key}, nothing to drive it by");
    };
    check("agent:main:main", true);
    check(TOPIC, true);
    check("agent:work:slack:channel:c123:thread:1700.1", true);
    check("agent:main:dashboard:x", true);
    check("agent:main:plugin:anthropic:catalog-adopt:claude:abc", true);
    check("agent:main:cron:job:run:1", false);
    check("agent:main:telegram:slash:1001", false);
    check("agent:main:subagent:1", false);
    check("agent:main:main:heartbeat", false);
    check("agent:main:hook:mail", false);
}
