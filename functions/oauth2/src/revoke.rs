//! `POST /oauth2/revoke` (RFC 7009). Whoever holds a token may revoke it, except that a confidential client's grant needs that
//! client's authentication.

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::{
    auth::{AuthenticatedClient, ClientCredentials},
    error::{ApiError, InternalError, OauthError, Outcome},
    runtime::http::{Request, Response, StatusCode},
    runtime::telemetry::{Phase, timed},
    tokens::revocation::{self, RevocableCredential},
};

use crate::endpoints::Endpoints;

impl Endpoints {
    pub(crate) async fn revoke(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let form = request.form()?;
        let client = ClientCredentials::read(&request.headers, &form)?;
        let token = form.required("token");
        let authenticated = async {
            match &client {
                None => Ok::<_, ApiError>(None),
                Some(client) => {
                    let (authenticated, ()) = self.authenticator.authenticate_client(client, now, async {}).await?;
                    Ok(Some(authenticated))
                }
            }
        };
        let revocable = async {
            match token {
                Ok(token) => timed(Phase::Load, self.load_revocable(token, now)).await,
                Err(_) => Ok(None),
            }
        };
        let (authenticated, revocable) = tokio::join!(authenticated, revocable);
        let authenticated = authenticated?;
        token?;
        if let Some(revocable) = revocable? {
            if let RevocableCredential::Grant { client: owner, confidential: true, .. } = &revocable
                && !matches!(&authenticated, Some(AuthenticatedClient::UserClient(id)) if id == owner)
            {
                return Err(client.map_or_else(|| OauthError::InvalidClient(None).into(), |client| client.invalid()));
            }
            revocation::revoke(&self.store, revocable, now).await?;
        }
        // Some clients read the body of every answer as JSON.
        Ok(Response::new(StatusCode::OK, Outcome::Done, &json!({})))
    }

    async fn load_revocable(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<RevocableCredential>, InternalError> {
        match self.authenticator.verifier.check(token, now).await? {
            Some(checked) => revocation::load_revocable(&self.store, checked, now).await,
            None => Ok(None),
        }
    }
}
