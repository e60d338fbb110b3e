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
    let (ada, nobody, admin) = (
        json!({ "user": "ada", "profile": "p1" }),
        json!({ "device": "d1" }),
        json!({ "user": "eve", "profile": "p9", "admin": true }),
    );
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
    check(
        ada,
        json!({ "visibility": "draft", "createdActor": { "type": "human", "source": "channel", "id": "p1" } }),
        false,
        false,
    );
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
    check(
        json!([{ "people": ["*"] }]),
        nobody,
        Err("rule 1 of rideAllow has the thread, but not a connection without device or user"),
    );
}

// Rule GATE-7.
#[test]
fn who_may_adopt_a_session_of_which_project() {
    let workspace = "/home/bot/workspace";
    let check = |allow: Value, who: &Person, project: &str, may: bool| {
        let allow: Allow = serde_json::from_value(allow).unwrap();
        let said = who.may_adopt(&entry(json!({})), &allow, project, Some(workspace));
        assert_eq!(said.is_ok(), may, "{allow:?} {who:?} {project}: {said:?}");
    };
    let ada = person(json!({ "user": "ada", "device": "d1" }));
    // A paired device of a host that knows no people is not its owner.
    let device = person(json!({ "device": "d2" }));
    for project in [workspace, "/home/bot/workspace/app", "/srv/app", "/home/bot/secret", "/home/bot/workspace-2", "/"]
    {
        for who in [json!({ "admin": true, "user": "ada" }), json!({ "owner": true })] {
            check(Value::Null, &person(who), project, true);
        }
        let own = Person { own_user: true, ..device.clone() };
        check(json!([]), &own, project, true);
        let inside = project == workspace || project.starts_with("/home/bot/workspace/");
        for limited in [&ada, &device, &Person::default()] {
            check(Value::Null, limited, project, inside);
            // A rule that lets them ride lets them adopt nothing more.
            check(json!([{}]), limited, project, inside);
        }
        let named = json!([{ "people": ["user:ada"], "projects": ["/srv/app", "/opt/*/x"] }]);
        check(named.clone(), &ada, project, inside || project == "/srv/app");
        check(named, &device, project, inside);
        let elsewhere = json!([{ "threads": ["agent:work:*"], "projects": ["*"] }]);
        check(elsewhere, &ada, project, inside);
    }
    let rule = json!([{ "projects": ["/srv/app/", "/opt/*/x"] }]);
    for (project, may) in
        [("/srv/app/sub", true), ("/srv/apple", false), ("/opt/a/x", true), ("/opt/a/x/y", true), ("/opt/x", false)]
    {
        check(rule.clone(), &ada, project, may);
    }
    // The shell cannot say that it was proven.
    assert!(!person(json!({ "own_user": true, "ownUser": true })).own_user);
    let nowhere = ada.may_adopt(&entry(json!({})), &Allow(None), "/srv/app", None);
    assert_eq!(
        nowhere.unwrap_err(),
        "the Claude session is of the project /srv/app, which is neither in the agent's workspace nor named by `projects` in a rule of rideAllow"
    );
}

#[test]
fn patterns() {
    let check =
        |pattern: &str, text: &str, expected: bool| assert_eq!(like(pattern, text), expected, "{pattern} {text}");
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
