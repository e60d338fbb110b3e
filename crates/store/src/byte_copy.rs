//! Bytes from one file to another, and whether two have the same. All at offsets, so that
//! nothing depends on where a file was read last.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use ride_core::mirror::Begins;

use crate::claude::tail_sha256;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Reads a stretch; one that ends before `to` is an error.
pub(crate) fn feed(file: &File, from: u64, to: u64, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let wanted = (to - at).min(CHUNK as u64) as usize;
        match file.read_at(&mut chunk[..wanted], at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                take(&chunk[..n])?;
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Copies a stretch to where it stands in the other file.
pub(crate) fn copy(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let mut at = start;
    feed(from, start, end, |bytes| {
        to.write_all_at(bytes, at)?;
        at += bytes.len() as u64;
        Ok(())
    })
}

/// Whether both begin with the same so many bytes.
pub(crate) fn same(a: &File, b: &File, size: u64) -> io::Result<bool> {
    if a.metadata()?.len() < size || b.metadata()?.len() < size {
        return Ok(false);
    }
    let (mut at, mut other, mut same) = (0, vec![0; CHUNK], true);
    feed(a, 0, size, |bytes| {
        if same {
            let other = &mut other[..bytes.len()];
            b.read_exact_at(other, at)?;
            at += bytes.len() as u64;
            same = other == bytes;
        }
        Ok(())
    })?;
    Ok(same)
}

/// Whether a file begins with so many bytes that end as the hash says.
pub(crate) fn begins(file: &File, size: u64, tail: &str) -> io::Result<Begins> {
    let so = file.metadata()?.len() >= size && tail_sha256(file, size)? == tail;
    Ok(if so { Begins::So } else { Begins::Otherwise })
}
