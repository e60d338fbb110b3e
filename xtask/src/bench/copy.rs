//! A conversation of 200 MB: brought to another machine, one more turn of it pushed back,
//! against the rsync daemon with compression; and its chain checked, against jq and Node.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ride::copy::push::push;
use ride::copy::{Thread, bring, standing};
use ride_core::id::{Fence, Process};
use ride_core::wire::{Claim, Driver, Grant, Release, Released, Renew, Renewed, method};
use ride_store::claude::read_transcript;
use ride_store::clock::machine;
use ride_store::copy::Files;
use ride_testkit::peers::Peer;
use uuid::Uuid;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use super::stage::Stage;

/// Length of the conversation, and of one turn of it.
const BYTES: u64 = 200 << 20;
const TURN: usize = 20 << 10;
/// Samples of each: of a copy, and of a turn.
const COPIES: usize = 3;
const TURNS: usize = 7;
const ANSWER: std::time::Duration = std::time::Duration::from_secs(150);

/// Words, so that lines are about as alike as those of a conversation.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn text(&mut self, bytes: usize) -> String {
        const SYLLABLES: [&str; 16] =
            ["ka", "ro", "mi", "ten", "sol", "ver", "dan", "li", "pro", "que", "sta", "ne", "or", "ba", "thi", "un"];
        let mut text = String::new();
        while text.len() < bytes {
            for _ in 0..=self.next() % 3 {
                text += SYLLABLES[(self.next() % 16) as usize];
            }
            text += if self.next().is_multiple_of(9) { ".\\n" } else { " " };
        }
        text
    }

    /// A line of a conversation that follows another.
    fn line(&mut self, session: Uuid, parent: Option<Uuid>) -> (Uuid, String) {
        let uuid = Uuid::from_u64_pair(self.next() << 31 | self.next(), self.next() << 31 | self.next());
        let bytes = 200 + (self.next() % 4_000) as usize;
        let kind = if self.next().is_multiple_of(2) { "user" } else { "assistant" };
        let parent = parent.map_or_else(|| "null".to_owned(), |parent| format!("\"{parent}\""));
        let text = self.text(bytes);
        let line = format!(
            "{{\"parentUuid\":{parent},\"isSidechain\":false,\"cwd\":\"/srv/app\",\"sessionId\":\"{session}\",\"version\":\"2.1.330\",\"type\":\"{kind}\",\
             \"message\":{{\"role\":\"{kind}\",\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}},\"uuid\":\"{uuid}\",\"timestamp\":\"2026-11-26T10:00:00.000Z\"}}\n"
        );
        (uuid, line)
    }
}

/// A transcript of one chain.
fn transcript(path: &Path, session: Uuid) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let (mut words, mut parent, mut size) = (Words(7), None, 0);
    while size < BYTES {
        let (uuid, line) = words.line(session, parent);
        parent = Some(uuid);
        size += line.len() as u64;
        file.write_all(line.as_bytes())?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// The chain of 200 MB, by us, by jq and by Node.
pub(super) fn check() -> Result<Section> {
    eprintln!("checking a chain of 200 MB");
    let dir = tempfile::tempdir().context("could not make a folder")?;
    let path = dir.path().join("t.jsonl");
    transcript(&path, Uuid::from_u128(5))?;
    let size = fs::metadata(&path)?.len();
    let script = dir.path().join("check.js");
    fs::write(
        &script,
        "const l=require('readline').createInterface({input:require('fs').createReadStream(process.argv[2]),crlfDelay:Infinity});\
         const p=new Map();let last;l.on('line',t=>{const o=JSON.parse(t);if(o.uuid){p.set(o.uuid,o.parentUuid);last=o.uuid}});\
         l.on('close',()=>{let n=0;for(let a=last;a;a=p.get(a))n++;if(n!==p.size)process.exit(1)})",
    )?;
    let node = Peer::node().entry()?;
    let (mut ours, mut by_node, mut by_jq) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..COPIES {
        let begin = Instant::now();
        let read = read_transcript(&path).context("could not read the transcript")?;
        let leaf = read.leaf().map_err(|e| anyhow::anyhow!("{e}"))?.context("it has a leaf")?;
        read.path(None, leaf).map_err(|e| anyhow::anyhow!("{e}"))?;
        ours.push(ms(begin));
        by_node.push(timed(Command::new(&node).arg(&script).arg(&path))?);
        by_jq.push(timed(Command::new("jq").args(["-c", "[.uuid,.parentUuid]"]).arg(&path).stdout(Stdio::null()))?);
    }
    let speed = |samples: &Samples| size as f64 / 1e6 / (samples.median() / 1e3);
    let (fast, faster) = (speed(&ours), by_node.median().min(by_jq.median()));
    Ok(Section {
        title: "The chain of a conversation of 200 MB",
        how: "One core, the file in the page cache. By Node: each line parsed, the parents walked from the last one on. By jq 1.6 or newer: each line parsed, both ids printed.".into(),
        rows: vec![
            Row::plain("every line read, the chain walked", format!("{} ({fast:.0} MB/s)", ours.shown(Unit::Ms)))
                .against(format!("Node {}, jq {}", by_node.shown(Unit::Ms), by_jq.shown(Unit::Ms)), ours.median() / faster)
                .target("≥ 500 MB/s", fast >= 500.0),
        ],
    })
}

/// The copy and the turn, over the real gateway's connection.
pub(super) async fn measure(stage: &Stage) -> Result<Section> {
    eprintln!("copying a conversation of 200 MB");
    let key = stage.threads[0].key.clone();
    let pid = std::process::id();
    let me = ride_testkit::Process::find(pid).context("could not find our own process")?;
    let driver = Driver {
        name: "bench".into(),
        host: "elsewhere".into(),
        process: Process { machine: machine(), namespace: None, pid, start: me.start_ticks },
    };
    let claim = |secret: &str| Claim {
        key: key.clone(),
        driver: driver.clone(),
        secret: secret.to_owned(),
        wait_ms: 60_000,
        steal: false,
        gone: Vec::new(),
    };
    let claimed =
        async |secret: &str| stage.connection.call_within::<_, Grant>(method::CLAIM, &claim(secret), ANSWER).await;
    // Where it is: a claim says so. Then it is made long, while nobody writes.
    let secret = Uuid::new_v4().simple().to_string();
    let grant = claimed(&secret).await?;
    let target = grant.claude.clone().context("the thread has a Claude session")?;
    release(stage, &grant).await?;
    let theirs = Path::new(&target.transcript.path);
    let before = fs::metadata(theirs)?.len();
    lengthen(theirs, target.session_id)?;

    let secret = Uuid::new_v4().simple().to_string();
    let grant = claimed(&secret).await?;
    let thread = Thread {
        connection: stage.connection.clone(),
        key: key.clone(),
        fence: grant.fence,
        session: target.session_id,
    };
    let dir = tempfile::tempdir().context("could not make a folder")?;
    let daemon = Rsync::start(dir.path(), theirs.parent().context("it is in a folder")?)?;
    let name = theirs.file_name().and_then(|name| name.to_str()).context("its name is text")?;
    let (mut ours, mut theirs_ms) = (Samples::default(), Samples::default());
    let mut files = Files::of(&dir.path().join("none").join(name), target.session_id);
    for nth in 0..COPIES {
        files = Files::of(&dir.path().join(format!("ours-{nth}")).join(name), target.session_id);
        let begin = Instant::now();
        let (_, there) = standing(&thread, &files).await.map_err(told)?;
        bring(&thread, files.clone(), &there, |_, _| {}).await.map_err(told)?;
        ours.push(ms(begin));
        renew(stage, &key, grant.fence, &secret).await?;
        let to = dir.path().join(format!("rsync-{nth}"));
        fs::create_dir(&to)?;
        theirs_ms.push(daemon.fetch(name, &to)?);
        renew(stage, &key, grant.fence, &secret).await?;
        if fs::read(to.join(name))? != fs::read(files.transcript())? {
            bail!("the two copies differ");
        }
    }
    // The same turn, ours pushed to the gateway, rsync's fetched from a file that has it.
    let (mut pushed, mut fetched) = (Samples::default(), Samples::default());
    let to = dir.path().join("rsync-0");
    let mut words = Words(11);
    for _ in 0..TURNS {
        let from = fs::metadata(files.transcript())?.len();
        let turn = padding(&mut words, TURN);
        OpenOptions::new().append(true).open(files.transcript())?.write_all(turn.as_bytes())?;
        let begin = Instant::now();
        push(&thread, &files, None, from, from + turn.len() as u64, || {}).await.context("could not push")?;
        pushed.push(ms(begin));
        fetched.push(daemon.fetch(name, &to)?);
        renew(stage, &key, grant.fence, &secret).await?;
    }
    release(stage, &grant).await?;
    // As it was, for what is measured after it on this thread.
    OpenOptions::new().write(true).open(theirs)?.set_len(before)?;
    let (copy, turn) = (ours.median() / theirs_ms.median(), pushed.median() / fetched.median());
    Ok(Section {
        title: "A ride from another machine",
        how: format!(
            "A conversation of 200 MB behind a thread of the real gateway, brought by `ride`'s own code over its WebSocket (loopback, no TLS), compared as a whole\n\
             before and after, and synced to disk. rsync 3 from its daemon with `-z`, without a sync. The turn has {} kB; rsync's is the delta of the same turn.",
            TURN / 1024
        ),
        rows: vec![
            Row::plain("first copy", ours.shown(Unit::Ms))
                .against(format!("rsync {}", theirs_ms.shown(Unit::Ms)), copy)
                .target("≤ 1×", copy <= 1.0),
            Row::plain("one more turn", pushed.shown(Unit::Ms))
                .against(format!("rsync {}", fetched.shown(Unit::Ms)), turn)
                .target("≤ 1/10", turn <= 0.1),
        ],
    })
}

async fn release(stage: &Stage, grant: &Grant) -> Result<()> {
    let request =
        Release { key: grant.key.clone(), fence: grant.fence, accept_broken_chain: false, wait_ms: 60_000, copy: None };
    let released: Released = stage.connection.call_within(method::RELEASE, &request, ANSWER).await?;
    anyhow::ensure!(released.open, "a release did not come through: {:?}", released.waiting_for);
    Ok(())
}

async fn renew(stage: &Stage, key: &str, fence: Fence, secret: &str) -> Result<()> {
    let request =
        Renew { key: key.to_owned(), fence, secret: secret.to_owned(), claude: None, active: true, lock: None };
    let _: Renewed = stage.connection.call(method::RENEW, &request).await?;
    Ok(())
}

fn told(e: ride::error::Error) -> anyhow::Error {
    anyhow::anyhow!("{}", e.message)
}

/// Lines of no turn, of about so many bytes.
fn padding(words: &mut Words, bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        let (id, said) = (words.next(), words.text(1_500));
        let _ = writeln!(
            text,
            "{{\"type\":\"file-history-snapshot\",\"messageId\":\"{id:016x}\",\"snapshot\":{{\"text\":\"{said}\"}}}}"
        );
    }
    text
}

/// Makes a conversation long by lines of no turn: its chain stays what it was.
fn lengthen(path: &Path, session: Uuid) -> Result<()> {
    let mut file = BufWriter::new(OpenOptions::new().append(true).open(path)?);
    let mut words = Words(session.as_u128() as u64);
    let mut size = fs::metadata(path)?.len();
    while size < BYTES {
        let lines = padding(&mut words, 1 << 20);
        size += lines.len() as u64;
        file.write_all(lines.as_bytes())?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// The daemon, on loopback; it ends with the value.
struct Rsync {
    daemon: Child,
    port: u16,
}

impl Rsync {
    fn start(dir: &Path, folder: &Path) -> Result<Rsync> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let config = dir.join("rsyncd.conf");
        fs::write(
            &config,
            format!(
                "use chroot = no\naddress = 127.0.0.1\nport = {port}\nuid = {0}\ngid = {1}\n[t]\npath = {2}\nread only = yes\n",
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
                folder.display()
            ),
        )?;
        let daemon = Command::new("rsync")
            .args(["--daemon", "--no-detach", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let daemon =
            daemon.context("could not run rsync, which this is measured against (Debian: apt install rsync jq)")?;
        let started = Rsync { daemon, port };
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(started);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        bail!("the rsync daemon does not listen")
    }

    fn fetch(&self, name: &str, to: &Path) -> Result<f64> {
        timed(
            Command::new("rsync")
                .args(["-z", "--inplace", "--no-whole-file"])
                .arg(format!("rsync://127.0.0.1:{}/t/{name}", self.port))
                .arg(to),
        )
    }
}

impl Drop for Rsync {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn timed(command: &mut Command) -> Result<f64> {
    let begin = Instant::now();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("could not run {command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(ms(begin))
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_a_conversation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        let (mut words, mut parent, mut text) = (Words(7), None, String::new());
        for _ in 0..50 {
            let (uuid, line) = words.line(Uuid::from_u128(5), parent);
            parent = Some(uuid);
            text += &line;
        }
        text += &padding(&mut words, 10_000);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        }
        fs::write(&path, &text).unwrap();
        let read = read_transcript(&path).unwrap();
        assert_eq!(read.path(None, read.leaf().unwrap().unwrap()).unwrap().len(), 50);
    }
}
