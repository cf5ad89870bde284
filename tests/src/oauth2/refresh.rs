//! `grant_type=refresh_token`.

use serde_json::json;

use super::{INVALID_GRANT, INVALID_SCOPE, refresh, start};
use crate::harness::{
    ISSUER, START, calls,
    exchange_token::CLIENT,
    oauth2::{code, exchange, refresh_with, user},
    verified,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_may_be_narrowed_and_has_no_nonce() {
    let (stack, _) = start().await;
    let first = code(&stack, &json!({"nonce": "n-1", "claims": {"email": "a@b.example", "name": "A"}})).await;
    let first = exchange(&stack, &first).await.user(first);
    stack.clock.advance(10);
    let answer = refresh_with(&stack, &first.refresh_token, "openid email").await;
    assert_eq!(answer.json()["scope"], "openid email");
    let narrowed = answer.user(first.code.clone());
    assert_ne!(narrowed.refresh_token, first.refresh_token);
    let (_, claims) = verified(&stack, &narrowed.id_token, CLIENT).await;
    assert_eq!((claims.get("nonce"), claims.get("name"), &claims["email"]), (None, None, &json!("a@b.example")));
    assert_eq!((&claims["iat"], &claims["auth_time"]), (&json!(START + 10), &json!(START)));
    let (_, claims) = verified(&stack, &narrowed.access_token, ISSUER).await;
    assert_eq!(claims["scope"], "openid email");

    // The next one has the whole scope again, unless it asks for more.
    refresh_with(&stack, &narrowed.refresh_token, "openid phone").await.assert_error(INVALID_SCOPE);
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
    refresh(&stack, &first.refresh_token).await.assert_error(INVALID_GRANT);
    refresh(&stack, &third.refresh_token).await.assert_error(INVALID_GRANT);
}
