//! A chat as a reader sees it now.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a message carries beside text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `photo`, `document`, `voice`, …
    pub kind: String,
    /// The file's name, as uploaded.
    pub name: String,
    /// The bytes uploaded, empty if the bot named a URL or file id.
    pub bytes: Vec<u8>,
}

/// A message as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The message id.
    pub id: i64,
    /// The writer's name.
    pub from: String,
    /// Whether the bot wrote it.
    pub by_bot: bool,
    /// The text or caption without markup.
    pub text: String,
    /// Media, if any.
    pub media: Option<Media>,
    /// How often the text was changed.
    pub edits: u32,
    /// Reactions the bot has on it.
    pub reactions: Vec<String>,
    /// The message it answers.
    pub reply_to: Option<i64>,
    /// Inline buttons: label and callback data.
    pub buttons: Vec<(String, String)>,
    /// When it was sent.
    pub at: SystemTime,
}

/// A chat or topic as a reader sees it, oldest message first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatView {
    /// The title, with the topic's name.
    pub title: String,
    /// What is there now; deleted messages are not.
    pub messages: Vec<Shown>,
}

impl ChatView {
    /// Gives `name: text` of each message, the form tests compare.
    pub fn lines(&self) -> Vec<String> {
        self.messages.iter().map(|shown| format!("{}: {}", shown.from, shown.text)).collect()
    }

    /// Gives the texts the bot wrote.
    pub fn by_bot(&self) -> Vec<&str> {
        self.messages.iter().filter(|shown| shown.by_bot).map(|shown| shown.text.as_str()).collect()
    }

    /// Counts the messages, of anyone, that contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.messages.iter().filter(|shown| shown.text.contains(text)).count()
    }

    /// Tells whether the bot wrote a message that contains `text`.
    pub fn bot_wrote(&self, text: &str) -> bool {
        self.by_bot().iter().any(|written| written.contains(text))
    }
}

impl fmt::Display for ChatView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "── {} ──", self.title)?;
        for shown in &self.messages {
            let seconds = shown.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) % 86_400;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            write!(f, "{hours:02}:{minutes:02}:{:02}  {}: ", seconds % 60, shown.from)?;
            if let Some(media) = &shown.media {
                write!(f, "[{} {}] ", media.kind, media.name)?;
            }
            write!(f, "{}", shown.text.replace('\n', "\n          "))?;
            for (label, _) in &shown.buttons {
                write!(f, " [{label}]")?;
            }
            if !shown.reactions.is_empty() {
                write!(f, " {}", shown.reactions.join(""))?;
            }
            match shown.edits {
                0 => writeln!(f)?,
                1 => writeln!(f, "  (edited)")?,
                edits => writeln!(f, "  (edited {edits} times)")?,
            }
        }
        Ok(())
    }
}
