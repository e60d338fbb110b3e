//! What the plugin costs a gateway that does not use it: time to start, and memory.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ride_testkit::{Anthropic, Gateway, Plugin, Telegram};
use serde_json::json;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use crate::build::Packed;

const ROUNDS: usize = 3;
/// Memory is looked at so long after the start: what starting needed has been given back.
const SETTLED: Duration = Duration::from_secs(15);

pub(super) async fn measure(packed: &Packed) -> Result<Section> {
    eprintln!("starting gateways with and without the plugin");
    let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
    let ours = Plugin { id: "claude-code-sync".into(), source: packed.plugin.clone(), config: json!({}) };
    let mut with = Gateway::builder(&telegram, &anthropic).plugin(ours).prepare().await?;
    let mut without = Gateway::builder(&telegram, &anthropic).prepare().await?;
    // Once each unmeasured: the host fills its compile cache, the kernel its page cache.
    started(&mut with).await?;
    started(&mut without).await?;
    let [mut ours_ready, mut bare_ready, mut ours_memory, mut bare_memory] =
        std::array::from_fn(|_| Samples::default());
    for _ in 0..ROUNDS {
        for (gateway, ready, memory) in
            [(&mut with, &mut ours_ready, &mut ours_memory), (&mut without, &mut bare_ready, &mut bare_memory)]
        {
            let (took, mib) = started(gateway).await?;
            ready.push(took);
            memory.push(mib);
        }
    }
    let mib = |samples: &Samples| format!("{:.0} MiB, n={ROUNDS}", samples.median());
    Ok(Section {
        title: "The gateway with the plugin against without",
        how: format!(
            "The same gateway with Telegram and Claude Code as its runtime, started by turns with and without the plugin, after one\n\
             unmeasured start of each: from spawn until it says that it is ready, and its resident memory {} s later.",
            SETTLED.as_secs()
        ),
        rows: vec![
            Row::plain("start until ready", ours_ready.shown(Unit::Ms))
                .against(format!("without {}", bare_ready.shown(Unit::Ms)), ours_ready.median() / bare_ready.median()),
            Row::plain("memory", mib(&ours_memory))
                .against(format!("without {}", mib(&bare_memory)), ours_memory.median() / bare_memory.median()),
        ],
    })
}

/// Starts, waits, looks, stops: milliseconds and MiB.
async fn started(gateway: &mut Gateway) -> Result<(f64, f64)> {
    let begin = Instant::now();
    gateway.start().await?;
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    tokio::time::sleep(SETTLED).await;
    let pid = gateway.pid().context("the gateway runs")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("could not look at the gateway's memory")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("the kernel does not tell memory")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("memory is a number")?;
    gateway.stop().await;
    Ok((took, kib / 1024.0))
}
