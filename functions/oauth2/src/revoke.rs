//! `POST /oauth2/revoke` (RFC 7009). Whoever holds a credential may end it; only the tokens of a confidential client want its
//! authentication, too.

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::{
    auth::{AuthenticatedClient, ClientCredentials},
    error::InternalError,
    input::required,
    runtime::http::{Request, Response, StatusCode},
    runtime::telemetry::{Phase, timed},
    runtime::{ApiError, Outcome},
    tokens::revocation::HeldCredential,
};

use crate::Endpoints;

impl Endpoints {
    pub(crate) async fn revoke(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let form = request.form()?;
        let client = ClientCredentials::read(&request.headers, &form)?;
        let token = required("token", form.text("token"));
        let authenticated = async {
            match &client {
                None => Ok(None),
                Some(client) => self.authenticator.authenticate_client(client, now).await.map(Some),
            }
        };
        let held = async {
            match token {
                Ok(token) => timed(Phase::Load, self.load_held(token, now)).await,
                Err(_) => Ok(None),
            }
        };
        let (authenticated, held) = tokio::join!(authenticated, held);
        let authenticated = authenticated?;
        token?;
        if let Some(held) = held? {
            if let HeldCredential::Grant { client: owner, confidential: true, .. } = &held
                && !matches!(&authenticated, Some(AuthenticatedClient::Client(id)) if id == owner)
            {
                return Err(client.map_or(ApiError::InvalidClient(None), |client| client.invalid()));
            }
            self.revocations.end(held, now).await?;
        }
        // Some clients read the body of every answer as JSON.
        Ok(Response::new(StatusCode::OK, Outcome::Done, &json!({})))
    }

    async fn load_held(&self, token: &str, now: DateTime<Utc>) -> Result<Option<HeldCredential>, InternalError> {
        match self.authenticator.verifier().inspect(token, now).await? {
            Some(inspected) => self.revocations.load_held(inspected, now).await,
            None => Ok(None),
        }
    }
}
