//! One version everywhere: what is packed together says so, in every file that says any.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The version: the workspace's.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Files that name it, and where in them.
const MANIFESTS: [(&str, &str); 5] = [
    ("plugins/openclaw/package.json", "/version"),
    ("plugins/openclaw/openclaw.plugin.json", "/version"),
    ("plugins/claude-code/.claude-plugin/plugin.json", "/version"),
    (".claude-plugin/marketplace.json", "/metadata/version"),
    (".claude-plugin/marketplace.json", "/plugins/0/version"),
];
/// Pages whose lines people copy, and what stands before the version in the files they name.
const PAGES: [&str; 3] = ["README.md", "docs/operations.md", "plugins/openclaw/README.md"];
const FILES: [&str; 3] = ["claude-code-sync-", "claude-code-sync-marketplace-", "ride-"];

/// Checks them all, below the workspace folder.
pub(crate) fn check(root: &Path) -> Result<()> {
    let wrong = wrong(root)?;
    if !wrong.is_empty() {
        bail!("versions differ from {VERSION}, which Cargo.toml has:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

/// Checks them all, and the release's tag.
pub(crate) fn check_tag(root: &Path, tag: &str) -> Result<()> {
    check(root)?;
    match tag.strip_prefix('v') {
        Some(VERSION) => Ok(()),
        _ => bail!("the tag is {tag:?}, expected \"v{VERSION}\""),
    }
}

fn wrong(root: &Path) -> Result<Vec<String>> {
    let read = |file: &str| std::fs::read_to_string(root.join(file)).with_context(|| format!("could not read {file}"));
    let mut wrong = Vec::new();
    for (file, at) in MANIFESTS {
        let manifest: Value = serde_json::from_str(&read(file)?).with_context(|| format!("could not read {file}"))?;
        let found = manifest.pointer(at).unwrap_or(&Value::Null);
        if found != VERSION {
            wrong.push(format!("{file}: {at} is {found}, expected \"{VERSION}\""));
        }
    }
    for file in PAGES {
        for (number, line) in read(file)?.lines().enumerate() {
            for before in FILES {
                let named = line
                    .split(before)
                    .skip(1)
                    .map(leading_version)
                    .filter(|named| !named.is_empty() && *named != VERSION);
                wrong.extend(
                    named.map(|named| format!("{file}:{}: {before}{named}, expected {before}{VERSION}", number + 1)),
                );
            }
        }
    }
    Ok(wrong)
}

/// The digits and points that a text begins with.
fn leading_version(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;

    #[test]
    fn they_are_equal_here() {
        check(&build::root()).unwrap();
    }

    #[test]
    fn one_that_differs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for file in MANIFESTS.iter().map(|(file, _)| *file).chain(PAGES) {
            let to = dir.path().join(file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(build::root().join(file), to).unwrap();
        }
        check(dir.path()).unwrap();
        check_tag(dir.path(), &format!("v{VERSION}")).unwrap();
        assert_eq!(
            check_tag(dir.path(), VERSION).unwrap_err().to_string(),
            format!("the tag is {VERSION:?}, expected \"v{VERSION}\"")
        );
        let set = |file: &str, from: &str, to: &str| {
            let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
            assert!(text.contains(from), "{file}");
            std::fs::write(dir.path().join(file), text.replacen(from, to, 1)).unwrap();
        };
        set("plugins/openclaw/package.json", &format!("\"version\": {VERSION:?}"), "\"version\": \"9.0.0\"");
        set("plugins/claude-code/.claude-plugin/plugin.json", &format!("\"version\": {VERSION:?},"), "");
        set("plugins/openclaw/README.md", &format!("claude-code-sync-{VERSION}.tgz"), "claude-code-sync-0.0.9.tgz");
        let readme = std::fs::read_to_string(dir.path().join("plugins/openclaw/README.md")).unwrap();
        let line = readme.lines().position(|line| line.contains("0.0.9")).unwrap() + 1;
        assert_eq!(
            wrong(dir.path()).unwrap(),
            [
                format!("plugins/openclaw/package.json: /version is \"9.0.0\", expected {VERSION:?}"),
                format!("plugins/claude-code/.claude-plugin/plugin.json: /version is null, expected {VERSION:?}"),
                format!(
                    "plugins/openclaw/README.md:{line}: claude-code-sync-0.0.9, expected claude-code-sync-{VERSION}"
                ),
            ]
        );
    }
}
