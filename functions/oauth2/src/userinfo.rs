//! `GET /oauth2/userinfo` and `POST /oauth2/userinfo` (OpenID Connect Core 1.0, 5.3).

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{
    auth::{CheckedCredential, CheckedUserToken, bearer},
    error::{ApiError, OauthError, Outcome, Unauthenticated},
    input::{Claims, Subject, oidc::OPENID},
    runtime::http::{Request, Response, StatusCode},
    runtime::telemetry::{Phase, timed},
};

use crate::Endpoints;

#[derive(Serialize)]
struct UserInfo {
    sub: Subject,
    #[serde(flatten)]
    claims: Claims,
}

impl Endpoints {
    pub(crate) async fn userinfo(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let token = self.check_user_token(request, now).await?;
        let verifier = &self.authenticator.verifier;
        let grant = timed(Phase::Load, verifier.load_grant_of(&token, now)).await?;
        let grant = grant.ok_or(Unauthenticated::InvalidToken)?;
        if !token.scopes.contains(OPENID) {
            return Err(OauthError::InsufficientScope.into());
        }
        let user = UserInfo { claims: grant.details.claims.of_scopes(&token.scopes), sub: token.subject };
        Ok(Response::new(StatusCode::OK, Outcome::Done, &user))
    }

    /// The caller's access token, which must be one of the token endpoint beside this one.
    async fn check_user_token(&self, request: &Request, now: DateTime<Utc>) -> Result<CheckedUserToken, ApiError> {
        let text = bearer(&request.headers)?;
        match self.authenticator.verifier.check(text, now).await? {
            Some(CheckedCredential::UserToken(token)) if token.is_rfc9068 => Ok(token),
            _ => Err(Unauthenticated::InvalidToken.into()),
        }
    }
}
