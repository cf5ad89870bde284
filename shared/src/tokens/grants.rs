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
//! Redirect URI, service, scope and PKCE are checked after that: a used token is evidence of theft, whatever else the request
//! says. A wrong client has no reuse window, so its repeat is a replay. The grant of a confidential client is only touched by
//! requests that it has authenticated.

use std::{fmt, str::FromStr, sync::Arc};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    auth::ClientCredentials,
    clock::expiry,
    credential::{CredentialHash, GrantCredential, SessionId},
    error::Constraint,
    id::ClientId,
    random::Random,
    runtime::ApiError,
    runtime::telemetry::{Phase, timed},
    store::{Client, Grant, GrantChange, GrantDetails, GrantStatus, Retry, Rotation, Store, Update, WriteId},
};

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
    /// It names this one, at the endpoint that authenticates no client. So a confidential client is of no use there.
    Unauthenticated(ClientId),
    /// It names this one, and has its secret if it is confidential.
    Authenticated(ClientId, ClientCredentials),
    /// It names none, as public clients may when they refresh: it is the one that the refresh token was issued to.
    OfToken,
}

/// What else a request must have in common with the authorization request.
#[derive(Debug)]
pub enum Binding {
    /// At `/api/v1/tokens`.
    Documented {
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
    /// The client of the grant, if the request is from it.
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
    /// [`ApiError::InvalidClient`], [`ApiError::BadCredential`], [`ApiError::InvalidScope`], [`ApiError::Replay`], or a failure.
    pub async fn redeem<'a>(&self, request: &'a GrantRequest, now: DateTime<Utc>) -> Result<Redemption<'a>, ApiError> {
        let (grant, client) = timed(Phase::Load, self.load(request)).await?;
        let client = own_client(request, &grant, client);
        let grant_id = request.presented.credential().grant();
        let first = GrantCredential::generate_refresh_token(grant_id, self.random.as_ref())?;
        let issue = self.enforce(decide(request, &grant, client.as_ref(), &first, now), request).await?;
        Ok(Redemption { grant, request, client, first, issue })
    }

    /// The grant, and the client that the request names or, if it names none, the client of the grant.
    async fn load(&self, request: &GrantRequest) -> Result<(Grant, Option<Client>), ApiError> {
        let session_id = request.presented.session_id();
        let grant = self.store.load_grant(&session_id);
        match &request.client {
            RequestClient::Unauthenticated(id) => {
                let (grant, client) = tokio::join!(grant, self.store.load_client(*id));
                Ok((grant?.ok_or(ApiError::BadCredential)?, client?))
            }
            RequestClient::Authenticated(id, credentials) => {
                let (grant, client) = tokio::join!(grant, self.store.load_client(*id));
                let client = client?;
                credentials.authenticate(client.as_ref())?;
                Ok((grant?.ok_or(ApiError::BadCredential)?, client))
            }
            RequestClient::OfToken => {
                let grant = grant.await?.ok_or(ApiError::BadCredential)?;
                if grant.details.confidential {
                    return Err(ApiError::InvalidClient(None));
                }
                let client = self.store.load_client(grant.details.client_id).await?;
                Ok((grant, client))
            }
        }
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
        let mut retry = Retry::new("change the grant", random);
        loop {
            let (change, refresh_token) = match issue {
                Issue::Record { change, refresh_token } => (change, refresh_token),
                Issue::Repeat { refresh_token } => return Ok(refresh_token),
            };
            match self.store.change_grant(&session_id, &change, (&grant.version, &next), random).await? {
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
            Err(Denial::InvalidScope) => Err(ApiError::InvalidScope),
            Err(Denial::Replay) => {
                self.store.revoke_grant(&request.presented.session_id(), self.random.as_ref()).await?;
                Err(ApiError::Replay)
            }
        }
    }
}

/// The client that the request is from, if the grant is its own.
fn own_client(request: &GrantRequest, grant: &Grant, client: Option<Client>) -> Option<Client> {
    let owner = grant.details.client_id;
    client.filter(|client| match &request.client {
        RequestClient::Unauthenticated(id) => *id == owner && client.secret_hash.is_none(),
        RequestClient::Authenticated(id, _) => *id == owner,
        RequestClient::OfToken => true,
    })
}

/// `client` is that of the grant, if the request is from it.
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
    let bound = client.is_some_and(|client| is_bound(request, &grant.details, client));
    let granted = |scopes: &Vec<String>| scopes.iter().all(|scope| grant.details.scopes.contains(scope));
    match (&request.binding, request.scopes.as_ref().is_none_or(granted)) {
        _ if !bound => Err(Denial::BadCredential),
        (_, true) => Ok(issue),
        // The documented endpoint has one error for both.
        (Binding::Documented { .. }, false) => Err(Denial::BadCredential),
        (Binding::Code { .. } | Binding::Refresh, false) => Err(Denial::InvalidScope),
    }
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

/// Whether the request has in common with the authorization request what it must. The client must still be registered for it.
fn is_bound(request: &GrantRequest, grant: &GrantDetails, client: &Client) -> bool {
    let registered = client.redirect_uris.contains(&grant.redirect_uri) && client.services.contains(&grant.service);
    // What was not given at issue binds nothing.
    let same = |issued: &Option<String>, given: &Option<String>| issued.is_none() || issued == given;
    let is_code = matches!(request.presented, PresentedGrant::Code { .. });
    let bound = match &request.binding {
        Binding::Documented { service, redirect_uri, state, nonce } => {
            let code = !is_code || same(&grant.state, state) && same(&grant.nonce, nonce);
            *redirect_uri == grant.redirect_uri && *service == grant.service && code
        }
        Binding::Code { redirect_uri } => {
            let challenged = client.secret_hash.is_some() || grant.code_challenge.is_some();
            *redirect_uri == grant.redirect_uri && challenged
        }
        Binding::Refresh => true,
    };
    registered && bound && answers_challenge(&request.presented, grant)
}

/// A verifier answers the challenge. Without a challenge it would go unchecked, and its sender would not notice that an
/// attacker had removed the challenge (RFC 9700, 4.8.2), so it is refused.
fn answers_challenge(presented: &PresentedGrant, grant: &GrantDetails) -> bool {
    match presented {
        PresentedGrant::RefreshToken(_) => true,
        PresentedGrant::Code { code_verifier, .. } => {
            grant.code_challenge == code_verifier.as_ref().map(|CodeVerifier(verifier)| s256(verifier))
        }
    }
}

/// What a client proves with that it made the authorization request (RFC 7636, 4.1).
pub struct CodeVerifier(String);

impl FromStr for CodeVerifier {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be 43 to 128 of A-Z a-z 0-9 - . _ ~";
        Constraint::check(text, 43..=128, |c| c.is_ascii_alphanumeric() || b"-._~".contains(&c), RULE).map(Self)
    }
}

impl fmt::Debug for CodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeVerifier(…)")
    }
}

/// The S256 challenge of a verifier (RFC 7636, 4.6).
fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s256_is_the_rfcs() {
        // RFC 7636, appendix B.
        assert_eq!(s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
