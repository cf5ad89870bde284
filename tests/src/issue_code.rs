//! `issue-code`, and what is refused of it.

use serde_json::{Value, json};

use crate::harness::{START, World};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_is_not_registered_for_is_refused() {
    let world = World::start().await;
    let client = json!({
        "action": "createClient", "redirectUris": ["https://app.example.com/callback"], "services": ["email"],
        "scopes": ["openid", "email"],
    });
    let client = world.provision(&client).await["clientId"].clone();
    let login = json!({
        "clientId": client, "service": "email", "redirectUri": "https://app.example.com/callback", "subject": "user-1",
        "scope": "openid",
    });
    let issue = async |field: &str, value: Value| {
        let mut login = login.clone();
        match value {
            Value::Null => login.as_object_mut().unwrap().remove(field),
            value => login.as_object_mut().unwrap().insert(field.to_owned(), value),
        };
        world.stack.invoke("issue-code", &login).await
    };
    world.calls.reset();
    let issued = issue("language", json!("en")).await.unwrap();
    assert_eq!(issued["expiresAt"], "2027-01-15T08:02:00.000Z");
    assert!(issued["code"].as_str().unwrap().starts_with("tmc_") && issued.as_object().unwrap().len() == 2);
    assert_eq!(world.calls.rounds(), 2);

    let registered = "must be what the client is registered for";
    world.calls.reset();
    for (field, value, message) in [
        ("service", json!("sms"), format!("service {registered}")),
        ("redirectUri", json!("https://app.example.com/"), format!("redirectUri {registered}")),
        ("scope", json!("openid profile"), format!("scope {registered}")),
        ("clientId", json!("22222222-2222-2222-2222-222222222222"), "clientId must be the id of a client".to_owned()),
        ("clientId", json!("x"), "clientId must be a UUID".to_owned()),
        ("subject", Value::Null, "subject is required".to_owned()),
        ("subject", json!("é"), "subject must be 1 to 255 printable ASCII characters".to_owned()),
        ("subject", json!("x".repeat(256)), "subject must be 1 to 255 printable ASCII characters".to_owned()),
        ("state", json!(""), "state must be 1 to 1024 characters".to_owned()),
        ("nonce", json!(1), "nonce must be a string".to_owned()),
        ("codeChallenge", json!("plain"), "codeChallenge must be 43 characters of base64url (S256)".to_owned()),
        ("authTime", json!("1735689600"), format!("authTime must be a whole number from 0 to {}", START + 300)),
        ("authTime", json!(START + 301), format!("authTime must be a whole number from 0 to {}", START + 300)),
        ("language", json!("english language"), "language must be a language tag such as en or pt-BR".to_owned()),
        ("claims", json!([]), "claims must be an object".to_owned()),
        ("claims", json!({"sub": "x"}), "claims must have standard claims of OpenID Connect only".to_owned()),
        ("claims", json!({"email_verified": "yes"}), "claims.email_verified must be true or false".to_owned()),
        ("lang", json!("en"), "lang is not a field of this request".to_owned()),
    ] {
        let refused = issue(field, value).await.unwrap_err();
        assert_eq!(refused, json!({"errorType": "InvalidRequest", "errorMessage": message}));
    }
    assert!(!world.calls.count().contains_key("PutItem"));
}
