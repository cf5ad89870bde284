//! Hostile forms.

use super::start;
use crate::harness::oauth2::{REVOKE, TOKEN, USERINFO, user};

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_form_gets_a_documented_error_and_is_not_echoed() {
    const MARKER: &str = "hostileMarker";
    let (stack, tenant) = start().await;
    let many = |count: usize, value: &str| (0..count).map(|n| format!("p{n}={value}")).collect::<Vec<_>>().join("&");
    let form = "application/x-www-form-urlencoded";
    let credentials = format!("client_id={MARKER}&client_secret={MARKER}");
    for (what, content_type, body, status, error) in [
        ("JSON", "application/json", b"{}".to_vec(), 400, "invalid_request"),
        ("no content type", "", b"grant_type=refresh_token".to_vec(), 400, "invalid_request"),
        ("multipart", "multipart/form-data; boundary=x", b"--x".to_vec(), 400, "invalid_request"),
        ("an empty body", form, vec![], 400, "invalid_request"),
        (
            "a parameter twice",
            form,
            b"grant_type=refresh_token&grant_type=refresh_token".to_vec(),
            400,
            "invalid_request",
        ),
        (
            "an unknown one twice",
            form,
            format!("grant_type=refresh_token&{MARKER}=1&{MARKER}=2").into_bytes(),
            400,
            "invalid_request",
        ),
        ("twice, once encoded", form, b"grant_type=refresh_token&%67rant_type=x".to_vec(), 400, "invalid_request"),
        ("twice, once empty", form, b"grant_type=refresh_token&grant_type=".to_vec(), 400, "invalid_request"),
        ("bad percent encoding", form, format!("grant_type={MARKER}%").into_bytes(), 400, "invalid_request"),
        ("bad percent encoding", form, format!("{MARKER}=%4").into_bytes(), 400, "invalid_request"),
        ("invalid UTF-8", form, [b"grant_type=", MARKER.as_bytes(), b"\xff"].concat(), 400, "invalid_request"),
        ("encoded invalid UTF-8", form, format!("grant_type={MARKER}%c3%28").into_bytes(), 400, "invalid_request"),
        ("10,000 parameters", form, many(10_000, MARKER).into_bytes(), 400, "invalid_request"),
        ("2,000 parameters", form, many(2000, "").into_bytes(), 400, "invalid_request"),
        ("an unknown grant type", form, format!("grant_type={MARKER}").into_bytes(), 400, "unsupported_grant_type"),
        (
            "a NUL",
            form,
            format!("grant_type=refresh_token&refresh_token={MARKER}%00").into_bytes(),
            400,
            "invalid_grant",
        ),
        (
            "a long token",
            form,
            format!("grant_type=refresh_token&refresh_token={}", MARKER.repeat(1000)).into_bytes(),
            400,
            "invalid_grant",
        ),
        (
            "a wide scope",
            form,
            format!("grant_type=refresh_token&refresh_token=x&scope=%22{MARKER}").into_bytes(),
            400,
            "invalid_scope",
        ),
        (
            "unknown credentials",
            form,
            format!("grant_type=client_credentials&{credentials}").into_bytes(),
            401,
            "invalid_client",
        ),
        ("bare names", form, b"grant_type&code&&=&".to_vec(), 400, "invalid_request"),
    ] {
        let request = stack.http.post(stack.url(TOKEN)).body(body);
        let answer = stack
            .send(if content_type.is_empty() { request } else { request.header("content-type", content_type) })
            .await;
        println!("{what}: {}", answer.text);
        answer.assert_error(status, error, None);
        assert!(!answer.text.contains(MARKER), "{what}");
    }
    // The query string is not read.
    let path =
        format!("{TOKEN}?grant_type=client_credentials&client_id={}&client_secret={}", tenant.registration, tenant.key);
    stack.send(stack.form(&path, &[])).await.assert_error(400, "invalid_request", None);
    stack.send(stack.form(&path, &[("grant_type", "client_credentials")])).await.assert_error(
        401,
        "invalid_client",
        None,
    );
    let user = user(&stack).await;
    let answer = stack.get(&format!("{USERINFO}?access_token={}", user.access_token)).await;
    answer.assert_error(401, "invalid_token", Some("Bearer realm=\"tokenmint\""));
    // Parameters of the media type do no harm.
    let request =
        stack.http.post(stack.url(REVOKE)).header("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8");
    assert_eq!(stack.send(request.body("token=x")).await.status, 200);
}
