//! Who writes, and where: the identities a test chooses.

use serde_json::{Value, json};

/// A person on Telegram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user id, which allowlists name.
    pub id: i64,
    /// The name shown in the chat.
    pub first_name: String,
    /// The username without `@`, if the person has one.
    pub username: Option<String>,
}

impl Person {
    /// Makes a person with a username.
    pub fn new(id: i64, first_name: &str, username: &str) -> Self {
        Self { id, first_name: first_name.into(), username: Some(username.into()) }
    }

    /// Makes Tess, user 1001, whom test gateways allow by default.
    pub fn tess() -> Self {
        Self::new(1001, "Tess", "tess")
    }

    /// Makes Omar, user 1002, whom test gateways allow by default.
    pub fn omar() -> Self {
        Self::new(1002, "Omar", "omar")
    }

    pub(super) fn wire(&self) -> Value {
        let mut user = json!({ "id": self.id, "is_bot": false, "first_name": self.first_name, "language_code": "en" });
        if let Some(username) = &self.username {
            user["username"] = username.as_str().into();
        }
        user
    }
}

/// A chat, or one topic of a forum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The chat id.
    pub chat: i64,
    /// The topic (`message_thread_id`), if the chat is a forum and this is not its general topic.
    pub topic: Option<i64>,
    /// The title shown above the chat.
    pub title: String,
    pub(super) topic_name: Option<String>,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Direct,
    Group,
    Forum,
}

impl Place {
    /// Names the direct chat between `person` and the bot.
    pub fn direct(person: &Person) -> Self {
        Self { chat: person.id, topic: None, title: person.first_name.clone(), topic_name: None, kind: Kind::Direct }
    }

    /// Names a group without topics; real group ids start with -100.
    pub fn group(chat: i64, title: &str) -> Self {
        Self { chat, topic: None, title: title.into(), topic_name: None, kind: Kind::Group }
    }

    /// Names a topic of a forum.
    pub fn topic(chat: i64, title: &str, topic: i64, topic_name: &str) -> Self {
        let (topic, topic_name) = (Some(topic), Some(topic_name.into()));
        Self { chat, topic, title: title.into(), topic_name, kind: Kind::Forum }
    }

    /// Names a forum's general topic, whose messages carry no thread id.
    pub fn general(chat: i64, title: &str) -> Self {
        Self { chat, topic: None, title: title.into(), topic_name: None, kind: Kind::Forum }
    }

    /// Telegram's `Chat`; `person` is who the bot talks with in a direct chat.
    pub(super) fn wire(&self, person: &Person) -> Value {
        match self.kind {
            Kind::Direct => {
                let mut chat = json!({ "id": self.chat, "type": "private", "first_name": person.first_name });
                if let Some(username) = &person.username {
                    chat["username"] = username.as_str().into();
                }
                chat
            }
            Kind::Group => json!({ "id": self.chat, "type": "supergroup", "title": self.title }),
            Kind::Forum => {
                json!({ "id": self.chat, "type": "supergroup", "title": self.title, "is_forum": true })
            }
        }
    }
}
