//! Decides whether a credential is active: for bearer authentication, introspection and the authorizer.
//!
//! 1. [`CredentialVerifier::check`] does every check that needs no read of the table: format and checksum of an opaque credential;
//!    signature, issuer, audience, type and expiry of a JWT. It reads only public keys, at most once a second for an unknown one.
//! 2. [`CredentialVerifier::load`] looks the credential up, in one read: it may be unknown, expired or revoked.

use chrono::{DateTime, Utc};

use crate::{
    credential::{Credential, CredentialKind, GrantCredential, SessionId},
    error::InternalError,
    id::{ClientId, ObjectId, RegistrationId, TokenId},
    input::{Scopes, Subject},
    keys::jwt::{
        ACCESS_TOKEN_PREFIX, ApiV1UserClaims, RegistrationTokenClaims, TokenType, TokenUse, UnverifiedJwt,
        UserTokenClaims, VerifiedJwt,
    },
    keys::{Issuers, PublicKeys},
    runtime::telemetry::{Phase, timed},
    store::{Grant, GrantStatus, Store},
};

/// A credential that passed [`CredentialVerifier::check`]. An opaque one may still be made up.
#[derive(Debug)]
pub enum CheckedCredential {
    ApiKey(Credential),
    AppToken(Credential),
    Code(GrantCredential),
    RefreshToken(GrantCredential),
    RegistrationToken(CheckedRegistrationToken),
    UserToken(CheckedUserToken),
}

/// An access token of a registration. Its signature is valid and it has not expired.
#[derive(Debug)]
pub struct CheckedRegistrationToken {
    pub registration: RegistrationId,
    pub claims: RegistrationTokenClaims,
}

/// A user's access token. Its signature is valid and it has not expired.
#[derive(Debug)]
pub struct CheckedUserToken {
    pub client: ClientId,
    /// Whether it has the profile of RFC 9068, as those of `/oauth2/token` have. Those of `/api/v1/tokens` have another.
    pub is_rfc9068: bool,
    pub issuer: String,
    pub audience: String,
    pub subject: Subject,
    pub id: TokenId,
    pub session: SessionId,
    pub scopes: Scopes,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

impl CheckedUserToken {
    /// Whether it was issued under this grant.
    #[must_use]
    pub fn was_issued_under(&self, grant: &Grant) -> bool {
        grant.details.client_id == self.client && grant.details.subject == self.subject
    }
}

/// An active credential (RFC 7662, 2.2) and its attributes.
#[derive(Debug)]
pub struct ActiveCredential {
    pub kind: ActiveKind,
    /// The `jti` of a JWT, or the id of an API key or app token.
    pub id: Option<String>,
    /// The user, the registration, or the id of an API key or app token.
    pub subject: String,
    pub organization: Option<ObjectId>,
    pub application: Option<ObjectId>,
    /// The client, or the registration.
    pub client_id: Option<String>,
    /// Its scopes, or the permissions of an API key.
    pub scopes: Scopes,
    pub session: Option<SessionId>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub issued_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// The kinds of credentials that can be active.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActiveKind {
    ApiKey,
    AppToken,
    /// An access token of a registration.
    RegistrationToken,
    /// A user's access token.
    UserToken,
    /// The current refresh token of a grant. It is good for new tokens, and nowhere as a bearer.
    RefreshToken,
}

/// Verifies the credentials of this deployment.
#[derive(Debug)]
pub struct CredentialVerifier {
    keys: PublicKeys,
    issuers: Issuers,
    pub(super) store: Store,
}

impl CredentialVerifier {
    #[must_use]
    pub fn new(keys: PublicKeys, issuers: Issuers, store: Store) -> Self {
        Self { keys, issuers, store }
    }

    /// Fetches the public keys that the first JWT would otherwise wait for. A failure is harmless.
    pub async fn warm(&self) {
        self.keys.warm().await;
    }

    /// Verifies everything about a credential but its state in the table. `None` if the credential is not valid.
    pub async fn check(&self, text: &str, now: DateTime<Utc>) -> Result<Option<CheckedCredential>, InternalError> {
        if let Some(api_key) = Credential::parse(CredentialKind::ApiKey, text) {
            return Ok(Some(CheckedCredential::ApiKey(api_key)));
        }
        if let Some(app_token) = Credential::parse(CredentialKind::AppToken, text) {
            return Ok(Some(CheckedCredential::AppToken(app_token)));
        }
        if let Some(code) = GrantCredential::parse_code(text) {
            return Ok(Some(CheckedCredential::Code(code)));
        }
        if let Some(refresh_token) = GrantCredential::parse_refresh_token(text) {
            return Ok(Some(CheckedCredential::RefreshToken(refresh_token)));
        }
        let prefixed = text.strip_prefix(ACCESS_TOKEN_PREFIX);
        let Some(jwt) = self.verify_jwt(prefixed.unwrap_or(text)).await? else { return Ok(None) };
        if let Some(token) = user_token(&jwt) {
            // The `aud` of a token of `/api/v1/tokens` is its client, which `load` compares with the grant's.
            let accepted = if token.is_rfc9068 {
                self.issuers.accepts(&token.issuer, &token.audience)
            } else {
                self.issuers.is_known(&token.issuer)
            };
            // Only the tokens of registrations have the prefix.
            let valid = prefixed.is_none() && accepted && now < token.expires_at;
            return Ok(valid.then_some(CheckedCredential::UserToken(token)));
        }
        let token = registration_token(&jwt).filter(|CheckedRegistrationToken { claims, .. }| {
            self.issuers.accepts(&claims.iss, &claims.aud) && now < claims.exp
        });
        Ok(token.map(CheckedCredential::RegistrationToken))
    }

    async fn verify_jwt(&self, jwt: &str) -> Result<Option<VerifiedJwt>, InternalError> {
        let Some(unverified) = UnverifiedJwt::parse(jwt) else { return Ok(None) };
        let key = self.keys.find(unverified.kid()).await?;
        Ok(key.and_then(|key| unverified.verify(key.rsa())))
    }

    /// [`Self::check`] and [`Self::load`].
    pub async fn verify(&self, text: &str, now: DateTime<Utc>) -> Result<Option<ActiveCredential>, InternalError> {
        match self.check(text, now).await? {
            Some(checked) => timed(Phase::Load, self.load(checked, now)).await,
            None => Ok(None),
        }
    }

    /// Looks the credential up. `None` if it is unknown, expired or revoked. A code is never active. If it is time, the public keys
    /// are refreshed at the same time, so that the next JWT need not wait for them.
    pub async fn load(
        &self,
        credential: CheckedCredential,
        now: DateTime<Utc>,
    ) -> Result<Option<ActiveCredential>, InternalError> {
        let is_jwt = matches!(credential, CheckedCredential::RegistrationToken(_) | CheckedCredential::UserToken(_));
        if !is_jwt {
            return self.load_item(credential, now).await;
        }
        // Boxed, because it is part of many futures.
        let item = Box::pin(self.load_item(credential, now));
        tokio::join!(item, self.keys.refresh_if_due()).0
    }

    async fn load_item(
        &self,
        credential: CheckedCredential,
        now: DateTime<Utc>,
    ) -> Result<Option<ActiveCredential>, InternalError> {
        match credential {
            CheckedCredential::ApiKey(secret) => {
                let key = self.store.load_api_key(&secret).await?;
                Ok(key.map(|key| ActiveCredential {
                    id: Some(secret.id().to_string()),
                    organization: Some(key.organization_id),
                    scopes: key.permissions,
                    ..ActiveCredential::new(ActiveKind::ApiKey, secret.id().to_string())
                }))
            }
            CheckedCredential::AppToken(secret) => {
                let token = self.store.load_active_app_token(&secret).await?;
                Ok(token.map(|token| ActiveCredential {
                    organization: Some(token.organization_id),
                    application: Some(token.application_id),
                    id: Some(secret.id().to_string()),
                    scopes: token.scopes,
                    ..ActiveCredential::new(ActiveKind::AppToken, secret.id().to_string())
                }))
            }
            CheckedCredential::RegistrationToken(token) => self.load_registration_token(token, now).await,
            CheckedCredential::UserToken(token) => {
                let grant = self.load_grant_of(&token, now).await?;
                Ok(grant.map(|grant| ActiveCredential {
                    id: Some(token.id.to_string()),
                    organization: grant.details.organization_id,
                    client_id: Some(token.client.to_string()),
                    scopes: token.scopes,
                    session: Some(token.session),
                    issuer: Some(token.issuer),
                    audience: Some(token.audience),
                    issued_at: Some(token.issued_at),
                    expires_at: Some(token.expires_at),
                    ..ActiveCredential::new(ActiveKind::UserToken, token.subject.as_str().to_owned())
                }))
            }
            CheckedCredential::RefreshToken(token) => self.load_refresh_token(&token, now).await,
            CheckedCredential::Code(_) => Ok(None),
        }
    }

    async fn load_registration_token(
        &self,
        CheckedRegistrationToken { registration: id, claims }: CheckedRegistrationToken,
        now: DateTime<Utc>,
    ) -> Result<Option<ActiveCredential>, InternalError> {
        let registration = self.store.load_registration(&id).await?;
        // The token must be recorded with this `jti`. A token in the same slot is not enough.
        let registration = registration.filter(|registration| registration.find_active(claims.jti, now).is_some());
        Ok(registration.map(|registration| ActiveCredential {
            id: Some(claims.jti.to_string()),
            organization: Some(registration.organization_id),
            client_id: Some(claims.client_id.to_string()),
            scopes: claims.scope,
            issuer: Some(claims.iss),
            audience: Some(claims.aud),
            issued_at: Some(claims.iat),
            expires_at: Some(claims.exp),
            ..ActiveCredential::new(ActiveKind::RegistrationToken, claims.sub.to_string())
        }))
    }

    async fn load_refresh_token(
        &self,
        token: &GrantCredential,
        now: DateTime<Utc>,
    ) -> Result<Option<ActiveCredential>, InternalError> {
        let session = token.grant().session();
        let Some(grant) = self.store.load_grant(&session).await? else { return Ok(None) };
        let GrantStatus::Active { current, expires_at, .. } = grant.status else { return Ok(None) };
        let good = current == token.hash() && now < expires_at;
        Ok(good.then(|| ActiveCredential {
            organization: grant.details.organization_id,
            client_id: Some(grant.details.client_id.to_string()),
            scopes: grant.details.scopes,
            session: Some(session),
            expires_at: Some(expires_at),
            ..ActiveCredential::new(ActiveKind::RefreshToken, grant.details.subject.as_str().to_owned())
        }))
    }

    /// The grant of a user's access token, unless it has ended or was revoked.
    pub async fn load_grant_of(
        &self,
        token: &CheckedUserToken,
        now: DateTime<Utc>,
    ) -> Result<Option<Grant>, InternalError> {
        let grant = self.store.load_grant(&token.session).await?;
        let active = |grant: &Grant| matches!(grant.status, GrantStatus::Active { expires_at, .. } if now < expires_at);
        Ok(grant.filter(|grant| token.was_issued_under(grant) && active(grant)))
    }
}

impl ActiveKind {
    /// Those that are bearers.
    pub const BEARERS: [Self; 4] = [Self::ApiKey, Self::AppToken, Self::RegistrationToken, Self::UserToken];

    /// The name for the users of the authorizer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::AppToken => "appToken",
            Self::RegistrationToken => "accessToken",
            Self::UserToken => "userToken",
            Self::RefreshToken => "refreshToken",
        }
    }
}

impl ActiveCredential {
    /// Its scopes, separated by spaces; `None` if it has none.
    #[must_use]
    pub fn scope(&self) -> Option<String> {
        Some(self.scopes.to_string()).filter(|scope| !scope.is_empty())
    }

    /// One with only a kind and a subject.
    #[must_use]
    pub fn new(kind: ActiveKind, subject: String) -> Self {
        Self {
            kind,
            id: None,
            subject,
            organization: None,
            application: None,
            client_id: None,
            scopes: Scopes::default(),
            session: None,
            issuer: None,
            audience: None,
            issued_at: None,
            expires_at: None,
        }
    }
}

fn registration_token(jwt: &VerifiedJwt) -> Option<CheckedRegistrationToken> {
    let claims: RegistrationTokenClaims = jwt.claims().filter(|_| jwt.typ == TokenType::AtJwt)?;
    Some(CheckedRegistrationToken { registration: claims.sub.clone(), claims })
}

/// A user's access token in one of its two formats: a session id tells it from a registration's, and `token_use` from an ID
/// token.
fn user_token(jwt: &VerifiedJwt) -> Option<CheckedUserToken> {
    match jwt.typ {
        TokenType::AtJwt => jwt.claims().map(|claims: UserTokenClaims| CheckedUserToken {
            client: claims.client_id,
            is_rfc9068: true,
            issuer: claims.iss,
            audience: claims.aud,
            subject: claims.sub,
            id: claims.jti,
            session: claims.sid,
            scopes: claims.scope,
            issued_at: claims.iat,
            expires_at: claims.exp,
        }),
        TokenType::Jwt => {
            let claims: ApiV1UserClaims = jwt.claims()?;
            (claims.token_use == TokenUse::Access).then(|| CheckedUserToken {
                client: claims.aud,
                is_rfc9068: false,
                issuer: claims.iss,
                audience: claims.aud.to_string(),
                subject: claims.sub,
                id: claims.jti,
                session: claims.sid,
                scopes: claims.scope,
                issued_at: claims.iat,
                expires_at: claims.exp,
            })
        }
    }
}
