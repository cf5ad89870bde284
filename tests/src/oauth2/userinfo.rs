//! `/oauth2/userinfo`.

use serde_json::json;

use super::{INSUFFICIENT_SCOPE, INVALID_TOKEN, MISSING_TOKEN, client_credentials, start, userinfo};
use crate::harness::{
    calls, exchange_token,
    oauth2::{USERINFO, code, exchange, refresh_with},
    with,
};

#[tokio::test(flavor = "multi_thread")]
async fn user_information_is_for_users_with_openid() {
    let (stack, tenant) = start().await;
    let claims =
        json!({"name": "Ada", "email": "ada@example.com", "email_verified": false, "address": {"country": "x"}});
    let code = code(&stack, &json!({"claims": claims, "scope": "openid email"})).await;
    let user = exchange(&stack, &code).await.user(code);
    let expected = json!({"sub": "user-1", "email": "ada@example.com", "email_verified": false});
    // From now on the function has the public key.
    userinfo(&stack, &user.access_token).await;
    for request in [stack.http.get(stack.url(USERINFO)), stack.http.post(stack.url(USERINFO))] {
        stack.calls.reset();
        // The grant and its client, in one round.
        stack.calls.answer_together("GetItem", 2);
        let answer = stack.send(request.bearer_auth(&user.access_token)).await;
        assert_eq!((answer.status, answer.json()), (200, expected.clone()));
        answer.assert_oauth_headers();
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 2)]));
        stack.calls.answer_together("GetItem", 1);
    }
    let narrow = refresh_with(&stack, &user.refresh_token, "email").await.user(user.code.clone());
    userinfo(&stack, &narrow.access_token).await.assert_error(INSUFFICIENT_SCOPE);

    let body = with(&exchange_token::refresh_body(&narrow.refresh_token), &json!({"scope": null}));
    let documented = exchange_token::post(&stack, &body).await.json();
    let registration = client_credentials(&stack, &tenant.registration, &tenant.key, &[]).await.json();
    for token in [
        documented["items"][0]["accessToken"].as_str().unwrap(),
        registration["access_token"].as_str().unwrap(),
        &user.id_token,
        &user.refresh_token,
        &user.code,
        &tenant.key,
        "x",
    ] {
        userinfo(&stack, token).await.assert_error(INVALID_TOKEN);
    }
    stack.get(USERINFO).await.assert_error(MISSING_TOKEN);
    stack.clock.advance(3600);
    userinfo(&stack, &user.access_token).await.assert_error(INVALID_TOKEN);
}
