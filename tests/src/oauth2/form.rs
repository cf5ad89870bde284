//! Hostile forms.

use super::{
    INVALID_CLIENT, INVALID_GRANT, INVALID_REQUEST, INVALID_SCOPE, MISSING_TOKEN, assert_refused, refusal, start,
};
use crate::harness::oauth2::{REVOKE, TOKEN, USERINFO, user};

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_form_gets_a_documented_error_and_is_not_echoed() {
    const MARKER: &str = "hostileMarker";
    let (stack, _) = start().await;
    let many = |count: usize, value: &str| (0..count).map(|n| format!("p{n}={value}")).collect::<Vec<_>>().join("&");
    let refresh = |more: &str| format!("grant_type=refresh_token&{more}").into_bytes();
    let credentials = format!("grant_type=client_credentials&client_id={MARKER}&client_secret={MARKER}");
    let unsupported = refusal(400, "unsupported_grant_type", None);
    for (what, body, refusal) in [
        ("an empty body", vec![], INVALID_REQUEST),
        ("a parameter twice", refresh("grant_type=refresh_token"), INVALID_REQUEST),
        ("an unknown one twice", refresh(&format!("{MARKER}=1&{MARKER}=2")), INVALID_REQUEST),
        ("twice, once encoded", refresh("%67rant_type=x"), INVALID_REQUEST),
        ("twice, once empty", refresh("grant_type="), INVALID_REQUEST),
        ("bad percent encoding", format!("grant_type={MARKER}%").into_bytes(), INVALID_REQUEST),
        ("bad percent encoding", format!("{MARKER}=%4").into_bytes(), INVALID_REQUEST),
        ("invalid UTF-8", [b"grant_type=", MARKER.as_bytes(), b"\xff"].concat(), INVALID_REQUEST),
        ("encoded invalid UTF-8", format!("grant_type={MARKER}%c3%28").into_bytes(), INVALID_REQUEST),
        ("10,000 parameters", many(10_000, MARKER).into_bytes(), INVALID_REQUEST),
        ("2,000 parameters", many(2000, "").into_bytes(), INVALID_REQUEST),
        ("an unknown grant type", format!("grant_type={MARKER}").into_bytes(), unsupported),
        ("a NUL", refresh(&format!("refresh_token={MARKER}%00")), INVALID_GRANT),
        ("a long token", refresh(&format!("refresh_token={}", MARKER.repeat(1000))), INVALID_GRANT),
        ("a wide scope", refresh(&format!("refresh_token=x&scope=%22{MARKER}")), INVALID_SCOPE),
        ("unknown credentials", credentials.into_bytes(), INVALID_CLIENT),
        ("bare names", b"grant_type&code&&=&".to_vec(), INVALID_REQUEST),
    ] {
        let request = stack.http.post(stack.url(TOKEN)).header("content-type", "application/x-www-form-urlencoded");
        let answer = stack.send(request.body(body)).await;
        println!("{what}: {}", answer.text);
        answer.assert_error(refusal);
        assert!(!answer.text.contains(MARKER), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_form_in_the_body_is_read() {
    let (stack, tenant) = start().await;
    let post = |path: &str| stack.http.post(stack.url(path));
    let typed = |content_type: &str| post(TOKEN).header("content-type", content_type);
    let other_bodies = [
        ("JSON", typed("application/json").body("{}"), INVALID_REQUEST),
        ("no content type", post(TOKEN).body("grant_type=refresh_token"), INVALID_REQUEST),
        ("multipart", typed("multipart/form-data; boundary=x").body("--x"), INVALID_REQUEST),
    ];
    assert_refused(&stack, other_bodies).await;
    // The query string is not read.
    let path =
        format!("{TOKEN}?grant_type=client_credentials&client_id={}&client_secret={}", tenant.registration, tenant.key);
    stack.send(stack.form(&path, &[])).await.assert_error(INVALID_REQUEST);
    stack.send(stack.form(&path, &[("grant_type", "client_credentials")])).await.assert_error(INVALID_CLIENT);
    let user = user(&stack).await;
    let answer = stack.get(&format!("{USERINFO}?access_token={}", user.access_token)).await;
    answer.assert_error(MISSING_TOKEN);
    // Parameters of the media type do no harm.
    let request = post(REVOKE).header("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8");
    assert_eq!(stack.send(request.body("token=x")).await.status, 200);
}
