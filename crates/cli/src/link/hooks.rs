//! What Claude Code's command hooks send, exactly as it writes it, and what they may
//! answer. `ride hook <event>` carries both unread to `POST /hook/<event>`.
//!
//! | event              | ride                                             |
//! | ------------------ | ------------------------------------------------ |
//! | `SessionStart`     | takes it for a greeting; learns of another Claude session |
//! | `UserPromptSubmit` | lets the prompt begin, or blocks it              |
//! | `Stop`             | looks at the transcript now; shows what is new   |
//!
//! Lenient in what it reads: unknown fields and events are fine. Measured on 2.1.197
//! and 2.1.330; a release before 2.1.197 was not tried.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A hook's standard input.
#[derive(Debug, Deserialize)]
pub struct Fired {
    pub session_id: Uuid,
    /// The session's folder now; tools may have changed it.
    #[serde(default)]
    pub cwd: PathBuf,
    /// What began: `startup`, `resume`, `clear`, `compact`, `fork`.
    #[serde(default)]
    pub source: Option<String>,
    /// Why it ended: `clear`, `resume`, `logout`, `prompt_input_exit`, `other`.
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub prompt: String,
    /// The turn's id, as the prompt's line will have it; that of the running turn
    /// where a newer host asks for a prompt that will wait.
    #[serde(default)]
    pub prompt_id: Option<String>,
}

/// A hook's standard output.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Shown to the person, not to the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_specific_output: Option<Beside>,
}

/// What is said beside a prompt.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    pub hook_event_name: &'static str,
    /// To the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_context: Option<String>,
    /// Whether Claude Code leaves out the prompt it does not send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress_original_prompt: Option<bool>,
}

/// A prompt of more is not shown again when it is refused: on 2.1.197 the reason stands
/// above it, and would be off the screen.
const SHOWN_AGAIN: usize = 2_000;

impl Beside {
    pub fn prompt(additional_context: String) -> Beside {
        Beside {
            hook_event_name: "UserPromptSubmit",
            additional_context: Some(additional_context),
            suppress_original_prompt: None,
        }
    }
}

impl Answer {
    /// Keeps a prompt of so many bytes out; the person sees why.
    pub fn block(reason: String, bytes: usize) -> Answer {
        let hidden = Beside {
            hook_event_name: "UserPromptSubmit",
            additional_context: None,
            suppress_original_prompt: Some(true),
        };
        let (reason, hook_specific_output) = match bytes > SHOWN_AGAIN {
            true => (format!("{reason}; ↑ brings it back"), Some(hidden)),
            false => (reason, None),
        };
        Answer { decision: Some("block"), reason: Some(reason), hook_specific_output, ..Answer::default() }
    }
}

/// Whether a prompt is one of Claude Code's own (a finished task, another session).
/// Its hooks name no origin; these words stand first in what no person types.
pub fn by_machine(prompt: &str) -> bool {
    ["<task-notification", "<cross-session-message"].iter().any(|mark| prompt.starts_with(mark))
}
