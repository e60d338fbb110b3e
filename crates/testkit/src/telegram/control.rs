//! The chats for a person beside a terminal: `GET /view` shows them, `POST /say`
//! writes into them.
//!
//! `curl -d 'hello' 'http://127.0.0.1:PORT/say?chat=-100…&topic=7&as=1001'`:
//! what is left out is as the last time somebody wrote.

use hyper::Response;

use super::params::Params;
use super::people::{Person, Place};
use super::{Shared, chat};
use crate::http::{Body, answer};

pub(super) fn view(shared: &Shared) -> Response<Body> {
    answer(200, "text/plain; charset=utf-8", shared.state().view_all())
}

pub(super) fn say(shared: &Shared, params: &Params) -> Response<Body> {
    let Some(text) = params.text("text") else {
        return answer(400, "text/plain", "say what? send the text as the body\n");
    };
    let said = shared.change(|state| {
        let (person, place) = chosen(state, params)?;
        Some(state.person_writes(&person, &place, serde_json::json!({ "text": text })))
    });
    match said {
        Some(id) => answer(200, "text/plain", format!("{id}\n")),
        None => answer(404, "text/plain", "say where? nobody wrote yet: name a chat\n"),
    }
}

fn chosen(state: &chat::State, params: &Params) -> Option<(Person, Place)> {
    let last = state.last_spoken.clone();
    let named = params.text("name").unwrap_or("Tess");
    let person = match params.int("as") {
        Some(id) => Person::new(id, named, &named.to_lowercase()),
        None => last.as_ref().map_or_else(Person::tess, |(person, _)| person.clone()),
    };
    let Some(chat) = params.int("chat") else {
        return last.map(|(_, place)| (person, place));
    };
    let place = match (params.int("topic"), state.place(chat, params.int("topic"))) {
        (_, Some(known)) => known,
        (Some(topic), None) => Place::topic(chat, "Forum", topic, &format!("Topic {topic}")),
        (None, None) if chat > 0 => Place::direct(&person),
        (None, None) => Place::group(chat, "Group"),
    };
    Some((person, place))
}
