//! The licences of what is inside a binary, as their texts ask to be passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::build::{self, cargo};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    repository: Option<String>,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// Nothing where it is linked in.
    kind: Option<String>,
}

/// Lists the crates that some of the workspace's are linked with on these platforms, each with its licence,
/// then every licence text once, with whose it is.
pub(crate) fn of(crates: &[&str], triples: &[&str]) -> Result<String> {
    let args = ["metadata", "--format-version=1", "--locked"];
    let platforms = triples.iter().flat_map(|triple| ["--filter-platform", triple]);
    let output = Command::new(cargo())
        .current_dir(build::root())
        .args(args)
        .args(platforms)
        .output()
        .context("could not run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("could not read cargo metadata's answer")?;
    let ours = |package: &&Package| package.source.is_none() && crates.contains(&package.name.as_str());
    let mut inside: BTreeSet<&str> = metadata.packages.iter().filter(ours).map(|package| package.id.as_str()).collect();
    let mut new: Vec<&str> = inside.iter().copied().collect();
    while let Some(id) = new.pop() {
        let node = metadata
            .resolve
            .nodes
            .iter()
            .find(|node| node.id == id)
            .context("cargo metadata has a dependency without a node")?;
        let linked = node.deps.iter().filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        new.extend(linked.map(|dependency| dependency.pkg.as_str()).filter(|id| inside.insert(id)));
    }
    let mut foreign: Vec<&Package> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some() && inside.contains(package.id.as_str()))
        .collect();
    foreign.sort_by_key(|package| (&package.name, &package.version));
    let mut text = format!(
        "The Rust crates that {} is linked with, their licences, and the texts of these.\n\n",
        crates.join(" and ")
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in foreign {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("as its licence file says");
        let _ = writeln!(
            text,
            "{name}: {licence}{}",
            package.repository.as_ref().map_or_else(String::new, |at| format!(", {at}"))
        );
        let folder = Path::new(&package.manifest_path).parent().context("a manifest lies in a folder")?;
        for licence in licences(folder)? {
            texts.entry(licence).or_default().push(name.clone());
        }
    }
    for (licence, whose) in texts {
        let _ = write!(text, "\n{}\n{}\n\n{}\n", "=".repeat(80), whose.join(", "), licence.trim_end());
    }
    Ok(text)
}

/// The texts of a crate's licence files.
fn licences(folder: &Path) -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|word| name.starts_with(word));
        if is && entry.file_type()?.is_file() {
            texts.insert(String::from_utf8_lossy(&std::fs::read(entry.path())?).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_nothing_else() {
        let text = of(&["ride-node"], &["x86_64-unknown-linux-gnu"]).unwrap();
        let listed = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name} ")) && line.contains(": "));
        assert!(listed("serde_json") && listed("napi"), "{text}");
        assert!(!listed("tempfile") && !listed("napi-build") && !listed("ratatui") && !listed("ride-core"));
        assert!(text.contains("Permission is hereby granted"));
    }
}
