//! The hash of a long file, made in slices: one file at a time, and what is done is kept between two slices.
//!
//! Whoever wants a hash asks again until it is there. So no call holds a thread for long, and many that want one at the
//! same time hold one thread together.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError, TryLockError};

use ride_core::limits::{HASHED_BYTES, HASHED_FILES};

use super::Hash;

/// Hashes in the making, by what they are of.
#[derive(Debug, Default)]
pub struct Slices(Mutex<VecDeque<Job>>);

#[derive(Clone, Debug)]
struct Job {
    of: String,
    size: u64,
    done: u64,
    hash: Hash,
}

/// What came of asking for a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sliced {
    /// It is this, in hexadecimal digits.
    Hash(String),
    /// A slice more is done: ask again.
    More,
    /// Another slice is being made: ask again in a while.
    Busy,
}

impl Slices {
    /// Makes the next slice of the hash of a file's first `size` bytes. `of` names the file and what it is hashed for:
    /// what stands before `size` must not change under one name.
    ///
    /// # Errors
    /// When the file cannot be read or is shorter.
    pub fn next(&self, of: &str, file: &File, size: u64) -> io::Result<Sliced> {
        let mut jobs = match self.0.try_lock() {
            Ok(jobs) => jobs,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return Ok(Sliced::Busy),
        };
        let at = jobs.iter().position(|job| job.of == of && job.size == size);
        let mut job = at.and_then(|at| jobs.remove(at)).unwrap_or_else(|| Job {
            of: of.to_owned(),
            size,
            done: 0,
            hash: Hash::default(),
        });
        let end = size.min(job.done + HASHED_BYTES);
        job.hash.read(file, job.done, end)?;
        job.done = end;
        let made = if end == size { Sliced::Hash(job.hash.hex()) } else { Sliced::More };
        if jobs.len() == HASHED_FILES {
            jobs.pop_front();
        }
        jobs.push_back(job);
        Ok(made)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_hashed_in_slices_that_are_kept() {
        let file = tempfile::tempfile().unwrap();
        let size = 2 * HASHED_BYTES + 5;
        file.set_len(size + 100).unwrap();
        let slices = Slices::default();
        let whole = Sliced::Hash(Hash::of(&file, size).unwrap().hex());
        assert_eq!(slices.next("a", &file, size).unwrap(), Sliced::More);
        // Another one goes between and disturbs nothing.
        assert_eq!(slices.next("b", &file, 7).unwrap(), Sliced::Hash(Hash::of(&file, 7).unwrap().hex()));
        assert_eq!(slices.next("a", &file, size).unwrap(), Sliced::More);
        assert_eq!(slices.next("a", &file, size).unwrap(), whole);
        // Who asks with it at the same time is given the same one, without the work.
        assert_eq!(slices.next("a", &file, size).unwrap(), whole);
    }

    #[test]
    fn one_slice_is_made_at_a_time_and_nobody_waits_for_it() {
        let file = tempfile::tempfile().unwrap();
        let slices = Slices::default();
        let made = slices.0.lock().unwrap();
        assert_eq!(slices.next("a", &file, 0).unwrap(), Sliced::Busy);
        drop(made);
        for nth in 0..HASHED_FILES + 9 {
            slices.next(&nth.to_string(), &file, 0).unwrap();
        }
        assert_eq!(slices.0.lock().unwrap().len(), HASHED_FILES);
    }
}
