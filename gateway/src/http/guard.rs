//! Who may speak to the listener at all: names under which it is reached, pages that may use it, what a request must look like.
use std::net::IpAddr;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::uri::{Authority, Uri};
use mcpctl_api::plane::CallerBearer;
use mcpctl_core::token::{PAT_PREFIX, is_well_formed};

use crate::options::Options;

/// Longest name that is remembered for the next request.
const HOST_BYTES_MAX: usize = 256;

/// Names and origins that a listener takes.
pub(super) struct Guard {
    loopback: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    pub(super) fn new(address: IpAddr, options: &Options) -> Self {
        let lower = |all: &[String]| all.iter().map(|one| one.to_lowercase()).collect();
        Self { loopback: address.is_loopback(), hosts: lower(&options.hosts), origins: lower(&options.origins) }
    }

    /// Whether the request came under a name that the listener has. A page that made its own name point here (DNS
    /// rebinding) comes under that name. `last` is the name under which the connection's last request came: most send the
    /// same one each time.
    pub(super) fn takes_host(&self, uri: &Uri, headers: &HeaderMap, last: &mut Vec<u8>) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        if uri.authority().is_none() && !last.is_empty() && host.as_bytes() == last {
            return true;
        }
        let takes = self.takes(uri, host);
        if takes && host.len() <= HOST_BYTES_MAX {
            host.as_bytes().clone_into(last);
        }
        takes
    }

    fn takes(&self, uri: &Uri, host: &HeaderValue) -> bool {
        let header = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        let Some(header) = header else { return false };
        self.has_name(header.host()) && uri.authority().is_none_or(|authority| self.has_name(authority.host()))
    }

    fn has_name(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        if self.hosts.contains(&host) {
            return true;
        }
        if self.loopback { is_loopback(&host) } else { self.hosts.is_empty() || is_loopback(&host) }
    }

    /// Whether a page of this origin may use the gateway. Programs that are no browsers send none.
    pub(super) fn takes_origin(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return true };
        let Some(origin) = origin.to_str().ok().filter(|_| origins.next().is_none()) else { return false };
        let origin = origin.to_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let web = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let host = web.and_then(|authority| authority.parse::<Authority>().ok());
        host.is_some_and(|host| {
            (self.loopback && is_loopback(host.host())) || self.hosts.contains(&host.host().to_owned())
        })
    }
}

impl Guard {
    /// Whether any page was named.
    pub(super) fn names_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Whether pages of this origin were named: that of a loopback address is taken and not named.
    pub(super) fn is_named(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| self.origins.contains(&origin.to_lowercase()))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Bearer of a request, as far as it has the shape of a project token.
pub(super) enum Bearer {
    /// One that the control plane may know.
    Token(CallerBearer),
    /// None at all.
    Missing,
    /// Something else; nobody needs to be asked.
    NotAToken,
}

/// Reads the bearer. What is no project token is not sent on to anybody: it may be a secret of another system. `last` is the
/// one that the connection's last request had: most have the same each time.
pub(super) fn bearer(headers: &HeaderMap, last: &mut Option<CallerBearer>) -> Bearer {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (all.next(), all.next());
    let Some(value) = first else { return Bearer::Missing };
    let text = value.to_str().ok().filter(|_| second.is_none());
    let token = text.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match token.map(|(_, token)| token.trim()) {
        Some(token) => match last {
            Some(last) if last.is(token) => Bearer::Token(last.clone()),
            _ if is_well_formed(PAT_PREFIX, token) => {
                Bearer::Token(last.insert(CallerBearer::new(token.to_owned())).clone())
            }
            _ => Bearer::NotAToken,
        },
        None => Bearer::NotAToken,
    }
}

/// Whether the body says to be JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    if value == "application/json" {
        return true;
    }
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let json = parts.next().as_deref() == Some("application/json");
    let utf8 = |part: String| {
        part.strip_prefix("charset=").is_none_or(|set| matches!(set.trim_matches('"'), "utf-8" | "utf8"))
    };
    json && parts.all(utf8)
}

/// Whether the caller takes all of these types. Who says nothing takes everything (RFC 9110, section 12.5.1).
pub(super) fn accepts(headers: &HeaderMap, wanted: &[&str]) -> bool {
    // As the specification writes it, and so nearly every client.
    if headers.get(ACCEPT).is_some_and(|value| value == "application/json, text/event-stream")
        && wanted.iter().all(|wanted| matches!(*wanted, "application/json" | "text/event-stream"))
    {
        return true;
    }
    let values: Vec<String> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).map(str::to_ascii_lowercase).collect();
    let types: Vec<&str> = values.iter().flat_map(|value| value.split(',')).map(accepted).collect();
    let takes = |wanted: &str| {
        let family = wanted.split('/').next().unwrap_or_default();
        types.iter().any(|one| *one == "*/*" || *one == wanted || one.strip_suffix("/*") == Some(family))
    };
    values.is_empty() || wanted.iter().all(|wanted| takes(wanted))
}

fn accepted(part: &str) -> &str {
    part.split(';').next().unwrap_or_default().trim()
}

/// Headers that go on to a HTTP server: tool parameters and trace context.
pub(super) fn passes(name: &HeaderName) -> bool {
    matches!(name.as_str(), "traceparent" | "tracestate" | "baggage") || is_param(name)
}

pub(super) fn is_param(name: &HeaderName) -> bool {
    name.as_str().starts_with("mcp-param-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpctl_core::token::{LOGIN_PREFIX, RANDOM_BYTES, encode};

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn guard(address: &str, hosts: &[&str]) -> Guard {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Guard::new(address.parse().unwrap(), &Options { hosts, ..Options::default() })
    }

    #[test]
    fn a_loopback_listener_takes_loopback_names_only() {
        let guard = guard("127.0.0.1", &["gate.example.com"]);
        let takes = |hosts: &[&str]| guard.takes_host(&Uri::from_static("/"), &headers(HOST, hosts), &mut Vec::new());
        for host in ["localhost", "LOCALHOST:3200", "127.0.0.1:3200", "127.8.8.8", "[::1]:80", "gate.example.com"] {
            assert!(takes(&[host]), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "10.0.0.1", "[::2]"] {
            assert!(!takes(&[host]), "{host}");
        }
        assert!(!takes(&[]) && !takes(&["localhost", "evil.example"]));
        let absolute = Uri::from_static("http://evil.example/projects/p/mcp");
        let mut last = Vec::new();
        assert!(guard.takes_host(&Uri::from_static("/"), &headers(HOST, &["localhost"]), &mut last));
        assert!(!guard.takes_host(&absolute, &headers(HOST, &["localhost"]), &mut last));
        assert!(!guard.takes_host(&Uri::from_static("/"), &headers(HOST, &["evil.example"]), &mut last));
    }

    #[test]
    fn a_public_listener_takes_the_names_it_was_given_or_any() {
        let any = guard("0.0.0.0", &[]);
        let named = guard("0.0.0.0", &["gate.example.com"]);
        let map = headers(HOST, &["other.example:3200"]);
        assert!(any.takes_host(&Uri::from_static("/"), &map, &mut Vec::new()));
        assert!(!named.takes_host(&Uri::from_static("/"), &map, &mut Vec::new()));
    }

    #[test]
    fn a_foreign_page_is_refused() {
        let guard = guard("127.0.0.1", &[]);
        let takes = |origins: &[&str]| guard.takes_origin(&headers(ORIGIN, origins));
        assert!(takes(&[]) && takes(&["http://localhost:6274"]) && takes(&["https://127.0.0.1"]));
        for origin in
            ["https://evil.example", "null", "file://", "http://localhost.evil.example", "http://a@evil.example"]
        {
            assert!(!takes(&[origin]), "{origin}");
        }
        assert!(!takes(&["http://localhost", "https://evil.example"]));
    }

    #[test]
    fn only_the_shape_of_a_project_token_is_a_token() {
        let token = encode(PAT_PREFIX, &[7; RANDOM_BYTES]);
        let login = encode(LOGIN_PREFIX, &[7; RANDOM_BYTES]);
        let mut last = None;
        let mut read = |text: &str| matches!(bearer(&headers(AUTHORIZATION, &[text]), &mut last), Bearer::Token(_));
        assert!(read(&format!("Bearer {}", token.expose())) && read(&format!("bearer {}", token.expose())));
        for text in ["Bearer", "Bearer ", "Bearer mcpctl_pat_wrong", "Basic x"] {
            assert!(!read(text), "{text}");
        }
        assert!(!read(&format!("Bearer {}", login.expose())));
        assert!(matches!(bearer(&HeaderMap::new(), &mut last), Bearer::Missing));
    }

    #[test]
    fn another_token_on_the_same_connection_is_another_caller() {
        let token = |byte: u8| encode(PAT_PREFIX, &[byte; RANDOM_BYTES]);
        let mut last = None;
        for byte in [1, 1, 2, 1, 3, 3] {
            let map = headers(AUTHORIZATION, &[&format!("Bearer {}", token(byte).expose())]);
            let Bearer::Token(read) = bearer(&map, &mut last) else { panic!("a token") };
            assert_eq!(read.digest(), CallerBearer::new(token(byte).expose().to_owned()).digest());
            assert!(read.is(token(byte).expose()) && !read.is(token(9).expose()) && !read.is(""));
        }
        let other = headers(AUTHORIZATION, &["Bearer mcpctl_pat_wrong"]);
        assert!(matches!(bearer(&other, &mut last), Bearer::NotAToken));
    }

    #[test]
    fn types_are_read_as_http_writes_them() {
        let json = |text: &str| is_json(&headers(CONTENT_TYPE, &[text]));
        assert!(json("application/json") && json("Application/JSON; charset=UTF-8"));
        assert!(!json("text/plain") && !json("application/jsonp") && !json("application/json; charset=latin1"));
        let both = ["application/json", "text/event-stream"];
        let takes = |values: &[&str]| accepts(&headers(ACCEPT, values), &both);
        assert!(takes(&["application/json, text/event-stream"]) && takes(&["text/*;q=0.5", "application/json"]));
        assert!(takes(&["*/*"]) && takes(&[]));
        assert!(!takes(&["application/json"]) && !takes(&["text/html"]));
    }
}
