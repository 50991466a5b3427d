//! Addresses: `cidr_match`, `private_ip`.
//!
//! An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is the IPv4 address; a zone (`%eth0`) says
//! nothing about the address and is left out.

use std::net::IpAddr;

use datafusion::common::plan_err;
use datafusion::error::Result;

use super::text::{Argument, Gives, TextFunction, Value};

/// `cidr_match(ip, cidr)`
pub(super) struct CidrMatch;

impl TextFunction for CidrMatch {
    const NAME: &'static str = "cidr_match";
    const ARGUMENTS: &'static [Argument] = &[
        Argument { name: "ip", meaning: "An IPv4 or IPv6 address." },
        Argument { name: "cidr", meaning: "A network such as `10.0.0.0/8`, or one address." },
    ];
    const DESCRIPTION: &'static str =
        "Whether the address lies in the network. NULL if the text is not an address.";
    const EXAMPLE: &'static str = "cidr_match(source_ip, '10.0.0.0/8')";
    const GIVES: Gives = Gives::Boolean;
    type Prepared = Network;

    fn prepare(argument: &str) -> Result<Network> {
        let network = Network::parse(argument).map(Ok);
        network.unwrap_or_else(|| {
            plan_err!("cidr_match: `{argument}` is neither a network nor an address")
        })
    }

    fn evaluate<'a>(network: &Network, text: &'a str) -> Value<'a> {
        address(text).map(|ip| network.contains(ip)).into()
    }
}

/// `private_ip(ip)`
pub(super) struct PrivateIp;

impl TextFunction for PrivateIp {
    const NAME: &'static str = "private_ip";
    const ARGUMENTS: &'static [Argument] =
        &[Argument { name: "ip", meaning: "An IPv4 or IPv6 address." }];
    const DESCRIPTION: &'static str = "Whether the address cannot come from the public Internet: \
         private (RFC 1918), loopback, link-local, carrier-grade NAT (100.64.0.0/10), unique local \
         (fc00::/7). NULL if the text is not an address.";
    const EXAMPLE: &'static str = "NOT private_ip(source_ip)";
    const GIVES: Gives = Gives::Boolean;
    type Prepared = ();

    fn prepare(_argument: &str) -> Result<()> {
        Ok(())
    }

    fn evaluate<'a>((): &(), text: &'a str) -> Value<'a> {
        address(text).map(is_private).into()
    }
}

pub(in crate::sql) fn address(text: &str) -> Option<IpAddr> {
    let text = text.split_once('%').map_or(text, |(address, _zone)| address);
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

pub(in crate::sql) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let carrier_grade = u32::from(ip) >> 22 == 0b01_1001_0001; // 100.64.0.0/10, RFC 6598
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || carrier_grade
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

/// A network: the first `bits` bits of its addresses are those of `address`.
pub(in crate::sql) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Bits of the address beyond the network's are ignored, as routers do: `10.1.2.3/8` is
    /// `10.0.0.0/8`.
    pub(in crate::sql) fn parse(text: &str) -> Option<Self> {
        let Some((address, bits)) = text.split_once('/') else {
            let address = address(text)?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Some(Self { address, bits });
        };
        let address: IpAddr = address.parse().ok()?;
        if bits.is_empty() || !bits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let bits: u32 = bits.parse().ok()?;
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return None;
        }
        match (address, address.to_canonical()) {
            // `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
            (IpAddr::V6(_), IpAddr::V4(canonical)) if bits >= 96 => {
                Some(Self { address: canonical.into(), bits: bits - 96 })
            }
            _ => Some(Self { address, bits }),
        }
    }

    /// Its first and its last address.
    pub(in crate::sql) fn range(&self) -> (IpAddr, IpAddr) {
        match self.address {
            IpAddr::V4(ip) => {
                let rest = u32::MAX.checked_shr(self.bits).unwrap_or(0);
                let first = u32::from(ip) & !rest;
                (IpAddr::V4(first.into()), IpAddr::V4((first | rest).into()))
            }
            IpAddr::V6(ip) => {
                let rest = u128::MAX.checked_shr(self.bits).unwrap_or(0);
                let first = u128::from(ip) & !rest;
                (IpAddr::V6(first.into()), IpAddr::V6((first | rest).into()))
            }
        }
    }

    pub(in crate::sql) fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let differing = u32::from(network) ^ u32::from(ip);
                differing.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let differing = u128::from(network) ^ u128::from(ip);
                differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::functions::tests::{check, check_error, check_one};

    #[test]
    fn addresses_in_networks() {
        let cases = [
            ("10.1.2.3", "10.0.0.0/8", "true"),
            ("11.1.2.3", "10.0.0.0/8", "false"),
            ("10.255.0.1", "10.1.2.3/8", "true"),
            ("192.0.2.1", "0.0.0.0/0", "true"),
            ("192.0.2.1", "192.0.2.1/32", "true"),
            ("192.0.2.2", "192.0.2.1/32", "false"),
            ("192.0.2.1", "192.0.2.1", "true"),
            ("::ffff:10.0.0.1", "10.0.0.0/8", "true"),
            ("10.0.0.1", "::ffff:10.0.0.0/104", "true"),
            ("11.0.0.1", "::ffff:10.0.0.0/104", "false"),
            ("10.0.0.1", "::/0", "false"),
            ("2001:db8::1", "2001:db8::/32", "true"),
            ("2001:db9::1", "2001:db8::/32", "false"),
            ("2001:db9::1", "::/0", "true"),
            ("fe80::1%eth0", "fe80::/10", "true"),
            ("not an address", "10.0.0.0/8", "NULL"),
            ("10.0.0.1:443", "10.0.0.0/8", "NULL"),
            ("", "10.0.0.0/8", "NULL"),
        ];
        for (ip, cidr, expected) in cases {
            check_one(ip, &format!("cidr_match({{}}, '{cidr}')"), expected);
        }
    }

    #[test]
    fn bad_networks_are_errors_as_constants_and_null_as_rows() {
        for cidr in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0/8", "lan", ""] {
            let expected = format!("`{cidr}` is neither a network nor an address");
            check_error(&format!("cidr_match(column1, '{cidr}')"), &expected);
        }
        check(&[Some("10.0.0.0/8"), Some("x")], "cidr_match('10.0.0.1', {})", &["true", "NULL"]);
    }

    #[test]
    fn private_addresses() {
        let cases = [
            ("10.0.0.1", "true"),
            ("172.16.0.1", "true"),
            ("172.32.0.1", "false"),
            ("192.168.1.1", "true"),
            ("127.0.0.9", "true"),
            ("169.254.169.254", "true"),
            ("100.64.0.1", "true"),
            ("100.127.255.255", "true"),
            ("100.63.255.255", "false"),
            ("100.128.0.0", "false"),
            ("203.0.113.9", "false"),
            ("::1", "true"),
            ("fe80::1", "true"),
            ("fd00::1", "true"),
            ("2001:db8::1", "false"),
            ("::ffff:192.168.0.1", "true"),
            ("::ffff:203.0.113.9", "false"),
            ("localhost", "NULL"),
        ];
        for (ip, expected) in cases {
            check_one(ip, "private_ip({})", expected);
        }
    }
}
