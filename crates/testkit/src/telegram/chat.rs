//! The state behind the API: chats, messages as they stand now, updates not yet
//! confirmed, files.
//!
//! Invariant: a message keeps its wire form (what Telegram would answer) and
//! what a reader sees side by side; edits and deletions change both at once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::fault::{Call, Faults, Outcome};
use super::people::{Person, Place};
use super::view::{ChatView, Media, Shown};
use super::{BOT_ID, BOT_USERNAME};

/// Calls kept; a runaway caller must not eat the test's memory.
const MAX_CALLS: usize = 100_000;

/// A chat and, for forums, its topics by thread id.
#[derive(Debug)]
struct Chat {
    wire: Value,
    title: String,
    topics: BTreeMap<i64, String>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) wire: Value,
    pub(super) shown: Shown,
    pub(super) topic: Option<i64>,
}

#[derive(Debug)]
pub(super) struct State {
    chats: BTreeMap<i64, Chat>,
    pub(super) messages: BTreeMap<(i64, i64), Message>,
    next_id: i64,
    next_update: i64,
    updates: VecDeque<Value>,
    confirmed: i64,
    pub(super) polled: bool,
    /// Grows with each poll: a newer poll ends an older one, as Telegram does.
    pub(super) polls: u64,
    calls: VecDeque<Call>,
    calls_dropped: usize,
    pub(super) faults: Faults,
    files: HashMap<String, Vec<u8>>,
    /// The last place and person that wrote, the defaults of `POST /say`.
    pub(super) last_spoken: Option<(Person, Place)>,
}

impl State {
    pub(super) fn new() -> Self {
        // A gateway remembers the newest update and message it saw, so a new
        // stand-in must go on above the old one's ids.
        let clock = unix_seconds();
        Self {
            chats: BTreeMap::new(),
            messages: BTreeMap::new(),
            next_id: clock % 100_000_000 * 10,
            next_update: clock,
            updates: VecDeque::new(),
            confirmed: 0,
            polled: false,
            polls: 0,
            calls: VecDeque::new(),
            calls_dropped: 0,
            faults: Faults::default(),
            files: HashMap::new(),
            last_spoken: None,
        }
    }

    pub(super) fn new_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    // Updates.

    pub(super) fn queue(&mut self, mut update: Value) {
        update["update_id"] = self.next_update.into();
        self.next_update += 1;
        self.updates.push_back(update);
    }

    /// Confirms everything below `offset` and gives what is due.
    pub(super) fn due(&mut self, offset: i64, limit: usize) -> Vec<Value> {
        self.confirmed = self.confirmed.max(offset);
        self.updates.retain(|update| update["update_id"].as_i64() >= Some(offset));
        self.updates.iter().take(limit).cloned().collect()
    }

    pub(super) fn newest_update(&self) -> i64 {
        self.next_update - 1
    }

    pub(super) fn confirmed(&self) -> i64 {
        // Nothing was ever injected: nothing is left to read.
        if self.updates.is_empty() { self.next_update } else { self.confirmed }
    }

    // Calls.

    /// Logs a call and gives its number for [`State::settle`].
    pub(super) fn log(&mut self, method: &str, params: Value) -> usize {
        if self.calls.len() == MAX_CALLS {
            self.calls.pop_front();
            self.calls_dropped += 1;
        }
        let outcome = Outcome::Pending;
        self.calls.push_back(Call { at: SystemTime::now(), method: method.into(), params, outcome, message: None });
        self.calls_dropped + self.calls.len() - 1
    }

    pub(super) fn settle(&mut self, call: usize, outcome: Outcome, message: Option<i64>) {
        if let Some(call) = call.checked_sub(self.calls_dropped).and_then(|index| self.calls.get_mut(index)) {
            call.outcome = outcome;
            call.message = message;
        }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    // Files.

    pub(super) fn keep_file(&mut self, folder: &str, extension: &str, bytes: &[u8]) -> String {
        let id = format!("{folder}-{}", self.new_id());
        self.files.insert(format!("{folder}/{id}.{extension}"), bytes.to_vec());
        id
    }

    pub(super) fn file_path(&self, id: &str) -> Option<(String, usize)> {
        let named = |path: &&String| path.rsplit('/').next().and_then(|name| name.split('.').next()) == Some(id);
        self.files.keys().find(named).map(|path| (path.clone(), self.files[path].len()))
    }

    pub(super) fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.files.get(path).cloned()
    }

    // Chats.

    pub(super) fn know(&mut self, person: &Person, place: &Place) {
        let wire = place.wire(person);
        let chat = self.chats.entry(place.chat).or_insert_with(|| Chat {
            wire,
            title: place.title.clone(),
            topics: BTreeMap::new(),
        });
        if let (Some(topic), Some(name)) = (place.topic, &place.topic_name) {
            chat.topics.insert(topic, name.clone());
        }
    }

    pub(super) fn chat_wire(&self, chat: i64) -> Option<&Value> {
        self.chats.get(&chat).map(|chat| &chat.wire)
    }

    pub(super) fn has_topic(&self, chat: i64, topic: i64) -> bool {
        self.chats.get(&chat).is_some_and(|chat| chat.topics.contains_key(&topic))
    }

    pub(super) fn new_topic(&mut self, chat: i64, name: &str) -> Option<i64> {
        let topic = self.new_id();
        self.chats.get_mut(&chat)?.topics.insert(topic, name.into());
        Some(topic)
    }

    pub(super) fn rename_topic(&mut self, chat: i64, topic: i64, name: &str) {
        if let Some(chat) = self.chats.get_mut(&chat) {
            chat.topics.insert(topic, name.into());
        }
    }

    /// The place named by a chat and topic that people already write in.
    pub(super) fn place(&self, chat: i64, topic: Option<i64>) -> Option<Place> {
        let known = self.chats.get(&chat)?;
        Some(match topic {
            Some(topic) => {
                Place::topic(chat, &known.title, topic, known.topics.get(&topic).map_or("topic", String::as_str))
            }
            None if known.wire["is_forum"] == true => Place::general(chat, &known.title),
            None if chat < 0 => Place::group(chat, &known.title),
            None => Place { chat, title: known.title.clone(), ..Place::direct(&Person::tess()) },
        })
    }

    // Messages.

    pub(super) fn wire(&self, chat: i64, message: i64) -> Value {
        self.messages.get(&(chat, message)).map_or(Value::Null, |message| message.wire.clone())
    }

    pub(super) fn person_writes(&mut self, person: &Person, place: &Place, fields: Value) -> i64 {
        self.know(person, place);
        let id = self.new_id();
        let mut wire = json!({
            "message_id": id, "from": person.wire(), "chat": place.wire(person), "date": unix_seconds() });
        if let Some(topic) = place.topic {
            wire["message_thread_id"] = topic.into();
            wire["is_topic_message"] = true.into();
            // Telegram makes every plain topic message an answer to the topic's first one.
            wire["reply_to_message"] = json!({
                "message_id": topic, "from": person.wire(), "chat": place.wire(person), "date": unix_seconds(),
                "message_thread_id": topic, "is_topic_message": true,
                "forum_topic_created": { "name": place.topic_name, "icon_color": 7_322_096 } });
        }
        merge(&mut wire, fields);
        set_entities(&mut wire);
        let shown = Shown {
            id,
            from: person.first_name.clone(),
            by_bot: false,
            text: text_of(&wire).into(),
            media: media_of(&wire),
            edits: 0,
            reactions: Vec::new(),
            reply_to: wire["reply_to_message"]["message_id"].as_i64().filter(|to| Some(*to) != place.topic),
            buttons: Vec::new(),
            at: SystemTime::now(),
        };
        self.messages.insert((place.chat, id), Message { wire: wire.clone(), shown, topic: place.topic });
        self.queue(json!({ "message": wire }));
        self.last_spoken = Some((person.clone(), place.clone()));
        id
    }

    pub(super) fn person_edits(&mut self, person: &Person, place: &Place, id: i64, text: &str) {
        let Some(message) = self.messages.get_mut(&(place.chat, id)) else {
            return;
        };
        message.wire["text"] = text.into();
        message.wire["from"] = person.wire();
        message.wire["edit_date"] = unix_seconds().into();
        set_entities(&mut message.wire);
        message.shown.text = text.into();
        message.shown.edits += 1;
        let wire = message.wire.clone();
        self.queue(json!({ "edited_message": wire }));
    }

    pub(super) fn view(&self, place: &Place) -> ChatView {
        let title = match &place.topic_name {
            Some(name) => format!("{} › {name}", place.title),
            None => place.title.clone(),
        };
        let here = self.messages.range((place.chat, 0)..=(place.chat, i64::MAX)).map(|(_, message)| message);
        let messages =
            here.filter(|message| message.topic == place.topic).map(|message| message.shown.clone()).collect();
        ChatView { title, messages }
    }

    pub(super) fn view_all(&self) -> String {
        let mut places: Vec<_> = self.messages.iter().map(|((chat, _), message)| (*chat, message.topic)).collect();
        places.sort_unstable();
        places.dedup();
        let views = places.into_iter().filter_map(|(chat, topic)| self.place(chat, topic));
        views.map(|place| self.view(&place).to_string()).collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn unix_seconds() -> i64 {
    // A clock before 1970 is no clock to test with.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

pub(super) fn bot_wire() -> Value {
    json!({ "id": BOT_ID, "is_bot": true, "first_name": "Bot", "username": BOT_USERNAME,
        "can_join_groups": true, "can_read_all_group_messages": true, "supports_inline_queries": false })
}

pub(super) fn merge(into: &mut Value, fields: Value) {
    if let (Some(into), Value::Object(fields)) = (into.as_object_mut(), fields) {
        into.extend(fields);
    }
}

fn text_of(wire: &Value) -> &str {
    wire["text"].as_str().or(wire["caption"].as_str()).unwrap_or_default()
}

fn media_of(wire: &Value) -> Option<Media> {
    let kinds = ["photo", "document", "voice", "video", "audio", "animation", "sticker"];
    let kind = kinds.into_iter().find(|kind| wire.get(kind).is_some())?;
    let name = wire[kind]["file_name"].as_str().unwrap_or_default().into();
    Some(Media { kind: kind.into(), name, bytes: Vec::new() })
}

/// Marks commands and mentions of the bot, as Telegram does (offsets in UTF-16 units).
fn set_entities(wire: &mut Value) {
    let text = text_of(wire).to_owned();
    let units = |text: &str| text.encode_utf16().count();
    let mut entities = Vec::new();
    if text.starts_with('/') {
        let command = text.split_whitespace().next().unwrap_or_default();
        entities.push(json!({ "type": "bot_command", "offset": 0, "length": units(command) }));
    }
    let mention = format!("@{BOT_USERNAME}");
    if let Some(at) = text.find(&mention) {
        entities.push(json!({ "type": "mention", "offset": units(&text[..at]), "length": mention.len() }));
    }
    if !entities.is_empty() && wire.get("text").is_some() {
        wire["entities"] = entities.into();
    }
}
