//! `POST /oauth2/introspect` (RFC 7662). The caller is an API key, which asks about what its organization has, or a
//! confidential client or registration, which asks about what was issued to it.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::{
    auth::{
        ActiveCredential, ActiveKind, AuthenticatedClient, AuthenticatedRegistration, ClientCredentials, Introspector,
        ParsedClientId, Permission, PrincipalId, StoredCredential, bearer, two_methods,
    },
    credential::{Credential, CredentialKind},
    error::{ApiError, Challenge, OauthError, Outcome, Unauthenticated, ValidationError},
    id::ObjectId,
    input::Parameters,
    keys::AcceptedAudiences,
    runtime::http::{Request, Response, StatusCode, header},
};

use crate::endpoints::{Endpoints, pasted_token};

/// How the caller authenticates.
enum CallerCredentials {
    /// An API key as a bearer; `None` if it cannot be one.
    Bearer(Option<Credential>),
    /// An API key with its own id as client credentials.
    ApiKey { api_key: Credential, credentials: ClientCredentials },
    /// A confidential client, or a registration with its own secret or an API key.
    Client(ClientCredentials),
}

impl CallerCredentials {
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
        let missing = || {
            if has_header {
                ApiError::from(OauthError::InvalidClient(Some(Challenge::Basic)))
            } else {
                Unauthenticated::Missing.into()
            }
        };
        let credentials = ClientCredentials::read(headers, form)?.ok_or_else(missing)?;
        let api_key = credentials.secret(CredentialKind::ApiKey);
        Ok(match api_key.filter(|key| key.id().to_string().eq_ignore_ascii_case(&credentials.id)) {
            Some(api_key) => Self::ApiKey { api_key, credentials },
            None => Self::Client(credentials),
        })
    }

    /// The error if the credentials are not good, with the challenge of the scheme that was used.
    fn invalid(&self) -> ApiError {
        match self {
            Self::Bearer(_) => Unauthenticated::InvalidToken.into(),
            Self::ApiKey { credentials, .. } | Self::Client(credentials) if credentials.is_basic => {
                credentials.invalid()
            }
            Self::ApiKey { .. } | Self::Client(_) => OauthError::InvalidClient(Some(Challenge::Bearer)).into(),
        }
    }
}

/// What a caller may ask about.
enum MayIntrospect {
    /// What any organization has, and clients of none.
    All,
    /// What this organization has.
    OfOrganization(ObjectId),
    /// What was issued to this client or registration.
    IssuedTo(ParsedClientId),
}

impl MayIntrospect {
    fn includes(&self, active: &ActiveCredential<'_>) -> bool {
        match self {
            Self::All => true,
            Self::OfOrganization(organization) => active.organization_id() == Some(*organization),
            Self::IssuedTo(client) => active.client_id().as_ref() == Some(client),
        }
    }
}

impl Endpoints {
    pub(crate) async fn introspect(&self, request: &Request, now: DateTime<Utc>) -> Result<Response, ApiError> {
        let form = request.form();
        let caller = match &form {
            Ok(form) => CallerCredentials::read(request, form)?,
            // The credentials may be in the form, so without a header there is nothing to check.
            Err(malformed) if !request.headers.contains_key(header::AUTHORIZATION) => {
                return Err(malformed.clone().into());
            }
            Err(_) => CallerCredentials::read(request, &Parameters::default())?,
        };
        let token = form.and_then(|form| pasted_token(&form).map(str::to_owned));
        let (may_introspect, found) = self.authenticate_and_find(&caller, token, now).await?;
        let active = found.as_ref().and_then(|stored| stored.active(now));
        let body = match active.filter(|active| may_introspect.includes(active)) {
            Some(active) => members(&active),
            None => json!({"active": false}),
        };
        Ok(Response::new(StatusCode::OK, Outcome::Done, &body))
    }

    /// Authenticates the caller, and looks the token up.
    async fn authenticate_and_find(
        &self,
        caller: &CallerCredentials,
        token: Result<String, ValidationError>,
        now: DateTime<Utc>,
    ) -> Result<(MayIntrospect, Option<StoredCredential>), ApiError> {
        let invalid = |error: ApiError| match error {
            ApiError::Unauthenticated(_) | ApiError::Oauth(OauthError::InvalidClient(_)) => caller.invalid(),
            other => other,
        };
        // Boxed to keep the futures around it small.
        let find = async |token: &str| {
            Box::pin(self.authenticator.verifier.find(token, now, &AcceptedAudiences::Any, &ActiveKind::ALL)).await
        };
        match caller {
            CallerCredentials::Bearer(None) => Err(caller.invalid()),
            CallerCredentials::Bearer(Some(api_key)) | CallerCredentials::ApiKey { api_key, .. } => {
                let read = async |token: &String| find(token).await;
                let admitted = self.authenticator.admit_introspector(api_key.clone(), now, token, read).await;
                let (Introspector { organization, is_permitted }, _, found) = admitted.map_err(invalid)?;
                if !is_permitted {
                    return Err(ApiError::Forbidden);
                }
                Ok((organization.map_or(MayIntrospect::All, MayIntrospect::OfOrganization), found?))
            }
            CallerCredentials::Client(credentials) => {
                // Only a client with a secret authenticates.
                credentials.secret.as_ref().ok_or_else(|| caller.invalid())?;
                let read = async {
                    match &token {
                        Ok(token) => find(token).await,
                        Err(_) => Ok(None),
                    }
                };
                let (client, found) =
                    self.authenticator.authenticate_client(credentials, now, read).await.map_err(invalid)?;
                token?;
                Ok((may_introspect(client)?, found?))
            }
        }
    }
}

fn may_introspect(client: AuthenticatedClient) -> Result<MayIntrospect, ApiError> {
    match client {
        AuthenticatedClient::UserClient(id) => Ok(MayIntrospect::IssuedTo(ParsedClientId::UserClient(id))),
        AuthenticatedClient::Registration(registration) => {
            let AuthenticatedRegistration { id, caller, .. } = *registration;
            match caller.id {
                PrincipalId::Registration(_) => Ok(MayIntrospect::IssuedTo(ParsedClientId::Registration(id))),
                PrincipalId::ApiKey(_) => {
                    caller.require(Permission::OauthTokenIntrospect)?;
                    Ok(MayIntrospect::OfOrganization(caller.organization))
                }
            }
        }
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
        ("aud", claims.map(|claims| json!(claims.audiences))),
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
