//! The mirror against the disk: what counts after every step, and after every step a crash left out.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::claude::ClaudeDir;

const ID: Uuid = Uuid::from_u128(0x1111_4444_8888_4888_8888_1111_2222_3333);

/// A Claude configuration folder with one session, and a mirror.
struct World {
    dir: tempfile::TempDir,
    mirror: MirrorDir,
    source: Source,
    claude: ClaudeDir,
    project: PathBuf,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        fs::create_dir(&project).unwrap();
        let claude = ClaudeDir::at(dir.path().join(".claude"));
        let transcript = claude.project(&project).join(format!("{ID}.jsonl"));
        fs::create_dir_all(transcript.parent().unwrap()).unwrap();
        let mirror = MirrorDir::open(&dir.path().join("mirror")).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let source = Source {
            session: ID,
            thread: "agent:main:telegram:group:-1:topic:42".into(),
            title: "Forum › Plans".into(),
            cwd: text(&project),
            config_dir: text(claude.path()),
            transcript,
        };
        World { dir, mirror, source, claude, project }
    }

    fn write(&self, text: &[u8]) {
        fs::write(&self.source.transcript, text).unwrap();
    }

    fn mirror(&self) -> Result<Mirrored, MirrorError> {
        loop {
            match self.mirror.mirror(&self.source, 7) {
                // A process that another test starts has our descriptors until it is another program.
                Ok(Mirrored::Busy) => std::thread::yield_now(),
                other => return other,
            }
        }
    }

    fn kept(&self) -> Kept {
        self.mirror.all().unwrap().pop().unwrap().unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("mirror").join(ID.to_string())
    }

    /// What counts, once it was shown to be whole.
    fn counts(&self) -> Vec<u8> {
        let kept = self.kept();
        kept.verify().unwrap();
        let mut text = fs::read(self.folder().join(&kept.about.transcript)).unwrap();
        text.truncate(kept.about.size as usize);
        text
    }
}

fn id(n: usize) -> Uuid {
    Uuid::from_u128(0x4000_8000_0000_0000_0000 + n as u128)
}

/// The `n`th turn of a conversation, the lines as the host writes them.
fn turn(n: usize) -> [String; 4] {
    let parent = if n == 0 { "null".into() } else { format!("\"{}\"", id(2 * n - 1)) };
    let (prompt, answer) = (id(2 * n), id(2 * n + 1));
    [
        format!(
            r#"{{"parentUuid":{parent},"type":"user","uuid":"{prompt}","promptSource":"typed","message":{{"role":"user","content":"turn {n}"}}}}"#
        ),
        format!(r#"{{"type":"api-request-body","n":{n}}}"#),
        format!(
            r#"{{"parentUuid":"{prompt}","type":"assistant","uuid":"{answer}","message":{{"role":"assistant","stop_reason":"end_turn","content":[{{"type":"text","text":"answer {n}"}}]}}}}"#
        ),
        format!(r#"{{"type":"last-prompt","lastPrompt":"turn {n}","leafUuid":"{answer}"}}"#),
    ]
}

fn turns(from: usize, to: usize) -> Vec<u8> {
    (from..to).flat_map(turn).flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

/// How much of it is finished.
fn finished(text: &[u8]) -> usize {
    let mut finished = ride_core::transcript::Finished::from(0);
    finished.feed(text);
    finished.end() as usize
}

#[test]
fn every_look_mirrors_what_is_finished_by_then() {
    let all = turns(0, 3);
    // Two looks at any lengths of a file that grows.
    for first in (0..=all.len()).step_by(7) {
        let w = World::new();
        w.write(&all[..first]);
        w.mirror().unwrap();
        if finished(&all[..first]) > 0 {
            assert_eq!(w.counts(), all[..finished(&all[..first])]);
        } else {
            assert!(!w.folder().exists(), "nothing is made before there is something");
        }
        w.write(&all);
        let added = all.len() - finished(&all[..first]);
        assert_eq!(w.mirror().unwrap(), if added == 0 { Mirrored::Nothing } else { Mirrored::Added(added as u64) });
        assert_eq!(w.counts(), all);
        assert_eq!(w.mirror().unwrap(), Mirrored::Nothing);
        let about = w.kept().about;
        assert_eq!(
            (about.leaf, about.transcript.as_str(), about.title.as_str()),
            (Some(id(5)), "transcript.jsonl", "Forum › Plans")
        );
    }
}

#[test]
fn a_crash_at_any_byte_of_an_append_changes_nothing_that_counts() {
    let (before, all) = (turns(0, 2), turns(0, 3));
    let w = World::new();
    w.write(&before);
    w.mirror().unwrap();
    let about = fs::read(w.folder().join(ABOUT)).unwrap();
    let file = w.folder().join("transcript.jsonl");
    w.write(&all);
    for cut in before.len()..=all.len() {
        // So much was appended, and `about.json` not replaced; or its replacement not renamed.
        fs::write(&file, &all[..cut]).unwrap();
        fs::write(w.folder().join(ABOUT), &about).unwrap();
        fs::write(w.folder().join("about.json.new"), &about[..cut % about.len()]).unwrap();
        assert_eq!(w.counts(), before, "cut at {cut}");
        w.mirror().unwrap();
        assert_eq!(w.counts(), all, "after a cut at {cut}");
        assert_eq!(fs::read(&file).unwrap(), all);
    }
    // Something else behind what counts is no part of it either.
    fs::write(&file, [&before[..], b"{\"torn"].concat()).unwrap();
    fs::write(w.folder().join(ABOUT), &about).unwrap();
    assert_eq!(w.counts(), before);
    w.mirror().unwrap();
    assert_eq!(fs::read(&file).unwrap(), all);
}

#[test]
fn a_rewritten_source_begins_a_file_of_its_own_at_any_crash() {
    let before = turns(0, 2);
    let begun = |w: &World| {
        w.write(&before);
        w.mirror().unwrap();
    };
    // Rewritten in place, and by another file of the same length and end.
    let w = World::new();
    begun(&w);
    let rooted = turns(0, 4)[finished(&turns(0, 1))..].to_vec();
    let changed = String::from_utf8(rooted).unwrap().replacen(&format!("\"{}\"", id(1)), "null", 1).into_bytes();
    w.write(&changed);
    w.mirror().unwrap();
    assert_eq!(w.counts(), changed);
    assert_eq!(fs::read(w.folder().join("transcript.jsonl")).unwrap(), before, "the former one stays");
    assert_eq!(w.kept().about.transcript, "transcript.2.jsonl");
    // A crash while the new one is written: `about.json` is the one before.
    for cut in (0..changed.len()).step_by(31) {
        let w = World::new();
        begun(&w);
        fs::write(w.folder().join("transcript.2.jsonl"), &changed[..cut]).unwrap();
        w.write(&changed);
        assert_eq!(w.counts(), before);
        w.mirror().unwrap();
        assert_eq!(w.counts(), changed);
    }
    // Another file with the same last 64 KiB is found by comparing all of it.
    let w = World::new();
    let long = |first: &str| [first.as_bytes(), &turns(0, 400)[..]].concat();
    w.write(&long("{\"type\":\"mode\",\"mode\":\"a\"}\n"));
    w.mirror().unwrap();
    let beside = w.source.transcript.with_extension("other");
    fs::write(&beside, [long("{\"type\":\"mode\",\"mode\":\"b\"}\n"), turns(400, 401)].concat()).unwrap();
    fs::rename(&beside, &w.source.transcript).unwrap();
    w.mirror().unwrap();
    assert_eq!(w.kept().about.transcript, "transcript.2.jsonl");
    assert!(w.counts().starts_with(b"{\"type\":\"mode\",\"mode\":\"b\"}"));
}

#[test]
fn former_transcripts_are_bounded() {
    let w = World::new();
    for n in 0..8_usize {
        let odd = format!("{{\"type\":\"mode\",\"mode\":\"{n}\"}}\n");
        w.write(&[odd.as_bytes(), &turns(0, 1)].concat());
        w.mirror().unwrap();
        w.write(&turns(0, 1));
        w.mirror().unwrap();
    }
    let names = |w: &World| {
        fs::read_dir(w.folder())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("transcript"))
            .count()
    };
    assert_eq!(names(&w), 1 + ride_core::mirror::FORMER);
    assert_eq!(w.counts(), turns(0, 1));
    let pruned = w.mirror.prune(u64::MAX >> 1, 9, true).unwrap();
    assert_eq!((pruned.len(), names(&w)), (1, 4), "a dry run only says so");
    // Of a session that stays, the former ones that are older go.
    let old = fs::File::options().write(true).open(w.folder().join("transcript.13.jsonl")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    let pruned = w.mirror.prune(1, 9, false).unwrap();
    assert_eq!(pruned.iter().map(|p| p.gone).collect::<Vec<_>>(), [Gone::Former(1)]);
    assert_eq!(names(&w), 3);
}

#[test]
fn a_copy_that_somebody_changed_is_kept_and_made_again() {
    let w = World::new();
    w.write(&turns(0, 2));
    w.mirror().unwrap();
    let file = w.folder().join("transcript.jsonl");
    let mut text = fs::read(&file).unwrap();
    let last = text.len() - 3;
    text[last] ^= 1;
    fs::write(&file, &text).unwrap();
    let why = w.kept().whole().unwrap_err().to_string();
    assert!(why.contains("transcript.jsonl is not what was written"), "{why}");
    w.mirror().unwrap();
    assert_eq!((w.counts(), fs::read(&file).unwrap()), (turns(0, 2), text));
    fs::remove_file(w.folder().join("transcript.2.jsonl")).unwrap();
    assert!(w.kept().whole().unwrap_err().to_string().contains("transcript.2.jsonl is missing"));
    // An `about.json` that cannot be read counts for nothing; another version's is left alone.
    fs::write(w.folder().join(ABOUT), "{").unwrap();
    assert!(w.mirror.all().unwrap()[0].as_ref().unwrap_err().to_string().contains("about.json: "));
    w.mirror().unwrap();
    assert_eq!(w.counts(), turns(0, 2));
    fs::write(w.folder().join(ABOUT), "{\"format\":2}").unwrap();
    assert!(matches!(w.mirror(), Err(MirrorError::Format { found: 2, .. })));
    assert_eq!(fs::read(w.folder().join(ABOUT)).unwrap(), b"{\"format\":2}");
}

#[test]
fn what_fails_leaves_what_was() {
    let w = World::new();
    w.write(&turns(0, 1));
    w.mirror().unwrap();
    w.write(&turns(0, 2));
    // Where `about.json` cannot be written.
    fs::create_dir(w.folder().join("about.json.new")).unwrap();
    let why = w.mirror().unwrap_err().to_string();
    assert!(why.contains("about.json.new"), "{why}");
    assert_eq!(w.counts(), turns(0, 1));
    fs::remove_dir(w.folder().join("about.json.new")).unwrap();
    assert!(matches!(w.mirror().unwrap(), Mirrored::Added(_)));
    assert_eq!(w.counts(), turns(0, 2));
}

#[test]
fn files_beside_a_transcript_go_along() {
    let w = World::new();
    let dir = w.source.transcript.with_extension("");
    fs::create_dir_all(dir.join("subagents")).unwrap();
    fs::create_dir_all(dir.join(".hidden")).unwrap();
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    put("subagents/agent-a.jsonl", "{\"one\":1}\n{\"torn");
    put("subagents/agent-a.meta.json", "{\"agentType\":\"x\"}");
    put(".hidden/x", "x");
    put("loose", "x");
    symlink("/etc/passwd", dir.join("subagents/agent-link.jsonl")).unwrap();
    symlink("/etc", dir.join("linked")).unwrap();
    w.write(&turns(0, 1));
    w.mirror().unwrap();
    let there = |name: &str| fs::read_to_string(w.folder().join(name)).ok();
    assert_eq!(there("subagents/agent-a.jsonl").as_deref(), Some("{\"one\":1}\n"));
    assert_eq!(there("subagents/agent-a.meta.json").as_deref(), Some("{\"agentType\":\"x\"}"));
    assert_eq!(
        w.kept().about.beside.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(),
        ["subagents/agent-a.jsonl", "subagents/agent-a.meta.json"]
    );
    assert!(
        there(".hidden/x").is_none()
            && there("loose").is_none()
            && !w.folder().join("linked").exists()
            && there("subagents/agent-link.jsonl").is_none()
    );
    // It grows with the next turn; what is gone there stays here.
    put("subagents/agent-a.jsonl", "{\"one\":1}\n{\"two\":2}\n");
    fs::remove_file(dir.join("subagents/agent-a.meta.json")).unwrap();
    w.write(&turns(0, 2));
    w.mirror().unwrap();
    assert_eq!(there("subagents/agent-a.jsonl").as_deref(), Some("{\"one\":1}\n{\"two\":2}\n"));
    assert_eq!(w.kept().about.beside.len(), 2);
    w.kept().whole().unwrap();
    // A crash after they were copied and before `about.json`: they go on from what it says.
    put("subagents/agent-a.jsonl", "{\"one\":1}\n{\"two\":2}\n{\"three\":3}\n");
    fs::copy(dir.join("subagents/agent-a.jsonl"), w.folder().join("subagents/agent-a.jsonl")).unwrap();
    w.kept().whole().unwrap();
    fs::remove_file(w.folder().join("subagents/agent-a.jsonl")).unwrap();
    assert!(w.kept().whole().unwrap_err().to_string().contains("subagents/agent-a.jsonl is missing"));
}

#[test]
fn folders_are_private_and_links_are_not_followed() {
    let w = World::new();
    w.write(&turns(0, 1));
    w.mirror().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&w.dir.path().join("mirror")), mode(&w.folder())], [0o700, 0o700]);
    assert_eq!([mode(&w.folder().join(ABOUT)), mode(&w.folder().join("transcript.jsonl"))], [0o600, 0o600]);
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let root = w.dir.path().join("mirror");
    // Its mode is the person's to choose, but for everybody's writing.
    chmod(&root, 0o750);
    assert!(MirrorDir::open(&root).is_ok() && mode(&root) == 0o750);
    chmod(&root, 0o777);
    let why = MirrorDir::open(&root).unwrap_err().to_string();
    assert!(why.ends_with("can be written into by everybody"), "{why}");
    chmod(&root, 0o700);
    let link = w.dir.path().join("link");
    symlink(&root, &link).unwrap();
    assert!(MirrorDir::open(&link).unwrap_err().to_string().contains("is a link or no folder"));
    // Below it: the session's folder, its transcript, what it is copied from.
    w.write(&turns(0, 2));
    let aside = w.dir.path().join("aside");
    fs::rename(w.folder(), &aside).unwrap();
    symlink(&aside, w.folder()).unwrap();
    assert!(w.mirror().is_err());
    fs::remove_file(w.folder()).unwrap();
    fs::rename(&aside, w.folder()).unwrap();
    let victim = w.dir.path().join("victim");
    fs::write(&victim, turns(0, 1)).unwrap();
    fs::remove_file(w.folder().join("transcript.jsonl")).unwrap();
    symlink(&victim, w.folder().join("transcript.jsonl")).unwrap();
    assert!(w.kept().whole().is_err());
    w.mirror().unwrap();
    assert_eq!(
        (fs::read(&victim).unwrap(), w.counts()),
        (turns(0, 1), turns(0, 2)),
        "what the link names is left alone"
    );
    fs::remove_file(&w.source.transcript).unwrap();
    symlink(&victim, &w.source.transcript).unwrap();
    assert!(w.mirror().unwrap_err().to_string().contains("no regular file"));
}

#[test]
fn names_in_about_json_do_not_lead_elsewhere() {
    let w = World::new();
    w.write(&turns(0, 1));
    w.mirror().unwrap();
    let about = fs::read_to_string(w.folder().join(ABOUT)).unwrap();
    let with = |from: &str, to: &str| {
        fs::write(w.folder().join(ABOUT), about.replace(from, to)).unwrap();
        w.mirror.all().unwrap().pop().unwrap().unwrap_err().to_string()
    };
    assert!(with("\"transcript.jsonl\"", "\"../../victim\"").contains("names a file that cannot be"));
    let beside = |path: &str| {
        with("\"beside\": []", &format!("\"beside\": [{{\"path\":\"{path}\",\"size\":1,\"tailSha256\":\"\"}}]"))
    };
    for path in ["../x", "a/../b", "/etc/passwd", "a/b/c", "a"] {
        assert!(beside(path).contains("names a file that cannot be"), "{path}");
    }
    assert!(with(&ID.to_string(), &Uuid::nil().to_string()).contains("it is of Claude session"));
}

#[test]
fn one_at_a_time() {
    let w = World::new();
    w.write(&turns(0, 1));
    let held = w.mirror.hold().unwrap();
    assert_eq!(w.mirror.mirror(&w.source, 7).unwrap(), Mirrored::Busy);
    drop(held);
    assert!(matches!(w.mirror().unwrap(), Mirrored::Added(_)));
}

#[test]
fn what_was_pruned_comes_back_with_its_next_turn() {
    let w = World::new();
    w.write(&turns(0, 1));
    w.mirror().unwrap();
    fs::create_dir_all(w.folder().join("subagents")).unwrap();
    fs::write(w.folder().join("subagents/x"), "x").unwrap();
    let turned = w.kept().about.turn_ms;
    assert!(w.mirror.prune(turned, 9, false).unwrap().is_empty(), "its turn is not older");
    let pruned = w.mirror.prune(turned + 1, 9, false).unwrap();
    assert_eq!(pruned.iter().map(|p| (p.session, p.gone)).collect::<Vec<_>>(), [(ID, Gone::All)]);
    let left: Vec<_> = fs::read_dir(w.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [ABOUT]);
    assert!(w.mirror.all().unwrap().is_empty());
    assert_eq!(w.mirror().unwrap(), Mirrored::Nothing);
    // More is written, but no turn is finished.
    let more = format!("{{\"type\":\"mode\",\"mode\":\"normal\"}}\n{}\n", turn(1)[0]);
    w.write(&[turns(0, 1), more.into_bytes()].concat());
    assert_eq!(w.mirror().unwrap(), Mirrored::Nothing);
    assert!(w.mirror.prune(turned + 1, 10, false).unwrap().is_empty(), "it is told once");
    w.write(&turns(0, 2));
    w.mirror().unwrap();
    assert_eq!(w.counts(), turns(0, 2));
    // Where the transcript is gone nothing is left of it.
    fs::remove_file(&w.source.transcript).unwrap();
    assert_eq!(w.mirror().unwrap(), Mirrored::Nothing);
    assert_eq!(w.counts(), turns(0, 2), "the mirror keeps what its source lost");
    w.mirror.prune(u64::MAX >> 1, 9, false).unwrap();
    assert!(!w.folder().exists());
}

/// A program that has a session open, by its arguments; ended with the value.
struct Program(Child);

impl Program {
    fn on(session: Uuid) -> Program {
        use std::os::unix::process::CommandExt as _;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "sleep 60 & wait", "claude", "--resume", &session.to_string()])
            .stdout(Stdio::null())
            .process_group(0);
        Program(shell.spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.0.wait().ok();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_session_comes_back_whole_and_nothing_is_overwritten() {
    let w = World::new();
    let beside = w.source.transcript.with_extension("").join("subagents");
    fs::create_dir_all(&beside).unwrap();
    fs::write(beside.join("agent-a.jsonl"), "{\"one\":1}\n").unwrap();
    let all = turns(0, 2);
    w.write(&[&all[..], b"{\"type\":\"mode\"}\n{\"to"].concat());
    w.mirror().unwrap();
    let kept = w.kept();
    let mirrored = w.counts();

    // Another home, the same project folder.
    let home = tempfile::tempdir().unwrap();
    let claude = ClaudeDir::at(home.path().join(".claude"));
    let restore = |cwd: &Path| kept.restore(&claude, cwd);
    let path = claude.project(&w.project).join(format!("{ID}.jsonl"));
    assert!(matches!(restore(Path::new("/no/such/folder")), Err(MirrorError::NoProject(_))));
    {
        let _open = Program::on(ID);
        let why = restore(&w.project).unwrap_err();
        assert!(matches!(why, MirrorError::Open { .. }), "{why}");
        assert!(!path.exists());
    }
    assert_eq!(restore(&w.project).unwrap(), Restored::New(path.clone()));
    assert_eq!(fs::read(&path).unwrap(), mirrored);
    assert_eq!(fs::read_to_string(path.with_extension("").join("subagents/agent-a.jsonl")).unwrap(), "{\"one\":1}\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(restore(&w.project).unwrap(), Restored::Same(path.clone()));
    // A beginning of it is continued, whatever its length.
    for cut in (0..mirrored.len()).step_by(97) {
        fs::write(&path, &mirrored[..cut]).unwrap();
        assert_eq!(restore(&w.project).unwrap(), Restored::Continued(path.clone(), cut as u64));
        assert_eq!(fs::read(&path).unwrap(), mirrored);
    }
    let further = [&mirrored[..], &turns(2, 3)].concat();
    fs::write(&path, &further).unwrap();
    assert_eq!(restore(&w.project).unwrap(), Restored::Ahead(path.clone()));
    let mut other = mirrored.clone();
    other[10] ^= 1;
    for (text, what) in [(other.clone(), "changed"), (b"{\"type\":\"mode\"}\n".to_vec(), "another")] {
        fs::write(&path, &text).unwrap();
        assert!(matches!(restore(&w.project), Err(MirrorError::Diverged(_))), "{what}");
        assert_eq!(fs::read(&path).unwrap(), text);
    }
    // In another project: a second one would hide the first.
    let elsewhere = w.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    assert!(matches!(restore(&elsewhere), Err(MirrorError::Elsewhere { .. })));
    fs::remove_file(&path).unwrap();
    assert_eq!(restore(&elsewhere).unwrap().path(), claude.project(&elsewhere).join(format!("{ID}.jsonl")));
    // A link where its project would be.
    fs::remove_dir_all(claude.path()).unwrap();
    fs::create_dir_all(claude.path().join("projects")).unwrap();
    symlink(&elsewhere, claude.project(&w.project)).unwrap();
    assert!(restore(&w.project).is_err());
    assert!(fs::read_dir(&elsewhere).unwrap().next().is_none());
    // Of one that is not whole nothing is restored.
    fs::write(w.folder().join("transcript.jsonl"), "{}\n").unwrap();
    assert!(matches!(restore(&elsewhere), Err(MirrorError::NotWhole { .. })));
    assert_eq!(w.claude.find(ID, None).unwrap().as_deref(), Some(w.source.transcript.as_path()));
}
