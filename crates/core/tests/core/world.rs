//! A thread with a clock and short names for what can happen to it.

use ride_core::event::{Act, ClaimAsked, Effect, Ending, Event, Inbound, Outcome, Reply};
use ride_core::id::{Fence, Process, Route, ThreadKey};
use ride_core::rules::Rules;
use ride_core::step::step;
use ride_core::thread::{Adopts, ClaudeSession, Parked, Thread};
use ride_core::time::Now;
use ride_core::wire::{ChainMark, Driver, Holder, RelayItem, RelayKind};
use serde_json::json;
use uuid::Uuid;

pub const SESSION: &str = "agent:main:telegram:group:-100:topic:42";

#[derive(Clone)]
pub struct World {
    pub t: Thread,
    pub now: Now,
    pub rules: Rules,
    pub performer: Uuid,
    pub disk: bool,
    /// The thread has no Claude session: claims are chat rides.
    pub chat: bool,
    /// What the performer has under way.
    pub flying: Vec<u64>,
    /// Who claims, as the host has found out.
    pub identity: Option<String>,
}

pub fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub fn route() -> Route {
    Route {
        channel: "telegram".into(),
        to: "telegram:-100:topic:42".into(),
        account_id: Some("default".into()),
        thread_id: Some("42".into()),
    }
}

pub fn mark() -> ChainMark {
    ChainMark { path: "/t.jsonl".into(), dev: 1, ino: 2, size: 3, tail_sha256: "00".into(), leaf: Some(id(7)) }
}

pub fn item(name: &str, kind: RelayKind) -> RelayItem {
    RelayItem { id: name.into(), kind, text: format!("text of {name}") }
}

impl World {
    pub fn new() -> Self {
        let key = ThreadKey { gateway: "/state".into(), session: SESSION.into() };
        World {
            t: Thread::new(key, id(1)),
            now: Now { boot: 1, mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 },
            rules: Rules::default(),
            performer: id(100),
            disk: true,
            chat: false,
            flying: Vec::new(),
            identity: None,
        }
    }

    pub fn does(&mut self, event: Event) -> Reply {
        let (t, reply) = step(self.t.clone(), event, self.now, &self.rules);
        self.t = t;
        if self.disk {
            // Through the disk and back, as in the store: what is not written is not there.
            let text = serde_json::to_string(&self.t).unwrap();
            self.t = serde_json::from_str(&text).unwrap();
        }
        reply
    }

    pub fn wait(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
    }

    /// The gateway is gone and another performer comes.
    pub fn crash(&mut self) {
        self.flying.clear();
        self.performer = id(self.performer.as_u128() + 1);
    }

    pub fn claim(&mut self, name: &str, grant: u128) -> Reply {
        self.claim_from(name, grant, 10)
    }

    pub fn claim_from(&mut self, name: &str, grant: u128, pid: u32) -> Reply {
        self.asks(name, grant, pid, false)
    }

    /// Takes the thread over from whoever rides it.
    pub fn steal(&mut self, name: &str, grant: u128, pid: u32) -> Reply {
        self.asks(name, grant, pid, true)
    }

    /// Claims a thread whose Claude session is held through another one.
    pub fn claim_of_held(&mut self, holder: Holder) -> Reply {
        let asked = ClaimAsked { session_held: Some(holder), ..self.asked("ada", 500, 10, false) };
        self.does(Event::Claim(Box::new(asked)))
    }

    fn asks(&mut self, name: &str, grant: u128, pid: u32, steal: bool) -> Reply {
        let asked = self.asked(name, grant, pid, steal);
        self.does(Event::Claim(Box::new(asked)))
    }

    fn asked(&self, name: &str, grant: u128, pid: u32, steal: bool) -> ClaimAsked {
        ClaimAsked {
            identity: self.identity.clone(),
            driver: Driver {
                name: name.into(),
                host: "laptop".into(),
                process: Process { machine: "m".into(), namespace: None, pid, start: 20 },
            },
            secret_sha256: format!("secret of {name}"),
            grant: id(grant),
            title: "Lab › topic".into(),
            claude: (!self.chat).then(|| ClaudeSession { id: id(50), config_dir: "/c".into(), cwd: "/w".into() }),
            route: Some(route()),
            twins: Vec::new(),
            wait_ms: 5_000,
            session_held: None,
            steal,
            adopts: None,
        }
    }

    /// Asks for another Claude session behind the thread.
    pub fn adopt(&mut self, name: &str, to: u128, from: Option<u128>) -> Reply {
        let session = |n: u128| ClaudeSession { id: id(n), config_dir: "/c".into(), cwd: "/w".into() };
        self.does(Event::Claim(Box::new(ClaimAsked {
            identity: None,
            driver: Driver {
                name: name.into(),
                host: "laptop".into(),
                process: Process { machine: "m".into(), namespace: None, pid: 10, start: 20 },
            },
            secret_sha256: format!("secret of {name}"),
            grant: id(900),
            title: "Lab › topic".into(),
            claude: Some(session(to)),
            route: Some(route()),
            twins: Vec::new(),
            wait_ms: 5_000,
            session_held: None,
            steal: false,
            adopts: Some(Adopts { from: from.map(session) }),
        })))
    }

    pub fn says(&mut self, n: u32, text: &str) -> Reply {
        self.says_as("1001", "Ada", n, text)
    }

    /// Somebody else of the chat writes.
    pub fn says_as(&mut self, sender: &str, name: &str, n: u32, text: &str) -> Reply {
        self.does(Event::Message(Box::new(inbound(sender, name, n, text))))
    }

    /// A message of a thread whose Claude session another thread holds.
    pub fn message_behind(&mut self, n: u32, behind: Option<Holder>) -> Reply {
        let message = Inbound { behind, ..inbound("1001", "Ada", n, "hello") };
        self.does(Event::Message(Box::new(message)))
    }

    /// A `chat.send` of some client reaches the gate.
    pub fn sends(&mut self, client: &str, text: &str) -> Reply {
        self.does(Event::Message(Box::new(Inbound {
            id: format!("webchat||{SESSION}|{client}"),
            unnamed: None,
            sender: "gateway-client".into(),
            name: "gateway-client".into(),
            text: text.into(),
            client: Some(client.into()),
            route: None,
            host: json!(null),
            claude: None,
            behind: None,
        })))
    }

    pub fn take(&mut self) -> Vec<Effect> {
        self.takes(false)
    }

    fn takes(&mut self, behind: bool) -> Vec<Effect> {
        let flying = self.flying.clone();
        match self.does(Event::Take { performer: self.performer, behind, flying }) {
            Reply::Work { effects, .. } => {
                self.flying.extend(effects.iter().map(|e| e.op));
                effects
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn done(&mut self, op: u64, outcome: Outcome) {
        let performer = self.performer;
        self.flying.retain(|o| *o != op);
        assert_eq!(self.does(Event::Done { op, performer, outcome }), Reply::Ok);
    }

    /// Performs everything, all going well, until nothing is left to do now.
    pub fn settle(&mut self) -> Vec<Act> {
        self.settles(false)
    }

    /// The same while another thread holds the Claude session.
    pub fn settle_behind(&mut self) -> Vec<Act> {
        self.settles(true)
    }

    fn settles(&mut self, behind: bool) -> Vec<Act> {
        let mut acts = Vec::new();
        for _ in 0..200 {
            let effects = self.takes(behind);
            if effects.is_empty() {
                return acts;
            }
            for effect in effects {
                self.done(effect.op, fine(&effect.act));
                acts.push(effect.act);
            }
        }
        panic!("never came to rest");
    }

    pub fn fence(&self) -> Fence {
        self.t.lease().unwrap().fence
    }

    pub fn ridden_by(name: &str) -> World {
        let mut w = World::new();
        w.claim(name, 500);
        w.settle();
        assert_eq!(w.t.phase_name(), "ridden");
        w
    }
}

/// How an effect ends when all goes well.
pub fn fine(act: &Act) -> Outcome {
    match act {
        Act::Copy { sessions, .. } => Outcome::Copied {
            bindings: sessions
                .iter()
                .map(|s| Parked { session: s.clone(), binding: json!({"sessionId": "x"}), reset_mark: String::new() })
                .collect(),
        },
        Act::Mark { .. } => Outcome::Marked { mark: mark(), beside: Vec::new() },
        Act::Show { .. } => Outcome::Shown { turns: Vec::new(), beside: Vec::new() },
        Act::Send { item, .. } => Outcome::Sent { message_id: item.seq.to_string() },
        Act::Probe { .. } => Outcome::Alive,
        Act::Look { .. } => Outcome::Looked { gone: Vec::new(), unseen: Vec::new() },
        Act::Follow { id, .. } => Outcome::Answered { how: Ending::Complete, text: format!("answer to {id}") },
        _ => Outcome::Ok,
    }
}

/// The name of an effect, for comparing orders.
pub fn name(act: &Act) -> &'static str {
    match act {
        Act::Settle { .. } => "settle",
        Act::EndChild { .. } => "end child",
        Act::Copy { .. } => "copy",
        Act::Park { .. } => "park",
        Act::Barrier { .. } => "barrier",
        Act::Acknowledge { .. } => "acknowledge",
        Act::Prove { .. } => "prove",
        Act::Mark { .. } => "mark",
        Act::Adopt { .. } => "adopt",
        Act::Probe { .. } => "probe",
        Act::Look { .. } => "look",
        Act::Show { .. } => "show",
        Act::Restore { .. } => "restore",
        Act::Send { .. } => "send",
        Act::Hand { .. } => "hand",
        Act::Follow { .. } => "follow",
    }
}

/// A message of the thread's channel.
pub fn inbound(sender: &str, name: &str, n: u32, text: &str) -> Inbound {
    Inbound {
        id: format!("m{n}"),
        unnamed: None,
        sender: sender.into(),
        name: name.into(),
        text: text.into(),
        client: None,
        route: Some(route()),
        host: json!({}),
        claude: None,
        behind: None,
    }
}
