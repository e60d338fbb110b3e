//! The stand-ins by themselves, over plain HTTP.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use ride_testkit::telegram::{Fault, Outcome};
use ride_testkit::{Anthropic, Person, Place, Telegram};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(10);

/// Posts to `root` and gives status and body; nothing if the connection dropped without an answer.
async fn post(root: &str, path: &str, content_type: &str, body: &str) -> Option<(u16, String)> {
    let host = root.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().unwrap(), body.into()))
}

async fn call(telegram: &Telegram, method: &str, params: Value) -> Option<Value> {
    let path = format!("/bot1:x/{method}");
    let (_, body) = post(&telegram.api_root(), &path, "application/json", &params.to_string()).await?;
    Some(serde_json::from_str(&body).unwrap())
}

fn plans() -> Place {
    Place::topic(-1001, "Forum", 7, "Plans")
}

#[tokio::test]
async fn a_chat_shows_what_a_reader_sees_after_edits_and_deletions() {
    let telegram = Telegram::start().await.unwrap();
    telegram.says(&Person::tess(), &plans(), "hello");
    let send = |text: &str| json!({ "chat_id": "-1001", "message_thread_id": 7, "text": text, "parse_mode": "HTML" });
    let first = call(&telegram, "sendMessage", send("<b>one</b> &amp; two")).await.unwrap();
    let second = call(&telegram, "sendMessage", send("gone soon")).await.unwrap();
    let id = |answer: &Value| answer["result"]["message_id"].clone();
    let edit = json!({ "chat_id": -1001, "message_id": id(&first), "text": "three" });
    assert_eq!(call(&telegram, "editMessageText", edit.clone()).await.unwrap()["ok"], true);
    let again = call(&telegram, "editMessageText", edit).await.unwrap();
    assert!(again["description"].as_str().unwrap().contains("message is not modified"));
    let delete = json!({ "chat_id": -1001, "message_id": id(&second) });
    call(&telegram, "deleteMessage", delete).await.unwrap();

    let chat = telegram.chat(&plans());
    assert_eq!(chat.lines(), ["Tess: hello", "Bot: three"]);
    assert_eq!(chat.messages[1].edits, 1);
    assert!(telegram.view().contains("── Forum › Plans ──"));
}

#[tokio::test]
async fn a_bot_is_refused_where_telegram_refuses() {
    let telegram = Telegram::start().await.unwrap();
    telegram.says(&Person::tess(), &plans(), "hello");
    let check = async |params: Value, expected: &str| {
        let answer = call(&telegram, "sendMessage", params).await.unwrap();
        assert_eq!(answer["description"], format!("Bad Request: {expected}"));
    };
    check(json!({ "chat_id": 5, "text": "x" }), "chat not found").await;
    check(json!({ "chat_id": -1001, "message_thread_id": 8, "text": "x" }), "message thread not found").await;
    check(json!({ "chat_id": -1001, "text": " " }), "message text is empty").await;
    check(json!({ "chat_id": -1001, "text": "x".repeat(4097) }), "message is too long").await;
    let unknown = call(&telegram, "somethingNew", json!({})).await.unwrap();
    assert_eq!(unknown, json!({ "ok": true, "result": true }));
    assert_eq!(telegram.calls_of("somethingnew").len(), 1);
}

#[tokio::test]
async fn faults_happen_as_often_as_planned() {
    let telegram = Telegram::start().await.unwrap();
    telegram.says(&Person::tess(), &plans(), "hello");
    telegram.fault("sendMessage", 1, Fault::flood(3));
    telegram.fault("sendMessage", 1, Fault::AnswerLost);
    telegram.fault("sendMessage", 1, Fault::RequestLost);
    telegram.fault("sendMessage", 1, Fault::Hang(Duration::from_millis(10)));
    let send = |text: &str| json!({ "chat_id": -1001, "message_thread_id": 7, "text": text });
    let refused = call(&telegram, "sendMessage", send("refused")).await.unwrap();
    assert_eq!((&refused["error_code"], &refused["parameters"]["retry_after"]), (&json!(429), &json!(3)));
    assert_eq!(call(&telegram, "sendMessage", send("unknown to the caller")).await, None);
    assert_eq!(call(&telegram, "sendMessage", send("never seen")).await, None);
    assert!(call(&telegram, "sendMessage", send("late")).await.is_some());

    assert_eq!(telegram.chat(&plans()).by_bot(), ["unknown to the caller", "late"]);
    let outcomes: Vec<_> = telegram.calls().iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Refused(429), Outcome::AnswerLost, Outcome::RequestLost, Outcome::Answered]);
}

#[tokio::test]
async fn polls_give_each_update_until_it_is_confirmed() {
    let telegram = Telegram::start().await.unwrap();
    telegram.says(&Person::tess(), &plans(), "/ride now");
    let first = call(&telegram, "getUpdates", json!({ "timeout": 5 })).await.unwrap();
    let update = &first["result"][0];
    assert_eq!(update["message"]["reply_to_message"]["forum_topic_created"]["name"], "Plans");
    assert_eq!(update["message"]["entities"][0], json!({ "type": "bot_command", "offset": 0, "length": 5 }));
    let next = update["update_id"].as_i64().unwrap() + 1;

    let polling = call(&telegram, "getUpdates", json!({ "timeout": 30, "offset": next }));
    let speaking = async {
        telegram.wait_until_read(SOON).await.unwrap();
        telegram.says(&Person::omar(), &Place::direct(&Person::omar()), "hi");
    };
    let (second, ()) = tokio::join!(polling, speaking);
    assert_eq!(second.unwrap()["result"][0]["message"]["from"]["username"], "omar");
}

#[tokio::test]
async fn uploads_show_in_the_chat_and_photos_can_be_fetched() {
    let telegram = Telegram::start().await.unwrap();
    let tess = Person::tess();
    let place = Place::direct(&tess);
    telegram.sends_photo(&tess, &place, b"jpeg bytes", Some("look"));
    let updates = call(&telegram, "getUpdates", json!({})).await.unwrap();
    let file = &updates["result"][0]["message"]["photo"][0]["file_id"];
    let file = call(&telegram, "getFile", json!({ "file_id": file })).await.unwrap();
    let path = format!("/file/bot1:x/{}", file["result"]["file_path"].as_str().unwrap());
    let fetched = post(&telegram.api_root(), &path, "text/plain", "").await.unwrap();
    assert_eq!(fetched, (200, "jpeg bytes".into()));

    let body = "--b\r\ncontent-disposition: form-data; name=\"chat_id\"\r\n\r\n1001\r\n\
        --b\r\ncontent-disposition: form-data; name=\"caption\"\r\n\r\nreport\r\n\
        --b\r\ncontent-disposition: form-data; name=\"document\"; filename=\"a.txt\"\r\n\r\ncontents\r\n--b--\r\n";
    post(&telegram.api_root(), "/bot1:x/sendDocument", "multipart/form-data; boundary=b", body).await.unwrap();
    let chat = telegram.chat(&place);
    let media = chat.messages[1].media.clone().unwrap();
    assert_eq!(
        (media.kind.as_str(), media.name.as_str(), media.bytes.as_slice()),
        ("document", "a.txt", &b"contents"[..])
    );
    assert_eq!(chat.messages[1].text, "report");
}

#[tokio::test]
async fn a_person_can_write_from_a_shell() {
    let telegram = Telegram::start().await.unwrap();
    let form = "application/x-www-form-urlencoded";
    let root = telegram.api_root();
    assert_eq!(post(&root, "/say", form, "hello").await.unwrap().0, 404);
    telegram.says(&Person::tess(), &plans(), "first");
    assert_eq!(post(&root, "/say", form, "is 1+1=2? yes & 100%").await.unwrap().0, 200);
    assert_eq!(post(&root, "/say?chat=1002&as=1002&name=Omar", form, "hi").await.unwrap().0, 200);
    assert_eq!(telegram.chat(&plans()).lines(), ["Tess: first", "Tess: is 1+1=2? yes & 100%"]);
    assert_eq!(telegram.chat(&Place::direct(&Person::omar())).lines(), ["Omar: hi"]);
}

#[tokio::test]
async fn the_model_streams_and_holds_at_gates() {
    let anthropic = Anthropic::start().await.unwrap();
    let body = |text: &str, stream: bool| {
        let tools = json!([{ "name": "Bash" }]);
        let messages = json!([{ "role": "user", "content": text }]);
        json!({ "model": "m", "max_tokens": 9, "stream": stream, "tools": tools, "messages": messages }).to_string()
    };
    let root = anthropic.base_url();
    let ask = |text: &str, stream: bool| {
        let (root, body) = (root.clone(), body(text, stream));
        async move { post(&root, "/v1/messages?beta=true", "application/json", &body).await.unwrap() }
    };
    let (status, streamed) = ask("hello there", true).await;
    assert_eq!(status, 200);
    assert!(streamed.contains("event: message_stop") && streamed.contains("echo[1]: "));
    assert_eq!(ask("::err 429", true).await.0, 429);

    let opening = async {
        anthropic.wait_for_prompt(SOON, "::gate g").await.unwrap();
        anthropic.open_gate("g");
    };
    let ((_, whole), ()) = tokio::join!(ask("::gate g ::say done", false), opening);
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["content"][0]["text"], "done");
    assert_eq!(anthropic.turns().len(), 3);
}
