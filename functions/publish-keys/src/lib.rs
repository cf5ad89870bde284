//! `GET /.well-known/jwks.json` and `GET /api/v1/apps/{clientId}/keys`: publishes the keys that verify our tokens.
//! `GET /.well-known/openid-configuration` and `GET /.well-known/oauth-authorization-server`: publishes where the
//! endpoints are.

mod discovery;

use serde_json::{Value, json};
use shared::{
    encoding::base64url,
    error::{ApiError, InternalError, Outcome},
    id::ClientId,
    keys::{Keys, OidcIssuer, PublicKeys},
    runtime::http::{Endpoint, HeaderValue, Request, Response, StatusCode, header},
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, SettingsError},
    store::Store,
};

const APP_KEYS: &str = "GET /api/v1/apps/{clientId}/keys";

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
        let discovery = OidcIssuer::from_environment(environment)?;
        let discovery = discovery.map(|issuer| discovery::document(&issuer, environment)).transpose()?;
        Ok(Self { keys, store, discovery })
    }

    async fn warm(&self) {
        // Most callers request the JWK set, which needs no client.
        let _ = self.keys.published().await;
    }

    async fn respond(&self, request: Request) -> Result<Response, ApiError> {
        let body = match request.route.as_str() {
            "GET /.well-known/jwks.json" => Some(self.key_set().await?),
            APP_KEYS => self.app_keys(&request).await?,
            "GET /.well-known/openid-configuration" | "GET /.well-known/oauth-authorization-server" => {
                self.discovery.clone()
            }
            // Unreachable behind API Gateway, which sends only these.
            _ => None,
        };
        Ok(cacheable(Response::new(StatusCode::OK, Outcome::Done, &body.ok_or(ApiError::NotFound)?)))
    }

    fn error(route: &str, error: &ApiError) -> Response {
        let answer = |status, message: &str| Response::error(status, error, &json!({"message": message}));
        match error {
            ApiError::NotFound if route == APP_KEYS => cacheable(answer(StatusCode::NOT_FOUND, "Client not found")),
            ApiError::NotFound => {
                const MESSAGE: &str = "this deployment has no OIDC_ISSUER, so it has no such document";
                cacheable(answer(StatusCode::NOT_FOUND, MESSAGE))
            }
            // An internal error. No request to these endpoints causes another.
            _ => answer(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
        }
    }
}

/// Anyone may cache the response for five minutes. Some verifiers cache it for longer, so a key is published long
/// before it signs.
fn cacheable(response: Response) -> Response {
    response.with_header(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))
}

impl PublishKeys {
    /// A JWK set (RFC 7517, 5).
    async fn key_set(&self) -> Result<Value, InternalError> {
        let keys = timed(Phase::Load, self.keys.published()).await?;
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

    /// The same keys in the format for clients of the token endpoint. `None` if the client does not exist, or is
    /// disabled or suspended.
    async fn app_keys(&self, request: &Request) -> Result<Option<Value>, InternalError> {
        let Ok(client) = request.path_parameter::<ClientId>("clientId") else { return Ok(None) };
        let (client, keys) =
            timed(Phase::Load, async { tokio::join!(self.store.load_client(client), self.keys.published()) }).await;
        if client?.is_none_or(|client| !client.state.is_usable()) {
            return Ok(None);
        }
        let items = keys?
            .into_iter()
            .map(|key| json!({"uuid": key.id.as_str(), "type": {"name": "public"}, "value": key.pem()}));
        let items = items.collect::<Vec<_>>();
        Ok(Some(json!({"kind": "appKeys", "totalItems": items.len(), "itemsLength": items.len(), "items": items})))
    }
}
