//! Telegram's HTML, shown as a reader sees it and refused where Telegram refuses it.

/// The tags Telegram accepts.
const TAGS: [&str; 17] = [
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "span",
    "tg-spoiler",
    "a",
    "tg-emoji",
    "code",
    "pre",
    "blockquote",
    "tg-time",
];

/// Gives the visible text, or why Telegram would not parse it.
pub(super) fn visible(html: &str) -> Result<String, String> {
    let mut text = String::with_capacity(html.len());
    let mut open: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('&') {
            let (shown, length) = entity(rest);
            text.push(shown);
            rest = &rest[length..];
            continue;
        }
        let end = rest.find('>').ok_or("can't parse entities: unclosed start tag")?;
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap_or_default().to_lowercase();
        if !TAGS.contains(&name.as_str()) {
            return Err(format!("can't parse entities: unsupported start tag \"{name}\""));
        }
        if !tag.starts_with('/') {
            open.push(name);
        } else if open.pop().as_deref() != Some(&name) {
            return Err(format!("can't parse entities: unexpected end tag \"{name}\""));
        }
    }
    if let Some(name) = open.last() {
        return Err(format!("can't parse entities: can't find end tag corresponding to start tag \"{name}\""));
    }
    text.push_str(rest);
    Ok(text)
}

/// The character an entity stands for and its length; a lone ampersand stands for itself.
fn entity(text: &str) -> (char, usize) {
    for (written, shown) in
        [("&lt;", '<'), ("&gt;", '>'), ("&amp;", '&'), ("&quot;", '"'), ("&#39;", '\''), ("&apos;", '\'')]
    {
        if text.starts_with(written) {
            return (shown, written.len());
        }
    }
    ('&', 1)
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn shows_what_a_reader_sees() {
        let check = |html: &str, expected: &str| assert_eq!(visible(html).as_deref(), Ok(expected), "{html}");
        check("plain", "plain");
        check("<b>a</b> &lt;c&gt; &amp;amp; d & e", "a <c> &amp; d & e");
        check("<pre><code class=\"language-rust\">let x;</code></pre>", "let x;");
        check("<a href=\"https://x.test/\">link</a>", "link");
    }

    #[test]
    fn refuses_what_telegram_refuses() {
        for html in ["<b>open", "</b>", "<b><i>x</b></i>", "<script>", "a < b"] {
            assert!(visible(html).is_err(), "{html}");
        }
    }
}
