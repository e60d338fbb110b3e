//! Who a driver is comes from the host; its name is a label.

use ride_core::audit;
use ride_core::event::{Act, Event};
use ride_core::person::Person;
use ride_core::view;
use ride_core::wire::AuditWhat;
use serde_json::{Value, json};

use super::world::World;

#[test]
fn an_identity_is_the_hosts_own_word() {
    let check = |given: Value, identity: Option<&str>| {
        let person: Person = serde_json::from_value(given).unwrap();
        assert_eq!(person.identity().as_deref(), identity);
    };
    check(json!({ "user": "ada@example.org", "profile": "p1", "device": "d1" }), Some("user:ada@example.org"));
    check(json!({ "profile": "p1", "device": "d1" }), Some("profile:p1"));
    check(json!({ "device": "d1", "owner": true }), Some("device:d1"));
    check(json!({ "owner": true }), Some("owner"));
    check(json!({ "name": "ada", "identity": "user:eve" }), None);
    check(json!({ "user": "a\u{1b}[2J\u{202e}b" }), Some("user:a[2Jb"));
}

// Rule LEASE-21.
#[test]
fn two_drivers_of_one_name_are_told_apart() {
    let mut w = World::new();
    w.identity = Some("user:ada@example.org".into());
    w.claim("ada", 500);
    w.settle();
    let holder = view::holder(&w.t, w.now, &w.rules).unwrap();
    assert_eq!(
        (holder.name.raw(), holder.identity.as_ref().map(|identity| identity.raw())),
        ("ada", Some("user:ada@example.org"))
    );
    w.says(1, "hello");
    assert!(sent(&mut w)[0].starts_with("⇄ ada@laptop (user ada@example.org) rides this thread"));

    // Somebody else who calls itself the same, and does not have its secret.
    w.t.lease_mut().unwrap().secret_sha256 = "of another".into();
    w.identity = Some(format!("device:{}", "1c32".repeat(16)));
    let before = w.t.clone();
    w.steal("ada", 601, 11);
    let told = sent(&mut w);
    assert!(
        told[0] == "⇄ ada@laptop (device 1c321c321c32) takes this thread over from ada@laptop (user ada@example.org).",
        "{told:?}"
    );
    let journal: Vec<&str> = w.t.journal.iter().map(|line| line.what.as_str()).collect();
    assert!(journal.iter().any(|line| line.contains("by ada@laptop (device 1c321c321c32)")), "{journal:?}");
    let back = Event::TakeBack { by: "Tess (user tess)".into(), accept_broken: true };
    let ridden = w.t.clone();
    w.does(back.clone());
    assert!(
        sent(&mut w)
            .iter()
            .any(|text| text.contains("Tess (user tess) takes this thread back from ada@laptop (device"))
    );
    let line = audit::line(&ridden, &w.t, &back, w.now).unwrap();
    assert_eq!((line.what, line.by.as_str()), (AuditWhat::TakeBack, "Tess (user tess)"));
    assert!(line.from.is_some_and(|from| from.contains("(device 1c321c321c32)")));
    // Asked again, it changes nothing and makes no line.
    assert_eq!(audit::line(&before, &before, &back, w.now), None);
}

/// What the thread is told.
fn sent(w: &mut World) -> Vec<String> {
    w.settle()
        .into_iter()
        .filter_map(|act| if let Act::Send { item, .. } = act { Some(item.text) } else { None })
        .collect()
}
