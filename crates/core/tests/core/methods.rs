//! Every method's parameters: unknown, missing and mistyped fields are refused by name.

use ride_core::wire::{self, Reason, method};
use serde_json::{Value, json};

fn fence() -> Value {
    let id = "e9cce7e8-6aad-4529-8c36-a80ffaa2f8db";
    json!({ "incarnation": id, "epoch": 1, "grant": id })
}

fn process() -> Value {
    json!({ "machine": "m", "pid": 1, "start": 2 })
}

/// Parameters with every field a method has.
fn whole(name: &str) -> Value {
    match name {
        method::RIDEABLE => json!({ "limit": 5, "after": "x.1" }),
        method::CLAIM => {
            json!({ "key": "k", "driver": { "name": "ada", "host": "h", "process": process() }, "secret": "s", "waitMs": 1, "steal": true })
        }
        method::RENEW => json!({ "key": "k", "fence": fence(), "secret": "s", "claude": process(), "active": true }),
        method::RELAY => {
            json!({ "key": "k", "fence": fence(), "items": [{ "id": "i", "kind": "prompt", "text": "t" }] })
        }
        method::SAY => json!({ "key": "k", "fence": fence(), "id": "i", "text": "t" }),
        method::INBOX => json!({ "key": "k", "fence": fence(), "after": 1 }),
        method::TAKE => {
            json!({ "key": "k", "fence": fence(), "prompt": "e9cce7e8-6aad-4529-8c36-a80ffaa2f8db", "seqs": [1] })
        }
        method::RELEASE => {
            json!({ "key": "k", "fence": fence(), "acceptBrokenChain": true, "waitMs": 1, "copy": { "size": 5, "tailSha256": "00", "leaf": null } })
        }
        method::ADOPT => {
            json!({ "key": "k", "cliSessionId": "11111111-2222-3333-4444-555555555555", "driver": { "name": "ada", "host": "h", "process": process() }, "proof": "0123456789abcdef0123456789abcdef", "waitMs": 1 })
        }
        method::COPY => json!({ "key": "k", "fence": fence(), "size": 5 }),
        method::PULL => json!({ "key": "k", "fence": fence(), "file": "f", "from": 5 }),
        method::PUSH => {
            json!({ "key": "k", "fence": fence(), "file": "f", "from": 5, "beforeSha256": "00", "total": 3, "at": 0, "data": "" })
        }
        method::TAKE_BACK => json!({ "key": "k", "by": "ada@laptop", "acceptBrokenChain": true, "waitMs": 1 }),
        method::CHECK => {
            json!({ "key": "k", "fence": fence(), "cliSessionId": "e9cce7e8-6aad-4529-8c36-a80ffaa2f8db" })
        }
        method::OPEN => {
            json!({ "cliSessionId": "e9cce7e8-6aad-4529-8c36-a80ffaa2f8db", "process": process(), "host": "h", "state": "open" })
        }
        method::STATUS => json!({ "key": "k", "audit": true }),
        method::CONFIG => json!({}),
        other => panic!("no parameters of {other} are written here"),
    }
}

/// What a method says to parameters; `None` when they fit.
fn said(name: &str, params: &Value) -> Option<String> {
    wire::fits(name, &params.to_string()).err().map(|error| {
        assert_eq!((error.code.raw(), error.details.reason), ("INVALID_REQUEST", Reason::BadRequest));
        error.message.to_string()
    })
}

#[test]
fn unknown_fields_are_refused_by_name() {
    for name in method::ALL {
        let mut params = whole(name);
        assert_eq!(said(name, &params), None, "{name}");
        params["unheardOf"] = json!(1);
        let message = said(name, &params).unwrap_or_else(|| panic!("{name} takes any field"));
        assert!(
            message.starts_with(&format!("could not read parameters of {name}: ")) && message.contains("`unheardOf`"),
            "{message}"
        );
    }
    // Within too.
    let mut claim = whole(method::CLAIM);
    claim["driver"]["unheardOf"] = json!(1);
    assert!(said(method::CLAIM, &claim).unwrap().contains("driver.unheardOf: unknown field"));
    let mut relay = whole(method::RELAY);
    relay["items"][0]["unheardOf"] = json!(1);
    assert!(said(method::RELAY, &relay).unwrap().contains("items[0].unheardOf: unknown field"));
}

#[test]
fn wrong_types_are_refused_by_name() {
    for name in method::ALL {
        for (field, value) in whole(name).as_object().unwrap() {
            let mut params = whole(name);
            params[field] = if value.is_array() { json!("no list") } else { json!([[]]) };
            let message = said(name, &params).unwrap_or_else(|| panic!("{name} takes anything for {field}"));
            assert!(
                message.starts_with(&format!("could not read parameters of {name}: {field}")),
                "{field}: {message}"
            );
        }
        for no_object in [json!([]), json!("x"), json!(5)] {
            assert!(said(name, &no_object).is_some(), "{name} takes {no_object}");
        }
    }
}

#[test]
fn missing_fields_are_named() {
    let check = |name: &str, needed: &[&str]| {
        for (field, _) in whole(name).as_object().unwrap() {
            let mut params = whole(name);
            params.as_object_mut().unwrap().remove(field);
            let message = said(name, &params);
            assert_eq!(message.is_some(), needed.contains(&field.as_str()), "{name} without {field}: {message:?}");
            assert!(message.is_none_or(|m| m.contains(&format!("missing field `{field}`"))), "{name} without {field}");
        }
    };
    check(method::RIDEABLE, &[]);
    check(method::CLAIM, &["key", "driver", "secret"]);
    check(method::OPEN, &["cliSessionId", "process", "host", "state"]);
    check(method::RENEW, &["key", "fence", "secret"]);
    check(method::RELAY, &["key", "fence", "items"]);
    check(method::SAY, &["key", "fence", "id", "text"]);
    check(method::INBOX, &["key", "fence"]);
    check(method::TAKE, &["key", "fence", "prompt", "seqs"]);
    check(method::RELEASE, &["key", "fence"]);
    check(method::COPY, &["key", "fence"]);
    check(method::PULL, &["key", "fence", "from"]);
    check(method::PUSH, &["key", "fence", "from", "beforeSha256", "total", "at", "data"]);
    check(method::TAKE_BACK, &["key", "by"]);
    check(method::ADOPT, &["key", "cliSessionId", "driver"]);
    check(method::CHECK, &[]);
    check(method::STATUS, &[]);
    check(method::CONFIG, &[]);
}

/// What each method needs, as the plugin registers it, is what the protocol says; whatever
/// changes a thread needs more than reading.
#[test]
fn what_changes_a_thread_needs_to_write() {
    let registered = include_str!("../../../../plugins/openclaw/lib/methods.js");
    let page = include_str!("../../../../docs/protocol.md");
    let reads = ["sessions_rideable", "ride_pull", "ride_check", "ride_status", "ride_config"];
    for name in method::ALL {
        let scope = if reads.contains(&name) { "operator.read" } else { "operator.write" };
        assert!(registered.contains(&format!("{name}: \"{scope}\",")), "{name} is registered for {scope}");
        assert!(page.contains(&format!("| `{name}` | `{scope}` |")), "{name} is documented for {scope}");
    }
}
