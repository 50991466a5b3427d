//! Who asks, and what there is for them: the tables, with the rows of their clusters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::catalog::{MemoryCatalogProviderList, TableProvider};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;

use super::postgres::catalog::{self, Names};
use crate::event::Clusters;
use crate::sql::address::Addresses;
use crate::sql::functions::register_addresses;
use crate::sql::views;
use crate::sql::within::{Bounded, MaskedTable, WithinTable};

/// Tables that say nothing of any cluster but in these columns: everybody sees the others.
const OF_NO_CLUSTER: [(&str, &[&str]); 2] = [("detections", &["learned"]), ("sources", &[])];

/// Tables that only who may see everything of their clusters sees at all.
const OF_ADMINS: [&str; 1] = ["questions"];

/// Somebody who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Their name in the table `questions`; empty where nobody needs one.
    pub name: Arc<str>,
    /// How they ask: `http`, `postgres`.
    pub wire: &'static str,
    /// What there is for them.
    pub sight: Sight,
}

impl Asker {
    /// Whoever has the data directory: everything is theirs.
    #[must_use]
    pub fn local() -> Self {
        Self { name: Arc::from(""), wire: "local", sight: Sight::default() }
    }
}

/// What somebody sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sight {
    /// Rows of these clusters.
    pub clusters: Clusters,
    /// And who asked what.
    pub admin: bool,
}

impl Default for Sight {
    fn default() -> Self {
        Self { clusters: Clusters::All, admin: true }
    }
}

/// Tables by name.
type Tables = Vec<(&'static str, Arc<dyn TableProvider>)>;

/// The same tables for both kinds of clients.
#[derive(Clone)]
pub(super) struct Sessions {
    pub(super) plain: SessionContext,
    /// As clients of PostgreSQL see them.
    pub(super) postgres: SessionContext,
    pub(super) names: Arc<Names>,
}

/// A session for each sight that somebody has. There are as many as the settings know.
pub(super) struct Sights {
    /// With functions, rules, limits and memory that all share, and no tables.
    bare: SessionContext,
    tables: Tables,
    made: Mutex<HashMap<Sight, Sessions>>,
}

impl Sights {
    /// Sights of these tables, in sessions like this one.
    pub(super) fn new(bare: SessionContext, tables: Tables) -> Self {
        Self { bare, tables, made: Mutex::default() }
    }

    /// What somebody sees, if it was made before.
    pub(super) fn made(&self, sight: &Sight) -> Option<Sessions> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(sight).cloned()
    }

    /// What somebody sees. Planning the views of a new one takes its time.
    ///
    /// # Errors
    /// When a view cannot be planned over the tables.
    pub(super) fn of(&self, sight: &Sight) -> Result<Sessions> {
        if let Some(sessions) = self.made(sight) {
            return Ok(sessions);
        }
        // Nobody waits for this: at worst it is made twice.
        let sessions = self.make(sight)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(made.entry(sight.clone()).or_insert(sessions).clone())
    }

    /// What is planned from now on knows this of addresses.
    pub(super) fn supply(&self, addresses: &Addresses) {
        register_addresses(&self.bare, addresses);
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        for sessions in made.values() {
            register_addresses(&sessions.plain, addresses);
            register_addresses(&sessions.postgres, addresses);
        }
    }

    fn make(&self, sight: &Sight) -> Result<Sessions> {
        let tables: Tables = self
            .tables
            .iter()
            .filter(|(name, _)| sight.admin || !OF_ADMINS.contains(name))
            .map(|(name, table)| (*name, seen(name, table, &sight.clusters)))
            .collect();
        let state = self.bare.state();
        let mut config = state.config().clone().with_create_default_catalog_and_schema(true);
        if sight.clusters != Clusters::All {
            config = config.with_extension(Arc::new(Bounded));
        }
        let state = SessionStateBuilder::new_from_existing(state)
            .with_config(config)
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
        let plain = SessionContext::new_with_state(state.build());
        for (name, table) in &tables {
            plain.register_table(*name, Arc::clone(table))?;
        }
        views::register(&plain)?;
        let (postgres, names) = catalog::session(&plain, tables)?;
        Ok(Sessions { plain, postgres, names: Arc::new(names) })
    }
}

/// A table as far as these clusters are concerned.
fn seen(name: &str, table: &Arc<dyn TableProvider>, clusters: &Clusters) -> Arc<dyn TableProvider> {
    let Clusters::Named(names) = clusters else { return Arc::clone(table) };
    match OF_NO_CLUSTER.iter().find(|(open, _)| *open == name) {
        Some((_, masked)) => Arc::new(MaskedTable::new(Arc::clone(table), masked)),
        None => Arc::new(WithinTable::new(Arc::clone(table), names)),
    }
}
