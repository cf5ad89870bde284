//! The metadata by which clients find the endpoints: OpenID Connect Discovery 1.0 (3), which RFC 8414 (2) generalizes.

use serde_json::{Value, json};
use shared::{
    input::oidc,
    keys::{AuthorizationEndpoint, OidcIssuer},
};

/// The document. It is the same at both of its addresses. Without a login service there are no users, so it offers
/// `client_credentials` only.
pub(crate) fn document(issuer: &OidcIssuer, authorization_endpoint: Option<&AuthorizationEndpoint>) -> Value {
    let url = |path: &str| format!("{}{path}", issuer.as_str());
    let client_authentication = ["client_secret_basic", "client_secret_post", "none"];
    let mut document = json!({
        "issuer": issuer.as_str(),
        "token_endpoint": url("/oauth2/token"),
        "userinfo_endpoint": url("/oauth2/userinfo"),
        "revocation_endpoint": url("/oauth2/revoke"),
        "introspection_endpoint": url("/oauth2/introspect"),
        "jwks_uri": url("/.well-known/jwks.json"),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": oidc::scopes(),
        "claims_supported": oidc::claims(),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": client_authentication,
        "revocation_endpoint_auth_methods_supported": client_authentication,
        // RFC 8414 allows access token types here.
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "Bearer"],
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "claims_parameter_supported": false,
    });
    if let (Some(endpoint), Some(members)) = (authorization_endpoint, document.as_object_mut()) {
        members.insert("authorization_endpoint".to_owned(), endpoint.as_str().into());
        members.insert("response_types_supported".to_owned(), json!(["code"]));
        let grant_types = json!(["authorization_code", "refresh_token", "client_credentials"]);
        members.insert("grant_types_supported".to_owned(), grant_types);
    }
    document
}
