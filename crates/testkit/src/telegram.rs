//! The Telegram Bot API on loopback, with the chats behind it as people see them.
//!
//! One stand-in is one bot. People write through the handle (or `POST /say`);
//! the bot speaks through the HTTP API, as the real gateway does. Absent on
//! purpose: webhooks, permissions, rate limits (tests ask for the faults they want).

mod chat;
mod control;
mod fault;
mod markup;
mod messages;
mod methods;
mod params;
mod people;
mod view;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

pub use fault::{Call, Fault, Outcome};
pub use people::{Person, Place};
pub use view::{ChatView, Media, Shown};

use crate::error::{Error, Result};
use crate::http::{self, Served};
use crate::wait::Changes;
use chat::State;

/// The bot's user id, the first part of its token.
pub const BOT_ID: i64 = 7_000_000_001;
/// The token to configure; any token is accepted.
pub const BOT_TOKEN: &str = "7000000001:AAStandInTokenForLoopbackUseOnly00000";
/// The bot's username, for mentions.
pub const BOT_USERNAME: &str = "ride_stand_in_bot";

/// A running Telegram stand-in; it stops when dropped.
#[derive(Debug)]
pub struct Telegram {
    shared: Arc<Shared>,
    served: Served,
}

/// What the server and the handle share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changes: Changes,
}

impl Shared {
    /// Locks the state. Nothing panics while holding it, so a poisoned lock is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes the state and wakes whoever waits.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changes.announce();
        changed
    }
}

impl Telegram {
    /// Starts on a free loopback port.
    pub async fn start() -> Result<Self> {
        Self::start_on(0).await
    }

    /// Starts on a chosen loopback port.
    pub async fn start_on(port: u16) -> Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::new()), changes: Changes::new() });
        let serving = shared.clone();
        let served = http::serve(port, move |request| methods::answer(serving.clone(), request)).await?;
        Ok(Self { shared, served })
    }

    /// Gives the root to configure as the channel's `apiRoot`; `/view` and `/say` are below it too.
    pub fn api_root(&self) -> String {
        format!("http://{}", self.served.address)
    }

    /// Writes `text` as `person` in `place` and gives the message id.
    pub fn says(&self, person: &Person, place: &Place, text: &str) -> i64 {
        self.says_with(person, place, json!({ "text": text }))
    }

    /// Writes a message with any fields of Telegram's `Message` (`text`, `reply_to_message`, …).
    pub fn says_with(&self, person: &Person, place: &Place, fields: Value) -> i64 {
        self.shared.change(|state| state.person_writes(person, place, fields))
    }

    /// Writes `text` as an answer to message `to`.
    pub fn replies(&self, person: &Person, place: &Place, to: i64, text: &str) -> i64 {
        let quoted = self.shared.state().wire(place.chat, to);
        self.says_with(person, place, json!({ "text": text, "reply_to_message": quoted }))
    }

    /// Sends a photo, whose bytes the bot can fetch with `getFile`.
    pub fn sends_photo(&self, person: &Person, place: &Place, jpeg: &[u8], caption: Option<&str>) -> i64 {
        self.shared.change(|state| {
            let file = state.keep_file("photos", "jpg", jpeg);
            let sizes =
                json!([{ "file_id": file, "file_unique_id": file, "file_size": jpeg.len(), "width": 1, "height": 1 }]);
            let mut fields = json!({ "photo": sizes });
            if let Some(caption) = caption {
                fields["caption"] = caption.into();
            }
            state.person_writes(person, place, fields)
        })
    }

    /// Changes the text of a person's own message, as an `edited_message` update.
    pub fn edits(&self, person: &Person, place: &Place, message: i64, text: &str) {
        self.shared.change(|state| state.person_edits(person, place, message, text));
    }

    /// Presses an inline button that carries `data` under a bot's message.
    pub fn presses(&self, person: &Person, place: &Place, message: i64, data: &str) {
        self.shared.change(|state| {
            let pressed = state.wire(place.chat, message);
            let id = state.new_id().to_string();
            state.queue(json!({ "callback_query": {
                "id": id, "from": person.wire(), "chat_instance": "1", "data": data, "message": pressed } }));
        });
    }

    /// Queues any update, without its `update_id`.
    pub fn inject(&self, update: Value) {
        self.shared.change(|state| state.queue(update));
    }

    /// Shows a chat or topic as a reader sees it now.
    pub fn chat(&self, place: &Place) -> ChatView {
        self.shared.state().view(place)
    }

    /// Shows every chat and topic, as `GET /view` does.
    pub fn view(&self) -> String {
        self.shared.state().view_all()
    }

    /// Gives every Bot API call so far, except the long polls.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls()
    }

    /// Gives the calls of one method so far (any case).
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.method.eq_ignore_ascii_case(method)).collect()
    }

    /// Makes the next `times` calls of `method` go wrong; `getUpdates` too.
    pub fn fault(&self, method: &str, times: u32, fault: Fault) {
        self.shared.change(|state| state.faults.plan(method, times, fault));
    }

    /// Forgets the faults that have not happened yet.
    pub fn no_more_faults(&self) {
        self.shared.change(|state| state.faults.clear());
    }

    /// Waits until `wanted` holds of the chat as a reader sees it, and gives that view.
    pub async fn wait_for(
        &self,
        place: &Place,
        deadline: Duration,
        wanted: impl Fn(&ChatView) -> bool,
    ) -> Result<ChatView> {
        let look = || Some(self.chat(place)).filter(|chat| wanted(chat));
        self.shared.changes.until("a chat to show something", deadline, look, || self.view()).await
    }

    /// Waits until the bot shows a message that contains `text`.
    pub async fn wait_for_bot(&self, place: &Place, deadline: Duration, text: &str) -> Result<Shown> {
        let look = || self.chat(place).messages.into_iter().find(|shown| shown.by_bot && shown.text.contains(text));
        let what = format!("the bot to write {text:?} in {}", place.title);
        self.shared.changes.until(&what, deadline, look, || self.view()).await
    }

    /// Waits for an API call, also one still hanging.
    pub async fn wait_for_call(&self, deadline: Duration, wanted: impl Fn(&Call) -> bool) -> Result<Call> {
        let look = || self.calls().into_iter().find(|call| wanted(call));
        let last = || self.calls().iter().rev().take(20).map(|call| format!("{call:?}\n")).collect();
        self.shared.changes.until("a Bot API call", deadline, look, last).await
    }

    /// Waits until the bot has polled and confirmed everything injected so far.
    pub async fn wait_until_read(&self, deadline: Duration) -> Result<()> {
        let newest = self.shared.state().newest_update();
        let look = || (self.shared.state().confirmed() > newest).then_some(());
        self.shared.changes.until("the bot to take its updates", deadline, look, || self.view()).await
    }

    /// Waits until the bot holds a long poll, so that it is up and listening.
    pub async fn wait_until_polled(&self, deadline: Duration) -> Result<()> {
        let look = || self.shared.state().polled.then_some(());
        self.shared.changes.until("the bot to poll", deadline, look, String::new).await
    }
}

/// An error for what a caller sent and nobody can read.
fn malformed(what: &str, cause: impl ToString) -> Error {
    Error::Malformed { what: what.into(), cause: cause.to_string() }
}
