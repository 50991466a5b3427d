//! The set of detections: those shipped in the binary, and a folder of the operator's own that
//! adds to them or overrides them by id. In that folder may lie `overrides.yaml`, which changes
//! detections without another copy of them, `exceptions.yaml`, which says what is exempt, and
//! `lists/`, whose files add to the shipped lists or take their place.

mod files;
mod sources;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use include_dir::{Dir, include_dir};

use self::files::{files, lists_below, texts_of};
pub use self::sources::Sources;
use super::addresses::Addresses;
use super::detection::{Detection, Kind, LoadError};
use super::exception::{self, Exception};
use super::list::{self, Lists};
use super::overrides::{self, Override};
use crate::sql::functions::glob::fits;

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/detections");
static SHIPPED_LISTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/lists");

/// Detections by id, in the order of their ids.
#[derive(Debug, Default, Clone)]
pub struct Catalog {
    detections: BTreeMap<String, Arc<Detection>>,
    disabled: BTreeMap<String, Arc<Detection>>,
    /// What is missing for those among the disabled that would run otherwise, by their ids.
    lacking: BTreeMap<String, String>,
    origins: BTreeMap<String, Origin>,
    overrides: BTreeMap<String, Override>,
    exceptions: Vec<Arc<Exception>>,
    lists: Lists,
}

/// Where a detection of a catalogue came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is shipped.
    Shipped,
    /// It is of the operator's folder.
    Own,
    /// It is of the operator's folder, instead of the shipped one of its id.
    Overrides,
}

impl Origin {
    /// The lower-case name, as in `detections list`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Own => "own",
            Self::Overrides => "overrides",
        }
    }
}

impl Catalog {
    /// The shipped detections and, when given, those below `dir`, changed as its `overrides.yaml`
    /// says; with the exceptions of its `exceptions.yaml`, and of the lists that they name.
    ///
    /// # Errors
    /// Every file that cannot be read, with its line and a hint.
    pub fn load(dir: Option<&Path>) -> Result<Self, Vec<LoadError>> {
        Sources::read(dir).catalog()
    }

    fn of_sources(sources: &Sources) -> Result<Self, Vec<LoadError>> {
        let Some(_) = sources.dir() else { return Self::from_texts(texts_of(&SHIPPED)) };
        let (mut catalog, mut errors) = Self::gather(texts_of(&SHIPPED));
        errors.extend(catalog.add_lists(sources.lists()));
        errors.extend(sources.errors().cloned());
        match Self::gather(sources.detections()) {
            (own, wrong) if wrong.is_empty() => catalog.add_own(own),
            (_, wrong) => errors.extend(wrong),
        }
        // Ids of detections that cannot be read would be told as unknown: one mistake, once.
        let all_known = errors.is_empty();
        if let Some((path, text)) = sources.single(overrides::FILE) {
            match overrides::parse(path, text) {
                Ok(overrides) if all_known => errors.extend(catalog.apply(path, overrides)),
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some((path, text)) = sources.single(exception::FILE) {
            match exception::parse(path, text) {
                Ok(exceptions) if all_known => errors.extend(catalog.add_exceptions(exceptions)),
                Ok(_) => {}
                Err(found) => errors.extend(found),
            }
        }
        errors.extend(catalog.exempt_listed());
        let catalog = catalog.supplied(&Addresses::default());
        if errors.is_empty() { Ok(catalog) } else { Err(errors) }
    }

    /// The same, with this known of addresses: those that need more of it do not run, and
    /// [`Catalog::lacking`] says why. Nothing is known of addresses until this is called.
    #[must_use]
    pub fn supplied(mut self, addresses: &Addresses) -> Self {
        for id in std::mem::take(&mut self.lacking).into_keys() {
            self.detections.extend(self.disabled.remove_entry(&id));
        }
        for detection in self.detections.values_mut().chain(self.disabled.values_mut()) {
            Arc::make_mut(detection).addresses = addresses.clone();
        }
        let lacking = self.detections.extract_if(.., |_, of| of.needs.lacks(addresses).is_some());
        for (id, detection) in lacking {
            self.lacking.extend(detection.needs.lacks(addresses).map(|lacks| (id.clone(), lacks)));
            self.disabled.insert(id, detection);
        }
        self
    }

    /// Why a detection that is on does not run: what it needs of addresses was not supplied.
    #[must_use]
    pub fn lacks(&self, id: &str) -> Option<&str> {
        self.lacking.get(id).map(String::as_str)
    }

    /// The detections that are on and do not run, with what they need, in the order of ids.
    pub fn lacking(&self) -> impl Iterator<Item = (&Arc<Detection>, &str)> {
        self.lacking.iter().filter_map(|(id, lacks)| Some((self.disabled.get(id)?, lacks.as_str())))
    }

    /// Only the detections below `dir`, with its lists and the shipped ones.
    ///
    /// # Errors
    /// Every file that cannot be read, with its line and a hint.
    pub fn load_dir(dir: &Path) -> Result<Self, Vec<LoadError>> {
        let (catalog, errors) = Self::with_lists(files(dir)?, Some(dir));
        if errors.is_empty() { Ok(catalog) } else { Err(errors) }
    }

    /// The same with only those shipped detections on whose ids fit one of these patterns, with
    /// commas between; own ones stay as they are.
    #[must_use]
    pub fn limited(mut self, patterns: &str) -> Self {
        let patterns: Vec<Vec<char>> =
            patterns.split(',').map(|pattern| pattern.trim().chars().collect()).collect();
        let own = std::mem::take(&mut self.origins);
        let stays =
            |id: &String| own.contains_key(id) || patterns.iter().any(|pattern| fits(pattern, id));
        let off = self.detections.extract_if(.., |id, _| !stays(id));
        self.disabled.extend(off);
        self.lacking.retain(|id, _| stays(id));
        self.origins = own;
        self
    }

    /// A catalogue of one.
    #[must_use]
    pub fn of(detection: Detection) -> Self {
        let id = detection.id.clone();
        Self { detections: BTreeMap::from([(id, Arc::new(detection))]), ..Self::default() }
    }

    /// The detections whose ids pass alone, with what is exempt from them.
    #[must_use]
    pub fn selected(&self, keep: impl Fn(&str) -> bool) -> Self {
        let detections = self.detections.iter().filter(|(id, _)| keep(id));
        let detections = detections.map(|(id, of)| (id.clone(), Arc::clone(of))).collect();
        Self { detections, exceptions: self.exceptions.clone(), ..Self::default() }
    }

    /// A catalogue of these files, path (for messages) and text, with the shipped lists.
    ///
    /// # Errors
    /// Every file that cannot be read, and ids that two files share.
    pub fn from_texts(
        texts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<LoadError>> {
        let (catalog, errors) = Self::with_lists(texts, None);
        if errors.is_empty() { Ok(catalog) } else { Err(errors) }
    }

    /// What can be read of the shipped detections, or of those below `dir`, and what cannot.
    #[must_use]
    pub fn readable(dir: Option<&Path>) -> (Self, Vec<LoadError>) {
        match dir.map_or_else(|| Ok(texts_of(&SHIPPED)), files) {
            Ok(texts) => Self::with_lists(texts, dir),
            Err(errors) => (Self::default(), errors),
        }
    }

    /// What can be read of these, with what the lists exempt from them, and what cannot.
    fn with_lists(
        texts: impl IntoIterator<Item = (String, String)>,
        dir: Option<&Path>,
    ) -> (Self, Vec<LoadError>) {
        let (mut catalog, mut errors) = Self::gather(texts);
        let lists = dir.map_or(Ok(Vec::new()), |dir| lists_below(&dir.join(list::FOLDER)));
        let lists = lists.unwrap_or_else(|found| {
            errors.extend(found);
            Vec::new()
        });
        errors.extend(catalog.add_lists(lists));
        errors.extend(catalog.exempt_listed());
        (catalog.supplied(&Addresses::default()), errors)
    }

    fn gather(texts: impl IntoIterator<Item = (String, String)>) -> (Self, Vec<LoadError>) {
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
        (catalog, errors)
    }

    /// The detections that run, in the order of their ids.
    pub fn detections(&self) -> impl Iterator<Item = &Arc<Detection>> {
        self.detections.values()
    }

    /// The detections that are off, by themselves, by `overrides.yaml`, or because what they need
    /// of addresses is not supplied, in the order of ids.
    pub fn disabled(&self) -> impl Iterator<Item = &Arc<Detection>> {
        self.disabled.values()
    }

    /// The detection of this id, when it runs.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Detection>> {
        self.detections.get(id)
    }

    /// The detection of this id, whether it runs or not.
    #[must_use]
    pub fn any(&self, id: &str) -> Option<&Arc<Detection>> {
        self.detections.get(id).or_else(|| self.disabled.get(id))
    }

    /// As [`Catalog::selected`], with this detection, changed maybe, among those that run.
    #[must_use]
    pub fn with(&self, detection: Detection, keep: impl Fn(&str) -> bool) -> Self {
        let mut catalog = self.selected(keep);
        catalog.put(Arc::new(Detection { enabled: true, ..detection }));
        catalog
    }

    /// Where the detection of this id came from.
    #[must_use]
    pub fn origin(&self, id: &str) -> Origin {
        self.origins.get(id).copied().unwrap_or(Origin::Shipped)
    }

    /// What `overrides.yaml` changes of the detection of this id.
    #[must_use]
    pub fn overrides_of(&self, id: &str) -> Option<&Override> {
        self.overrides.get(id)
    }

    /// All exceptions, also those that have expired, in the order of their file.
    #[must_use]
    pub fn exceptions(&self) -> &[Arc<Exception>] {
        &self.exceptions
    }

    /// The exceptions that name this detection or all, also those that have expired.
    pub fn exceptions_of(&self, id: &str) -> impl Iterator<Item = &Arc<Exception>> {
        self.exceptions.iter().filter(move |exception| exception.detections.names(id))
    }

    fn add_own(&mut self, own: Self) {
        for (id, detection) in own.detections.into_iter().chain(own.disabled) {
            let replaced = self.detections.remove(&id).or_else(|| self.disabled.remove(&id));
            let replaced = replaced.is_some();
            self.put(detection);
            let origin = if replaced { Origin::Overrides } else { Origin::Own };
            self.origins.insert(id, origin);
        }
    }

    /// The shipped lists, and these of the operator's folder, which come first.
    fn add_lists(&mut self, own: impl IntoIterator<Item = (String, String)>) -> Vec<LoadError> {
        let mut errors = Vec::new();
        for (path, text) in texts_of(&SHIPPED_LISTS).into_iter().chain(own) {
            match list::parse(&path, &text) {
                Ok((name, entries)) => {
                    self.lists.insert(name, entries);
                }
                Err(found) => errors.extend(found),
            }
        }
        errors
    }

    /// Adds what the lists exempt from the detections that name them, behind the operator's own.
    fn exempt_listed(&mut self) -> Vec<LoadError> {
        let all = || self.detections.values().chain(self.disabled.values());
        let (listed, mut errors) = list::exempting(&self.lists, all());
        let chains = all().filter(|of| of.kind == Kind::OverFindings && !of.exempt.is_empty());
        errors.extend(chains.map(|of| {
            let message = "exempt: it reads findings, and lists hide events".to_owned();
            of.error(of.line_of("exempt"), message, Some(hint_of_chain(of)))
        }));
        self.exceptions.extend(listed.into_iter().map(Arc::new));
        errors
    }

    fn apply(&mut self, path: &str, overrides: BTreeMap<String, Override>) -> Vec<LoadError> {
        let mut errors = Vec::new();
        for (id, change) in overrides {
            let Some(detection) = self.any(&id) else {
                errors.push(self.unknown(path, change.line, &id));
                continue;
            };
            match change.applied(path, detection) {
                Ok(changed) => {
                    self.detections.remove(&id);
                    self.disabled.remove(&id);
                    let enabled = change.enabled.unwrap_or(changed.enabled);
                    self.put(Arc::new(Detection { enabled, ..changed }));
                    self.overrides.insert(id, change);
                }
                Err(found) => errors.extend(found),
            }
        }
        errors.sort_by_key(|error| error.line);
        errors
    }

    fn add_exceptions(&mut self, exceptions: Vec<Exception>) -> Vec<LoadError> {
        let mut errors = Vec::new();
        for exception in &exceptions {
            let known =
                |id: &&str| self.detections.contains_key(*id) || self.disabled.contains_key(*id);
            let unknown = exception.detections.ids().filter(|id| !known(id));
            errors.extend(unknown.map(|id| self.unknown(&exception.path, exception.line, id)));
            let named = exception.detections.ids().filter_map(|id| self.any(id));
            let chains = named.filter(|of| of.kind == Kind::OverFindings);
            errors.extend(chains.map(|of| LoadError {
                path: Arc::clone(&exception.path),
                line: Some(exception.line),
                message: format!("`{}` reads findings, and exceptions hide events", of.id),
                hint: Some(hint_of_chain(of)),
            }));
        }
        self.exceptions = exceptions.into_iter().map(Arc::new).collect();
        errors
    }

    fn unknown(&self, path: &str, line: u64, id: &str) -> LoadError {
        let ids = self.detections.keys().chain(self.disabled.keys());
        let near = ids.min_by_key(|known| levenshtein(known, id));
        LoadError {
            path: path.into(),
            line: Some(line),
            message: format!("no detection `{id}`"),
            hint: near.map(|near| {
                format!("did you mean `{near}`? `auditmill detections list` shows all")
            }),
        }
    }

    fn insert(&mut self, detection: Detection) -> Result<(), LoadError> {
        if let Some(other) = self.any(&detection.id) {
            let message = format!("id `{}` is taken by `{}`", detection.id, other.path);
            let hint = Some("choose another id".to_owned());
            return Err(detection.error(detection.line_of("id"), message, hint));
        }
        self.put(Arc::new(detection));
        Ok(())
    }

    fn put(&mut self, detection: Arc<Detection>) {
        let to = if detection.enabled { &mut self.detections } else { &mut self.disabled };
        to.insert(detection.id.clone(), detection);
    }
}

/// What to write instead of an exception of what reads findings.
fn hint_of_chain(detection: &Detection) -> String {
    format!(
        "exempt events from the detections whose findings it reads, or turn it off in \
         overrides.yaml: `{}: {{enabled: false}}`",
        detection.id
    )
}
