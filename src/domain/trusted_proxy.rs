//! TrustedProxy: a network whose proxies say truly for whom they forward a request.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use crate::domain::validation::ValidationError;

/// An address or a network, written as it is stored: without host bits, IPv4 as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// True if the address is in the network. An IPv4 address that is mapped to IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for TrustedProxy {
    type Err = ValidationError;

    fn from_str(text: &str) -> Result<Self, ValidationError> {
        let text = text.trim();
        let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(network), _) => network,
            (_, Ok(address)) => address.into(),
            _ => {
                return Err(ValidationError::new(
                    "give an address or a network, such as 10.0.0.7, 10.0.0.0/8 or 2001:db8::/32, without port, brackets or \
                     name; in the variable, separate several with `;`",
                ));
            }
        };
        let written = Self(unmapped(network).unwrap_or(network.trunc()));
        if written.0.prefix_len() == 0 {
            return Err(ValidationError::new(
                "would let every client choose its address; give the network of your proxies",
            ));
        }
        if written.to_string() != text {
            return Err(ValidationError(format!("write it as {written}").into()));
        }
        Ok(Self(network))
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

/// The IPv4 network of a network of mapped addresses (`::ffff:0:0/96`).
fn unmapped(network: IpNet) -> Option<IpNet> {
    const MAPPED: u8 = 96;
    let IpNet::V6(mapped) = network else { return None };
    let address: Ipv6Addr = mapped.network();
    let length = mapped.prefix_len().checked_sub(MAPPED)?;
    Some(Ipv4Net::new(address.to_ipv4_mapped()?, length).ok()?.trunc().into())
}

/// The header in which proxies name the address of their client. Only one is read: a proxy that sets one of them may pass on
/// the other as its client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl ForwardedHeader {
    /// The name of the header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl FromStr for ForwardedHeader {
    type Err = ValidationError;

    fn from_str(text: &str) -> Result<Self, ValidationError> {
        let named = [Self::XForwardedFor, Self::Forwarded].into_iter().find(|header| header.name() == text);
        named.ok_or(ValidationError::new("give x-forwarded-for or forwarded"))
    }
}

impl fmt::Display for ForwardedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_proxy_is_an_address_or_a_network() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "127.0.0.1"),
            (" fd00::/8 ", "fd12::1", "fe80::1"),
        ] {
            let proxy: TrustedProxy = text.parse().unwrap();
            assert!(proxy.contains(inside.parse().unwrap()), "{text}");
            assert!(!proxy.contains(outside.parse().unwrap()), "{text}");
            assert_eq!(proxy.to_string(), text.trim());
        }
    }

    #[test]
    fn trusted_proxy_rejects_other_spellings_and_names_the_right_one() {
        for (text, word) in [
            ("10.1.2.3/8", "write it as 10.0.0.0/8"),
            ("192.0.2.7/32", "write it as 192.0.2.7"),
            ("::1/128", "write it as ::1"),
            ("2001:db8::1/32", "write it as 2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "write it as 10.0.0.0/8"),
            ("::ffff:192.0.2.7", "write it as 192.0.2.7"),
            ("0.0.0.0/0", "every client"),
            ("::/0", "every client"),
            ("::ffff:0:0/96", "every client"),
            ("", "such as"),
            ("localhost", "such as"),
            ("10.0.0.1:80", "such as"),
            ("[::1]", "such as"),
            ("10.0.0.0/33", "such as"),
            ("10.0.0.0/255.0.0.0", "such as"),
            ("010.0.0.1", "such as"),
            ("10.0.0.0/8,::1", "separate several with `;`"),
        ] {
            let error = text.parse::<TrustedProxy>().map(|proxy| proxy.to_string()).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn forwarded_header_comes_back_from_its_name() {
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            assert_eq!(header.to_string().parse(), Ok(header));
        }
        assert!("x-real-ip".parse::<ForwardedHeader>().is_err());
    }
}
