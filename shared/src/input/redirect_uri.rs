//! Redirection endpoints (RFC 6749, 3.1.2), and which requested ones a registered one permits.

use std::{net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::fields::checked_text;
use crate::error::Constraint;

/// The hosts at which native apps receive codes (RFC 8252, 7.3 and 8.3). What is sent there does not leave the machine,
/// so it needs no TLS.
const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

checked_text!(
    /// A URI that codes may be sent to: `https`, `http` at a loopback host, or a scheme of an app's own (RFC 8252,
    /// 7.1). An app's scheme has a dot, because it is a domain name in reverse; so no `javascript:` or `data:` is one.
    /// User information makes one host look like another, and a `*` looks like a pattern, which nothing here is.
    #[derive(Debug)]
    RedirectUri,
    |text| Constraint::require(
        is_redirect_uri(text),
        "must be an https URL, an http URL of 127.0.0.1, [::1] or localhost, or a URI of a scheme with a dot, of at \
         most 2048 characters and without user information, fragment and *",
    )
);

const MAX_LENGTH: usize = 2048;

impl RedirectUri {
    /// Whether it is at a loopback host, and so permits any port.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        Loopback::parse(&self.0).is_some()
    }

    /// The URI that is requested, if this registered one permits it: the same to the letter, or at a loopback host the
    /// same with another port, because the operating system chooses the port of a native app (RFC 8252, 7.3).
    #[must_use]
    pub fn permitted(&self, requested: &str) -> Option<Self> {
        let same = self.0 == requested;
        let is_own_loopback = || Loopback::parse(&self.0).is_some_and(|own| Loopback::parse(requested) == Some(own));
        let permits = same || requested.len() <= MAX_LENGTH && is_own_loopback();
        permits.then(|| Self(requested.to_owned()))
    }
}

/// A URI at a loopback host, without its port.
#[derive(Eq, PartialEq)]
struct Loopback<'a> {
    host: &'a str,
    /// Path and query.
    rest: &'a str,
}

impl<'a> Loopback<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (authority, rest) = split_authority(text.strip_prefix("http://")?);
        let host = host(authority).filter(|host| LOOPBACK_HOSTS.contains(host))?;
        Some(Self { host, rest })
    }
}

fn is_redirect_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let authority = rest.strip_prefix("//").map(|rest| split_authority(rest).0);
    let form = match scheme {
        "https" => authority.and_then(host).is_some_and(is_host),
        "http" => Loopback::parse(text).is_some(),
        own => is_own_scheme(own) && !rest.is_empty() && authority.is_none_or(|authority| !authority.contains('@')),
    };
    form && text.len() <= MAX_LENGTH && text.bytes().all(is_uri_character)
}

/// The characters of RFC 3986, 2, without `#` and `*`. It has no backslash, which browsers read as a slash.
fn is_uri_character(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()+,;=%".contains(&c)
}

fn is_own_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.contains('.')
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
}

/// The authority, and what follows it.
fn split_authority(text: &str) -> (&str, &str) {
    text.split_at(text.find(['/', '?']).unwrap_or(text.len()))
}

/// The host of an authority; `None` if what follows it is not a port.
fn host(authority: &str) -> Option<&str> {
    let end = if authority.starts_with('[') {
        authority.find(']')?.saturating_add(1)
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at_checked(end)?;
    let is_port =
        |digits: &str| digits.bytes().all(|c| c.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|n| n > 0);
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(host)
}

/// A domain name or an IP address.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn is_accepted(text: &str) -> bool {
        text.parse::<RedirectUri>().is_ok()
    }

    #[test]
    fn only_these_forms_are_redirect_uris() {
        for right in [
            "https://app.example.com/callback",
            "https://app.example.com",
            "https://app.example.com:8443/a/b?x=1&y=%20@",
            "https://[2001:db8::1]:8443/",
            "http://127.0.0.1:8080/",
            "http://127.0.0.1",
            "http://[::1]/callback?x=1",
            "http://localhost:65535/callback",
            "com.example.app:/callback",
            "com.example.app://callback?x=1",
            "com.example.app:callback",
        ] {
            assert!(is_accepted(right), "{right}");
        }
        for wrong in [
            "",
            "/callback",
            "https:",
            "https://",
            "https:///callback",
            "https:app.example.com",
            "HTTPS://app.example.com/",
            "https://a/#x",
            "https://a/ b",
            "https://a/*",
            "https://*.example.com/",
            "https://user@app.example.com/",
            "https://user:1@app.example.com/",
            "https://app.example.com\\@evil.example/",
            "https://app.example.com:/",
            "https://app.example.com:0/",
            "https://app.example.com:65536/",
            "https://app.example.com:+1/",
            "https://[::1/",
            "https://[x]/",
            "https://ä/",
            "http://app.example.com/callback",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.2/",
            "http://LOCALHOST/",
            "http://user@localhost/",
            "http://localhost:1@evil.example/",
            "http://localhost:/",
            "http://::1/",
            "myapp:/callback",
            "1.a:b",
            "a.b:",
            "a_.b:c",
            "com.example.app://user@host/",
            "JavaScript:alert(1)",
            "javascript://app.example.com/%0aalert(1)",
            "data:text/html,x",
            &format!("a.b:{}", "x".repeat(2045)),
        ] {
            assert!(!is_accepted(wrong), "{wrong}");
        }
        assert!(is_accepted(&format!("a.b:{}", "x".repeat(2044))));
    }

    #[test]
    fn what_is_no_loopback_uri_permits_itself_only() {
        for registered in ["https://localhost:1/a", "https://app.example.com/a", "com.example.app://localhost/a"] {
            let uri: RedirectUri = registered.parse().unwrap();
            assert!(uri.permitted(registered).is_some());
            for other in [format!("{registered}/"), registered.replace("/a", ":2/a"), registered.replace(":1", "")] {
                assert!(other == registered || uri.permitted(&other).is_none(), "{registered} {other}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}", other in "(http://)?[:\\[\\]a-z0-9.@/?]{0,20}") {
            if let Ok(uri) = text.parse::<RedirectUri>() {
                let _ = uri.permitted(&other);
            }
            let _ = (is_accepted(&other), Loopback::parse(&other).is_some());
        }

        /// Another parser finds the same host.
        #[test]
        fn an_accepted_uri_has_a_host_that_may_receive_codes(
            text in "(https?|com\\.example|[dD]ata|javascript)(:|://)((user|127\\.0\\.0\\.1|localhost|\\[::1\\]|a\\.b)[@:]?){0,2}(:?[0-9]{0,3})[/?\\\\]?[!-~ é]{0,12}",
        ) {
            if is_accepted(&text) {
                let uri = lambda_http::http::Uri::try_from(text.as_str());
                if text.starts_with("http") {
                    let uri = uri.unwrap();
                    let host = uri.host().unwrap();
                    prop_assert!(!uri.authority().unwrap().as_str().contains('@'));
                    prop_assert!(text.starts_with("https://") || LOOPBACK_HOSTS.contains(&host), "{}", text);
                } else {
                    prop_assert!(text.starts_with("com.example:"), "{}", text);
                }
                prop_assert!(!text.contains(['#', '*', '\\', ' ']));
            }
        }

        /// Any port, and nothing else.
        #[test]
        fn a_loopback_uri_permits_itself_with_any_port(
            (one, other) in (select(&LOOPBACK_HOSTS), select(&LOOPBACK_HOSTS)),
            (registered, requested) in (prop::option::of(1..=u16::MAX), prop::option::of(1..=u16::MAX)),
            (path, other_path) in ("(/[a-z]{0,3})?", "(/[a-z]{0,3}|\\?[a-z]|@[a-z]|\\.[a-z]|:[0-9])?"),
        ) {
            let uri = |host: &str, port: Option<u16>, path: &str| {
                format!("http://{host}{}{path}", port.map(|port| format!(":{port}")).unwrap_or_default())
            };
            let registered: RedirectUri = uri(one, registered, &path).parse().unwrap();
            let text = uri(other, requested, &other_path);
            let same = one == other && path == other_path;
            // After a host without a port these digits are its port.
            let is_port = requested.is_none() && one == other && path.is_empty() && other_path.starts_with(':');
            let permits = same || is_port && !other_path.ends_with('0');
            prop_assert_eq!(registered.permitted(&text).is_some(), permits, "{:?} {}", registered, text);
            prop_assert!(registered.permitted(&text.replace("http:", "https:")).is_none());
        }
    }
}
