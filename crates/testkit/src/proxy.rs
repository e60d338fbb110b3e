//! A line to a server that can be cut and mended, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Doing, Result};

/// Bytes carried at a time.
const CHUNK: usize = 16 * 1024;

/// The line; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    line: Arc<Line>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Line {
    to: SocketAddr,
    /// Cut: what is on it ends, and nothing new gets through.
    cut: watch::Sender<bool>,
    /// Bytes to the server after which it cuts itself; as many as there are when not set.
    up: AtomicU64,
    /// The same for bytes from it.
    down: AtomicU64,
}

impl Proxy {
    /// Lays a line to a server.
    pub async fn to(to: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.doing(|| "lay a line".into())?;
        let port = listener.local_addr().doing(|| "read a listening address".into())?.port();
        let forever = || AtomicU64::new(u64::MAX);
        let line = Arc::new(Line { to, cut: watch::Sender::new(false), up: forever(), down: forever() });
        let carried = line.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, carried.clone()));
            }
        });
        Ok(Proxy { port, line, task })
    }

    /// Its end on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.line.cut.send_replace(true);
    }

    /// Cuts it once so many more bytes have gone to the server.
    pub fn cut_after_sending(&self, bytes: u64) {
        self.line.up.store(bytes, Ordering::SeqCst);
    }

    /// Cuts it once so many more bytes have come from the server.
    pub fn cut_after_receiving(&self, bytes: u64) {
        self.line.down.store(bytes, Ordering::SeqCst);
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        *self.line.cut.borrow()
    }

    /// Mends it.
    pub fn mend(&self) {
        self.line.up.store(u64::MAX, Ordering::SeqCst);
        self.line.down.store(u64::MAX, Ordering::SeqCst);
        self.line.cut.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn carry(near: TcpStream, line: Arc<Line>) {
    if *line.cut.borrow() {
        return;
    }
    let Ok(far) = TcpStream::connect(line.to).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut cut = line.cut.subscribe();
    tokio::select! {
        () = one_way(near_in, far_out, &line.up, &line.cut) => {}
        () = one_way(far_in, near_out, &line.down, &line.cut) => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, left: &AtomicU64, cut: &watch::Sender<bool>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(read @ 1..) = from.read(&mut chunk).await else { return };
        let may = left.load(Ordering::SeqCst);
        let goes = read.min(usize::try_from(may).unwrap_or(usize::MAX));
        if may != u64::MAX {
            left.store(may - goes as u64, Ordering::SeqCst);
        }
        if to.write_all(&chunk[..goes]).await.is_err() {
            return;
        }
        if goes < read {
            cut.send_replace(true);
            return;
        }
    }
}
