//! Credentials by what they say themselves, before anything is looked up.

use chrono::{DateTime, Utc};

use super::ActiveKind;
use crate::{
    credential::{AppBearer, Credential, CredentialKind, GrantCredential, SessionId},
    id::{ClientId, RegistrationId, TokenId},
    input::{Audiences, Claims, Scopes, Subject},
    keys::jwt::{ApiV1UserClaims, RegistrationTokenClaims, TokenType, TokenUse, UserTokenClaims, VerifiedJwt},
    store::Generation,
};

/// A credential that passed [`super::CredentialVerifier::check`]. An opaque one may still be made up.
#[derive(Debug)]
pub enum CheckedCredential {
    ApiKey(Credential),
    AppToken(AppBearer),
    Code(GrantCredential),
    RefreshToken(GrantCredential),
    RegistrationToken(CheckedRegistrationToken),
    UserToken(CheckedUserToken),
}

/// An access token of a registration. Its signature is valid and it has not expired.
#[derive(Debug)]
pub struct CheckedRegistrationToken {
    pub registration_id: RegistrationId,
    /// Of a machine token, the generation of the registration that it was issued in. Other tokens are recorded.
    pub generation: Option<Generation>,
    pub claims: AccessClaims,
}

/// A user's access token. Its signature is valid and it has not expired.
#[derive(Debug)]
pub struct CheckedUserToken {
    pub client_id: ClientId,
    /// Whether it has the profile of RFC 9068, as those of `/oauth2/token` have. Those of `/api/v1/tokens` have
    /// another.
    pub is_rfc9068: bool,
    pub subject: Subject,
    pub session_id: SessionId,
    pub claims: AccessClaims,
}

/// The claims that every access token has.
#[derive(Debug)]
pub struct AccessClaims {
    pub issuer: String,
    pub audiences: Audiences,
    /// The `jti`.
    pub id: TokenId,
    pub scopes: Scopes,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// All claims, as JSON.
    pub payload: Box<[u8]>,
}

impl AccessClaims {
    /// The claims that somebody gave: those of the registration or login, an address, and how the user has logged in.
    #[must_use]
    pub fn given(&self) -> Claims {
        Claims::of_payload(&self.payload)
    }
}

/// Moves the claims that every access token has out of the claims of any of its formats. A macro, because those are
/// three types with the same fields, whose other fields are moved out as well.
macro_rules! access_claims {
    ($claims:ident, $jwt:ident) => {
        AccessClaims {
            issuer: $claims.iss,
            audiences: $claims.aud.into(),
            id: $claims.jti,
            scopes: $claims.scope,
            issued_at: $claims.iat,
            expires_at: $claims.exp,
            payload: $jwt.payload().into(),
        }
    };
}

impl CheckedCredential {
    /// An opaque credential whose format and checksum are right.
    pub(super) fn parse_opaque(text: &str) -> Option<Self> {
        let api_key = Credential::parse(CredentialKind::ApiKey, text).map(Self::ApiKey);
        api_key
            .or_else(|| AppBearer::parse(text).map(Self::AppToken))
            .or_else(|| GrantCredential::parse_code(text).map(Self::Code))
            .or_else(|| GrantCredential::parse_refresh_token(text).map(Self::RefreshToken))
    }

    /// What it can be active as. `None` for a code, which is good for an exchange only.
    pub(super) fn kind(&self) -> Option<ActiveKind> {
        match self {
            Self::ApiKey(_) => Some(ActiveKind::ApiKey),
            Self::AppToken(_) => Some(ActiveKind::AppToken),
            Self::RegistrationToken(_) => Some(ActiveKind::RegistrationToken),
            Self::UserToken(_) => Some(ActiveKind::UserToken),
            Self::RefreshToken(_) => Some(ActiveKind::RefreshToken),
            Self::Code(_) => None,
        }
    }

    /// Whether it is a JWT, whose signature was verified.
    pub(super) fn is_jwt(&self) -> bool {
        match self {
            Self::RegistrationToken(_) | Self::UserToken(_) => true,
            Self::ApiKey(_) | Self::AppToken(_) | Self::Code(_) | Self::RefreshToken(_) => false,
        }
    }
}

impl CheckedRegistrationToken {
    /// Issuer, audience and expiry are not checked yet.
    pub(super) fn read(jwt: &VerifiedJwt) -> Option<Self> {
        let claims: RegistrationTokenClaims = jwt.claims().filter(|_| jwt.typ == TokenType::AtJwt)?;
        let generation = claims.generation;
        Some(Self { registration_id: claims.sub, generation, claims: access_claims!(claims, jwt) })
    }
}

impl CheckedUserToken {
    /// An access token in one of its two formats: a session id tells it from a registration's, and `token_use` from an
    /// ID token. Issuer, audience and expiry are not checked yet.
    pub(super) fn read(jwt: &VerifiedJwt) -> Option<Self> {
        match jwt.typ {
            TokenType::AtJwt => jwt.claims().map(|claims: UserTokenClaims| Self {
                client_id: claims.client_id,
                is_rfc9068: true,
                subject: claims.sub,
                session_id: claims.sid,
                claims: access_claims!(claims, jwt),
            }),
            TokenType::Jwt => {
                let claims: ApiV1UserClaims = jwt.claims()?;
                (claims.token_use == TokenUse::Access).then(|| Self {
                    client_id: claims.aud,
                    is_rfc9068: false,
                    subject: claims.sub,
                    session_id: claims.sid,
                    claims: access_claims!(claims, jwt),
                })
            }
        }
    }
}
