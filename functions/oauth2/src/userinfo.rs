//! `GET /oauth2/userinfo` and `POST /oauth2/userinfo` (OpenID Connect Core 1.0, 5.3).

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{
    auth::{ActiveCredential, CheckedCredential, Lookup, bearer},
    error::{ApiError, Outcome, Unauthenticated},
    input::{Claims, Subject, oidc::OPENID},
    runtime::http::{Request, Response, StatusCode},
    runtime::telemetry::{Phase, timed},
};

use crate::endpoints::Endpoints;

#[derive(Serialize)]
struct UserInfo<'a> {
    sub: &'a Subject,
    #[serde(flatten)]
    claims: Claims,
}

impl Endpoints {
    pub(crate) async fn userinfo(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let verifier = &self.authenticator.verifier;
        let stored = match verifier.check(bearer(&request.headers)?, now).await? {
            // An access token of the token endpoint beside this one.
            Some(CheckedCredential::UserToken(token)) if token.is_rfc9068 => {
                timed(Phase::Load, verifier.load(CheckedCredential::UserToken(token), Lookup::WithIssuer)).await?
            }
            _ => None,
        };
        let active = stored.as_ref().and_then(|stored| stored.active(now));
        let Some(ActiveCredential::UserToken { token, grant }) = active else {
            return Err(Unauthenticated::InvalidToken.into());
        };
        let scopes = &token.claims.scopes;
        if !scopes.contains(OPENID) {
            return Err(ApiError::Forbidden);
        }
        let user = UserInfo { sub: &grant.subject, claims: grant.claims.of_scopes(scopes) };
        Ok(Response::new(StatusCode::OK, Outcome::Done, &user))
    }
}
