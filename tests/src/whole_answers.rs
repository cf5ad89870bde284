//! Whole answers. Time and randomness are injected, so answers depend on nothing else: two stacks with the same seed
//! give the same ones to the last byte, except for the signatures, since each stack has a signing key of its own.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{SeededRandom, Tenant, TestStack, exchange_token};

async fn start(seed: &str) -> (TestStack, Tenant) {
    let stack = TestStack::start_with(|options| options.random = Arc::new(SeededRandom::new(seed))).await;
    let tenant = Tenant::new(&stack, "acme").await;
    exchange_token::client(&stack, &json!({})).await;
    (stack, tenant)
}

/// The answers of one request to each function that makes something of randomness, without their signatures.
async fn answers(stack: &TestStack, tenant: &Tenant) -> Vec<(u16, String)> {
    let created = tenant.create_token(stack).await;
    let app_token = tenant.create_app_token(stack, &json!({"description": "CI", "scopes": ["sdk"]})).await;
    let code = exchange_token::issue(stack, &json!({})).await;
    let exchanged = exchange_token::exchange(stack, &code).await;
    exchanged.refresh_token();
    let unsigned = |mut body: Value, tokens: &[&str]| {
        for token in tokens {
            let token = body.pointer_mut(token).unwrap();
            let jwt = token.as_str().unwrap().to_owned();
            *token = jwt.split('.').nth(1).unwrap().into();
        }
        body.to_string()
    };
    vec![
        (created.status, unsigned(created.json(), &["/token/accessToken"])),
        (app_token.status, app_token.text),
        (200, code),
        (exchanged.status, unsigned(exchanged.json(), &["/items/0/accessToken", "/items/0/idToken"])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_time_and_randomness_give_the_same_answers() {
    let (one, same, other) = (start("seed").await, start("seed").await, start("another seed").await);
    let [one, same, other] =
        [answers(&one.0, &one.1).await, answers(&same.0, &same.1).await, answers(&other.0, &other.1).await];
    assert_eq!(one, same);
    for (one, other) in one.iter().zip(&other) {
        assert_ne!(one, other);
    }
}
