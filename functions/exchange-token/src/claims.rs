//! The claims of the access token and of the ID token (OpenID Connect Core 1.0, 2), in the form that published
//! clients read.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    error::InternalError, id::TokenId, input::oidc::claims_of_scopes, keys::Issuer, random::Random,
    tokens::grants::Redemption,
};

use crate::wire::TokenRequest;

const DEFAULT_LANGUAGE: &str = "en";

/// What a token is good for, so that an ID token is never taken for an access token. The claim is that of AWS's own user
/// pools.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum TokenUse {
    Access,
    Id,
}

/// The claims of the access token, and those that the ID token shares with it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AccessClaims {
    iss: String,
    sub: String,
    aud: String,
    jti: TokenId,
    iat: i64,
    exp: i64,
    auth_time: i64,
    lng: String,
    scope: Vec<String>,
    /// OpenID Connect Front-Channel Logout 1.0, 3.
    sid: String,
    token_use: TokenUse,
}

/// The claims of the ID token.
#[derive(Debug, Serialize)]
pub(crate) struct IdClaims {
    #[serde(flatten)]
    common: AccessClaims,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(flatten)]
    subject: Map<String, Value>,
}

impl AccessClaims {
    pub(crate) fn new(
        request: &TokenRequest,
        redemption: &Redemption<'_>,
        issuer: &Issuer,
        (now, expires_at): (DateTime<Utc>, DateTime<Utc>),
        random: &dyn Random,
    ) -> Result<Self, InternalError> {
        let grant = &redemption.grant.details;
        let language = request.language.as_ref().or(grant.language.as_ref());
        Ok(Self {
            iss: issuer.as_str().to_owned(),
            sub: grant.subject.clone(),
            aud: grant.client_id.to_string(),
            jti: TokenId::random(random)?,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            auth_time: grant.auth_time.timestamp(),
            lng: language.map_or_else(|| DEFAULT_LANGUAGE.to_owned(), Clone::clone),
            scope: request.grant.scopes.as_ref().unwrap_or(&grant.scopes).clone(),
            sid: redemption.session_id().as_str().to_owned(),
            token_use: TokenUse::Access,
        })
    }
}

impl IdClaims {
    pub(crate) fn new(
        request: &TokenRequest,
        redemption: &Redemption<'_>,
        access: &AccessClaims,
        random: &dyn Random,
    ) -> Result<Self, InternalError> {
        let grant = &redemption.grant.details;
        Ok(Self {
            common: AccessClaims { jti: TokenId::random(random)?, token_use: TokenUse::Id, ..access.clone() },
            // On a refresh too it is the authorization request's, if that had one (OpenID Connect Core 1.0, 12.2).
            nonce: grant.nonce.as_ref().or(request.grant.nonce.as_ref()).cloned(),
            subject: claims_of_scopes(&grant.claims, &access.scope),
        })
    }
}
