//! A list of addresses and networks, one a line; what is behind `#` or `;` is a comment:
//!
//! ```text
//! # our offices
//! 198.51.100.0/24
//! 2001:db8:7::/48   # the new one
//! ```
//!
//! Kept as sorted ranges that do not touch, so that an address is looked up in about twenty steps
//! among a million.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sql::functions::network::{Network, address};

/// Sorted ranges of addresses, both ends within.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList {
    v4: Vec<(Ipv4Addr, Ipv4Addr)>,
    v6: Vec<(Ipv6Addr, Ipv6Addr)>,
}

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// One-based line.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

/// How much of a line that is wrong is shown, in characters.
const SHOWN_MAX: usize = 60;

impl AddressList {
    /// Reads a list. The text's length is its caller's to bound.
    ///
    /// # Errors
    /// With the first line that is neither an address nor a network.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut list = Self::default();
        for (line, written) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let end = written.find(['#', ';']).unwrap_or(written.len());
            let entry = written.get(..end).unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let network = Network::parse(entry).ok_or_else(|| {
                let shown: String = entry.chars().take(SHOWN_MAX).collect();
                let shown = shown.escape_debug();
                Wrong { line, message: format!("`{shown}` is neither an address nor a network") }
            })?;
            match network.range() {
                (IpAddr::V4(low), IpAddr::V4(high)) => list.v4.push((low, high)),
                (low, high) => list.v6.push((wide(low), wide(high))),
            }
        }
        let after = |last: Ipv4Addr| u32::from(last).checked_add(1).map(Ipv4Addr::from);
        join(&mut list.v4, after);
        let after = |last: Ipv6Addr| u128::from(last).checked_add(1).map(Ipv6Addr::from);
        join(&mut list.v6, after);
        Ok(list)
    }

    /// Whether it holds an address; `None` when the text is none.
    #[must_use]
    pub fn holds(&self, text: &str) -> Option<bool> {
        Some(match address(text)? {
            IpAddr::V4(ip) => within(&self.v4, ip),
            IpAddr::V6(ip) => within(&self.v6, ip),
        })
    }

    /// How many ranges it came to.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// True when no address is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// Sorts ranges and joins those that touch.
fn join<A: Ord + Copy>(ranges: &mut Vec<(A, A)>, after: impl Fn(A) -> Option<A>) {
    ranges.sort_unstable();
    let mut joined: Vec<(A, A)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges.drain(..) {
        match joined.last_mut() {
            // Behind the last address there is none.
            Some((_, end)) if after(*end).is_none_or(|next| first <= next) => {
                *end = (*end).max(last);
            }
            _ => joined.push((first, last)),
        }
    }
    joined.shrink_to_fit();
    *ranges = joined;
}

fn within<A: Ord + Copy>(ranges: &[(A, A)], ip: A) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= ip);
    let range = behind.checked_sub(1).and_then(|at| ranges.get(at));
    range.is_some_and(|(_, last)| ip <= *last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_found_in_what_is_listed() {
        let list = AddressList::parse(
            "\u{feff}# ours\n198.51.100.0/25\r\n198.51.100.128/25 ; the rest\n\n203.0.113.9\n\
             ::ffff:192.0.2.0/120\n2001:db8::/32 # all\n",
        );
        let list = list.unwrap();
        assert_eq!(list.len(), 4, "two halves are one: {list:?}");
        let cases = [
            ("198.51.100.0", Some(true)),
            ("198.51.100.127", Some(true)),
            ("198.51.100.255", Some(true)),
            ("198.51.101.0", Some(false)),
            ("198.51.99.255", Some(false)),
            ("203.0.113.9", Some(true)),
            ("203.0.113.8", Some(false)),
            ("::ffff:203.0.113.9", Some(true)),
            ("192.0.2.77", Some(true)),
            ("2001:db8:ffff::1%eth0", Some(true)),
            ("2001:db9::", Some(false)),
            ("::1", Some(false)),
            ("nowhere", None),
            ("", None),
        ];
        for (ip, expected) in cases {
            assert_eq!(list.holds(ip), expected, "{ip}");
        }
    }

    #[test]
    fn all_addresses_and_none() {
        let all = AddressList::parse("0.0.0.0/0\n::/0\n255.255.255.255\n10.0.0.0/8").unwrap();
        assert_eq!((all.len(), all.holds("255.255.255.255")), (2, Some(true)));
        assert_eq!(all.holds("ffff::"), Some(true));
        let none = AddressList::parse("# nothing\n").unwrap();
        assert!(none.is_empty());
        assert_eq!(none.holds("10.0.0.1"), Some(false));
    }

    #[test]
    fn a_line_that_is_no_address_is_told() {
        let check = |text: &str, line: u64, expected: &str| {
            let wrong = AddressList::parse(text).unwrap_err();
            assert_eq!(wrong.line, line, "{wrong:?}");
            assert!(wrong.message.contains(expected), "{wrong:?}");
        };
        check("10.0.0.1\n10.0.0.0/33\n", 2, "`10.0.0.0/33` is neither");
        check("<html>\n", 1, "`<html>`");
        check("10.0.0.1 10.0.0.2", 1, "`10.0.0.1 10.0.0.2`");
        check(&"x\u{1b}[31m".repeat(100), 1, "`x\\u{1b}[31m");
        assert!(AddressList::parse(&"y".repeat(10_000)).unwrap_err().message.len() < 120);
    }

    proptest! {
        #[test]
        fn ranges_say_what_networks_say(
            networks in prop::collection::vec((any::<u32>(), 0_u32..=32), 0..20),
            ips in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            let written: Vec<String> = networks
                .iter()
                .map(|(ip, bits)| format!("{}/{bits}", Ipv4Addr::from(*ip)))
                .collect();
            let list = AddressList::parse(&written.join("\n")).unwrap();
            let edges = networks.iter().flat_map(|(ip, _)| [*ip, ip.wrapping_sub(1)]);
            for ip in ips.into_iter().chain(edges).map(|ip| IpAddr::V4(ip.into())) {
                let expected =
                    written.iter().any(|text| Network::parse(text).unwrap().contains(ip));
                prop_assert_eq!(list.holds(&ip.to_string()), Some(expected), "{}", ip);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,300}") {
            let _ = AddressList::parse(&text);
        }
    }
}
