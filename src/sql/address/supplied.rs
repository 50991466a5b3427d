//! All that was supplied, as one value that queries are planned with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{AddressList, Database};

/// What a database of addresses tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whose network an address is of.
    Asn,
    /// In which country it is.
    Country,
}

impl Kind {
    /// Its name in `needs:`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asn => "asn",
            Self::Country => "country",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::Asn, Self::Country].into_iter().find(|kind| kind.as_str() == name)
    }

    /// Of a database that does not tell it.
    pub(super) fn is_not(self, of: &str) -> String {
        let field = match self {
            Self::Asn => "autonomous_system_number",
            Self::Country => "country.iso_code",
        };
        format!("a `{}` that tells no `{field}` of any address", of.escape_debug())
    }
}

/// Lists by name, and databases; any of them may be missing. Cheap to clone.
///
/// Two are always equal: what a detection is does not change with what is known of addresses, and
/// its state stays when a list does.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<Supplied>);

#[derive(Debug, Default)]
struct Supplied {
    lists: BTreeMap<String, Arc<AddressList>>,
    databases: BTreeMap<Kind, Database>,
}

impl PartialEq for Addresses {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Addresses {}

/// Whether a list may be called so: letters, digits, `-` and `_`, at most 64.
#[must_use]
pub fn is_list_name(name: &str) -> bool {
    let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(is_good)
}

impl Addresses {
    /// Of these.
    #[must_use]
    pub fn new(
        lists: BTreeMap<String, Arc<AddressList>>,
        databases: BTreeMap<Kind, Database>,
    ) -> Self {
        Self(Arc::new(Supplied { lists, databases }))
    }

    /// The list of this name.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<&Arc<AddressList>> {
        self.0.lists.get(name)
    }

    /// The database that tells this.
    #[must_use]
    pub fn database(&self, kind: Kind) -> Option<&Database> {
        self.0.databases.get(&kind)
    }

    /// The names of its lists and databases, in a fixed order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let lists = self.0.lists.iter();
        let lists = lists.map(|(name, list)| format!("list {name} ({})", list.len()));
        let databases = self.0.databases.keys().map(|kind| format!("database {kind}"));
        lists.chain(databases).collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
