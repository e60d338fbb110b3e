//! A network of its own, and what of this machine's it reaches: loopback ports that are
//! named, each over a socket file, and nothing else.
//!
//! [`Ways`] is this machine's end; [`run_inside`] is what runs in the other network.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::process::{WaitOptions, wait};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinSet;

use crate::error::{Doing, Result};

/// What this program is called beside the sockets.
const PROGRAM: &str = "program";

/// The ports that another network reaches; when dropped nothing new gets through.
#[derive(Debug)]
pub struct Ways {
    folder: TempDir,
    ports: Vec<u16>,
    _tasks: JoinSet<()>,
}

impl Ways {
    /// Opens a way to each of these loopback ports.
    pub fn to(ports: &[u16]) -> Result<Ways> {
        let folder =
            tempfile::Builder::new().prefix("ride-ways-").tempdir().doing(|| "make a folder for sockets".into())?;
        // A build that goes on may have put another one in this program's place.
        std::fs::copy("/proc/self/exe", folder.path().join(PROGRAM)).doing(|| "copy this program".into())?;
        let mut tasks = JoinSet::new();
        for port in ports.iter().copied() {
            let socket = socket(folder.path(), port);
            let listener = UnixListener::bind(&socket).doing(|| format!("listen on {}", socket.display()))?;
            tasks.spawn(async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        // Either end may be gone, as on any line.
                        if let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                        }
                    });
                }
            });
        }
        Ok(Ways { folder, ports: ports.to_owned(), _tasks: tasks })
    }

    /// The start of a command line that ends in [`run_inside`]: this program, with `inside` and
    /// its arguments.
    pub fn args(&self) -> Vec<String> {
        let folder = self.folder.path();
        let mut args =
            vec![folder.join(PROGRAM).display().to_string(), "inside".to_owned(), folder.display().to_string()];
        args.extend(self.ports.iter().map(u16::to_string));
        args
    }
}

fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!("{port}.sock"))
}

/// Runs a command as the first process of a network and of process ids of its own, until it
/// ends.
///
/// # Errors
/// When the network cannot be made ready or the command not be started.
pub fn run_inside(folder: &Path, ports: &[u16], command: &[String]) -> io::Result<ExitStatus> {
    loopback_up()?;
    for port in ports.iter().copied() {
        let (listener, socket) = (TcpListener::bind((Ipv4Addr::LOCALHOST, port))?, socket(folder, port));
        thread::spawn(move || {
            for near in listener.incoming().map_while(io::Result::ok) {
                let Ok(far) = UnixStream::connect(&socket) else { continue };
                let Ok((near_again, far_again)) = near.try_clone().and_then(|near| Ok((near, far.try_clone()?))) else {
                    continue;
                };
                thread::spawn(move || {
                    let _ = io::copy(&mut &near, &mut &far);
                    let _ = far.shutdown(Shutdown::Write);
                });
                thread::spawn(move || {
                    let _ = io::copy(&mut &far_again, &mut &near_again);
                    let _ = near_again.shutdown(Shutdown::Both);
                });
            }
        });
    }
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let child = Command::new(program).args(args).spawn()?;
    loop {
        // The first process has the children of those that died.
        if let Some((pid, status)) = wait(WaitOptions::empty())?
            && pid.as_raw_nonzero().get().cast_unsigned() == child.id()
        {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

/// Switches the loopback device of this network on.
///
/// By a netlink request, because its file below `/sys` belongs to the machine's root: an ordinary
/// user may not write it, also in a network that this user made.
fn loopback_up() -> io::Result<()> {
    // Protocol 0 of netlink is the one of routes and devices.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &link_up_request(), SendFlags::empty())?;
    let mut answer = [0; 64];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // The answer is a header of 16 bytes, then a negated error number, 0 for done.
    match answer[..length].get(16..20).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer to a netlink request is too short"))
        }
    }
}

/// `RTM_NEWLINK` for device 1, which is always `lo`: set `IFF_UP`, and acknowledge it.
fn link_up_request() -> Vec<u8> {
    const LENGTH: u32 = 32;
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 0x1 | 0x4;
    const LO: i32 = 1;
    const IFF_UP: u32 = 1;
    let mut request = Vec::new();
    request.extend(LENGTH.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend(REQUEST_AND_ACK.to_ne_bytes());
    request.extend([0; 8]); // sequence number and port
    request.extend([0; 4]); // address family and device type: any
    request.extend(LO.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes()); // the flags
    request.extend(IFF_UP.to_ne_bytes()); // which of them change
    request
}
