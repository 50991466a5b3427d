//! Any bytes, in any format: nothing panics, pieces are as received, in order, and each delivery
//! is decoded alike each time.
#![no_main]

use auditmill_fuzz::decode;
use auditmill_fuzz::decode::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else { return };
    let format = match first {
        b'E' => Format::Eks,
        b'G' => Format::Gke,
        b'A' => Format::Aks,
        b'O' => Format::OpenShift,
        b'L' => Format::Lines,
        _ => Format::Auto,
    };
    let (batch, quarantined, passed_over) = decode(body, format);
    let mut end = 0;
    for piece in &quarantined {
        assert!(piece.offset <= body.len());
        if piece.source == "file" {
            let piece_end = piece.offset + piece.bytes.len();
            assert!(piece.offset >= end, "pieces overlap");
            assert_eq!(body.get(piece.offset..piece_end), Some(&piece.bytes[..]));
            end = piece_end;
        }
    }
    if body.iter().any(|b| !b" \t\r\n[],\xEF\xBB\xBF".contains(b)) && !has_envelope(body) {
        assert!(batch.num_rows() + quarantined.len() + passed_over > 0, "nothing is silent");
    }
    assert_eq!(decode(body, format), (batch, quarantined, passed_over));
});

/// Whether the body may be of nothing but sound envelope.
fn has_envelope(body: &[u8]) -> bool {
    [&b"kind"[..], b"items", b"logEvents", b"records", b"\\u"]
        .iter()
        .any(|word| body.windows(word.len()).any(|window| window == *word))
        || body.starts_with(b"H4sI")
        || body.windows(5).any(|window| window == b"\nH4sI")
}
