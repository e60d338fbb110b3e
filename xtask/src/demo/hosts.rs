//! The real gateway between the stand-ins, with living threads to ride.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use ride_testkit::peers::Peer;
use ride_testkit::process::Process;
use ride_testkit::story::Product;
use ride_testkit::telegram::ChatView;
use ride_testkit::{Anthropic, Gateway, Person, Place, Plugin, Program, Telegram, Terminal};
use serde_json::json;

use super::state::Command;

/// How long a turn may take while all threads are being seeded on a small machine.
const TURN: Duration = Duration::from_secs(120);
/// How long `ride` may take to end Claude Code and hand the thread back.
const RIDE_END: Duration = Duration::from_secs(20);
const FORUM: i64 = -1_002_222_222_222;

/// Everything the demo stands on; killed with all children when dropped.
pub(super) struct Hosts {
    product: Product,
    plans: Place,
    gateway: Gateway,
    telegram: Telegram,
    _anthropic: Anthropic,
}

impl Hosts {
    /// Starts all of it and tells on standard error how far it is.
    pub(super) async fn start(product: Product) -> Result<Hosts> {
        fetch(&product).await?;
        let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
        tell("installing the plugin and starting the gateway (20 to 60 s)");
        let plugin = Plugin { id: "claude-code-sync".into(), source: product.plugin.clone(), config: json!({}) };
        let gateway = Gateway::builder(&telegram, &anthropic)
            .version(&product.openclaw)
            .claude_code(&product.claude_code)
            .plugin(plugin)
            .start()
            .await?;
        telegram.wait_until_polled(TURN).await?;
        tell("Tess and Omar write, the gateway's agent answers");
        let plans = Place::topic(FORUM, "Club", 42, "Plans");
        seed(&telegram, &plans).await?;
        Ok(Hosts { product, plans, gateway, telegram, _anthropic: anthropic })
    }

    /// Runs a `ride` command in a terminal, as the person who started the demo.
    pub(super) fn run(&self, command: Command, rows: u16, columns: u16) -> Result<Terminal> {
        let mut program =
            Program::new(&self.product.ride, self.gateway.workspace()).args(command.args().iter().copied());
        // The gateway's logs want no colours; a person does.
        for (name, value) in self.gateway.environment().iter().filter(|(name, _)| name != "NO_COLOR") {
            program = program.env(name, value);
        }
        // Who rides is told in the chat; a container may not say.
        program = program.env("USER", std::env::var_os("USER").unwrap_or_else(|| "you".into()));
        if let Some(colours) = std::env::var_os("COLORTERM") {
            program = program.env("COLORTERM", colours);
        }
        program.size(rows, columns).start().with_context(|| format!("could not run ride {}", command.args().join(" ")))
    }

    /// Writes into the topic.
    pub(super) fn say(&self, person: &Person, text: &str) {
        self.telegram.says(person, &self.plans, text);
    }

    /// The topic as a reader sees it.
    pub(super) fn topic(&self) -> ChatView {
        self.telegram.chat(&self.plans)
    }

    /// Stops everything in good order: the ride, if it still runs, then the gateway.
    pub(super) async fn stop(mut self, mut ride: Terminal) {
        let running = ride.wait_exit(Duration::ZERO).await.is_err();
        if let Some(process) = ride.pid().and_then(Process::find).filter(|_| running) {
            tell("handing the thread back");
            // It may have ended just now, which is what is wanted; what stays is killed on drop.
            let _ = process.signal(15);
            let _ = ride.wait_exit(RIDE_END).await;
        }
        drop(ride);
        tell("stopping the gateway");
        self.gateway.stop().await;
    }
}

/// Fetches what is not there yet.
async fn fetch(product: &Product) -> Result<()> {
    for peer in [Peer::node(), Peer::claude_code(&product.claude_code), Peer::openclaw(&product.openclaw)] {
        if peer.entry().is_err() {
            let name = peer.folder().file_name().map(|name| name.to_string_lossy().into_owned());
            tell(&format!("fetching {} from npm", name.unwrap_or_default()));
        }
        peer.fetched().await?;
    }
    Ok(())
}

/// Gives the gateway its threads: the topic to ride, another one, and a direct chat.
async fn seed(telegram: &Telegram, plans: &Place) -> Result<()> {
    let (tess, omar) = (Person::tess(), Person::omar());
    let kitchen = Place::topic(FORUM, "Club", 43, "Kitchen");
    let direct = Place::direct(&tess);
    let answered = async |place: &Place, person: &Person, text: &str| {
        telegram.says(person, place, text);
        // The stand-in's model answers `echo[N]: ` and the message.
        telegram.wait_for_bot(place, TURN, &format!("]: {text}")).await
    };
    tokio::try_join!(
        async {
            answered(plans, &tess, "the kick-off is on Tuesday at ten").await?;
            answered(plans, &tess, "who brings the projector?").await
        },
        answered(&kitchen, &omar, "the coffee is out"),
        answered(&direct, &tess, "remind me to call the bank"),
    )?;
    Ok(())
}

/// Says how far it is; the terminal may be gone by now.
pub(super) fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "demo: {what}");
}
