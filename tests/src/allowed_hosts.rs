//! Which requests reach only the API of the local stack, and which also its Invoke path and the AWS APIs.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use serde_json::{Value, json};

use crate::harness::TestStack;

/// One request of each kind: its name, request line, header and body.
fn kinds(stack: &TestStack) -> [(&'static str, &'static str, String, String); 4] {
    let key = json!({"KeyId": stack.local.environment().variables["SIGNING_KEY_ID"]});
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
fn raw(address: &str, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

/// As [`raw`], and sends no more.
fn raw_cut_off(address: &str, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    answer(stream)
}

fn answer(mut stream: TcpStream) -> (u16, String, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

/// Sends every kind of request with these header lines. Returns the statuses of Invoke, DynamoDB, KMS and the API.
fn statuses(stack: &TestStack, address: &str, headers: &str) -> Vec<u16> {
    let send = |(kind, line, header, body): (&str, &str, String, String)| {
        // `text/plain`, which needs no preflight.
        let request = format!(
            "{line} HTTP/1.1\r\n{headers}{header}Content-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let (status, head, body) = raw(address, &request);
        if status == 403 {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert!(body["message"].as_str().unwrap().starts_with("Forbidden: "), "{kind}: {body}");
            assert!(!head.to_ascii_lowercase().contains("access-control"), "{kind}: {head}");
        }
        status
    };
    kinds(stack).map(send).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_or_origin_that_is_not_allowed_reaches_the_api_only() {
    let stack = TestStack::start().await;
    let url = stack.url("");
    let address = url.strip_prefix("http://").unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    let before = stack.dump().await;
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
        assert_eq!(statuses(&stack, address, &headers), [403, 403, 403, 200], "{headers}");
    }
    assert_eq!(stack.dump().await, before);

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
        assert_eq!(statuses(&stack, address, &headers), [200; 4], "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_host_reaches_no_function() {
    let stack = TestStack::start().await;
    let url = stack.url("");
    for version in ["1.0", "1.1"] {
        let request = format!(
            "POST /2015-03-31/functions/provision/invocations HTTP/{version}\r\n\
             Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        let (status, ..) = raw(url.strip_prefix("http://").unwrap(), &request);
        assert!(status == 403 || status == 400, "{version}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_interface_the_address_that_is_called_is_allowed() {
    let stack = TestStack::start_with(|options| {
        options.host = [0, 0, 0, 0].into();
        options.allow_hosts = vec!["host.docker.internal".to_owned()];
    })
    .await;
    let url = stack.url("");
    let port = url.rsplit_once(':').unwrap().1;
    let address = format!("127.0.0.1:{port}");
    for host in ["0.0.0.0", "127.0.0.1", "localhost", "host.docker.internal"] {
        assert_eq!(statuses(&stack, &address, &format!("Host: {host}:{port}\r\n")), [200; 4], "{host}");
    }
    for host in ["192.0.2.1", "evil.example"] {
        assert_eq!(statuses(&stack, &address, &format!("Host: {host}:{port}\r\n")), [403, 403, 403, 200], "{host}");
    }
    // The functions' own AWS calls use this address, too.
    stack.organization("acme").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_off_is_413_and_changes_nothing() {
    let stack = TestStack::start().await;
    let url = stack.url("");
    let address = url.strip_prefix("http://").unwrap();
    let before = stack.dump().await;
    for (kind, line, header, body) in kinds(&stack) {
        let line = line.replace("GET /.well-known/jwks.json", "POST /api/v1/create-token");
        let length = body.len() + 1;
        let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\n{header}Content-Length: {length}\r\n\r\n{body}");
        let (status, _, answer) = raw_cut_off(address, &request);
        assert_eq!(status, 413, "{kind}: {answer}");
    }
    assert_eq!(stack.dump().await, before);
}
