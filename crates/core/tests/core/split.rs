//! Cutting texts into platform messages.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use ride_core::split::{labelled, parts, split};
use unicode_segmentation::UnicodeSegmentation as _;

use super::walk::Dice;

fn check(text: &str, units: usize, want: &[&str]) {
    assert_eq!(split(text, units), want, "{text:?} at {units}");
}

#[test]
fn cuts() {
    check("short", 10, &["short"]);
    check("", 10, &[""]);
    check("one two three four", 14, &["one two three", "four"]);
    check("one two three four", 12, &["one two", "three four"]);
    check("aaaaaaaaaaaaaaaaaaaa", 14, &["aaaaaaaaaaaaaa", "aaaaaa"]);
    check("para one\n\npara two\n", 13, &["para one", "para two"]);
    check("😀😀😀😀😀😀", 8, &["😀😀😀😀", "😀😀"]);
    check("```rs\nlet a;\nlet b;\nlet c;\n```", 26, &["```rs\nlet a;\nlet b;\n```", "```rs\nlet c;\n```"]);
    // A family is one character to its reader.
    check("aaaa👨‍👩‍👧 bb", 11, &["aaaa", "👨‍👩‍👧 bb"]);
}

#[test]
fn a_fence_of_every_kind_is_closed_and_opened_again() {
    check("~~~ py title\na = 1\nb = 2\nc = 3\n~~~", 26, &["~~~ py title\na = 1\n~~~", "~~~py\nb = 2\nc = 3\n~~~"]);
    check("`````\n```\naaaa\n```\nbbbb\n`````", 24, &["`````\n```\naaaa\n```\n`````", "`````\nbbbb\n`````"]);
    check(
        "- x\n  ```py\n  aa = 1\n  bb = 2\n  ```",
        28,
        &["- x\n  ```py\n  aa = 1\n  ```", "  ```py\n  bb = 2\n  ```"],
    );
    check("> ```py\n> aa = 1\n> bb = 2\n> ```", 26, &["> ```py\n> aa = 1\n> ```", "> ```py\n> bb = 2\n> ```"]);
    check(
        "100. x\n     ```\n     aa = 1\n     bb = 2\n     ```",
        40,
        &["100. x\n     ```\n     aa = 1\n     ```", "100. ```\n     bb = 2\n     ```"],
    );
}

#[test]
fn code_keeps_its_indentation_at_a_cut() {
    check("text\n\n    a1\n      b2\n    c3", 18, &["text\n\n    a1", "      b2\n    c3"]);
    check("```\na:\n    bbbb\n    cccc\n```", 20, &["```\na:\n    bbbb\n```", "```\n    cccc\n```"]);
    check("- x\n\n      aa1\n        bb2\n      cc3", 24, &["- x\n\n      aa1", "-       bb2\n      cc3"]);
}

#[test]
fn what_would_read_as_a_mark_does_not_begin_a_part() {
    check("aaaa bbbb c ``` cccc", 14, &["aaaa bbbb", "c ``` cccc"]);
    check("aaaa bbbb c 12. cccc", 14, &["aaaa bbbb", "c 12. cccc"]);
}

#[test]
fn a_label_leaves_the_text_behind_it_as_it_is() {
    assert_eq!(labelled("ada:", "hello\n\n```\ncode\n```"), "ada: hello\n\n```\ncode\n```");
    for text in ["```\ncode\n```", "~~~\ncode", "    code", "> said", "- a\n- b", "# title"] {
        assert_eq!(labelled("ada:", text), format!("ada:\n\n{text}"));
    }
}

#[test]
fn a_long_info_string_is_not_repeated() {
    let text = format!("```{}\n{}```\n", "x".repeat(3_400), "some code\n".repeat(50));
    let parts = split(&text, 3_500);
    assert_eq!(parts.len(), 2, "{parts:#?}");
    let endless = format!("```{}\ncode\n```", "x".repeat(20_000));
    assert!(split(&endless, 3_500).len() <= 7);
}

/// The code of a text, block by block, as a CommonMark parser reads it, and the text outside of it.
fn read(text: &str) -> (Vec<String>, String) {
    let (mut blocks, mut outside, mut inside) = (Vec::new(), String::new(), false);
    for event in Parser::new_ext(text, Options::empty()) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                blocks.push(String::new());
                inside = true;
            }
            Event::End(TagEnd::CodeBlock) => inside = false,
            Event::Text(text) if inside => blocks.last_mut().unwrap().push_str(&text),
            Event::Text(text) | Event::Code(text) => outside.push_str(&text),
            _ => {}
        }
    }
    (blocks, outside)
}

/// The lines of code blocks; the last one of a text has no line end.
fn lines(blocks: &[String]) -> String {
    blocks.iter().flat_map(|block| block.lines()).map(|line| format!("{line}\n")).collect()
}

/// Whether what is appended to a part is outside of its fences.
fn is_balanced(part: &str) -> bool {
    !read(&format!("{part}\n\nMARK")).0.iter().any(|code| code.contains("MARK"))
}

/// What holds for every text.
fn check_all(text: &str, units: usize) -> Vec<String> {
    let parts = parts(text, units);
    let joined: String = parts.iter().flat_map(|part| [part.gap, part.body]).collect();
    assert_eq!(joined, text.trim_end(), "joined");
    let ends: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]).collect();
    let mut at = 0;
    for part in &parts {
        let mark = |c: char| c.is_whitespace() || c == '>';
        assert!(part.gap.chars().all(mark), "left out: {:?}", part.gap);
        for end in [at + part.gap.len(), at + part.gap.len() + part.body.len()] {
            assert!(ends.binary_search(&end).is_ok(), "a cut at byte {end} goes through a character");
        }
        at += part.gap.len() + part.body.len();
        let message = part.message();
        assert!(message.encode_utf16().count() <= units, "{} units: {message}", message.encode_utf16().count());
        assert!(parts.len() == 1 || !message.trim().is_empty(), "an empty message of {text:?}");
    }
    parts.iter().map(|part| part.message()).collect()
}

/// What holds for Markdown that is not made to confuse: all of the above, each part is balanced, code is unchanged.
fn check_markdown(text: &str, units: usize) -> Vec<String> {
    let messages = check_all(text, units);
    let (mut code, mut outside) = (String::new(), String::new());
    for message in &messages {
        assert!(messages.len() == 1 || is_balanced(message), "not balanced:\n{message}\n\n\nof:\n{text}");
        let (blocks, text) = read(message);
        code.push_str(&lines(&blocks));
        outside.push_str(&text);
    }
    let (blocks, text_outside) = read(text);
    assert_eq!(code, lines(&blocks), "the code of\n{text}\n\n\nin {messages:#?}");
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    assert_eq!(letters(&outside), letters(&text_outside), "the text of\n{text}\n\n\nin {messages:#?}");
    messages
}

// Rule RELAY-9.
#[test]
fn the_recorded_answers_keep_their_code() {
    for name in ["code-over-the-limit.md", "tilde-fence.md"] {
        let path = format!("{}/../../fixtures/split/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        for units in [200, 1_000, 3_500] {
            let messages = check_markdown(&text, units);
            assert!(messages.len() < 2 + 3 * text.len() / units, "{name}: {} messages", messages.len());
        }
    }
}

// Rule RELAY-9.
#[test]
fn nothing_is_lost_and_every_part_fits() {
    let text: String = (0..5_000).map(|n| format!("w{n}{}", if n % 7 == 0 { "\n" } else { " " })).collect();
    for units in [64, 500, 3_500] {
        let messages = check_markdown(&text, units);
        let words = |t: &str| t.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&messages.join(" ")), words(&text));
    }
}

/// Puts a block into a quotation or a list item.
fn held(block: &str, first: &str, next: &str) -> String {
    let lines = block.lines().enumerate().map(|(n, line)| match (n, line) {
        (0, line) => format!("{first}{line}"),
        (_, "") => next.trim_end().to_owned(),
        (_, line) => format!("{next}{line}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn words(dice: &mut Dice, most: u64) -> String {
    let letters = ["a", "be", "sea", "dear", "ü", "日本", "👩‍🚀", "e\u{301}lan"];
    let count = 1 + dice.roll(most);
    (0..count).map(|_| letters[dice.roll(8) as usize]).collect::<Vec<_>>().join(" ")
}

/// Indented code in a list item has the item's columns as well behind a cut in its text: none is made there.
fn block(dice: &mut Dice, depth: u32, in_item: bool) -> String {
    match dice.roll(if depth == 0 { 4 } else { 7 }) {
        0 => words(dice, 60),
        1 => {
            let fence = ["```", "~~~", "````", "~~~~~"][dice.roll(4) as usize];
            let info = ["", "rust", " sh -x"][dice.roll(3) as usize];
            let inner = if fence.len() > 3 && dice.roll(2) == 0 { "```\nx\n```\n" } else { "" };
            let lines: String =
                (0..dice.roll(20)).map(|n| format!("{}x{n}\n", " ".repeat(dice.roll(9) as usize))).collect();
            format!("{fence}{info}\n{inner}{lines}{fence}")
        }
        2 if in_item => words(dice, 60),
        2 => {
            let lines = (0..1 + dice.roll(20)).map(|n| format!("    {}y{n}", " ".repeat(dice.roll(6) as usize)));
            lines.collect::<Vec<_>>().join("\n")
        }
        3 => (0..1 + dice.roll(6)).map(|_| format!("- {}", words(dice, 8))).collect::<Vec<_>>().join("\n"),
        4 => held(&blocks(dice, depth - 1, in_item), "> ", "> "),
        5 => held(&format!("{}\n\n{}", words(dice, 9), blocks(dice, depth - 1, true)), "- ", "  "),
        _ => held(&format!("{}\n\n{}", words(dice, 9), blocks(dice, depth - 1, true)), "12. ", "    "),
    }
}

/// Blocks with a paragraph between every two, so that lists and code do not run together.
fn blocks(dice: &mut Dice, depth: u32, in_item: bool) -> String {
    let count = 1 + dice.roll(3);
    (0..count)
        .map(|_| format!("{}\n\nand\n\n{}", block(dice, depth, in_item), words(dice, 5)))
        .collect::<Vec<_>>()
        .join("\n\n")
}

// Rule RELAY-9.
#[test]
fn random_markdown_is_balanced_and_keeps_its_code() {
    for seed in 0..500 {
        let mut dice = Dice(seed);
        let text = blocks(&mut dice, (seed % 3) as u32, false);
        let units = [120, 200, 500][dice.roll(3) as usize];
        let checked = std::panic::catch_unwind(|| check_markdown(&text, units));
        assert!(checked.is_ok(), "seed {seed} at {units}");
    }
}

#[test]
fn random_marks_fit_and_are_given_back() {
    let pieces = [
        "```",
        "~~~",
        "\n",
        "\n\n",
        "    ",
        "\t",
        "> ",
        "- ",
        "10. ",
        "`",
        "*",
        "**",
        "[a](b)",
        "<b>",
        " ",
        "word",
        "\r\n",
        "\r",
        "``````",
        "👩‍🚀",
        "e\u{301}",
        " \u{301}",
        "\u{200b}",
        "===",
        "&amp;",
        "\\",
        "x\n",
        "日本",
    ];
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let count = dice.roll(400);
        let text: String = (0..count).map(|_| pieces[dice.roll(pieces.len() as u64) as usize]).collect();
        for units in [30, 100, 300] {
            let checked = std::panic::catch_unwind(|| check_all(&text, units));
            assert!(checked.is_ok(), "seed {seed} at {units}: {text:?}");
        }
    }
}

#[test]
fn a_character_that_is_larger_than_a_message_is_cut() {
    let text = format!("e{}", "\u{301}".repeat(10_000));
    let messages = split(&text, 3_500);
    assert!(messages.iter().all(|message| message.encode_utf16().count() <= 3_500));
    assert_eq!(messages.concat(), text);
}

/// Texts that make a careless splitter or parser slow.
#[test]
fn hostile_texts_take_time_that_grows_with_them() {
    let shapes: [fn(usize) -> String; 12] = [
        |n| "a".repeat(n),
        |n| " ".repeat(n) + "x",
        |n| "\n".repeat(n) + "x",
        |n| "`".repeat(n),
        |n| "- ".repeat(n / 2),
        |n| "> ".repeat(n / 2),
        |n| "[".repeat(n),
        |n| "*a ".repeat(n / 3),
        |n| "```\n".repeat(n / 4),
        |n| (0..n / 40).map(|k| format!("{}\n", "`".repeat(k % 80))).collect(),
        |n| "[a](<b\n".repeat(n / 7),
        |n| format!("e{} ", "\u{301}".repeat(90)).repeat(n / 180),
    ];
    for shape in shapes {
        let text = shape(64 << 10);
        let messages = check_all(&text, 3_500);
        assert!(messages.len() <= 2 + 3 * text.len() / 3_500, "{} messages of {:?}", messages.len(), &text[..20]);
    }
}
