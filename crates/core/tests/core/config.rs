//! The configuration: every key, and what is said of a wrong value.

use ride_core::config::{Config, KEYS};
use serde_json::{Value, json};

#[test]
fn wrong_values_are_refused_by_key_value_and_what_is_allowed() {
    let check = |given: Value, said: &str| assert_eq!(Config::salvage(&given.to_string()).1.unwrap(), said, "{given}");
    check(
        json!([]),
        "the plugin's config is []; allowed is an object of lockBackend, lockDir, rideTtlMinutes, relayToChannel, rideAllow, enableRemoteControl, remoteControlSpawn, syncMirrorDir",
    );
    check(
        json!({ "lockdir": "/x" }),
        "lockdir is no key of the plugin's config; allowed are lockBackend, lockDir, rideTtlMinutes, relayToChannel, rideAllow, enableRemoteControl, remoteControlSpawn, syncMirrorDir",
    );
    check(json!({ "lockBackend": "etcd" }), "lockBackend is \"etcd\"; allowed are \"file\" and \"none\"");
    check(
        json!({ "lockDir": "locks" }),
        "lockDir is \"locks\"; allowed is an absolute path, or one that begins with ~/",
    );
    check(json!({ "lockDir": 5 }), "lockDir is 5; allowed is an absolute path, or one that begins with ~/");
    for wrong in [json!(0), json!(1441), json!(1.5), json!("30"), json!(-1), json!(null)] {
        check(
            json!({ "rideTtlMinutes": wrong }),
            &format!("rideTtlMinutes is {wrong}; allowed are whole numbers from 1 to 1440"),
        );
    }
    check(json!({ "relayToChannel": "yes" }), "relayToChannel is \"yes\"; allowed are true and false");
    check(json!({ "enableRemoteControl": 1 }), "enableRemoteControl is 1; allowed are true and false");
    check(
        json!({ "remoteControlSpawn": "tab" }),
        "remoteControlSpawn is \"tab\"; allowed are \"same-dir\", \"worktree\" and \"session\"",
    );
    check(
        json!({ "syncMirrorDir": "../x" }),
        "syncMirrorDir is \"../x\"; allowed is an absolute path, or one that begins with ~/",
    );
    let rules = "allowed is a list of at most 64 rules {\"threads\": [patterns], \"channels\": [names], \"people\": [patterns], \"projects\": [patterns]}";
    check(
        json!({ "rideAllow": [{ "who": ["*"] }] }),
        &format!(
            "rideAllow is [{{\"who\":[\"*\"]}}]; {rules}: unknown field `who`, expected one of `threads`, `channels`, `people`, `projects`"
        ),
    );
    check(
        json!({ "rideAllow": [{ "threads": [""] }] }),
        &format!(
            "rideAllow is [{{\"threads\":[\"\"]}}]; {rules}, each with at most 64 patterns of 1 to 256 characters"
        ),
    );
}

#[test]
fn every_key_has_a_default_and_is_kept() {
    let default = Config::salvage("{}").0;
    assert_eq!(default, Config::default());
    let given = json!({
        "lockBackend": "none", "lockDir": "/x", "rideTtlMinutes": 5, "relayToChannel": false,
        "rideAllow": [{ "channels": ["telegram"], "projects": ["/srv/app"] }], "enableRemoteControl": true, "remoteControlSpawn": "worktree", "syncMirrorDir": "~/m",
    });
    let kept = serde_json::to_value(Config::salvage(&given.to_string()).0).unwrap();
    assert_eq!(kept, given);
    let mut keys: Vec<_> = given.as_object().unwrap().keys().map(String::as_str).collect();
    let mut known = KEYS.to_vec();
    keys.sort_unstable();
    known.sort_unstable();
    assert_eq!(keys, known);
}

/// The host checks the manifest's schema first: it must know the same keys and defaults.
#[test]
fn the_manifest_says_the_same() {
    let manifest: Value =
        serde_json::from_str(include_str!("../../../../plugins/openclaw/openclaw.plugin.json")).unwrap();
    let schema = &manifest["configSchema"];
    assert_eq!(schema["additionalProperties"], false);
    let defaults = serde_json::to_value(Config::default()).unwrap();
    for key in KEYS {
        assert!(schema["properties"][key]["description"].is_string(), "{key} in the manifest");
        assert_eq!(schema["properties"][key]["default"], defaults[key], "default of {key}");
    }
    assert_eq!(schema["properties"].as_object().unwrap().len(), KEYS.len());
}
