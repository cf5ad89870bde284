//! A user's grants. A grant is a session once its code has been exchanged: listing shows only those, ending also ends
//! grants whose code has not been exchanged. `provision` does both.

use std::collections::{HashMap, HashSet};

use chrono::{
    DateTime, TimeDelta, Utc,
    serde::{ts_milliseconds_option, ts_seconds_option},
};
use futures_util::future::{join_all, try_join_all};
use serde::Deserialize;

use crate::{
    credential::SessionId,
    error::InternalError,
    id::ClientId,
    input::Scopes,
    store::{Generation, List, Order, OwnerState, Page, SessionEntry, SessionFilter, Start, Store, Update},
    tokens::codes::CODE_LIFETIME_SECONDS,
};

/// The least number of sessions that each round of a list after the first reads.
const MIN_NEXT_SIZE: usize = 1000;
/// How many grants are ended at once.
const BATCH: usize = 25;
/// How long a code can be under way, with some time for clocks that are wrong. A grant that is missing then was never
/// written, or was deleted after it had expired.
const UNDER_WAY: TimeDelta = TimeDelta::seconds(CODE_LIFETIME_SECONDS as i64 + 10);

/// What a list shows of a session, beside its position.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedSession {
    /// The client that it was granted to.
    pub client_id: ClientId,
    /// The generation of the client that it was granted in.
    generation: Generation,
    /// What was granted.
    pub scopes: Scopes,
    /// When its refresh token was last rotated; `None` if it never was.
    #[serde(default, with = "ts_milliseconds_option")]
    pub rotated_at: Option<DateTime<Utc>>,
    /// When its refresh token expires; `None` if its code was not exchanged yet.
    #[serde(default, with = "ts_seconds_option")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Which sessions to end.
#[derive(Debug)]
pub enum Selection {
    All,
    /// The one with this id.
    Only(SessionId),
    /// All except the one with this id.
    AllBut(SessionId),
}

/// A page of the sessions that can still be used, oldest first: those that have not ended, at clients that are enabled.
///
/// # Errors
/// When the table does not answer.
pub async fn list(
    store: &Store,
    filter: SessionFilter<'_>,
    mut start: Start,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<Page<ListedSession>, InternalError> {
    let has_not_ended =
        |session: &ListedSession| filter.includes(session.client_id) && session.expires_at.is_some_and(|at| now < at);
    let (mut clients, mut items, mut size) = (Clients::default(), Vec::new(), limit);
    loop {
        let page = store.list(&List::Sessions(filter), (Order::OldestFirst, start), size, has_not_ended).await?;
        // If sessions are left out because of their clients, the following rounds read more.
        size = size.max(MIN_NEXT_SIZE);
        clients.load(store, page.items.iter().map(|(_, session)| session.client_id)).await?;
        let last = page.items.last().map(|(position, _)| position.clone());
        let is_accepted = |session: &ListedSession| {
            clients.state(session.client_id).is_some_and(|client| client.accepts(session.generation))
        };
        items.extend(page.items.into_iter().filter(|(_, session)| is_accepted(session)));
        match last {
            Some(last) if page.has_more && items.len() < limit => start = Start::After(last),
            _ => {
                let has_more = page.has_more || items.len() > limit;
                items.truncate(limit);
                return Ok(Page { items, has_more });
            }
        }
    }
}

/// The states of the clients that sessions are at. One that was deleted has none.
#[derive(Default)]
struct Clients(HashMap<ClientId, Option<OwnerState>>);

impl Clients {
    async fn load(&mut self, store: &Store, ids: impl Iterator<Item = ClientId>) -> Result<(), InternalError> {
        let unknown: HashSet<_> = ids.filter(|id| !self.0.contains_key(id)).collect();
        let load = async |id| Ok::<_, InternalError>((id, store.load_client(id).await?.map(|client| client.state)));
        self.0.extend(try_join_all(unknown.into_iter().map(load)).await?);
        Ok(())
    }

    fn state(&self, id: ClientId) -> Option<&OwnerState> {
        self.0.get(&id).and_then(Option::as_ref)
    }
}

/// Ends the selected grants, exchanged or not, and returns how many could still be used. They are found by a strongly
/// consistent query and not by the index, so every grant whose code was handed out before the call is found.
///
/// # Errors
/// When the table does not answer. A failure to end one grant does not stop the others, but their number is lost.
/// Calling it again ends what is left.
pub async fn end(
    store: &Store,
    filter: SessionFilter<'_>,
    selection: &Selection,
    now: DateTime<Utc>,
) -> Result<usize, InternalError> {
    let (only, spared) = match selection {
        Selection::All => (None, None),
        Selection::Only(session) => (Some(session), None),
        Selection::AllBut(session) => (None, Some(session)),
    };
    let mut entries = store.load_sessions(filter, only).await?;
    entries.retain(|entry| Some(&entry.session) != spared);
    // The clients are needed only to count.
    let mut clients = Clients::default();
    let mut failure = clients.load(store, entries.iter().map(|entry| entry.client_id)).await.err();
    let mut ended = 0;
    for batch in entries.chunks(BATCH) {
        for done in
            join_all(batch.iter().map(|entry| end_one(store, filter, entry, clients.state(entry.client_id), now))).await
        {
            match done {
                Ok(could_be_used) => ended += usize::from(could_be_used),
                Err(error) => failure = Some(error),
            }
        }
    }
    failure.map_or(Ok(ended), Err)
}

/// Ends the grant of a session entry, and deletes the entry, so that the next call has less to do. The entry is kept
/// while its grant may still be written: `issue-code` writes both at the same time.
async fn end_one(
    store: &Store,
    filter: SessionFilter<'_>,
    entry: &SessionEntry,
    client: Option<&OwnerState>,
    now: DateTime<Utc>,
) -> Result<bool, InternalError> {
    let could_be_used = match store.end_grant(&entry.session, filter).await? {
        // Counted unless its client had ended it before. A disabled client may be enabled again, so its grants count.
        Update::Applied(grant) => {
            grant.can_be_used(now) && client.is_some_and(|client| !client.has_ended(grant.generation))
        }
        Update::Conflict(grant) if grant.revoked => false,
        Update::Missing if now >= entry.issued_at + UNDER_WAY => false,
        // The grant is good, and not of this user or client: no entry says so, unless the table is damaged.
        Update::Conflict(_) | Update::Missing => return Ok(false),
    };
    store.forget_session(filter.subject, &entry.session).await?;
    Ok(could_be_used)
}
