//! `ride sync` on a mirror of this machine: the real folder, the real command.

use std::fs;
use std::path::Path;

use ride_store::claude::ClaudeDir;
use ride_store::clock;
use ride_store::mirror::{MirrorDir, Source};
use serde_json::{Value, json};
use uuid::Uuid;

use super::command::Machine;
use super::standin::ok;

const PLANS: Uuid = Uuid::from_u128(0x1f3c_4444_8888_4888_8888_1111_2222_3333);
const OTHER: Uuid = Uuid::from_u128(0x2f3c_4444_8888_4888_8888_1111_2222_3333);

/// Mirrors one turn of a session whose thread has that title.
fn mirrored(home: &Path, session: Uuid, title: &str) {
    let (project, config) = (home.join("project"), home.join("gateway/.claude"));
    fs::create_dir_all(&project).unwrap();
    let transcript = ClaudeDir::at(&config).project(&project).join(format!("{session}.jsonl"));
    fs::create_dir_all(transcript.parent().unwrap()).unwrap();
    let turn = concat!(
        r#"{"parentUuid":null,"type":"user","uuid":"00000000-0000-4000-8000-000000000001","promptSource":"typed","message":{"role":"user","content":"hello"}}"#,
        "\n",
        r#"{"parentUuid":"00000000-0000-4000-8000-000000000001","type":"assistant","uuid":"00000000-0000-4000-8000-000000000002","message":{"role":"assistant","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}]}}"#,
        "\n",
    );
    fs::write(&transcript, turn).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let source = Source {
        session,
        transcript,
        thread: format!("agent:main:{title}"),
        title: title.into(),
        cwd: text(&project),
        config_dir: text(&config),
    };
    MirrorDir::open(&home.join("mirror")).unwrap().mirror(&source, clock::now().wall_ms).unwrap();
}

fn condition(dir: &Path, machine: &str) -> Value {
    json!({ "condition": { "machine": machine, "uid": clock::user(), "claudeDir": "/c", "claudeDirFound": true, "nowMs": 1,
        "mirror": { "dir": dir, "threads": 1 } } })
}

#[tokio::test]
async fn a_mirror_is_used_without_a_gateway() {
    let machine = Machine::listing(|| json!([]), |request: &Value| ok(request, json!({}))).await;
    let home = machine.home.path().to_owned();
    let dir = home.join("mirror");
    let sync = async |args: &[&str]| {
        let place = ["--dir", dir.to_str().unwrap()];
        machine.output(&[&["sync"], args, &place].concat()).await
    };
    let (code, _, said) = sync(&["status"]).await;
    assert_eq!(
        (code, said),
        (
            3,
            format!(
                "error: there is no mirror at {}\nhint: the gateway makes it with the first turn it mirrors\n",
                dir.display()
            )
        )
    );
    mirrored(&home, PLANS, "Forum › Plans");
    mirrored(&home, OTHER, "Forum › Other");
    let (code, listed, said) = sync(&["status", "--verify"]).await;
    assert_eq!((code, said.as_str()), (0, ""));
    assert_eq!(listed.lines().filter(|line| line.contains("whole, 2 lines")).count(), 2, "{listed}");
    assert!(listed.contains(&format!("    Forum › Plans, in {}\n", home.join("project").display())), "{listed}");

    let (code, _, said) = sync(&["restore", "forum"]).await;
    assert_eq!(code, 3);
    assert!(
        said.starts_with("error: 2 mirrored Claude sessions fit \"forum\"\nhint: ")
            && said.contains(&OTHER.to_string()),
        "{said}"
    );
    assert_eq!(sync(&["restore", "nothing"]).await.0, 3);
    let (code, _, said) = sync(&["restore", "1f3c", "--into", "/no/such/folder"]).await;
    assert_eq!(
        (code, said.as_str()),
        (
            10,
            "error: the project folder /no/such/folder is not on this machine\nhint: name the folder to resume it in: --into PROJECT_DIR\n"
        )
    );
    let (code, out, said) = sync(&["restore", "PLANS", "--json"]).await;
    let restored: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!(
        (code, restored["state"].as_str(), restored["session"].as_str()),
        (0, Some("new"), Some(PLANS.to_string().as_str()))
    );
    let there = restored["transcript"].as_str().unwrap();
    assert!(Path::new(there).starts_with(home.join(".claude/projects")));
    let (code, _, said) = sync(&["restore", "1f3c"]).await;
    assert_eq!(code, 0);
    assert!(
        said.starts_with("Forum › Plans is here already, as it is mirrored\nresume it:  cd ")
            && said.ends_with(&format!("claude --resume {PLANS}\n")),
        "{said}"
    );
    fs::write(there, "{}\n").unwrap();
    let (code, _, said) = sync(&["restore", "1f3c", "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["error"]["kind"]), (10, &json!("transcript")));
    assert_eq!(fs::read_to_string(there).unwrap(), "{}\n");

    assert_eq!(sync(&["prune", "--older-than", "0"]).await.0, 2);
    assert_eq!(sync(&["prune", "--older-than", "1"]).await, (0, String::new(), "0 B went\n".into()));
    let about = dir.join(PLANS.to_string()).join("about.json");
    let mut old: Value = serde_json::from_slice(&fs::read(&about).unwrap()).unwrap();
    old["turnMs"] = json!(1);
    fs::write(&about, old.to_string()).unwrap();
    let (code, gone, said) = sync(&["prune", "--older-than", "1", "--dry-run"]).await;
    assert_eq!(code, 0);
    assert!(
        gone.starts_with(&PLANS.to_string()) && gone.ends_with("Forum › Plans\n") && said.ends_with("B would go\n"),
        "{gone}{said}"
    );
    assert_eq!(sync(&["prune", "--older-than", "1"]).await.0, 0);
    let (_, listed, _) = sync(&["status", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed["sessions"].as_array().unwrap().iter().map(|row| row["session"].as_str().unwrap()).collect::<Vec<_>>(),
        [OTHER.to_string()]
    );

    fs::write(dir.join(OTHER.to_string()).join("transcript.jsonl"), "{}\n").unwrap();
    let (code, listed, said) = sync(&["status"]).await;
    assert_eq!((code, said.as_str()), (10, "error: 1 mirrored Claude session is not whole\n"));
    assert!(listed.contains("transcript.jsonl is not what was written"), "{listed}");
}

#[tokio::test]
async fn the_gateway_says_where_its_mirror_is() {
    let check = async |told: fn(&Path) -> Value, expected: (i32, &str)| {
        let home = tempfile::tempdir().unwrap();
        mirrored(home.path(), PLANS, "Forum › Plans");
        let answer = told(&home.path().join("mirror"));
        let machine = Machine::listing(|| json!([]), move |request: &Value| ok(request, answer.clone())).await;
        let (code, out, said) = machine.output(&["sync", "status"]).await;
        assert_eq!(code, expected.0, "{out}{said}");
        assert!(format!("{out}{said}").contains(expected.1), "{out}{said}");
    };
    check(|dir| condition(dir, &clock::machine()), (0, "Forum › Plans")).await;
    check(|dir| condition(dir, "elsewhere"), (13, "the gateway's mirror is on its own machine")).await;
    check(|_| json!({}), (13, "syncMirrorDir is not set")).await;
}
