//! A user's sessions at a client: the grants whose code was exchanged. A login service lists and ends them.

use std::sync::Arc;

use chrono::{DateTime, Utc, serde::ts_seconds_option};
use futures_util::future::try_join_all;
use serde::Deserialize;

use crate::{
    credential::SessionId,
    error::InternalError,
    id::ClientId,
    random::Random,
    store::{List, Order, Page, Start, Store, Update},
};

/// How many grants are ended at once.
const BATCH: usize = 25;
/// A user at a client.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The client.
    pub client_id: ClientId,
    /// The user.
    pub subject: &'a str,
}

impl<'a> Subject<'a> {
    fn list(&self) -> List<'a> {
        List::Sessions { client_id: self.client_id, subject: self.subject }
    }
}

/// What a list shows of a session, beside its position.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedSession {
    /// What was granted.
    pub scopes: Vec<String>,
    /// When it ends; `None` if its code was not exchanged yet.
    #[serde(default, with = "ts_seconds_option")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Lists and ends sessions.
#[derive(Debug)]
pub struct Sessions {
    /// Where the grants are.
    pub store: Store,
    /// What the marks of revocations are drawn from.
    pub random: Arc<dyn Random>,
}

impl Sessions {
    /// A page of the sessions that can still be used, oldest first.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn list(
        &self,
        subject: Subject<'_>,
        start: Start,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Page<ListedSession>, InternalError> {
        let can_be_used = |session: &ListedSession| session.expires_at.is_some_and(|at| now < at);
        self.store.list(&subject.list(), (Order::OldestFirst, start), limit, can_be_used).await
    }

    /// Ends one session, or a code that was not exchanged yet; whether it could still be used.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn end(
        &self,
        subject: Subject<'_>,
        session: &SessionId,
        now: DateTime<Utc>,
    ) -> Result<bool, InternalError> {
        let grant = (subject.client_id, subject.subject);
        match self.store.end_grant(session, grant, now, self.random.as_ref()).await? {
            Update::Applied(()) => Ok(true),
            Update::Conflict(()) | Update::Missing => Ok(false),
        }
    }

    /// Ends all sessions, and all codes that were not exchanged yet; how many there were. Which grants the user has is read
    /// strongly consistently, so none that began before is missed, whatever the index shows.
    ///
    /// # Errors
    /// When the table does not answer. Sent again, it ends the rest.
    pub async fn end_all(&self, subject: Subject<'_>, now: DateTime<Utc>) -> Result<usize, InternalError> {
        let mut ended = 0;
        for batch in self.store.load_sessions(subject.client_id, subject.subject).await?.chunks(BATCH) {
            let done = try_join_all(batch.iter().map(|session| self.end(subject, session, now))).await?;
            ended += done.into_iter().filter(|ended| *ended).count();
        }
        Ok(ended)
    }
}
