//! A person who opens the thread's Claude session in a terminal, outside any ride, with the guard
//! of the installed plugin (`crates/cli/src/command/guard.rs`): it tells the gateway, and stops the
//! prompts of a Claude Code that does not know what the agent answered meanwhile.
//!
//! Where the guard cannot be answered, as after a crash of the gateway, the person types nothing
//! here: nobody prevents that, and `README.md` says so.

use ride_core::event::{Event, OpenedBy};
use ride_core::id::Process;
use ride_core::thread::{ClaudeSession, OpenedStage};
use uuid::Uuid;

use crate::driver::HERE;
use crate::gateway::CLAUDE;
use crate::outside::Line;
use crate::{Next, Sim};

/// Process ids of terminals begin here.
const PIDS: u32 = 900_000;

/// A Claude Code in a terminal.
#[derive(Debug)]
pub struct Terminal {
    pid: u32,
    /// The last line that it knows.
    leaf: Option<Uuid>,
    /// The gateway's process that was told, once one was.
    told: Option<u64>,
}

fn process(pid: u32) -> Process {
    Process { machine: HERE.into(), namespace: None, pid, start: 1 }
}

fn opened(pid: u32, answered: bool) -> Event {
    let claude = ClaudeSession { id: CLAUDE, config_dir: "/c".into(), cwd: "/w".into() };
    let (twins, process, host) = (Vec::new(), process(pid), "box".into());
    Event::Opened(Box::new(OpenedBy { claude, twins, process, host, answered }))
}

impl Terminal {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn is(&self, process: &Process) -> bool {
        self.pid == process.pid
    }

    /// Whether a gateway knows of it.
    pub(crate) fn is_known(&self) -> bool {
        self.told.is_some()
    }
}

impl Sim {
    /// The guard lets nobody type into a ridden session.
    fn guarded(&self) -> bool {
        !self.gateway.up || self.gateway.thread.lease().is_some()
    }

    pub(crate) fn opens(&mut self) {
        if self.guarded() || self.outside.terminal.is_some() {
            return;
        }
        let pid = PIDS + u32::try_from(self.run.steps).unwrap_or(0);
        self.log(format!("terminal {pid}: opens the session"));
        let leaf = self.outside.leaf();
        self.outside.terminal = Some(Terminal { pid, leaf, told: None });
        // The conversation is read first, and the hook runs then.
        let tells = self.dice.between(0, 1_000);
        self.later(tells, Next::Tells { pid });
        let (types, leaves) = (self.dice.between(1_200, 20_000), self.dice.between(2_000, 90_000));
        self.later(types, Next::Types { pid });
        self.later(leaves, Next::Leaves { pid });
    }

    /// The guard tells the gateway; the plugin there knows which turns ran meanwhile.
    pub(crate) fn tells(&mut self, pid: u32) {
        let (guarded, told) = (self.guarded(), self.gateway.process());
        let leaf = self.outside.leaf();
        let Some(terminal) = self.outside.terminal.as_mut().filter(|t| t.pid == pid && !guarded) else { return };
        let ended = terminal.leaf != leaf;
        terminal.told = Some(told);
        if ended {
            self.reached("a turn ended while a terminal read the conversation");
        }
        let answered = ended || !self.outside.agent.is_idle();
        self.tell(opened(pid, answered));
    }

    pub(crate) fn types_there(&mut self, pid: u32) {
        let told = Some(self.gateway.process());
        if self.outside.terminal.as_ref().is_none_or(|t| t.pid != pid || t.told != told) || self.guarded() {
            return;
        }
        self.tell(opened(pid, false));
        let terminals = self.gateway.thread.opened.iter().flat_map(|opened| &opened.terminals);
        if terminals.filter(|t| t.process == process(pid)).any(|t| t.stale) {
            return self.reached("a terminal that was opened beside a turn was stopped");
        }
        self.log(format!("terminal {pid}: types"));
        self.reached("a person typed in a terminal");
        for _ in 0..2 {
            let id = self.uuid();
            let Some(terminal) = &mut self.outside.terminal else { return };
            let line = Line { id, parent: terminal.leaf.replace(id), turn: None };
            if !self.outside.append(line) {
                self.broken("I5: a terminal made a fork");
            }
        }
        let again = self.dice.between(1_200, 20_000);
        self.later(again, Next::Types { pid });
    }

    pub(crate) fn leaves(&mut self, pid: u32) {
        if self.outside.terminal.as_ref().is_none_or(|t| t.pid != pid) {
            return;
        }
        self.log(format!("terminal {pid}: is left"));
        if !self.gateway.thread.inbox.is_empty() {
            self.reached("a message waited for a terminal");
        }
        let says = self.gateway.up && self.dice.one_in(2);
        if says {
            self.tell(Event::Closed { process: process(pid), left: false });
        } else {
            self.reached("a terminal went without a word");
        }
        self.outside.terminal = None;
    }

    /// Nothing of the gateway, and nobody else, writes beside a terminal.
    pub(crate) fn beside_a_terminal(&mut self) {
        let watches = self.gateway.thread.opened.as_ref().is_some_and(|o| o.at.stage == OpenedStage::Watch);
        if self.outside.terminal.is_none() {
            return;
        }
        if watches && self.outside.agent.child {
            self.broken("I1: the agent's Claude lives beside a terminal");
        }
        // What one on a copy writes does not touch this transcript.
        if self.drivers.iter().any(|d| !d.elsewhere && d.claude.is_some()) {
            self.broken("I1: a driver's Claude Code lives beside a terminal");
        }
    }
}
