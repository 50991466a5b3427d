//! The test files: which one belongs to which detection.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use include_dir::{Dir, include_dir};

use crate::detect::detection::Detection;

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/testdata/detections");

/// What to do for a detection without a test file.
pub(in crate::command) fn missing(detection: &Detection) -> String {
    format!("write `{}.yaml` with a case that fires and one that does not", stem(&detection.path))
}

/// What joins a detection and its test file.
pub(in crate::command) fn stem(path: &str) -> &str {
    let path = path.strip_prefix("queries/detections/").unwrap_or(path);
    path.strip_suffix(".sql").unwrap_or(path)
}

/// The tests of the shipped detections, by their stems.
pub(in crate::command) fn shipped() -> BTreeMap<String, String> {
    fn gather(dir: &Dir<'_>, tests: &mut BTreeMap<String, String>) {
        for file in dir.files() {
            if let Some(text) = file.contents_utf8() {
                let path = file.path().with_extension("");
                tests.insert(path.display().to_string(), text.to_owned());
            }
        }
        dir.dirs().for_each(|dir| gather(dir, tests));
    }
    let mut tests = BTreeMap::new();
    gather(&SHIPPED, &mut tests);
    tests
}

/// The tests below a folder, by their stems.
///
/// # Errors
/// When a file cannot be read.
pub(in crate::command) fn beside(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut tests = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("read `{}`", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("read `{}`", path.display()))?;
                tests.insert(path.with_extension("").display().to_string(), text);
            }
        }
    }
    Ok(tests)
}
