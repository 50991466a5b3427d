//! Reads what the operator supplies about addresses: a folder of lists, `NAME.txt`, and databases.
//!
//! Promise: what is read is bounded, whatever the files hold, and one that is wrong is an error
//! that says which and what to do. Never: half of what was supplied is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::detection::LoadError;
use crate::sql::address::is_list_name;
pub use crate::sql::address::{AddressList, Addresses, Database, Kind, Origin};

/// Where they are; none of them need be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressFiles {
    /// `[detect] address_lists`: a folder.
    pub lists: Option<PathBuf>,
    /// `[detect] asn_database`: a file.
    pub asn: Option<PathBuf>,
    /// `[detect] country_database`: a file.
    pub country: Option<PathBuf>,
}

/// All lists together, bytes.
const LISTS_BYTES_MAX: u64 = 64 << 20;
/// How many lists there may be.
const LISTS_MAX: usize = 256;
/// One database, bytes: it is kept in memory.
const DATABASE_BYTES_MAX: u64 = 1 << 30;

impl AddressFiles {
    /// Reads all of them.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub fn read(&self) -> Result<Addresses, Vec<LoadError>> {
        let mut errors = Vec::new();
        let lists = self.lists.as_deref().map_or_else(BTreeMap::new, |dir| lists(dir, &mut errors));
        let mut databases = BTreeMap::new();
        for (kind, path) in [(Kind::Asn, &self.asn), (Kind::Country, &self.country)] {
            let Some(path) = path else { continue };
            match database(path, kind) {
                Ok(database) => drop(databases.insert(kind, database)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Addresses::new(lists, databases)) } else { Err(errors) }
    }

    /// The files and folders that are named.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.lists, &self.asn, &self.country].into_iter().flatten().map(PathBuf::as_path)
    }
}

fn wrong(path: &Path, line: Option<u64>, message: String, hint: &str) -> LoadError {
    LoadError {
        path: path.display().to_string().into(),
        line,
        message,
        hint: Some(hint.to_owned()),
    }
}

fn lists(dir: &Path, errors: &mut Vec<LoadError>) -> BTreeMap<String, Arc<AddressList>> {
    const HINT: &str = "`[detect] address_lists` names a folder of `NAME.txt`";
    let mut lists = BTreeMap::new();
    let files = match files(dir) {
        Ok(files) => files,
        Err(error) => {
            errors.push(wrong(dir, None, format!("read: {error}"), HINT));
            return lists;
        }
    };
    if files.len() > LISTS_MAX {
        errors.push(wrong(dir, None, format!("more than {LISTS_MAX} lists"), HINT));
        return lists;
    }
    let mut left = LISTS_BYTES_MAX;
    for path in files {
        match list(&path, &mut left) {
            Ok((name, list)) => drop(lists.insert(name, Arc::new(list))),
            Err(error) => errors.push(error),
        }
    }
    lists
}

/// The lists of a folder, in the order of their names.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A mounted ConfigMap has each file once more in a hidden folder.
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        if !is_hidden && path.extension().is_some_and(|extension| extension == "txt") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn list(path: &Path, left: &mut u64) -> Result<(String, AddressList), LoadError> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| is_list_name(name));
    let Some(name) = name else {
        let hint = "call it by letters, digits, `-` and `_`, at most 64 of them";
        return Err(wrong(path, None, "not the name of a list".to_owned(), hint));
    };
    let bytes = bounded(path, *left).map_err(|message| {
        let hint = "keep lists short: all of them together are in memory";
        wrong(path, None, message, hint)
    })?;
    *left = left.saturating_sub(bytes.len() as u64);
    let hint = "one address or network a line, comments behind `#`";
    let text = String::from_utf8(bytes)
        .map_err(|_| wrong(path, None, "not a text in UTF-8".to_owned(), hint))?;
    let list = AddressList::parse(&text)
        .map_err(|found| wrong(path, Some(found.line), found.message, hint))?;
    Ok((name.to_owned(), list))
}

fn database(path: &Path, kind: Kind) -> Result<Database, LoadError> {
    let hint = format!(
        "`[detect] {kind}_database` names a database in MaxMind's format, such as GeoLite2's"
    );
    let bytes = bounded(path, DATABASE_BYTES_MAX);
    let database = bytes.and_then(|bytes| Database::read(bytes, kind));
    database.map_err(|message| wrong(path, None, message, &hint))
}

/// The content of a file of at most so many bytes; what is no file is not waited for.
fn bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("read: {error}");
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(bytes_max.saturating_add(1));
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("longer than the {bytes_max} bytes that are left for it"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    fn read(dir: &Path) -> Result<Addresses, Vec<String>> {
        let files = AddressFiles { lists: Some(dir.to_owned()), ..AddressFiles::default() };
        let place = dir.display().to_string();
        let told = |error: &LoadError| error.to_string().replace(&place, "DIR");
        files.read().map_err(|errors| errors.iter().map(told).collect())
    }

    #[test]
    fn the_lists_of_a_folder_have_the_names_of_their_files() {
        let files: [(&str, &[u8]); 4] = [
            ("tor.txt", b"198.51.100.7\n203.0.113.0/24\n"),
            ("empty.txt", b""),
            ("README.md", b"not a list"),
            (".hidden.txt", b"not a list"),
        ];
        let dir = folder(&files);
        let addresses = read(dir.path()).unwrap();
        assert_eq!(addresses.names(), ["list empty (0)", "list tor (2)"]);
        let tor = addresses.list("tor").unwrap();
        assert_eq!(tor.holds("203.0.113.200"), Some(true));
        assert_eq!(AddressFiles::default().read().unwrap().names(), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_used_says_where_and_why() {
        let long = vec![b'#'; usize::try_from(LISTS_BYTES_MAX).unwrap() + 1];
        let files: [(&str, &[u8]); 5] = [
            ("a.txt", b"10.0.0.1\nhttp://feed.example/\n"),
            ("b.txt", b"\xff\xfe1\x000\x00"),
            ("c d.txt", b""),
            ("e.txt", &long),
            ("good.txt", b"10.0.0.1"),
        ];
        let dir = folder(&files);
        std::fs::create_dir(dir.path().join("f.txt")).unwrap();
        let errors = read(dir.path()).unwrap_err();
        let expected = [
            "DIR/a.txt:2: `http://feed.example/` is neither an address nor a network",
            "DIR/b.txt: not a text in UTF-8",
            "DIR/c d.txt: not the name of a list",
            "DIR/e.txt: longer than the ",
            "DIR/f.txt: not a file",
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(expected), "{error}");
            assert!(error.contains("\n  hint: "), "{error}");
        }
        let gone = read(&dir.path().join("gone")).unwrap_err();
        assert!(gone[0].starts_with("DIR: read: "), "{gone:?}");
    }

    #[test]
    fn a_database_of_another_kind_is_told() {
        let file = |name: &str| {
            let root = env!("CARGO_MANIFEST_DIR");
            Some(PathBuf::from(format!("{root}/testdata/addresses/{name}.mmdb")))
        };
        let good = AddressFiles { lists: None, asn: file("asn"), country: file("country") };
        assert_eq!(good.read().unwrap().names(), ["database asn", "database country"]);
        assert_eq!(good.paths().count(), 2);
        let swapped = AddressFiles { lists: None, asn: file("country"), country: file("gone") };
        let errors: Vec<String> =
            swapped.read().unwrap_err().iter().map(ToString::to_string).collect();
        assert!(errors[0].contains("a `GeoLite2-Country` that tells no"), "{errors:?}");
        assert!(errors[0].contains("hint: `[detect] asn_database` names"), "{errors:?}");
        assert!(errors[1].contains("gone.mmdb: read: "), "{errors:?}");
    }
}
