//! ClientAddressRule: from which address a request came, behind proxies or not.
//!
//! A client can send any `X-Forwarded-For`. A proxy appends the address of its own client, so the header is read from the
//! right, and an element counts only if everything to its right was written by a trusted proxy. The first element that is
//! not an address ends the walk: what is to its left may be the client's.

use std::net::{IpAddr, SocketAddr};

use poem::http::{HeaderMap, HeaderValue};
use poem::{Addr, Request};

use crate::domain::trusted_proxy::{ForwardedHeader, TrustedProxy};

/// How many proxies can stand behind each other. What is further to the left is not read, because a client can write a list
/// of any length.
const MAX_ELEMENTS: usize = 32;

/// Which proxies are trusted, and the header that they set.
pub struct ClientAddressRule {
    pub proxies: Vec<TrustedProxy>,
    pub header: ForwardedHeader,
}

impl ClientAddressRule {
    /// For a server whose clients connect to it themselves.
    pub const NO_PROXIES: Self = Self { proxies: Vec::new(), header: ForwardedHeader::XForwardedFor };

    /// Returns the address of the client; `None` if it did not connect over TCP.
    pub fn client_address(&self, request: &Request) -> Option<IpAddr> {
        match &**request.remote_addr() {
            Addr::SocketAddr(peer) => Some(self.client_behind(peer.ip().to_canonical(), request.headers())),
            _ => None,
        }
    }

    /// Returns the right-most address that is not of a trusted proxy, beginning with the peer; the left-most one if all are.
    fn client_behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut address = peer;
        if !self.is_trusted(peer) {
            return peer;
        }
        let lines = headers.get_all(self.header.name()).iter().rev();
        for element in lines.flat_map(|line| self.elements_from_the_right(line)).take(MAX_ELEMENTS) {
            match element {
                Some(next) => address = next,
                None => break,
            }
            if !self.is_trusted(address) {
                break;
            }
        }
        address
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.contains(address))
    }

    /// Returns the elements of a header line, `None` for those that are no address.
    fn elements_from_the_right<'l>(&self, line: &'l HeaderValue) -> impl Iterator<Item = Option<IpAddr>> + use<'l> {
        let has_quotes = self.header == ForwardedHeader::Forwarded;
        let mut quoted = false;
        let is_separator = move |byte: &u8| {
            quoted ^= has_quotes && *byte == b'"';
            *byte == b',' && !quoted
        };
        line.as_bytes().rsplit(is_separator).map(move |element| {
            let element = std::str::from_utf8(element).ok()?;
            if has_quotes { parse_forwarded_element(element) } else { parse_address(trim(element)) }
        })
    }
}

/// Parses an element of `Forwarded`: parameters such as `for="[2001:db8::1]:4711";proto=https`, of which one is `for`. Without an
/// escape.
fn parse_forwarded_element(element: &str) -> Option<IpAddr> {
    // Read from the right, an escaped quotation mark looks like the end of a string.
    if element.contains('\\') {
        return None;
    }
    let mut quoted = false;
    let parameters = element.split(move |c: char| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    let pairs = parameters.filter_map(|parameter| trim(parameter).split_once('='));
    let mut clients = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, value)| value);
    let (client, None) = (clients.next()?, clients.next()) else { return None };
    parse_address(client.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(client))
}

/// Parses an address, with or without a port; IPv6 with a port, and optionally without one, is in brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    Some(text.parse().ok().or_else(in_brackets).or_else(with_port)?.to_canonical())
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn client(header: ForwardedHeader, lines: &[&str], peer: &str) -> String {
        let proxies = ["10.0.0.0/8", "2001:db8:1::/48"].map(|proxy| proxy.parse().unwrap()).into();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.name(), HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        ClientAddressRule { proxies, header }
            .client_behind(peer.parse::<IpAddr>().unwrap().to_canonical(), &headers)
            .to_string()
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_up_to_the_first_untrusted_address() {
        for (lines, peer, expected) in [
            (&[][..], PEER, PEER),
            (&["192.0.2.1"], PEER, "192.0.2.1"),
            (&["192.0.2.1"], "::ffff:10.0.0.1", "192.0.2.1"),
            (&["192.0.2.1"], "2001:db8:1::7", "192.0.2.1"),
            (&["192.0.2.1"], "203.0.113.5", "203.0.113.5"),
            (&["6.6.6.6, 192.0.2.1"], PEER, "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1, 10.9.9.9"], PEER, "192.0.2.1"),
            (&["6.6.6.6", "192.0.2.1"], PEER, "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1", "10.9.9.9,10.8.8.8"], PEER, "192.0.2.1"),
            (&["10.7.7.7, 10.9.9.9"], PEER, "10.7.7.7"),
            (&["192.0.2.1:5678"], PEER, "192.0.2.1"),
            (&["\t2001:db8::1 "], PEER, "2001:db8::1"),
            (&["[2001:db8::1]"], PEER, "2001:db8::1"),
            (&["[2001:db8::1]:4711"], PEER, "2001:db8::1"),
            (&["::ffff:192.0.2.1"], PEER, "192.0.2.1"),
            (&["6.6.6.6, ::ffff:10.9.9.9"], PEER, "6.6.6.6"),
        ] {
            assert_eq!(client(ForwardedHeader::XForwardedFor, lines, peer), expected, "{lines:?} from {peer}");
        }
    }

    #[test]
    fn at_most_32_proxies_are_read() {
        for (proxies, expected) in [(31, "192.0.2.1"), (32, "10.9.9.9"), (5_000, "10.9.9.9")] {
            let line = format!("192.0.2.1{}", ",10.9.9.9".repeat(proxies));
            assert_eq!(client(ForwardedHeader::XForwardedFor, &[&line], PEER), expected, "{proxies}");
        }
    }

    #[test]
    fn x_forwarded_for_is_not_read_beyond_what_is_no_address() {
        for garbage in [
            "",
            " ",
            "unknown",
            "_hidden",
            "x",
            "192.0.2.1 192.0.2.2",
            "192.0.2.256",
            "010.0.0.9",
            "fe80::1%eth0",
            "\"192.0.2.1\"",
            "é",
            "192.0.2.1:x",
            "10.0.0.0/8",
            "[10.9.9.9]",
        ] {
            assert_eq!(client(ForwardedHeader::XForwardedFor, &[garbage], PEER), PEER, "{garbage}");
            let before_a_proxy = format!("6.6.6.6, {garbage}, 10.9.9.9");
            assert_eq!(client(ForwardedHeader::XForwardedFor, &[&before_a_proxy], PEER), "10.9.9.9", "{garbage}");
            assert_eq!(
                client(ForwardedHeader::XForwardedFor, &["6.6.6.6", garbage, "10.9.9.9"], PEER),
                "10.9.9.9",
                "{garbage}"
            );
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (lines, expected) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["by=203.0.113.43 ; FOR=192.0.2.60"], "192.0.2.60"),
            (&["for=6.6.6.6, for=192.0.2.1;host=\"a,b;for=6.6.6.6\", for=10.9.9.9"], "192.0.2.1"),
            (&["for=6.6.6.6", "for=\"192.0.2.1:4711\"", "for=10.9.9.9"], "192.0.2.1"),
            (&["for=\"[2001:db8:1::2]\", for=10.9.9.9"], "2001:db8:1::2"),
            // Not an address: the last good one.
            (&["for=6.6.6.6, for=unknown"], PEER),
            (&["for=6.6.6.6, for=_SEVKISEK, for=10.9.9.9"], "10.9.9.9"),
            (&["for=6.6.6.6, for=\"_gazonk\""], PEER),
            (&["for=6.6.6.6, proto=https"], PEER),
            (&["for=6.6.6.6;for=192.0.2.1"], PEER),
            (&["for=6.6.6.6,, for=10.9.9.9"], "10.9.9.9"),
            (&["for=\"192.0.2.\\1\""], PEER),
            (&["192.0.2.1"], PEER),
            // A quote that the client left open does not swallow what the proxy appended.
            (&["for=\"6.6.6.6, for=192.0.2.1"], "192.0.2.1"),
            (&["for=\"6.6.6.6, for=192.0.2.1, for=\"[2001:db8:1::2]\""], "192.0.2.1"),
        ] {
            assert_eq!(client(ForwardedHeader::Forwarded, lines, PEER), expected, "{lines:?}");
        }
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", HeaderValue::from_static("for=6.6.6.6"));
        headers.insert("x-real-ip", HeaderValue::from_static("6.6.6.6"));
        let proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let rule = ClientAddressRule { proxies, header: ForwardedHeader::XForwardedFor };
        assert_eq!(rule.client_behind(PEER.parse().unwrap(), &headers).to_string(), PEER);
    }

    proptest! {
        #[test]
        fn client_cannot_change_what_its_proxy_appends(
            sent in prop::collection::vec("[ -~é]{0,60}|(for=|\"|,|10\\.0\\.0\\.2|6\\.6\\.6\\.6|;| |é){0,9}", 0..4),
            same_line in any::<bool>(),
            hops in 0..3,
        ) {
            for (header, appended) in
                [(ForwardedHeader::XForwardedFor, "192.0.2.1"), (ForwardedHeader::Forwarded, "for=\"192.0.2.1:80\"")]
            {
                let proxy = if header == ForwardedHeader::Forwarded { ", for=10.3.3.3" } else { ", 10.3.3.3" };
                let appended = format!("{appended}{}", proxy.repeat(hops as usize));
                let mut lines = sent.clone();
                match lines.last_mut() {
                    Some(last) if same_line => *last = format!("{last}, {appended}"),
                    _ => lines.push(appended),
                }
                let lines: Vec<_> = lines.iter().map(String::as_str).collect();
                prop_assert_eq!(client(header, &lines, PEER), "192.0.2.1");
                prop_assert_eq!(client(header, &lines, "203.0.113.5"), "203.0.113.5");
            }
        }
    }
}
