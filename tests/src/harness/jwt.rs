//! Verifies tokens as a resource server does: with another library and the published keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};
use shared::id::KeyId;

use super::{ISSUER, TestStack};

/// Verifies a token with this audience. Returns the header's text and the claims.
pub(crate) async fn verified(stack: &TestStack, jwt: &str, audience: &str) -> (String, Value) {
    let keys: JwkSet = serde_json::from_str(&stack.get("/.well-known/jwks.json").await.text).unwrap();
    let kid = decode_header(jwt).unwrap().kid.unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.validate_exp = false; // It reads the system's clock; the tests have their own.
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let claims = decode(jwt, &key, &validation).unwrap().claims;
    let header = URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
    (String::from_utf8(header).unwrap(), claims)
}

/// The claims of a token, with or without its prefix.
pub(crate) fn unverified_claims(token: &str) -> Value {
    let jwt = token.strip_prefix("oauth2_").unwrap_or(token);
    jsonwebtoken::dangerous::insecure_decode::<Value>(jwt).unwrap().claims
}
pub(crate) async fn current_kid(stack: &TestStack) -> String {
    stack.get("/.well-known/jwks.json").await.json()["keys"][0]["kid"].as_str().unwrap().to_owned()
}

/// What a registration keeps of the key that signs, as an attribute of its item.
pub(crate) async fn current_key(stack: &TestStack) -> Value {
    let kid: KeyId = current_kid(stack).await.parse().unwrap();
    json!({"S": kid.fingerprint().as_str()})
}
