//! Call parameters, whichever way they came: query, form, JSON or multipart.

use futures_util::stream;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use serde_json::{Map, Value};

use super::malformed;
use crate::error::Result;
use crate::http::{form_pairs, read_body};

/// A file part of a multipart body.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) field: String,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The parameters of one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    values: Map<String, Value>,
    pub(super) uploads: Vec<Upload>,
}

impl Params {
    /// Reads what a person says: the body as it is (`curl -d` calls any text a form), or JSON.
    pub(super) async fn read_said(request: Request<Incoming>) -> Result<Self> {
        let (mut head, body) = request.into_parts();
        if head.headers.get("content-type").is_none_or(|kind| kind != "application/json") {
            head.headers.insert("content-type", HeaderValue::from_static("text/plain"));
        }
        Self::read(Request::from_parts(head, body)).await
    }

    pub(super) async fn read(request: Request<Incoming>) -> Result<Self> {
        let mut params = Self::default();
        params.add_form(request.uri().query().unwrap_or_default());
        let content_type = request.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        if let Ok(boundary) = multer::parse_boundary(&content_type) {
            params.add_multipart(request.into_body(), boundary).await?;
            return Ok(params);
        }
        let body = read_body(request.into_body()).await.ok_or_else(|| malformed("a call's body", "it broke off"))?;
        if content_type.contains("json") && !body.is_empty() {
            let given: Map<String, Value> =
                serde_json::from_slice(&body).map_err(|cause| malformed("a call's JSON body", cause))?;
            params.values.extend(given);
        } else if content_type.contains("urlencoded") {
            params.add_form(&String::from_utf8_lossy(&body));
        } else if !body.is_empty() {
            params.values.insert("text".into(), String::from_utf8_lossy(&body).into());
        }
        Ok(params)
    }

    fn add_form(&mut self, encoded: &str) {
        self.values.extend(form_pairs(encoded).map(|(name, value)| (name, value.into())));
    }

    async fn add_multipart(&mut self, body: Incoming, boundary: String) -> Result<()> {
        let bytes = body.collect().await.map_err(|cause| malformed("an upload", cause))?.to_bytes();
        let whole = stream::iter([Ok::<_, std::convert::Infallible>(bytes)]);
        let mut parts = multer::Multipart::new(whole, boundary);
        while let Some(part) = parts.next_field().await.map_err(|cause| malformed("an upload", cause))? {
            let field = part.name().unwrap_or_default().to_owned();
            let name = part.file_name().map(str::to_owned);
            let bytes = part.bytes().await.map_err(|cause| malformed("an upload's part", cause))?;
            match name {
                Some(name) => self.uploads.push(Upload { field, name, bytes: bytes.to_vec() }),
                None => drop(self.values.insert(field, String::from_utf8_lossy(&bytes).into())),
            }
        }
        Ok(())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(Value::as_str)
    }

    /// A number, also one written as text in a form.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        let value = self.values.get(name)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    /// A nested object or list, also one written as JSON text in a form.
    pub(super) fn nested(&self, name: &str) -> Value {
        match self.values.get(name) {
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
            Some(value) => value.clone(),
            None => Value::Null,
        }
    }

    /// The upload a parameter means: its own part, or the one named by `attach://`.
    pub(super) fn upload(&self, name: &str, value: Option<&str>) -> Option<&Upload> {
        let field = value.and_then(|value| value.strip_prefix("attach://")).unwrap_or(name);
        self.uploads.iter().find(|upload| upload.field == field)
    }

    /// Everything given, for the log; uploads by name and size.
    pub(super) fn logged(&self) -> Value {
        let mut values = self.values.clone();
        for upload in &self.uploads {
            values.insert(upload.field.clone(), format!("<{}: {} bytes>", upload.name, upload.bytes.len()).into());
        }
        values.into()
    }
}
