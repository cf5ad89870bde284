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
//! 5. Any other token that was used before, a secret that the grant never had, or a second use of the code is a *replay*: it
//!    revokes the grant (RFC 9700, 2.1.1 and 4.14.2).
//!
//! What the request is bound to (client, redirect URI, service, PKCE, …) is judged after that: whoever presents a used
//! token has stolen it or was robbed of it, whatever else the request says.

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
    store::{Client, Grant, GrantChange, GrantState, GrantVersion, Retry, Rotation, Store, Update},
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
    pub credential: PresentedGrant,
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

    fn session(&self) -> SessionId {
        self.credential().grant().session()
    }
}

/// A grant that tokens may be issued for, and what is to be recorded before they leave.
#[derive(Debug)]
pub struct Redemption {
    /// The grant.
    pub grant: Grant,
    /// Its public id.
    pub session: SessionId,
    client: Option<Client>,
    /// The refresh token of an exchange. It is random: of two exchanges only one may succeed, and each must know its own.
    first: GrantCredential,
    decision: Decision,
}

#[derive(Debug)]
enum Decision {
    /// Record this, and hand the refresh token out.
    Issue { change: GrantChange, refresh_token: GrantCredential },
    /// The rotation has happened. Hand the same refresh token out again.
    Repeat { refresh_token: GrantCredential },
    /// Refuse, and change nothing.
    Deny,
    /// Revoke the grant.
    Revoke,
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
    /// Loads what the request names and decides on it. A replay is answered by revoking the grant.
    ///
    /// # Errors
    /// [`ApiError::BadCredential`], [`ApiError::Replay`], or a failure.
    pub async fn redeem(&self, request: &GrantRequest, now: DateTime<Utc>) -> Result<Redemption, ApiError> {
        let session = request.credential.session();
        let reads = async { tokio::join!(self.store.load_grant(&session), self.store.load_client(request.client_id)) };
        let (grant, client) = timed(Phase::Load, reads).await;
        let (grant, client) = (grant?.ok_or(ApiError::BadCredential)?, client?);
        let grant_id = request.credential.credential().grant();
        let first = GrantCredential::generate_refresh_token(grant_id, self.random.as_ref())?;
        let decision = decide(request, &grant, client.as_ref(), &first, now);
        let decision = self.enforce(decision, &session).await?;
        Ok(Redemption { grant, session, client, first, decision })
    }

    /// Records the redemption and returns the refresh token. A write that loses a race is decided again on the grant that it
    /// lost to.
    ///
    /// # Errors
    /// As for [`Self::redeem`]. After a failure the code or refresh token may be presented again.
    pub async fn commit(
        &self,
        request: &GrantRequest,
        redemption: Redemption,
        now: DateTime<Utc>,
    ) -> Result<GrantCredential, ApiError> {
        let Redemption { mut grant, session, client, first, mut decision } = redemption;
        let random = self.random.as_ref();
        let becomes = GrantVersion::random(random)?;
        let mut retry = Retry::new("change the grant", random);
        loop {
            let (change, refresh_token) = match decision {
                Decision::Issue { change, refresh_token } => (change, refresh_token),
                Decision::Repeat { refresh_token } => return Ok(refresh_token),
                Decision::Deny | Decision::Revoke => return Err(ApiError::BadCredential),
            };
            match self.store.change_grant(&session, &grant.version, &change, &becomes, random).await? {
                Update::Applied(()) => return Ok(refresh_token),
                Update::Conflict(current) => grant = current,
                Update::Missing => return Err(ApiError::BadCredential),
            }
            let decided = decide(request, &grant, client.as_ref(), &first, now);
            decision = self.enforce(decided, &session).await?;
            retry.pause().await?;
        }
    }

    /// Turns a refusal into an error, and a replay into a revocation.
    async fn enforce(&self, decision: Decision, session: &SessionId) -> Result<Decision, ApiError> {
        match decision {
            Decision::Issue { .. } | Decision::Repeat { .. } => Ok(decision),
            Decision::Deny => Err(ApiError::BadCredential),
            Decision::Revoke => {
                let _ = self.store.revoke_grant(session, self.random.as_ref()).await?;
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
) -> Decision {
    // Only the client that the grant was issued to counts.
    let client = client.filter(|_| request.client_id == grant.client_id);
    let decision = match (&request.credential, &grant.progress) {
        (_, GrantState::Revoked) => Decision::Deny,
        (_, GrantState::Active { expires_at, .. }) if *expires_at <= now => Decision::Deny,
        (PresentedGrant::Code { code, .. }, _) if code.hash() != grant.code => Decision::Deny,
        // A second use of the code, or a refresh token before there was one.
        (PresentedGrant::Code { .. }, GrantState::Active { .. })
        | (PresentedGrant::RefreshToken(_), GrantState::Issued) => Decision::Revoke,
        (PresentedGrant::Code { .. }, GrantState::Issued) if grant.code_expires_at <= now => Decision::Deny,
        (PresentedGrant::Code { .. }, GrantState::Issued) => {
            let expires_at = expiry(now, GRANT_LIFETIME_SECONDS);
            let change = GrantChange::Exchange { refresh_token: first.hash(), expires_at };
            Decision::Issue { change, refresh_token: first.clone() }
        }
        (PresentedGrant::RefreshToken(token), GrantState::Active { current, rotation, .. }) => {
            let refresh_token = token.successor(&grant.salt);
            let from = token.hash();
            if from == *current {
                let change = GrantChange::Rotate { from, to: refresh_token.hash(), at: now };
                Decision::Issue { change, refresh_token }
            } else if rotation.as_ref().is_some_and(|rotation| may_be_repeated(rotation, &from, client, now)) {
                Decision::Repeat { refresh_token }
            } else {
                Decision::Revoke
            }
        }
    };
    match decision {
        Decision::Issue { .. } | Decision::Repeat { .. }
            if !client.is_some_and(|client| is_bound(request, grant, client)) =>
        {
            Decision::Deny
        }
        decision => decision,
    }
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
fn is_bound(request: &GrantRequest, grant: &Grant, client: &Client) -> bool {
    let same = request.redirect_uri == grant.redirect_uri && request.service == grant.service;
    let registered = client.redirect_uris.contains(&grant.redirect_uri) && client.services.contains(&grant.service);
    let scope = request.scopes.as_ref().is_none_or(|scopes| scopes.iter().all(|scope| grant.scopes.contains(scope)));
    let code = match &request.credential {
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
