//! Session entries: the ids of a user's grants at a client, as items beside each other that one strongly consistent
//! query reads.
//!
//! An index follows the table only later, so it cannot say which grants are to be ended. `issue-code` therefore writes,
//! at the same time as the grant, an item that names it, and hands the code out once both are written. A grant whose
//! code is known to anybody is thus always found here. An item that names no grant is harmless.

use chrono::{DateTime, Utc, serde::ts_seconds};
use serde::Deserialize;

use super::{
    Store,
    item::{Item, number_value, read, string_value},
    key::{Key, UserAtClient},
};
use crate::{
    credential::SessionId,
    error::InternalError,
    runtime::telemetry::{Phase, timed},
};

/// A session entry.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEntry {
    #[serde(rename = "sk")]
    pub session: SessionId,
    /// When the code of its grant was issued.
    #[serde(with = "ts_seconds")]
    pub issued_at: DateTime<Utc>,
}

impl Store {
    /// Adds the session entry, an item that points to a grant of this user. Sent twice, it is the same as once. The
    /// entry is not needed after `ttl`.
    pub async fn record_session(
        &self,
        user: UserAtClient<'_>,
        session: &SessionId,
        issued_at: DateTime<Utc>,
        ttl: DateTime<Utc>,
    ) -> Result<(), InternalError> {
        let mut item = Item::from(Key::session(user, session));
        item.insert("issuedAt".to_owned(), number_value(issued_at.timestamp()));
        item.insert("ttl".to_owned(), number_value(ttl.timestamp()));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let failed = |error| InternalError::new("record the session", error);
        timed(Phase::Commit, Box::pin(call.send())).await.map(|_| ()).map_err(failed)
    }

    /// Deletes the session entry of a grant that was ended. Sent twice, it is the same as once.
    pub async fn forget_session(&self, user: UserAtClient<'_>, session: &SessionId) -> Result<(), InternalError> {
        let key = Key::session(user, session);
        let call = self.client.delete_item().table_name(&self.table).set_key(Some(key.into()));
        let failed = |error| InternalError::new("forget the session", error);
        timed(Phase::Commit, Box::pin(call.send())).await.map(|_| ()).map_err(failed)
    }

    /// The session entries of a user at a client. Some of their grants may have ended or expired, or were never
    /// written.
    pub async fn load_sessions(&self, user: UserAtClient<'_>) -> Result<Vec<SessionEntry>, InternalError> {
        const CONTEXT: &str = "load the sessions";
        let failed = |error| InternalError::new(CONTEXT, error);
        let mut sessions = Vec::new();
        let mut start = None;
        loop {
            let call = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", string_value(Key::sessions(user)))
                .set_exclusive_start_key(start.take());
            let found = timed(Phase::Load, Box::pin(call.send())).await.map_err(failed)?;
            for item in found.items.unwrap_or_default() {
                sessions.push(read(item, CONTEXT)?);
            }
            start = found.last_evaluated_key;
            if start.is_none() {
                return Ok(sessions);
            }
        }
    }
}
