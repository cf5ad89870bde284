//! The claims of the access token and of the ID token (OpenID Connect Core 1.0, 2), in the format that published clients
//! expect.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    error::InternalError,
    id::TokenId,
    input::oidc::{Language, claims_of_scopes},
    keys::Issuer,
    random::Random,
    tokens::grants::Redemption,
};

use crate::wire::TokenRequest;

const DEFAULT_LANGUAGE: &str = "en";

/// What a token is for, so that an ID token is never accepted as an access token. Amazon Cognito uses the same claim.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum TokenUse {
    Access,
    Id,
}

/// The claims of the access token, and those that the ID token shares with it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CommonClaims {
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
    common: CommonClaims,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(flatten)]
    user_claims: Map<String, Value>,
}

impl CommonClaims {
    pub(crate) fn new(
        request: &TokenRequest,
        redemption: &Redemption<'_>,
        issuer: &Issuer,
        (now, expires_at): (DateTime<Utc>, DateTime<Utc>),
        random: &dyn Random,
    ) -> Result<Self, InternalError> {
        let grant = &redemption.grant.details;
        let language = request.language.as_ref().map(Language::as_str).or(grant.language.as_deref());
        Ok(Self {
            iss: issuer.as_str().to_owned(),
            sub: grant.subject.clone(),
            aud: grant.client_id.to_string(),
            jti: TokenId::random(random)?,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            auth_time: grant.auth_time.timestamp(),
            lng: language.unwrap_or(DEFAULT_LANGUAGE).to_owned(),
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
        access_claims: &CommonClaims,
        random: &dyn Random,
    ) -> Result<Self, InternalError> {
        let grant = &redemption.grant.details;
        Ok(Self {
            common: CommonClaims { jti: TokenId::random(random)?, token_use: TokenUse::Id, ..access_claims.clone() },
            // A refresh too uses the nonce of the authorization request, if it had one (OpenID Connect Core 1.0, 12.2).
            nonce: grant.nonce.as_ref().or(request.grant.nonce.as_ref()).cloned(),
            user_claims: claims_of_scopes(&grant.claims, &access_claims.scope),
        })
    }
}
