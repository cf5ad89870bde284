//! Decides on a request for tokens: a pure function of the request, the grant, its client and the time.

use chrono::{DateTime, TimeDelta, Utc};

use super::request::{Binding, GrantRequest, PresentedGrant};
use crate::{
    clock::expiry,
    credential::{CredentialHash, GrantCredential, SessionId},
    error::OauthError,
    input::{Audiences, CodeVerifier},
    store::{Client, Grant, GrantChange, GrantDetails, GrantSettings, GrantStatus, Rotation},
};

/// The request is granted.
#[derive(Debug)]
pub(super) struct Decision {
    /// What is to be recorded; `None` if the rotation has happened already and is repeated.
    pub(super) change: Option<GrantChange>,
    /// The refresh token to hand out, if the grant has one.
    pub(super) refresh_token: Option<GrantCredential>,
    /// When the access token and the ID token expire.
    pub(super) tokens_expire_at: DateTime<Utc>,
    /// The audiences of the access token.
    pub(super) audiences: Audiences,
}

/// The parts of a [`Decision`] that the credential and the status of the grant decide.
struct DecisionByCredential {
    change: Option<GrantChange>,
    refresh_token: Option<GrantCredential>,
    tokens_expire_at: DateTime<Utc>,
}

#[derive(Debug)]
pub(super) enum Denial {
    BadCredential,
    /// The scope or an API is malformed, or was not granted.
    Refused(OauthError),
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
        let by_credential = self.decide_on_credential()?;
        if !client.as_ref().is_some_and(|client| is_bound(request, &grant.details, client)) {
            return Err(Denial::BadCredential);
        }
        if let Some(malformed) = &request.malformed {
            return Err(Denial::Refused(malformed.clone()));
        }
        if !request.scopes.as_ref().is_none_or(|scopes| scopes.is_subset(&grant.details.scopes)) {
            return Err(Denial::Refused(OauthError::InvalidScope));
        }
        let audiences = match &request.targets {
            None => grant.details.client_id.into(),
            Some(targets) => {
                let audiences = targets.audiences(&grant.details.resources);
                audiences.ok_or(Denial::Refused(OauthError::InvalidTarget))?
            }
        };
        let DecisionByCredential { change, refresh_token, tokens_expire_at } = by_credential;
        Ok(Decision { change, refresh_token, tokens_expire_at, audiences })
    }

    /// Decides by the status of the grant and the credential alone, before anything else of the request can hide a
    /// replay.
    fn decide_on_credential(&self) -> Result<DecisionByCredential, Denial> {
        let Self { request, grant, first, now, .. } = self;
        let (client, now) = (self.client.as_ref(), *now);
        // Nobody else can use the grant of a confidential client, or end it by a replay.
        if grant.details.confidential && client.is_none() {
            return Err(Denial::BadCredential);
        }
        // The client has ended all grants that it had then.
        if client.is_some_and(|client| client.state.has_ended(grant.details.generation)) {
            return Err(Denial::BadCredential);
        }
        match (&request.presented, &grant.status) {
            (_, GrantStatus::Revoked) => Err(Denial::BadCredential),
            (_, GrantStatus::Active { ends_at, .. }) if *ends_at <= now => Err(Denial::BadCredential),
            // Not a replay, even of an earlier token: the grant cannot be refreshed any more.
            (PresentedGrant::RefreshToken(_), GrantStatus::Active { expires_at, .. }) if *expires_at <= now => {
                Err(Denial::BadCredential)
            }
            (PresentedGrant::Code { code, .. }, _) if code.hash() != grant.details.code => Err(Denial::BadCredential),
            // A second use of the code, or a refresh token before there was one.
            (PresentedGrant::Code { .. }, GrantStatus::Active { .. })
            | (PresentedGrant::RefreshToken(_), GrantStatus::Issued) => Err(Denial::Replay),
            (PresentedGrant::Code { .. }, GrantStatus::Issued) if grant.details.code_expires_at <= now => {
                Err(Denial::BadCredential)
            }
            (PresentedGrant::Code { .. }, GrantStatus::Issued) => {
                let settings = &client.ok_or(Denial::BadCredential)?.grants;
                let tokens_expire_at = expiry(now, settings.access_token_ttl_seconds);
                let refreshes = settings.refresh_tokens.has_one(&grant.details.scopes);
                let (expires_at, ends_at) = if refreshes {
                    let ends_at = expiry(now, settings.grant_ttl_seconds);
                    (refresh_token_expiry(settings, ends_at, now), ends_at)
                } else {
                    (tokens_expire_at, tokens_expire_at)
                };
                let change = GrantChange::Exchange { refresh_token: first.hash(), expires_at, ends_at };
                let refresh_token = refreshes.then(|| first.clone());
                Ok(DecisionByCredential { change: Some(change), refresh_token, tokens_expire_at })
            }
            (PresentedGrant::RefreshToken(token), GrantStatus::Active { current, rotation, ends_at, .. }) => {
                let from = token.hash();
                let rotates = from == *current;
                if !rotates && !rotation.as_ref().is_some_and(|rotation| may_be_repeated(rotation, &from, client, now))
                {
                    return Err(Denial::Replay);
                }
                let client = client.ok_or(Denial::BadCredential)?;
                let settings = &client.grants;
                let successor = token.successor(&grant.salt);
                let change = rotates.then(|| GrantChange::Rotate {
                    rotation: Rotation { from, at: now, reuse_seconds: client.refresh_reuse_seconds },
                    to: successor.hash(),
                    expires_at: refresh_token_expiry(settings, *ends_at, now),
                });
                let tokens_expire_at = expiry(now, settings.access_token_ttl_seconds);
                Ok(DecisionByCredential { change, refresh_token: Some(successor), tokens_expire_at })
            }
        }
    }
}

/// When a refresh token that is issued now expires.
fn refresh_token_expiry(settings: &GrantSettings, ends_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    match settings.idle_timeout_seconds {
        0 => ends_at,
        seconds => ends_at.min(expiry(now, seconds)),
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
    let redirect_uri = grant.redirect_uri.as_str();
    let registered = client.redirect_uri(redirect_uri).is_some() && client.services.contains(&grant.service);
    // A value that the authorization request lacked is not compared.
    let same = |issued: &Option<String>, given: &Option<String>| issued.is_none() || issued == given;
    let is_code = matches!(request.presented, PresentedGrant::Code { .. });
    let bound = match &request.binding {
        Binding::ApiV1 { service, redirect_uri: given, state, nonce } => {
            let code = !is_code || same(&grant.state, state) && same(&grant.nonce, nonce);
            given == redirect_uri && service == grant.service.as_str() && code
        }
        Binding::Code { redirect_uri: given } => {
            let challenged = client.is_confidential() || grant.code_challenge.is_some();
            // Whether it may be left out was decided with the client.
            given.as_ref().is_none_or(|given| given == redirect_uri) && challenged
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
