//! The one answer to "is this credential good": for bearers, introspection, the authorizer, user information and
//! revocation.
//!
//! [`StoredCredential::load`] reads the item of a credential and that of what issued it, at the same time if the
//! credential names both. What is active of it and what may be revoked of it are decided without another read.

use chrono::{DateTime, Utc};

use super::{AccessClaims, ActiveKind, CheckedCredential, CheckedRegistrationToken, CheckedUserToken, ParsedClientId};
use crate::{
    credential::{GrantCredential, SessionId},
    error::InternalError,
    id::{ClientId, ObjectId, RegistrationId, TokenId, TrustedKeys},
    input::Scopes,
    keys::PublicKeys,
    store::{
        ApiKey, AppToken, Application, Client, Generation, Grant, GrantDetails, GrantStatus, MachineTokenRevocation,
        Registration, Store,
    },
};

/// A credential that was presented, the item that it belongs to and what issued it. It may be expired or revoked. What
/// issued it is `None` if it was deleted, or not looked up.
#[derive(Debug)]
pub enum StoredCredential {
    ApiKey { id: ObjectId, api_key: ApiKey },
    AppToken { token: AppToken, application: Option<Application> },
    RegistrationToken { token: CheckedRegistrationToken, registration: Registration, keys: TrustedKeys },
    MachineToken { token: CheckedRegistrationToken, generation: Generation, registration: Registration },
    UserToken { token: CheckedUserToken, grant: Grant, client: Option<Client> },
    RefreshToken { token: GrantCredential, grant: Grant, client: Option<Client> },
    Code { code: GrantCredential, grant: Grant },
}

/// What is looked up of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// With the application or client that issued it.
    WithIssuer,
    /// To revoke it. What is disabled may be revoked, so its issuer does not matter.
    CredentialOnly,
}

impl StoredCredential {
    /// Looks a credential up, and what issued it beside it. Only the client of a refresh token is known after its
    /// grant. `None` if the table has no item of the credential.
    pub async fn load(
        store: &Store,
        keys: &PublicKeys,
        credential: CheckedCredential,
        lookup: Lookup,
    ) -> Result<Option<Self>, InternalError> {
        let load_client = async |id: ClientId| match lookup {
            Lookup::WithIssuer => store.load_client(id).await,
            Lookup::CredentialOnly => Ok(None),
        };
        match credential {
            CheckedCredential::ApiKey(secret) => {
                let api_key = store.load_api_key(secret.id()).await?.filter(|api_key| api_key.hash == secret.hash());
                Ok(api_key.map(|api_key| Self::ApiKey { id: secret.id(), api_key }))
            }
            CheckedCredential::AppToken(secret) => {
                let application = async {
                    match lookup {
                        Lookup::WithIssuer => store.load_application(secret.application_id()).await,
                        Lookup::CredentialOnly => Ok(None),
                    }
                };
                let (token, application) = tokio::join!(store.load_app_token(secret.id()), application);
                let token = token?
                    .filter(|token| token.hash == secret.hash() && token.application_id == secret.application_id());
                let Some(token) = token else { return Ok(None) };
                Ok(Some(Self::AppToken { token, application: application? }))
            }
            CheckedCredential::RegistrationToken(token) => {
                let Some(registration) = store.load_registration(&token.registration_id).await? else {
                    return Ok(None);
                };
                if let Some(generation) = token.generation {
                    return Ok(Some(Self::MachineToken { token, generation, registration }));
                }
                let keys =
                    keys.load_trusted(registration.find(token.claims.id).map(|(_, token)| &token.key).into_iter());
                let keys = keys.await?;
                Ok(Some(Self::RegistrationToken { token, registration, keys }))
            }
            CheckedCredential::UserToken(token) => {
                let (grant, client) = tokio::join!(store.load_grant(&token.session_id), load_client(token.client_id));
                let grant = grant?.filter(|Grant { details, .. }| {
                    details.client_id == token.client_id && details.subject == token.subject
                });
                let Some(grant) = grant else { return Ok(None) };
                Ok(Some(Self::UserToken { token, grant, client: client? }))
            }
            CheckedCredential::RefreshToken(token) => {
                let Some(grant) = store.load_grant(&token.grant().session()).await? else { return Ok(None) };
                let client = load_client(grant.details.client_id).await?;
                Ok(Some(Self::RefreshToken { token, grant, client }))
            }
            CheckedCredential::Code(code) => {
                let grant = store.load_grant(&code.grant().session()).await?;
                Ok(grant.filter(|grant| grant.details.code == code.hash()).map(|grant| Self::Code { code, grant }))
            }
        }
    }

    /// What is active of it: `None` if it has expired, was revoked or was rotated away, or what issued it is disabled,
    /// deleted or has ended it.
    #[must_use]
    pub fn active(&self, now: DateTime<Utc>) -> Option<ActiveCredential<'_>> {
        match self {
            Self::ApiKey { id, api_key } => {
                api_key.is_active(now).then_some(ActiveCredential::ApiKey { id: *id, api_key })
            }
            Self::AppToken { token, application } => {
                let application = application.as_ref()?;
                token.is_active(&application.state, now).then_some(ActiveCredential::AppToken(token))
            }
            Self::RegistrationToken { token, registration, keys } => {
                // The token must be recorded with this `jti`. A token in the same slot is not enough.
                registration.find_active(token.claims.id, now, keys)?;
                registration.state.is_usable().then_some(ActiveCredential::RegistrationToken { token, registration })
            }
            Self::MachineToken { token, generation, registration } => {
                let has_ended = registration.has_ended_machine_token(token.claims.id, *generation);
                let is_active = !has_ended && registration.state.is_usable();
                is_active.then_some(ActiveCredential::RegistrationToken { token, registration })
            }
            // It lives on if the refresh token expires unused.
            Self::UserToken { token, grant, client } => match grant.status {
                GrantStatus::Active { ends_at, .. } if now < ends_at && is_accepted(grant, client.as_ref()) => {
                    Some(ActiveCredential::UserToken { token, grant: &grant.details })
                }
                GrantStatus::Active { .. } | GrantStatus::Issued | GrantStatus::Revoked => None,
            },
            Self::RefreshToken { token, grant, client } => match &grant.status {
                GrantStatus::Active { current, expires_at, .. }
                    if now < *expires_at && *current == token.hash() && is_accepted(grant, client.as_ref()) =>
                {
                    let (session_id, expires_at) = (token.grant().session(), *expires_at);
                    Some(ActiveCredential::RefreshToken { session_id, grant: &grant.details, expires_at })
                }
                GrantStatus::Active { .. } | GrantStatus::Issued | GrantStatus::Revoked => None,
            },
            // Good for an exchange only.
            Self::Code { .. } => None,
        }
    }

    /// What its holder may revoke (RFC 7009): `None` if it has expired, was revoked or was rotated away long ago. What
    /// is disabled may be revoked.
    #[must_use]
    pub fn revocable(self, now: DateTime<Utc>) -> Option<RevocableCredential> {
        match self {
            Self::ApiKey { id, api_key } => (!api_key.is_over(now)).then_some(RevocableCredential::ApiKey(id)),
            Self::AppToken { token, .. } => {
                (!token.is_over_alone(now)).then_some(RevocableCredential::AppToken(token.app_token_id))
            }
            Self::RegistrationToken { token, registration, keys } => {
                registration.find_active(token.claims.id, now, &keys)?;
                let (registration_id, token_id) = (token.registration_id, token.claims.id);
                let token = RevocableToken { registration_id, registration, token_id, keys };
                Some(RevocableCredential::RegistrationToken(Box::new(token)))
            }
            Self::MachineToken { token, generation, registration } => {
                let (registration_id, id) = (token.registration_id, token.claims.id);
                if registration.has_ended_machine_token(id, generation) {
                    return None;
                }
                let revocation = MachineTokenRevocation { id, generation, expires_at: token.claims.expires_at };
                let token = RevocableMachineToken { registration_id, registration, revocation };
                Some(RevocableCredential::MachineToken(Box::new(token)))
            }
            Self::UserToken { token, grant, .. } => RevocableCredential::of_grant(token.session_id, &grant, now),
            Self::RefreshToken { token, grant, .. } => {
                let hash = token.hash();
                let is_recent = match &grant.status {
                    GrantStatus::Active { current, rotation, .. } => {
                        *current == hash || rotation.as_ref().is_some_and(|rotation| rotation.from == hash)
                    }
                    GrantStatus::Issued | GrantStatus::Revoked => false,
                };
                is_recent.then(|| RevocableCredential::of_grant(token.grant().session(), &grant, now))?
            }
            Self::Code { code, grant } => RevocableCredential::of_grant(code.grant().session(), &grant, now),
        }
    }
}

/// Whether the client of a grant accepts what it was issued.
fn is_accepted(grant: &Grant, client: Option<&Client>) -> bool {
    client.is_some_and(|client| client.state.accepts(grant.details.generation))
}

/// An active credential. Each of its attributes (RFC 7662, 2.2) is an exhaustive match, so that none is forgotten for a
/// new kind.
#[derive(Debug)]
pub enum ActiveCredential<'a> {
    ApiKey {
        id: ObjectId,
        api_key: &'a ApiKey,
    },
    AppToken(&'a AppToken),
    RegistrationToken {
        token: &'a CheckedRegistrationToken,
        registration: &'a Registration,
    },
    UserToken {
        token: &'a CheckedUserToken,
        grant: &'a GrantDetails,
    },
    /// The current refresh token of a grant. It is good for new tokens, and nowhere as a bearer.
    RefreshToken {
        session_id: SessionId,
        grant: &'a GrantDetails,
        expires_at: DateTime<Utc>,
    },
}

impl ActiveCredential<'_> {
    #[must_use]
    pub const fn kind(&self) -> ActiveKind {
        match self {
            Self::ApiKey { .. } => ActiveKind::ApiKey,
            Self::AppToken(_) => ActiveKind::AppToken,
            Self::RegistrationToken { .. } => ActiveKind::RegistrationToken,
            Self::UserToken { .. } => ActiveKind::UserToken,
            Self::RefreshToken { .. } => ActiveKind::RefreshToken,
        }
    }

    /// Whether it is a bearer. A refresh token is good for new tokens only, and an API key of no organization for
    /// introspection only.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        match self {
            Self::ApiKey { api_key, .. } => api_key.organization_id.is_some(),
            Self::AppToken(_) | Self::RegistrationToken { .. } | Self::UserToken { .. } => true,
            Self::RefreshToken { .. } => false,
        }
    }

    /// The claims of a JWT.
    #[must_use]
    pub const fn claims(&self) -> Option<&AccessClaims> {
        match self {
            Self::RegistrationToken { token, .. } => Some(&token.claims),
            Self::UserToken { token, .. } => Some(&token.claims),
            Self::ApiKey { .. } | Self::AppToken(_) | Self::RefreshToken { .. } => None,
        }
    }

    /// The `jti` of a JWT, or the id of an API key or app token.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        match self {
            Self::ApiKey { id, .. } => Some(id.to_string()),
            Self::AppToken(token) => Some(token.app_token_id.to_string()),
            Self::RegistrationToken { token, .. } => Some(token.claims.id.to_string()),
            Self::UserToken { token, .. } => Some(token.claims.id.to_string()),
            Self::RefreshToken { .. } => None,
        }
    }

    /// The user, the registration, or the id of an API key or app token.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::ApiKey { id, .. } => id.to_string(),
            Self::AppToken(token) => token.app_token_id.to_string(),
            Self::RegistrationToken { token, .. } => token.registration_id.to_string(),
            Self::UserToken { grant, .. } | Self::RefreshToken { grant, .. } => grant.subject.as_str().to_owned(),
        }
    }

    #[must_use]
    pub const fn organization_id(&self) -> Option<ObjectId> {
        match self {
            Self::ApiKey { api_key, .. } => api_key.organization_id,
            Self::AppToken(token) => Some(token.organization_id),
            Self::RegistrationToken { registration, .. } => Some(registration.organization_id),
            Self::UserToken { grant, .. } | Self::RefreshToken { grant, .. } => grant.organization_id,
        }
    }

    #[must_use]
    pub const fn application_id(&self) -> Option<ObjectId> {
        match self {
            Self::AppToken(token) => Some(token.application_id),
            Self::ApiKey { .. }
            | Self::RegistrationToken { .. }
            | Self::UserToken { .. }
            | Self::RefreshToken { .. } => None,
        }
    }

    /// The client, or the registration.
    #[must_use]
    pub fn client_id(&self) -> Option<ParsedClientId> {
        match self {
            Self::RegistrationToken { token, .. } => Some(ParsedClientId::Registration(token.registration_id.clone())),
            Self::UserToken { grant, .. } | Self::RefreshToken { grant, .. } => {
                Some(ParsedClientId::UserClient(grant.client_id))
            }
            Self::ApiKey { .. } | Self::AppToken(_) => None,
        }
    }

    /// Its scopes, or the permissions of an API key.
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        match self {
            Self::ApiKey { api_key, .. } => &api_key.permissions,
            Self::AppToken(token) => &token.scopes,
            Self::RegistrationToken { token, .. } => &token.claims.scopes,
            Self::UserToken { token, .. } => &token.claims.scopes,
            Self::RefreshToken { grant, .. } => &grant.scopes,
        }
    }

    /// The scopes, separated by spaces; `None` if it has none.
    #[must_use]
    pub fn scope(&self) -> Option<String> {
        Some(self.scopes().to_string()).filter(|scope| !scope.is_empty())
    }

    #[must_use]
    pub const fn session_id(&self) -> Option<&SessionId> {
        match self {
            Self::UserToken { token, .. } => Some(&token.session_id),
            Self::RefreshToken { session_id, .. } => Some(session_id),
            Self::ApiKey { .. } | Self::AppToken(_) | Self::RegistrationToken { .. } => None,
        }
    }

    #[must_use]
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::RegistrationToken { token, .. } => Some(token.claims.expires_at),
            Self::UserToken { token, .. } => Some(token.claims.expires_at),
            Self::RefreshToken { expires_at, .. } => Some(*expires_at),
            Self::ApiKey { api_key, .. } => api_key.expires_at,
            Self::AppToken(token) => token.expires_at,
        }
    }
}

/// What the possession of a credential lets somebody revoke.
#[derive(Debug)]
pub enum RevocableCredential {
    ApiKey(ObjectId),
    AppToken(ObjectId),
    RegistrationToken(Box<RevocableToken>),
    MachineToken(Box<RevocableMachineToken>),
    /// Of a code, or of a refresh token or access token of a user.
    Grant {
        session_id: SessionId,
        client_id: ClientId,
        /// Whether only its client may revoke it.
        confidential: bool,
    },
}

/// A token of a registration, with what decides whether it is active.
#[derive(Debug)]
pub struct RevocableToken {
    pub registration_id: RegistrationId,
    pub registration: Registration,
    pub token_id: TokenId,
    pub keys: TrustedKeys,
}

/// A machine token, with the registration that remembers its revocation.
#[derive(Debug)]
pub struct RevocableMachineToken {
    pub registration_id: RegistrationId,
    pub registration: Registration,
    pub revocation: MachineTokenRevocation,
}

impl RevocableCredential {
    fn of_grant(session_id: SessionId, grant: &Grant, now: DateTime<Utc>) -> Option<Self> {
        let may_be_used = match grant.status {
            GrantStatus::Issued => true,
            GrantStatus::Active { ends_at, .. } => now < ends_at,
            GrantStatus::Revoked => false,
        };
        let GrantDetails { client_id, confidential, .. } = grant.details;
        may_be_used.then_some(Self::Grant { session_id, client_id, confidential })
    }
}
