//! Machine tokens: access tokens that a registration gets for itself (RFC 6749, 4.4). They are recorded nowhere, so
//! there is nothing to commit and no quota. Such a token is over when its registration is disabled or moves on to
//! another generation, or when the registration remembers that it was revoked.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};

use crate::{
    auth::{AuthenticatedRegistration, Permission, PrincipalId},
    clock::expiry,
    error::{ApiError, OauthError},
    id::TokenId,
    input::{Audience, Audiences, Scopes},
    keys::jwt::{RegistrationTokenClaims, TokenType, WithClaims},
    keys::{Issuer, Signer},
    random::Random,
};

/// A request for a token.
#[derive(Debug)]
pub struct MachineTokenRequest {
    /// The scopes that are asked for. `None` asks for all of the registration's.
    pub scopes: Option<Scopes>,
    /// The APIs that the token is to be for. Empty: that of the deployment.
    pub targets: Vec<Audience>,
}

/// A signed token.
#[derive(Debug)]
pub struct MachineToken {
    pub claims: RegistrationTokenClaims,
    pub jwt: String,
}

#[derive(Debug)]
pub struct MachineTokens {
    pub signer: Signer,
    pub issuer: Issuer,
    /// That of the deployment.
    pub audience: Audience,
    pub random: Arc<dyn Random>,
}

impl MachineTokens {
    /// Issues a token. What is wrong with the request is told only to a client that may ask.
    ///
    /// # Errors
    /// [`OauthError::UnauthorizedClient`] if the registration has authenticated with an API key that may not create
    /// tokens; [`OauthError::InvalidScope`] and [`OauthError::InvalidTarget`] if the registration lacks what is asked
    /// for, or the API key lacks a permission that the token would hold; or a failure.
    pub async fn issue(
        &self,
        client: &AuthenticatedRegistration,
        request: Result<MachineTokenRequest, OauthError>,
        now: DateTime<Utc>,
    ) -> Result<MachineToken, ApiError> {
        let claims = self.decide(client, request, TokenId::random(self.random.as_ref())?, now)?;
        let all = WithClaims { own: &claims, others: &client.registration.claims };
        let jwt = self.signer.sign(TokenType::AtJwt, &all).await?;
        Ok(MachineToken { claims, jwt })
    }

    fn decide(
        &self,
        AuthenticatedRegistration { id, registration, caller }: &AuthenticatedRegistration,
        request: Result<MachineTokenRequest, OauthError>,
        jti: TokenId,
        now: DateTime<Utc>,
    ) -> Result<RegistrationTokenClaims, OauthError> {
        if matches!(caller.id, PrincipalId::ApiKey(_)) {
            caller.require(Permission::OauthTokenCreate).map_err(|_| OauthError::UnauthorizedClient)?;
        }
        let MachineTokenRequest { scopes, targets } = request?;
        let scope = match scopes {
            None => registration.scopes.clone(),
            Some(requested) if requested.is_subset(&registration.scopes) => {
                registration.scopes.intersection(&requested)
            }
            Some(_) => return Err(OauthError::InvalidScope),
        };
        caller.require_grantable(&scope).map_err(|_| OauthError::InvalidScope)?;
        if !targets.iter().all(|target| target.is_allowed(&registration.audiences, &self.audience)) {
            return Err(OauthError::InvalidTarget);
        }
        let aud = if targets.is_empty() { self.audience.clone().into() } else { Audiences::from(targets) };
        Ok(RegistrationTokenClaims {
            iss: self.issuer.as_str().to_owned(),
            sub: id.clone(),
            aud,
            client_id: id.clone(),
            jti,
            iat: now.trunc_subsecs(0),
            exp: expiry(now, registration.client_credentials_ttl_seconds),
            scope,
            organization: Some(registration.organization_id),
            generation: Some(registration.machine_generation),
            email: None,
        })
    }
}
