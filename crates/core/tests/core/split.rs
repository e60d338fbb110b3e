//! Cutting texts into platform messages.

use ride_core::split::split;

fn check(text: &str, units: usize, want: &[&str]) {
    assert_eq!(split(text, units), want, "{text:?} at {units}");
}

#[test]
fn cuts() {
    check("short", 10, &["short"]);
    check("", 10, &[""]);
    check("one two three four", 14, &["one two", "three four"]);
    check("aaaaaaaaaaaaaaaaaaaa", 14, &["aaaaaaaaaa", "aaaaaaaaaa"]);
    check("para one\n\npara two\n", 13, &["para one", "para two"]);
    check("😀😀😀😀😀😀", 8, &["😀😀", "😀😀😀😀"]);
    check("```rs\nlet a;\nlet b;\nlet c;\n```", 26, &["```rs\nlet a;\nlet b;\n```", "```rs\nlet c;\n```"]);
}

// Rule RELAY-9.
#[test]
fn nothing_is_lost_and_every_part_fits() {
    let text: String = (0..5_000).map(|n| format!("w{n}{}", if n % 7 == 0 { "\n" } else { " " })).collect();
    for units in [64, 500, 3_500] {
        let parts = split(&text, units);
        assert!(parts.iter().all(|p| p.encode_utf16().count() <= units));
        let words = |t: &str| t.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&parts.join(" ")), words(&text));
    }
}
