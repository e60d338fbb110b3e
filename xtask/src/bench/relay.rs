//! Relayed sends against the channel adapter's own, and what claim and release take.
//! The bench is the driver: it speaks the gateway methods as `ride` does, without a
//! Claude Code, so that nothing but the gateway's part is measured.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use ride_core::id::{Fence, Process};
use ride_core::wire::{
    Claim, Driver, Grant, Relay, RelayItem, RelayKind, Relayed, Release, Released, Renew, Renewed, method,
};
use ride_store::clock::machine;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use super::stage::{RIDDEN, Stage, Thread};

/// Sends of each kind.
const SENDS: usize = 20;
/// Longer than the Telegram plugin keeps a chat waiting after a message (1 s).
const IDLE: Duration = Duration::from_millis(2_000);
/// Claims and releases of each thread after the first.
const HAND_OVERS: usize = 3;
const ANSWER: Duration = Duration::from_secs(150);
const SEEN: Duration = Duration::from_secs(30);

/// The rides under way, and what was measured so far.
pub(super) struct Riding {
    driver: Driver,
    rides: Vec<(Fence, String)>,
    claim_warm: Samples,
    claim_idle: Samples,
    release: Samples,
    /// Request written to `sendMessage` received.
    relayed: Samples,
    /// Request written to its answer: on the gateway's disk.
    accepted: Samples,
    /// That answer to `sendMessage` received.
    sent: Samples,
    /// `sendText` called to `sendMessage` received.
    host: Samples,
    /// A gateway method that does nothing.
    nothing: Samples,
}

#[derive(Deserialize)]
struct SentText {
    /// Nanoseconds of the monotonic clock just before the call, as text.
    called: String,
}

impl Riding {
    /// Claims every thread but the quiet one; each has a warm Claude child to end.
    pub(super) async fn begin(stage: &Stage) -> Result<Self> {
        let pid = std::process::id();
        let me = ride_testkit::Process::find(pid).context("could not find our own process")?;
        let driver = Driver {
            name: "bench".into(),
            host: "bench".into(),
            process: Process { machine: machine(), namespace: None, pid, start: me.start_ticks },
        };
        let mut riding = Riding {
            driver,
            rides: Vec::new(),
            claim_warm: Samples::default(),
            claim_idle: Samples::default(),
            release: Samples::default(),
            relayed: Samples::default(),
            accepted: Samples::default(),
            sent: Samples::default(),
            host: Samples::default(),
            nothing: Samples::default(),
        };
        eprintln!("claiming");
        for thread in &stage.threads[..RIDDEN] {
            let (ride, took) = riding.claim(stage, thread).await?;
            riding.rides.push(ride);
            riding.claim_warm.push(took);
        }
        Ok(riding)
    }

    /// Sends to idle chats, ours and the host's by turns.
    pub(super) async fn sends(&mut self, stage: &Stage) -> Result<()> {
        eprintln!("sending");
        // The first through each way loads the channel's adapter.
        for warm in 0..2 {
            self.send(stage, warm, warm == 0, false).await?;
        }
        for n in 0..SENDS * 2 {
            let chat = n % RIDDEN;
            if chat == 0 {
                tokio::time::sleep(IDLE).await;
                self.renew(stage).await?;
            }
            // Each chat is visited by both ways in turn.
            let ours = (n / RIDDEN + chat).is_multiple_of(2);
            self.send(stage, chat, ours, true).await?;
        }
        Ok(())
    }

    async fn send(&mut self, stage: &Stage, chat: usize, ours: bool, counts: bool) -> Result<()> {
        let thread = &stage.threads[chat];
        let text = format!("bench {}", Uuid::new_v4());
        let begin = Instant::now();
        let _: Value = stage.connection.call(method::CONFIG, &json!({})).await?;
        let nothing = begin.elapsed();
        let (wall, begin) = (SystemTime::now(), Instant::now());
        let (from, answered) = if ours {
            let items = vec![RelayItem { id: text.clone(), kind: RelayKind::Answer, text: text.clone() }];
            let relay = Relay { key: thread.key.clone(), fence: self.rides[chat].0, items };
            let _: Relayed = stage.connection.call(method::RELAY, &relay).await?;
            (wall, begin.elapsed())
        } else {
            let to = format!("telegram:{}", thread.place.chat);
            let params = json!({ "step": "send", "channel": "telegram", "to": to, "threadId": thread.place.topic, "text": text });
            let sent: SentText = stage.connection.call("probe_step", &params).await?;
            (wall_of(sent.called.parse().context("could not read when sendText was called")?), begin.elapsed())
        };
        let is_it = |call: &ride_testkit::telegram::Call| {
            call.method.eq_ignore_ascii_case("sendMessage")
                && call.params["text"].as_str().is_some_and(|t| t.contains(&text))
        };
        let call = stage.telegram.wait_for_call(SEEN, is_it).await?;
        let took = call.at.duration_since(from).context("a message arrived before it was sent")?;
        if counts {
            if ours {
                self.relayed.push(ms(took));
                self.accepted.push(ms(answered));
                // Signed: on a busy machine the answer may be read after the send.
                self.sent.push(ms(took) - ms(answered));
            } else {
                self.host.push(ms(took));
            }
            self.nothing.push(ms(nothing));
        }
        Ok(())
    }

    /// Hands each thread back and takes it again; nothing is left to end or to send.
    pub(super) async fn hand_overs(&mut self, stage: &Stage) -> Result<()> {
        eprintln!("handing over");
        for _ in 0..HAND_OVERS {
            for (i, thread) in stage.threads[..RIDDEN].iter().enumerate() {
                let took = self.release(stage, i).await?;
                self.release.push(took);
                let (ride, took) = self.claim(stage, thread).await?;
                self.rides[i] = ride;
                self.claim_idle.push(took);
            }
            self.renew(stage).await?;
        }
        Ok(())
    }

    /// Releases all and gives what was measured.
    pub(super) async fn end(mut self, stage: &Stage) -> Result<Section> {
        for i in 0..RIDDEN {
            let took = self.release(stage, i).await?;
            self.release.push(took);
        }
        let ratio = self.relayed.median() / self.host.median();
        Ok(Section {
            title: "A ride, seen from the gateway",
            how: format!(
                "A client on loopback drives {RIDDEN} threads of the real gateway by its methods, as `ride` does. Each send goes to a chat\n\
                 silent for {} s, relayed and the host's own by turns. Ours is timed from before `ride_relay` is written to the socket;\n\
                 the host's from the call of the channel adapter's `sendText` inside the gateway; both until the Bot API stand-in has\n\
                 received `sendMessage`. Claim and release are timed until answered: every step of them is synced to disk.",
                IDLE.as_secs()
            ),
            rows: vec![
                Row::plain("first relayed send to an idle chat", self.relayed.shown(Unit::Ms))
                    .against(format!("the host's `sendText` alone {}", self.host.shown(Unit::Ms)), ratio)
                    .target("≤ 2×", ratio <= 2.0),
                Row::plain("of it, until the gateway has it on disk and answers", self.accepted.shown(Unit::Ms)),
                Row::plain("of it, from that answer on", self.sent.shown(Unit::Ms)),
                Row::plain(
                    "a gateway method that does nothing (`ride_config`), for comparison",
                    self.nothing.shown(Unit::Ms),
                ),
                Row::plain("claim, with a warm Claude child to end", self.claim_warm.shown(Unit::Ms)),
                Row::plain("claim, idle thread", self.claim_idle.shown(Unit::Ms)),
                Row::plain("release, nothing written", self.release.shown(Unit::Ms)),
            ],
        })
    }

    async fn claim(&self, stage: &Stage, thread: &Thread) -> Result<((Fence, String), f64)> {
        let secret = Uuid::new_v4().simple().to_string();
        let claim = Claim {
            key: thread.key.clone(),
            driver: self.driver.clone(),
            secret: secret.clone(),
            wait_ms: 60_000,
            steal: false,
            gone: Vec::new(),
        };
        let begin = Instant::now();
        let grant: Grant = stage.connection.call_within(method::CLAIM, &claim, ANSWER).await?;
        Ok(((grant.fence, secret), ms(begin.elapsed())))
    }

    async fn release(&self, stage: &Stage, ride: usize) -> Result<f64> {
        let key = stage.threads[ride].key.clone();
        let release =
            Release { key, fence: self.rides[ride].0, accept_broken_chain: false, wait_ms: 60_000, copy: None };
        let begin = Instant::now();
        let released: Released = stage.connection.call_within(method::RELEASE, &release, ANSWER).await?;
        anyhow::ensure!(released.open, "a release did not come through: {:?}", released.waiting_for);
        Ok(ms(begin.elapsed()))
    }

    async fn renew(&self, stage: &Stage) -> Result<()> {
        for (thread, (fence, secret)) in stage.threads.iter().zip(&self.rides) {
            let renew = Renew {
                key: thread.key.clone(),
                fence: *fence,
                secret: secret.clone(),
                claude: None,
                active: true,
                lock: None,
            };
            let _: Renewed = stage.connection.call(method::RENEW, &renew).await?;
        }
        Ok(())
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// Node's `process.hrtime` is the machine's monotonic clock; the stand-in notes wall time.
fn wall_of(monotonic_ns: u64) -> SystemTime {
    let now = clock_gettime(ClockId::Monotonic);
    let now_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    SystemTime::now() - Duration::from_nanos(now_ns.saturating_sub(monotonic_ns))
}
