//! Between a grant and its ride: a person may think about a question, and a long conversation
//! takes its time. The lease is renewed meanwhile.

use std::future::Future;
use std::time::Duration;

use ride_core::wire::{Grant, Renew, Renewed, method};
use tokio::time::sleep;

use crate::error::Error;
use crate::gateway::client::{CallError, Connection};
use crate::render::clean;
use crate::ride::RENEW_WITHIN;
use crate::ride::record::Record;

/// A lease that nobody rides yet.
pub(super) struct Kept {
    connection: Connection,
    renew: Renew,
    every: Duration,
    title: String,
}

impl Kept {
    /// That of a grant, renewed over the connection it came by.
    pub(super) fn new(grant: &Grant, record: &Record, connection: &Connection) -> Kept {
        let renew = Renew {
            key: grant.key.clone(),
            fence: grant.fence,
            secret: record.secret.clone(),
            claude: None,
            active: false,
            lock: None,
        };
        let every = Duration::from_millis(grant.renew_every_ms);
        Kept { connection: connection.clone(), renew, every, title: clean(&grant.title) }
    }

    /// Waits for `work`, as long as the lease is in force. `active` says whether it counts as
    /// activity; a question nobody answers is silence.
    pub(super) async fn during<T>(
        &self,
        active: bool,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            lost = self.renewing(active) => Err(lost),
        }
    }

    /// Renews until the lease is lost.
    async fn renewing(&self, active: bool) -> Error {
        let renew = Renew { active, ..self.renew.clone() };
        loop {
            sleep(self.every).await;
            let renewed = self.connection.call_within::<_, Renewed>(method::RENEW, &renew, RENEW_WITHIN).await;
            // What is waited for meets a lost connection as well, and says so.
            if let Err(CallError::Refused(refusal)) = renewed {
                return Error::lost(&self.title, &refusal.message.to_string(), refusal.details.holder.as_ref());
            }
        }
    }
}
