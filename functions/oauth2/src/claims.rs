//! The claims of a user's access token (RFC 9068, 2.2) and ID token (OpenID Connect Core 1.0, 2).

use chrono::{DateTime, SubsecRound as _, Utc, serde::ts_seconds};
use serde::Serialize;
use shared::{
    credential::SessionId,
    encoding::{base64url, sha256},
    id::{ClientId, TokenId},
    input::{Acr, AuthenticationMethod, Claims, Subject},
    keys::Issuer,
    keys::jwt::UserTokenClaims,
    tokens::grants::Issuance,
};

pub(crate) fn access_claims(issuance: &Issuance<'_>, issuer: &Issuer, jti: TokenId) -> UserTokenClaims {
    let grant = issuance.grant;
    UserTokenClaims {
        iss: issuer.as_str().to_owned(),
        sub: grant.subject.clone(),
        aud: issuance.audiences.clone(),
        client_id: grant.client_id,
        jti,
        iat: issuance.issued_at.trunc_subsecs(0),
        exp: issuance.expires_at,
        auth_time: grant.auth_time,
        sid: issuance.session.clone(),
        scope: issuance.scopes.clone(),
        organization: grant.organization_id,
        acr: grant.acr.clone(),
        amr: grant.amr.clone(),
    }
}

/// The claims of the ID token.
#[derive(Debug, Serialize)]
pub(crate) struct IdClaims {
    iss: String,
    sub: Subject,
    aud: ClientId,
    #[serde(with = "ts_seconds")]
    iat: DateTime<Utc>,
    #[serde(with = "ts_seconds")]
    exp: DateTime<Utc>,
    #[serde(with = "ts_seconds")]
    auth_time: DateTime<Utc>,
    sid: SessionId,
    /// Binds the access token to this token (3.1.3.6).
    at_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<Acr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    amr: Vec<AuthenticationMethod>,
    /// What is known of the user, and what else the login gave.
    #[serde(flatten)]
    given: Claims,
}

impl IdClaims {
    pub(crate) fn new(issuance: &Issuance<'_>, access_claims: &UserTokenClaims, access_token: &str) -> Self {
        let grant = issuance.grant;
        Self {
            iss: access_claims.iss.clone(),
            sub: access_claims.sub.clone(),
            aud: access_claims.client_id,
            iat: access_claims.iat,
            exp: access_claims.exp,
            auth_time: access_claims.auth_time,
            sid: access_claims.sid.clone(),
            at_hash: at_hash(access_token),
            // An ID token from a refresh should have no nonce (12.2).
            nonce: grant.nonce.clone().filter(|_| issuance.is_code_exchange),
            acr: grant.acr.clone(),
            amr: grant.amr.clone(),
            given: grant.claims.of_scopes(issuance.scopes).or(&grant.id_token_claims),
        }
    }
}

/// The left half of the access token's SHA-256.
fn at_hash(access_token: &str) -> String {
    let hash = sha256(access_token);
    base64url(hash.first_chunk::<16>().unwrap_or(&[0; 16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_hash_is_the_left_half_of_the_hash() {
        // Computed with another implementation (Python's hashlib).
        assert_eq!(at_hash("eyJhbGciOiJSUzI1NiJ9.e30.AA"), "dpBwNZ-XqMYFlcei2TeXJQ");
    }
}
