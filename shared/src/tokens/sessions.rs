//! A user's grants at a client. A grant is a session once its code has been exchanged: listing shows only those, ending
//! also ends grants whose code has not been exchanged. `provision` does both.

use chrono::{DateTime, TimeDelta, Utc, serde::ts_seconds_option};
use futures_util::future::join_all;
use serde::Deserialize;

use crate::{
    credential::SessionId,
    error::InternalError,
    input::Scopes,
    store::{List, Order, Page, SessionEntry, Start, Store, Update, UserAtClient},
    tokens::codes::CODE_LIFETIME_SECONDS,
};

/// How many grants are ended at once.
const BATCH: usize = 25;
/// How long a code can be under way, with some time for clocks that are wrong. A grant that is missing then was never
/// written, or was deleted after it had expired.
const UNDER_WAY: TimeDelta = TimeDelta::seconds(CODE_LIFETIME_SECONDS as i64 + 10);

/// What a list shows of a session, beside its position.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedSession {
    /// What was granted.
    pub scopes: Scopes,
    /// When it ends; `None` if its code was not exchanged yet.
    #[serde(default, with = "ts_seconds_option")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A page of the sessions that can still be used, oldest first.
///
/// # Errors
/// When the table does not answer.
pub async fn list(
    store: &Store,
    user: UserAtClient<'_>,
    start: Start,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<Page<ListedSession>, InternalError> {
    let can_be_used = |session: &ListedSession| session.expires_at.is_some_and(|at| now < at);
    store.list(&List::Sessions(user), (Order::OldestFirst, start), limit, can_be_used).await
}

/// Ends one session, or a code that was not exchanged yet; whether it could still be used.
///
/// # Errors
/// When the table does not answer. Calling it again is safe, but returns `false` for a session that was ended.
pub async fn end(
    store: &Store,
    user: UserAtClient<'_>,
    session: &SessionId,
    now: DateTime<Utc>,
) -> Result<bool, InternalError> {
    let could_be_used = match store.end_grant(session, user, now).await? {
        Update::Applied(could_be_used) => could_be_used,
        Update::Conflict(grant) if grant.revoked => false,
        // Another user's or client's, or missing.
        Update::Conflict(_) | Update::Missing => return Ok(false),
    };
    store.forget_session(user, session).await?;
    Ok(could_be_used)
}

/// Ends the grant of a session entry, and deletes the entry, so that the next call has less to do. The grant may be
/// missing because its code is being issued, as `issue-code` writes both at the same time: then the entry is kept.
async fn end_entry(
    store: &Store,
    user: UserAtClient<'_>,
    entry: &SessionEntry,
    now: DateTime<Utc>,
) -> Result<bool, InternalError> {
    let could_be_used = match store.end_grant(&entry.session, user, now).await? {
        Update::Applied(could_be_used) => could_be_used,
        Update::Missing if now < entry.issued_at + UNDER_WAY => return Ok(false),
        Update::Conflict(_) | Update::Missing => false,
    };
    store.forget_session(user, &entry.session).await?;
    Ok(could_be_used)
}

/// Ends all grants of the user at the client, exchanged or not, and returns how many could still be used. They are
/// found by a strongly consistent query and not by the index, so every grant whose code was handed out before the call
/// is found.
///
/// # Errors
/// When the table does not answer. A failure to end one grant does not stop the others, but their number is lost.
/// Calling it again ends what is left.
pub async fn end_all(store: &Store, user: UserAtClient<'_>, now: DateTime<Utc>) -> Result<usize, InternalError> {
    let (mut ended, mut failure) = (0, None);
    for batch in store.load_sessions(user).await?.chunks(BATCH) {
        for done in join_all(batch.iter().map(|entry| end_entry(store, user, entry, now))).await {
            match done {
                Ok(could_be_used) => ended += usize::from(could_be_used),
                Err(error) => failure = Some(error),
            }
        }
    }
    failure.map_or(Ok(ended), Err)
}
