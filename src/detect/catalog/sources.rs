//! The operator's folder as it was read, and what is loaded of it when some of it is wrong.
//!
//! Promise: [`Sources::settled`] takes each file as it is now when it can be used, else as it was
//! when it last could; one that never could is left out. A file that is gone is gone. When that
//! makes no whole (a detection is gone that an exception names), nothing is taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::detection::LoadError;
use super::super::exception;
use super::super::list;
use super::super::overrides;
use super::Catalog;
use super::files::{Read, read_all, read_file};

/// Files of the operator's folder, each by its path for messages.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    dir: Option<PathBuf>,
    texts: BTreeMap<String, String>,
    /// Files that are there and could not be read.
    unread: Vec<LoadError>,
    /// Folders that could not be read: nobody knows what is in them.
    unknown: Vec<LoadError>,
}

impl Sources {
    /// Reads what there is now; what cannot be read is told by [`Sources::catalog`].
    #[must_use]
    pub fn read(dir: Option<&Path>) -> Self {
        let Some(dir) = dir else { return Self::default() };
        let mut sources = Self { dir: Some(dir.to_owned()), ..Self::default() };
        sources.add(read_all(dir, "sql"));
        let lists = dir.join(list::FOLDER);
        if lists.is_dir() {
            sources.add(read_all(&lists, "yaml"));
        }
        for name in [overrides::FILE, exception::FILE] {
            match read_file(&dir.join(name)) {
                Ok(file) => sources.texts.extend(file),
                Err(error) => sources.unread.push(error),
            }
        }
        sources
    }

    fn add(&mut self, read: Read) {
        self.texts.extend(read.texts);
        self.unread.extend(read.unread);
        self.unknown.extend(read.unknown);
    }

    /// The folder, if there is one.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// What could not be read.
    pub(super) fn errors(&self) -> impl Iterator<Item = &LoadError> {
        self.unknown.iter().chain(&self.unread)
    }

    /// Detections, path and text, in the order of paths.
    pub(super) fn detections(&self) -> impl Iterator<Item = (String, String)> {
        self.ending("sql")
    }

    /// Lists likewise.
    pub(super) fn lists(&self) -> impl Iterator<Item = (String, String)> {
        let alone = [overrides::FILE, exception::FILE].map(|name| self.path(name));
        self.ending("yaml").filter(move |(path, _)| !alone.contains(&Some(path.clone())))
    }

    /// A file that lies in the folder itself, if it does.
    pub(super) fn single(&self, name: &str) -> Option<(&str, &str)> {
        let (path, text) = self.texts.get_key_value(&self.path(name)?)?;
        Some((path, text))
    }

    fn path(&self, name: &str) -> Option<String> {
        Some(self.dir.as_ref()?.join(name).display().to_string())
    }

    fn ending(&self, extension: &'static str) -> impl Iterator<Item = (String, String)> {
        let texts = self.texts.iter().filter(move |(path, _)| has_extension(path, extension));
        texts.map(|(path, text)| (path.clone(), text.clone()))
    }

    /// The shipped detections with these, as [`Catalog::load`] says.
    ///
    /// # Errors
    /// Every file that cannot be read, with its line and a hint.
    pub fn catalog(&self) -> Result<Catalog, Vec<LoadError>> {
        Catalog::of_sources(self)
    }

    /// True when the same files say the same.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.texts == other.texts && self.errors().eq(other.errors())
    }

    /// Loads these files, those that are wrong as they are in `good`: gives what was loaded, of
    /// which files, and all that was wrong; nothing is loaded when the files that are wrong are not
    /// to blame alone. `load` is called again for each round of mistakes.
    pub fn settled<T>(
        mut self,
        good: &Self,
        load: impl Fn(&Self) -> Result<T, Vec<LoadError>>,
    ) -> (Option<(T, Self)>, Vec<LoadError>) {
        let mut mistakes: Vec<LoadError> = Vec::new();
        loop {
            let errors = match load(&self) {
                Ok(loaded) => return (Some((loaded, self)), mistakes),
                Err(errors) => errors,
            };
            let mut is_new = false;
            for error in &errors {
                is_new |= self.put_back(&error.path, good);
            }
            // What is said about all detections may be to blame for what is told of one.
            is_new = is_new || self.put_back_shared(good);
            let news: Vec<LoadError> =
                errors.into_iter().filter(|error| !mistakes.contains(error)).collect();
            mistakes.extend(news);
            if !is_new {
                return (None, mistakes);
            }
        }
    }

    /// A file as it is in `good`, or not at all; false when it is so already.
    fn put_back(&mut self, path: &str, good: &Self) -> bool {
        let before = self.unread.len();
        self.unread.retain(|error| *error.path != *path);
        let was_unread = self.unread.len() < before;
        match good.texts.get(path) {
            Some(text) if self.texts.get(path) == Some(text) => was_unread,
            Some(text) => {
                self.texts.insert(path.to_owned(), text.clone());
                true
            }
            None => self.texts.remove(path).is_some() || was_unread,
        }
    }

    /// The same of overrides, exceptions and lists.
    fn put_back_shared(&mut self, good: &Self) -> bool {
        let paths = self.texts.keys().chain(good.texts.keys());
        let paths: Vec<String> =
            paths.filter(|path| has_extension(path, "yaml")).cloned().collect();
        let mut is_new = false;
        for path in paths {
            is_new |= self.put_back(&path, good);
        }
        is_new
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|of| of == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "/*\nid: T-1\ntitle: t\nseverity: low\nkey: [user_name]\n\
                       describe: \"{{user_name}}\"\n*/\nSELECT user_name FROM events\n";

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
        let dir = tempfile::tempdir().unwrap();
        let sources = change(&dir, files);
        (dir, sources)
    }

    fn change(dir: &tempfile::TempDir, files: &[(&str, &str)]) -> Sources {
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Sources::read(Some(dir.path()))
    }

    /// What is loaded: the severity of T-1, the ids besides it, exceptions, and the mistakes.
    fn settled(now: Sources, good: &Sources) -> (Option<String>, Vec<String>) {
        let (loaded, mistakes) = now.settled(good, Sources::catalog);
        let loaded = loaded.map(|(catalog, _)| {
            let severity = |id: &str| Some(catalog.any(id)?.severity.as_str());
            let own = ["T-1", "T-2", "T-3"].map(|id| severity(id).unwrap_or("-"));
            let exceptions = catalog.exceptions().iter().filter(|of| of.list.is_none());
            format!("{} {}", own.join(" "), exceptions.count())
        });
        let names = mistakes.iter().map(|mistake| {
            let name = mistake.path.rsplit('/').next().unwrap_or_default().to_owned();
            format!("{name}: {}", mistake.message)
        });
        (loaded, names.collect())
    }

    fn two(id: &str) -> String {
        ONE.replace("T-1", id)
    }

    const EXEMPT: &str = "- {detection: T-1, condition: user_name = 'a', owner: o, reason: r, \
                          expires: 2099-01-01}\n";

    #[test]
    fn a_bad_file_stays_as_it_was_and_the_others_are_taken() {
        let files = [("1.sql", ONE), ("2.sql", &two("T-2")), ("exceptions.yaml", EXEMPT)];
        let (dir, good) = folder(&files);
        let changed = two("T-2").replace("low", "high");
        let now = change(&dir, &[("1.sql", "SELECT"), ("2.sql", &changed), ("3.sql", &two("T-3"))]);
        let (loaded, mistakes) = settled(now, &good);
        assert_eq!(loaded.unwrap(), "low high low 1");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].starts_with("1.sql: "), "{mistakes:?}");
    }

    #[test]
    fn a_new_file_that_is_bad_is_left_out_with_what_names_it() {
        let (dir, good) = folder(&[("1.sql", ONE), ("exceptions.yaml", EXEMPT)]);
        let named = EXEMPT.replace("T-1", "T-9");
        let change =
            [("9.sql", "none"), ("exceptions.yaml", named.as_str()), ("3.sql", &two("T-3"))];
        let (loaded, mistakes) = settled(self::change(&dir, &change), &good);
        assert_eq!(loaded.unwrap(), "low - low 1");
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert_eq!(mistakes[1], "exceptions.yaml: no detection `T-9`");
    }

    #[test]
    fn an_exception_of_what_is_gone_takes_nothing() {
        let (dir, good) =
            folder(&[("1.sql", ONE), ("2.sql", &two("T-2")), ("exceptions.yaml", EXEMPT)]);
        std::fs::remove_file(dir.path().join("1.sql")).unwrap();
        let (loaded, mistakes) = settled(Sources::read(Some(dir.path())), &good);
        assert_eq!((loaded, mistakes.len()), (None, 1), "{mistakes:?}");
    }

    #[test]
    fn a_folder_that_is_gone_takes_nothing() {
        let (dir, good) = folder(&[("1.sql", ONE)]);
        let place = dir.path().to_owned();
        drop(dir);
        let (loaded, mistakes) = settled(Sources::read(Some(&place)), &good);
        assert_eq!((loaded, mistakes.len()), (None, 1), "{mistakes:?}");
    }
}
