//! Any bytes as what a log of proofs or a bundle has: read or refused, and nothing holds that was
//! not signed.
#![no_main]

use auditmill_fuzz::proof::account::Account;
use auditmill_fuzz::proof::bundle::Bundle;
use auditmill_fuzz::proof::key::VerifierKey;
use auditmill_fuzz::proof::row;
use auditmill_fuzz::proof::statement::Statement;
use auditmill_fuzz::proof::tree::{Frontier, Hash, is_in};
use libfuzzer_sys::fuzz_target;

/// A key that signed nothing here.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fuzz_target!(|input: &[u8]| {
    let key = VerifierKey::parse(KEY).expect("a key");
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind {
        b'N' => {
            assert!(key.open(bytes).is_err() && key.open_head(bytes).is_err());
        }
        b'K' => {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Ok(key) = VerifierKey::parse(text) {
                assert_eq!(VerifierKey::parse(key.text()).ok().as_ref(), Some(&key));
                assert!(text.contains(key.name()) && key.id().len() == 8);
            }
        }
        b'S' => {
            let mut account = Account::default();
            for (leaf, line) in (0..).zip(bytes.split(|byte| *byte == b'\n')) {
                let Some(statement) = Statement::parse(line) else { continue };
                assert_eq!(Statement::parse(statement.text().as_bytes()), Some(statement.clone()));
                account.take(Some(leaf), statement);
            }
            for held in account.files().values() {
                assert!(held.file.is_some() || held.is_partly_uncovered);
            }
        }
        b'B' => {
            if let Ok(bundle) = serde_json::from_slice::<Bundle>(bytes) {
                assert!(!bundle.problems(&key).is_empty());
                // What comes before the signature is checked in any case.
                let (size, root) = (bundle.leaves.len() as u64, Hash::of(b"root"));
                for leaf in &bundle.leaves {
                    assert!(!is_in(&leaf.proof, size, root, leaf.number, Hash::of(b"leaf")));
                }
                for event in &bundle.events {
                    let _ = row::hash(&event.content);
                }
            }
        }
        _ => {
            if let Ok(mut tree) = serde_json::from_slice::<Frontier>(bytes) {
                if tree.size() < u64::MAX {
                    tree.push(Hash::of(b"leaf"));
                }
                let text = serde_json::to_string(&tree).expect("texts and numbers");
                let again: Frontier = serde_json::from_str(&text).expect("what was written");
                assert_eq!((again.root(), again.size()), (tree.root(), tree.size()));
            }
        }
    }
});
