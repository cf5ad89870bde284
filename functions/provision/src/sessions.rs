//! The sessions of a user at a client, which the login service lists and ends.

use serde_json::{Value, json};
use shared::{
    clock::rfc3339,
    credential::SessionId,
    error::InvocationError,
    id::ClientId,
    store::List,
    tokens::sessions::{self, Subject},
};

use crate::{lists, provision::Provision};

impl Provision {
    pub(crate) async fn list_sessions(
        &self,
        client_id: ClientId,
        subject: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Value, InvocationError> {
        let list = List::Sessions { client_id, subject };
        let start = lists::start(&list, cursor)?;
        self.require_client(client_id).await?;
        let page = sessions::list(&self.store, Subject { client_id, subject }, start, limit, self.clock.now()).await?;
        let items = page.items.iter().map(|(position, session)| {
            json!({
                "sid": position.id(),
                "scope": session.scopes.join(" "),
                "createdAt": position.created_at(),
                "expiresAt": session.expires_at.map(rfc3339),
            })
        });
        Ok(lists::answer(&list, &page, &items.collect::<Vec<_>>()))
    }

    pub(crate) async fn end_sessions(
        &self,
        client_id: ClientId,
        subject: &str,
        sid: Option<&SessionId>,
    ) -> Result<Value, InvocationError> {
        let now = self.clock.now();
        self.require_client(client_id).await?;
        let subject = Subject { client_id, subject };
        let ended = match sid {
            Some(sid) => usize::from(sessions::end(&self.store, subject, sid, now).await?),
            None => sessions::end_all(&self.store, subject, now).await?,
        };
        Ok(json!({"ended": ended}))
    }

    /// Clients are never deleted.
    async fn require_client(&self, id: ClientId) -> Result<(), InvocationError> {
        self.store.load_client(id).await?.map(|_| ()).ok_or(InvocationError::NotFound("clientId"))
    }
}
