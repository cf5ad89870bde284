//! The claims of the access token and of the ID token (OpenID Connect Core 1.0, 2), in the format that published
//! clients expect.

use chrono::SubsecRound as _;
use serde::Serialize;
use shared::{
    id::TokenId,
    input::Claims,
    keys::Issuer,
    keys::jwt::{ApiV1UserClaims, TokenUse},
    tokens::grants::Issuance,
};

use crate::wire::TokenRequest;

/// The claims of the ID token.
#[derive(Debug, Serialize)]
pub(crate) struct IdClaims {
    #[serde(flatten)]
    common: ApiV1UserClaims,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    /// What is known of the user, and what else the login gave.
    #[serde(flatten)]
    given: Claims,
}

pub(crate) fn access_claims(
    request: &TokenRequest,
    issuance: &Issuance<'_>,
    issuer: &Issuer,
    jti: TokenId,
) -> ApiV1UserClaims {
    let grant = issuance.grant;
    let language = request.language.as_ref().or(grant.language.as_ref());
    ApiV1UserClaims {
        iss: issuer.as_str().to_owned(),
        sub: grant.subject.clone(),
        aud: grant.client_id,
        jti,
        iat: issuance.issued_at.trunc_subsecs(0),
        exp: issuance.expires_at,
        auth_time: grant.auth_time,
        lng: language.cloned().unwrap_or_default(),
        scope: issuance.scopes.clone(),
        sid: issuance.session.clone(),
        token_use: TokenUse::Access,
        organization: grant.organization_id,
        acr: grant.acr.clone(),
        amr: grant.amr.clone(),
    }
}

impl IdClaims {
    pub(crate) fn new(
        request: &TokenRequest,
        issuance: &Issuance<'_>,
        access_claims: &ApiV1UserClaims,
        jti: TokenId,
    ) -> Self {
        let grant = issuance.grant;
        Self {
            common: ApiV1UserClaims { jti, token_use: TokenUse::Id, organization: None, ..access_claims.clone() },
            // A refresh too uses the nonce of the authorization request, if it had one (OpenID Connect Core 1.0, 12.2).
            nonce: grant.nonce.as_ref().or(request.nonce.as_ref()).cloned(),
            given: grant.claims.of_scopes(issuance.scopes).or(&grant.id_token_claims),
        }
    }
}
