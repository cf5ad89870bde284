//! `grant_type=refresh_token`.

use serde_json::json;

use super::{refresh, start};
use crate::harness::{
    ISSUER, START, calls,
    exchange_token::CLIENT,
    oauth2::{TOKEN, code, exchange, user},
    verified,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_may_be_narrowed_and_has_no_nonce() {
    let (stack, _) = start().await;
    let first = code(&stack, &json!({"nonce": "n-1", "claims": {"email": "a@b.example", "name": "A"}})).await;
    let first = exchange(&stack, &first).await.user(first);
    stack.clock.advance(10);
    let form = [("grant_type", "refresh_token"), ("refresh_token", &first.refresh_token), ("scope", "openid email")];
    let answer = stack.post_form(TOKEN, &form).await;
    assert_eq!(answer.json()["scope"], "openid email");
    let narrowed = answer.user(first.code.clone());
    assert_ne!(narrowed.refresh_token, first.refresh_token);
    let (_, claims) = verified(&stack, &narrowed.id_token, CLIENT).await;
    assert_eq!((claims.get("nonce"), claims.get("name"), &claims["email"]), (None, None, &json!("a@b.example")));
    assert_eq!((&claims["iat"], &claims["auth_time"]), (&json!(START + 10), &json!(START)));
    let (_, claims) = verified(&stack, &narrowed.access_token, ISSUER).await;
    assert_eq!(claims["scope"], "openid email");

    // The next one has the whole scope again, unless it asks for more.
    let wide = [("grant_type", "refresh_token"), ("refresh_token", &narrowed.refresh_token), ("scope", "openid phone")];
    stack.post_form(TOKEN, &wide).await.assert_error(400, "invalid_scope", None);
    let answer = refresh(&stack, &narrowed.refresh_token).await;
    assert_eq!(answer.json()["scope"], "openid profile email");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_repeated_and_an_old_token_ends_the_grant() {
    let (stack, _) = start().await;
    let first = user(&stack).await;
    let second = refresh(&stack, &first.refresh_token).await.user(first.code.clone());
    stack.calls.reset();
    let again = refresh(&stack, &first.refresh_token).await.user(first.code.clone());
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 2)]));
    assert_eq!(again.refresh_token, second.refresh_token);
    let third = refresh(&stack, &second.refresh_token).await.user(first.code.clone());
    refresh(&stack, &first.refresh_token).await.assert_error(400, "invalid_grant", None);
    refresh(&stack, &third.refresh_token).await.assert_error(400, "invalid_grant", None);
}
