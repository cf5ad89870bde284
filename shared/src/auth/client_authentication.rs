//! Client authentication (RFC 6749, 2.3).
//!
//! There are two kinds of clients. One that logs users in has a UUID and, if it is confidential, a client secret. One
//! of the grant type `client_credentials` is a registration. Its secret is its own, if it is confidential, or any API
//! key of the same organization.

use std::{fmt, str::FromStr};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chrono::{DateTime, Utc};
use lambda_http::http::{HeaderMap, HeaderValue, header};

use crate::{
    auth::Principal,
    credential::{Credential, CredentialHash, CredentialKind},
    error::{ApiError, Challenge, Constraint, OauthError, ValidationError},
    id::{ClientId, RegistrationId},
    input::{Parameters, form_decoded},
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
    /// `None` for a public client.
    pub secret: Option<String>,
    /// Whether they were in the `Authorization` header, as `client_secret_basic` has it.
    pub is_basic: bool,
}

/// A `client_id`, by the kind of client that it may be of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ParsedClientId {
    /// Of a client that logs users in.
    UserClient(ClientId),
    Registration(RegistrationId),
}

/// A client that is who it says it is.
#[derive(Debug)]
pub enum AuthenticatedClient {
    /// A client that logs users in. A public one is only identified.
    UserClient(ClientId),
    Registration(Box<AuthenticatedRegistration>),
}

/// A registration that authenticated with its own secret or an API key.
#[derive(Debug)]
pub struct AuthenticatedRegistration {
    pub id: RegistrationId,
    pub registration: Registration,
    /// The registration itself, or whoever holds the API key.
    pub caller: Principal,
}

impl ClientCredentials {
    /// Reads the credentials of a request; `None` if it names no client. The same `client_id` in the body beside
    /// `Basic` does no harm.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if there are two methods at once, [`OauthError::InvalidClient`] if they cannot be read.
    pub fn read(headers: &HeaderMap, form: &Parameters) -> Result<Option<Self>, ApiError> {
        let (body_id, body_secret) = (form.get("client_id"), form.get("client_secret"));
        let basic = headers.get(header::AUTHORIZATION).map(Self::from_basic).transpose()?.flatten();
        match (basic, body_id, body_secret) {
            (Some(basic), id, None) if id.is_none_or(|id| id == basic.id) => Ok(Some(basic)),
            (Some(_), ..) => Err(two_methods().into()),
            (None, Some(id), secret) => {
                Ok(Some(Self { id: id.to_owned(), secret: secret.map(str::to_owned), is_basic: false }))
            }
            (None, None, Some(_)) => Err(OauthError::InvalidClient(None).into()),
            (None, None, None) => Ok(None),
        }
    }

    /// The credentials of the scheme `Basic` (RFC 7617, 2), form-encoded as RFC 6749 (2.3.1) says. Some clients do not
    /// encode them. Ours contain neither `%` nor `+`, so both readings agree; a secret that an operator chose may.
    ///
    /// `None` if there are none: no credentials or no id, or another scheme. Browsers and proxies add such headers.
    fn from_basic(header: &HeaderValue) -> Result<Option<Self>, ApiError> {
        let encoded = basic_credentials(header).unwrap_or_default().trim_ascii();
        if encoded.is_empty() {
            return Ok(None);
        }
        let decoded = BASE64.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let halves = decoded.as_deref().and_then(|text| text.split_once(':'));
        let halves = halves.and_then(|(id, secret)| Some((form_decoded(id)?, form_decoded(secret)?)));
        let (id, secret) = halves.ok_or(OauthError::InvalidClient(Some(Challenge::Basic)))?;
        let secret = Some(secret).filter(|secret| !secret.is_empty());
        Ok((!id.is_empty()).then_some(Self { id, secret, is_basic: true }))
    }

    /// Whether a request uses the scheme `Basic`.
    #[must_use]
    pub fn uses_basic(headers: &HeaderMap) -> bool {
        headers.get(header::AUTHORIZATION).is_some_and(|header| basic_credentials(header).is_some())
    }

    /// The `client_id`.
    ///
    /// # Errors
    /// [`OauthError::InvalidClient`] if it is neither a client's nor a registration's.
    pub fn parse_id(&self) -> Result<ParsedClientId, ApiError> {
        self.id.parse().map_err(|_| self.invalid())
    }

    /// The error for credentials that are wrong.
    #[must_use]
    pub fn invalid(&self) -> ApiError {
        OauthError::InvalidClient(self.is_basic.then_some(Challenge::Basic)).into()
    }

    /// Checks the secret against the client's.
    ///
    /// # Errors
    /// [`OauthError::InvalidClient`].
    pub fn authenticate(&self, client: Option<&Client>, now: DateTime<Utc>) -> Result<(), ApiError> {
        let right = client.filter(|client| client.state.is_usable()).is_some_and(|client| match self.secret_hash() {
            None => !client.is_confidential(),
            Some(secret) => client.secrets.accepts(&secret, now),
        });
        if right { Ok(()) } else { Err(self.invalid()) }
    }

    /// The hash of the secret, of whatever form: an operator may have chosen it.
    pub(super) fn secret_hash(&self) -> Option<CredentialHash> {
        self.secret.as_deref().map(CredentialHash::of)
    }

    /// The secret, if it is of this kind.
    #[must_use]
    pub fn secret(&self, kind: CredentialKind) -> Option<Credential> {
        self.secret.as_deref().and_then(|secret| Credential::parse(kind, secret))
    }
}

/// The error for credentials in the header and in the body (RFC 6749, 2.3).
#[must_use]
pub fn two_methods() -> ValidationError {
    ValidationError::new("Authorization", "must not be used together with client credentials in the body")
}

impl FromStr for ParsedClientId {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let client = text.parse().map(Self::UserClient);
        client.or_else(|_| text.parse().map(Self::Registration))
    }
}

impl fmt::Display for ParsedClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserClient(id) => id.fmt(f),
            Self::Registration(id) => id.fmt(f),
        }
    }
}

/// What follows the scheme, if that is `Basic`. It may be unreadable.
fn basic_credentials(header: &HeaderValue) -> Option<&[u8]> {
    let (scheme, credentials) = header.as_bytes().split_at_checked("Basic".len())?;
    let ends = credentials.first().is_none_or(u8::is_ascii_whitespace);
    (scheme.eq_ignore_ascii_case(b"Basic") && ends).then_some(credentials)
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("is_basic", &self.is_basic).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as PADDED;

    use super::*;

    fn read(authorization: Option<&str>, body: &str) -> Result<Option<(String, Option<String>)>, String> {
        let mut headers = HeaderMap::new();
        headers.extend(
            authorization.map(|value| (header::AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap())),
        );
        let read = ClientCredentials::read(&headers, &Parameters::from_form(body.as_bytes()).unwrap());
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
    fn a_header_without_client_credentials_is_ignored() {
        for header in ["", "Bearer x", "Digest x", "tmk_x", "Basic", "Basic ", "basic\t", &basic(":"), &basic(":y")] {
            assert_eq!(read(Some(header), ""), Ok(None), "{header}");
            let in_body = Ok(Some(("x".to_owned(), Some("y".to_owned()))));
            assert_eq!(read(Some(header), "client_id=x&client_secret=y"), in_body, "{header}");
        }
    }

    #[test]
    fn one_method_at_a_time() {
        for body in ["client_secret=y", "client_id=x&client_secret=y", "client_id=z", "client_id=X"] {
            let refused = read(Some(&basic("x:y")), body).unwrap_err();
            assert!(refused.contains("Invalid(") && refused.contains("Authorization"), "{refused}");
        }
        let two = read(Some(&basic("x:")), "client_secret=y").unwrap_err();
        assert!(two.contains("Invalid("), "{two}");
    }

    #[test]
    fn what_cannot_be_read_is_an_invalid_client() {
        for malformed in ["Basic !", "Basic\t!", "Basic é", &basic("x"), &basic("%:y"), &basic("x:%ff")] {
            assert_eq!(read(Some(malformed), "").unwrap_err(), "Oauth(InvalidClient(Some(Basic)))", "{malformed}");
        }
        assert_eq!(read(None, "client_secret=y").unwrap_err(), "Oauth(InvalidClient(None))");
    }
}
