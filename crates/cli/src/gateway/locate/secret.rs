//! A secret as OpenClaw's configuration writes it: plain text, `$NAME`, `${NAME}`, or
//! a reference `{source, provider, id}`.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::{LocateError, at, exec, text};
use crate::env::Env;

/// A secret that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    source: String,
}

impl Secret {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret { text: text.into(), source: String::new() }
    }

    /// Notes where it came from.
    pub fn from(self, source: impl Into<String>) -> Secret {
        Secret { source: source.into(), ..self }
    }

    /// The secret itself, to be sent.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Where it came from, for people: a variable, an option, a key of the configuration.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secret under a dotted name, `None` where none is configured.
pub fn resolve(env: &Env, config: &Value, config_path: &Path, key: &str) -> Result<Option<Secret>, LocateError> {
    let dangling = |cause: String| LocateError::Dangling { key: key.to_owned(), cause };
    match at(config, key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(plain)) => {
            let plain = plain.trim();
            let variable = plain
                .strip_prefix("${")
                .and_then(|rest| rest.strip_suffix('}'))
                .or_else(|| plain.strip_prefix('$'))
                .filter(|name| is_variable(name));
            match variable {
                Some(name) => match env.get(name) {
                    Some(value) => Ok(Some(Secret::new(value))),
                    None => Err(dangling(format!("the variable {name} is not set"))),
                },
                None if plain.is_empty() => Ok(None),
                None => Ok(Some(Secret::new(plain))),
            }
        }
        Some(Value::Object(reference)) => {
            let field = |name: &str| reference.get(name).and_then(Value::as_str);
            let (source, id) = (field("source").unwrap_or("?"), field("id").unwrap_or(""));
            match source {
                "env" => match env.get(id) {
                    Some(value) => Ok(Some(Secret::new(value))),
                    None => Err(dangling(format!("the variable {id} is not set"))),
                },
                "file" => {
                    let provider =
                        field("provider").or_else(|| text(config, "secrets.defaults.file")).unwrap_or("default");
                    from_file(env, config, provider, id).map(Some).map_err(dangling)
                }
                "exec" => {
                    let provider =
                        field("provider").or_else(|| text(config, "secrets.defaults.exec")).unwrap_or("default");
                    let settings = settings_of(config, provider).map_err(dangling)?;
                    if settings.get("pluginIntegration").is_some() {
                        let kind = "exec of an OpenClaw plugin".to_owned();
                        return Err(LocateError::Reference { key: key.to_owned(), kind });
                    }
                    exec::ask(env, settings, provider, id).map(Some).map_err(dangling)
                }
                kind => Err(LocateError::Reference { key: key.to_owned(), kind: kind.to_owned() }),
            }
        }
        Some(_) => Err(LocateError::Value {
            key: key.to_owned(),
            path: config_path.to_owned(),
            cause: "neither text nor a secret reference".into(),
        }),
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

fn settings_of<'a>(config: &'a Value, provider: &str) -> Result<&'a Value, String> {
    let providers = config.get("secrets").and_then(|s| s.get("providers"));
    providers.and_then(|p| p.get(provider)).ok_or_else(|| format!("there is no secrets.providers.{provider}"))
}

fn from_file(env: &Env, config: &Value, provider: &str, id: &str) -> Result<Secret, String> {
    let settings = settings_of(config, provider)?;
    let path = settings.get("path").and_then(Value::as_str).ok_or("the secret provider has no path")?;
    let path = match (path.strip_prefix("~/"), super::openclaw_home(env)) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => env.cwd.join(path),
    };
    let body = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    if settings.get("mode").and_then(Value::as_str) == Some("singleValue") {
        return match body.trim() {
            "" => Err(format!("{} is empty", path.display())),
            value => Ok(Secret::new(value)),
        };
    }
    let values: Value = serde_json::from_str(&body).map_err(|e| format!("{}: {e}", path.display()))?;
    match values.pointer(id).and_then(Value::as_str) {
        Some(value) => Ok(Secret::new(value)),
        None => Err(format!("{} has no text at {id}", path.display())),
    }
}
