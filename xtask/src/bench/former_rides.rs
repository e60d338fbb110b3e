//! The separate case of a thread that needs its binding kept: once ridden, on an
//! OpenClaw that would begin a new Claude session when the surfaces alternate.

use anyhow::{Context, Result};
use ride_testkit::{Anthropic, Gateway, Person, Place, Plugin, Telegram};
use serde_json::{Value, json};

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use super::stage::connected;
use crate::build::{self, Packed};

/// The newest pinned one of its kind.
const HOST: &str = "2026.6.35";
const TURN: std::time::Duration = std::time::Duration::from_secs(180);
const GROUP: i64 = -1_003_333_333_000;

pub(super) async fn measure(packed: &Packed) -> Result<Section> {
    eprintln!("starting OpenClaw {HOST}");
    let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
    let plugin = packed.addon.parent().and_then(std::path::Path::parent).context("the addon lies in its package")?;
    let ours = Plugin { id: "claude-code-sync".into(), source: packed.plugin.clone(), config: json!({}) };
    let (probe, steps) =
        (build::root().join("crates/testkit/probe-plugin"), build::root().join("xtask/src/bench/steps"));
    let probe = Plugin { id: "ride-probe".into(), source: probe, config: json!({ "steps": steps }) };
    let gateway = Gateway::builder(&telegram, &anthropic).version(HOST).plugin(ours).plugin(probe).start().await?;
    telegram.wait_until_polled(TURN).await?;
    for n in 0..2 {
        let place = Place::group(GROUP - n, &format!("Group {n}"));
        telegram.says(&Person::tess(), &place, "hello");
        telegram.wait_for_bot(&place, TURN, "]: hello").await?;
    }
    let state = tempfile::tempdir().context("could not make a state folder")?;
    let (connection, _events) = connected(&gateway, state.path()).await?;
    let key = |n: i64| format!("agent:main:telegram:group:{}", GROUP - n);
    let params = json!({ "step": "kept", "plugin": plugin, "kept": key(0), "never": key(1) });
    let took: Value = connection.call_within("probe_step", &params, TURN).await?;
    let of = |name: &str| -> Result<Samples> {
        let all = took[name].as_str().with_context(|| format!("no times of {name}"))?;
        Ok(Samples::from(
            all.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>().context("could not read a time")?,
        ))
    };
    let (written, kept, never) = (of("written")?, of("kept")?, of("never")?);
    let row = |what: &str, samples: &Samples| {
        Row::plain(what, samples.shown(Unit::Ms)).against(
            format!("one of a thread never ridden {}", never.shown(Unit::Ms)),
            samples.median() / never.median(),
        )
    };
    Ok(Section {
        title: "The gate on a thread that needs its binding kept",
        how: format!(
            "As above, inside OpenClaw {HOST}, by turns for a thread that was ridden before and one that never was. Where a run has\n\
             just written the former's binding, it is patched in the host's store (two entries long here) before the host goes on;\n\
             within 1.5 s of each run's end that is done already. On OpenClaw 2026.7 and later such a thread is like any other."
        ),
        rows: vec![
            row("a message of a thread once ridden, right after a run", &written),
            row("the same, its binding kept already", &kept),
        ],
    })
}
