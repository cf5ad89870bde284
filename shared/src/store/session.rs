//! Session entries: the ids of a user's grants, as items beside each other that one strongly consistent query reads.
//!
//! An index follows the table only later, so it cannot say which grants are to be ended. `issue-code` therefore writes,
//! at the same time as the grant, an item that names it, and hands the code out once both are written. A grant whose
//! code is known to anybody is thus always found here. An item that names no grant is harmless.

use chrono::{DateTime, Utc, serde::ts_seconds};
use serde::Deserialize;

use super::{
    GrantDetails, Store,
    item::{Item, number_value, read, string_value},
    key::{Key, SessionFilter},
};
use crate::{
    credential::SessionId,
    error::InternalError,
    id::ClientId,
    input::Subject,
    runtime::telemetry::{Phase, timed},
};

/// A session entry.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEntry {
    #[serde(rename = "sk")]
    pub session: SessionId,
    /// The client that its grant was issued to.
    pub client_id: ClientId,
    /// When the code of its grant was issued.
    #[serde(with = "ts_seconds")]
    pub issued_at: DateTime<Utc>,
}

impl Store {
    /// Adds the session entry of a grant. Sent twice, it is the same as once. The entry is not needed after `ttl`.
    pub async fn record_session(
        &self,
        grant: &GrantDetails,
        session: &SessionId,
        issued_at: DateTime<Utc>,
        ttl: DateTime<Utc>,
    ) -> Result<(), InternalError> {
        let mut item = Item::from(Key::session(&grant.subject, session));
        item.insert("clientId".to_owned(), string_value(grant.client_id));
        item.insert("issuedAt".to_owned(), number_value(issued_at.timestamp()));
        item.insert("ttl".to_owned(), number_value(ttl.timestamp()));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let failed = |error| InternalError::new("record the session", error);
        timed(Phase::Commit, Box::pin(call.send())).await.map(|_| ()).map_err(failed)
    }

    /// Deletes the session entry of a grant that was ended. Sent twice, it is the same as once.
    pub async fn forget_session(&self, subject: &Subject, session: &SessionId) -> Result<(), InternalError> {
        let key = Key::session(subject, session);
        let call = self.client.delete_item().table_name(&self.table).set_key(Some(key.into()));
        let failed = |error| InternalError::new("forget the session", error);
        timed(Phase::Commit, Box::pin(call.send())).await.map(|_| ()).map_err(failed)
    }

    /// The session entries of these sessions, or only the one with this id. Some of their grants may have ended or
    /// expired, or were never written.
    pub async fn load_sessions(
        &self,
        filter: SessionFilter<'_>,
        only: Option<&SessionId>,
    ) -> Result<Vec<SessionEntry>, InternalError> {
        const CONTEXT: &str = "load the sessions";
        let failed = |error| InternalError::new(CONTEXT, error);
        let key_condition = if only.is_some() { "pk = :pk AND sk = :sk" } else { "pk = :pk" };
        let mut values = Item::from([(":pk".to_owned(), string_value(Key::sessions(filter.subject)))]);
        values.extend(only.map(|session| (":sk".to_owned(), string_value(session.as_str()))));
        let mut sessions = Vec::new();
        let mut start = None;
        loop {
            let call = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression(key_condition)
                .set_expression_attribute_values(Some(values.clone()))
                .set_exclusive_start_key(start.take());
            let found = timed(Phase::Load, Box::pin(call.send())).await.map_err(failed)?;
            for item in found.items.unwrap_or_default() {
                let entry: SessionEntry = read(item, CONTEXT)?;
                if filter.includes(entry.client_id) {
                    sessions.push(entry);
                }
            }
            start = found.last_evaluated_key;
            if start.is_none() {
                return Ok(sessions);
            }
        }
    }
}
