//! The metadata by which clients find the endpoints: OpenID Connect Discovery 1.0 (3), which RFC 8414 (2) generalizes.

use serde_json::{Value, json};
use shared::{
    input::{Scope, Scopes, oidc},
    keys::{LoginUrl, OidcIssuer, authorization_response_iss},
    runtime::{Environment, SettingsError},
};

/// The document. It is the same at both of its addresses. Without a login service there are no users, so it offers
/// `client_credentials` only.
///
/// # Errors
/// When `AUTHORIZATION_ENDPOINT`, `END_SESSION_ENDPOINT`, `AUTHORIZATION_RESPONSE_ISS` or `SCOPES_SUPPORTED` is
/// malformed.
pub(crate) fn document(issuer: &OidcIssuer, environment: &Environment) -> Result<Value, SettingsError> {
    let authorization_endpoint: Option<LoginUrl> = environment.optional("AUTHORIZATION_ENDPOINT")?;
    let end_session_endpoint: Option<LoginUrl> = environment.optional("END_SESSION_ENDPOINT")?;
    let response_iss = authorization_response_iss(environment)?;
    let scopes: Option<Scopes> = environment.optional("SCOPES_SUPPORTED")?;
    let scopes = match &scopes {
        Some(scopes) => scopes.iter().map(Scope::as_str).collect(),
        None => oidc::scopes(),
    };
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
        "scopes_supported": scopes,
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
        members.extend([
            ("authorization_endpoint".to_owned(), endpoint.as_str().into()),
            ("authorization_response_iss_parameter_supported".to_owned(), response_iss.into()),
            ("response_modes_supported".to_owned(), json!(["query", "fragment", "form_post"])),
            ("response_types_supported".to_owned(), json!(["code"])),
            ("grant_types_supported".to_owned(), json!(["authorization_code", "refresh_token", "client_credentials"])),
        ]);
        members.extend(end_session_endpoint.map(|url| ("end_session_endpoint".to_owned(), url.as_str().into())));
    }
    Ok(document)
}
