//! An answer as the Messages API writes it: one JSON message, or server-sent events.

use std::time::Duration;

use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::script::Answer;
use crate::http::Body;

/// Events buffered before the stream waits for its reader.
const BUFFERED_EVENTS: usize = 16;

/// The answer as one JSON message.
pub(super) fn whole(model: &str, answer: &Answer, tokens: usize) -> Value {
    let mut message = head(model, tokens);
    message["content"] = blocks(answer).into();
    message["stop_reason"] = stop_reason(answer).into();
    message
}

/// The answer as server-sent events.
pub(super) fn events(model: &str, answer: Answer, tokens: usize) -> Response<Body> {
    let (sender, body) = Channel::<Bytes, std::convert::Infallible>::new(BUFFERED_EVENTS);
    let head = head(model, tokens);
    tokio::spawn(async move {
        // The reader may hang up at any event (Esc in the terminal); then there is nobody left to tell.
        let _ = write_events(sender, head, &answer, tokens).await;
    });
    Response::builder()
        .header("content-type", "text/event-stream; charset=utf-8")
        .header("cache-control", "no-cache")
        .body(BoxBody::new(body.map_err(|never| match never {})))
        .expect("fixed headers make a response")
}

type Sent = Result<(), http_body_util::channel::SendError>;

async fn write_events(mut to: Sender<Bytes>, head: Value, answer: &Answer, tokens: usize) -> Sent {
    write(&mut to, "message_start", json!({ "message": head })).await?;
    write(&mut to, "ping", json!({})).await?;
    for (index, block) in blocks(answer).iter().enumerate() {
        let mut empty = block.clone();
        if block["type"] == "text" {
            empty["text"] = "".into();
            write(&mut to, "content_block_start", json!({ "index": index, "content_block": empty })).await?;
            let words: Vec<&str> = answer.text.split_inclusive(' ').collect();
            let pause = answer.spread.checked_div(words.len() as u32).unwrap_or_default();
            for word in words {
                let delta = json!({ "type": "text_delta", "text": word });
                write(&mut to, "content_block_delta", json!({ "index": index, "delta": delta })).await?;
                if pause > Duration::ZERO {
                    tokio::time::sleep(pause).await;
                }
            }
        } else {
            empty["input"] = json!({});
            write(&mut to, "content_block_start", json!({ "index": index, "content_block": empty })).await?;
            let delta = json!({ "type": "input_json_delta", "partial_json": block["input"].to_string() });
            write(&mut to, "content_block_delta", json!({ "index": index, "delta": delta })).await?;
        }
        write(&mut to, "content_block_stop", json!({ "index": index })).await?;
    }
    let delta = json!({ "stop_reason": stop_reason(answer), "stop_sequence": null });
    write(&mut to, "message_delta", json!({ "delta": delta, "usage": usage(tokens) })).await?;
    write(&mut to, "message_stop", json!({})).await
}

async fn write(to: &mut Sender<Bytes>, event: &str, mut data: Value) -> Sent {
    data["type"] = event.into();
    to.send_data(format!("event: {event}\ndata: {data}\n\n").into()).await
}

fn head(model: &str, tokens: usize) -> Value {
    json!({
        "id": unique("msg"), "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(tokens) })
}

fn usage(tokens: usize) -> Value {
    json!({ "input_tokens": tokens, "output_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0 })
}

fn stop_reason(answer: &Answer) -> &'static str {
    if answer.tool.is_some() { "tool_use" } else { "end_turn" }
}

fn blocks(answer: &Answer) -> Vec<Value> {
    let mut blocks = vec![json!({ "type": "text", "text": answer.text })];
    if let Some((name, input)) = &answer.tool {
        blocks.push(json!({ "type": "tool_use", "id": unique("toolu"), "name": name, "input": input }));
    }
    blocks
}

/// An id in the API's form.
fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}
