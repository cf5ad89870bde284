//! `GET /oauth2/userinfo` and `POST /oauth2/userinfo` (OpenID Connect Core 1.0, 5.3).

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{
    auth::{ActiveCredential, CheckedCredential, Lookup, bearer},
    error::{ApiError, Outcome, Unauthenticated, ValidationError},
    input::{Claims, Parameters, Subject, oidc::OPENID},
    keys::AcceptedAudiences,
    runtime::http::{Request, Response, StatusCode, header},
    runtime::telemetry::{Phase, timed},
};

use crate::endpoints::Endpoints;

#[derive(Serialize)]
struct UserInfo<'a> {
    sub: &'a Subject,
    #[serde(flatten)]
    claims: Claims,
}

/// The bearer, in the header or in a form (RFC 6750, 2.1, 2.2).
fn presented(request: &Request) -> Result<String, ApiError> {
    let form = if request.has_form() { request.form()? } else { Parameters::default() };
    let in_form = form.get("access_token").filter(|_| request.route.starts_with("POST "));
    match in_form {
        Some(_) if request.headers.contains_key(header::AUTHORIZATION) => {
            let rule = "must not be given together with an Authorization header";
            Err(ValidationError::new("access_token", rule).into())
        }
        Some(token) => Ok(token.to_owned()),
        None => Ok(bearer(&request.headers)?.to_owned()),
    }
}

impl Endpoints {
    pub(crate) async fn userinfo(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let verifier = &self.authenticator.verifier;
        let text = presented(request)?;
        let stored = match verifier.check(&text, now, &AcceptedAudiences::Deployment).await? {
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
