//! The files of a catalogue: those in the binary, and those of the operator's folder.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use include_dir::Dir;

use super::super::detection::LoadError;
use super::super::exception::{self, Exception};
use super::super::overrides::{self, Override};

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

/// The file's path, and what it changes; nothing when there is none.
pub(super) fn read_overrides(
    dir: &Path,
) -> Result<(String, BTreeMap<String, Override>), LoadError> {
    let Some((path, text)) = read_file(&dir.join(overrides::FILE))? else {
        return Ok(Default::default());
    };
    let overrides = overrides::parse(&path, &text)?;
    Ok((path, overrides))
}

/// What the file exempts; nothing when there is none.
pub(super) fn read_exceptions(dir: &Path) -> Result<Vec<Exception>, Vec<LoadError>> {
    match read_file(&dir.join(exception::FILE)).map_err(|error| vec![error])? {
        Some((path, text)) => exception::parse(&path, &text),
        None => Ok(Vec::new()),
    }
}

/// A file's path and text; `None` when there is none.
fn read_file(path: &Path) -> Result<Option<(String, String)>, LoadError> {
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

/// The lists of a folder; none when it is not there.
pub(super) fn lists_below(dir: &Path) -> Result<Vec<(String, String)>, Vec<LoadError>> {
    if dir.is_dir() { files_of(dir, "yaml") } else { Ok(Vec::new()) }
}

pub(super) fn files(dir: &Path) -> Result<Vec<(String, String)>, Vec<LoadError>> {
    files_of(dir, "sql")
}

fn files_of(dir: &Path, extension: &str) -> Result<Vec<(String, String)>, Vec<LoadError>> {
    let fail = |path: &Path, error: &std::io::Error| {
        vec![LoadError {
            path: path.display().to_string().into(),
            line: None,
            message: format!("read: {error}"),
            hint: Some("`[detect] dir` names a folder of .sql files".to_owned()),
        }]
    };
    let mut texts = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| fail(&folder, &error))? {
            let entry = entry.map_err(|error| fail(&folder, &error))?;
            // A mounted ConfigMap has each file once more in a hidden folder.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|of| of == extension) {
                let text = std::fs::read_to_string(&path).map_err(|error| fail(&path, &error))?;
                texts.push((path.display().to_string(), text));
            }
        }
    }
    texts.sort();
    Ok(texts)
}
