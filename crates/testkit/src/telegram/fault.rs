//! The log of API calls, and the faults a test plans for them.

use std::time::{Duration, SystemTime};

use serde_json::Value;

/// How a call goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Telegram refuses: nothing happens, the error is answered.
    Refuse {
        /// The HTTP status and `error_code`.
        code: u16,
        /// The description.
        description: String,
        /// Seconds to wait, given with 429.
        retry_after: Option<u64>,
    },
    /// The call hangs this long before it is performed and answered; if the caller hangs up first it never is.
    Hang(Duration),
    /// The call is performed, but the connection drops without an answer: outcome unknown to the caller.
    AnswerLost,
    /// The connection drops and nothing was performed, which the caller cannot tell from [`Fault::AnswerLost`].
    RequestLost,
}

impl Fault {
    /// Makes a refusal without `retry_after`.
    pub fn refuse(code: u16, description: &str) -> Self {
        Self::Refuse { code, description: description.into(), retry_after: None }
    }

    /// Makes Telegram's flood refusal.
    pub fn flood(retry_after: u64) -> Self {
        let description = format!("Too Many Requests: retry after {retry_after}");
        Self::Refuse { code: 429, description, retry_after: Some(retry_after) }
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not performed yet: it hangs, or its caller hung up while it did.
    Pending,
    /// Performed and answered.
    Answered,
    /// Refused with this code.
    Refused(u16),
    /// Performed, but its answer was dropped.
    AnswerLost,
    /// Dropped without being performed.
    RequestLost,
}

/// One Bot API call.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it arrived.
    pub at: SystemTime,
    /// The method as called.
    pub method: String,
    /// The parameters as one object; form values are strings.
    pub params: Value,
    /// What became of it.
    pub outcome: Outcome,
    /// The message it made or changed.
    pub message: Option<i64>,
}

/// Faults that have not happened yet, in the order planned.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(String, u32, Fault)>);

impl Faults {
    pub(super) fn plan(&mut self, method: &str, times: u32, fault: Fault) {
        self.0.push((method.to_lowercase(), times, fault));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn take(&mut self, method: &str) -> Option<Fault> {
        self.0.retain(|(_, left, _)| *left > 0);
        let planned = self.0.iter_mut().find(|(name, ..)| name.eq_ignore_ascii_case(method))?;
        planned.1 -= 1;
        Some(planned.2.clone())
    }
}
