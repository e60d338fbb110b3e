//! Who may ride what.

use ride_core::host::{Entry, HostEntry};
use ride_core::person::{Allow, Person, like};
use serde_json::{Value, json};

const KEY: &str = "agent:main:telegram:group:-1002:topic:42";

fn entry(given: Value) -> Entry {
    let mut fields = json!({ "delivery": { "context": { "channel": "telegram", "to": "telegram:-1002" } } });
    fields.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
    serde_json::from_value::<HostEntry>(json!({ "key": KEY, "entry": fields })).unwrap().into()
}

fn person(given: Value) -> Person {
    serde_json::from_value(given).unwrap()
}

// Rule GATE-6.
#[test]
fn what_the_host_lets_a_person_do() {
    let by = |id: &str| json!({ "type": "human", "source": "profile", "id": id });
    let check = |who: Value, given: Value, sees: bool, rides: bool| {
        let (who, entry) = (person(who), entry(given));
        let may = who.may_ride(&entry, &Allow(None));
        assert_eq!((who.sees(&entry), may.is_ok()), (sees, rides), "{who:?} and {entry:?}: {may:?}");
    };
    let (ada, nobody, admin) = (json!({ "user": "ada", "profile": "p1" }), json!({ "device": "d1" }), json!({ "user": "eve", "profile": "p9", "admin": true }));
    for visibility in ["shared", "read-only", "suggest", "draft", "of a later host"] {
        let mine = json!({ "visibility": visibility, "createdActor": by("p1") });
        let theirs = json!({ "visibility": visibility, "createdActor": by("p2") });
        check(ada.clone(), mine, true, true);
        check(ada.clone(), theirs.clone(), visibility != "draft", visibility == "shared");
        // The gateway's own token, and an admin.
        check(nobody.clone(), theirs.clone(), true, true);
        check(admin.clone(), theirs, true, true);
    }
    check(ada.clone(), json!({}), true, true);
    check(ada.clone(), json!({ "incognito": true }), false, false);
    // A channel's person is no profile, whatever the id.
    check(ada, json!({ "visibility": "draft", "createdActor": { "type": "human", "source": "channel", "id": "p1" } }), false, false);
    let roles = json!({ "user": "ada", "profile": "p1", "roles": true });
    check(roles.clone(), json!({}), true, false);
    check(roles, json!({ "createdActor": by("p1") }), true, true);
    check(json!({ "roles": true }), json!({}), true, true);
}

// Rule GATE-6.
#[test]
fn ride_allow_narrows() {
    let check = |allow: Value, who: Value, expected: Result<(), &str>| {
        let allow: Allow = serde_json::from_value(allow).unwrap();
        assert_eq!(person(who).may_ride(&entry(json!({})), &allow), expected.map_err(str::to_owned), "{allow:?}");
    };
    let (ada, nobody) = (json!({ "user": "ada@example.org", "device": "d1" }), json!({}));
    check(Value::Null, ada.clone(), Ok(()));
    check(json!([]), ada.clone(), Err("no rule of rideAllow has the thread"));
    check(json!([{}]), nobody.clone(), Ok(()));
    check(json!([{ "threads": ["agent:main:telegram:*"] }]), nobody.clone(), Ok(()));
    check(json!([{ "threads": ["agent:work:*"] }]), ada.clone(), Err("no rule of rideAllow has the thread"));
    check(json!([{ "channels": ["telegram"] }]), ada.clone(), Ok(()));
    check(json!([{ "channels": ["slack"] }]), ada.clone(), Err("no rule of rideAllow has the thread"));
    check(json!([{ "people": ["user:*@example.org"] }]), ada.clone(), Ok(()));
    check(json!([{ "people": ["device:d1"] }]), ada.clone(), Ok(()));
    check(
        json!([{ "channels": ["slack"] }, { "people": ["device:d2"] }]),
        ada,
        Err("rule 2 of rideAllow has the thread, but not user:ada@example.org, device:d1"),
    );
    check(json!([{ "people": ["*"] }]), nobody, Err("rule 1 of rideAllow has the thread, but not a connection without device or user"));
}

#[test]
fn patterns() {
    let check = |pattern: &str, text: &str, expected: bool| assert_eq!(like(pattern, text), expected, "{pattern} {text}");
    check("a:b", "a:b", true);
    check("a:b", "a:bc", false);
    check("*", "", true);
    check("a*", "abc", true);
    check("*c", "abc", true);
    check("a*c", "abbc", true);
    check("a*b*c", "a-b-b-c", true);
    check("a*b*c", "a-c", false);
    check("ab*ba", "aba", false);
    check("", "a", false);
}
