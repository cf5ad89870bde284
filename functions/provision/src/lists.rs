//! Lists of organizations and of what they have, and single ones: what was given at creation or by an update, never a
//! secret or a hash.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use shared::{
    error::{InternalError, InvocationError, ValidationError},
    id::ObjectId,
    store::{
        Entity, List, ListedApiKey, ListedApplication, ListedClient, ListedOrganization, ListedRegistration, Order,
        Page, Position, Start,
    },
};

use crate::{
    provision::Provision,
    target::{ListQuery, Target},
};

/// The member with the id of an API key.
const API_KEY_ID: &str = "apiKeyId";

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

/// One item, as in its list.
fn shown(
    id: &str,
    position: &Position,
    organization: Option<ObjectId>,
    item: &impl Serialize,
) -> Result<Value, InternalError> {
    let settings = serde_json::to_value(item).map_err(|error| InternalError::new("show the item", error))?;
    let mut members = Map::from_iter([(id.to_owned(), position.id().into())]);
    match organization {
        Some(organization) => {
            members.insert("organizationId".to_owned(), json!(organization));
        }
        // A key of no organization is for all. Organizations, and clients of none, just have no such member.
        None if id == API_KEY_ID => {
            members.insert("allOrganizations".to_owned(), true.into());
        }
        None => {}
    }
    members.extend(settings.as_object().cloned().unwrap_or_default());
    members.insert("createdAt".to_owned(), position.created_at().into());
    Ok(Value::Object(members))
}

impl Provision {
    pub(crate) async fn list(
        &self,
        query: ListQuery,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Value, InvocationError> {
        let start = start(&query.list(), cursor)?;
        if let Some(organization) = query.organization() {
            self.load_organization(organization).await?;
        }
        match query {
            ListQuery::Organizations => {
                self.list_items("organizationId", query, start, limit, |_: &ListedOrganization| true).await
            }
            ListQuery::ApiKeys { expires_before, .. } => {
                let is_asked_for = |api_key: &ListedApiKey| {
                    expires_before.is_none_or(|before| api_key.expires_at.is_some_and(|at| at < before))
                };
                self.list_items(API_KEY_ID, query, start, limit, is_asked_for).await
            }
            ListQuery::Registrations(_) => {
                self.list_items("registrationId", query, start, limit, |_: &ListedRegistration| true).await
            }
            ListQuery::Applications(_) => {
                self.list_items("applicationId", query, start, limit, |_: &ListedApplication| true).await
            }
            ListQuery::Clients(_) => self.list_items("clientId", query, start, limit, |_: &ListedClient| true).await,
        }
    }

    async fn list_items<T: DeserializeOwned + Serialize>(
        &self,
        id: &str,
        query: ListQuery,
        start: Start,
        limit: usize,
        keep: impl Fn(&T) -> bool,
    ) -> Result<Value, InvocationError> {
        let list = query.list();
        let page = self.store.list(&list, (Order::OldestFirst, start), limit, keep).await?;
        let items = page.items.iter().map(|(position, item)| shown(id, position, query.organization(), item));
        let items = items.collect::<Result<Vec<_>, InternalError>>()?;
        Ok(answer(&list, &page, &items))
    }

    pub(crate) async fn get(&self, target: &Target) -> Result<Value, InvocationError> {
        let shown = match target {
            Target::Organization(id) => {
                let found = self.store.load_listed_organization(*id).await?;
                found.map(|(position, item)| shown("organizationId", &position, None, &item)).transpose()?
            }
            Target::ApiKey(id) => self.get_entity::<ListedApiKey>(API_KEY_ID, Entity::api_key(*id)).await?,
            Target::Registration(id) => {
                self.get_entity::<ListedRegistration>("registrationId", Entity::registration(id)).await?
            }
            Target::Application(id) => {
                self.get_entity::<ListedApplication>("applicationId", Entity::application(*id)).await?
            }
            Target::Client(id) => self.get_entity::<ListedClient>("clientId", Entity::client(*id)).await?,
        };
        shown.ok_or(InvocationError::NotFound("id"))
    }

    async fn get_entity<T: DeserializeOwned + Serialize>(
        &self,
        id: &str,
        entity: Entity,
    ) -> Result<Option<Value>, InternalError> {
        let found = self.store.load_listed::<T>(&entity).await?;
        found.map(|(position, organization, item)| shown(id, &position, organization, &item)).transpose()
    }
}
