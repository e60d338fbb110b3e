//! Whose program is at the other end of a connection within this machine.
//!
//! On loopback anybody may take the gateway's port while it restarts, and would be given the
//! shared token. So before anything secret is sent the other end must be of this user or of
//! root; anybody else is allowed by a person, once for each address and user, and remembered.
//!
//! Linux alone tells (`/proc/net/tcp`): elsewhere nothing is known, and nothing asked. An end
//! that Linux does not show (a container's port that is forwarded by the kernel) is nobody's,
//! and asked about.

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where it is kept whom a person allowed, one a line: address and user.
const FILE: &str = "allowed-ends";
/// More than anybody ever allows.
const MAX_BYTES: u64 = 64 * 1024;

/// Whose the other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user of this machine.
    User(u32),
    /// Nobody's whom this machine shows.
    Unseen,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::User(uid) => write!(f, "uid {uid}"),
            Owner::Unseen => f.write_str("a user this machine does not show"),
        }
    }
}

/// Both ends of a connection, as this process sees them.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Ours.
    pub here: SocketAddr,
    /// The other.
    pub there: SocketAddr,
}

impl Ends {
    /// Whose the other end is; `None` where the system tells nothing. Ask once it has said
    /// something: a connection that nobody took yet belongs to nobody.
    pub fn owner(&self) -> Option<Owner> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).ok());
        let seen = tables.iter().flatten().find_map(|table| self.find(table));
        tables[0].as_ref().map(|_| seen.map_or(Owner::Unseen, Owner::User))
    }

    /// The user of the line whose local end is the other end of this connection.
    fn find(&self, table: &str) -> Option<u32> {
        let is = |text: &str, end: SocketAddr| written(end).iter().any(|form| form == text);
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let found = fields.len() > 7 && is(fields[1], self.there) && is(fields[2], self.here);
            found.then(|| fields[7].parse().ok()).flatten()
        })
    }
}

/// An end as the kernel writes it, by itself and as IPv6.
fn written(end: SocketAddr) -> Vec<String> {
    let words = |bytes: &[u8]| -> String {
        let word = |four: &[u8]| format!("{:08X}", u32::from_ne_bytes(four.try_into().expect("four bytes")));
        bytes.chunks_exact(4).map(word).collect()
    };
    let addresses = match end.ip() {
        IpAddr::V4(v4) => vec![words(&v4.octets()), words(&v4.to_ipv6_mapped().octets())],
        IpAddr::V6(v6) => vec![words(&v6.octets())],
    };
    addresses.into_iter().map(|address| format!("{address}:{:04X}", end.port())).collect()
}

/// Whether this end may be told secrets: it is ours, root's, or was allowed.
pub fn may_know(owner: Owner, me: u32, origin: &str, state_dir: &Path) -> bool {
    let own = matches!(owner, Owner::User(uid) if uid == 0 || uid == me);
    own || read(state_dir).lines().any(|line| line == line_of(origin, owner))
}

/// Remembers that a person allowed it.
///
/// # Errors
/// The file cannot be written.
pub fn allow(owner: Owner, origin: &str, state_dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path(state_dir))?;
    writeln!(file, "{}", line_of(origin, owner))
}

fn line_of(origin: &str, owner: Owner) -> String {
    match owner {
        Owner::User(uid) => format!("{origin} {uid}"),
        Owner::Unseen => format!("{origin} unseen"),
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

fn read(state_dir: &Path) -> String {
    let path = path(state_dir);
    let small = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
    small.then(|| std::fs::read_to_string(path).ok()).flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// As Linux writes it, with another user's end in each table.
    const V4: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 0100007F:4965 0100007F:C351 01 00000000:00000000 00:00000000 00000000  1001        0 102 1 0 20 4 30 10 -1
   2: 0100007F:C350 0100007F:4965 01 00000000:00000000 00:00000000 00000000  1000        0 103 1 0 20 4 30 10 -1
   3: 0100007F:4965 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1002        0 104 1 0 20 4 30 10 -1
";
    const V6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000100007F:4965 0000000000000000FFFF00000100007F:C352 01 00000000:00000000 00:00000000 00000000  1003        0 105 1 0
   1: 00000000000000000000000001000000:4965 00000000000000000000000001000000:C350 01 00000000:00000000 00:00000000 00000000  1004        0 106 1 0
";

    fn ends(host: &str, port: u16) -> Ends {
        Ends { here: format!("{host}:{port}").parse().unwrap(), there: format!("{host}:18789").parse().unwrap() }
    }

    #[test]
    fn the_other_end_is_found_among_all() {
        // The tables are of a machine that writes the low byte first.
        let check = |ends: Ends, table: &str, expected| assert_eq!(ends.find(table), expected, "{ends:?}");
        check(ends("127.0.0.1", 0xC350), V4, Some(1002));
        check(ends("127.0.0.1", 0xC351), V4, Some(1001));
        check(ends("127.0.0.1", 0xC359), V4, None);
        check(ends("127.0.0.1", 0xC352), V6, Some(1003));
        check(ends("[::1]", 0xC350), V6, Some(1004));
        check(ends("[::1]", 0xC350), V4, None);
        check(ends("127.0.0.1", 0xC350), "", None);
    }

    #[test]
    fn an_end_of_our_own_is_ours() {
        for host in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(if host == "[::1]:0" {
                format!("[::1]:{port}")
            } else {
                format!("127.0.0.1:{port}")
            })
            .unwrap();
            let _taken = listener.accept().unwrap();
            let ends = Ends { here: client.local_addr().unwrap(), there: client.peer_addr().unwrap() };
            assert_eq!(ends.owner(), Some(Owner::User(rustix::process::geteuid().as_raw())), "{host}");
        }
    }

    #[test]
    fn only_who_was_allowed_is_told_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (url, other) = ("ws://127.0.0.1:18789", "ws://127.0.0.1:18790");
        let may = |owner| may_know(owner, 1000, url, &state);
        assert!(may(Owner::User(1000)) && may(Owner::User(0)));
        assert!(!may(Owner::User(1001)) && !may(Owner::Unseen));
        allow(Owner::User(1001), url, &state).unwrap();
        assert!(may(Owner::User(1001)) && !may(Owner::User(100)) && !may(Owner::Unseen));
        assert!(!may_know(Owner::User(1001), 1000, other, &state), "another address");
        allow(Owner::Unseen, url, &state).unwrap();
        assert!(may(Owner::Unseen));
    }
}
