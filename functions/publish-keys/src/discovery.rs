//! The metadata by which clients find the endpoints: OpenID Connect Discovery 1.0 (3), which RFC 8414 (2) generalizes.

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    input::oidc,
    keys::{AuthorizationEndpoint, OidcIssuer},
};

/// The document. It is the same at both of its addresses. Without a login service there are no users, so it offers
/// `client_credentials` only.
pub(crate) fn document(issuer: &OidcIssuer, authorization_endpoint: Option<&AuthorizationEndpoint>) -> Value {
    let url = |path: &str| format!("{}{path}", issuer.as_str());
    let (response_types, grant_types) = match authorization_endpoint {
        Some(_) => (json!(["code"]), json!(["authorization_code", "refresh_token", "client_credentials"])),
        None => (json!([]), json!(["client_credentials"])),
    };
    let client_authentication = ["client_secret_basic", "client_secret_post", "none"];
    let members = json!({
        "issuer": issuer.as_str(),
        "token_endpoint": url("/oauth2/token"),
        "userinfo_endpoint": url("/oauth2/userinfo"),
        "revocation_endpoint": url("/oauth2/revoke"),
        "introspection_endpoint": url("/oauth2/introspect"),
        "jwks_uri": url("/.well-known/jwks.json"),
        "response_types_supported": response_types,
        "grant_types_supported": grant_types,
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
    json!(Document { members, authorization_endpoint: authorization_endpoint.map(AuthorizationEndpoint::as_str) })
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    members: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_endpoint: Option<&'a str>,
}
