//! Names of clusters: good for a path of a URL, a label of a metric, a name of a file.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

/// The name of a cluster: 1 to 64 characters of `a-z`, `0-9`, `.` and `-`; `default` where none is
/// given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ClusterName(String);

impl ClusterName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ClusterName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a cluster's name is 1 to 64 characters of a-z, 0-9, `.` and `-`".to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for ClusterName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| de::Error::custom(format!("`{text}`: {why}")))
    }
}

/// Some clusters, or all that there are and will be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clusters {
    /// Every cluster.
    #[default]
    All,
    /// These.
    Named(BTreeSet<ClusterName>),
}

impl Clusters {
    /// Whether a cluster of this name is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|known| known.as_str() == name),
        }
    }

    /// Their names; `None` for all.
    #[must_use]
    pub fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Named(names) => Some(names.iter().map(ToString::to_string).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_form_are_names() {
        let longest = "a".repeat(64);
        for name in ["a", "0", "prod-eu.1", &longest] {
            assert_eq!(name.parse::<ClusterName>().map(String::from), Ok(name.to_owned()));
        }
        let longer = "a".repeat(65);
        for text in ["", "A", "a/b", "a b", "ä", "a\n", &longer] {
            assert!(text.parse::<ClusterName>().is_err(), "{text}");
            assert!(serde_json::from_value::<ClusterName>(text.into()).is_err(), "{text}");
        }
    }
}
