//! Looks credentials up.
//!
//! 1. [`CredentialVerifier::check`] does every check that needs no read of the table: format and checksum of an opaque
//!    credential; signature, issuer, audience, type and expiry of a JWT. It reads only public keys, at most once a
//!    second for an unknown one.
//! 2. [`CredentialVerifier::load`] reads its item, and that of its application or client. Whether the credential is
//!    good is for [`StoredCredential`] to say.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    AccessClaims, ActiveKind, CheckedCredential, CheckedRegistrationToken, CheckedUserToken, Lookup, StoredCredential,
};
use crate::{
    error::InternalError,
    keys::jwt::{ACCESS_TOKEN_PREFIX, UnverifiedJwt, VerifiedJwt},
    keys::{AcceptedAudiences, Issuers, Keys, PublicKeys},
    runtime::{Environment, SettingsError},
    store::Store,
};

/// Verifies the credentials of this deployment.
#[derive(Debug)]
pub struct CredentialVerifier {
    /// What verifies JWTs, and says which tokens of registrations are over because their key was withdrawn.
    pub keys: Arc<PublicKeys>,
    issuers: Issuers,
    pub(super) store: Store,
}

impl CredentialVerifier {
    /// Reads what names the trusted keys, the issuers and the audience.
    pub fn from_environment(environment: &Environment, keys: &Keys, store: &Store) -> Result<Self, SettingsError> {
        let keys = Arc::new(keys.public_keys(environment)?);
        Ok(Self { keys, issuers: Issuers::from_environment(environment)?, store: store.clone() })
    }

    /// Fetches the public keys that the first JWT would otherwise wait for. A failure is harmless.
    pub async fn warm(&self) {
        self.keys.warm().await;
    }

    /// Verifies everything about a credential but its state in the table. `None` if the credential is not valid.
    pub async fn check(
        &self,
        text: &str,
        now: DateTime<Utc>,
        accepted: &AcceptedAudiences,
    ) -> Result<Option<CheckedCredential>, InternalError> {
        if let Some(opaque) = CheckedCredential::parse_opaque(text) {
            return Ok(Some(opaque));
        }
        let prefixed = text.strip_prefix(ACCESS_TOKEN_PREFIX);
        let Some(jwt) = self.verify_jwt(prefixed.unwrap_or(text)).await? else { return Ok(None) };
        let is_valid = |claims: &AccessClaims, of_client| {
            self.issuers.accepts(&claims.issuer, &claims.audiences, of_client, accepted) && now < claims.expires_at
        };
        if let Some(token) = CheckedUserToken::read(&jwt) {
            // Only the tokens of registrations have the prefix.
            let valid = prefixed.is_none() && is_valid(&token.claims, !token.is_rfc9068);
            return Ok(valid.then_some(CheckedCredential::UserToken(token)));
        }
        let token = CheckedRegistrationToken::read(&jwt).filter(|token| is_valid(&token.claims, false));
        Ok(token.map(CheckedCredential::RegistrationToken))
    }

    async fn verify_jwt(&self, jwt: &str) -> Result<Option<VerifiedJwt>, InternalError> {
        let Some(unverified) = UnverifiedJwt::parse(jwt) else { return Ok(None) };
        let key = self.keys.find(unverified.kid()).await?;
        Ok(key.and_then(|key| unverified.verify(key.rsa())))
    }

    /// [`Self::check`] and [`Self::load`] of what is one of these kinds. Anything else costs no read.
    pub async fn find(
        &self,
        text: &str,
        now: DateTime<Utc>,
        accepted: &AcceptedAudiences,
        kinds: &[ActiveKind],
    ) -> Result<Option<StoredCredential>, InternalError> {
        let checked = self.check(text, now, accepted).await?;
        match checked.filter(|checked| checked.kind().is_some_and(|kind| kinds.contains(&kind))) {
            None => Ok(None),
            Some(checked) => {
                let stored = self.load(checked, Lookup::WithIssuer).await?;
                Ok(stored.filter(|stored| self.is_for(stored, accepted)))
            }
        }
    }

    /// Whether a user has logged in for one of the accepted APIs. The audience of an access token of `/api/v1/tokens`
    /// is its client, so only the grant says that a login was for other APIs than the deployment.
    fn is_for(&self, stored: &StoredCredential, accepted: &AcceptedAudiences) -> bool {
        match (accepted, stored) {
            (AcceptedAudiences::Deployment, StoredCredential::UserToken { grant, .. }) => {
                let resources = &grant.details.resources;
                resources.is_empty() || resources.contains(&self.issuers.audience_of_logins())
            }
            _ => true,
        }
    }

    /// Looks the credential up. If it is a JWT and it is time, the public keys are refreshed at the same time, so that
    /// the next one need not wait for them.
    pub async fn load(
        &self,
        credential: CheckedCredential,
        lookup: Lookup,
    ) -> Result<Option<StoredCredential>, InternalError> {
        let is_jwt = credential.is_jwt();
        // Boxed, because it is part of many futures.
        let stored = Box::pin(StoredCredential::load(&self.store, &self.keys, credential, lookup));
        if is_jwt { tokio::join!(stored, self.keys.refresh_if_due()).0 } else { stored.await }
    }
}
