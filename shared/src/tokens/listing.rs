//! What was minted, as its owner may see it: no secret and no hash.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::{
    error::InternalError,
    id::{ObjectId, TokenId},
    input::{Email, Scopes},
    store::{List, Order, Page, Registration, Start, Store},
};

/// An active OAuth access token.
#[derive(Debug)]
pub struct ListedToken<'a> {
    /// Its `jti`.
    pub id: TokenId,
    /// The address in it.
    pub email: Option<&'a Email>,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
}

/// The active tokens of a registration, by expiry, then id.
#[must_use]
pub fn active_tokens(registration: &Registration, now: DateTime<Utc>) -> Vec<ListedToken<'_>> {
    let active = registration.tokens.iter().filter(|(_, token)| token.is_active(now));
    let mut tokens: Vec<_> = active
        .map(|(slot, token)| ListedToken {
            id: token.id(*slot),
            email: token.email.as_ref(),
            expires_at: token.expires_at,
        })
        .collect();
    tokens.sort_by_cached_key(|token| (token.expires_at, token.id.to_string()));
    tokens
}

/// What a list shows of an app token, beside its position.
#[derive(Debug, Deserialize)]
pub struct ListedAppToken {
    /// What its creator said of it.
    pub description: Option<String>,
    /// What it may do.
    pub scopes: Scopes,
}

/// A page of an application's tokens. Revoked ones are left out, within about a second of their revocation.
///
/// # Errors
/// When the table does not answer.
pub async fn app_tokens(
    store: &Store,
    application_id: ObjectId,
    order: Order,
    skip: usize,
    limit: usize,
) -> Result<Page<ListedAppToken>, InternalError> {
    store.list(&List::AppTokens(application_id), (order, Start::Skip(skip)), limit, |_| true).await
}
