//! Who may call more than the API's routes: only requests that name the stack by an allowed host, and that no page of
//! another origin sent. A browser lets any page post to a loopback port, and a page whose host name is pointed at the
//! loopback (DNS rebinding) can also read the answer. But the browser always sends the page's host or origin.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{
    HeaderMap, HeaderName, Uri,
    header::{HOST, ORIGIN},
};

/// The hosts by which a request may name the stack. The loopback is always one of them.
#[derive(Debug)]
pub(crate) struct AllowedHosts {
    /// The address of `--host`.
    pub(crate) address: IpAddr,
    /// The names of `--allow-host`.
    pub(crate) names: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotAllowed {
    #[error("Host must be localhost, a loopback address, the address of --host or a name of --allow-host")]
    Host,
    #[error("Origin must be absent or the stack's own")]
    Origin,
    #[error("a page of another origin can link to this page, but not load it")]
    CrossSite,
}

/// Checks a request for a page. A browser sends no `Origin` when a page of another origin loads a script or an image
/// from here, or frames it, but it sends Fetch Metadata.
pub(crate) fn check_page(headers: &HeaderMap) -> Result<(), NotAllowed> {
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match value("sec-fetch-site") {
        // Not a browser, the stack's own page, or the user.
        None | Some("same-origin" | "none") => Ok(()),
        // A link, or a client that starts a login. Silent logins are in a frame; a page that is shown forbids frames.
        _ if value("sec-fetch-mode") == Some("navigate") => Ok(()),
        _ => Err(NotAllowed::CrossSite),
    }
}

impl AllowedHosts {
    /// Checks a request that arrived at the address `socket`.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap, socket: SocketAddr) -> Result<(), NotAllowed> {
        let (host, port) = only(headers, &HOST).and_then(host_and_port).ok_or(NotAllowed::Host)?;
        // The absolute form of a request's target takes precedence over `Host` (RFC 9112, 3.2.2).
        let targeted = uri.authority().is_none_or(|authority| {
            host_and_port(authority.as_str()).is_some_and(|(host, _)| self.contains(host, socket))
        });
        if !targeted || !self.contains(host, socket) {
            return Err(NotAllowed::Host);
        }
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let origin = only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://")).and_then(host_and_port);
        // If the port is forwarded, the origin has another port than the socket.
        let same_origin = origin.is_some_and(|(host, origin_port)| {
            self.contains(host, socket) && (origin_port == port || origin_port == socket.port())
        });
        same_origin.then_some(()).ok_or(NotAllowed::Origin)
    }

    /// `localhost` is the only name of the loopback: some resolvers ask the network for `x.localhost` and `localhost.`.
    fn contains(&self, host: &str, socket: SocketAddr) -> bool {
        let is = |name: &str| host.eq_ignore_ascii_case(name);
        if is("localhost") || self.names.iter().any(|name| is(name)) {
            return true;
        }
        let address = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host.parse::<Ipv6Addr>().map(|address| IpAddr::V6(address).to_canonical()),
            None => host.parse().map(IpAddr::V4),
        };
        address.is_ok_and(|address| {
            address.is_loopback() || [socket.ip(), self.address].iter().any(|allowed| allowed.to_canonical() == address)
        })
    }
}

/// The value of a header that is given exactly once, in visible ASCII.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Splits the value of `Host`, or what follows the scheme in `Origin`.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            Some((host, port.parse().ok().filter(|_| digits)?))
        }
        _ => Some((text, 80)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        hosts: &AllowedHosts,
        socket: &str,
        target: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<(), NotAllowed> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        hosts.check(&target.parse().unwrap(), &map, socket.parse().unwrap())
    }

    fn allowed(address: &str) -> AllowedHosts {
        AllowedHosts { address: address.parse().unwrap(), names: vec!["host.docker.internal".to_owned()] }
    }

    #[test]
    fn the_loopback_and_the_named_hosts_are_allowed() {
        let host = |address, socket, host| check(&allowed(address), socket, "/", &[(HOST, host)]);
        for host_name in [
            "localhost",
            "localhost:3000",
            "LocalHost:8080",
            "127.0.0.1:3000",
            "127.9.9.9",
            "[::1]:3000",
            "[::1]",
            "[0:0:0:0:0:0:0:1]:3000",
            "[::ffff:127.0.0.1]:3000",
            "host.docker.internal:3000",
        ] {
            assert_eq!(host("127.0.0.1", "127.0.0.1:3000", host_name), Ok(()), "{host_name}");
        }
        for host_name in [
            "",
            ":3000",
            "evil.example",
            "evil.example:3000",
            "localhost.",
            "x.localhost",
            "localhost.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "user:localhost@evil.example:3000",
            "evil.example#localhost",
            "localhost/",
            "localhost:",
            "localhost:+80",
            "localhost:99999",
            "localhost:3000:3000",
            "localhost, evil.example",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "0177.0.0.1",
            "::1",
            "[::1",
            "[::1]x",
            "[::1%25lo]:3000",
            "[127.0.0.1]",
            "0.0.0.0:3000",
            "192.168.1.5:3000",
            "172.17.0.1:3000",
        ] {
            assert_eq!(host("127.0.0.1", "127.0.0.1:3000", host_name), Err(NotAllowed::Host), "{host_name}");
        }
    }

    #[test]
    fn the_address_of_the_socket_is_allowed_and_no_other() {
        for (address, socket, host, expected) in [
            ("172.17.0.1", "172.17.0.1:3000", "172.17.0.1:3000", Ok(())),
            ("172.17.0.1", "172.17.0.1:3000", "172.17.0.2:3000", Err(NotAllowed::Host)),
            ("0.0.0.0", "192.168.1.5:3000", "192.168.1.5:3000", Ok(())),
            ("0.0.0.0", "192.168.1.5:3000", "10.0.0.1:3000", Err(NotAllowed::Host)),
            ("0.0.0.0", "127.0.0.1:3000", "0.0.0.0:3000", Ok(())),
            ("::", "[::ffff:192.168.1.5]:3000", "192.168.1.5:3000", Ok(())),
            ("::", "[fd00::5]:3000", "[fd00::5]:3000", Ok(())),
            ("::", "[fd00::5]:3000", "[fd00::6]:3000", Err(NotAllowed::Host)),
        ] {
            assert_eq!(check(&allowed(address), socket, "/", &[(HOST, host)]), expected, "{socket} {host}");
        }
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let check = |target, headers: &[_]| check(&allowed("127.0.0.1"), "127.0.0.1:3000", target, headers);
        assert_eq!(check("/", &[]), Err(NotAllowed::Host));
        assert_eq!(check("/", &[(HOST, "localhost"), (HOST, "localhost")]), Err(NotAllowed::Host));
        assert_eq!(check("http://localhost:3000/", &[(HOST, "localhost")]), Ok(()));
        assert_eq!(check("http://evil.example/", &[(HOST, "localhost")]), Err(NotAllowed::Host));
        assert_eq!(check("http://localhost@evil.example/", &[(HOST, "localhost")]), Err(NotAllowed::Host));
    }

    #[test]
    fn other_origins_can_only_link_to_a_page() {
        let check = |site: &str, mode: &str| {
            let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            let headers = headers.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            check_page(&headers.into_iter().collect())
        };
        assert_eq!(check_page(&HeaderMap::new()), Ok(()));
        for site in ["same-origin", "none"] {
            assert_eq!(check(site, "cors"), Ok(()));
        }
        for site in ["cross-site", "same-site", "", "x"] {
            assert_eq!(check(site, "navigate"), Ok(()), "{site}");
            for mode in ["cors", "no-cors", "websocket", ""] {
                assert_eq!(check(site, mode), Err(NotAllowed::CrossSite), "{site} {mode}");
            }
        }
    }

    #[test]
    fn an_origin_is_allowed_only_with_the_port_of_the_stack() {
        let check =
            |host, origin| check(&allowed("127.0.0.1"), "127.0.0.1:3000", "/", &[(HOST, host), (ORIGIN, origin)]);
        for (host, origin) in [
            ("localhost:3000", "http://localhost:3000"),
            ("localhost:3000", "http://127.0.0.1:3000"),
            ("127.0.0.1:3000", "http://[::1]:3000"),
            ("localhost:8080", "http://localhost:8080"), // a forwarded port
            ("localhost", "http://localhost"),
        ] {
            assert_eq!(check(host, origin), Ok(()), "{origin}");
        }
        for origin in [
            "",
            "null",
            "http://evil.example",
            "http://evil.example:3000",
            "https://localhost:3000",
            "http://localhost",
            "http://localhost:3001",
            "http://localhost:3000/",
            "http://localhost:3000@evil.example",
            "http://evil.example@localhost:3000",
            "http://localhost:3000 http://evil.example",
            "localhost:3000",
            "file://",
        ] {
            assert_eq!(check("localhost:3000", origin), Err(NotAllowed::Origin), "{origin}");
        }
    }
}
