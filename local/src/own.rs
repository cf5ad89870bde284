//! Which requests come from this machine's own user: those that name the stack by a host of its own, and that no other
//! origin's page sent. A browser lets any page post to a loopback port, and a page whose host name is pointed at the
//! loopback (DNS rebinding) may also read the answer; but it always tells the page's host or origin.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{
    HeaderMap, HeaderName, Uri,
    header::{HOST, ORIGIN},
};

/// The hosts under which the stack is its own.
#[derive(Debug)]
pub(crate) struct OwnHosts {
    /// The address that it was told to listen on.
    pub(crate) address: IpAddr,
    /// Further names that it was told.
    pub(crate) names: Vec<String>,
}

/// Why a request is not the stack's own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error("Host must be localhost, a loopback address, the address of --host or a name of --allow-host")]
    Host,
    #[error("Origin must be absent or the stack's own")]
    Origin,
}

impl OwnHosts {
    /// Checks a request that came in on the address `socket`.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap, socket: SocketAddr) -> Result<(), Foreign> {
        let (host, port) = only(headers, &HOST).and_then(host_and_port).ok_or(Foreign::Host)?;
        // In the absolute form of a request's target, which takes precedence over `Host` (RFC 9112, 3.2.2).
        let targeted = uri.authority().is_none_or(|authority| {
            host_and_port(authority.as_str()).is_some_and(|(host, _)| self.contains(host, socket))
        });
        if !targeted || !self.contains(host, socket) {
            return Err(Foreign::Host);
        }
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let origin = only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://")).and_then(host_and_port);
        // A forwarded port is another one than the socket's.
        let own = origin.is_some_and(|(host, origin_port)| {
            self.contains(host, socket) && (origin_port == port || origin_port == socket.port())
        });
        own.then_some(()).ok_or(Foreign::Origin)
    }

    /// Only `localhost` of the loopback's names: some resolvers ask the network for `x.localhost` and `localhost.`.
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
            address.is_loopback() || [socket.ip(), self.address].iter().any(|own| own.to_canonical() == address)
        })
    }
}

/// The value of a header that is given once, in visible ASCII.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Host and port as they stand in `Host` and in an `Origin` after its scheme.
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

    fn check(own: &OwnHosts, socket: &str, target: &str, headers: &[(HeaderName, &str)]) -> Result<(), Foreign> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        own.check(&target.parse().unwrap(), &map, socket.parse().unwrap())
    }

    fn own(address: &str) -> OwnHosts {
        OwnHosts { address: address.parse().unwrap(), names: vec!["host.docker.internal".to_owned()] }
    }

    #[test]
    fn own_hosts_are_the_loopback_the_address_and_the_names() {
        let host = |address, socket, host| check(&own(address), socket, "/", &[(HOST, host)]);
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
            assert_eq!(host("127.0.0.1", "127.0.0.1:3000", host_name), Err(Foreign::Host), "{host_name}");
        }
    }

    #[test]
    fn the_address_of_the_socket_is_own_and_no_other() {
        for (address, socket, host, expected) in [
            ("172.17.0.1", "172.17.0.1:3000", "172.17.0.1:3000", Ok(())),
            ("172.17.0.1", "172.17.0.1:3000", "172.17.0.2:3000", Err(Foreign::Host)),
            ("0.0.0.0", "192.168.1.5:3000", "192.168.1.5:3000", Ok(())),
            ("0.0.0.0", "192.168.1.5:3000", "10.0.0.1:3000", Err(Foreign::Host)),
            ("0.0.0.0", "127.0.0.1:3000", "0.0.0.0:3000", Ok(())),
            ("::", "[::ffff:192.168.1.5]:3000", "192.168.1.5:3000", Ok(())),
            ("::", "[fd00::5]:3000", "[fd00::5]:3000", Ok(())),
            ("::", "[fd00::5]:3000", "[fd00::6]:3000", Err(Foreign::Host)),
        ] {
            assert_eq!(check(&own(address), socket, "/", &[(HOST, host)]), expected, "{socket} {host}");
        }
    }

    #[test]
    fn one_host_is_named() {
        let check = |target, headers: &[_]| check(&own("127.0.0.1"), "127.0.0.1:3000", target, headers);
        assert_eq!(check("/", &[]), Err(Foreign::Host));
        assert_eq!(check("/", &[(HOST, "localhost"), (HOST, "localhost")]), Err(Foreign::Host));
        assert_eq!(check("http://localhost:3000/", &[(HOST, "localhost")]), Ok(()));
        assert_eq!(check("http://evil.example/", &[(HOST, "localhost")]), Err(Foreign::Host));
        assert_eq!(check("http://localhost@evil.example/", &[(HOST, "localhost")]), Err(Foreign::Host));
    }

    #[test]
    fn an_origin_is_own_with_its_port() {
        let check = |host, origin| check(&own("127.0.0.1"), "127.0.0.1:3000", "/", &[(HOST, host), (ORIGIN, origin)]);
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
            assert_eq!(check("localhost:3000", origin), Err(Foreign::Origin), "{origin}");
        }
    }
}
