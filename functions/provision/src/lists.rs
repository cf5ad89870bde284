//! The lists of what an organization has: what was given at creation or by an update, never a secret or a hash.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use shared::{
    error::{InternalError, InvocationError, ValidationError},
    id::ObjectId,
    store::{List, ListedApiKey, ListedApplication, ListedClient, ListedRegistration, Order, Page, Start},
};

use crate::provision::Provision;

shared::named! {
    pub(crate) enum ListKind {
        ApiKeys = "apiKeys",
        Registrations = "registrations",
        Applications = "applications",
        Clients = "clients",
    }
}

impl ListKind {
    fn of(self, organization: ObjectId) -> List<'static> {
        match self {
            Self::ApiKeys => List::ApiKeys(organization),
            Self::Registrations => List::Registrations(organization),
            Self::Applications => List::Applications(organization),
            Self::Clients => List::Clients(organization),
        }
    }
}

/// Where a page of a list starts.
pub(crate) fn start(list: &List<'_>, cursor: Option<&str>) -> Result<Start, ValidationError> {
    let Some(cursor) = cursor else { return Ok(Start::Skip(0)) };
    let position = list.read_cursor(cursor);
    position.map(Start::After).ok_or_else(|| ValidationError::new("cursor", "must be one that this list returned"))
}

/// The items of a page, and a cursor if there are more.
pub(crate) fn answer(list: &List<'_>, page: &Page<impl Sized>, items: &[Value]) -> Value {
    #[derive(Serialize)]
    struct Answer<'a> {
        items: &'a [Value],
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    }
    let end = page.items.last().filter(|_| page.has_more);
    json!(Answer { items, cursor: end.map(|(position, _)| list.cursor(position)) })
}

impl Provision {
    pub(crate) async fn list(
        &self,
        (kind, organization): (ListKind, ObjectId),
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Value, InvocationError> {
        let start = start(&kind.of(organization), cursor)?;
        self.require_organization(organization).await?;
        match kind {
            ListKind::ApiKeys => self.list_items::<ListedApiKey>("apiKeyId", kind, organization, start, limit).await,
            ListKind::Registrations => {
                self.list_items::<ListedRegistration>("registrationId", kind, organization, start, limit).await
            }
            ListKind::Applications => {
                self.list_items::<ListedApplication>("applicationId", kind, organization, start, limit).await
            }
            ListKind::Clients => self.list_items::<ListedClient>("clientId", kind, organization, start, limit).await,
        }
    }

    async fn list_items<T: DeserializeOwned + Serialize>(
        &self,
        id: &str,
        kind: ListKind,
        organization: ObjectId,
        start: Start,
        limit: usize,
    ) -> Result<Value, InvocationError> {
        let list = kind.of(organization);
        let page: Page<T> = self.store.list(&list, (Order::OldestFirst, start), limit, |_| true).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for (position, item) in &page.items {
            let settings = serde_json::to_value(item).map_err(|error| InternalError::new("list the items", error))?;
            let mut members = Map::from_iter([
                (id.to_owned(), position.id().into()),
                ("organizationId".to_owned(), json!(organization)),
            ]);
            members.extend(settings.as_object().cloned().unwrap_or_default());
            members.insert("createdAt".to_owned(), position.created_at().into());
            items.push(Value::Object(members));
        }
        Ok(answer(&list, &page, &items))
    }
}
