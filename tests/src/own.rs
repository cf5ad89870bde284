//! What of the local stack any web page may reach, and what is its user's alone.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::harness::World;

/// Every kind of path: the request line, the header that belongs to it, and the body.
fn kinds(world: &World) -> [(&'static str, &'static str, String, String); 4] {
    let key = json!({"KeyId": world.stack.environment().variables["SIGNING_KEY_ID"]});
    let organization = json!({"action": "createOrganization", "slug": format!("o-{}", unique())});
    [
        ("Invoke", "POST /2015-03-31/functions/provision/invocations", String::new(), organization.to_string()),
        ("DynamoDB", "POST /", "X-Amz-Target: DynamoDB_20120810.ListTables\r\n".to_owned(), "{}".to_owned()),
        ("KMS", "POST /", "X-Amz-Target: TrentService.GetPublicKey\r\n".to_owned(), key.to_string()),
        ("API", "GET /.well-known/jwks.json", String::new(), String::new()),
    ]
}

/// A number that no other call returns.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}

/// Sends a request as it is and returns status, head and body of the answer.
fn raw(address: &str, text: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

/// Sends every kind of request with these header lines. Returns the statuses of Invoke, DynamoDB, KMS and the API.
fn statuses(world: &World, address: &str, headers: &str) -> Vec<u16> {
    let send = |(kind, line, header, body): (&str, &str, String, String)| {
        // `text/plain`, which needs no preflight.
        let text = format!(
            "{line} HTTP/1.1\r\n{headers}{header}Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let (status, head, body) = raw(address, &text);
        if status == 403 {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert!(body["message"].as_str().unwrap().starts_with("Forbidden: "), "{kind}: {body}");
            assert!(!head.to_ascii_lowercase().contains("access-control"), "{kind}: {head}");
        }
        status
    };
    kinds(world).map(send).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_host_or_origin_reaches_the_api_alone() {
    let world = World::start().await;
    let url = world.url("");
    let address = url.strip_prefix("http://").unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    let before = world.dump().await;
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n"),
        format!("Host: localhost.evil.example:{port}\r\n"),
        format!("Host: localhost@evil.example:{port}\r\n"),
        format!("Host: localhost.:{port}\r\n"),
        format!("Host: 192.0.2.1:{port}\r\n"),
        format!("Host: host.docker.internal:{port}\r\n"),
        format!("Host: {address}\r\nHost: evil.example\r\n"),
        format!("Host: {address}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: {address}\r\nOrigin: null\r\n"),
        format!("Host: {address}\r\nOrigin: https://{address}\r\n"),
        format!("Host: {address}\r\nOrigin: http://localhost:1\r\n"),
        format!("Host: {address}\r\nOrigin: http://{address}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: {address}\r\nOrigin: http://{address}@evil.example\r\n"),
    ] {
        assert_eq!(statuses(&world, address, &headers), [403, 403, 403, 200], "{headers}");
    }
    assert_eq!(world.dump().await, before);

    for headers in [
        format!("Host: {address}\r\n"),
        format!("Host: localhost:{port}\r\n"),
        format!("Host: LOCALHOST:{port}\r\n"),
        format!("Host: [::1]:{port}\r\n"),
        "Host: localhost\r\n".to_owned(),
        format!("Host: {address}\r\nOrigin: http://{address}\r\n"),
        format!("Host: {address}\r\nOrigin: http://localhost:{port}\r\n"),
        "Host: localhost:8080\r\nOrigin: http://localhost:8080\r\n".to_owned(),
    ] {
        assert_eq!(statuses(&world, address, &headers), [200; 4], "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_host_reaches_no_function() {
    let world = World::start().await;
    let url = world.url("");
    for version in ["1.0", "1.1"] {
        let text = format!(
            "POST /2015-03-31/functions/provision/invocations HTTP/{version}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        let (status, ..) = raw(url.strip_prefix("http://").unwrap(), &text);
        assert!(status == 403 || status == 400, "{version}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_interface_the_address_that_is_called_is_own() {
    let world = World::start_with(|options| {
        options.host = [0, 0, 0, 0].into();
        options.allow_hosts = vec!["host.docker.internal".to_owned()];
    })
    .await;
    let url = world.url("");
    let port = url.rsplit_once(':').unwrap().1;
    let address = format!("127.0.0.1:{port}");
    for host in ["0.0.0.0", "127.0.0.1", "localhost", "host.docker.internal"] {
        assert_eq!(statuses(&world, &address, &format!("Host: {host}:{port}\r\n")), [200; 4], "{host}");
    }
    for host in ["192.0.2.1", "evil.example"] {
        assert_eq!(statuses(&world, &address, &format!("Host: {host}:{port}\r\n")), [403, 403, 403, 200], "{host}");
    }
    // The functions' own calls of AWS come this way too.
    world.organization("acme").await;
}
