//! What is supplied about addresses: `listed_ip`, `ip_asn`, `ip_as_org`, `ip_country`.
//!
//! Each is made for one [`Addresses`] and stays with it, so that it is immutable; who gets new
//! lists plans with new functions. Without the list or database that is asked the answer is NULL.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::text::{Argument, Gives, TextFunction, TextUdf, Value};
use crate::sql::address::{AddressList, Addresses, Kind, is_list_name};

/// The functions, over what was supplied.
pub(super) fn functions(addresses: &Addresses) -> Vec<ScalarUDF> {
    vec![
        TextUdf::<ListedIp>::over(addresses),
        TextUdf::<IpAsn>::over(addresses),
        TextUdf::<IpAsOrg>::over(addresses),
        TextUdf::<IpCountry>::over(addresses),
    ]
}

const IP: Argument = Argument { name: "ip", meaning: "An IPv4 or IPv6 address." };

/// `listed_ip(ip, list)`
struct ListedIp;

impl TextFunction for ListedIp {
    const NAME: &'static str = "listed_ip";
    const ARGUMENTS: &'static [Argument] = &[
        IP,
        Argument {
            name: "list",
            meaning: "The name of a file in `[detect] address_lists`, without `.txt`.",
        },
    ];
    const DESCRIPTION: &'static str = "Whether the address is in the list. NULL if there is no \
         such list, or if the text is not an address.";
    const EXAMPLE: &'static str = "listed_ip(source_ip, 'tor')";
    const GIVES: Gives = Gives::Boolean;
    type Prepared = Option<Arc<AddressList>>;

    fn prepare(name: &str) -> Result<Self::Prepared> {
        Self::prepare_over(&Addresses::default(), name)
    }

    fn prepare_over(addresses: &Addresses, name: &str) -> Result<Self::Prepared> {
        if !is_list_name(name) {
            return plan_err!("listed_ip: `{name}` is not the name of a list");
        }
        Ok(addresses.list(name).cloned())
    }

    fn evaluate<'a>(list: &Self::Prepared, text: &'a str) -> Value<'a> {
        list.as_ref().and_then(|list| list.holds(text)).into()
    }
}

/// `ip_asn(ip)`
struct IpAsn;

impl TextFunction for IpAsn {
    const NAME: &'static str = "ip_asn";
    const ARGUMENTS: &'static [Argument] = &[IP];
    const DESCRIPTION: &'static str = "The number of the autonomous system, the provider's \
         network, that the address is of, by `[detect] asn_database`. NULL without one, of a \
         private address, and where it does not say.";
    const EXAMPLE: &'static str = "ip_asn(source_ip)";
    const GIVES: Gives = Gives::Integer;
    type Prepared = Addresses;

    fn prepare(_argument: &str) -> Result<Addresses> {
        Ok(Addresses::default())
    }

    fn prepare_over(addresses: &Addresses, _argument: &str) -> Result<Addresses> {
        Ok(addresses.clone())
    }

    fn evaluate<'a>(addresses: &Addresses, text: &'a str) -> Value<'a> {
        let asn = addresses.database(Kind::Asn).and_then(|database| database.asn(text));
        asn.map(i64::from).into()
    }
}

/// `ip_as_org(ip)`
struct IpAsOrg;

impl TextFunction for IpAsOrg {
    const NAME: &'static str = "ip_as_org";
    const ARGUMENTS: &'static [Argument] = &[IP];
    const DESCRIPTION: &'static str = "Who runs the network that the address is of, by `[detect] \
         asn_database`. NULL as `ip_asn`.";
    const EXAMPLE: &'static str = "ip_as_org(source_ip)";
    const GIVES: Gives = Gives::Text;
    type Prepared = Addresses;

    fn prepare(_argument: &str) -> Result<Addresses> {
        Ok(Addresses::default())
    }

    fn prepare_over(addresses: &Addresses, _argument: &str) -> Result<Addresses> {
        Ok(addresses.clone())
    }

    fn evaluate<'a>(addresses: &Addresses, text: &'a str) -> Value<'a> {
        let org = addresses.database(Kind::Asn).and_then(|database| database.org(text));
        org.map(Cow::<str>::Owned).into()
    }
}

/// `ip_country(ip)`
struct IpCountry;

impl TextFunction for IpCountry {
    const NAME: &'static str = "ip_country";
    const ARGUMENTS: &'static [Argument] = &[IP];
    const DESCRIPTION: &'static str = "The country of the address, two letters, by `[detect] \
         country_database`. NULL without one, of a private address, and where it does not say.";
    const EXAMPLE: &'static str = "ip_country(source_ip)";
    const GIVES: Gives = Gives::Text;
    type Prepared = Addresses;

    fn prepare(_argument: &str) -> Result<Addresses> {
        Ok(Addresses::default())
    }

    fn prepare_over(addresses: &Addresses, _argument: &str) -> Result<Addresses> {
        Ok(addresses.clone())
    }

    fn evaluate<'a>(addresses: &Addresses, text: &'a str) -> Value<'a> {
        let country = addresses.database(Kind::Country).and_then(|database| database.country(text));
        country.map(Cow::<str>::Owned).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sql::address::{Database, Origin};
    use crate::sql::functions::tests::{check, check_error, check_over};

    const ROWS: [Option<&str>; 5] =
        [Some("198.51.100.7"), Some("203.0.113.9"), Some("10.0.0.1"), Some("nowhere"), None];

    fn addresses() -> Addresses {
        let list = AddressList::parse("198.51.100.0/24\n10.0.0.0/8").unwrap();
        let lists = BTreeMap::from([("tor".to_owned(), Arc::new(list))]);
        let origin = Origin {
            asn: Some(4_200_000_001),
            org: Some("Example".to_owned()),
            country: Some("NL".to_owned()),
        };
        let database = || {
            let networks = ["203.0.113.0/24", "10.0.0.0/8"];
            Database::written(networks.map(|of| (of.to_owned(), origin.clone()))).unwrap()
        };
        let databases = BTreeMap::from([(Kind::Asn, database()), (Kind::Country, database())]);
        Addresses::new(lists, databases)
    }

    #[test]
    fn what_was_supplied_is_asked() {
        let cases = [
            ("listed_ip({}, 'tor')", ["true", "false", "true", "NULL", "NULL"]),
            ("listed_ip({}, 'vpn')", ["NULL"; 5]),
            ("listed_ip({}, NULL)", ["NULL"; 5]),
            ("ip_asn({})", ["NULL", "4200000001", "NULL", "NULL", "NULL"]),
            ("ip_as_org({})", ["NULL", "Example", "NULL", "NULL", "NULL"]),
            ("ip_country({})", ["NULL", "NL", "NULL", "NULL", "NULL"]),
        ];
        for (expression, expected) in cases {
            check_over(&addresses(), &ROWS, expression, &expected);
        }
    }

    #[test]
    fn without_anything_supplied_nothing_is_known() {
        for expression in ["listed_ip({}, 'tor')", "ip_asn({})", "ip_as_org({})", "ip_country({})"]
        {
            check(&ROWS, expression, &["NULL"; 5]);
        }
        check_error("listed_ip(column1, '../x')", "`../x` is not the name of a list");
    }

    #[test]
    fn names_of_lists_may_come_from_rows() {
        let names = [Some("tor"), Some("vpn"), Some("no name"), None];
        let expected = ["true", "NULL", "NULL", "NULL"];
        check_over(&addresses(), &names, "listed_ip('198.51.100.7', {})", &expected);
    }
}
