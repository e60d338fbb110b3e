//! The Bot API methods, answered as api.telegram.org does (errors worded alike,
//! since gateways match on the words). Unknown methods answer `true`.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::chat::{State, bot_wire, merge};
use super::fault::{Fault, Outcome};
use super::messages::{delete, edit, known_chat, message, rendered, route, send, send_media};
use super::params::Params;
use super::{Shared, control};
use crate::http::{Body, NoAnswer, answer as answer_bytes, answer_json};

/// Telegram's limits for text and captions, in UTF-16 units.
const MAX_TEXT: usize = 4096;
const MAX_CAPTION: usize = 1024;

/// Telegram's own longest long poll.
const MAX_POLL: Duration = Duration::from_secs(50);

/// An error answer.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) retry_after: Option<u64>,
}

pub(super) type Answered = Result<Value, Refusal>;

pub(super) fn bad_request(description: impl std::fmt::Display) -> Refusal {
    Refusal { code: 400, description: format!("Bad Request: {description}"), retry_after: None }
}

/// Answers one HTTP request to the stand-in.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, NoAnswer> {
    let path = request.uri().path().to_owned();
    if path == "/view" {
        return Ok(control::view(&shared));
    }
    if let Some(file) = path.strip_prefix("/file/bot").and_then(|rest| rest.split_once('/')) {
        return Ok(match shared.state().file(file.1) {
            Some(bytes) => answer_bytes(200, "application/octet-stream", bytes),
            None => answer_bytes(404, "text/plain", "no such file"),
        });
    }
    let method = path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')).map(|(_, method)| method.to_owned());
    let params = if path == "/say" { Params::read_said(request).await } else { Params::read(request).await };
    let Ok(params) = params else {
        return Ok(answered(Err(bad_request("can't parse the request"))));
    };
    if path == "/say" {
        return Ok(control::say(&shared, &params));
    }
    let Some(method) = method else {
        return Ok(answered(Err(Refusal { code: 404, description: "Not Found".into(), retry_after: None })));
    };
    if method.eq_ignore_ascii_case("getUpdates") {
        let fault = shared.state().faults.take(&method);
        return match fault {
            Some(Fault::Refuse { code, description, retry_after }) => {
                Ok(answered(Err(Refusal { code, description, retry_after })))
            }
            Some(Fault::AnswerLost | Fault::RequestLost) => Err(NoAnswer),
            Some(Fault::Hang(duration)) => {
                tokio::time::sleep(duration).await;
                Ok(answered(poll(&shared, &params).await))
            }
            None => Ok(answered(poll(&shared, &params).await)),
        };
    }
    call(&shared, &method, params).await
}

/// Performs a call, with the fault planned for it.
async fn call(shared: &Shared, method: &str, params: Params) -> Result<Response<Body>, NoAnswer> {
    let (number, fault) = shared.change(|state| (state.log(method, params.logged()), state.faults.take(method)));
    match &fault {
        Some(Fault::Refuse { code, description, retry_after }) => {
            shared.change(|state| state.settle(number, Outcome::Refused(*code), None));
            let (code, description, retry_after) = (*code, description.clone(), *retry_after);
            return Ok(answered(Err(Refusal { code, description, retry_after })));
        }
        Some(Fault::RequestLost) => {
            shared.change(|state| state.settle(number, Outcome::RequestLost, None));
            return Err(NoAnswer);
        }
        Some(Fault::Hang(duration)) => tokio::time::sleep(*duration).await,
        Some(Fault::AnswerLost) | None => {}
    }
    let lost = fault == Some(Fault::AnswerLost);
    let done = shared.change(|state| {
        let done = perform(state, method, &params);
        let (outcome, message) = match &done {
            Err(refusal) => (Outcome::Refused(refusal.code), None),
            Ok(_) if lost => (Outcome::AnswerLost, params.int("message_id")),
            Ok(_) => (Outcome::Answered, params.int("message_id")),
        };
        let message = done.as_ref().ok().and_then(|made| made["message_id"].as_i64()).or(message);
        state.settle(number, outcome, message);
        done
    });
    if lost { Err(NoAnswer) } else { Ok(answered(done)) }
}

fn answered(answer: Answered) -> Response<Body> {
    match answer {
        Ok(result) => answer_json(200, &json!({ "ok": true, "result": result })),
        Err(Refusal { code, description, retry_after }) => {
            let mut body = json!({ "ok": false, "error_code": code, "description": description });
            if let Some(seconds) = retry_after {
                body["parameters"] = json!({ "retry_after": seconds });
            }
            answer_json(code, &body)
        }
    }
}

/// Answers `getUpdates`: waits until something is due; a newer poll ends an older one.
async fn poll(shared: &Shared, params: &Params) -> Answered {
    let offset = params.int("offset").unwrap_or(0);
    let limit = params.int("limit").unwrap_or(100).clamp(1, 100) as usize;
    let wait = Duration::from_secs(params.int("timeout").unwrap_or(0).max(0) as u64).min(MAX_POLL);
    let end = Instant::now() + wait;
    let mut changes = shared.changes.subscribe();
    let mine = shared.change(|state| {
        state.polled = true;
        state.polls += 1;
        state.polls
    });
    loop {
        {
            let mut state = shared.state();
            if state.polls != mine {
                let description = "Conflict: terminated by other getUpdates request; \
                    make sure that only one bot instance is running";
                return Err(Refusal { code: 409, description: description.into(), retry_after: None });
            }
            let due = state.due(offset, limit);
            if !due.is_empty() {
                return Ok(due.into());
            }
        }
        if tokio::time::timeout_at(end, changes.changed()).await.is_err() {
            return Ok(json!([]));
        }
    }
}

fn perform(state: &mut State, method: &str, params: &Params) -> Answered {
    let lower = method.to_lowercase();
    Ok(match lower.as_str() {
        "getme" => bot_wire(),
        "getwebhookinfo" => {
            json!({ "url": "", "has_custom_certificate": false, "pending_update_count": 0 })
        }
        "sendmessage" => {
            let text = rendered(params, "text", MAX_TEXT)?;
            send(state, params, Some(text), json!({}), None)?
        }
        // Off by default in the gateway; shown as its JSON, since no fixture of it exists.
        "sendrichmessage" => send(state, params, Some(params.nested("rich_message").to_string()), json!({}), None)?,
        "sendphoto" | "senddocument" | "sendvideo" | "sendaudio" | "sendvoice" | "sendanimation" | "sendsticker" => {
            let kind = &lower["send".len()..];
            send_media(state, params, kind, params.text(kind), rendered(params, "caption", MAX_CAPTION)?)?
        }
        "sendmediagroup" => {
            let group = params.nested("media");
            let send_one = |item: &Value| {
                let kind = item["type"].as_str().unwrap_or("document");
                let caption = item["caption"].as_str().unwrap_or_default().to_owned();
                send_media(state, params, kind, item["media"].as_str(), caption)
            };
            group.as_array().into_iter().flatten().map(send_one).collect::<Result<_, _>>()?
        }
        "editmessagetext" => edit(state, params, Some(rendered(params, "text", MAX_TEXT)?))?,
        "editmessagecaption" => edit(state, params, Some(rendered(params, "caption", MAX_CAPTION)?))?,
        "editmessagereplymarkup" => edit(state, params, None)?,
        "deletemessage" => delete(state, params)?,
        "setmessagereaction" => {
            let reactions = params.nested("reaction");
            let emoji = |reaction: &Value| reaction["emoji"].as_str().map(str::to_owned);
            let emojis = reactions.as_array().into_iter().flatten().filter_map(emoji).collect();
            message(state, params, "message to react not found")?.shown.reactions = emojis;
            true.into()
        }
        "sendchataction" => {
            route(state, params)?;
            true.into()
        }
        "getchat" => {
            let chat = known_chat(state, params)?;
            let mut wire = state.chat_wire(chat).cloned().unwrap_or_default();
            merge(&mut wire, json!({ "accent_color_id": 0, "max_reaction_count": 11 }));
            wire
        }
        "getchatmember" => {
            json!({ "status": "administrator", "user": bot_wire(), "can_manage_topics": true })
        }
        "getchatadministrators" | "getmycommands" | "getforumtopiciconstickers" => json!([]),
        "getchatmembercount" => 3.into(),
        "getuserprofilephotos" => json!({ "total_count": 0, "photos": [] }),
        "createforumtopic" => {
            let chat = known_chat(state, params)?;
            let name = params.text("name").unwrap_or("topic");
            json!({ "message_thread_id": state.new_topic(chat, name), "name": name, "icon_color": 7_322_096 })
        }
        "editforumtopic" => {
            let (chat, topic) = route(state, params)?;
            if let (Some(topic), Some(name)) = (topic, params.text("name")) {
                state.rename_topic(chat, topic, name);
            }
            true.into()
        }
        "getfile" => {
            let id = params.text("file_id").unwrap_or_default();
            let (path, size) = state.file_path(id).ok_or_else(|| bad_request("invalid file_id"))?;
            json!({ "file_id": id, "file_unique_id": id, "file_size": size, "file_path": path })
        }
        _ => true.into(),
    })
}
