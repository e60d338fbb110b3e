//! Inputs that are nearly what a peer writes: values changed where they stand, lines
//! moved, ids mixed up, bytes flipped. The same seed and number give the same input.

use ride_sim::Dice;
use serde_json::{Map, Value, json};

/// Most bytes of an input: what bounds a reader is tried by its own tests.
const MAX_BYTES: usize = 256 * 1024;

/// A small generator of numbers; not for secrets.
pub(super) struct Random(Dice);

impl Random {
    pub(super) fn new(seed: u64, nth: u64) -> Self {
        let mut dice = Dice::new(seed ^ nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.draw();
        Random(dice)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0.below(n as u64) as usize
    }

    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// One input, made of one or two of the samples.
pub(super) fn mutated(samples: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.of(samples).clone();
    let other = random.of(samples).clone();
    for _ in 0..=random.below(3) {
        bytes = match random.below(10) {
            0..6 => lines(&bytes, random),
            6 => splice(&bytes, &other, random),
            7 => nested(&bytes, random),
            _ => flipped(bytes, random),
        };
        bytes.truncate(MAX_BYTES);
    }
    bytes
}

/// Each line a value of its own, as in a transcript; a file of one value is one line.
fn lines(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let at = random.below(lines.len());
    match random.below(8) {
        0 if lines.len() > 1 => drop(lines.remove(at)),
        1 if lines.len() > 1 => {
            let moved = lines.remove(at);
            lines.insert(random.below(lines.len() + 1), moved);
        }
        2 if lines.len() > 1 => lines.insert(at, lines[random.below(lines.len())].clone()),
        // One line's id in another line: circles, second parents, leaves that are none.
        3 if lines.len() > 1 => {
            let from = lines[random.below(lines.len())].clone();
            if let (Some(id), Some(place)) = (uuid(&from, random), uuid(&lines[at], random)) {
                let id = from[id..id + UUID].to_vec();
                lines[at][place..place + UUID].copy_from_slice(&id);
            }
        }
        _ => {
            if let Ok(mut value) = serde_json::from_slice::<Value>(&lines[at]) {
                change(&mut value, random);
                lines[at] = value.to_string().into_bytes();
            } else {
                lines[at] = flipped(lines[at].clone(), random);
            }
        }
    }
    lines.join(&b'\n')
}

const UUID: usize = 36;

fn uuid(line: &[u8], random: &mut Random) -> Option<usize> {
    let is = |at: &usize| {
        line[*at..].len() >= UUID && line[*at + 8] == b'-' && line[*at + 13] == b'-' && line[*at + 23] == b'-'
    };
    let found: Vec<usize> = (0..line.len().saturating_sub(UUID - 1)).filter(is).collect();
    (!found.is_empty()).then(|| *random.of(&found))
}

/// Changes one value somewhere in a value.
fn change(value: &mut Value, random: &mut Random) {
    let descend = random.below(5) > 0;
    match value {
        Value::Object(object) if descend && !object.is_empty() => {
            let keys: Vec<String> = object.keys().cloned().collect();
            let key = random.of(&keys).clone();
            match random.below(8) {
                0 => drop(object.remove(&key)),
                1 => {
                    let taken = object.remove(&key).unwrap_or(Value::Null);
                    object.insert(format!("{key}X"), taken);
                }
                2 => {
                    object.insert("unknown".into(), odd(random));
                }
                3 => {
                    let other = object.get(random.of(&keys)).cloned().unwrap_or(Value::Null);
                    object.insert(key, other);
                }
                _ => change(object.entry(key).or_insert(Value::Null), random),
            }
        }
        Value::Array(items) if descend && !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(4) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, items[at].clone()),
                _ => change(&mut items[at], random),
            }
        }
        _ => *value = odd(random),
    }
}

fn odd(random: &mut Random) -> Value {
    match random.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(1e300),
        5 => json!(""),
        6 => json!("é\u{0}\u{fffd}🦀\u{202e}".repeat(1 + random.below(300))),
        7 => json!("x".repeat(random.below(70_000))),
        8 => Value::Array(vec![json!(0); random.below(2_000)]),
        9 => Value::Object((0..random.below(500)).map(|n| (format!("k{n}"), json!(n))).collect::<Map<_, _>>()),
        10 => json!("../../../etc/passwd"),
        11 => json!("${HOME}$${A}${"),
        12 => (0..random.below(120)).fold(json!(1), |inner, _| json!([inner])),
        13 => json!("00000000-0000-0000-0000-000000000000"),
        14 => json!({ "$include": ["./openclaw.json", "/dev/zero"] }),
        _ => json!(i64::MIN),
    }
}

/// Deep brackets: what recurses on them must stop by itself.
fn nested(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let open = random.of(&["[", "{\"a\":", "[[1],", "(", "/*", "\\u"]).as_bytes();
    let mut out = open.repeat(1 + random.below(40_000 / open.len()));
    let at = random.below(bytes.len() + 1);
    out.splice(0..0, bytes[..at].iter().copied());
    out
}

fn splice(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let (head, tail) = (random.below(bytes.len() + 1), random.below(other.len() + 1));
    [&bytes[..head], &other[tail..]].concat()
}

fn flipped(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => {
                let odd = random.of(&["\0", "\\ud83d", "\n", "\r\n", "\u{feff}", "\"", "}", "1e999", "-"]).as_bytes();
                bytes.splice(at..at, odd.iter().copied().chain(at.is_multiple_of(5).then_some(0xff)));
            }
            2 => {
                let end = (at + random.below(200)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            3 => {
                let end = (at + random.below(200)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes
}
