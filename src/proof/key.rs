//! The key that signs, and what it signs: notes (<https://c2sp.org/signed-note>) and checkpoints.
//!
//! Keys are written as Go's `golang.org/x/mod/sumdb/note` writes them: a signer's as
//! `PRIVATE+KEY+name+id+base64`, a verifier's as `name+id+base64`, both Ed25519. The key's name is
//! the origin of its checkpoints.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use super::tree::Hash;

/// Its file in a data directory, for the owner only.
const FILE: &str = "signing.key";
/// A key's file has one line; a longer one is something else.
const FILE_BYTES_MAX: u64 = 4096;
/// A note is a few lines.
const NOTE_BYTES_MAX: usize = 64 * 1024;
/// What stands before an Ed25519 key.
const TYPE: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";
/// What stands before a signature's line: a dash and a space.
const DASH: &str = "\u{2014} ";
/// So many signatures of one note are looked at.
const SIGNATURES_MAX: usize = 100;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("use signing key `{path}`")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// It is no key.
    #[error(
        "`{0}` has no signing key: it is one line, `PRIVATE+KEY+...`, as Go's sumdb/note makes it"
    )]
    NoSigner(String),
    /// It is no key to verify by.
    #[error("`{0}` is no key to verify by: such a key is `name+id+base64`, of Ed25519")]
    NoVerifier(String),
}

/// Why a note does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteProblem {
    /// It is no signed note.
    #[error("it is no signed note")]
    Malformed,
    /// Others signed it.
    #[error("it is not signed by this key, but by {0}")]
    OtherKey(String),
    /// The signature does not hold.
    #[error("its signature does not hold")]
    Invalid,
}

/// A key to sign with.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Ed25519KeyPair>,
    public: VerifierKey,
}

impl fmt::Debug for SigningKey {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public.text).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key of a data directory; made the first time, under a name of its own. It is on the disk
    /// before it is given.
    ///
    /// # Errors
    /// When its file cannot be read or written, or has no key.
    pub fn of(data: &Path, name: &str) -> Result<Self, KeyError> {
        let path = data.join(FILE);
        if let Some(key) = Self::existing(data)? {
            return Ok(key);
        }
        let fail = |source| KeyError::File { path: path.display().to_string(), source };
        let text = new_key(&format!("auditmill/{name}"));
        let text = text.ok_or_else(|| fail(io::Error::other("the system gives no randomness")))?;
        create(data, &path, &text).map_err(fail)?;
        Self::parse(&text).ok_or_else(|| KeyError::NoSigner(path.display().to_string()))
    }

    /// The key of a data directory; `None` where none was made.
    ///
    /// # Errors
    /// When its file cannot be read, or has no key.
    pub fn existing(data: &Path) -> Result<Option<Self>, KeyError> {
        let path = data.join(FILE);
        if path.exists() { Self::read(&path).map(Some) } else { Ok(None) }
    }

    /// The key in a file.
    ///
    /// # Errors
    /// When it cannot be read, or has no key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let name = || path.display().to_string();
        let mut text = String::new();
        let read =
            File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
        read.map_err(|source| KeyError::File { path: name(), source })?;
        Self::parse(text.trim_end()).ok_or_else(|| KeyError::NoSigner(name()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PRIVATE)?.splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = STANDARD.decode(key).ok()?;
        let secret = key.strip_prefix(&[TYPE])?;
        let pair = Ed25519KeyPair::from_seed_unchecked(secret).ok()?;
        let public = VerifierKey::new(name, pair.public_key().as_ref().try_into().ok()?)?;
        (public.id() == id).then(|| Self { pair: Arc::new(pair), public })
    }

    /// The key that others verify by.
    #[must_use]
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// A signed note of a text, which ends with a line feed and has no other control characters;
    /// `None` for another text.
    #[must_use]
    pub fn sign(&self, text: &str) -> Option<String> {
        is_text(text).then_some(())?;
        let signature = self.pair.sign(text.as_bytes());
        let bytes = [self.public.id.to_be_bytes().as_slice(), signature.as_ref()].concat();
        let name = self.public.name();
        Some(format!("{text}\n{DASH}{name} {}\n", STANDARD.encode(bytes)))
    }

    /// The head of a tree, signed.
    #[must_use]
    pub fn sign_head(&self, size: u64, root: Hash) -> Option<Head> {
        let note = self.sign(&format!("{}\n{size}\n{root}\n", self.public.name()))?;
        Some(Head { size, root, note })
    }
}

/// A private key of the system's randomness, as a line of text.
fn new_key(name: &str) -> Option<String> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).ok()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&secret).ok()?;
    let public = VerifierKey::new(name, pair.public_key().as_ref().try_into().ok()?)?;
    let key = STANDARD.encode([&[TYPE], secret.as_slice()].concat());
    Some(format!("{PRIVATE}{name}+{}+{key}", public.id()))
}

fn create(data: &Path, path: &Path, text: &str) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&staged, path)?;
    File::open(data)?.sync_all()
}

/// A key to verify by.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    key: [u8; 32],
    text: String,
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl VerifierKey {
    fn new(name: &str, key: [u8; 32]) -> Option<Self> {
        let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+');
        is_name.then_some(())?;
        let typed = [&[TYPE], key.as_slice()].concat();
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        hash.update(b"\n");
        hash.update(&typed);
        let id = u32::from_be_bytes(*hash.finalize().first_chunk()?);
        let text = format!("{name}+{id:08x}+{}", STANDARD.encode(typed));
        Some(Self { name: name.to_owned(), id, key, text })
    }

    /// A key of its text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let parsed = || {
            let mut parts = text.splitn(3, '+');
            let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
            let key = STANDARD.decode(key).ok()?;
            let parsed = Self::new(name, key.strip_prefix(&[TYPE])?.try_into().ok()?)?;
            (parsed.id() == id).then_some(parsed)
        };
        parsed().ok_or_else(|| KeyError::NoVerifier(text.to_owned()))
    }

    /// `name+id+base64`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name in it: the origin of its checkpoints.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Eight hexadecimal digits that tell it from others.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:08x}", self.id)
    }

    /// The text of a note that this key signed; others may have signed it too.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(&self, note: &[u8]) -> Result<String, NoteProblem> {
        let malformed = NoteProblem::Malformed;
        let note = Some(note).filter(|note| note.len() <= NOTE_BYTES_MAX);
        let note = note.and_then(|note| std::str::from_utf8(note).ok()).ok_or(malformed.clone())?;
        let end = note.rfind("\n\n").ok_or(malformed.clone())?;
        let (text, signatures) = note.split_at(end + 1);
        let signatures = signatures.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let signatures = signatures.filter(|_| is_text(text)).ok_or(malformed.clone())?;
        let mut others = Vec::new();
        for line in signatures.split('\n').take(SIGNATURES_MAX) {
            let (name, id, signature) = signature(line).ok_or(malformed.clone())?;
            if name != self.name || id != self.id {
                others.push(format!("{name}+{id:08x}"));
                continue;
            }
            let key = UnparsedPublicKey::new(&ED25519, &self.key);
            return match key.verify(text.as_bytes(), &signature) {
                Ok(()) => Ok(text.to_owned()),
                Err(_) => Err(NoteProblem::Invalid),
            };
        }
        Err(NoteProblem::OtherKey(others.join(", ")))
    }

    /// A head of the log of this key.
    ///
    /// # Errors
    /// When it is none.
    pub fn open_head(&self, note: &[u8]) -> Result<Head, NoteProblem> {
        let text = self.open(note)?;
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(NoteProblem::Malformed);
        let (origin, size, root) = (line()?, line()?, line()?);
        let is_number = size.bytes().all(|byte| byte.is_ascii_digit())
            && (size == "0" || !size.starts_with('0'));
        let size = size.parse().ok().filter(|_| is_number).ok_or(NoteProblem::Malformed)?;
        let root = Hash::parse(root).ok_or(NoteProblem::Malformed)?;
        if origin != self.name() {
            return Err(NoteProblem::OtherKey(origin.to_owned()));
        }
        let note = String::from_utf8_lossy(note).into_owned();
        Ok(Head { size, root, note })
    }
}

/// Whether a note can have this text.
fn is_text(text: &str) -> bool {
    text.ends_with('\n') && !text.contains(|c: char| c < ' ' && c != '\n')
}

/// Name, id and signature of a signature's line.
fn signature(line: &str) -> Option<(&str, u32, Vec<u8>)> {
    let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (id, signature) = bytes.split_first_chunk()?;
    Some((name, u32::from_be_bytes(*id), signature.to_owned()))
}

/// The head of a log, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of leaves.
    pub size: u64,
    /// The tree's hash.
    pub root: Hash,
    /// The whole note.
    pub note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_signs_heads_that_its_public_half_opens() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = SigningKey::of(one.path(), "0123").unwrap();
        let again = SigningKey::of(one.path(), "0123").unwrap();
        assert_eq!(again.public().text(), key.public().text());
        assert!(key.public().text().starts_with("auditmill/0123+"));
        let head = key.sign_head(7, Hash::of(b"root")).unwrap();
        assert_eq!(again.public().open_head(head.note.as_bytes()), Ok(head.clone()));

        let other = SigningKey::of(other.path(), "0123").unwrap();
        let wrong = other.public().open_head(head.note.as_bytes()).unwrap_err();
        assert!(wrong.to_string().contains(&key.public().id()), "{wrong}");
        let changed = head.note.replacen("\n7\n", "\n8\n", 1);
        assert_eq!(key.public().open_head(changed.as_bytes()), Err(NoteProblem::Invalid));
        assert_eq!(key.public().open_head(b"\n\n"), Err(NoteProblem::Malformed));
        // Signed, and yet no head of this log.
        let note = key.sign("another origin\n7\nn4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=\n");
        assert!(key.public().open_head(note.unwrap().as_bytes()).is_err());
        assert!(key.public().open_head(key.sign("words\n").unwrap().as_bytes()).is_err());
    }

    #[test]
    fn damage_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "PRIVATE+KEY+x").unwrap();
        let error = SigningKey::of(folder.path(), "x").unwrap_err().to_string();
        assert!(error.contains("has no signing key"), "{error}");
        assert!(VerifierKey::parse("x+y+z").is_err());
    }
}
