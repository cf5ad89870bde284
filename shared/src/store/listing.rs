//! Lists. One index serves all of them: an item that can be listed has an `owner`, which names its list, and a
//! `createdAt`, which is its position there. The index follows the table within about a second, so no decision is ever
//! taken from it.

use std::fmt;

use aws_sdk_dynamodb::{operation::query::builders::QueryFluentBuilder, types::AttributeValue};
use chrono::{DateTime, Utc};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    Entity, REVOKED_AT, Store, Suspension,
    grant_settings::GrantSettings,
    item::{Item, read},
    key::{EntityKind, Key, SessionFilter},
};
use crate::{
    clock::{optional_rfc3339, rfc3339},
    encoding::{base64url, from_base64url, sha256, truncated},
    error::InternalError,
    id::{ObjectId, Slug},
    input::{Audience, Claims, RedirectUri, Scopes, Service, json_text},
    runtime::telemetry::{Phase, timed},
};

/// The index. It projects only the attributes that the lists need; the hash of a client's secret is among them, because
/// it says whether the client is confidential.
const INDEX: &str = "byOwner";
/// Its partition key.
pub(super) const OWNER: &str = "owner";
/// Its sort key.
const CREATED_AT: &str = "createdAt";
/// How many bytes of a hash bind a cursor to its list.
const CURSOR_HASH_BYTES: usize = 12;

/// A list of items with the same owner.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// The organizations.
    Organizations,
    /// The API keys of an organization, or of none, except revoked ones.
    ApiKeys(Option<ObjectId>),
    /// The registrations of an organization.
    Registrations(ObjectId),
    /// The applications of an organization.
    Applications(ObjectId),
    /// The clients of an organization, or of none.
    Clients(Option<ObjectId>),
    /// The integration tokens of an application, except revoked ones.
    AppTokens(ObjectId),
    /// The grants of a user, exchanged or not, expired or not, except revoked ones. The clients share one list in the
    /// index, so [`Store::list`] needs a `keep` that applies the filter.
    Sessions(SessionFilter<'a>),
}

impl List<'_> {
    /// The attributes that put an item with this id into the list.
    pub(super) fn entry(&self, id: &impl fmt::Display, now: DateTime<Utc>) -> Item {
        let Position(position) = Position::new(id, now);
        Item::from([
            (OWNER.to_owned(), AttributeValue::S(self.owner())),
            (CREATED_AT.to_owned(), AttributeValue::S(position)),
        ])
    }

    fn owner(&self) -> String {
        match self {
            Self::Organizations => "ORGANIZATIONS#".to_owned(),
            Self::ApiKeys(Some(organization)) => format!("API_KEYS#{organization}"),
            Self::ApiKeys(None) => "API_KEYS#".to_owned(),
            Self::Registrations(organization) => format!("REGISTRATIONS#{organization}"),
            Self::Applications(organization) => format!("APPLICATIONS#{organization}"),
            Self::Clients(Some(organization)) => format!("CLIENTS#{organization}"),
            Self::Clients(None) => "CLIENTS#".to_owned(),
            Self::AppTokens(application) => format!("APP_TOKENS#{application}"),
            Self::Sessions(filter) => format!("SESSIONS#{}", filter.subject.as_str()),
        }
    }

    fn key(&self, id: &str) -> Key {
        match self {
            Self::Organizations => Key::of("ORGANIZATION", id),
            Self::ApiKeys(_) => Key::of(EntityKind::ApiKey.as_str(), id),
            Self::Registrations(_) => Key::of(EntityKind::Registration.as_str(), id),
            Self::Applications(_) => Key::of(EntityKind::Application.as_str(), id),
            Self::Clients(_) => Key::of(EntityKind::Client.as_str(), id),
            Self::AppTokens(_) => Key::of("APP_TOKEN", id),
            Self::Sessions(_) => Key::of("GRANT", id),
        }
    }

    /// The key of the item at this position, as the table and the index have it.
    fn start_after(&self, position: &Position) -> Item {
        let mut key = Item::from(self.key(position.id()));
        key.insert(OWNER.to_owned(), AttributeValue::S(self.owner()));
        key.insert(CREATED_AT.to_owned(), AttributeValue::S(position.0.clone()));
        key
    }

    /// A text that continues the list after this position. It is bound to the list, so that one from another list is
    /// noticed; forging one gains nothing, because the list is always the one that the caller names.
    #[must_use]
    pub fn cursor(&self, after: &Position) -> String {
        base64url([&self.cursor_hash(after), after.0.as_bytes()].concat())
    }

    /// The position that a cursor of this list continues after; `None` if it is malformed or of another list.
    #[must_use]
    pub fn read_cursor(&self, cursor: &str) -> Option<Position> {
        let bytes = from_base64url(cursor)?;
        let (hash, position) = bytes.split_at_checked(CURSOR_HASH_BYTES)?;
        let position = Position::parse(std::str::from_utf8(position).ok()?)?;
        (self.cursor_hash(&position) == hash).then_some(position)
    }

    fn cursor_hash(&self, position: &Position) -> [u8; CURSOR_HASH_BYTES] {
        let client = match self {
            Self::Sessions(SessionFilter { client_id: Some(id), .. }) => id.to_string(),
            _ => String::new(),
        };
        truncated(&sha256(format!("cursor\0{}\0{client}\0{}", self.owner(), position.0)))
    }
}

/// Where an item is in its list: `<when it was created, RFC 3339 with milliseconds>#<its id>`. Sorted as text it is in
/// the order of creation, and what was created in the same millisecond is in the order of the ids.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position(String);

impl Position {
    fn new(id: &impl fmt::Display, now: DateTime<Utc>) -> Self {
        Self(format!("{}#{id}", rfc3339(now)))
    }

    fn parse(text: &str) -> Option<Self> {
        let (created_at, id) = text.split_once('#')?;
        let form = (1..=64).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c));
        (form && DateTime::parse_from_rfc3339(created_at).is_ok()).then(|| Self(text.to_owned()))
    }

    /// When the item was created: RFC 3339 with milliseconds.
    #[must_use]
    pub fn created_at(&self) -> &str {
        self.0.split_once('#').map_or("", |(created_at, _)| created_at)
    }

    /// The item's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split_once('#').map_or("", |(_, id)| id)
    }
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// By `createdAt`, then id.
    OldestFirst,
    /// The reverse.
    #[default]
    NewestFirst,
}

/// The least `Limit` of each query after the first. DynamoDB may return fewer: 1 MB ends its answer.
const MIN_NEXT_LIMIT: usize = 1000;

/// Where a page begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// After so many items that are shown.
    Skip(usize),
    /// After an item.
    After(Position),
}

/// A part of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// The items, with where they are.
    pub items: Vec<(Position, T)>,
    /// Whether there are more after them.
    pub has_more: bool,
}

/// What the list of organizations shows of one, beside its position.
#[derive(Debug, Deserialize, Serialize)]
pub struct ListedOrganization {
    slug: Slug,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename(deserialize = "suspension"), deserialize_with = "is_suspended")]
    suspended: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedApiKey {
    permissions: Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_rfc3339")]
    pub expires_at: Option<DateTime<Utc>>,
    #[serde(rename(deserialize = "suspension"), deserialize_with = "is_suspended")]
    suspended: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedRegistration {
    name: String,
    max_allowed: u32,
    token_ttl_seconds: u32,
    client_credentials_ttl_seconds: u32,
    scopes: Scopes,
    #[serde(rename(deserialize = "tokenClaims"), default, skip_serializing_if = "Claims::is_empty")]
    #[serde(deserialize_with = "json_text::deserialize")]
    claims: Claims,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    audiences: Vec<Audience>,
    #[serde(default)]
    confidential: bool,
    enabled: bool,
    #[serde(rename(deserialize = "suspension"), deserialize_with = "is_suspended")]
    suspended: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedApplication {
    slug: Slug,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_app_token_ttl_seconds: Option<u32>,
    enabled: bool,
    #[serde(rename(deserialize = "suspension"), deserialize_with = "is_suspended")]
    suspended: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedClient {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    redirect_uris: Vec<RedirectUri>,
    services: Vec<Service>,
    scopes: Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_scopes: Option<Scopes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    audiences: Vec<Audience>,
    #[serde(flatten)]
    grants: GrantSettings,
    refresh_reuse_seconds: u32,
    #[serde(rename(deserialize = "secretHash", serialize = "confidential"), default, deserialize_with = "is_present")]
    confidential: bool,
    enabled: bool,
    #[serde(rename(deserialize = "suspension"), deserialize_with = "is_suspended")]
    suspended: bool,
}

fn position(item: &Item, context: &'static str) -> Result<Position, InternalError> {
    let position = item.get(CREATED_AT).and_then(|value| value.as_s().ok());
    let position = position.and_then(|text| Position::parse(text));
    position.ok_or_else(|| InternalError::new(context, "an item has a createdAt that is not its position"))
}

/// Whether this is the suspension of something that is suspended.
fn is_suspended<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Suspension::deserialize(deserializer).map(Suspension::is_suspended)
}

fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Store {
    /// Reads a page of a list. Only items that `keep` accepts are returned, and count towards `limit` and
    /// [`Start::Skip`].
    pub async fn list<T: DeserializeOwned>(
        &self,
        list: &List<'_>,
        (order, start): (Order, Start),
        limit: usize,
        keep: impl Fn(&T) -> bool,
    ) -> Result<Page<T>, InternalError> {
        const CONTEXT: &str = "list the items";
        let failed = |error| InternalError::new(CONTEXT, error);
        let mut items = Vec::new();
        let (mut skipped, mut start) = match start {
            Start::Skip(count) => (count, None),
            Start::After(position) => (0, Some(list.start_after(&position))),
        };
        // One more than is shown, to know whether there are more. If `keep` rejects many, the following queries read
        // more.
        let mut size = skipped.saturating_add(limit).saturating_add(1);
        while items.len() <= limit {
            let call = self.query(list, order, start.take(), size);
            size = size.max(MIN_NEXT_LIMIT);
            let found = timed(Phase::Load, Box::pin(call.send())).await.map_err(failed)?;
            for item in found.items.unwrap_or_default() {
                let position = position(&item, CONTEXT)?;
                let item: T = read(item, CONTEXT)?;
                if !keep(&item) {
                    continue;
                }
                if skipped == 0 {
                    items.push((position, item));
                } else {
                    skipped -= 1;
                }
            }
            start = found.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        let has_more = items.len() > limit;
        items.truncate(limit);
        Ok(Page { items, has_more })
    }

    /// What a list shows of an entity, by a strongly consistent read, and its organization, if it has one. `None` if it
    /// is revoked or deleted.
    pub async fn load_listed<T: DeserializeOwned>(
        &self,
        entity: &Entity,
    ) -> Result<Option<(Position, Option<ObjectId>, T)>, InternalError> {
        const CONTEXT: &str = "load the entity";
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Owned {
            organization_id: Option<ObjectId>,
        }
        let item = self.get_item(entity.key(), CONTEXT).await?.filter(|item| !item.contains_key(REVOKED_AT));
        let Some(item) = item else { return Ok(None) };
        let Owned { organization_id } = read(item.clone(), CONTEXT)?;
        Ok(Some((position(&item, CONTEXT)?, organization_id, read(item, CONTEXT)?)))
    }

    /// What the list of organizations shows of one.
    pub async fn load_listed_organization(
        &self,
        id: ObjectId,
    ) -> Result<Option<(Position, ListedOrganization)>, InternalError> {
        const CONTEXT: &str = "load the organization";
        let Some(item) = self.get_item(Key::organization(id), CONTEXT).await? else { return Ok(None) };
        Ok(Some((position(&item, CONTEXT)?, read(item, CONTEXT)?)))
    }

    fn query(&self, list: &List<'_>, order: Order, start: Option<Item>, limit: usize) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .key_condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_values(":owner", AttributeValue::S(list.owner()))
            .scan_index_forward(order == Order::OldestFirst)
            .set_exclusive_start_key(start)
            .limit(limit.try_into().unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(digit: char) -> ObjectId {
        digit.to_string().repeat(24).parse().unwrap()
    }

    #[test]
    fn a_cursor_belongs_to_one_list() {
        let now = DateTime::from_timestamp(1_800_000_000, 250_000_000).unwrap();
        let clients = ["11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"];
        let [here, there] = clients.map(|id| id.parse().ok());
        let [one, other] = ["a", "b"].map(|subject| subject.parse().unwrap());
        let lists = [
            List::ApiKeys(Some(id('a'))),
            List::ApiKeys(Some(id('b'))),
            List::Registrations(id('a')),
            List::Applications(id('a')),
            List::Clients(Some(id('a'))),
            List::Clients(None),
            List::Organizations,
            List::AppTokens(id('a')),
            List::Sessions(SessionFilter { subject: &one, client_id: None }),
            List::Sessions(SessionFilter { subject: &one, client_id: here }),
            List::Sessions(SessionFilter { subject: &one, client_id: there }),
            List::Sessions(SessionFilter { subject: &other, client_id: None }),
            List::Sessions(SessionFilter { subject: &other, client_id: here }),
        ];
        let position = Position::new(&id('c'), now);
        assert_eq!((position.created_at(), position.id()), ("2027-01-15T08:00:00.250Z", "c".repeat(24).as_str()));
        for (n, list) in lists.iter().enumerate() {
            let cursor = list.cursor(&position);
            for (m, other) in lists.iter().enumerate() {
                assert_eq!(other.read_cursor(&cursor), (n == m).then(|| position.clone()), "{list:?} {other:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_but_a_cursor_is_one(text in "[A-Za-z0-9_-]{0,120}", any: String) {
            for text in [text, any] {
                prop_assert_eq!(List::ApiKeys(Some(id('a'))).read_cursor(&text), None);
            }
        }

        #[test]
        fn positions_are_in_the_order_of_time_and_id(one: (u32, u32), two: (u32, u32), a: [u8; 12], b: [u8; 12]) {
            let time = |(seconds, nanos): (u32, u32)| DateTime::from_timestamp(seconds.into(), nanos % 1_000_000_000).unwrap();
            let id_of = |bytes: [u8; 12]| hex::encode(bytes).parse::<ObjectId>().unwrap();
            let (a, b) = (id_of(a), id_of(b));
            let (one, two) = (time(one), time(two));
            let order = (one.timestamp_millis(), a).cmp(&(two.timestamp_millis(), b));
            prop_assert_eq!(Position::new(&a, one).0.cmp(&Position::new(&b, two).0), order);
        }
    }
}
