//! Client authentication (RFC 6749, 2.3).
//!
//! There are two kinds of clients. One that logs users in has a UUID and, if it is confidential, a client secret. One of the
//! grant type `client_credentials` is a registration, and its secret is an API key of the same organization.

use std::fmt;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chrono::{DateTime, Utc};
use lambda_http::http::{HeaderMap, HeaderValue, header};

use crate::{
    auth::{Authenticator, Principal},
    credential::{Credential, CredentialKind},
    error::ValidationError,
    id::{ClientId, RegistrationId},
    input::{Form, form_decoded},
    runtime::telemetry::{Phase, timed},
    runtime::{ApiError, Challenge},
    store::{Client, Registration},
};

/// Some clients leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request says about its client.
pub struct ClientCredentials {
    /// The `client_id`.
    pub id: String,
    /// `None` of a public client.
    pub secret: Option<String>,
    /// Whether they were in the `Authorization` header, as `client_secret_basic` has it.
    pub is_basic: bool,
}

/// What a client id names.
#[derive(Debug)]
pub enum ClientName {
    Client(ClientId),
    Registration(RegistrationId),
}

/// A client that is who it says it is.
#[derive(Debug)]
pub enum AuthenticatedClient {
    /// A client that logs users in. A public one only named itself.
    Client(ClientId),
    Registration(Box<AuthenticatedRegistration>),
}

/// A registration that authenticated with an API key.
#[derive(Debug)]
pub struct AuthenticatedRegistration {
    pub id: RegistrationId,
    pub registration: Registration,
    /// Whoever holds the key.
    pub caller: Principal,
}

impl ClientCredentials {
    /// Reads the credentials of a request; `None` if it names no client. The same `client_id` in the body beside `Basic` does no
    /// harm.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if there are two methods at once, [`ApiError::InvalidClient`] if the header cannot be read.
    pub fn read(headers: &HeaderMap, form: &Form) -> Result<Option<Self>, ApiError> {
        let (body_id, body_secret) = (form.text("client_id"), form.text("client_secret"));
        let Some(header) = headers.get(header::AUTHORIZATION) else {
            let secret = body_secret.map(str::to_owned);
            return match body_id {
                Some(id) => Ok(Some(Self { id: id.to_owned(), secret, is_basic: false })),
                None if secret.is_some() => Err(ApiError::InvalidClient(None)),
                None => Ok(None),
            };
        };
        let basic = Self::from_basic(header)?;
        if body_secret.is_some() || body_id.is_some_and(|id| id != basic.id) {
            let rule = "must not be used together with client credentials in the body";
            return Err(ValidationError::new("Authorization", rule).into());
        }
        Ok(Some(basic))
    }

    /// The credentials of the scheme `Basic` (RFC 7617, 2). Some clients form-encode them, as RFC 6749 (2.3.1) says, and
    /// others do not; none of ours has a character that would be read differently.
    fn from_basic(header: &HeaderValue) -> Result<Self, ApiError> {
        let (scheme, encoded) = scheme_and_credentials(header);
        if !scheme.eq_ignore_ascii_case("Basic") {
            return Err(ApiError::InvalidClient(None));
        }
        let decoded = BASE64.decode(encoded.trim_matches(' ')).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let halves = decoded.as_deref().and_then(|text| text.split_once(':'));
        let halves = halves.and_then(|(id, secret)| Some((form_decoded(id)?, form_decoded(secret)?)));
        match halves {
            Some((id, secret)) if !id.is_empty() => {
                Ok(Self { id, secret: Some(secret).filter(|secret| !secret.is_empty()), is_basic: true })
            }
            _ => Err(ApiError::InvalidClient(Some(Challenge::Basic))),
        }
    }

    /// Whether a request uses the scheme `Basic`.
    #[must_use]
    pub fn use_basic(headers: &HeaderMap) -> bool {
        headers
            .get(header::AUTHORIZATION)
            .is_some_and(|header| scheme_and_credentials(header).0.eq_ignore_ascii_case("Basic"))
    }

    /// What the `client_id` names.
    ///
    /// # Errors
    /// [`ApiError::InvalidClient`] if it is the id of nothing.
    pub fn name(&self) -> Result<ClientName, ApiError> {
        if let Ok(client) = self.id.parse() {
            return Ok(ClientName::Client(client));
        }
        self.id.parse().map(ClientName::Registration).map_err(|_| self.invalid())
    }

    /// The error for credentials that are wrong.
    #[must_use]
    pub fn invalid(&self) -> ApiError {
        ApiError::InvalidClient(self.is_basic.then_some(Challenge::Basic))
    }

    /// Requires that `client` is the one that these credentials are of.
    ///
    /// # Errors
    /// [`ApiError::InvalidClient`].
    pub fn authenticate(&self, client: Option<&Client>) -> Result<(), ApiError> {
        let right =
            client.is_some_and(|client| match (&client.secret_hash, self.secret(CredentialKind::ClientSecret)) {
                (None, None) => self.secret.is_none(),
                (Some(hash), Some(secret)) => *hash == secret.hash(),
                _ => false,
            });
        if right { Ok(()) } else { Err(self.invalid()) }
    }

    /// The secret, if it is of this kind.
    #[must_use]
    pub fn secret(&self, kind: CredentialKind) -> Option<Credential> {
        self.secret.as_deref().and_then(|secret| Credential::parse(kind, secret))
    }
}

fn scheme_and_credentials(header: &HeaderValue) -> (&str, &str) {
    let text = header.to_str().unwrap_or_default();
    text.split_once(' ').unwrap_or((text, ""))
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("is_basic", &self.is_basic).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Authenticates a client of either kind.
    ///
    /// # Errors
    /// [`ApiError::InvalidClient`], or a failure.
    pub async fn authenticate_client(
        &self,
        credentials: &ClientCredentials,
        now: DateTime<Utc>,
    ) -> Result<AuthenticatedClient, ApiError> {
        let store = self.verifier().store();
        match credentials.name()? {
            ClientName::Client(id) => {
                let client = timed(Phase::Load, store.load_client(id)).await?;
                credentials.authenticate(client.as_ref())?;
                Ok(AuthenticatedClient::Client(id))
            }
            ClientName::Registration(id) => {
                let api_key = credentials.secret(CredentialKind::ApiKey).ok_or_else(|| credentials.invalid())?;
                let admitted = self.admit_api_key(&api_key, now, store.load_registration(&id)).await;
                let (caller, registration) = admitted.map_err(|error| match error {
                    ApiError::Unauthenticated(_) => credentials.invalid(),
                    other => other,
                })?;
                let own = registration?.filter(|registration| registration.organization_id == caller.organization);
                let registration = own.ok_or_else(|| credentials.invalid())?;
                Ok(AuthenticatedClient::Registration(Box::new(AuthenticatedRegistration { id, registration, caller })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as PADDED;

    use super::*;

    fn read(authorization: Option<&str>, body: &str) -> Result<Option<(String, Option<String>)>, String> {
        let mut headers = HeaderMap::new();
        headers.extend(authorization.map(|value| (header::AUTHORIZATION, value.parse().unwrap())));
        let read = ClientCredentials::read(&headers, &Form::parse(body.as_bytes()).unwrap());
        read.map(|read| read.map(|client| (client.id, client.secret))).map_err(|error| format!("{error:?}"))
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", PADDED.encode(text))
    }

    #[test]
    fn each_method_names_the_client() {
        let named =
            |id: &str, secret: &str| Ok(Some((id.to_owned(), Some(secret.to_owned()).filter(|s| !s.is_empty()))));
        assert_eq!(read(None, "a=b"), Ok(None));
        assert_eq!(read(None, "client_id=x"), named("x", ""));
        assert_eq!(read(None, "client_id=x&client_secret="), named("x", ""));
        assert_eq!(read(None, "client_id=x&client_secret=y"), named("x", "y"));
        assert_eq!(read(Some(&basic("x:y")), ""), named("x", "y"));
        assert_eq!(read(Some(&basic("x:y:z")), ""), named("x", "y:z"));
        assert_eq!(read(Some(&basic("x:")), "client_id=x"), named("x", ""));
        assert_eq!(read(Some(&basic("x:tmk%5Fa")), "client_id=x&client_secret="), named("x", "tmk_a"));
        assert_eq!(read(Some(&basic("x:y").replace("Basic", "bASIC").replace('=', "")), ""), named("x", "y"));
    }

    #[test]
    fn one_method_at_a_time() {
        for body in ["client_secret=y", "client_id=x&client_secret=y", "client_id=z"] {
            let refused = read(Some(&basic("x:y")), body).unwrap_err();
            assert!(refused.contains("Invalid(") && refused.contains("Authorization"), "{refused}");
        }
        let two = read(Some(&basic("x:")), "client_secret=y").unwrap_err();
        assert!(two.contains("Invalid("), "{two}");
    }

    #[test]
    fn what_cannot_be_read_is_an_invalid_client() {
        for malformed in ["Basic", "Basic ", "Basic !", &basic("x"), &basic(":y"), &basic("%:y"), &basic("x:%ff")] {
            assert_eq!(read(Some(malformed), "").unwrap_err(), "InvalidClient(Some(Basic))", "{malformed}");
        }
        for other in ["", "Bearer x", "Digest x", "tmk_x"] {
            assert_eq!(read(Some(other), "").unwrap_err(), "InvalidClient(None)", "{other}");
        }
        assert_eq!(read(None, "client_secret=y").unwrap_err(), "InvalidClient(None)");
    }
}
