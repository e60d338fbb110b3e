//! A second writer beside the thread: what it left is named at the claim, and the person chooses.

use std::fs;
use std::path::PathBuf;

use ride_store::claude::process;
use ride_store::clock;
use serde_json::{Value, json};
use uuid::Uuid;

use super::command::{DEADLINE, Home, Machine, grant, granting, row, until_accepted};
use super::standin::ok;

/// The last line of the branch that somebody typed beside the agent.
const LEAF: Uuid = Uuid::from_u128(0xab << 120);

fn line(id: Uuid, parent: Option<Uuid>, kind: &str) -> String {
    format!(
        "{}\n",
        json!({"type": kind, "uuid": id, "parentUuid": parent, "sessionId": Uuid::from_u128(7), "message": {"role": kind, "content": "text"}})
    )
}

/// A conversation that went on from one line in two ways; the agent's is active.
fn forked() -> String {
    let [first, agent] = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let hint = format!("{}\n", json!({"type": "last-prompt", "leafUuid": agent}));
    line(first, None, "user") + &line(agent, Some(first), "assistant") + &line(LEAF, Some(first), "user") + &hint
}

/// A machine with the gateway on it and a grant that tells of the branch.
async fn machine() -> (Machine, PathBuf) {
    let home = Home::default();
    let learn = home.clone();
    let machine = Machine::start(move |request: &Value| match request["method"].as_str() {
        Some("ride_claim") => {
            let mut granted = grant(&home.get());
            granted["beside"] = json!([{"leaf": LEAF, "prompts": 2, "lastPrompt": "what about\u{1b}[2J lunch?"}]);
            ok(request, granted)
        }
        Some("ride_config") => {
            let dir = home.get().join(".claude");
            let condition = json!({"machine": clock::machine(), "namespace": process::namespace(), "uid": 0, "claudeDir": dir, "claudeDirFound": true, "nowMs": 1});
            ok(request, json!({"condition": condition}))
        }
        Some("ride_release") => until_accepted(request),
        _ => granting(request, &home.get()),
    })
    .await;
    learn.is(&machine);
    let path = machine.home.path().join("t.jsonl");
    fs::write(&path, forked()).unwrap();
    let project = machine.home.path().join(".claude/projects/p");
    fs::create_dir_all(&project).unwrap();
    fs::copy(&path, project.join(format!("{}.jsonl", Uuid::from_u128(7)))).unwrap();
    (machine, path)
}

#[tokio::test]
async fn a_branch_beside_the_conversation_is_named_before_it_is_ridden_without() {
    let (machine, _) = machine().await;
    let named = "2 prompts were typed into the conversation of Deploys outside of the thread and its rides";
    let mut terminal = machine.terminal(&["deploys"], 40, 400);
    let screen = terminal.wait_for_text(DEADLINE, "Ride Deploys without them? [y/N]").await.unwrap();
    assert!(screen.contains(named) && screen.contains("the last: “what about[2J lunch?”"), "{screen}");
    let keep = format!("repair deploys --keep {LEAF}");
    assert!(screen.contains("to go on with them instead: ride --url ") && screen.contains(&keep), "{screen}");
    terminal.send(b"n\r").unwrap();
    assert_eq!(terminal.wait_exit(DEADLINE).await.unwrap(), 130);
    assert_eq!((machine.started(), machine.asked("ride_release").len()), (false, 1), "it is given back");

    let mut terminal = machine.terminal(&["deploys"], 40, 400);
    terminal.wait_for_text(DEADLINE, "[y/N]").await.unwrap();
    terminal.send(b"y\r").unwrap();
    terminal.wait_exit(DEADLINE).await.unwrap();
    assert!(machine.started());

    // Not asked, and said all the same.
    fs::remove_file(machine.home.path().join("started")).unwrap();
    let mut terminal = machine.terminal(&["--yes", "deploys"], 40, 400);
    terminal.wait_exit(DEADLINE).await.unwrap();
    let screen = terminal.wait_for_text(DEADLINE, named).await.unwrap();
    assert!(machine.started() && !screen.contains("[y/N]"), "{screen}");
}

#[tokio::test]
async fn a_branch_that_is_kept_becomes_the_active_one() {
    let (machine, path) = machine().await;
    let (code, said) = machine.run(&["repair", "deploys", "--keep", "AB00"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.ends_with(
            "Deploys goes on with the branch that you chose; the other one stays in the transcript beside it\n"
        ),
        "{said}"
    );
    let now = fs::read_to_string(&path).unwrap();
    let added = now.strip_prefix(&forked()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(added).unwrap()["leafUuid"], json!(LEAF));
    let releases: Vec<bool> =
        machine.asked("ride_release").iter().map(|asked| asked["acceptBrokenChain"] == true).collect();
    assert_eq!(releases, [false, true], "the leaf at claim is not its ancestor, which is what the person decided");
    assert_eq!(machine.record(), None);
}

#[tokio::test]
async fn nothing_is_claimed_where_there_is_nothing_to_repair() {
    let (one, _) = machine().await;
    for keep in ["abc", "00000000-0000-0000-0000-000000000002"] {
        let said = one.run(&["repair", "--keep", keep, "deploys"]).await;
        assert_eq!(
            said,
            (5, format!("error: there is nothing to repair in Deploys: no branch of it ends at {keep}\n"))
        );
    }
    let without = || {
        let mut row = row();
        row["cliSessionId"] = Value::Null;
        json!([row])
    };
    let other = Machine::listing(without, |request: &Value| ok(request, json!({}))).await;
    let said = other.run(&["repair", "--keep", "abc", "deploys"]).await;
    assert_eq!(said, (5, "error: there is nothing to repair in Deploys: it has no Claude session\n".to_owned()));
    for machine in [one, other] {
        assert_eq!(machine.asked("ride_claim"), Vec::<Value>::new());
    }
}
