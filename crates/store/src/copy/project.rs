//! Which repository a project folder is in, as git itself says.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ride_core::wire::Repository;
use url::Url;

/// Longest address, branch or folder that is told.
const MAX_TEXT: usize = 1_024;

/// Longest one git command takes: it reads a few small files. A folder that hangs must not hold the gateway's thread.
const GIT_WITHIN: Duration = Duration::from_secs(2);

/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What git needs of the environment: itself, and the person's configuration.
const INHERITED: [&str; 3] = ["PATH", "HOME", "XDG_CONFIG_HOME"];

/// What git says of a folder; `None` where it is in no repository with an `origin`, where
/// that is no plain address, or there is no git. Nothing is fetched and nothing written.
pub fn repository(folder: &Path) -> Option<Repository> {
    let told = |args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(folder).args(args).env_clear().env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
        // Nothing else: the gateway's secrets may stand in the environment.
        git.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        within(&mut git, GIT_WITHIN)
    };
    let remote = told(&["config", "--get", "remote.origin.url"]).filter(|remote| !remote.is_empty())?;
    // A branch without a commit has a name, too.
    let branch = told(&["symbolic-ref", "--short", "HEAD"])?;
    let inside = told(&["rev-parse", "--show-prefix"])?.trim_end_matches('/').to_owned();
    Some(Repository { remote: without_secret(&remote)?, branch, inside })
}

/// What a program says, if it ends well within a time and says no more than [`MAX_TEXT`]. One that does not is ended.
fn within(program: &mut Command, time: Duration) -> Option<String> {
    let end = Instant::now() + time;
    let mut child = program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK_EVERY),
            // One that says more than a pipe holds waits for a reader, and is ended here as well.
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    // What it started may hold the pipe open: only what is there by now is read.
    let pipe = child.stdout.take()?;
    rustix::io::ioctl_fionbio(&pipe, true).ok()?;
    let mut said = vec![0; MAX_TEXT + 1];
    let length = rustix::io::read(&pipe, &mut said[..]).unwrap_or(0);
    said.truncate(length);
    let text = String::from_utf8(said).ok().filter(|text| status.success() && text.len() <= MAX_TEXT)?;
    Some(text.trim_end_matches('\n').to_owned())
}

/// Whether two addresses name one repository: `git@host:a/b.git` and `https://host/a/b` do.
/// What cannot be understood is the same as nothing.
pub fn same_repository(one: &str, other: &str) -> bool {
    place(one).is_some_and(|one| Some(one) == place(other))
}

/// An address as git takes it.
enum Address<'r> {
    /// `https://host/path`, `ssh://…`, without user, password, query and fragment.
    Url(Url),
    /// `user@host:path` of ssh, without the user.
    Host { host: &'r str, path: &'r str },
    /// A folder of this machine.
    Folder(&'r str),
}

/// Reads an address; `None` for one of which it cannot be told what in it is secret.
fn address(remote: &str) -> Option<Address<'_>> {
    if remote.contains("://") {
        return plain_url(remote).map(Address::Url);
    }
    // As git does: a colon before the first slash makes it a host's.
    let Some((host, path)) = remote.split_once(':').filter(|(host, _)| !host.contains('/')) else {
        return Some(Address::Folder(remote));
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    // `ext::command` runs a command, and `user:password@host:path` is nobody's path.
    let first = path.split('/').next().unwrap_or(path);
    let unclear =
        host.is_empty() || path.is_empty() || path.starts_with(':') || first.contains('@') && first.contains(':');
    (!unclear).then_some(Address::Host { host, path })
}

fn plain_url(remote: &str) -> Option<Url> {
    let mut url = Url::parse(remote).ok()?;
    // Both fail only where there is no host, and then there is no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    (url.username().is_empty() && url.password().is_none() && !url.cannot_be_a_base()).then_some(url)
}

/// What an address names, whatever way leads there.
fn place(remote: &str) -> Option<String> {
    let (host, path) = match address(remote)? {
        // A port is part of how it is reached, not of what it is.
        Address::Url(url) => (url.host_str().unwrap_or_default().to_lowercase(), url.path().to_owned()),
        Address::Host { host, path } => (host.to_lowercase(), path.to_owned()),
        Address::Folder(path) => (String::new(), path.to_owned()),
    };
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let path = if host.is_empty() { path } else { path.trim_start_matches('/') };
    (!path.is_empty()).then(|| format!("{host}/{path}"))
}

/// An address without what may be secret in it: user, password, query and fragment.
fn without_secret(remote: &str) -> Option<String> {
    Some(match address(remote)? {
        Address::Url(url) => url.into(),
        Address::Host { host, path } => format!("{host}:{path}"),
        Address::Folder(path) => path.to_owned(),
    })
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
            ("https://me:p@ss@example.org/team/app?private_token=x", "example.org:team/app"),
            ("https://example.org/a@b/app", "git@example.org:a@b/app.git"),
            ("/srv/git/app.git", "/srv/git/app"),
            ("file:///srv/git/app.git", "/srv/git/app/"),
        ];
        for (one, other) in same {
            assert!(same_repository(one, other), "{one} {other}: {:?} {:?}", place(one), place(other));
        }
        let others = [
            ("git@example.org:team/app.git", "git@example.org:team/lib.git"),
            ("https://example.org/team/app", "https://example.com/team/app"),
            ("/srv/git/app", "/home/git/app"),
            // What stands behind the host is no user of another host.
            ("https://example.org/a@example.com/app", "https://example.com/app"),
            ("https://example.org/a@example.com/app", "https://example.org/app"),
            ("git@example.org:a@example.com/app", "https://example.com/app"),
            // What cannot be read is nothing's address, not even its own.
            ("ext::sh -c env", "ext::sh -c env"),
            ("https://", "https://"),
        ];
        for (one, other) in others {
            assert!(!same_repository(one, other), "{one} {other}");
        }
    }

    #[test]
    fn nothing_secret_is_told_of_an_address() {
        let check = |remote: &str, told: Option<&str>| assert_eq!(without_secret(remote).as_deref(), told, "{remote}");
        check("https://example.org/team/app.git", Some("https://example.org/team/app.git"));
        check("https://token@example.org/team/app", Some("https://example.org/team/app"));
        check("https://me:secret@example.org/team/app", Some("https://example.org/team/app"));
        check("https://me:se@cr@et@example.org/team/app", Some("https://example.org/team/app"));
        check("https://example.org/team/app?private_token=secret#secret", Some("https://example.org/team/app"));
        check("https://example.org/a@b/app", Some("https://example.org/a@b/app"));
        check("ssh://me:se@cret@example.org:2222/team/app?x=secret", Some("ssh://example.org:2222/team/app"));
        check("git+https://secret@example.org/team/app", Some("git+https://example.org/team/app"));
        check("git@example.org:team/app.git", Some("example.org:team/app.git"));
        check("se@cret@example.org:team/app", Some("example.org:team/app"));
        check("../app", Some("../app"));
        // Where the secret ends cannot be told: nothing is.
        check("https://me:se/cret@example.org/team/app", None);
        check("me:secret@example.org:team/app", None);
        check("ext::sh -c 'secret'", None);
        check("https://me:secret@/team/app", None);
    }

    #[test]
    fn a_program_that_hangs_or_says_too_much_is_ended() {
        let says = |script: &str, ms| within(Command::new("sh").args(["-c", script]), Duration::from_millis(ms));
        assert_eq!(says("echo main", 60_000), Some("main".into()));
        assert_eq!(says("echo main; exit 1", 60_000), None);
        assert_eq!(says("exec sleep 600", 50), None);
        assert_eq!(says("exec yes", 200), None);
        // What it leaves behind is not waited for.
        assert_eq!(says("sleep 5 & echo main", 60_000), Some("main".into()));
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
        git(&["remote", "add", "origin", "https://me:sec@ret@example.org/team/app.git?private_token=secret"]);
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let found = repository(&dir.path().join("a/b")).unwrap();
        assert_eq!(
            found,
            Repository {
                remote: "https://example.org/team/app.git".into(),
                branch: "work".into(),
                inside: "a/b".into()
            }
        );
        assert_eq!(repository(dir.path()).unwrap().inside, "");
    }
}
