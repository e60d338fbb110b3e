//! `ride ls`, a whole process, against the host's own listing command.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use ride_testkit::Gateway;
use tokio::process::Command;

use super::report::{Row, Section};
use super::sample::{Samples, Unit};
use super::stage::{Stage, THREADS};
use crate::build::Packed;

const ROUNDS: usize = 11;

pub(super) async fn measure(stage: &Stage, packed: &Packed) -> Result<Section> {
    // Once each unmeasured: the host fills its compile cache, the kernel its page cache.
    ride(&stage.gateway, packed).await?;
    host(&stage.gateway).await?;
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        ours.push(ride(&stage.gateway, packed).await?);
        theirs.push(host(&stage.gateway).await?);
    }
    let ratio = ours.median() / theirs.median();
    Ok(Section {
        title: "Listing threads from a shell",
        how: format!(
            "`ride ls` (connects to the running gateway) and `openclaw sessions --json` (reads the host's store) on the same gateway\n\
             with {THREADS} threads, each a whole process from spawn to exit, alternately, after one unmeasured run of each."
        ),
        rows: vec![
            Row::plain("`ride ls`", ours.shown(Unit::Ms))
                .against(format!("`openclaw sessions --json` {}", theirs.shown(Unit::Ms)), ratio)
                .target("≤ 1/50", ratio <= 1.0 / 50.0),
        ],
    })
}

async fn ride(gateway: &Gateway, packed: &Packed) -> Result<f64> {
    let mut command = Command::new(&packed.ride);
    command.arg("ls").current_dir(gateway.workspace()).env_clear();
    command.envs(gateway.environment().iter().map(|(k, v)| (k, v))).kill_on_drop(true);
    let begin = Instant::now();
    let output = command.output().await.context("could not run ride ls")?;
    let took = begin.elapsed();
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    if !output.status.success() || lines < THREADS {
        bail!(
            "ride ls listed {lines} lines and ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(took.as_secs_f64() * 1000.0)
}

async fn host(gateway: &Gateway) -> Result<f64> {
    let begin = Instant::now();
    let said = gateway.cli(&["sessions", "--json"]).await?;
    let took = begin.elapsed();
    let value: serde_json::Value = serde_json::from_str(&said).context("could not read openclaw sessions --json")?;
    let listed = value["sessions"].as_array().map_or(0, Vec::len);
    if listed < THREADS {
        bail!("openclaw sessions --json listed {listed} sessions of at least {THREADS}");
    }
    Ok(took.as_secs_f64() * 1000.0)
}
