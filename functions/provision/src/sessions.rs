//! The sessions of a user, which the login service lists and ends.

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    clock::rfc3339,
    error::InvocationError,
    id::ClientId,
    input::Scopes,
    store::{List, SessionFilter},
    tokens::sessions::{self, Selection},
};

use crate::{lists, provision::Provision};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    client_id: ClientId,
    sid: &'a str,
    scopes: &'a Scopes,
    created_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refreshed_at: Option<String>,
    expires_at: Option<String>,
}

impl Provision {
    pub(crate) async fn list_sessions(
        &self,
        filter: SessionFilter<'_>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Value, InvocationError> {
        let list = List::Sessions(filter);
        let start = lists::start(&list, cursor)?;
        self.require_client(filter.client_id).await?;
        let page = sessions::list(&self.store, filter, start, limit, self.clock.now()).await?;
        let items = page.items.iter().map(|(position, session)| {
            json!(Session {
                client_id: session.client_id,
                sid: position.id(),
                scopes: &session.scopes,
                created_at: position.created_at(),
                refreshed_at: session.rotated_at.map(rfc3339),
                expires_at: session.expires_at.map(rfc3339),
            })
        });
        Ok(lists::answer(&list, &page, &items.collect::<Vec<_>>()))
    }

    pub(crate) async fn end_sessions(
        &self,
        filter: SessionFilter<'_>,
        selection: &Selection,
    ) -> Result<Value, InvocationError> {
        let now = self.clock.now();
        self.require_client(filter.client_id).await?;
        Ok(json!({"ended": sessions::end(&self.store, filter, selection, now).await?}))
    }

    /// The client, if one is named, must exist.
    async fn require_client(&self, id: Option<ClientId>) -> Result<(), InvocationError> {
        let Some(id) = id else { return Ok(()) };
        self.store.load_client(id).await?.map(|_| ()).ok_or(InvocationError::NotFound("clientId"))
    }
}
