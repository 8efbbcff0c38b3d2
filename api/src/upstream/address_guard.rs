//! Which addresses a server's url may lead to: names are resolved once, judged by class, and pinned for the conversation.
//!
//! Without this a url would be a way to make the control plane knock on doors of its own network (server-side request
//! forgery). Judged are the addresses, never the name, and the connection goes to the judged address: a name that resolves
//! differently a moment later (rebinding) changes nothing.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use url::{Host, Url};

/// Limit on resolving a name.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
/// Addresses of a name that are kept.
const ADDRESSES_MAX: usize = 16;

/// How far an address is from the public internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Anybody's.
    Public,
    /// This machine or a network of its owner: open to servers that say `allowPrivateAddress`.
    Private,
    /// Never a server's: link-local (where clouds keep their metadata), multicast, unspecified, reserved.
    Forbidden,
}

/// Judges one address. Forms that carry an IPv4 address inside an IPv6 one are judged by what they carry.
pub(crate) fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [169, 254, ..] | [0, ..] | [224..=255, ..] => Class::Forbidden,
        // Alibaba Cloud's and Oracle's metadata services live inside of ranges that are otherwise private.
        [100, 100, 100, 200] | [192, 0, 0, 192] => Class::Forbidden,
        [127 | 10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Class::Private,
        // IETF protocol assignments, documentation, benchmarking, the dead 6to4 relay.
        [192, 0, 0 | 2, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
            Class::Forbidden
        }
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    let s = address.segments();
    let low = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Forbidden,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Private,
        // IPv4-mapped, IPv4-compatible, IPv4-translated, NAT64 (well-known prefix).
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] | [0, 0, 0, 0, 0xffff, 0, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => {
            class_v4(low(a, b))
        }
        // NAT64 with a prefix of the network's own, Teredo: where they lead can't be told.
        [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Class::Forbidden,
        // 6to4.
        [0x2002, a, b, ..] => class_v4(low(a, b)),
        // AWS's metadata service, inside of the unique local range.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Class::Forbidden,
        [0xfc00..=0xfdff, ..] => Class::Private,
        // Documentation.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Forbidden,
        // Global unicast; all else is link-local, site-local, multicast or reserved.
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Forbidden,
    }
}

/// Why a url is not followed. The text holds neither the url nor an address: it is read by agents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Neither http nor https.
    #[error("its url must begin with http:// or https://")]
    Scheme,
    /// `user:password@`.
    #[error("its url must not hold a user name or password: use `headers` with a secret")]
    Userinfo,
    /// No host, or no port.
    #[error("its url names no host")]
    Host,
    /// No such name.
    #[error("the host of its url could not be resolved: check the name and the network")]
    Unresolved,
    /// Loopback or private.
    #[error("its url leads to a private address: set `allowPrivateAddress: true` if that is meant")]
    Private,
    /// Link-local and the like.
    #[error("its url leads to an address that no server may have (link-local, multicast, metadata or reserved)")]
    Forbidden,
}

/// The addresses that a url may be reached at, to be used for as long as the conversation lasts.
pub(crate) async fn pin(url: &Url, allow_private: bool) -> Result<Vec<SocketAddr>, Refused> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refused::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Userinfo);
    }
    let port = url.port_or_known_default().ok_or(Refused::Host)?;
    let addresses = match url.host().ok_or(Refused::Host)? {
        Host::Ipv4(address) => vec![SocketAddr::from((address, port))],
        Host::Ipv6(address) => vec![SocketAddr::from((address, port))],
        Host::Domain(name) => resolve(name, port).await?,
    };
    addresses.iter().try_for_each(|address| judge(address.ip(), allow_private))?;
    Ok(addresses)
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, Refused> {
    let found = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name, port))).await;
    let found: Vec<_> = found.ok().and_then(Result::ok).ok_or(Refused::Unresolved)?.take(ADDRESSES_MAX).collect();
    if found.is_empty() { Err(Refused::Unresolved) } else { Ok(found) }
}

/// One bad address among good ones is refused too: it is how rebinding begins.
fn judge(address: IpAddr, allow_private: bool) -> Result<(), Refused> {
    match class(address) {
        Class::Public => Ok(()),
        Class::Private if allow_private => Ok(()),
        Class::Private => Err(Refused::Private),
        Class::Forbidden => Err(Refused::Forbidden),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Class {
        class(text.parse().unwrap())
    }

    #[test]
    fn each_class_of_address_is_known() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(of(public), Class::Public, "{public}");
        }
        for private in [
            "127.0.0.1",
            "127.255.0.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2002:c0a8:101::5",
            "::ffff:0:192.168.0.1",
        ] {
            assert_eq!(of(private), Class::Private, "{private}");
        }
        for forbidden in [
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "::",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "::ffff:0.0.0.0",
            "4000::1",
        ] {
            assert_eq!(of(forbidden), Class::Forbidden, "{forbidden}");
        }
    }

    proptest! {
        #[test]
        fn an_address_inside_another_is_judged_the_same(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b] = [(bits >> 16) as u16, bits as u16];
            let wanted = class(IpAddr::V4(v4));
            for carrier in [v4.to_ipv6_mapped(), Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b), Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1)] {
                prop_assert_eq!(class(IpAddr::V6(carrier)), wanted);
            }
        }

        #[test]
        fn what_the_standard_library_calls_special_is_never_public(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_unspecified()
                || v4.is_broadcast() || v4.is_documentation();
            prop_assert!(!special || class(IpAddr::V4(v4)) != Class::Public);
        }
    }

    async fn pinned(url: &str, allow_private: bool) -> Result<Vec<SocketAddr>, Refused> {
        pin(&url.parse().unwrap(), allow_private).await
    }

    #[tokio::test]
    async fn every_way_to_write_loopback_is_private() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://localhost/",
        ] {
            assert_eq!(pinned(url, false).await, Err(Refused::Private), "{url}");
            assert!(pinned(url, true).await.is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn metadata_stays_out_of_reach_even_where_private_addresses_are_allowed() {
        for url in [
            "http://169.254.169.254/latest",
            "http://[::ffff:169.254.169.254]/",
            "http://2852039166/",
            "http://0.0.0.0/",
        ] {
            assert_eq!(pinned(url, true).await, Err(Refused::Forbidden), "{url}");
        }
    }

    #[tokio::test]
    async fn other_schemes_and_passwords_are_refused() {
        assert_eq!(pinned("ftp://1.1.1.1/", true).await, Err(Refused::Scheme));
        assert_eq!(pinned("file:///etc/passwd", true).await, Err(Refused::Scheme));
        assert_eq!(pinned("http://u:p@1.1.1.1/", true).await, Err(Refused::Userinfo));
        assert_eq!(pinned("https://u@1.1.1.1/", true).await, Err(Refused::Userinfo));
        assert_eq!(pinned("https://1.1.1.1/mcp", false).await, Ok(vec!["1.1.1.1:443".parse().unwrap()]));
    }
}
