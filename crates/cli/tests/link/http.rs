//! Just enough HTTP to say exactly what goes over the socket.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Sends one request on a connection of its own; answers status and body.
pub async fn post(socket: &Path, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: ride\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    raw(socket, &(head + &body)).await
}

/// Sends these bytes; answers status and body, 0 where nothing came back.
pub async fn raw(socket: &Path, bytes: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // The server may answer and close before it has read all of a large body.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return (0, Value::Null);
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
