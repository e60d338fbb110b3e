use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;

use super::*;
use crate::picker::view::{self, Look, Panes};

const NOW: u64 = 1_800_000_000_000;

fn local(n: u32, live: Option<u32>) -> Local {
    let session = Uuid::from_u128(u128::from(n));
    Local {
        found: Found { session, path: format!("/p/{n}.jsonl").into(), changed_ms: NOW - u64::from(n) * 60_000 },
        live,
    }
}

fn summary(title: Option<&str>, prompt: &str, cwd: &str) -> Summary {
    Summary {
        title: title.map(Into::into),
        last_prompt: Some(prompt.into()),
        cwd: Some(cwd.into()),
        side: false,
        size: 1,
        changed_ms: 1,
    }
}

fn paths(from: u32, to: u32) -> Effect {
    Effect::Read((from..to).map(|n| format!("/p/{n}.jsonl").into()).collect())
}

fn read(of: &Effect) -> Event {
    let Effect::Read(paths) = of else { panic!("not a read: {of:?}") };
    Event::Read(
        paths
            .iter()
            .map(|path| (path.clone(), Some(summary(None, &format!("prompt of {}", path.display()), "/home/ada/shop"))))
            .collect(),
    )
}

/// So many sessions listed, and room for four.
fn picker(locals: Vec<Local>) -> (SessionPicker, Vec<Effect>) {
    let mut picker = SessionPicker::new(NOW);
    assert_eq!(picker.step(Event::Room { rows: 4 }, NOW), [Effect::List]);
    let effects = picker.step(Event::Listed(locals), NOW);
    (picker, effects)
}

fn typed(picker: &mut SessionPicker, text: &str) -> Vec<Effect> {
    text.chars().flat_map(|c| picker.step(Event::Key(Key::Char(c)), NOW)).collect()
}

#[test]
fn what_is_in_sight_is_read_first_and_the_rest_by_the_handful() {
    let (mut picker, effects) = picker((0..200).map(|n| local(n, None)).collect());
    assert_eq!(effects, [paths(0, 4)]);
    // While those are on their way nothing else is asked for; then what came into sight.
    assert_eq!(picker.step(Event::Key(Key::End), NOW), []);
    let effects = picker.step(read(&effects[0]), NOW);
    assert_eq!(effects, [paths(196, 200)]);
    let effects = picker.step(read(&effects[0]), NOW);
    assert_eq!(effects, [paths(4, 68)]);
    assert_eq!(picker.choice().list().unread(), 192);
    let mut effects = effects;
    while let Some(effect) = effects.first() {
        effects = picker.step(read(effect), NOW);
    }
    assert_eq!(picker.choice().list().unread(), 0);
}

#[test]
fn only_a_file_that_changed_is_read_again() {
    let (mut picker, effects) = picker(vec![local(1, None), local(2, None)]);
    assert_eq!(picker.step(read(&effects[0]), NOW), []);
    assert_eq!(picker.step(Event::Tick, NOW + LIST_EVERY_MS - 1), []);
    assert_eq!(picker.step(Event::Tick, NOW + LIST_EVERY_MS), [Effect::List]);
    assert_eq!(picker.step(Event::Tick, NOW + LIST_EVERY_MS), []);
    let mut changed = local(2, None);
    changed.found.changed_ms += 1;
    // The selection stays on its file, what is known of it too.
    picker.step(Event::Key(Key::Down), NOW + LIST_EVERY_MS);
    let effects = picker.step(Event::Listed(vec![changed, local(3, None), local(1, None)]), NOW + LIST_EVERY_MS);
    assert_eq!(effects, [Effect::Read(vec!["/p/2.jsonl".into(), "/p/3.jsonl".into()])]);
    assert_eq!(picker.choice().selected(), Some(0));
    let titles: Vec<&str> = (0..3).map(|at| picker.choice().list().title(at).text()).collect();
    assert_eq!(titles, ["prompt of /p/2.jsonl", UNREAD, "prompt of /p/1.jsonl"]);
    // One that cannot be read is not asked for again and again.
    let none = Event::Read(vec![("/p/2.jsonl".into(), None), ("/p/3.jsonl".into(), None)]);
    assert_eq!(picker.step(none, NOW + LIST_EVERY_MS), []);
    assert_eq!(picker.choice().list().title(0).text(), "its file could not be read");
}

#[test]
fn one_that_is_open_is_not_chosen() {
    let (mut picker, _) = picker(vec![local(1, Some(4711)), local(2, None)]);
    assert_eq!(picker.step(Event::Key(Key::Enter), NOW), []);
    assert_eq!(picker.choice().note(), Some("it is open in a Claude Code, process 4711: leave that with /exit first"));
    picker.step(Event::Key(Key::Down), NOW);
    assert_eq!(picker.step(Event::Key(Key::Enter), NOW), [Effect::Choose(Uuid::from_u128(2))]);
    assert_eq!(picker.step(Event::Key(Key::Escape), NOW), [Effect::Leave]);
}

#[test]
fn title_prompt_project_and_id_are_searched_as_they_are_read() {
    let check = |text: &str, expected: &[usize]| {
        let (mut picker, effects) = picker(vec![local(1, None), local(2, None), local(0xabc, None)]);
        typed(&mut picker, text);
        let Effect::Read(paths) = &effects[0] else { panic!("nothing is read") };
        let told = [
            summary(Some("Invoices"), "add the tax", "/home/ada/shop"),
            summary(None, "why is it slow?", "/srv/api-2/"),
            summary(None, &format!("hm {} MANGO", "what else is there to say? ".repeat(9)), "/home/ada/shop"),
        ];
        picker.step(Event::Read(paths.iter().cloned().zip(told.map(Some)).collect()), NOW);
        let fitting: Vec<usize> = picker.choice().in_sight().collect();
        assert_eq!(fitting, expected, "{text:?}");
    };
    check("", &[0, 1, 2]);
    check("invoi", &[0]);
    check("tax", &[0]);
    check("slow", &[1]);
    check("shop", &[0, 2]);
    check("shop hm", &[2]);
    check("/srv/", &[1]);
    check("abc", &[2]);
    check("nothing", &[]);
    // Of a long prompt any letters stand in order somewhere: it is searched by pieces.
    check("waitress", &[]);
    check("mango", &[2]);
}

/// The screen as text.
fn screen(picker: &mut SessionPicker, width: u16, height: u16) -> String {
    let panes = Panes::of(Rect::new(0, 0, width, height), false);
    picker.step(Event::Room { rows: panes.rows() }, NOW);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, picker, Look { colour: false })).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

#[test]
fn a_session_is_shown_with_its_project_its_prompt_and_who_has_it() {
    let (mut picker, effects) = picker(vec![local(1, Some(4711)), local(2, None), local(3, None)]);
    let Effect::Read(paths) = &effects[0] else { panic!("nothing is read") };
    let told = [Some(summary(Some("Invoices"), "add the tax\nand the \u{1b}[31mtotal", "/home/ada/shop")), None];
    picker.step(Event::Read(paths.iter().cloned().zip(told).collect()), NOW);
    assert_eq!(
        screen(&mut picker, 110, 10).lines().collect::<Vec<_>>(),
        [
            " ›                                                                                                           3",
            "──────────────────────────────────────────────────────────────────────────────────────────────────────────────",
            " ▸  60s  shop  Invoices                 open in process 4711 │ Invoices",
            "     2m  -     its file could not be read                    │ /home/ada/shop",
            "     3m  …     …                                             │ 00000000-0000-0000-0000-000000000001",
            "                                                             │",
            "                                                             │ open in a Claude Code, process 4711: cannot be…",
            "                                                             │ last prompt",
            "                                                             │   add the tax",
            " Enter adopt · Esc leave · ? help",
        ]
    );
}

#[test]
fn files_are_listed_by_age_and_marked_where_they_are_open() {
    let home = tempfile::tempdir().unwrap();
    let dir = ClaudeDir::at(home.path());
    let project = dir.project(std::path::Path::new("/p"));
    std::fs::create_dir_all(&project).unwrap();
    std::fs::create_dir_all(dir.sessions()).unwrap();
    let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
    for (n, id) in ids.iter().enumerate() {
        let file = std::fs::File::create(project.join(format!("{id}.jsonl"))).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000 + n as u64))
            .unwrap();
    }
    std::fs::write(project.join("notes.jsonl"), "").unwrap();
    let own = std::process::id();
    let start = ride_store::claude::process::look(own).unwrap().unwrap().start;
    let entry = |pid: u32, id: Uuid, start: u64| {
        let text = serde_json::json!({"pid": pid, "sessionId": id, "procStart": start.to_string()}).to_string();
        std::fs::write(dir.sessions().join(format!("{pid}.json")), text).unwrap();
    };
    entry(own, ids[1], start);
    // A process that had this id before.
    entry(1, ids[0], u64::MAX);
    let listed: Vec<(Uuid, Option<u32>)> =
        list(&dir).into_iter().map(|local| (local.found.session, local.live)).collect();
    assert_eq!(listed, [(ids[2], None), (ids[1], Some(own)), (ids[0], None)]);
}

#[test]
fn subagents_own_sessions_leave_the_list_and_stay_away() {
    let locals = || (0..3).map(|n| local(n, None)).collect::<Vec<_>>();
    let (mut picker, _) = picker(locals());
    let seen = |n: u32| {
        let warmup = Summary { side: n == 1, ..summary(None, "Warmup", "/srv/app") };
        (PathBuf::from(format!("/p/{n}.jsonl")), Some(warmup))
    };
    picker.step(Event::Read((0..3).map(seen).collect()), NOW);
    let listed = |picker: &SessionPicker| {
        let list = picker.choice.list();
        (0..list.rows()).map(|at| list.local(at).0.found.session.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&picker), [0, 2]);
    // The next look at the folder finds its file again.
    picker.step(Event::Listed(locals()), NOW + LIST_EVERY_MS);
    assert_eq!(listed(&picker), [0, 2]);
}
