//! The files of a catalogue: those in the binary, and those of the operator's folder.

use std::io::ErrorKind;
use std::path::Path;

use include_dir::Dir;

use super::super::detection::LoadError;

/// The detections or lists that a folder of the binary holds.
pub(super) fn texts_of(dir: &Dir<'_>) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for file in dir.files() {
        let folder = match file.path().extension().and_then(|extension| extension.to_str()) {
            Some("sql") => "queries/detections",
            Some("yaml") => "queries/lists",
            _ => continue,
        };
        if let Some(text) = file.contents_utf8() {
            texts.push((format!("{folder}/{}", file.path().display()), text.to_owned()));
        }
    }
    texts.extend(dir.dirs().flat_map(texts_of));
    texts.sort();
    texts
}

/// A file's path and text; `None` when there is none.
pub(super) fn read_file(path: &Path) -> Result<Option<(String, String)>, LoadError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LoadError {
            path: path.display().to_string().into(),
            line: None,
            message: format!("read: {error}"),
            hint: None,
        }),
    }
}

/// What became of reading the files of a folder.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Path and text, in the order of paths.
    pub(super) texts: Vec<(String, String)>,
    /// Files that cannot be read.
    pub(super) unread: Vec<LoadError>,
    /// Folders that cannot be read.
    pub(super) unknown: Vec<LoadError>,
}

impl Read {
    /// All texts, if all could be read.
    pub(super) fn whole(self) -> Result<Vec<(String, String)>, Vec<LoadError>> {
        let Self { texts, unread, mut unknown } = self;
        unknown.extend(unread);
        if unknown.is_empty() { Ok(texts) } else { Err(unknown) }
    }
}

/// The lists of a folder; none when it is not there.
pub(super) fn lists_below(dir: &Path) -> Result<Vec<(String, String)>, Vec<LoadError>> {
    if dir.is_dir() { read_all(dir, "yaml").whole() } else { Ok(Vec::new()) }
}

pub(super) fn files(dir: &Path) -> Result<Vec<(String, String)>, Vec<LoadError>> {
    read_all(dir, "sql").whole()
}

/// Reads the files with this extension below a folder.
pub(super) fn read_all(dir: &Path, extension: &str) -> Read {
    let fail = |path: &Path, error: &std::io::Error| LoadError {
        path: path.display().to_string().into(),
        line: None,
        message: format!("read: {error}"),
        hint: Some("`[detect] dir` names a folder of .sql files".to_owned()),
    };
    let mut read = Read::default();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                read.unknown.push(fail(&folder, &error));
                continue;
            }
        };
        for entry in entries {
            // A mounted ConfigMap has each file once more in a hidden folder.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|of| of == extension) {
                match std::fs::read_to_string(&path) {
                    Ok(text) => read.texts.push((path.display().to_string(), text)),
                    Err(error) => read.unread.push(fail(&path, &error)),
                }
            }
        }
    }
    read.texts.sort();
    read
}
