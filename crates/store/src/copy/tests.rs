use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use ride_core::limits::META_DEPTH;

use super::*;

fn session() -> Uuid {
    Uuid::from_u128(7)
}

/// A line of a transcript, of about `size` bytes.
fn line(nth: usize, size: usize) -> String {
    format!(
        "{{\"type\":\"user\",\"sessionId\":\"{}\",\"uuid\":\"{}\",\"text\":\"{}\"}}\n",
        session(),
        Uuid::from_u128(nth as u128),
        "x".repeat(size)
    )
}

struct Side {
    dir: tempfile::TempDir,
    files: Files,
}

impl Side {
    fn new() -> Side {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::of(&dir.path().join("slug").join(format!("{}.jsonl", session())), session());
        Side { dir, files }
    }

    fn having(text: &str) -> Side {
        let side = Side::new();
        fs::create_dir(side.dir.path().join("slug")).unwrap();
        fs::write(side.files.transcript(), text).unwrap();
        side
    }

    fn has(&self) -> String {
        fs::read_to_string(self.files.transcript()).unwrap_or_default()
    }

    /// All that is in its folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("slug")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    /// Extends it as the other side's file says, from a place on.
    fn take(&self, from: u64, range: &[u8], before: &str) -> Result<(), CopyError> {
        self.take_file(None, from, range, before)
    }

    fn take_file(&self, file: Option<&str>, from: u64, range: &[u8], before: &str) -> Result<(), CopyError> {
        let head = Range { file, from, before_sha256: before, total: range.len() as u64, tag: "t-", looked_at: true };
        let mut at = 0;
        loop {
            let end = range.len().min(at as usize + FRAME_BYTES);
            match self.files.stage(&head, at, &range[at as usize..end])? {
                Staged::Part(there) => at = there,
                Staged::Whole(whole) => return whole.commit()?.sync(),
            }
        }
    }
}

fn tail(text: &str) -> String {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(text.as_bytes(), 0).unwrap();
    tail_sha256(&file, text.len() as u64).unwrap()
}

// Rule COPY-2.
#[test]
fn a_file_is_extended_by_what_the_other_has_more() {
    let (old, more) = (line(1, 100), line(2, 100));
    let whole = format!("{old}{more}");
    let side = Side::having(&old);
    side.take(old.len() as u64, more.as_bytes(), &tail(&old)).unwrap();
    assert_eq!(side.has(), whole);
    // Asked again after a lost answer, it changes nothing.
    side.take(old.len() as u64, more.as_bytes(), &tail(&old)).unwrap();
    assert_eq!((side.has(), side.names().len()), (whole.clone(), 1));
    // A crash in the middle of it left a part.
    for torn in 0..more.len() {
        fs::write(side.files.transcript(), &whole[..old.len() + torn]).unwrap();
        side.take(old.len() as u64, more.as_bytes(), &tail(&old)).unwrap();
        assert_eq!(side.has(), whole, "{torn}");
    }
}

#[test]
fn a_file_that_is_not_there_is_made_for_its_user_alone() {
    for size in [100, 3 * FRAME_BYTES] {
        let (side, text) = (Side::new(), line(1, size));
        side.take(0, text.as_bytes(), &tail("")).unwrap();
        assert_eq!(side.has(), text);
        assert_eq!(side.names(), [format!("{}.jsonl", session())], "nothing else is left");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(side.files.transcript()), mode(&side.dir.path().join("slug"))), (0o600, 0o700));
    }
}

// Rule COPY-2.
#[test]
fn a_range_of_many_frames_is_in_the_file_whole_or_not_at_all() {
    let (old, more) = (line(1, 100), line(2, 5 * FRAME_BYTES / 2));
    let side = Side::having(&old);
    let before = tail(&old);
    let head = Range {
        file: None,
        from: old.len() as u64,
        before_sha256: &before,
        total: more.len() as u64,
        tag: "t-",
        looked_at: true,
    };
    let frame = |at: usize| &more.as_bytes()[at..more.len().min(at + FRAME_BYTES)];
    let staged = |at: usize| match side.files.stage(&head, at as u64, frame(at)).unwrap() {
        Staged::Part(there) => there as usize,
        Staged::Whole(_) => panic!("it is not whole"),
    };
    assert_eq!(staged(0), FRAME_BYTES);
    assert_eq!(side.has(), old);
    // One that is lost or comes twice is asked for at its place.
    assert_eq!(staged(2 * FRAME_BYTES), FRAME_BYTES);
    assert_eq!(staged(0), FRAME_BYTES, "begun anew");
    assert_eq!(staged(FRAME_BYTES), 2 * FRAME_BYTES);
    let Staged::Whole(whole) = side.files.stage(&head, 2 * FRAME_BYTES as u64, frame(2 * FRAME_BYTES)).unwrap() else {
        panic!("it is whole")
    };
    assert_eq!(side.has(), old, "not before it is committed");
    whole.commit().unwrap().sync().unwrap();
    assert_eq!((side.has(), side.names().len()), (format!("{old}{more}"), 1));
    // Of ranges that are cut off one is kept, however many are begun,
    for from in 0..3 {
        side.files.stage(&Range { from, ..head.clone() }, 0, frame(0)).unwrap();
        assert_eq!(side.names().len(), 2);
    }
    // and none after the next ride has begun.
    side.files.forget_staged();
    assert_eq!(side.names().len(), 1);
}

// Rule COPY-4.
#[test]
fn copies_that_went_apart_are_left_as_they_are() {
    let (old, ours, theirs) = (line(1, 100), line(2, 100), line(3, 100));
    let said =
        |error: CopyError, side: &Side| error.to_string().replace(side.files.transcript().to_str().unwrap(), "FILE");
    let at = old.len() as u64;
    // (what is here, where the range begins, what stands before it there, what is said)
    let cases = [
        (format!("{old}{ours}"), at, old.clone(), format!("FILE has other lines after byte {at}")),
        (format!("{old}{theirs}{ours}"), at, old.clone(), format!("FILE has other lines after byte {at}")),
        (line(4, 100), at, old.clone(), format!("FILE is another one before byte {at}")),
        (String::new(), at, old.clone(), format!("FILE has 0 bytes; what is to extend it begins at {at}")),
    ];
    for (here, from, before, expected) in cases {
        let side = Side::having(&here);
        let refused = side.take(from, theirs.as_bytes(), &tail(&before)).unwrap_err();
        assert_eq!((said(refused, &side), side.has()), (expected, here));
    }
    let nothing = Side::new();
    let refused = nothing.take(at, theirs.as_bytes(), &tail(&old)).unwrap_err();
    assert_eq!(said(refused, &nothing), "there is no FILE");
}

// Rule COPY-2.
#[test]
fn only_lines_of_this_conversation_extend_it() {
    let old = line(1, 10);
    let check = |range: &str, expected: Option<&str>| {
        let side = Side::having(&old);
        let taken = side.take(old.len() as u64, range.as_bytes(), &tail(&old));
        assert_eq!(taken.err().map(|e| e.to_string()).as_deref(), expected, "{range:?}");
        assert_eq!(side.has().len() > old.len(), expected.is_none(), "{range:?}");
        assert_eq!(side.names().len(), 1, "{range:?}");
    };
    check(&line(2, 10), None);
    check("{\"type\":\"last-prompt\",\"leafUuid\":null}\r\n\n", None);
    // A crash tore it: Claude Code ends the line and goes on.
    check("{\"type\":\"user\",\"te\n{\"type\":\"summary\"}\n", None);
    check("{\"type\":\"user\"", None);
    check("\0\0\0\n", None);
    check(&"{\n".repeat(16), None);
    check(&"{\n".repeat(17), Some("line 17 of the range is torn, as too many before it"));
    check("#!/bin/sh\n", Some("line 1 of the range is no line of a transcript"));
    check("{\"type\":\"summary\"}\n[]\n", Some("line 2 of the range is no line of a transcript"));
    check(&line(2, 10).replace("000007", "000008"), Some("line 1 of the range is of another Claude session"));
    // A file of many frames is looked at as well.
    check(&format!("{}nonsense\n", line(2, 2 * FRAME_BYTES)), Some("line 2 of the range is no line of a transcript"));
}

// Rule COPY-3.
#[test]
fn files_of_subagents_have_derived_names() {
    let side = Side::having("");
    let body = line(1, 10);
    let name = "subagents/agent-ae13960a091297680.jsonl";
    side.take_file(Some(name), 0, body.as_bytes(), &tail("")).unwrap();
    let about = b"{\n \"agentType\": \"x\"\n}";
    side.take_file(Some("subagents/agent-ae13960a091297680.meta.json"), 0, about, &tail("")).unwrap();
    let there: Vec<_> = side.files.beside().unwrap().into_iter().map(|file| (file.name, file.size)).collect();
    assert_eq!(
        there,
        [(name.into(), body.len() as u64), ("subagents/agent-ae13960a091297680.meta.json".into(), about.len() as u64)]
    );
    assert_eq!(side.files.read(Some(name), 3).unwrap(), (body.as_bytes()[3..].to_vec(), body.len() as u64));
    let refused = side.take_file(Some("subagents/agent-b.meta.json"), 0, b"[]", &tail("")).unwrap_err();
    assert_eq!(refused.to_string(), "line 1 of the range is no JSON object, or is nested too deeply");
    let long = format!("subagents/agent-{}.jsonl", "a".repeat(65));
    for name in [
        "../x.jsonl",
        "subagents/../x.jsonl",
        "subagents/agent-../../x.jsonl",
        "subagents/agent-.jsonl",
        "subagents/x.jsonl",
        "agent-a.jsonl",
        "/etc/passwd",
        "",
        &long,
    ] {
        let refused = side.take_file(Some(name), 0, body.as_bytes(), &tail("")).unwrap_err();
        assert!(matches!(refused, CopyError::Name(_)), "{name}: {refused}");
        assert!(matches!(side.files.read(Some(name), 0), Err(CopyError::Name(_))), "{name}");
    }
}

// Rule COPY-3.
#[test]
fn the_file_about_a_subagent_is_one_small_object() {
    let side = Side::having("");
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let refused = |about: &str, at: u64, total: u64| {
        let name = Some("subagents/agent-a.meta.json");
        let range = Range { file: name, from: 0, before_sha256: &tail(""), total, tag: "t-", looked_at: true };
        side.files.stage(&range, at, about.as_bytes()).err().map(|e| e.to_string())
    };
    let whole = |about: &str| refused(about, 0, about.len() as u64);
    let odd = Some("line 1 of the range is no JSON object, or is nested too deeply".to_owned());
    for about in ["{}", "{ \"a\": [1, -2, 1.5, \"x\", true, null, {}] }\n", &nested(META_DEPTH - 1)] {
        assert_eq!(whole(about), None, "{about}");
    }
    for about in ["[]", "1", "\"x\"", "null", "{} {}", "{", "{\"a\":1,}", &nested(META_DEPTH + 1), &"[".repeat(60_000)]
    {
        assert_eq!(whole(about), odd, "{}", &about[..about.len().min(40)]);
    }
    // Refused by its announcement, before anything is kept of it.
    let large = META_BYTES + 1;
    assert_eq!(refused("{", 0, large), Some("the file about a subagent would have more than 65536 bytes".into()));
    let folder = side.dir.path().join(format!("slug/{}/subagents", session()));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

// Rule COPY-6.
#[test]
fn ranges_that_are_not_whole_are_counted_and_removed() {
    let side = Side::having("");
    let frame = vec![b'\n'; FRAME_BYTES];
    let before = tail("");
    let begin = |nth: usize, total: u64| {
        let name = format!("subagents/agent-{nth}.jsonl");
        let range = Range { file: Some(&name), from: 0, before_sha256: &before, total, tag: "t-", looked_at: true };
        side.files.stage(&range, 0, &frame).map(drop)
    };
    let total = 2 * FRAME_BYTES as u64;
    for nth in 0..STAGED_FILES {
        begin(nth, total).unwrap();
    }
    let refused = begin(99, total).unwrap_err();
    assert!(matches!(refused, CopyError::Range(_)), "{refused}");
    assert_eq!(
        refused.to_string(),
        "17 ranges with 17825792 bytes are not whole; 16 ranges with 268435456 bytes may be"
    );
    // The same range again is the same one.
    begin(0, total).unwrap();
    side.files.forget_staged();
    let folder = side.dir.path().join(format!("slug/{}/subagents", session()));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    begin(99, total).unwrap();
}

// Rule COPY-3.
#[test]
fn no_link_is_followed() {
    let text = line(1, 10);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("f"), &text).unwrap();
    let refused = |side: &Side, file: Option<&str>| {
        let read = side.files.read(file, 0).unwrap_err();
        assert!(matches!(read, CopyError::NotRegular(_)), "{read}");
        let range =
            Range { file, from: 0, before_sha256: &tail(""), total: text.len() as u64, tag: "t-", looked_at: true };
        let written = side.files.stage(&range, 0, text.as_bytes()).and_then(|staged| match staged {
            Staged::Whole(whole) => whole.commit().map(drop),
            Staged::Part(_) => Ok(()),
        });
        assert!(matches!(written, Err(CopyError::NotRegular(_))), "{written:?}");
        assert_eq!(fs::read_to_string(elsewhere.path().join("f")).unwrap(), text);
    };
    // The transcript itself,
    let side = Side::having("");
    fs::remove_file(side.files.transcript()).unwrap();
    symlink(elsewhere.path().join("f"), side.files.transcript()).unwrap();
    refused(&side, None);
    // the folder it is in,
    let side = Side::new();
    symlink(elsewhere.path(), side.dir.path().join("slug")).unwrap();
    refused(&side, None);
    // the folder of its subagents, and a file of one.
    let side = Side::having("");
    symlink(elsewhere.path(), side.dir.path().join("slug").join(session().to_string())).unwrap();
    refused(&side, Some("subagents/agent-a.jsonl"));
    let side = Side::having("");
    let folder = side.dir.path().join("slug").join(session().to_string()).join("subagents");
    fs::create_dir_all(&folder).unwrap();
    symlink(elsewhere.path().join("f"), folder.join("agent-a.jsonl")).unwrap();
    refused(&side, Some("subagents/agent-a.jsonl"));
    assert!(side.files.beside().unwrap().is_empty());
}

#[test]
fn bounds_are_named() {
    let side = Side::having("");
    let before = tail("");
    let range = |total| Range { file: None, from: 0, before_sha256: &before, total, tag: "t-", looked_at: true };
    let refused = |total, at, frame: &[u8]| side.files.stage(&range(total), at, frame).unwrap_err().to_string();
    let what = "a frame has up to 1 MiB, and lies within its range";
    assert_eq!(refused(0, 0, b""), format!("0 bytes at 0 of 0: {what}"));
    assert_eq!(refused(5, 3, b"xyz"), format!("3 bytes at 3 of 5: {what}"));
    assert_eq!(refused(u64::MAX, u64::MAX, b"xyz"), format!("3 bytes at {0} of {0}: {what}", u64::MAX));
    let large = vec![b'x'; FRAME_BYTES + 1];
    assert_eq!(refused(large.len() as u64, 0, &large), format!("{0} bytes at 0 of {0}: {what}", large.len()));
}

#[test]
fn what_travels_comes_back_and_nothing_larger() {
    for bytes in [Vec::new(), b"a".to_vec(), vec![b'x'; FRAME_BYTES], (0..=255).collect()] {
        assert_eq!(unpack(&pack(&bytes)).unwrap(), bytes);
    }
    assert!(unpack(&pack(&vec![0; FRAME_BYTES + 1])).is_err());
    for wrong in ["!", "AAAA", "bm90IHpzdGQ="] {
        assert!(unpack(wrong).is_err(), "{wrong}");
    }
}
