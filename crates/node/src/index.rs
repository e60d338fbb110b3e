//! The index of the host's entries inside the addon: who may read it when, how it is
//! filled off the event loop, and the pages a listing is read in.
//!
//! A list of all entries holds the event loop for a quarter of a second where there
//! are 10,000, so it is made by a process of its own (`lib/lister.js`, on the host's
//! public SDK), whose lines are read here. Not by a worker thread: that would add the
//! SDK's 250 MB and more to the gateway, and most of it stays.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ride_core::entry_index::{Binding, Known};
use ride_core::host::{Entry, HostEntry};
use ride_core::limits;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a list may take; 10,000 entries took 1.2 s on a busy two-core machine.
const LIST_WITHIN: Duration = Duration::from_secs(60);
/// Longest line: an entry as projected has under 4 KB.
const MAX_LINE: u64 = 256 * 1024;
/// Most entries; the host's own default keeps 500 to 5,000 per agent.
const MAX_ENTRIES: usize = 200_000;
/// What is kept of the lister's error output.
const MAX_SAID: u64 = 4 * 1024;

/// What is known, and the listings being read.
#[derive(Debug, Default)]
pub(crate) struct Index {
    known: RwLock<Known>,
    listings: Mutex<VecDeque<Listing>>,
}

/// One listing: its order and what was looked at stay the same for all its pages.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) id: Uuid,
    /// The threads, in order.
    pub(crate) keys: Arc<[String]>,
    /// Claude sessions with a transcript.
    pub(crate) transcripts: Arc<HashSet<Uuid>>,
    /// Claude sessions that a process has open which is not the gateway's.
    pub(crate) in_use: Arc<HashMap<Uuid, u32>>,
    at: Instant,
}

/// How a list is made.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lister {
    /// The program: the Node that runs the gateway.
    node: String,
    /// The script and its one argument.
    script: String,
    argument: String,
    /// What [`Index::begin`] gave.
    round: u32,
}

/// A list made on the event loop, where there are few.
#[derive(Deserialize)]
pub(crate) struct Listed {
    round: u32,
    entries: Vec<HostEntry>,
}

/// How many entries there are.
#[derive(Serialize)]
pub(crate) struct Counted {
    entries: usize,
}

/// One line of the lister: an entry, or at last how many there were.
#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    entry: HostEntry,
    done: Option<usize>,
}

impl Index {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn binding(&self, key: &str) -> Binding {
        self.read().binding(key)
    }

    pub(crate) fn changed(&self, key: &str) {
        self.write().changed(key);
    }

    pub(crate) fn put(&self, key: &str, entry: Option<Entry>) {
        self.write().put(key, entry);
    }

    pub(crate) fn counts(&self) -> Vec<u32> {
        let known = self.read();
        [usize::from(known.filled()), known.stale_count(), known.len()]
            .map(|n| u32::try_from(n).unwrap_or(u32::MAX))
            .into()
    }

    pub(crate) fn stale(&self, limit: usize) -> Vec<String> {
        self.read().stale(limit)
    }

    pub(crate) fn bound(&self, claude: &str) -> Vec<String> {
        claude.parse().map(|id| self.read().bound(id)).unwrap_or_default()
    }

    pub(crate) fn begin(&self) -> u32 {
        // Wraps after 136 years of one a second.
        self.write().begin() as u32
    }

    /// Fills from a list made by the shell.
    pub(crate) fn listed(&self, listed: Listed) -> Counted {
        self.fill(listed.round, listed.entries.into_iter().map(Entry::from).collect())
    }

    /// Fills from a list made by a process of its own.
    pub(crate) fn list(&self, how: &Lister) -> Result<Counted, String> {
        let failed = |what: String| format!("could not list the host's sessions: {what}");
        let mut child = Command::new(&how.node)
            .args([&how.script, &how.argument])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed(format!("{}: {e}", how.node)))?;
        let entries = lines(&mut child);
        let ended = child.wait();
        let entries = entries.map_err(failed)?;
        match ended {
            Ok(status) if status.success() => Ok(self.fill(how.round, entries)),
            Ok(status) => Err(failed(format!("the lister ended with {status}"))),
            Err(e) => Err(failed(e.to_string())),
        }
    }

    fn fill(&self, round: u32, list: Vec<Entry>) -> Counted {
        let mut known = self.write();
        known.fill(u64::from(round), list);
        Counted { entries: known.len() }
    }

    /// A listing; it is remembered if it has more pages than one.
    pub(crate) fn begin_listing(
        &self,
        keys: Vec<String>,
        seen: (HashSet<Uuid>, HashMap<Uuid, u32>),
        limit: usize,
    ) -> Listing {
        let (transcripts, in_use) = (Arc::new(seen.0), Arc::new(seen.1));
        let listing = Listing { id: Uuid::new_v4(), keys: keys.into(), transcripts, in_use, at: Instant::now() };
        if listing.keys.len() <= limit {
            return listing;
        }
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.retain(|l| l.at.elapsed() < Duration::from_millis(limits::LISTING_MS));
        if listings.len() == limits::LISTINGS {
            listings.pop_front();
        }
        listings.push_back(listing.clone());
        listing
    }

    /// The listing a cursor belongs to, and where in it; `None` when it is over.
    pub(crate) fn resume(&self, cursor: &str) -> Option<(Listing, usize)> {
        let (id, at) = cursor.split_once('.')?;
        let (id, at): (Uuid, usize) = (id.parse().ok()?, at.parse().ok()?);
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        let listing = listings.iter_mut().find(|l| l.id == id)?;
        listing.at = Instant::now();
        (at < listing.keys.len()).then(|| (listing.clone(), at))
    }
}

/// The entries a lister prints; whatever else is printed on that stream is not ours.
fn lines(child: &mut Child) -> Result<Vec<Entry>, String> {
    let out = child.stdout.take().ok_or("it has no output")?;
    let errors = child.stderr.take().ok_or("it has no error output")?;
    let said = thread::spawn(move || {
        let mut said = Vec::new();
        let mut errors = BufReader::new(errors);
        // The rest is read too, or it would wait for us to.
        let _ = errors.by_ref().take(MAX_SAID).read_to_end(&mut said);
        let _ = std::io::copy(&mut errors, &mut std::io::sink());
        String::from_utf8_lossy(&said).trim().to_owned()
    });
    let (tell, told) = mpsc::channel();
    let reader = thread::spawn(move || {
        let _ = tell.send(collect(BufReader::new(out)));
    });
    let read = told.recv_timeout(LIST_WITHIN);
    if read.is_err() {
        let _ = child.kill();
    }
    let _ = reader.join();
    let said = said.join().unwrap_or_default();
    match read {
        Ok(Ok(entries)) => Ok(entries),
        Ok(Err(what)) => Err(if said.is_empty() { what } else { format!("{what}: {said}") }),
        Err(_) => Err(format!("no end within {} s", LIST_WITHIN.as_secs())),
    }
}

fn collect(mut out: impl BufRead) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = out.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
        if length == 0 {
            return Err("it ended before it was through".into());
        }
        if length as u64 == MAX_LINE {
            return Err(format!("a line is over {MAX_LINE} bytes"));
        }
        match serde_json::from_slice(&line) {
            Ok(Line { done: Some(done), .. }) if done == entries.len() => return Ok(entries),
            Ok(Line { done: Some(done), .. }) => {
                return Err(format!("{} of {done} entries could be read", entries.len()));
            }
            Ok(Line { entry, done: None }) if !entry.key.is_empty() => entries.push(entry.into()),
            Ok(_) | Err(_) => {}
        }
        if entries.len() > MAX_ENTRIES {
            return Err(format!("there are more than {MAX_ENTRIES} entries"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A lister that prints this.
    fn lister(folder: &std::path::Path, body: &str) -> Lister {
        let script = folder.join("lister.sh");
        std::fs::write(&script, body).unwrap();
        Lister {
            node: "/bin/sh".into(),
            script: script.to_string_lossy().into_owned(),
            argument: "{}".into(),
            round: 1,
        }
    }

    #[test]
    fn a_list_is_taken_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let check = |body: &str, expected: Result<usize, &str>| {
            let index = Index::default();
            index.begin();
            let listed = index.list(&lister(folder.path(), body)).map(|counted| counted.entries);
            let counts = index.counts();
            assert_eq!((counts[0], counts[2] as usize), (u32::from(expected.is_ok()), expected.unwrap_or(0)), "{body}");
            assert_eq!(
                listed,
                expected.map_err(|what| format!("could not list the host's sessions: {what}")),
                "{body}"
            );
        };
        let one = r#"echo '{"key":"agent:main:main","agentId":"main","entry":{"updatedAt":1}}'"#;
        check(&format!("{one}\necho '{{\"done\":1}}'"), Ok(1));
        check("echo '{\"done\":0}'", Ok(0));
        // The host's own words on that stream are not ours.
        check(&format!("echo 'a warning'\n{one}\necho '[]'\necho '{{\"done\":1}}'"), Ok(1));
        check(one, Err("it ended before it was through"));
        check("echo 'no such module' >&2; exit 1", Err("it ended before it was through: no such module"));
        check(&format!("{one}\necho '{{\"done\":2}}'"), Err("1 of 2 entries could be read"));
        check("echo '{\"done\":0}'; exit 3", Err("the lister ended with exit status: 3"));
        check("head -c 300000 /dev/zero", Err("a line is over 262144 bytes"));
    }

    #[test]
    fn a_listing_is_read_on_from_where_it_was() {
        let index = Index::default();
        let keys = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        // One page is not remembered.
        let short = index.begin_listing(keys(3), Default::default(), 3);
        assert!(index.resume(&format!("{}.1", short.id)).is_none());
        let long = index.begin_listing(keys(5), Default::default(), 3);
        let (same, at) = index.resume(&format!("{}.3", long.id)).unwrap();
        assert_eq!((same.id, at, same.keys.len()), (long.id, 3, 5));
        for wrong in
            [format!("{}.5", long.id), format!("{}.x", long.id), long.id.to_string(), "x.1".into(), String::new()]
        {
            assert!(index.resume(&wrong).is_none(), "{wrong}");
        }
        for _ in 0..limits::LISTINGS {
            index.begin_listing(keys(5), Default::default(), 3);
        }
        assert!(index.resume(&format!("{}.3", long.id)).is_none(), "the oldest makes room");
    }
}
