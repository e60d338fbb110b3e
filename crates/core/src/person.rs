//! Who asks, and what that person may ride.
//!
//! Invariant: nothing here widens what the host allows. The host's scopes come
//! first; then its own rule of who may look into a session and write there, where
//! it has profiles (2026.8 and later); then `rideAllow`. What cannot be told of a
//! person is refused, never assumed.

use serde::{Deserialize, Serialize};

use crate::host::{Entry, Sharing};
use crate::limits;
use crate::plain;

/// Who asks, as the host has found out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Person {
    /// Holds `operator.admin`.
    pub admin: bool,
    /// The paired device.
    pub device: Option<String>,
    /// The signed-in user, where the gateway knows people.
    pub user: Option<String>,
    /// That person's profile; absent for the gateway's owner.
    pub profile: Option<String>,
    /// The gateway gives people roles.
    pub roles: bool,
    /// The gateway's owner: connected with the gateway's own token, or with the owner's profile.
    pub owner: bool,
    /// Proven to be the user that the gateway runs as. Never told by the shell.
    #[serde(skip)]
    pub own_user: bool,
}

impl Person {
    /// Whether the host shows this person a session at all.
    pub fn sees(&self, e: &Entry) -> bool {
        self.unlimited() || e.sharing != Sharing::Hidden || self.made(e)
    }

    /// Whether this person may ride a thread; the refusal names the rule.
    pub fn may_ride(&self, e: &Entry, allow: &Allow) -> Result<(), String> {
        if !self.unlimited() && !self.made(e) {
            if e.sharing != Sharing::Shared {
                return Err("the host lets only its creator and members write there (session visibility)".into());
            }
            if self.roles {
                return Err("the host gives people roles (gateway.roles), and what yours lets you do there cannot be told: ask with operator.admin".into());
            }
        }
        allow.check(self, e)
    }

    /// Whether this person may bind a thread to a Claude session of a project, and so read it.
    /// `workspace` is the folder of the thread's agent. Both folders are as the file system
    /// resolves them.
    pub fn may_adopt(&self, e: &Entry, allow: &Allow, project: &str, workspace: Option<&str>) -> Result<(), String> {
        let any = self.admin || self.owner || self.own_user;
        if any || workspace.is_some_and(|workspace| is_in(workspace, project)) || allow.names_project(self, e, project)
        {
            return Ok(());
        }
        Err(format!(
            "the Claude session is of the project {project}, which is neither in the agent's workspace nor named by `projects` in a rule of rideAllow"
        ))
    }

    /// An admin, or nobody in particular: the gateway's owner, by its own token.
    pub fn unlimited(&self) -> bool {
        self.admin || (self.profile.is_none() && self.user.is_none())
    }

    /// Who this is, as the host has found out: `user:…`, `profile:…` or `device:…`, or that it is
    /// the owner. What a client says of itself is no part of it.
    pub fn identity(&self) -> Option<String> {
        let named = self.names().into_iter().next();
        named
            .or_else(|| self.owner.then(|| "owner".to_owned()))
            .map(|id| plain::line(&id).chars().take(limits::IDENTITY_CHARS).collect())
    }

    fn made(&self, e: &Entry) -> bool {
        self.profile.is_some() && self.profile == e.creator
    }

    /// The names `rideAllow` knows this person by.
    fn names(&self) -> Vec<String> {
        let named = |kind: &str, id: &Option<String>| id.as_ref().map(|id| format!("{kind}:{id}"));
        [named("user", &self.user), named("profile", &self.profile), named("device", &self.device)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// `rideAllow`: absent allows everything the scope allows, an empty list nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Allow(pub Option<Vec<Rule>>);

/// One rule: these threads by these people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Patterns of session keys; all when absent. `*` is any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<Vec<String>>,
    /// Channels; all, and threads without one, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    /// Patterns of `user:…`, `profile:…`, `device:…`; anybody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<Vec<String>>,
    /// Project folders whose Claude sessions these people may adopt, each with what is below
    /// it; `*` is any text. None when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<Vec<String>>,
}

impl Allow {
    fn check(&self, person: &Person, e: &Entry) -> Result<(), String> {
        let Some(rules) = &self.0 else { return Ok(()) };
        let names = person.names();
        if rules.iter().any(|rule| rule.threads_match(e) && rule.people_match(&names)) {
            return Ok(());
        }
        let who = if names.is_empty() { "a connection without device or user".to_owned() } else { names.join(", ") };
        Err(match rules.iter().position(|rule| rule.threads_match(e)) {
            Some(at) => format!("rule {} of rideAllow has the thread, but not {who}", at + 1),
            None => "no rule of rideAllow has the thread".into(),
        })
    }
}

impl Allow {
    fn names_project(&self, person: &Person, e: &Entry, project: &str) -> bool {
        let names = person.names();
        let named = |rule: &Rule| rule.projects.iter().flatten().any(|folder| is_in(folder, project));
        let rules = self.0.iter().flatten();
        rules.filter(|rule| rule.threads_match(e) && rule.people_match(&names)).any(named)
    }
}

/// Whether a folder is the one that a pattern names, or lies below it.
fn is_in(pattern: &str, folder: &str) -> bool {
    let pattern = pattern.trim_end_matches('/');
    like(pattern, folder) || like(&format!("{pattern}/*"), folder)
}

impl Rule {
    fn threads_match(&self, e: &Entry) -> bool {
        let key = self.threads.as_ref().is_none_or(|patterns| patterns.iter().any(|p| like(p, &e.key)));
        let channel = e.channel.as_deref();
        key && self.channels.as_ref().is_none_or(|channels| channels.iter().any(|c| Some(c.as_str()) == channel))
    }

    fn people_match(&self, names: &[String]) -> bool {
        self.people.as_ref().is_none_or(|patterns| patterns.iter().any(|p| names.iter().any(|name| like(p, name))))
    }
}

/// An identity as people read it; of a device the first letters of its id, which is a hash.
pub fn shown(identity: &str) -> String {
    match identity.split_once(':') {
        Some(("device", id)) => format!("device {}", id.chars().take(12).collect::<String>()),
        Some((kind, id)) => format!("{kind} {id}"),
        None => identity.to_owned(),
    }
}

/// A name that a client gave itself, with who it is.
pub fn labelled(label: &str, identity: Option<&str>) -> String {
    identity.map_or_else(|| label.to_owned(), |identity| format!("{label} ({})", shown(identity)))
}

/// Whether a text is like a pattern in which `*` stands for any text.
pub fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
