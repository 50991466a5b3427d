//! The content hash of an event.
//!
//! Promise: the hash depends on the cluster and on the event's members as received, in their
//! order, and on nothing else. White space between members does not count, and `kind` and
//! `apiVersion` at the top level must be left out by the caller: the log backend writes them on
//! each line, the webhook's list items lack them, and both are the same event.
//!
//! Never: it does not look at `auditID`, which any client of the API server can choose.
//!
//! ```text
//! SHA-256( cluster 0x00  "level" : "Metadata" ,  "auditID" : "…" ,  … )  first 16 bytes
//! ```

use sha2::{Digest, Sha256};

const ID_BYTES: usize = 16;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The hash of one event while its members are being fed to it.
pub struct EventDigest {
    state: Sha256,
}

impl EventDigest {
    /// Starts the hash of an event of `cluster`.
    #[must_use]
    pub fn new(cluster: &str) -> Self {
        let mut state = Sha256::new();
        state.update(cluster.as_bytes());
        state.update([0]);
        Self { state }
    }

    /// Adds one top-level member: its key as received, with the quotes, and its value as received.
    pub fn member(&mut self, key: &str, value: &str) {
        self.state.update(key.as_bytes());
        self.state.update(b":");
        self.state.update(value.as_bytes());
        self.state.update(b",");
    }

    /// The identity of what was fed.
    #[must_use]
    pub fn finish(self) -> EventId {
        let mut hex = [0; ID_BYTES * 2];
        for (digits, byte) in hex.chunks_exact_mut(2).zip(self.state.finalize()) {
            for (digit, nibble) in digits.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = HEX[usize::from(nibble)];
            }
        }
        EventId { hex }
    }
}

/// The identity of an event: 128 bits, kept as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    hex: [u8; ID_BYTES * 2],
}

impl EventId {
    /// The 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.hex).expect("hexadecimal digits are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cluster: &str, members: &[(&str, &str)], expected: &str) {
        let mut digest = EventDigest::new(cluster);
        for (key, value) in members {
            digest.member(key, value);
        }
        assert_eq!(digest.finish().as_str(), expected);
    }

    #[test]
    fn is_the_head_of_the_sha_256_of_cluster_and_members() {
        // printf 'c\0"a":1,"b":[2],' | sha256sum | head -c 32
        check("c", &[(r#""a""#, "1"), (r#""b""#, "[2]")], "e5c25cbbb1de6c8710a3696a4e2ad068");
        // printf 'c\0' | sha256sum | head -c 32
        check("c", &[], "ec49f17f2c205644d3a0d242eb5a82ec");
    }

    #[test]
    fn tells_clusters_apart() {
        let of = |cluster: &str| EventDigest::new(cluster).finish();
        assert_ne!(of("a"), of("b"));
        assert_eq!(of("a"), of("a"));
    }
}
