//! `POST /oauth2/revoke` (RFC 7009). Whoever holds a token may revoke it, except that a confidential client's grant
//! needs that client's authentication.

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::{
    auth::{AuthenticatedClient, ClientCredentials, Lookup, RevocableCredential},
    error::{ApiError, OauthError, Outcome},
    keys::AcceptedAudiences,
    runtime::http::{Request, Response, StatusCode},
    runtime::telemetry::{Phase, timed},
    tokens::revocation,
};

use crate::endpoints::{Endpoints, pasted_token};

impl Endpoints {
    pub(crate) async fn revoke(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let form = request.form()?;
        let client = ClientCredentials::read(&request.headers, &form)?;
        // Boxed to keep the futures around it small.
        let load = Box::pin(async {
            let verifier = &self.authenticator.verifier;
            let stored = match verifier.check(pasted_token(&form)?, now, &AcceptedAudiences::Any).await? {
                Some(checked) => verifier.load(checked, Lookup::CredentialOnly).await?,
                None => None,
            };
            Ok::<_, ApiError>(stored.and_then(|stored| stored.revocable(now)))
        });
        let (authenticated, revocable) = match &client {
            // Possession is the credential.
            None => (None, timed(Phase::Load, load).await),
            Some(client) => {
                let (authenticated, revocable) = self.authenticator.authenticate_client(client, now, load).await?;
                (Some(authenticated), revocable)
            }
        };
        if let Some(revocable) = revocable? {
            if let RevocableCredential::Grant { client_id, confidential: true, .. } = &revocable
                && !matches!(&authenticated, Some(AuthenticatedClient::UserClient(id)) if id == client_id)
            {
                return Err(client.map_or_else(|| OauthError::InvalidClient(None).into(), |client| client.invalid()));
            }
            revocation::revoke(&self.store, revocable, now).await?;
        }
        // Some clients read the body of every answer as JSON.
        Ok(Response::new(StatusCode::OK, Outcome::Done, &json!({})))
    }
}
