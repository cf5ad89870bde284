//! Whether a credential is good: what everything that accepts one asks.
//!
//! 1. [`CredentialVerifier::inspect`] does what needs no item of the table: format and checksum of an opaque credential;
//!    signature, issuer, audience, type and expiry of a JWT. It reads only public keys, at most once a second for an unknown one.
//! 2. [`CredentialVerifier::load`] looks the credential up, in one read: it may be unknown, over or revoked.

use chrono::{DateTime, Utc};

use crate::{
    credential::{Credential, CredentialKind, GrantCredential, SessionId},
    error::InternalError,
    id::{ClientId, ObjectId, RegistrationId, TokenId},
    keys::jwt::{
        ACCESS_TOKEN_PREFIX, DocumentedUserClaims, RegistrationTokenClaims, TokenType, TokenUse, UnverifiedJwt,
        UserTokenClaims, VerifiedJwt,
    },
    keys::{Issuers, PublicKeys},
    store::{Grant, GrantStatus, Store},
};

/// A credential that passed [`CredentialVerifier::inspect`].
#[derive(Debug)]
pub enum InspectedCredential {
    ApiKey(Credential),
    AppToken(Credential),
    Code(GrantCredential),
    RefreshToken(GrantCredential),
    AccessToken(InspectedAccessToken),
    UserToken(InspectedUserToken),
}

/// An access token of a registration. Its signature is valid and it has not expired.
#[derive(Debug)]
pub struct InspectedAccessToken {
    pub registration: RegistrationId,
    pub claims: RegistrationTokenClaims,
}

/// A user's access token. Its signature is valid and it has not expired.
#[derive(Debug)]
pub struct InspectedUserToken {
    pub client: ClientId,
    /// Whether it has the profile of RFC 9068, as those of `/oauth2/token` have. Those of `/api/v1/tokens` have another.
    pub is_rfc9068: bool,
    pub issuer: String,
    pub audience: String,
    pub subject: String,
    pub id: TokenId,
    pub session: SessionId,
    pub scopes: Vec<String>,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// A credential that is good now, and what it says.
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
    pub scopes: Vec<String>,
    pub session: Option<SessionId>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub issued_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// What kind of credential is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActiveKind {
    ApiKey,
    AppToken,
    /// An access token of a registration.
    AccessToken,
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
    store: Store,
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

    /// The table that it looks credentials up in.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The credential with this text, if it is of a kind of ours and nothing but the table can say that it is not good.
    pub async fn inspect(&self, text: &str, now: DateTime<Utc>) -> Result<Option<InspectedCredential>, InternalError> {
        if let Some(api_key) = Credential::parse(CredentialKind::ApiKey, text) {
            return Ok(Some(InspectedCredential::ApiKey(api_key)));
        }
        if let Some(app_token) = Credential::parse(CredentialKind::AppToken, text) {
            return Ok(Some(InspectedCredential::AppToken(app_token)));
        }
        if let Some(code) = GrantCredential::parse_code(text) {
            return Ok(Some(InspectedCredential::Code(code)));
        }
        if let Some(refresh_token) = GrantCredential::parse_refresh_token(text) {
            return Ok(Some(InspectedCredential::RefreshToken(refresh_token)));
        }
        let prefixed = text.strip_prefix(ACCESS_TOKEN_PREFIX);
        let Some(jwt) = self.verify(prefixed.unwrap_or(text)).await? else { return Ok(None) };
        // Only the tokens of registrations have the prefix.
        if let Some(token) = user_token(&jwt) {
            let audience_is_right = !token.is_rfc9068 || self.issuers.issued(&token.issuer, &token.audience);
            let addressed = self.issuers.contain(&token.issuer) && audience_is_right;
            let valid = prefixed.is_none() && addressed && now < token.expires_at;
            return Ok(valid.then_some(InspectedCredential::UserToken(token)));
        }
        let token = registration_token(&jwt).filter(|InspectedAccessToken { claims, .. }| {
            self.issuers.issued(&claims.iss, &claims.aud) && now < claims.exp
        });
        Ok(token.map(InspectedCredential::AccessToken))
    }

    async fn verify(&self, jwt: &str) -> Result<Option<VerifiedJwt>, InternalError> {
        let Some(unverified) = UnverifiedJwt::parse(jwt) else { return Ok(None) };
        let key = self.keys.find(unverified.kid()).await?;
        Ok(key.and_then(|key| unverified.verify(key.rsa())))
    }

    /// Looks the credential up. `None` if it is unknown, over or revoked, or a code, which is good for tokens only.
    pub async fn load(
        &self,
        credential: InspectedCredential,
        now: DateTime<Utc>,
    ) -> Result<Option<ActiveCredential>, InternalError> {
        match credential {
            InspectedCredential::ApiKey(secret) => {
                let key = self.store.load_api_key(&secret).await?;
                Ok(key.map(|key| ActiveCredential {
                    organization: Some(key.organization_id),
                    scopes: key.permissions,
                    ..ActiveCredential::opaque(ActiveKind::ApiKey, secret.id())
                }))
            }
            InspectedCredential::AppToken(secret) => {
                let token = self.store.load_active_app_token(&secret).await?;
                Ok(token.map(|token| ActiveCredential {
                    organization: Some(token.organization_id),
                    application: Some(token.application_id),
                    scopes: token.scopes,
                    ..ActiveCredential::opaque(ActiveKind::AppToken, secret.id())
                }))
            }
            InspectedCredential::AccessToken(token) => self.load_access_token(token, now).await,
            InspectedCredential::UserToken(token) => {
                let grant = self.load_grant_of(&token, now).await?;
                Ok(grant.map(|grant| ActiveCredential {
                    kind: ActiveKind::UserToken,
                    id: Some(token.id.to_string()),
                    subject: token.subject,
                    organization: grant.details.organization_id,
                    application: None,
                    client_id: Some(token.client.to_string()),
                    scopes: token.scopes,
                    session: Some(token.session),
                    issuer: Some(token.issuer),
                    audience: Some(token.audience),
                    issued_at: Some(token.issued_at),
                    expires_at: Some(token.expires_at),
                }))
            }
            InspectedCredential::RefreshToken(token) => self.load_refresh_token(&token, now).await,
            InspectedCredential::Code(_) => Ok(None),
        }
    }

    async fn load_access_token(
        &self,
        InspectedAccessToken { registration: id, claims }: InspectedAccessToken,
        now: DateTime<Utc>,
    ) -> Result<Option<ActiveCredential>, InternalError> {
        let registration = self.store.load_registration(&id).await?;
        // The token must be recorded with this `jti`. A token in the same slot is not enough.
        let registration = registration.filter(|registration| registration.find_active(claims.jti, now).is_some());
        Ok(registration.map(|registration| ActiveCredential {
            kind: ActiveKind::AccessToken,
            id: Some(claims.jti.to_string()),
            subject: claims.sub,
            organization: Some(registration.organization_id),
            application: None,
            client_id: Some(claims.client_id),
            scopes: claims.scope.split_whitespace().map(str::to_owned).collect(),
            session: None,
            issuer: Some(claims.iss),
            audience: Some(claims.aud),
            issued_at: Some(claims.iat),
            expires_at: Some(claims.exp),
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
            kind: ActiveKind::RefreshToken,
            id: None,
            subject: grant.details.subject,
            organization: grant.details.organization_id,
            application: None,
            client_id: Some(grant.details.client_id.to_string()),
            scopes: grant.details.scopes,
            session: Some(session),
            issuer: None,
            audience: None,
            issued_at: None,
            expires_at: Some(expires_at),
        }))
    }

    /// The grant of a user's access token, unless it is over or was revoked.
    pub async fn load_grant_of(
        &self,
        token: &InspectedUserToken,
        now: DateTime<Utc>,
    ) -> Result<Option<Grant>, InternalError> {
        let grant = self.store.load_grant(&token.session).await?;
        Ok(grant.filter(|grant| {
            let same = grant.details.client_id == token.client && grant.details.subject == token.subject;
            same && matches!(grant.status, GrantStatus::Active { expires_at, .. } if now < expires_at)
        }))
    }
}

impl ActiveCredential {
    fn opaque(kind: ActiveKind, id: ObjectId) -> Self {
        Self {
            kind,
            id: Some(id.to_string()),
            subject: id.to_string(),
            organization: None,
            application: None,
            client_id: None,
            scopes: Vec::new(),
            session: None,
            issuer: None,
            audience: None,
            issued_at: None,
            expires_at: None,
        }
    }
}

fn registration_token(jwt: &VerifiedJwt) -> Option<InspectedAccessToken> {
    let claims: RegistrationTokenClaims = jwt.claims().filter(|_| jwt.typ == TokenType::AtJwt)?;
    Some(InspectedAccessToken { registration: claims.sub.parse().ok()?, claims })
}

/// A user's access token in one of its two formats: a session id tells it from a registration's, and `token_use` from an ID
/// token.
fn user_token(jwt: &VerifiedJwt) -> Option<InspectedUserToken> {
    match jwt.typ {
        TokenType::AtJwt => jwt.claims().map(|claims: UserTokenClaims| InspectedUserToken {
            client: claims.client_id,
            is_rfc9068: true,
            issuer: claims.iss,
            audience: claims.aud,
            subject: claims.sub,
            id: claims.jti,
            session: claims.sid,
            scopes: claims.scope.split_whitespace().map(str::to_owned).collect(),
            issued_at: claims.iat,
            expires_at: claims.exp,
        }),
        TokenType::Jwt => {
            let claims: DocumentedUserClaims = jwt.claims()?;
            (claims.token_use == TokenUse::Access).then(|| InspectedUserToken {
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
