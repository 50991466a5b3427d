//! What a detection needs: of the audit policy, and of what the operator supplies.

use serde::Deserialize;

use crate::sql::address::{Addresses, Kind, is_list_name};

/// What the detection cannot do without: what an audit policy must record so that it can fire, and
/// what must be known of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// The least audit level: `Metadata`, `Request` or `RequestResponse`.
    #[serde(default)]
    pub level: Option<String>,
    /// The level at which some of it fires all the same, where that is a lower one.
    #[serde(default)]
    pub least: Option<String>,
    /// Resources whose events it reads (`pods/exec` for a subresource).
    #[serde(default)]
    pub resources: Vec<String>,
    /// Verbs it reads.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// Audit stages it reads.
    #[serde(default)]
    pub stages: Vec<String>,
    /// Lists of addresses without which it cannot be evaluated: `[detect] address_lists`.
    #[serde(default)]
    pub address_lists: Vec<String>,
    /// Databases of addresses without which it cannot be evaluated: `asn`, `country`.
    #[serde(default)]
    pub address_databases: Vec<String>,
}

impl Needs {
    /// Whether levels, lists and databases are named as they can be.
    ///
    /// # Errors
    /// In words.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_level = |name: &&str| ["Metadata", "Request"].contains(name);
        if let Some(name) = self.least.as_deref().filter(|name| !is_level(name)) {
            return Err(format!("least: `{name}` is neither Metadata nor Request"));
        }
        if let Some(name) = self.address_lists.iter().find(|name| !is_list_name(name)) {
            return Err(format!("`{name}` is not the name of an address list"));
        }
        if let Some(name) = self.address_databases.iter().find(|name| Kind::of(name).is_none()) {
            return Err(format!("no database `{name}`: there are asn and country"));
        }
        Ok(())
    }

    /// The lists and databases of addresses that it names, in words.
    pub fn of_addresses(&self) -> impl Iterator<Item = String> {
        let lists = self.address_lists.iter().map(|name| format!("address list {name}"));
        let databases = self.address_databases.iter().map(|name| format!("{name} database"));
        lists.chain(databases)
    }

    /// What of addresses is needed and not among these, in words, with the setting that supplies
    /// it; `None` when nothing is missing.
    #[must_use]
    pub fn lacks(&self, addresses: &Addresses) -> Option<String> {
        let lists = self.address_lists.iter().filter(|name| addresses.list(name).is_none());
        let lists = lists.map(|name| format!("address list {name} ([detect] address_lists)"));
        let is_there = |kind| addresses.database(kind).is_some();
        let missing = |name: &&String| !Kind::of(name).is_some_and(is_there);
        let databases = self.address_databases.iter().filter(missing);
        let databases = databases.map(|name| format!("{name} database ([detect] {name}_database)"));
        let all: Vec<String> = lists.chain(databases).collect();
        (!all.is_empty()).then(|| format!("cannot be evaluated: needs {}", all.join(", ")))
    }
}
