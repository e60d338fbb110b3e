//! Cuts a text into platform messages, at a paragraph, line or word where there is one.

/// Splits `text` into parts of at most `units` UTF-16 units; nothing is dropped but
/// the white space at a cut. A code fence open at a cut is closed and opened again.
pub fn split(text: &str, units: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end().to_owned();
    while width(&rest) > units {
        // Room for the fence that may have to be closed.
        let limit = prefix(&rest, units.saturating_sub(4).max(1));
        let cut = ["\n\n", "\n", " "]
            .iter()
            .find_map(|gap| rest[..limit].rfind(gap).filter(|at| *at > limit / 2))
            .unwrap_or(limit);
        let (head, tail) = rest.split_at(cut);
        let tail = if cut == limit { tail } else { tail.trim_start_matches(['\n', ' ']) };
        let open = open_fence(head);
        let (head, tail) = match open {
            Some(fence) => (format!("{head}\n```"), format!("{fence}\n{tail}")),
            None => (head.to_owned(), tail.to_owned()),
        };
        // A fence that eats all the room would never end.
        if width(&tail) >= width(&rest) {
            let (head, tail) = rest.split_at(limit);
            parts.push(head.to_owned());
            rest = tail.to_owned();
            continue;
        }
        parts.push(head);
        rest = tail;
    }
    parts.push(rest);
    parts
}

fn width(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The longest prefix of at most `units` UTF-16 units, in bytes.
fn prefix(text: &str, units: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.len_utf16();
        if used > units {
            return at;
        }
    }
    text.len()
}

fn open_fence(text: &str) -> Option<&str> {
    let mut open = None;
    for line in text.lines() {
        if line.starts_with("```") {
            open = if open.is_some() { None } else { Some(line) };
        }
    }
    open
}
