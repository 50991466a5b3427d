//! `auditmill token new`: a secret for one client, and its hash for the settings.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::Verdict;

/// As many bytes as its hash has: more could not be told apart.
const TOKEN_BYTES: usize = 32;

/// Prints a new token on standard output, alone, so that it can go to a file; and on standard
/// error what the settings say about it. The token is kept nowhere.
///
/// # Errors
/// When the system gives no randomness, or the output cannot be written.
pub fn new() -> Result<Verdict> {
    let mut bytes = [0; TOKEN_BYTES];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| anyhow!("the system gives no randomness"))?;
    let token = URL_SAFE_NO_PAD.encode(bytes);
    writeln!(std::io::stdout(), "{token}")?;
    writeln!(std::io::stderr(), "token_sha256 = \"{}\"", sha256(&token))?;
    Ok(Verdict::Done)
}

/// The hash as `[[auth.client]] token_sha256` has it: 64 hexadecimal digits.
fn sha256(token: &str) -> String {
    let mut text = String::with_capacity(2 * TOKEN_BYTES);
    for byte in Sha256::digest(token) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
