//! How many different values there are: sets of their hashes.

use std::collections::HashSet;

/// Hashes of distinct values: a short list, then a set. The hash is of this process only, so that
/// no client can choose values that collide.
#[derive(Clone, Debug)]
pub(crate) enum Distinct {
    Few(Vec<u64>),
    Many(Union),
}

const FEW: usize = 16;

/// Room to count together what several sets have; it is used again and again.
pub(crate) type Union = HashSet<u64, Asis>;

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
                let mut many: Union = hashes.drain(..).collect();
                many.insert(hash);
                *self = Self::Many(many);
            }
            Self::Many(hashes) => drop(hashes.insert(hash)),
        }
    }

    /// How many different values several sets have together.
    pub(crate) fn len_of<'a>(
        sets: impl Iterator<Item = &'a Self> + Clone,
        seen: &mut Union,
    ) -> usize {
        let mut some = sets.clone().filter(|set| set.len() > 0);
        let (first, second) = (some.next(), some.next());
        if second.is_none() {
            return first.map_or(0, Self::len);
        }
        seen.clear();
        for set in sets {
            match set {
                Self::Few(hashes) => seen.extend(hashes),
                Self::Many(hashes) => seen.extend(hashes),
            }
        }
        seen.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_have_is_counted_once() {
        let set = |hashes: std::ops::Range<u64>| {
            let mut set = Distinct::default();
            hashes.for_each(|hash| set.insert(hash));
            set
        };
        let mut seen = Union::default();
        let len = |sets: &[Distinct], seen: &mut Union| Distinct::len_of(sets.iter(), seen);
        assert_eq!(len(&[], &mut seen), 0);
        assert_eq!(len(&[set(0..0), set(0..30), set(0..0)], &mut seen), 30);
        assert_eq!(len(&[set(0..30), set(20..25), set(28..32)], &mut seen), 32);
        assert_eq!(len(&[set(1..2), set(1..2)], &mut seen), 1);
    }
}
