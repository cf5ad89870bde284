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
//! says. A wrong client has no reuse window, so its repeat is a replay.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    clock::expiry,
    credential::{CredentialHash, GrantCredential, SessionId},
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
    /// The client that asks.
    pub client_id: ClientId,
    /// The login service that the user came through.
    pub service: String,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// The `nonce` of the authorization request.
    pub nonce: Option<String>,
    /// The scopes that are asked for. `None` asks for those that were granted.
    pub scopes: Option<Vec<String>>,
    /// What is presented.
    pub presented: PresentedGrant,
}

/// What is presented for tokens.
#[derive(Debug)]
pub enum PresentedGrant {
    /// An authorization code (RFC 6749, 4.1.3).
    Code {
        /// The code.
        code: GrantCredential,
        /// The `state` of the authorization request.
        state: Option<String>,
        /// What answers the challenge of the authorization request (RFC 7636, 4.5).
        code_verifier: Option<String>,
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
    /// Loads what the request names and decides on it. A replay revokes the grant.
    ///
    /// # Errors
    /// [`ApiError::BadCredential`], [`ApiError::Replay`], or a failure.
    pub async fn redeem<'a>(&self, request: &'a GrantRequest, now: DateTime<Utc>) -> Result<Redemption<'a>, ApiError> {
        let session_id = request.presented.session_id();
        let reads =
            async { tokio::join!(self.store.load_grant(&session_id), self.store.load_client(request.client_id)) };
        let (grant, client) = timed(Phase::Load, reads).await;
        let (grant, client) = (grant?.ok_or(ApiError::BadCredential)?, client?);
        let grant_id = request.presented.credential().grant();
        let first = GrantCredential::generate_refresh_token(grant_id, self.random.as_ref())?;
        let issue = self.enforce(decide(request, &grant, client.as_ref(), &first, now), request, &grant).await?;
        Ok(Redemption { grant, request, client, first, issue })
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
            issue = self.enforce(decision, request, &grant).await?;
        }
    }

    /// Turns a denial into an error, and revokes the grant of a replay. The grant of a confidential client is left alone: this
    /// endpoint authenticates no client, and another `client_id` in the request does not change whose grant it is.
    async fn enforce(
        &self,
        decision: Result<Issue, Denial>,
        request: &GrantRequest,
        grant: &Grant,
    ) -> Result<Issue, ApiError> {
        match decision {
            Ok(issue) => Ok(issue),
            Err(Denial::BadCredential) => Err(ApiError::BadCredential),
            Err(Denial::Replay) => {
                let owner = grant.details.client_id;
                let of_another = if request.client_id == owner { None } else { self.store.load_client(owner).await? };
                if of_another.is_some_and(|client| client.secret_hash.is_some()) {
                    return Err(ApiError::BadCredential);
                }
                self.store.revoke_grant(&request.presented.session_id(), self.random.as_ref()).await?;
                Err(ApiError::Replay)
            }
        }
    }
}

fn decide(
    request: &GrantRequest,
    grant: &Grant,
    client: Option<&Client>,
    first: &GrantCredential,
    now: DateTime<Utc>,
) -> Result<Issue, Denial> {
    // A client other than the grant's counts as no client.
    let client = client.filter(|_| request.client_id == grant.details.client_id);
    // This endpoint authenticates no client, so it does nothing for one that has a secret, and nothing to its grants.
    if client.is_some_and(|client| client.secret_hash.is_some()) {
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
    if bound { Ok(issue) } else { Err(Denial::BadCredential) }
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

/// Whether the request is the one that the grant was made for.
fn is_bound(request: &GrantRequest, grant: &GrantDetails, client: &Client) -> bool {
    let same = request.redirect_uri == grant.redirect_uri && request.service == grant.service;
    let registered = client.redirect_uris.contains(&grant.redirect_uri) && client.services.contains(&grant.service);
    let scope = request.scopes.as_ref().is_none_or(|scopes| scopes.iter().all(|scope| grant.scopes.contains(scope)));
    let code = match &request.presented {
        PresentedGrant::RefreshToken(_) => true,
        PresentedGrant::Code { state, code_verifier, .. } => {
            // What was not given at issue binds nothing, except the verifier: without a challenge it would go unchecked, and
            // its sender would not notice that an attacker had removed the challenge (RFC 9700, 4.8.2).
            let bound = |issued: &Option<String>, given: &Option<String>| issued.is_none() || issued == given;
            let challenge = code_verifier.as_ref().map(|verifier| s256(verifier));
            bound(&grant.state, state) && bound(&grant.nonce, &request.nonce) && grant.code_challenge == challenge
        }
    };
    same && registered && scope && code
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
