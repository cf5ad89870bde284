//! `POST /oauth2/introspect` (RFC 7662). The caller is an API key: as a bearer, or as client credentials with the key's id as
//! the client id.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::{
    auth::{ActiveCredential, ActiveKind, ClientCredentials, Permission, bearer},
    credential::{Credential, CredentialKind},
    error::{InternalError, Unauthenticated, ValidationError},
    input::{Form, required},
    runtime::http::{Request, Response, StatusCode, header},
    runtime::{ApiError, Challenge, Outcome},
};

use crate::Endpoints;

/// How the caller authenticates.
enum Caller {
    Bearer(Option<Credential>),
    Client { credentials: ClientCredentials, api_key: Option<Credential> },
}

impl Caller {
    fn read(request: &Request, form: Option<&Form>) -> Result<Self, ApiError> {
        let empty = Form::default();
        let form = form.unwrap_or(&empty);
        let headers = &request.headers;
        if headers.contains_key(header::AUTHORIZATION) && !ClientCredentials::use_basic(headers) {
            if form.text("client_secret").is_some() {
                let rule = "must not be used together with client credentials in the body";
                return Err(ValidationError::new("Authorization", rule).into());
            }
            let api_key = bearer(headers).ok().and_then(|text| Credential::parse(CredentialKind::ApiKey, text));
            return Ok(Self::Bearer(api_key));
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
            Self::Client { .. } => ApiError::InvalidClient(Some(Challenge::Bearer)),
        }
    }
}

impl Endpoints {
    pub(crate) async fn introspect(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let form = request.form();
        let caller = Caller::read(request, form.as_ref().ok())?;
        let api_key = caller.api_key().ok_or_else(|| caller.invalid())?;
        let token = form.and_then(|form| required("token", form.text("token").map(str::to_owned)));
        let read = async {
            match &token {
                Ok(token) => self.load(token, now).await,
                Err(_) => Ok(None),
            }
        };
        let admitted = self.authenticator.admit_api_key(api_key, now, read).await;
        let (owner, found) = admitted.map_err(|error| match error {
            ApiError::Unauthenticated(_) => caller.invalid(),
            other => other,
        })?;
        token?;
        owner.require(Permission::OauthTokenIntrospect).map_err(|_| ApiError::InsufficientScope)?;
        let own = found?.filter(|credential| credential.organization == Some(owner.organization));
        let body = own.map_or_else(|| json!({"active": false}), active);
        Ok(Response::new(StatusCode::OK, Outcome::Done, &body))
    }

    async fn load(&self, token: &str, now: DateTime<Utc>) -> Result<Option<ActiveCredential>, InternalError> {
        let verifier = self.authenticator.verifier();
        match verifier.inspect(token, now).await? {
            Some(inspected) => verifier.load(inspected, now).await,
            None => Ok(None),
        }
    }
}

/// RFC 7662, 2.2: each member where the credential has one.
fn active(credential: ActiveCredential) -> Value {
    // A refresh token is of no token type (RFC 6749, 7.1), so that nobody takes one for an access token.
    let token_type = (credential.kind != ActiveKind::RefreshToken).then_some("Bearer");
    // The id of an API key or app token is its subject.
    let jti = credential.id.filter(|_| matches!(credential.kind, ActiveKind::AccessToken | ActiveKind::UserToken));
    let scope = Some(credential.scopes.join(" ")).filter(|scope| !scope.is_empty());
    let members = [
        ("active", Some(true.into())),
        ("scope", scope.map(Value::from)),
        ("client_id", credential.client_id.map(Value::from)),
        ("sub", Some(credential.subject.into())),
        ("token_type", token_type.map(Value::from)),
        ("iss", credential.issuer.map(Value::from)),
        ("aud", credential.audience.map(Value::from)),
        ("iat", credential.issued_at.map(|at| at.timestamp().into())),
        ("exp", credential.expires_at.map(|at| at.timestamp().into())),
        ("jti", jti.map(Value::from)),
        ("sid", credential.session.map(|session| session.as_str().into())),
        ("organization", credential.organization.map(|id| id.to_string().into())),
        ("application", credential.application.map(|id| id.to_string().into())),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
