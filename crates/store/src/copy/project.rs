//! Which repository a project folder is in, as git itself says.

use std::path::Path;
use std::process::{Command, Stdio};

use ride_core::wire::Repository;

/// Longest address, branch or folder that is told.
const MAX_TEXT: usize = 1_024;

/// What git says of a folder; `None` where it is in no repository with an `origin`, or
/// there is no git. Nothing is fetched and nothing written.
pub fn repository(folder: &Path) -> Option<Repository> {
    let told = |args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(folder).args(args).env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
        let said = git.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(said.stdout).ok().filter(|_| said.status.success())?;
        (text.len() <= MAX_TEXT).then(|| text.trim_end_matches('\n').to_owned())
    };
    let remote = told(&["config", "--get", "remote.origin.url"]).filter(|remote| !remote.is_empty())?;
    // A branch without a commit has a name, too.
    let branch = told(&["symbolic-ref", "--short", "HEAD"])?;
    let inside = told(&["rev-parse", "--show-prefix"])?.trim_end_matches('/').to_owned();
    Some(Repository { remote: without_secret(&remote), branch, inside })
}

/// Whether two addresses name one repository: `git@host:a/b.git` and `https://host/a/b` do.
pub fn same_repository(one: &str, other: &str) -> bool {
    place(one) == place(other)
}

fn place(remote: &str) -> String {
    let (rest, by_url) = remote.split_once("://").map_or((remote, false), |(_, rest)| (rest, true));
    let path = rest.starts_with('/') && !by_url;
    let rest = if path { rest } else { rest.split_once('@').map_or(rest, |(_, rest)| rest) };
    let rest = rest.trim_end_matches('/');
    let rest = rest.strip_suffix(".git").unwrap_or(rest);
    let (host, path) = match rest.split_once(if by_url { '/' } else { ':' }) {
        Some((host, path)) if !path.is_empty() => (host, path.trim_start_matches('/')),
        _ => return rest.to_owned(),
    };
    // A port is part of how it is reached, not of what it is.
    let host = if by_url { host.split(':').next().unwrap_or(host) } else { host };
    format!("{}/{path}", host.to_lowercase())
}

/// An address without the password or token that may stand in it.
fn without_secret(remote: &str) -> String {
    match remote.split_once("://").map(|(scheme, rest)| (scheme, rest.split_once('@'))) {
        Some((scheme, Some((_, rest)))) => format!("{scheme}://{rest}"),
        _ => remote.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_many_addresses() {
        let same = [
            ("git@example.org:team/app.git", "https://example.org/team/app"),
            ("ssh://git@example.org:2222/team/app.git", "https://Example.org/team/app/"),
            ("https://token@example.org/team/app", "http://example.org/team/app.git"),
            ("/srv/git/app.git", "/srv/git/app"),
        ];
        for (one, other) in same {
            assert!(same_repository(one, other), "{one} {other}: {} {}", place(one), place(other));
        }
        let others = [
            ("git@example.org:team/app.git", "git@example.org:team/lib.git"),
            ("https://example.org/team/app", "https://example.com/team/app"),
            ("/srv/git/app", "/home/git/app"),
        ];
        for (one, other) in others {
            assert!(!same_repository(one, other), "{one} {other}");
        }
    }

    #[test]
    fn git_tells_remote_branch_and_place_and_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let done = Command::new("git").arg("-C").arg(dir.path()).args(args).output().unwrap();
            assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        };
        assert_eq!(repository(dir.path()), None, "no repository");
        git(&["init", "-q", "-b", "work"]);
        assert_eq!(repository(dir.path()), None, "no origin");
        git(&["remote", "add", "origin", "https://me:secret@example.org/team/app.git"]);
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let found = repository(&dir.path().join("a/b")).unwrap();
        assert_eq!(found, Repository { remote: "https://example.org/team/app.git".into(), branch: "work".into(), inside: "a/b".into() });
        assert_eq!(repository(dir.path()).unwrap().inside, "");
    }
}
