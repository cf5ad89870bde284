//! The claims of the access token and of the ID token (OpenID Connect Core 1.0, 2), in the format that published clients
//! expect.

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    error::InternalError,
    id::TokenId,
    input::oidc::{Language, claims_of_scopes},
    keys::Issuer,
    keys::jwt::{ApiV1UserClaims, TokenUse},
    random::Random,
    tokens::grants::Redemption,
};

use crate::wire::TokenRequest;

const DEFAULT_LANGUAGE: &str = "en";

/// The claims of the ID token.
#[derive(Debug, Serialize)]
pub(crate) struct IdClaims {
    #[serde(flatten)]
    common: ApiV1UserClaims,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(flatten)]
    user_claims: Map<String, Value>,
}

pub(crate) fn access_claims(
    request: &TokenRequest,
    redemption: &Redemption<'_>,
    issuer: &Issuer,
    (now, expires_at): (DateTime<Utc>, DateTime<Utc>),
    random: &dyn Random,
) -> Result<ApiV1UserClaims, InternalError> {
    let grant = &redemption.grant.details;
    let language = request.language.as_ref().map(Language::as_str).or(grant.language.as_deref());
    Ok(ApiV1UserClaims {
        iss: issuer.as_str().to_owned(),
        sub: grant.subject.clone(),
        aud: grant.client_id,
        jti: TokenId::random(random)?,
        iat: now.trunc_subsecs(0),
        exp: expires_at,
        auth_time: grant.auth_time,
        lng: language.unwrap_or(DEFAULT_LANGUAGE).to_owned(),
        scope: redemption.scopes().to_vec(),
        sid: redemption.session_id(),
        token_use: TokenUse::Access,
    })
}

impl IdClaims {
    pub(crate) fn new(
        request: &TokenRequest,
        redemption: &Redemption<'_>,
        access_claims: &ApiV1UserClaims,
        random: &dyn Random,
    ) -> Result<Self, InternalError> {
        let grant = &redemption.grant.details;
        Ok(Self {
            common: ApiV1UserClaims { jti: TokenId::random(random)?, token_use: TokenUse::Id, ..access_claims.clone() },
            // A refresh too uses the nonce of the authorization request, if it had one (OpenID Connect Core 1.0, 12.2).
            nonce: grant.nonce.as_ref().or(request.nonce.as_ref()).cloned(),
            user_claims: claims_of_scopes(&grant.claims, &access_claims.scope),
        })
    }
}
