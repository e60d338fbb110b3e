//! Which threads are not simply open, of all gateways under one `lockDir`: what the gate
//! looks at, and how one Claude session is known to be ridden whatever the gateway.
//!
//! Invariant: it names at least every closed thread and every ridden Claude session; it
//! is widened before a thread closes and narrowed after it opens. What it names too many
//! costs a look at the thread's own file, which decides. So it need not survive a loss of
//! power: it says which boot it is of, and is made again from the threads' files when it
//! is of another one, damaged or gone.

use std::collections::{BTreeMap, BTreeSet};

use ride_core::thread::{FORMAT, Thread};
use ride_core::time::Stamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::file::thread_file;
use crate::slots::{Stored, Unsealed};

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Index {
    /// Of which boot.
    pub boot: u64,
    /// Grows with every change, from 1.
    pub nth: u64,
    /// By the folder of the gateway.
    pub gateways: BTreeMap<String, Part>,
    /// Claude sessions in a driver's hands or changing hands, and the thread they belong to.
    pub claude: BTreeMap<Uuid, Owner>,
    /// Drawn when this index was made: `held` counts within it.
    #[serde(default)]
    pub of: Uuid,
    /// Since which change each of those Claude sessions is held without a break. Other
    /// gateways acknowledge this number.
    #[serde(default)]
    pub held: BTreeMap<Uuid, u64>,
}

/// One gateway's threads, by session key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Part {
    /// Threads whose gate holds, and an epoch their files have at least: one with less,
    /// or a closed one that is not named here, is an older file put in its place.
    pub closed: BTreeMap<String, u64>,
    /// Threads with something left to do.
    pub busy: BTreeSet<String>,
    /// Threads held because another one rides their Claude session: twin to owner.
    pub behind: BTreeMap<String, Owner>,
    /// Threads whose file was lost while they were ridden.
    pub lost: BTreeMap<String, Lost>,
    /// Files that this version cannot read and leaves as they are, by name: their threads
    /// stay closed.
    #[serde(default)]
    pub refused: BTreeMap<String, Refused>,
}

/// A thread whose file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Refused {
    /// Why, in words.
    pub why: String,
    /// Its session key, where that can be told.
    pub session: Option<String>,
}

/// How a file was lost, and when that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub what: String,
    pub seen: Stamp,
}

/// A thread of whatever gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    /// The folder of its gateway.
    pub gateway: String,
    /// Its session key.
    pub session: String,
}

/// Whether a thread is held by another one's ride, as its owner's own value says.
#[derive(Clone, Debug, Default)]
pub(crate) enum Behind {
    /// Nobody looked.
    #[default]
    Unknown,
    /// It is.
    Of(Owner),
    /// It is not.
    Nobody,
}

/// Formats 3 and 4 differ by what is refused. Any other index says nothing: it is made again.
impl Stored for Index {
    fn read(format: u32, value: &[u8]) -> Result<Self, Unsealed> {
        match format {
            3..=FORMAT => serde_json::from_slice(value).map_err(|e| Unsealed::Shape(e.to_string())),
            other => Err(Unsealed::Format(other)),
        }
    }
}

impl Part {
    /// Whether a thread's gate holds, whatever Claude session it is bound to.
    pub(crate) fn holds(&self, session: &str) -> bool {
        self.closed.contains_key(session) || self.behind.contains_key(session) || self.refusal(session).is_some()
    }

    pub(crate) fn refusal(&self, session: &str) -> Option<&Refused> {
        if self.refused.is_empty() { None } else { self.refused.get(&thread_file(session)) }
    }
}

impl Index {
    /// Notes a file that is not read; `glimpse` is what can be told of its value. What it
    /// seems to ride is held, too.
    pub(crate) fn refuse(&mut self, gateway: &str, file: &str, why: &str, glimpse: Option<&Value>) {
        let session = glimpse.and_then(|value| value["key"]["session"].as_str()).map(str::to_owned);
        let part = self.gateways.entry(gateway.to_owned()).or_default();
        part.refused.insert(file.to_owned(), Refused { why: why.to_owned(), session: session.clone() });
        let (Some(value), Some(session)) = (glimpse, session) else { return };
        let owner = Owner { gateway: gateway.to_owned(), session };
        let lease = &value["phase"]["lease"];
        let twins = lease["twins"].as_array().into_iter().flatten().filter_map(Value::as_str);
        part.behind.extend(twins.map(|twin| (twin.to_owned(), owner.clone())));
        let claude = lease["claude"]["id"].as_str().and_then(|id| id.parse().ok());
        self.claude.extend(claude.map(|id| (id, owner)));
        self.count();
    }

    pub(crate) fn part(&self, gateway: &str) -> Option<&Part> {
        self.gateways.get(gateway)
    }

    /// Notes a thread as it is once its value is committed; `epoch` is its file's before.
    pub(crate) fn note(&mut self, me: &Owner, new: &Thread, epoch: u64, behind: &Behind) {
        let part = self.gateways.entry(me.gateway.clone()).or_default();
        let key = &me.session;
        part.lost.remove(key);
        part.refused.remove(&thread_file(key));
        if new.closed() {
            part.closed.insert(key.clone(), epoch);
        } else {
            part.closed.remove(key);
        }
        if new.closed() || !new.outbox.is_empty() || !new.notices.is_empty() {
            part.busy.insert(key.clone());
        } else {
            part.busy.remove(key);
        }
        match behind {
            // The owner may have ended its ride since it was looked at.
            Behind::Of(owner) if self.claude.values().any(|o| o == owner) => {
                part.behind.insert(key.clone(), owner.clone());
            }
            Behind::Nobody => {
                part.behind.remove(key);
            }
            Behind::Of(_) | Behind::Unknown => {}
        }
        self.claude.retain(|_, owner| owner != me);
        match new.holds() {
            true => {
                if let Some(id) = new.claude() {
                    // Another thread's lease is not displaced by a terminal that was told of here.
                    match new.lease() {
                        Some(_) => self.claude.insert(id, me.clone()),
                        None => Some(self.claude.entry(id).or_insert_with(|| me.clone()).clone()),
                    };
                }
                part.behind.extend(new.twins().iter().map(|twin| (twin.clone(), me.clone())));
            }
            false => self.gateways.values_mut().for_each(|part| part.behind.retain(|_, owner| owner != me)),
        }
        self.count();
    }

    /// Counts since when each Claude session is held.
    fn count(&mut self) {
        let Index { held, claude, nth, .. } = self;
        held.retain(|id, _| claude.contains_key(id));
        for id in claude.keys() {
            held.entry(*id).or_insert(*nth + 1);
        }
    }

    /// Adds what another one names.
    pub(crate) fn widen(&mut self, by: &Index) {
        for (gateway, more) in &by.gateways {
            let part = self.gateways.entry(gateway.clone()).or_default();
            part.closed.extend(more.closed.iter().map(|(k, v)| (k.clone(), *v)));
            part.busy.extend(more.busy.iter().cloned());
            part.behind.extend(more.behind.iter().map(|(k, v)| (k.clone(), v.clone())));
            part.refused.extend(more.refused.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        self.claude.extend(by.claude.iter().map(|(k, v)| (*k, v.clone())));
        self.count();
    }
}
