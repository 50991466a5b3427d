//! The name under which a data directory's journal positions are in the table.
//!
//! A random one, made once: positions mean nothing outside of their journal, and a table may be
//! given to another data directory, by mistake or because the first one was lost.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const FILE: &str = "writer";
const DIGITS: usize = 16;

/// The name of this data directory: 16 hexadecimal digits, in its file `writer`. It is on the
/// disk before it is given: rows under a forgotten name would be written again under the next.
///
/// # Errors
/// When the file cannot be read or written, or says something else.
pub fn name(data: &Path) -> io::Result<String> {
    let path = data.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let name = text.trim_end();
            let is_name = name.len() == DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit());
            if is_name {
                return Ok(name.to_owned());
            }
            let why = format!("`{}` is damaged: it has no {DIGITS} digits", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(data, &path),
        Err(error) => Err(error),
    }
}

fn create(data: &Path, path: &Path) -> io::Result<String> {
    let name = format!("{:016x}", fastrand::u64(..));
    let staged = path.with_extension("new");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    std::fs::rename(&staged, path)?;
    File::open(data)?.sync_all()?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_once_and_damage_is_no_name() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = name(one.path()).unwrap();
        assert_eq!(name(one.path()).unwrap(), made);
        assert_ne!(name(other.path()).unwrap(), made);
        std::fs::write(one.path().join(FILE), "").unwrap();
        assert!(name(one.path()).unwrap_err().to_string().contains("is damaged"));
    }
}
