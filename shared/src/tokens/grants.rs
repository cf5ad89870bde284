//! The life of a grant: an authorization code, and every refresh token that descends from it.
//!
//! ```text
//!             exchange the code          rotate
//!  (issued) --------------------> (active) ---.
//!      |                           |   ^      |
//!      |                           |   '------'
//!      '------> (revoked) <--------'
//! ```
//!
//! 1. `issue-code` creates the grant with the hash of its code.
//! 2. The first exchange of the code within its lifetime makes the grant active, with a random refresh token. The grant
//!    ends at a fixed time, however often it is refreshed.
//! 3. A refresh *rotates*: the successor of the current refresh token takes its place. A token has one successor, derived
//!    from it under the salt of the grant, so that everybody who presents it gets the same one.
//! 4. The token that was rotated away last may be presented again for a short time, as long as its successor was not used:
//!    by a client whose answer was lost, or by another tab. That *repeats* the rotation and writes nothing.
//! 5. A refresh token that was rotated away earlier, a refresh token that the grant never had, or a second use of the code is
//!    a *replay*: it revokes the grant (RFC 6749, 4.1.2; RFC 9700, 4.14.2).
//!
//! Redirect URI, service, scope and PKCE are checked last: reuse is evidence of theft even if they are wrong. A request from
//! another client has no reuse window. Only its authenticated client can use a confidential client's grant, or trigger its
//! revocation by a replay.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::pkce::CodeVerifier;
use crate::{
    auth::ClientCredentials,
    clock::expiry,
    credential::{CredentialHash, GrantCredential, SessionId},
    error::{ApiError, OauthError},
    id::ClientId,
    random::Random,
    runtime::telemetry::{Phase, timed},
    store::{Client, Grant, GrantChange, GrantDetails, GrantStatus, Rotation, Store, Update, WriteId},
};

/// How long a user's access token and ID token live.
pub const TOKEN_LIFETIME_SECONDS: u32 = 3600;
/// How long a grant lives after its code was exchanged.
pub const GRANT_LIFETIME_SECONDS: u32 = 30 * 86400;

/// A request for tokens.
#[derive(Debug)]
pub struct GrantRequest {
    pub client: RequestClient,
    pub binding: Binding,
    /// The scopes that are asked for. `None` asks for those that were granted.
    pub scopes: Option<Vec<String>>,
    pub presented: PresentedGrant,
}

/// Which client a request is from.
#[derive(Debug)]
pub enum RequestClient {
    /// `/api/v1/tokens` authenticates no client, so it serves public clients only.
    IdOnly(ClientId),
    /// Authenticated when it is loaded.
    WithCredentials(ClientId, ClientCredentials),
    /// No `client_id`, which only a public client may omit, in a refresh. The client is the grant's.
    Omitted,
}

/// What must match the authorization request, besides PKCE.
#[derive(Debug)]
pub enum Binding {
    /// At `/api/v1/tokens`.
    ApiV1 {
        /// The login service that the user came through.
        service: String,
        redirect_uri: String,
        /// Compared in a code exchange, if the code has one.
        state: Option<String>,
        /// Compared in a code exchange, if the code has one.
        nonce: Option<String>,
    },
    /// At `/oauth2/token`, in a code exchange (RFC 6749, 4.1.3). A public client needs a PKCE challenge (RFC 9700, 2.1.1).
    Code { redirect_uri: String },
    /// At `/oauth2/token`, in a refresh (RFC 6749, 6).
    Refresh,
}

/// What is presented for tokens.
#[derive(Debug)]
pub enum PresentedGrant {
    /// An authorization code (RFC 6749, 4.1.3).
    Code {
        code: GrantCredential,
        /// What answers the challenge of the authorization request (RFC 7636, 4.5).
        code_verifier: Option<CodeVerifier>,
    },
    /// A refresh token (RFC 6749, 6).
    RefreshToken(GrantCredential),
}

impl PresentedGrant {
    fn credential(&self) -> &GrantCredential {
        match self {
            Self::Code { code: credential, .. } | Self::RefreshToken(credential) => credential,
        }
    }

    fn session_id(&self) -> SessionId {
        self.credential().grant().session()
    }
}

/// A request that is granted: its tokens may leave once it is committed.
#[derive(Debug)]
pub struct Redemption<'a> {
    /// The grant.
    pub grant: Grant,
    request: &'a GrantRequest,
    /// `None` if the request is not from the grant's client.
    client: Option<Client>,
    /// The first refresh token of the grant, if a code is exchanged. It is random: of two exchanges only one may succeed, and
    /// each must know its own.
    first: GrantCredential,
    issue: Issue,
}

impl Redemption<'_> {
    /// The session id of the grant.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.request.presented.session_id()
    }

    /// Whether a code is exchanged, and not a refresh token.
    #[must_use]
    pub fn is_code_exchange(&self) -> bool {
        matches!(self.request.presented, PresentedGrant::Code { .. })
    }

    /// The scopes of the tokens.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        self.request.scopes.as_ref().unwrap_or(&self.grant.details.scopes)
    }
}

/// What is to be recorded, and the refresh token to hand out.
#[derive(Debug)]
enum Issue {
    Record {
        change: GrantChange,
        refresh_token: GrantCredential,
    },
    /// The rotation has happened: the same refresh token again, and nothing to record.
    Repeat {
        refresh_token: GrantCredential,
    },
}

#[derive(Debug)]
enum Denial {
    BadCredential,
    /// The scope is wider than what was granted.
    InvalidScope,
    /// The grant is to be revoked.
    Replay,
}

/// Exchanges codes and refresh tokens.
#[derive(Debug)]
pub struct Grants {
    /// Where the grants are.
    pub store: Store,
    /// What refresh tokens are drawn from.
    pub random: Arc<dyn Random>,
}

impl Grants {
    /// Loads what the request names, authenticates the client and decides. A replay revokes the grant.
    ///
    /// # Errors
    /// [`OauthError::InvalidClient`], [`ApiError::BadCredential`], [`OauthError::InvalidScope`], [`ApiError::Replay`], or a failure.
    pub async fn redeem<'a>(&self, request: &'a GrantRequest, now: DateTime<Utc>) -> Result<Redemption<'a>, ApiError> {
        let (grant, client) = timed(Phase::Load, self.load(request)).await?;
        let grant_id = request.presented.credential().grant();
        let first = GrantCredential::generate_refresh_token(grant_id, self.random.as_ref())?;
        let issue = self.enforce(decide(request, &grant, client.as_ref(), &first, now), request).await?;
        Ok(Redemption { grant, request, client, first, issue })
    }

    /// The grant, and its client if the request is from it.
    async fn load(&self, request: &GrantRequest) -> Result<(Grant, Option<Client>), ApiError> {
        let session_id = request.presented.session_id();
        let grant = self.store.load_grant(&session_id);
        let (grant, client) = match &request.client {
            RequestClient::IdOnly(id) | RequestClient::WithCredentials(id, _) => {
                let (grant, client) = tokio::join!(grant, self.store.load_client(*id));
                let client = client?;
                if let RequestClient::WithCredentials(_, credentials) = &request.client {
                    credentials.authenticate(client.as_ref())?;
                }
                let grant = grant?.ok_or(ApiError::BadCredential)?;
                let own = *id == grant.details.client_id;
                (grant, client.filter(|_| own))
            }
            RequestClient::Omitted => {
                let grant = grant.await?.ok_or(ApiError::BadCredential)?;
                if grant.details.confidential {
                    return Err(OauthError::InvalidClient(None).into());
                }
                let client = self.store.load_client(grant.details.client_id).await?;
                (grant, client)
            }
        };
        let authenticated = matches!(request.client, RequestClient::WithCredentials(..));
        Ok((grant, client.filter(|client| authenticated || !client.is_confidential())))
    }

    /// Records the redemption and returns the refresh token. A write that loses a race is decided again on the grant that it
    /// lost to.
    ///
    /// # Errors
    /// As for [`Self::redeem`]. After a failure the code or refresh token may be presented again.
    pub async fn commit(&self, redemption: Redemption<'_>, now: DateTime<Utc>) -> Result<GrantCredential, ApiError> {
        let session_id = redemption.session_id();
        let Redemption { mut grant, request, client, first, mut issue } = redemption;
        let random = self.random.as_ref();
        let next = WriteId::random(random)?;
        let mut retry = self.store.retry("change the grant");
        loop {
            let (change, refresh_token) = match issue {
                Issue::Record { change, refresh_token } => (change, refresh_token),
                Issue::Repeat { refresh_token } => return Ok(refresh_token),
            };
            match self.store.change_grant(&session_id, &change, (&grant.version, &next)).await? {
                Update::Applied(()) => return Ok(refresh_token),
                Update::Conflict(current) => grant = current,
                Update::Missing => return Err(ApiError::BadCredential),
            }
            retry.pause().await?;
            let decision = match decide(request, &grant, client.as_ref(), &first, now) {
                // It was the current token when this request loaded it. Faster requests have used its successor since, so this
                // request is late, not stolen.
                Err(Denial::Replay) if forgives_lateness(request, client.as_ref()) => Err(Denial::BadCredential),
                decision => decision,
            };
            issue = self.enforce(decision, request).await?;
        }
    }

    /// Turns a denial into an error, and revokes the grant of a replay.
    async fn enforce(&self, decision: Result<Issue, Denial>, request: &GrantRequest) -> Result<Issue, ApiError> {
        match decision {
            Ok(issue) => Ok(issue),
            Err(Denial::BadCredential) => Err(ApiError::BadCredential),
            Err(Denial::InvalidScope) => Err(OauthError::InvalidScope.into()),
            Err(Denial::Replay) => {
                self.store.revoke_grant(&request.presented.session_id()).await?;
                Err(ApiError::Replay)
            }
        }
    }
}

/// `client` is `None` if the request is not from the grant's client.
fn decide(
    request: &GrantRequest,
    grant: &Grant,
    client: Option<&Client>,
    first: &GrantCredential,
    now: DateTime<Utc>,
) -> Result<Issue, Denial> {
    // Nobody else can use the grant of a confidential client, or end it by a replay.
    if grant.details.confidential && client.is_none() {
        return Err(Denial::BadCredential);
    }
    let issue = match (&request.presented, &grant.status) {
        (_, GrantStatus::Revoked) => return Err(Denial::BadCredential),
        (_, GrantStatus::Active { expires_at, .. }) if *expires_at <= now => return Err(Denial::BadCredential),
        (PresentedGrant::Code { code, .. }, _) if code.hash() != grant.details.code => {
            return Err(Denial::BadCredential);
        }
        // A second use of the code, or a refresh token before there was one.
        (PresentedGrant::Code { .. }, GrantStatus::Active { .. })
        | (PresentedGrant::RefreshToken(_), GrantStatus::Issued) => return Err(Denial::Replay),
        (PresentedGrant::Code { .. }, GrantStatus::Issued) if grant.details.code_expires_at <= now => {
            return Err(Denial::BadCredential);
        }
        (PresentedGrant::Code { .. }, GrantStatus::Issued) => {
            let expires_at = expiry(now, GRANT_LIFETIME_SECONDS);
            let change = GrantChange::Exchange { refresh_token: first.hash(), expires_at };
            Issue::Record { change, refresh_token: first.clone() }
        }
        (PresentedGrant::RefreshToken(token), GrantStatus::Active { current, rotation, .. }) => {
            let refresh_token = token.successor(&grant.salt);
            let from = token.hash();
            if from == *current {
                let change = GrantChange::Rotate { from, to: refresh_token.hash(), at: now };
                Issue::Record { change, refresh_token }
            } else if rotation.as_ref().is_some_and(|rotation| may_be_repeated(rotation, &from, client, now)) {
                Issue::Repeat { refresh_token }
            } else {
                return Err(Denial::Replay);
            }
        }
    };
    if !client.is_some_and(|client| is_bound(request, &grant.details, client)) {
        return Err(Denial::BadCredential);
    }
    let granted = |scopes: &Vec<String>| scopes.iter().all(|scope| grant.details.scopes.contains(scope));
    if request.scopes.as_ref().is_none_or(granted) { Ok(issue) } else { Err(Denial::InvalidScope) }
}

/// Whether a refresh that lost a race is refused without ending the grant.
fn forgives_lateness(request: &GrantRequest, client: Option<&Client>) -> bool {
    let refreshes = matches!(request.presented, PresentedGrant::RefreshToken(_));
    refreshes && client.is_some_and(|client| client.refresh_reuse_seconds > 0)
}

/// Whether this is the token that was rotated away last, and not too long ago. It is still the last one, so its successor
/// was not used.
fn may_be_repeated(
    rotation: &Rotation,
    presented: &CredentialHash,
    client: Option<&Client>,
    now: DateTime<Utc>,
) -> bool {
    let window = client.map_or(0, |client| client.refresh_reuse_seconds);
    let since = now.signed_duration_since(rotation.at);
    window > 0 && rotation.from == *presented && since <= TimeDelta::seconds(window.into())
}

/// Whether the request matches the authorization request and the client is still registered for it.
fn is_bound(request: &GrantRequest, grant: &GrantDetails, client: &Client) -> bool {
    let registered = client.redirect_uris.contains(&grant.redirect_uri) && client.services.contains(&grant.service);
    // A value that the authorization request lacked is not compared.
    let same = |issued: &Option<String>, given: &Option<String>| issued.is_none() || issued == given;
    let is_code = matches!(request.presented, PresentedGrant::Code { .. });
    let bound = match &request.binding {
        Binding::ApiV1 { service, redirect_uri, state, nonce } => {
            let code = !is_code || same(&grant.state, state) && same(&grant.nonce, nonce);
            *redirect_uri == grant.redirect_uri && *service == grant.service && code
        }
        Binding::Code { redirect_uri } => {
            let challenged = client.is_confidential() || grant.code_challenge.is_some();
            *redirect_uri == grant.redirect_uri && challenged
        }
        Binding::Refresh => true,
    };
    registered && bound && answers_challenge(&request.presented, grant)
}

/// PKCE (RFC 7636, 4.6). A verifier without a stored challenge is refused: an attacker may have removed the challenge
/// (RFC 9700, 4.8.2).
fn answers_challenge(presented: &PresentedGrant, grant: &GrantDetails) -> bool {
    match presented {
        PresentedGrant::RefreshToken(_) => true,
        PresentedGrant::Code { code_verifier, .. } => {
            grant.code_challenge == code_verifier.as_ref().map(CodeVerifier::challenge)
        }
    }
}
