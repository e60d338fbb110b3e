//! What a bot's calls do to messages: send, edit, delete, within Telegram's rules.

use serde_json::{Value, json};

use super::chat::{Message, State, bot_wire, merge, unix_seconds};
use super::markup;
use super::methods::{Answered, Refusal, bad_request};
use super::params::Params;
use super::view::{Media, Shown};

/// The chat a call names, if people write in it: a bot cannot open a chat by itself.
pub(super) fn known_chat(state: &State, params: &Params) -> Result<i64, Refusal> {
    let chat = params.int("chat_id").ok_or_else(|| bad_request("chat_id is empty"))?;
    state.chat_wire(chat).map(|_| chat).ok_or_else(|| bad_request("chat not found"))
}

pub(super) fn route(state: &State, params: &Params) -> Result<(i64, Option<i64>), Refusal> {
    let chat = known_chat(state, params)?;
    let topic = params.int("message_thread_id");
    match topic {
        // Thread 1 is the general topic of a forum; its messages carry no thread id.
        Some(1) | None => Ok((chat, None)),
        Some(topic) if state.has_topic(chat, topic) => Ok((chat, Some(topic))),
        Some(_) => Err(bad_request("message thread not found")),
    }
}

/// The text a reader sees, within Telegram's limit.
pub(super) fn rendered(params: &Params, field: &str, most: usize) -> Result<String, Refusal> {
    let given = params.text(field).unwrap_or_default();
    let text = match params.text("parse_mode") {
        Some(mode) if mode.eq_ignore_ascii_case("html") => markup::visible(given).map_err(bad_request)?,
        _ => given.to_owned(),
    };
    match text.encode_utf16().count() {
        units if units > most && field == "caption" => Err(bad_request("message caption is too long")),
        units if units > most => Err(bad_request("message is too long")),
        _ if text.trim().is_empty() && field == "text" => Err(bad_request("message text is empty")),
        _ => Ok(text),
    }
}

pub(super) fn send(
    state: &mut State,
    params: &Params,
    text: Option<String>,
    extra: Value,
    media: Option<Media>,
) -> Answered {
    let (chat, topic) = route(state, params)?;
    let reply_to =
        params.int("reply_to_message_id").or_else(|| params.nested("reply_parameters")["message_id"].as_i64());
    let id = state.new_id();
    let mut wire = json!({
        "message_id": id, "from": bot_wire(), "chat": state.chat_wire(chat), "date": unix_seconds() });
    if let Some(topic) = topic {
        merge(&mut wire, json!({ "message_thread_id": topic, "is_topic_message": true }));
    }
    let text = text.unwrap_or_default();
    if !text.is_empty() {
        wire[if media.is_some() { "caption" } else { "text" }] = text.as_str().into();
    }
    if let Some(to) = reply_to {
        wire["reply_to_message"] = state.wire(chat, to);
    }
    merge(&mut wire, extra);
    let shown = Shown {
        id,
        from: "Bot".into(),
        by_bot: true,
        text,
        media,
        edits: 0,
        reactions: Vec::new(),
        reply_to,
        buttons: buttons(params),
        at: std::time::SystemTime::now(),
    };
    state.messages.insert((chat, id), Message { wire: wire.clone(), shown, topic });
    Ok(wire)
}

pub(super) fn send_media(
    state: &mut State,
    params: &Params,
    kind: &str,
    value: Option<&str>,
    caption: String,
) -> Answered {
    let upload = params.upload(kind, value);
    let bytes = upload.map(|upload| upload.bytes.clone()).unwrap_or_default();
    let name = upload.map(|upload| upload.name.as_str()).or(value).unwrap_or_default().to_owned();
    let extension = name.rsplit_once('.').map_or("bin", |(_, extension)| extension);
    let id = state.keep_file(kind, extension, &bytes);
    let file = json!({ "file_id": id, "file_unique_id": id, "file_size": bytes.len(), "file_name": name, "width": 1, "height": 1 });
    let extra = if kind == "photo" { json!({ "photo": [file] }) } else { json!({ kind: file }) };
    send(state, params, Some(caption), extra, Some(Media { kind: kind.into(), name, bytes }))
}

pub(super) fn message<'a>(state: &'a mut State, params: &Params, missing: &str) -> Result<&'a mut Message, Refusal> {
    let chat = known_chat(state, params)?;
    let id = params.int("message_id").unwrap_or_default();
    state.messages.get_mut(&(chat, id)).ok_or_else(|| bad_request(missing))
}

pub(super) fn edit(state: &mut State, params: &Params, text: Option<String>) -> Answered {
    let buttons = buttons(params);
    let message = message(state, params, "message to edit not found")?;
    if !message.shown.by_bot {
        return Err(bad_request("message can't be edited"));
    }
    let text = text.unwrap_or_else(|| message.shown.text.clone());
    if text == message.shown.text && buttons == message.shown.buttons {
        return Err(bad_request(
            "message is not modified: specified new message content and reply markup are exactly the same \
             as a current content and reply markup of the message",
        ));
    }
    if text != message.shown.text {
        message.shown.edits += 1;
        message.wire[if message.shown.media.is_some() { "caption" } else { "text" }] = text.as_str().into();
    }
    message.wire["edit_date"] = unix_seconds().into();
    message.shown.text = text;
    message.shown.buttons = buttons;
    Ok(message.wire.clone())
}

pub(super) fn delete(state: &mut State, params: &Params) -> Answered {
    message(state, params, "message to delete not found")?;
    let key = (known_chat(state, params)?, params.int("message_id").unwrap_or_default());
    state.messages.remove(&key);
    Ok(true.into())
}

/// Inline buttons in reading order.
fn buttons(params: &Params) -> Vec<(String, String)> {
    let markup = params.nested("reply_markup");
    let rows = markup["inline_keyboard"].as_array().into_iter().flatten();
    let all = rows.flat_map(|row| row.as_array().into_iter().flatten());
    let text = |button: &Value, name: &str| button[name].as_str().unwrap_or_default().to_owned();
    all.map(|button| (text(button, "text"), text(button, "callback_data"))).collect()
}
