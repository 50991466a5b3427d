//! Any bytes as a handle that a client of Flight SQL gives back, or as parameters that it sends:
//! one row or none, and nothing panics past the handle.
#![no_main]

use arrow_array::Array as _;
use auditmill_fuzz::flight::{given_back, sent};
use libfuzzer_sys::fuzz_target;

// Panics of the library are caught where it is called: only those that come through are finds.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let row = match kind {
        b'H' => given_back(bytes).and_then(|(_, row)| row),
        // Messages: two bytes for the length of a header, two for that of a body.
        b'P' => {
            let (mut rest, mut messages) = (bytes, Vec::new());
            while let Some((lengths, more)) = rest.split_first_chunk::<4>() {
                let [a, b, c, d] = *lengths;
                let header = usize::from(u16::from_le_bytes([a, b])).min(more.len());
                let (header, more) = more.split_at(header);
                let body = usize::from(u16::from_le_bytes([c, d])).min(more.len());
                let (body, more) = more.split_at(body);
                messages.push((header, body));
                rest = more;
            }
            sent(&messages)
        }
        _ => return,
    };
    // What was read can be looked at.
    for column in row.iter().flat_map(|row| row.columns()) {
        column.to_data().validate_full().expect("what was read is sound");
    }
});
