//! `GET /oauth2/userinfo` and `POST /oauth2/userinfo` (OpenID Connect Core 1.0, 5.3).

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use shared::{
    auth::{ActiveCredential, CheckedCredential, bearer},
    error::{ApiError, Outcome, Unauthenticated},
    input::oidc::{OPENID, claims_of_scopes},
    runtime::http::{Request, Response, StatusCode},
    runtime::telemetry::{Phase, timed},
};

use crate::endpoints::Endpoints;

impl Endpoints {
    pub(crate) async fn userinfo(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let verifier = &self.authenticator.verifier;
        let stored = match verifier.check(bearer(&request.headers)?, now).await? {
            // An access token of the token endpoint beside this one.
            Some(CheckedCredential::UserToken(token)) if token.is_rfc9068 => {
                timed(Phase::Load, verifier.load(CheckedCredential::UserToken(token))).await?
            }
            _ => None,
        };
        let active = stored.as_ref().and_then(|stored| stored.active(now));
        let Some(ActiveCredential::UserToken { token, grant }) = active else {
            return Err(Unauthenticated::InvalidToken.into());
        };
        let scopes = &token.claims.scopes;
        if !scopes.iter().any(|scope| scope == OPENID) {
            return Err(ApiError::Forbidden);
        }
        let mut claims = Map::from_iter([("sub".to_owned(), Value::from(grant.subject.as_str()))]);
        claims.extend(claims_of_scopes(&grant.claims, scopes));
        Ok(Response::new(StatusCode::OK, Outcome::Done, &claims))
    }
}
