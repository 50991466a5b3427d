//! The set of detections: those shipped in the binary, and a folder of the operator's own that
//! adds to them or overrides them by id.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use super::detection::{Detection, LoadError};

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/detections");

/// Detections by id, in the order of their ids.
#[derive(Debug, Default, Clone)]
pub struct Catalog {
    detections: BTreeMap<String, Arc<Detection>>,
}

impl Catalog {
    /// The shipped detections and, when given, those below `dir`.
    ///
    /// # Errors
    /// Every file that cannot be read, with its line and a hint.
    pub fn load(dir: Option<&Path>) -> Result<Self, Vec<LoadError>> {
        let mut catalog = Self::from_texts(shipped(&SHIPPED))?;
        if let Some(dir) = dir {
            catalog.detections.extend(Self::load_dir(dir)?.detections);
        }
        Ok(catalog)
    }

    /// Only the detections below `dir`.
    ///
    /// # Errors
    /// Every file that cannot be read, with its line and a hint.
    pub fn load_dir(dir: &Path) -> Result<Self, Vec<LoadError>> {
        Self::from_texts(files(dir)?)
    }

    /// A catalogue of one.
    #[must_use]
    pub fn of(detection: Detection) -> Self {
        let id = detection.id.clone();
        Self { detections: BTreeMap::from([(id, Arc::new(detection))]) }
    }

    /// A catalogue of these files: path (for messages) and text.
    ///
    /// # Errors
    /// Every file that cannot be read, and ids that two files share.
    pub fn from_texts(
        texts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<LoadError>> {
        let mut catalog = Self::default();
        let mut errors = Vec::new();
        for (path, text) in texts {
            match Detection::parse(&path, &text) {
                Ok(detection) => {
                    if let Err(error) = catalog.insert(detection) {
                        errors.push(error);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(catalog) } else { Err(errors) }
    }

    /// All detections, in the order of their ids.
    pub fn detections(&self) -> impl Iterator<Item = &Arc<Detection>> {
        self.detections.values()
    }

    /// The detection of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Detection>> {
        self.detections.get(id)
    }

    fn insert(&mut self, detection: Detection) -> Result<(), LoadError> {
        if let Some(other) = self.detections.get(&detection.id) {
            let message = format!("id `{}` is taken by `{}`", detection.id, other.path);
            let hint = Some("choose another id".to_owned());
            return Err(detection.error(detection.line_of("id"), message, hint));
        }
        self.detections.insert(detection.id.clone(), Arc::new(detection));
        Ok(())
    }
}

fn shipped(dir: &Dir<'_>) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for file in dir.files() {
        if let (Some("sql"), Some(text)) =
            (file.path().extension().and_then(|e| e.to_str()), file.contents_utf8())
        {
            let path = format!("queries/detections/{}", file.path().display());
            texts.push((path, text.to_owned()));
        }
    }
    texts.extend(dir.dirs().flat_map(shipped));
    texts.sort();
    texts
}

fn files(dir: &Path) -> Result<Vec<(String, String)>, Vec<LoadError>> {
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
            let path = entry.map_err(|error| fail(&folder, &error))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "sql") {
                let text = std::fs::read_to_string(&path).map_err(|error| fail(&path, &error))?;
                texts.push((path.display().to_string(), text));
            }
        }
    }
    texts.sort();
    Ok(texts)
}
