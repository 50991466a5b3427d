//! Base64 (RFC 4648) of gzip (RFC 1952), unpacked within bounds.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::super::quarantine::{Flaw, Reason};

const GZIP_MAGIC: &[u8] = &[0x1F, 0x8B];

/// Unpacks the records of one delivery.
pub(in super::super) struct Unpacker {
    bytes_left: usize,
}

impl Unpacker {
    /// All records together may unpack to so many bytes.
    pub(in super::super) fn new(bytes_max: usize) -> Self {
        Self { bytes_left: bytes_max }
    }

    /// The bytes that `text` is base64 of, or, if those are gzip, is base64 of gzip of.
    pub(in super::super) fn unpack(&mut self, text: &[u8]) -> Result<Vec<u8>, Flaw> {
        let bad = |detail: &str| Flaw::new(Reason::BadPacking, detail);
        if text.len() / 4 * 3 > self.bytes_left {
            return Err(bad("the delivery is too large when unpacked"));
        }
        let bytes = base64(text).ok_or_else(|| bad("not base64"))?;
        let bytes = if bytes.starts_with(GZIP_MAGIC) {
            let gzip = MultiGzDecoder::new(bytes.as_slice());
            read_past(self.bytes_left, gzip).map_err(|error| bad(&format!("not gzip: {error}")))?
        } else {
            bytes
        };
        let left = self.bytes_left.checked_sub(bytes.len());
        self.bytes_left = left.ok_or_else(|| bad("the delivery is too large when unpacked"))?;
        Ok(bytes)
    }
}

/// All that is read, but no more than one byte more than `bytes_max`: that tells too much.
fn read_past(bytes_max: usize, from: impl Read) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    from.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a base64 text, padded or not.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.trim_ascii();
    let digits = digits.strip_suffix(b"=").unwrap_or(digits);
    let digits = digits.strip_suffix(b"=").unwrap_or(digits);
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            bits = bits << 6 | sextet(*digit)?;
        }
        let kept = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        let [_, group_bytes @ ..] = bits.to_be_bytes();
        bytes.extend(group_bytes.iter().take(kept));
    }
    Some(bytes)
}

fn sextet(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, bytes_max: usize, expected: Option<&[u8]>) {
        let unpacked = Unpacker::new(bytes_max).unpack(text.as_bytes());
        assert_eq!(unpacked.ok().as_deref(), expected, "{text}");
    }

    #[test]
    fn base64_with_and_without_padding() {
        // RFC 4648, section 10.
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy\n", "foobar"),
        ] {
            check(text, 100, Some(bytes.as_bytes()));
        }
        for broken in ["Z", "Zm9vY", "Z===", "Zm-v", "Zm 9v", "====="] {
            check(broken, 100, None);
        }
    }

    #[test]
    fn what_grows_too_large_is_refused() {
        // printf '%01000d' 0 | gzip -9n | base64 -w0
        let zeros = "H4sIAAAAAAACAzMwGAWjYBQMdwAAg5lfqOgDAAA=";
        check(zeros, 1_000, Some(&[b'0'; 1_000]));
        check(zeros, 999, None);
        check("Zm9v", 2, None);
        let mut unpacker = Unpacker::new(1_500);
        assert!(unpacker.unpack(zeros.as_bytes()).is_ok());
        assert!(unpacker.unpack(zeros.as_bytes()).is_err(), "all records together");
        check("H4sIAAAAAAAC", 1_000, None);
        let bomb = io::repeat(0).take(10_000_000);
        assert_eq!(read_past(1_000, bomb).unwrap().len(), 1_001, "the rest is never unpacked");
    }
}
