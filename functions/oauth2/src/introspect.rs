//! `POST /oauth2/introspect` (RFC 7662). The caller is an API key: as a bearer, or as client credentials with the key's
//! id as the client id.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::{
    auth::{ActiveCredential, ActiveKind, CheckedCredential, ClientCredentials, Permission, bearer, two_methods},
    credential::{Credential, CredentialKind},
    error::{ApiError, Challenge, OauthError, Outcome, Unauthenticated},
    input::Parameters,
    runtime::http::{Request, Response, StatusCode, header},
};

use crate::endpoints::Endpoints;

/// How the caller presents its API key.
enum KeyPresentation {
    Bearer(Option<Credential>),
    Client { credentials: ClientCredentials, api_key: Option<Credential> },
}

impl KeyPresentation {
    fn read(request: &Request, form: &Parameters) -> Result<Self, ApiError> {
        let headers = &request.headers;
        let has_header = headers.contains_key(header::AUTHORIZATION);
        if has_header && !ClientCredentials::uses_basic(headers) {
            if form.get("client_secret").is_some() {
                return Err(two_methods().into());
            }
            let api_key = bearer(headers).ok().and_then(|text| Credential::parse(CredentialKind::ApiKey, text));
            return Ok(Self::Bearer(api_key));
        }
        // Without a `client_id` there are no client credentials to read, and the challenge is Bearer.
        if !has_header && form.get("client_id").is_none() && form.get("client_secret").is_some() {
            return Err(OauthError::InvalidClient(Some(Challenge::Bearer)).into());
        }
        let credentials = ClientCredentials::read(headers, form)?.ok_or(Unauthenticated::Missing)?;
        let api_key = credentials.secret(CredentialKind::ApiKey);
        let api_key = api_key.filter(|key| key.id().to_string().eq_ignore_ascii_case(&credentials.id));
        Ok(Self::Client { credentials, api_key })
    }

    fn api_key(&self) -> Option<&Credential> {
        match self {
            Self::Bearer(api_key) | Self::Client { api_key, .. } => api_key.as_ref(),
        }
    }

    /// The error if the key is not good, with the challenge of the scheme that was used.
    fn invalid(&self) -> ApiError {
        match self {
            Self::Bearer(_) => Unauthenticated::InvalidToken.into(),
            Self::Client { credentials, .. } if credentials.is_basic => credentials.invalid(),
            Self::Client { .. } => OauthError::InvalidClient(Some(Challenge::Bearer)).into(),
        }
    }
}

impl Endpoints {
    pub(crate) async fn introspect(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let form = request.form();
        let presented = match &form {
            Ok(form) => KeyPresentation::read(request, form)?,
            // The credentials may be in the form, so without a header there is nothing to check.
            Err(malformed) if !request.headers.contains_key(header::AUTHORIZATION) => {
                return Err(malformed.clone().into());
            }
            Err(_) => KeyPresentation::read(request, &Parameters::default())?,
        };
        let api_key = presented.api_key().ok_or_else(|| presented.invalid())?.clone();
        let token = form.and_then(|form| form.required("token").map(str::to_owned));
        let read = async |token: &String| self.authenticator.verifier.find(token, now).await;
        let admitted = self.authenticator.admit_bearer(CheckedCredential::ApiKey(api_key), now, token, read).await;
        let (caller, _, found) = admitted.map_err(|error| error.if_unauthenticated(|| presented.invalid()))?;
        caller.require(Permission::OauthTokenIntrospect)?;
        let found = found?;
        let active = found.as_ref().and_then(|stored| stored.active(now));
        let body = match active.filter(|active| active.organization_id() == Some(caller.organization)) {
            Some(active) => members(&active),
            None => json!({"active": false}),
        };
        Ok(Response::new(StatusCode::OK, Outcome::Done, &body))
    }
}

/// RFC 7662, 2.2: each member where the credential has one.
fn members(active: &ActiveCredential<'_>) -> Value {
    // RFC 7662's `token_type` is that of RFC 6749 (7.1), which refresh tokens do not have.
    let token_type = (active.kind() != ActiveKind::RefreshToken).then_some("Bearer");
    let claims = active.claims();
    let members = [
        ("active", Some(true.into())),
        ("scope", active.scope().map(Value::from)),
        ("client_id", active.client_id().map(|id| id.to_string().into())),
        ("sub", Some(active.subject().into())),
        ("token_type", token_type.map(Value::from)),
        ("iss", claims.map(|claims| claims.issuer.as_str().into())),
        ("aud", claims.map(|claims| claims.audience.as_str().into())),
        ("iat", claims.map(|claims| claims.issued_at.timestamp().into())),
        ("exp", active.expires_at().map(|at| at.timestamp().into())),
        // The id of an API key or app token is its subject.
        ("jti", claims.map(|claims| claims.id.to_string().into())),
        ("sid", active.session_id().map(|id| id.as_str().into())),
        ("organization", active.organization_id().map(|id| id.to_string().into())),
        ("application", active.application_id().map(|id| id.to_string().into())),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
