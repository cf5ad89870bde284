//! What was minted, as its owner may see it: no secret and no hash.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::{
    error::InternalError,
    id::{ObjectId, TokenId, TrustedKeys},
    input::{Email, Scopes},
    store::{Generation, List, Order, OwnerState, Page, Registration, Start, Store},
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
pub fn active_tokens<'a>(
    registration: &'a Registration,
    now: DateTime<Utc>,
    keys: &TrustedKeys,
) -> Vec<ListedToken<'a>> {
    let active = registration.tokens.iter().filter(|(_, token)| token.is_active(now, keys));
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
#[serde(rename_all = "camelCase")]
pub struct ListedAppToken {
    /// What its creator said of it.
    pub description: Option<String>,
    /// What it may do.
    pub scopes: Scopes,
    pub expires_at: Option<DateTime<Utc>>,
    generation: Generation,
}

/// The active tokens of an application that is enabled.
#[derive(Clone, Copy, Debug)]
pub struct ActiveAppTokens {
    pub application_id: ObjectId,
    pub application: OwnerState,
    pub now: DateTime<Utc>,
}

/// A page of an application's active tokens. One that was revoked is left out within about a second.
///
/// # Errors
/// When the table does not answer.
pub async fn app_tokens(
    store: &Store,
    ActiveAppTokens { application_id, application, now }: ActiveAppTokens,
    order: Order,
    skip: usize,
    limit: usize,
) -> Result<Page<ListedAppToken>, InternalError> {
    let is_active =
        |token: &ListedAppToken| token.expires_at.is_none_or(|at| now < at) && application.accepts(token.generation);
    store.list(&List::AppTokens(application_id), (order, Start::Skip(skip)), limit, is_active).await
}
