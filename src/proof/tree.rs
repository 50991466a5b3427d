//! Merkle trees as RFC 6962 has them, over leaves that were hashed already.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// A SHA-256; its text is base64, as in checkpoints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of bytes as they are: a file's.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of a leaf: of a zero byte and the leaf's own.
    #[must_use]
    pub fn of_leaf(leaf: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(leaf);
        Self(hash.finalize().into())
    }

    /// A hash of its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("no SHA-256 in base64"))
    }
}

/// A tree that only grows: what is kept of it is the hashes of its whole subtrees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Peaks", into = "Peaks")]
pub struct Frontier {
    size: u64,
    /// The largest subtree first.
    peaks: Vec<Hash>,
}

/// The stored form of a frontier.
#[derive(Clone, Serialize, Deserialize)]
struct Peaks {
    size: u64,
    peaks: Vec<Hash>,
}

impl TryFrom<Peaks> for Frontier {
    type Error = &'static str;

    fn try_from(Peaks { size, peaks }: Peaks) -> Result<Self, Self::Error> {
        if size.count_ones() as usize == peaks.len() {
            Ok(Self { size, peaks })
        } else {
            Err("hashes that do not belong to a tree of this size")
        }
    }
}

impl From<Frontier> for Peaks {
    fn from(Frontier { size, peaks }: Frontier) -> Self {
        Self { size, peaks }
    }
}

impl Frontier {
    /// Adds a leaf's hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node(left, hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's hash.
    #[must_use]
    pub fn root(&self) -> Hash {
        let peaks = self.peaks.iter().rev().copied();
        peaks.reduce(|right, left| node(left, right)).unwrap_or_else(|| Hash::of(b""))
    }
}

fn node(left: Hash, right: Hash) -> Hash {
    // In one piece: there is a node for each row.
    let mut bytes = [1; 65];
    let (_, hashes) = bytes.split_at_mut(1);
    let (first, second) = hashes.split_at_mut(32);
    first.copy_from_slice(&left.0);
    second.copy_from_slice(&right.0);
    Hash::of(&bytes)
}

/// A tree of which proofs are wanted: all its hashes, 64 bytes for each leaf.
#[derive(Debug, Default)]
pub struct Tree {
    /// Of each level the hashes of whole subtrees; the leaves first.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Adds a leaf's hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(level) else { return };
            hashes.push(hash);
            let [.., left, right] = hashes.as_slice() else { return };
            if !hashes.len().is_multiple_of(2) {
                return;
            }
            hash = node(*left, *right);
        }
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, Vec::len) as u64
    }

    /// That the leaf of this number is in the tree (RFC 6962, 2.1.1); `None` when there is no such
    /// leaf.
    #[must_use]
    pub fn proof(&self, leaf: u64) -> Option<Vec<Hash>> {
        let (mut low, mut high) = (0, self.size());
        (leaf < high).then_some(())?;
        let mut proof = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if leaf < middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
            }
        }
        proof.reverse();
        Some(proof)
    }

    /// The hash of these leaves, at least one, which are one side of a split.
    fn range(&self, low: u64, high: u64) -> Option<Hash> {
        let size = high - low;
        if size.is_power_of_two() {
            let level = size.trailing_zeros();
            let place = usize::try_from(low >> level).ok()?;
            return self.levels.get(level as usize)?.get(place).copied();
        }
        let middle = low + split(size);
        Some(node(self.range(low, middle)?, self.range(middle, high)?))
    }
}

/// How many of so many leaves, at least two, are on the left: the largest power of two below.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Whether a proof shows that the leaf of this number is in the tree of this size and root
/// (RFC 9162, 2.1.3.2).
#[must_use]
pub fn is_in(proof: &[Hash], size: u64, root: Hash, number: u64, leaf: Hash) -> bool {
    if number >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (number, size - 1, leaf);
    for beside in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(*beside, hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(hash, *beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_the_same_however_it_is_made_and_proves_its_leaves() {
        // RFC 6962, 2.1: the hash of no leaf, and of a leaf without bytes.
        let none = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(Frontier::default().root().to_string(), none);
        assert_eq!(Hash::of_leaf(b"").to_string(), "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=");
        let (mut frontier, mut tree) = (Frontier::default(), Tree::default());
        for number in 0..70_u64 {
            let leaf = Hash::of_leaf(&number.to_le_bytes());
            frontier.push(leaf);
            tree.push(leaf);
            let (size, root) = (frontier.size(), frontier.root());
            assert_eq!((size, tree.size()), (number + 1, number + 1));
            for number in 0..size {
                let leaf = Hash::of_leaf(&number.to_le_bytes());
                let proof = tree.proof(number).unwrap();
                assert!(is_in(&proof, size, root, number, leaf));
                assert!(!is_in(&proof, size, root, number, Hash::of_leaf(b"other")));
                assert!(size == 1 || !is_in(&proof, size, root, (number + 1) % size, leaf));
            }
            assert_eq!(tree.proof(size), None);
            let text = serde_json::to_string(&frontier).unwrap();
            assert_eq!(serde_json::from_str::<Frontier>(&text).unwrap(), frontier);
        }
        assert!(serde_json::from_str::<Frontier>(r#"{"size":3,"peaks":[]}"#).is_err());
    }
}
