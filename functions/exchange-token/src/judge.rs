//! What becomes of a presented code or refresh token: the rules of single use, rotation and replay, as a pure
//! function.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use shared::{
    clock::expiry,
    credential::CredentialHash,
    store::{Client, Grant, GrantWrite, MAX_SIBLINGS},
};

use crate::dialect::{Presented, TokenRequest};

/// How long a grant lives after its code was exchanged, however often it is refreshed.
const GRANT_LIFETIME_SECONDS: u32 = 30 * 86400;

/// What is to be done.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Tokens, once this is written.
    Grant(GrantWrite),
    /// Nothing.
    Refuse,
    /// Revocation: what is presented has been used before, or never was.
    Replay,
}

pub(crate) fn judge(
    request: &TokenRequest,
    grant: &Grant,
    client: Option<&Client>,
    successor: &CredentialHash,
    now: DateTime<Utc>,
) -> Verdict {
    // Of any other client than the grant's nothing counts.
    let client = client.filter(|_| request.client_id.to_string() == grant.client_id);
    let progress = &grant.progress;
    let over = progress.expires_at.is_some_and(|expires_at| expires_at <= now.timestamp());
    if progress.revoked || over {
        return Verdict::Refuse;
    }
    // Who presents a used token has stolen it or was robbed of it, so this comes before what the request is bound to.
    let write = match &request.credential {
        Presented::Code { code, .. } => {
            if code.hash() != grant.code {
                return Verdict::Refuse;
            }
            if !progress.live.is_empty() {
                return Verdict::Replay;
            }
            if grant.code_expires_at <= now.timestamp() {
                return Verdict::Refuse;
            }
            let expires_at = expiry(now, GRANT_LIFETIME_SECONDS);
            GrantWrite::Exchange { successor: successor.clone(), expires_at }
        }
        Presented::RefreshToken(token) => {
            let used = token.hash();
            if progress.live.contains(&used) {
                GrantWrite::Rotate { used, successor: successor.clone(), now }
            } else if progress.parent.as_ref() == Some(&used)
                && client.is_some_and(|client| may_be_reused(grant, client, now))
            {
                if progress.live.len() >= MAX_SIBLINGS {
                    return Verdict::Refuse;
                }
                GrantWrite::AddSibling { used, successor: successor.clone() }
            } else {
                return Verdict::Replay;
            }
        }
    };
    let bound = client.is_some_and(|client| is_bound(request, grant, client));
    if bound { Verdict::Grant(write) } else { Verdict::Refuse }
}

/// Whether the token that was rotated away last may still come from a client whose answer was lost, or from another
/// tab. That none of its successors was used is told by its being the parent still.
fn may_be_reused(grant: &Grant, client: &Client, now: DateTime<Utc>) -> bool {
    let window = TimeDelta::seconds(client.refresh_reuse_seconds.into()).num_milliseconds();
    let since = grant.progress.rotated_at.map(|rotated_at| now.timestamp_millis().saturating_sub(rotated_at));
    window > 0 && since.is_some_and(|since| since <= window)
}

/// Whether the request of the grant's client is the one that the grant was made for.
fn is_bound(request: &TokenRequest, grant: &Grant, client: &Client) -> bool {
    let same = request.redirect_uri == grant.redirect_uri && request.service == grant.service;
    let registered = client.redirect_uris.contains(&grant.redirect_uri) && client.services.contains(&grant.service);
    let scope = request.scopes.as_ref().is_none_or(|scopes| scopes.iter().all(|scope| grant.scopes.contains(scope)));
    let code = match &request.credential {
        Presented::RefreshToken(_) => true,
        Presented::Code { state, code_verifier, .. } => {
            // What was not given at issue binds nothing, but for the verifier: without a challenge it would go
            // unchecked, and its sender not notice that an attacker had removed the challenge (RFC 9700, 4.8.2).
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
