//! Fingerprints: 64 bits of a value, by folded multiplication. Ten million
//! states share one with a chance of about three in a million.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A map by fingerprint.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;
/// A set of fingerprints.
pub type Seen = std::collections::HashSet<u64, BuildHasherDefault<Same>>;

/// Folds words into 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct Fold(u64);

impl Default for Fold {
    fn default() -> Self {
        Fold(0x9E37_79B9_7F4A_7C15)
    }
}

impl Fold {
    fn word(&mut self, word: u64) {
        let a = u128::from(self.0 ^ word) * 0xE703_7ED1_A0B4_28DB_u128;
        self.0 = (a as u64) ^ ((a >> 64) as u64) ^ word.rotate_left(29).wrapping_add(0xA076_1D64_78BD_642F);
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        let a = u128::from(self.0 ^ 0x8EBC_6AF0_9C88_C6E3) * 0x5899_65CC_7537_4CC3_u128;
        (a as u64) ^ ((a >> 64) as u64)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.word(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.word(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }
}

/// A fingerprint is its own hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.is_empty(), "only fingerprints are kept here");
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// The fingerprint of a value.
pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut fold = Fold::default();
    value.hash(&mut fold);
    fold.finish()
}
