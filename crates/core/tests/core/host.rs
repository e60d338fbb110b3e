//! Entries of both store shapes, as the real hosts have them.

use ride_core::host::{HostEntry, row, shared};
use ride_core::step::Rules;
use serde_json::{Value, json};

use super::world::World;

fn check(key: &str, entry: Value, want: Value) {
    let host: HostEntry = serde_json::from_value(json!({ "key": key, "agentId": "main", "entry": entry })).unwrap();
    let row = row(&host, None, &["telegram".into()], World::new().now, &Rules::default());
    let row = serde_json::to_value(row).unwrap();
    for (field, value) in want.as_object().unwrap() {
        assert_eq!(&row[field], value, "{field} of {key}");
    }
}

#[test]
fn rows() {
    let topic = "agent:main:telegram:group:-1002:topic:42";
    let claude = "e9cce7e8-6aad-4529-8c36-a80ffaa2f8db";
    check(
        topic,
        json!({
            "chatType": "group", "groupId": "-1002:topic:42", "subject": "Lab Forum", "topicName": "Topic 42",
            "displayName": "telegram:g-lab-forum-topic-42", "lastInteractionAt": 5, "updatedAt": 9,
            "delivery": { "context": { "channel": "telegram", "to": "telegram:-1002:topic:42", "accountId": "default", "threadId": 42 } },
            "cliSessionBindings": { "claude-cli": { "sessionId": claude } },
        }),
        json!({
            "title": "Lab Forum › Topic 42", "channel": "telegram", "conversationId": "-1002:topic:42", "cliSessionId": claude,
            "echoTarget": { "channel": "telegram", "to": "telegram:-1002:topic:42", "accountId": "default", "threadId": "42" },
            "relayReady": true, "lastActivity": 5, "rideable": true, "mode": "claude", "shared": false, "displayName": "telegram:g-lab-forum-topic-42",
        }),
    );
    // 2026.6: the route in deliveryContext, else in last*; no topic name is stored.
    check(
        topic,
        json!({
            "subject": "Lab Forum", "claudeCliSessionId": claude, "origin": { "label": "Lab Forum id:-1002 topic:42" },
            "lastChannel": "telegram", "lastTo": "telegram:-1002:topic:42", "lastAccountId": "default", "lastThreadId": 42,
        }),
        json!({ "title": "Lab Forum › topic 42", "relayReady": true, "cliSessionId": claude, "rideable": true }),
    );
    check(
        "agent:main:main",
        json!({ "chatType": "direct", "origin": { "label": "Tess Ter (@tess) id:1001" }, "delivery": { "context": { "channel": "telegram", "to": "telegram:1001" } } }),
        json!({ "title": "Tess Ter (@tess)", "shared": true, "rideable": true, "mode": "chat", "conversationId": "1001" }),
    );
    check(
        "agent:main:dashboard:y",
        json!({ "deliveryContext": { "channel": "webchat" } }),
        json!({ "rideable": false, "mode": null, "whyNot": "neither a Claude session behind it nor a channel to answer in" }),
    );
    check(
        "agent:main:dashboard:x",
        json!({ "deliveryContext": { "channel": "webchat" }, "cliSessionIds": { "claude-cli": claude } }),
        json!({ "channel": null, "echoTarget": null, "relayReady": false, "rideable": true, "title": "agent:main:dashboard:x" }),
    );
}

#[test]
fn which_sessions_are_shared() {
    assert!(shared("agent:main:main"));
    assert!(!shared("agent:main:telegram:group:-1"));
    assert!(!shared("agent:main:telegram:direct:1001"));
}
