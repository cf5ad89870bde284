//! The sessions of a user at a client, which the login service lists and ends.

use serde_json::{Value, json};
use shared::{
    clock::rfc3339,
    credential::SessionId,
    error::InvocationError,
    id::ClientId,
    store::{List, UserAtClient},
    tokens::sessions,
};

use crate::{lists, provision::Provision};

impl Provision {
    pub(crate) async fn list_sessions(
        &self,
        user: UserAtClient<'_>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Value, InvocationError> {
        let list = List::Sessions(user);
        let start = lists::start(&list, cursor)?;
        self.require_client(user.client_id).await?;
        let page = sessions::list(&self.store, user, start, limit, self.clock.now()).await?;
        let items = page.items.iter().map(|(position, session)| {
            json!({
                "sid": position.id(),
                "scope": session.scopes.to_string(),
                "createdAt": position.created_at(),
                "expiresAt": session.expires_at.map(rfc3339),
            })
        });
        Ok(lists::answer(&list, &page, &items.collect::<Vec<_>>()))
    }

    pub(crate) async fn end_sessions(
        &self,
        user: UserAtClient<'_>,
        sid: Option<&SessionId>,
    ) -> Result<Value, InvocationError> {
        let now = self.clock.now();
        self.require_client(user.client_id).await?;
        let ended = match sid {
            Some(sid) => usize::from(sessions::end(&self.store, user, sid, now).await?),
            None => sessions::end_all(&self.store, user, now).await?,
        };
        Ok(json!({"ended": ended}))
    }

    /// Clients are never deleted.
    async fn require_client(&self, id: ClientId) -> Result<(), InvocationError> {
        self.store.load_client(id).await?.map(|_| ()).ok_or(InvocationError::NotFound("clientId"))
    }
}
