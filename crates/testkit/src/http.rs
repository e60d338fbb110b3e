//! A loopback HTTP/1 server for the stand-ins: one function answers every
//! request, and may also drop the connection without an answer.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::{Doing, Result};

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// The largest request taken: whole Claude conversations and Telegram uploads (50 MB there) fit.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the stand-in drops this connection on purpose")]
pub(crate) struct NoAnswer;

/// A running server, which stops with its connections when dropped.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves on loopback; port 0 chooses a free one.
pub(crate) async fn serve<H, F>(port: u16, handler: H) -> Result<Served>
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, NoAnswer>> + Send + 'static,
{
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.doing(|| format!("listen on loopback port {port}"))?;
    let address = listener.local_addr().doing(|| "read the listening address".into())?;
    let handler = Arc::new(handler);
    let accepting = tokio::spawn(async move {
        // Dropped with this task, which ends the connections too.
        let mut connections = JoinSet::new();
        loop {
            // A failed accept concerns one peer that went away already.
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let handler = handler.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| handler(request));
                // Errors here are clients that hung up and our own dropped answers.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(Served { address, accepting })
}

/// Reads a whole body, or nothing if the client broke off or sent too much.
pub(crate) async fn read_body(body: Incoming) -> Option<Bytes> {
    Limited::new(body, MAX_REQUEST_BYTES).collect().await.ok().map(|whole| whole.to_bytes())
}

pub(crate) fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(body.into()).boxed())
        .expect("a fixed header and a valid status make a response")
}

pub(crate) fn answer_json(status: u16, body: &serde_json::Value) -> Response<Body> {
    answer(status, "application/json", body.to_string())
}

/// The values of a query string or a form body, percent-decoded.
pub(crate) fn form_pairs(encoded: &str) -> impl Iterator<Item = (String, String)> + '_ {
    encoded.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(name), percent_decoded(value))
    })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(match (escaped, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, other) => *other,
        });
        rest = if escaped.is_some() { &rest[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
