//! How many different values there are: sets of their hashes.

use std::collections::HashSet;

/// Hashes of distinct values: a short list, then a set. The hash is of this process only, so that
/// no client can choose values that collide.
#[derive(Clone, Debug)]
pub(crate) enum Distinct {
    Few(Vec<u64>),
    Many(HashSet<u64, Asis>),
}

const FEW: usize = 16;

/// Hashes need no hashing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asis(u64);

impl std::hash::BuildHasher for Asis {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl std::hash::Hasher for Asis {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Distinct {
    pub(crate) fn insert(&mut self, hash: u64) {
        match self {
            Self::Few(hashes) if hashes.contains(&hash) => {}
            Self::Few(hashes) if hashes.len() < FEW => hashes.push(hash),
            Self::Few(hashes) => {
                let mut many: HashSet<u64, Asis> = hashes.drain(..).collect();
                many.insert(hash);
                *self = Self::Many(many);
            }
            Self::Many(hashes) => drop(hashes.insert(hash)),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        match other {
            Self::Few(hashes) => hashes.iter().for_each(|hash| self.insert(*hash)),
            Self::Many(hashes) => hashes.iter().for_each(|hash| self.insert(*hash)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(hashes) => hashes.len(),
            Self::Many(hashes) => hashes.len(),
        }
    }

    /// Bytes beside the value's own.
    pub(crate) fn heap(&self) -> usize {
        match self {
            Self::Few(hashes) => hashes.capacity() * 8,
            // Tables are at most 7/8 full, with a byte for each place.
            Self::Many(hashes) => hashes.capacity() * 9 * 8 / 7,
        }
    }
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}
