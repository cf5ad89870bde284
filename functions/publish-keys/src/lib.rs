//! `GET /.well-known/jwks.json` and `GET /api/v1/apps/{clientId}/keys`: publishes the keys that verify our tokens.
//! `GET /.well-known/openid-configuration` and `GET /.well-known/oauth-authorization-server`: publishes where the endpoints are.

mod discovery;

use serde_json::{Value, json};
use shared::{
    encoding::base64url,
    error::{ApiError, InternalError, Outcome},
    id::ClientId,
    keys::{AuthorizationEndpoint, Keys, OidcIssuer, PublicKeys},
    runtime::http::{Endpoint, Request, Response, StatusCode, header},
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, SettingsError},
    store::Store,
};

/// Where the metadata is: the same document at both.
const METADATA: [&str; 2] = ["GET /.well-known/openid-configuration", "GET /.well-known/oauth-authorization-server"];

/// Anyone may cache a response for five minutes: keys change rarely, and a verifier that meets an unknown key asks again.
const CACHE_CONTROL: &str = "public, max-age=300";

#[derive(Debug)]
pub struct PublishKeys {
    keys: PublicKeys,
    store: Store,
    /// `None` if the deployment has no issuer that clients can find the endpoints by.
    discovery: Option<Value>,
}

impl Endpoint for PublishKeys {
    const NAME: &'static str = "publish-keys";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        let keys = Keys::from_environment(environment, &store)?.public_keys(environment)?;
        let authorization_endpoint = AuthorizationEndpoint::from_environment(environment)?;
        let discovery = OidcIssuer::from_environment(environment)?
            .map(|issuer| discovery::document(&issuer, authorization_endpoint.as_ref()));
        Ok(Self { keys, store, discovery })
    }

    async fn warm(&self) {
        // Most callers request the JWK set, which needs no client.
        let _ = self.keys.all().await;
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let body = match request.path_parameters.get("clientId") {
            Some(client) => self.app_keys(client).await?,
            None if METADATA.contains(&request.route.as_str()) => self.discovery.clone(),
            None => Some(self.key_set().await?),
        };
        let response = match body {
            Some(body) => Response::new(StatusCode::OK, Outcome::Done, &body),
            // Not an `ApiError`, because it may be cached like the keys.
            None => Response::new(
                StatusCode::NOT_FOUND,
                Outcome::NotFound,
                &Self::error_body(&request.route, &ApiError::NotFound),
            ),
        };
        Ok(response.with_header(header::CACHE_CONTROL, CACHE_CONTROL))
    }

    fn error_body(route: &str, error: &ApiError) -> Value {
        let message = match error {
            ApiError::NotFound if METADATA.contains(&route) => {
                "this deployment has no OIDC_ISSUER, so it has no such document"
            }
            ApiError::NotFound => "Client not found",
            _ => "Internal server error",
        };
        json!({"message": message})
    }
}

impl PublishKeys {
    /// A JWK set (RFC 7517, 5).
    async fn key_set(&self) -> Result<Value, InternalError> {
        let keys = timed(Phase::Load, self.keys.all()).await?;
        let keys = keys.into_iter().map(|key| {
            json!({
                "kty": "RSA",
                "use": "sig",
                "alg": "RS256",
                "kid": key.id.as_str(),
                "n": base64url(key.modulus()),
                "e": base64url(key.exponent()),
            })
        });
        Ok(json!({"keys": keys.collect::<Value>()}))
    }

    /// The same keys in the format for clients of the token endpoint. `None` if the client does not exist.
    async fn app_keys(&self, client: &str) -> Result<Option<Value>, InternalError> {
        let Ok(client) = client.parse::<ClientId>() else { return Ok(None) };
        let (client, keys) =
            timed(Phase::Load, async { tokio::join!(self.store.load_client(client), self.keys.all()) }).await;
        if client?.is_none() {
            return Ok(None);
        }
        let items = keys?
            .into_iter()
            .map(|key| json!({"uuid": key.id.as_str(), "type": {"name": "public"}, "value": key.pem()}));
        let items = items.collect::<Vec<_>>();
        Ok(Some(json!({"kind": "appKeys", "totalItems": items.len(), "itemsLength": items.len(), "items": items})))
    }
}
