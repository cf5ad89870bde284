//! Decides on a request for tokens: a pure function of the request, the grant, its client and the time.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    GRANT_LIFETIME_SECONDS,
    request::{Binding, GrantRequest, PresentedGrant},
};
use crate::{
    clock::expiry,
    credential::{CredentialHash, GrantCredential, SessionId},
    input::CodeVerifier,
    store::{Client, Grant, GrantChange, GrantDetails, GrantStatus, Rotation},
};

/// The request is granted.
#[derive(Debug)]
pub(super) struct Decision {
    /// What is to be recorded; `None` if the rotation has happened already and is repeated.
    pub(super) change: Option<GrantChange>,
    /// The refresh token to hand out.
    pub(super) refresh_token: GrantCredential,
}

#[derive(Debug)]
pub(super) enum Denial {
    BadCredential,
    /// The scope is wider than what was granted.
    InvalidScope,
    /// The grant is to be revoked.
    Replay,
}

/// A request, and what was loaded for it.
pub(super) struct Attempt<'a> {
    pub(super) request: &'a GrantRequest,
    pub(super) session: SessionId,
    pub(super) grant: Grant,
    /// `None` if the request is not from the grant's client.
    pub(super) client: Option<Client>,
    /// The first refresh token of the grant, if a code is exchanged. It is random: of two exchanges only one may
    /// succeed, and each must know its own.
    pub(super) first: GrantCredential,
    pub(super) now: DateTime<Utc>,
}

impl Attempt<'_> {
    pub(super) fn decide(&self) -> Result<Decision, Denial> {
        let Self { request, grant, client, .. } = self;
        let decision = self.decide_on_credential()?;
        if !client.as_ref().is_some_and(|client| is_bound(request, &grant.details, client)) {
            return Err(Denial::BadCredential);
        }
        let granted = request.scopes.as_ref().is_none_or(|scopes| scopes.is_subset(&grant.details.scopes));
        if granted { Ok(decision) } else { Err(Denial::InvalidScope) }
    }

    /// Decides by the status of the grant and the credential alone, before anything else of the request can hide a
    /// replay.
    fn decide_on_credential(&self) -> Result<Decision, Denial> {
        let Self { request, grant, first, now, .. } = self;
        let (client, now) = (self.client.as_ref(), *now);
        // Nobody else can use the grant of a confidential client, or end it by a replay.
        if grant.details.confidential && client.is_none() {
            return Err(Denial::BadCredential);
        }
        match (&request.presented, &grant.status) {
            (_, GrantStatus::Revoked) => Err(Denial::BadCredential),
            (_, GrantStatus::Active { expires_at, .. }) if *expires_at <= now => Err(Denial::BadCredential),
            (PresentedGrant::Code { code, .. }, _) if code.hash() != grant.details.code => Err(Denial::BadCredential),
            // A second use of the code, or a refresh token before there was one.
            (PresentedGrant::Code { .. }, GrantStatus::Active { .. })
            | (PresentedGrant::RefreshToken(_), GrantStatus::Issued) => Err(Denial::Replay),
            (PresentedGrant::Code { .. }, GrantStatus::Issued) if grant.details.code_expires_at <= now => {
                Err(Denial::BadCredential)
            }
            (PresentedGrant::Code { .. }, GrantStatus::Issued) => {
                let expires_at = expiry(now, GRANT_LIFETIME_SECONDS);
                let change = GrantChange::Exchange { refresh_token: first.hash(), expires_at };
                Ok(Decision { change: Some(change), refresh_token: first.clone() })
            }
            (PresentedGrant::RefreshToken(token), GrantStatus::Active { current, rotation, .. }) => {
                let refresh_token = token.successor(&grant.salt);
                let from = token.hash();
                if from == *current {
                    let rotation = Rotation { from, at: now, reuse_seconds: reuse_seconds(client) };
                    let change = GrantChange::Rotate { rotation, to: refresh_token.hash() };
                    Ok(Decision { change: Some(change), refresh_token })
                } else if rotation.as_ref().is_some_and(|rotation| may_be_repeated(rotation, &from, client, now)) {
                    Ok(Decision { change: None, refresh_token })
                } else {
                    Err(Denial::Replay)
                }
            }
        }
    }
}

/// Whether a refresh that lost a race is refused without ending the grant.
pub(super) fn forgives_lateness(request: &GrantRequest, client: Option<&Client>) -> bool {
    let refreshes = matches!(request.presented, PresentedGrant::RefreshToken(_));
    refreshes && reuse_seconds(client) > 0
}

/// Whether this is the token that was rotated away last, and not too long ago. It is still the last one, so its
/// successor was not used.
fn may_be_repeated(
    rotation: &Rotation,
    presented: &CredentialHash,
    client: Option<&Client>,
    now: DateTime<Utc>,
) -> bool {
    let window = rotation.reuse_seconds.min(reuse_seconds(client));
    let since = now.signed_duration_since(rotation.at);
    window > 0 && rotation.from == *presented && since <= TimeDelta::seconds(window.into())
}

/// A request that is not from the grant's client has no reuse window.
fn reuse_seconds(client: Option<&Client>) -> u32 {
    client.map_or(0, |client| client.refresh_reuse_seconds)
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
            redirect_uri == grant.redirect_uri.as_str() && service == grant.service.as_str() && code
        }
        Binding::Code { redirect_uri } => {
            let challenged = client.is_confidential() || grant.code_challenge.is_some();
            redirect_uri == grant.redirect_uri.as_str() && challenged
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
