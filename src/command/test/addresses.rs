//! What a test file says is known of addresses, in place of the operator's files.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::detect::addresses::{AddressList, Addresses, Database, Kind, Origin};

/// As written; what is not there is not supplied.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenAddresses {
    /// Addresses and networks, by the names of lists.
    #[serde(default)]
    lists: BTreeMap<String, Vec<String>>,
    /// By networks: a number, and whose it is behind it.
    #[serde(default)]
    asn: BTreeMap<String, String>,
    /// By networks: two letters.
    #[serde(default)]
    country: BTreeMap<String, String>,
}

impl WrittenAddresses {
    /// # Errors
    /// In words, when something is no address or no number.
    pub(super) fn read(&self) -> Result<Addresses, String> {
        let list = |(name, entries): (&String, &Vec<String>)| {
            let list = AddressList::parse(&entries.join("\n"));
            let list = list.map_err(|wrong| format!("addresses: {name}: {}", wrong.message))?;
            Ok((name.clone(), Arc::new(list)))
        };
        let lists = self.lists.iter().map(list).collect::<Result<_, String>>()?;
        let asn = |(network, text): (&String, &String)| {
            let (number, org) = text.split_once(' ').unwrap_or((text, ""));
            let wrong = |_| format!("addresses: `{number}` is not the number of a network");
            let asn = Some(number.parse().map_err(wrong)?);
            let org = (!org.is_empty()).then(|| org.to_owned());
            Ok((network.clone(), Origin { asn, org, country: None }))
        };
        let country = |(network, code): (&String, &String)| {
            let country = Some(code.clone());
            (network.clone(), Origin { country, ..Origin::default() })
        };
        let mut databases = BTreeMap::new();
        if !self.asn.is_empty() {
            let entries = self.asn.iter().map(asn).collect::<Result<Vec<_>, String>>()?;
            databases.insert(Kind::Asn, Database::written(entries)?);
        }
        if !self.country.is_empty() {
            databases.insert(Kind::Country, Database::written(self.country.iter().map(country))?);
        }
        Ok(Addresses::new(lists, databases))
    }
}
