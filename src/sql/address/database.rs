//! A database of addresses in the format of `MaxMind` (`.mmdb`), which `GeoLite2` and most other
//! providers publish; and the same written by hand, for tests.
//!
//! The whole file is checked before it is used: a damaged one would answer wrongly in silence.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use maxminddb::{Reader, WithinOptions, path};

use super::supplied::Kind;
use crate::sql::functions::network::{Network, address, is_private};

/// Whose network an address is of, or where it is.
pub struct Database {
    inside: Inside,
}

enum Inside {
    File(Reader<Vec<u8>>),
    Written(Vec<(Network, Origin)>),
}

/// What a database says of an address; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The number of the autonomous system that announces it.
    pub asn: Option<u32>,
    /// Who runs that system.
    pub org: Option<String>,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<String>,
}

/// So many of its networks are looked at for what is asked of it.
const TRIED_MAX: usize = 10_000;
/// The longest name of an organisation, in bytes.
const ORG_BYTES_MAX: usize = 200;

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Reads a file that is to tell this.
    ///
    /// # Errors
    /// In words, when it is damaged, no such database, or tells something else.
    pub fn read(bytes: Vec<u8>, kind: Kind) -> Result<Self, String> {
        let reader = Reader::from_source(bytes)
            .map_err(|error| format!("not a MaxMind DB file: {error}"))?;
        reader.verify().map_err(|error| format!("damaged: {error}"))?;
        let of = reader.metadata().database_type.clone();
        let database = Self { inside: Inside::File(reader) };
        if database.tells(kind) { Ok(database) } else { Err(kind.is_not(&of)) }
    }

    /// One that says this of these networks; where several hold an address, the first does.
    ///
    /// # Errors
    /// In words, when a network is none.
    pub fn written(entries: impl IntoIterator<Item = (String, Origin)>) -> Result<Self, String> {
        let entry = |(text, origin): (String, Origin)| {
            let network = Network::parse(&text);
            Ok((network.ok_or_else(|| format!("`{text}` is not a network"))?, origin))
        };
        let entries = entries.into_iter().map(entry).collect::<Result<_, String>>()?;
        Ok(Self { inside: Inside::Written(entries) })
    }

    /// Whether any of its first networks has what it is to tell.
    fn tells(&self, kind: Kind) -> bool {
        let Inside::File(reader) = &self.inside else { return true };
        let Ok(networks) = reader.networks(WithinOptions::default()) else { return false };
        networks.take(TRIED_MAX).flatten().any(|found| match kind {
            Kind::Asn => asn(&found).is_some(),
            Kind::Country => country(&found).is_some(),
        })
    }

    /// The number of the autonomous system of an address; `None` of private addresses and of texts
    /// that are none.
    #[must_use]
    pub fn asn(&self, text: &str) -> Option<u32> {
        self.ask(public(text)?, asn, |origin| origin.asn)
    }

    /// Who runs the network of an address.
    #[must_use]
    pub fn org(&self, text: &str) -> Option<String> {
        self.ask(public(text)?, org, |origin| origin.org.clone())
    }

    /// The country of an address, two letters.
    #[must_use]
    pub fn country(&self, text: &str) -> Option<String> {
        self.ask(public(text)?, country, |origin| origin.country.clone())
    }

    fn ask<T>(
        &self,
        ip: IpAddr,
        file: fn(&Found<'_>) -> Option<T>,
        written: fn(&Origin) -> Option<T>,
    ) -> Option<T> {
        match &self.inside {
            Inside::File(reader) => file(&reader.lookup(ip).ok()?),
            Inside::Written(entries) => {
                let found = entries.iter().find(|(network, _)| network.contains(ip));
                written(&found?.1)
            }
        }
    }
}

type Found<'a> = maxminddb::LookupResult<'a, Vec<u8>>;

fn public(text: &str) -> Option<IpAddr> {
    address(text).filter(|ip| !is_private(*ip))
}

/// `GeoLite2` and its like have a number, of any width, others a text such as `AS64501`.
fn asn(found: &Found<'_>) -> Option<u32> {
    let number = found.decode_path::<serde_json::Number>(&path!["autonomous_system_number"]);
    if let Some(number) = number.ok().flatten() {
        return u32::try_from(number.as_u64()?).ok();
    }
    let text = text(found, &["asn"])?;
    text.trim_start_matches(['A', 'S', 'a', 's']).parse().ok()
}

fn org(found: &Found<'_>) -> Option<String> {
    let names = ["autonomous_system_organization", "as_name", "name"];
    let name = names.iter().find_map(|name| text(found, &[name]))?;
    let end = name.floor_char_boundary(ORG_BYTES_MAX);
    name.get(..end).map(str::to_owned)
}

fn country(found: &Found<'_>) -> Option<String> {
    let paths: [&[&str]; 3] = [&["country", "iso_code"], &["country_code"], &["country"]];
    let code = paths.iter().find_map(|path| text(found, path))?;
    let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_code.then(|| code.to_ascii_uppercase())
}

fn text<'a>(found: &Found<'a>, path: &[&str]) -> Option<Cow<'a, str>> {
    let path: Vec<maxminddb::PathElement<'_>> =
        path.iter().map(|key| maxminddb::PathElement::Key(key)).collect();
    found.decode_path::<&'a str>(&path).ok().flatten().map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str) -> Vec<u8> {
        let path = format!("{}/testdata/addresses/{name}.mmdb", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_file_says_whose_an_address_is_and_where() {
        let asns = Database::read(file("asn"), Kind::Asn).unwrap();
        let countries = Database::read(file("country"), Kind::Country).unwrap();
        let cases = [
            ("192.0.2.1", Some(64_500), Some("Example Access"), Some("NL")),
            ("198.51.100.200", Some(64_501), Some("Example Hosting"), Some("DE")),
            ("::ffff:198.51.100.200", Some(64_501), Some("Example Hosting"), Some("DE")),
            ("203.0.113.9", Some(4_200_000_001), Some("Example Mobile"), Some("BR")),
            ("2001:db8::7", Some(64_502), Some("Example Six"), Some("JP")),
            ("2001:db9::7", None, None, None),
            ("10.0.0.1", None, None, None),
            ("nowhere", None, None, None),
        ];
        for (ip, asn, org, country) in cases {
            assert_eq!(asns.asn(ip), asn, "{ip}");
            assert_eq!(asns.org(ip).as_deref(), org, "{ip}");
            assert_eq!(countries.country(ip).as_deref(), country, "{ip}");
        }
        // Another provider's names of the same things.
        let flat = Database::read(file("flat"), Kind::Asn).unwrap();
        assert_eq!(flat.asn("192.0.2.1"), Some(64_500));
        assert_eq!(flat.org("192.0.2.1").as_deref(), Some("Example Access"));
        assert_eq!(flat.country("192.0.2.1").as_deref(), Some("NL"));
        Database::read(file("flat"), Kind::Country).unwrap();
    }

    #[test]
    fn what_is_no_such_file_is_told() {
        let check = |bytes: Vec<u8>, kind: Kind, expected: &str| {
            let error = Database::read(bytes, kind).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check(Vec::new(), Kind::Asn, "not a MaxMind DB file: ");
        check(b"<html>404</html>".to_vec(), Kind::Asn, "not a MaxMind DB file: ");
        check(file("country"), Kind::Asn, "a `GeoLite2-Country` that tells no `");
        check(file("asn"), Kind::Country, "a `GeoLite2-ASN` that tells no `");
        let mut cut = file("asn");
        cut.truncate(cut.len() / 2);
        check(cut, Kind::Asn, "not a MaxMind DB file: ");
    }

    #[test]
    fn one_that_is_written_says_what_is_written() {
        let of = |number| Origin { asn: Some(number), ..Origin::default() };
        let entries = [("198.51.100.0/24".to_owned(), of(1)), ("::/0".to_owned(), of(2))];
        let database = Database::written(entries).unwrap();
        assert_eq!(database.asn("198.51.100.9"), Some(1));
        assert_eq!(database.asn("2001:db8::1"), Some(2));
        assert_eq!(database.asn("192.0.2.1"), None);
        assert_eq!(database.org("198.51.100.9"), None);
        let wrong = Database::written([("here".to_owned(), of(1))]).unwrap_err();
        assert_eq!(wrong, "`here` is not a network");
    }

    proptest! {
        #[test]
        fn damage_is_told_or_answers_nothing_that_hurts(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            ip in any::<u32>(),
        ) {
            let mut bytes = file("asn");
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(database) = Database::read(bytes, Kind::Asn) {
                let ip = std::net::Ipv4Addr::from(ip).to_string();
                let _ = (database.asn(&ip), database.org(&ip), database.asn("198.51.100.1"));
            }
        }
    }
}
