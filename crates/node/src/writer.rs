//! A writer that appears during a ride: finds a live process that has the ridden Claude
//! session and is surely not its driver's. What nobody can tell counts as no writer.
//!
//! The driver's own are its `ride`, its Claude Code, everything below either of them, and
//! whatever holds the driver's lock. Another process counts where this gateway started it, as
//! a turn that passed no gate does; or where it has the transcript open for writing, and the
//! driver's own processes can be told from it: they are seen from here, or they work on a copy.
//! A Claude Code that somebody opened in a terminal does not count by being open: the
//! installed plugin stops its prompts, and the hand-back finds what it wrote.

use std::path::Path;

use ride_core::id::Process;
use ride_core::thread::Lease;
use ride_store::claude::process::{Alive, Seen, alive, holders, is_below, is_under};
use ride_store::claude::{By, ClaudeDir, ClaudeError, Writer, live_writers, lock};

/// A process that writes to the Claude session of a lease and is not its driver's.
///
/// # Errors
/// When the registry, the process table or the driver's lock cannot be read.
pub(crate) fn beside(lease: &Lease, gateway_pid: u32) -> Result<Option<Writer>, ClaudeError> {
    let Some(claude) = &lease.claude else { return Ok(None) };
    let dir = ClaudeDir::at(&claude.config_dir);
    let transcript = dir.find(claude.id, Some(Path::new(&claude.cwd)))?;
    let own: Vec<Process> = own(lease).cloned().collect();
    let writers = live_writers(&dir, claude.id, transcript.as_deref(), &own)?;
    for writer in writers.here {
        if is_foreign(&writer, lease, &dir, gateway_pid)? {
            return Ok(Some(writer));
        }
    }
    Ok(None)
}

/// The driver's `ride` and its Claude Code, as far as they are known.
fn own(lease: &Lease) -> impl Iterator<Item = &Process> {
    std::iter::once(&lease.driver.process).chain(&lease.process)
}

fn is_foreign(writer: &Writer, lease: &Lease, dir: &ClaudeDir, gateway_pid: u32) -> Result<bool, ClaudeError> {
    let mut seen_here = Vec::new();
    for process in own(lease) {
        if alive(process)? == Alive::Yes {
            seen_here.push(process.pid);
        }
    }
    let pid = writer.process.pid;
    if is_below(pid, &seen_here)? || holds_lock(writer, lease, dir)? {
        return Ok(false);
    }
    let told_apart = !seen_here.is_empty() || lease.copy.is_some();
    let counts = matches!(writer.by, By::OpenFile) && told_apart || is_under(pid, gateway_pid)?;
    // It may have ended while it was looked at.
    Ok(counts && alive(&writer.process)? == Alive::Yes)
}

/// Whether a process holds the lock that the driver's Claude Code was started with.
fn holds_lock(writer: &Writer, lease: &Lease, dir: &ClaudeDir) -> Result<bool, ClaudeError> {
    let Some(held) = &lease.lock else { return Ok(false) };
    let all: Vec<Seen> = holders(&lock::path_of(dir, &held.name))?;
    Ok(all.iter().any(|seen| seen.process() == writer.process))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use ride_core::event::{Act, ClaimAsked, Event, Outcome, Reply};
    use ride_core::thread::{ClaudeSession, DriverLock, Parked, Phase, Thread};
    use ride_core::wire::{ChainMark, Driver};
    use ride_store::claude::process::{children_of, identity};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::effects;
    use crate::sync::Sync;

    const KEY: &str = "agent:main:telegram:group:-100:topic:42";
    const CLAUDE: Uuid = Uuid::from_u128(0x11111111_1111_4111_8111_111111111111);
    const OTHER: Uuid = Uuid::from_u128(0x22222222_2222_4222_8222_222222222222);
    /// No process has it: nothing here was started by this gateway.
    const OTHER_GATEWAY: u32 = u32::MAX;

    /// A stand-in process that ends with the test.
    struct Held(Child);

    impl Held {
        fn start(shell: &str) -> Held {
            let mut command = Command::new("sh");
            Held(command.args(["-c", shell]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
        }

        /// A `ride` with a Claude Code below it, and the process id of that.
        fn ride() -> (Held, u32) {
            let ride = Held::start("sleep 60 & wait");
            let claude = until("the child", || children_of(ride.0.id()).unwrap().first().map(|seen| seen.pid));
            (ride, claude)
        }

        fn process(&self) -> Process {
            identity(self.0.id())
        }

        fn end(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.end();
        }
    }

    fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = check() {
                return found;
            }
            assert!(Instant::now() < end, "no {what} in 10 s");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Registers a process as Claude Code does.
    fn register(home: &Path, pid: u32, session: Uuid) -> PathBuf {
        let sessions = home.join(".claude/sessions");
        std::fs::create_dir_all(&sessions).unwrap();
        let start = identity(pid).start.to_string();
        let entry = json!({ "pid": pid, "sessionId": session, "procStart": start, "kind": "interactive" });
        let path = sessions.join(format!("{pid}.json"));
        std::fs::write(&path, entry.to_string()).unwrap();
        path
    }

    fn gateway(home: &Path) -> Sync {
        let state = home.join("state");
        std::fs::create_dir_all(&state).unwrap();
        let config = json!({ "lockDir": home.join("locks") });
        Sync::open(&json!({ "stateDir": state, "config": config, "pid": std::process::id() }).to_string()).unwrap()
    }

    fn claim(sync: &Sync, home: &Path, ride: Process) {
        let asked = ClaimAsked {
            driver: Driver { name: "ada".into(), host: "laptop".into(), process: ride },
            identity: None,
            secret_sha256: "s".into(),
            grant: Uuid::new_v4(),
            title: "Lab".into(),
            claude: Some(ClaudeSession {
                id: CLAUDE,
                config_dir: home.join(".claude").display().to_string(),
                cwd: home.display().to_string(),
            }),
            route: None,
            twins: Vec::new(),
            wait_ms: 5_000,
            steal: false,
            adopts: None,
            session_held: None,
        };
        let (_, reply) = sync.apply(KEY, Event::Claim(Box::new(asked))).unwrap();
        assert!(matches!(reply, Reply::Claiming { .. }), "{reply:?}");
    }

    /// Performs what there is to do now: proofs are real, the host's part goes well.
    fn perform(sync: &Sync) -> Thread {
        let performer = Uuid::from_u128(1);
        loop {
            let take = Event::Take { performer, behind: false, flying: Vec::new() };
            let (thread, Reply::Work { effects, .. }) = sync.apply(KEY, take).unwrap() else { panic!("no work") };
            if effects.is_empty() {
                return thread;
            }
            for effect in effects {
                let outcome = match &effect.act {
                    Act::Prove { .. } => effects::perform(sync, &effect.act),
                    Act::Copy { .. } => Outcome::Copied {
                        bindings: vec![Parked { session: KEY.into(), binding: json!({}), reset_mark: String::new() }],
                    },
                    Act::Mark { .. } => {
                        let tail_sha256 = String::new();
                        let mark = ChainMark { path: "/t".into(), dev: 1, ino: 1, size: 1, tail_sha256, leaf: None };
                        Outcome::Marked { mark, beside: Vec::new() }
                    }
                    Act::Show { .. } => Outcome::Shown { turns: Vec::new(), beside: Vec::new() },
                    Act::Send { .. } => Outcome::Sent { message_id: "1".into() },
                    _ => Outcome::Ok,
                };
                sync.apply(KEY, Event::Done { op: effect.op, performer, outcome }).unwrap();
            }
        }
    }

    fn ridden(sync: &Sync) -> Box<Lease> {
        match sync.store.read(KEY).unwrap().unwrap().phase {
            Phase::Ridden { lease } => lease,
            other => panic!("not ridden: {other:?}"),
        }
    }

    // Rules LEASE-24, LEASE-8.
    #[test]
    fn a_writer_that_appears_after_the_grant_ends_the_ride_and_keeps_the_thread_closed() {
        let home = tempfile::tempdir().unwrap();
        let sync = gateway(home.path());
        let look = || sync.call("writer", &json!(KEY).to_string()).unwrap();
        let (mut ride, claude) = Held::ride();
        claim(&sync, home.path(), ride.process());
        perform(&sync);
        register(home.path(), claude, CLAUDE);
        assert_eq!(look(), "false", "the driver's own Claude Code, before the gateway was told of it");

        let mut other = Held::start("exec sleep 60");
        register(home.path(), other.0.id(), CLAUDE);
        ridden(&sync);
        assert_eq!(look(), "true");
        let said = perform(&sync);
        assert_eq!(said.phase_name(), "leaving");
        assert!(said.journal.iter().any(|line| line.what.contains(&format!("process {} (", other.0.id()))));

        // The driver was told, and has ended.
        ride.end();
        let _ = Command::new("kill").args(["-9", &claude.to_string()]).status();
        for _ in 0..10 {
            assert_eq!(perform(&sync).phase_name(), "leaving", "closed as long as it lives");
            std::thread::sleep(Duration::from_millis(50));
        }
        other.end();
        until("open thread", || (perform(&sync).phase_name() == "open").then_some(()));
    }

    // Rule LEASE-24.
    #[test]
    fn only_what_is_surely_not_the_drivers_counts() {
        let home = tempfile::tempdir().unwrap();
        let sync = gateway(home.path());
        let (ride, claude) = Held::ride();
        claim(&sync, home.path(), ride.process());
        perform(&sync);
        let lease = ridden(&sync);
        register(home.path(), claude, CLAUDE);
        let found = |lease: &Lease| beside(lease, std::process::id()).unwrap().map(|writer| writer.process.pid);

        let other = Held::start("exec sleep 60");
        let entry = register(home.path(), other.0.id(), OTHER);
        assert_eq!(found(&lease), None, "it is on another Claude session");
        register(home.path(), other.0.id(), CLAUDE);
        let pid = other.0.id();
        assert_eq!(found(&lease), Some(pid));
        assert_eq!(beside(&lease, OTHER_GATEWAY).unwrap(), None, "somebody opened it in a terminal");
        let known = Lease { process: Some(other.process()), ..(*lease).clone() };
        assert_eq!(found(&known), None, "it is the driver's Claude Code");

        // Nothing of the driver is seen from here: any process may be its own.
        let mut far = (*lease).clone();
        far.driver.process.namespace = Some("pid:[1]".into());
        std::fs::remove_file(home.path().join(format!(".claude/sessions/{claude}.json"))).unwrap();
        assert_eq!(found(&far), Some(pid), "this gateway started it");
        assert_eq!(beside(&far, OTHER_GATEWAY).unwrap(), None);
        std::fs::remove_file(entry).unwrap();
        assert_eq!(found(&lease), None);

        // What holds the driver's lock is the driver's, whoever started it.
        let dir = ClaudeDir::at(home.path().join(".claude"));
        let driver = lock::DriverLock::take(&dir).unwrap();
        let path = lock::path_of(&dir, driver.name());
        let heir = Held::start(&format!("exec sleep 60 9<'{}'", path.display()));
        register(home.path(), heir.0.id(), CLAUDE);
        let locked = Lease { lock: Some(DriverLock { name: driver.name().into(), mutual: false }), ..(*lease).clone() };
        assert_eq!(found(&lease), Some(heir.0.id()));
        until("descriptor", || found(&locked).is_none().then_some(()));
    }
}
