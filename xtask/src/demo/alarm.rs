//! A reason to stop that no key gave: a signal, or a panic in another thread.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Rings once, for all its copies.
#[derive(Clone)]
pub(super) struct Alarm(Arc<watch::Sender<bool>>);

impl Alarm {
    /// Rings on SIGINT, SIGTERM and SIGHUP from now on; they no longer end this process by themselves.
    pub(super) fn on_signals(runtime: &Runtime) -> Result<Alarm> {
        let alarm = Alarm(Arc::new(watch::Sender::new(false)));
        let _in_runtime = runtime.enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signal = signal(kind).context("could not listen for signals")?;
            let alarm = alarm.clone();
            runtime.spawn(async move {
                signal.recv().await;
                alarm.ring();
            });
        }
        Ok(alarm)
    }

    pub(super) fn ring(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn rang(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it rings.
    pub(super) async fn wait(&self) {
        // An error means that no copy is left; this is one.
        let _ = self.0.subscribe().wait_for(|rang| *rang).await;
    }
}
