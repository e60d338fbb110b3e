//! Claude transcripts as a story reads them: from outside, by a reader of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The chain that ends at the last leaf of the file.
pub(super) struct Chain {
    pub(super) ids: Vec<String>,
    pub(super) texts: Vec<String>,
    /// User and assistant lines that are not on it.
    pub(super) beside: usize,
}

/// Its lines; a torn last one is left out.
pub(super) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

/// The id of its last answer.
pub(super) fn leaf(path: &Path) -> Option<String> {
    let lines = lines(path);
    let leaf = lines.iter().rev().find(|l| l["type"] == "assistant")?;
    leaf["uuid"].as_str().map(str::to_owned)
}

/// The chain that ends at its last line that nothing hangs on; `None` where it loops or is not there yet.
pub(super) fn chain(path: &Path) -> Option<Chain> {
    let lines = lines(path);
    let nodes: BTreeMap<&str, &Value> = lines.iter().filter_map(|l| Some((l["uuid"].as_str()?, l))).collect();
    let said = |l: &&Value| l["type"] == "assistant" || l["type"] == "user";
    // 2.1.197 now and then writes a quick answer before the prompt it hangs on.
    let answered: BTreeSet<&str> = lines.iter().filter(said).filter_map(|l| l["parentUuid"].as_str()).collect();
    let last = lines.iter().rev().filter(said).find(|l| l["uuid"].as_str().is_none_or(|id| !answered.contains(id)))?;
    let mut chain = Chain { ids: Vec::new(), texts: Vec::new(), beside: 0 };
    let mut at = Some(last);
    while let Some(node) = at {
        let id = node["uuid"].as_str()?.to_owned();
        if chain.ids.contains(&id) {
            return None;
        }
        chain.ids.push(id);
        chain.texts.push(node["message"].to_string());
        let parent = node["parentUuid"].as_str().or_else(|| node["logicalParentUuid"].as_str());
        at = parent.and_then(|p| nodes.get(p).copied());
    }
    let talk = |l: &&Value| (l["type"] == "user" || l["type"] == "assistant") && l["isSidechain"] != true;
    chain.beside = lines.iter().filter(talk).filter(|l| !chain.ids.iter().any(|id| l["uuid"] == id.as_str())).count();
    Some(chain)
}
