//! Which detections run now, and what is wrong with the files that do not: for those who ask. The
//! pipeline says what runs, whoever reads the files says what is wrong with them.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::catalog::Catalog;
use super::detection::LoadError;
use super::outcome::Cost;

/// What there is to know of the detections of a running service, shared.
#[derive(Debug, Default)]
pub struct InUse(RwLock<Loaded>);

/// The detections as they are now.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Those that run and those that are turned off, with what is exempt.
    pub catalog: Catalog,
    /// How each runs, in a word, by its id; empty where nothing runs.
    pub classes: BTreeMap<String, &'static str>,
    /// What is wrong with the files as they are now; those that could be read before stay in use.
    pub mistakes: Vec<LoadError>,
    /// How much of its time to learn each detection of what is new knows, from 0 to 1, by its id
    /// and by cluster.
    pub learned: BTreeMap<String, BTreeMap<String, f64>>,
    /// What each has cost since the start and keeps now, by its id; empty where nothing runs.
    pub costs: BTreeMap<String, Cost>,
}

impl InUse {
    /// These run.
    #[must_use]
    pub fn new(catalog: Catalog, classes: BTreeMap<String, &'static str>) -> Self {
        Self(RwLock::new(Loaded { catalog, classes, ..Loaded::default() }))
    }

    /// Others run now.
    pub fn run(&self, catalog: Catalog, classes: BTreeMap<String, &'static str>) {
        self.change(|loaded| (loaded.catalog, loaded.classes) = (catalog, classes));
    }

    /// This is wrong with the files now.
    pub fn mistake(&self, mistakes: Vec<LoadError>) {
        self.change(|loaded| loaded.mistakes = mistakes);
    }

    /// So much has been learned.
    pub fn learn(&self, learned: BTreeMap<String, BTreeMap<String, f64>>) {
        self.change(|loaded| loaded.learned = learned);
    }

    /// So much was spent.
    pub fn spend(&self, costs: BTreeMap<String, Cost>) {
        self.change(|loaded| loaded.costs = costs);
    }

    /// Looks at it.
    pub fn look<T>(&self, look: impl FnOnce(&Loaded) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Loaded)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
