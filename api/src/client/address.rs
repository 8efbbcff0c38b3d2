//! Where a control plane is: a base address, and the paths under it.
use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// The text is no address of a control plane.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text:?} is not the address of a control plane: write http://HOST:PORT or https://HOST")]
pub struct InvalidAddress {
    text: String,
}

/// Base address of a control plane, without `/api/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// A path under `/api/v1`. Segments are encoded, so that no name can leave its place.
    #[must_use]
    pub fn api(&self, segments: &[&str]) -> Url {
        self.at(&[&["api", "v1"], segments].concat())
    }

    /// A path under the base.
    #[must_use]
    pub fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Whether it is on this machine, so that no proxy must be asked for it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }

    /// Host and port, to name a context by.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // What is refused may hold a password, which must not be repeated in a message.
        let fail = || InvalidAddress { text: text.rsplit('@').next().unwrap_or_default().chars().take(80).collect() };
        let trimmed = text.trim_end_matches('/');
        let trimmed = trimmed.strip_suffix("/api/v1").unwrap_or(trimmed);
        let url: Url = trimmed.parse().map_err(|_| fail())?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        let good = matches!(url.scheme(), "http" | "https") && url.has_host() && plain;
        if good { Ok(Self(url)) } else { Err(fail()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_leave_its_place_in_the_path() {
        let address: Address = "http://127.0.0.1:3100/".parse().expect("an address");
        let url = address.api(&["servers", "../users?x=#y"]);
        assert_eq!(url.as_str(), "http://127.0.0.1:3100/api/v1/servers/..%2Fusers%3Fx=%23y");
    }

    #[test]
    fn a_base_path_stays_and_the_version_is_taken_off() {
        let address: Address = "https://example.com/mcp/api/v1/".parse().expect("an address");
        assert_eq!(address.to_string(), "https://example.com/mcp");
        assert_eq!(address.at(&["healthz"]).as_str(), "https://example.com/mcp/healthz");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_a_password() {
        for bad in ["localhost:3100", "ftp://x", "", "http://", "http://h/?q=1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        let error = "http://me:hunter2@host".parse::<Address>().expect_err("carries a password");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn loopback_is_known_by_address_and_by_name() {
        for (text, loopback) in [
            ("http://127.0.0.9:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("http://example.com", false),
        ] {
            assert_eq!(text.parse::<Address>().expect("an address").is_loopback(), loopback, "{text}");
        }
    }
}
