//! Looks credentials up.
//!
//! 1. [`CredentialVerifier::check`] does every check that needs no read of the table: format and checksum of an opaque
//!    credential; signature, issuer, audience, type and expiry of a JWT. It reads only public keys, at most once a
//!    second for an unknown one.
//! 2. [`CredentialVerifier::load`] reads its item, and that of its application or client. Whether the credential is
//!    good is for [`StoredCredential`] to say.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{CheckedCredential, CheckedRegistrationToken, CheckedUserToken, Lookup, StoredCredential};
use crate::{
    error::InternalError,
    keys::jwt::{ACCESS_TOKEN_PREFIX, UnverifiedJwt, VerifiedJwt},
    keys::{Issuers, Keys, PublicKeys},
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
    pub async fn check(&self, text: &str, now: DateTime<Utc>) -> Result<Option<CheckedCredential>, InternalError> {
        if let Some(opaque) = CheckedCredential::parse_opaque(text) {
            return Ok(Some(opaque));
        }
        let prefixed = text.strip_prefix(ACCESS_TOKEN_PREFIX);
        let Some(jwt) = self.verify_jwt(prefixed.unwrap_or(text)).await? else { return Ok(None) };
        if let Some(token) = CheckedUserToken::read(&jwt) {
            let claims = &token.claims;
            // The `aud` of a token of `/api/v1/tokens` is its client, which is compared with the grant's.
            let accepted = if token.is_rfc9068 {
                self.issuers.accepts(&claims.issuer, &claims.audience)
            } else {
                self.issuers.is_known(&claims.issuer)
            };
            // Only the tokens of registrations have the prefix.
            let valid = prefixed.is_none() && accepted && now < claims.expires_at;
            return Ok(valid.then_some(CheckedCredential::UserToken(token)));
        }
        let token = CheckedRegistrationToken::read(&jwt).filter(|CheckedRegistrationToken { claims, .. }| {
            self.issuers.accepts(&claims.issuer, &claims.audience) && now < claims.expires_at
        });
        Ok(token.map(CheckedCredential::RegistrationToken))
    }

    async fn verify_jwt(&self, jwt: &str) -> Result<Option<VerifiedJwt>, InternalError> {
        let Some(unverified) = UnverifiedJwt::parse(jwt) else { return Ok(None) };
        let key = self.keys.find(unverified.kid()).await?;
        Ok(key.and_then(|key| unverified.verify(key.rsa())))
    }

    /// [`Self::check`] and [`Self::load`] of what can be active. A code never is, so it costs no read.
    pub async fn find(&self, text: &str, now: DateTime<Utc>) -> Result<Option<StoredCredential>, InternalError> {
        match self.check(text, now).await? {
            None | Some(CheckedCredential::Code(_)) => Ok(None),
            Some(checked) => self.load(checked, Lookup::WithIssuer).await,
        }
    }

    /// [`Self::check`] and [`Self::load`] of what can be a bearer: a code or refresh token costs no read.
    pub async fn find_bearer(&self, text: &str, now: DateTime<Utc>) -> Result<Option<StoredCredential>, InternalError> {
        match self.check(text, now).await? {
            None | Some(CheckedCredential::Code(_) | CheckedCredential::RefreshToken(_)) => Ok(None),
            Some(checked) => self.load(checked, Lookup::WithIssuer).await,
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
