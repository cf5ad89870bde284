//! The primary keys of all items. The prefix is the kind of the item, so that IAM can restrict access by kind with
//! `dynamodb:LeadingKeys`.

use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::Item;
use crate::{
    credential::SessionId,
    id::{ClientId, ObjectId, RegistrationId},
    input::Subject,
};

/// A user's sessions at one client, or at all of them.
#[derive(Clone, Copy, Debug)]
pub struct SessionFilter<'a> {
    pub subject: &'a Subject,
    /// `None` means all clients.
    pub client_id: Option<ClientId>,
}

impl SessionFilter<'_> {
    /// Whether a session of this user at this client is among them.
    #[must_use]
    pub fn includes(&self, client_id: ClientId) -> bool {
        self.client_id.is_none_or(|only| only == client_id)
    }
}

crate::named! {
    /// The names are the prefixes of the keys.
    pub(super) enum EntityKind {
        ApiKey = "API_KEY",
        Registration = "REGISTRATION",
        Application = "APPLICATION",
        Client = "CLIENT",
    }
}

/// One of the things that an organization has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entity {
    pub(super) kind: EntityKind,
    pub(super) id: String,
}

impl Entity {
    #[must_use]
    pub fn api_key(id: ObjectId) -> Self {
        Self { kind: EntityKind::ApiKey, id: id.to_string() }
    }

    #[must_use]
    pub fn registration(id: &RegistrationId) -> Self {
        Self { kind: EntityKind::Registration, id: id.to_string() }
    }

    #[must_use]
    pub fn application(id: ObjectId) -> Self {
        Self { kind: EntityKind::Application, id: id.to_string() }
    }

    #[must_use]
    pub fn client(id: ClientId) -> Self {
        Self { kind: EntityKind::Client, id: id.to_string() }
    }

    pub(super) fn key(&self) -> Key {
        Key::of(self.kind.as_str(), &self.id)
    }

    pub(super) fn member_key(&self, organization: ObjectId) -> Key {
        Key::member(organization, &format!("{}#{}", self.kind.as_str(), self.id))
    }

    pub(super) fn of_member(sort_key: &str) -> Option<Self> {
        let (kind, id) = sort_key.split_once('#')?;
        Some(Self { kind: EntityKind::named(kind)?, id: id.to_owned() })
    }
}

/// The primary key of an item. The session entries of a user share a partition, and so do the members of an
/// organization, and the secrets of a registration are beside it; every other item has a partition of its own. The sort
/// key of an item that is the only one of its kind in its partition is `ITEM`.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pk: String,
    sk: String,
}

impl Key {
    fn item(pk: String) -> Self {
        Self { pk, sk: "ITEM".to_owned() }
    }

    pub(super) fn organization(id: ObjectId) -> Self {
        Self::item(format!("ORGANIZATION#{id}"))
    }

    /// The partition of what an organization has.
    pub(super) fn members(organization: ObjectId) -> String {
        format!("MEMBERS#{organization}")
    }

    pub(super) fn member(organization: ObjectId, member: &str) -> Self {
        Self { pk: Self::members(organization), sk: member.to_owned() }
    }

    pub(super) fn api_key(id: ObjectId) -> Self {
        Self::of(EntityKind::ApiKey.as_str(), &id)
    }

    pub(super) fn registration(id: &RegistrationId) -> Self {
        Self::of(EntityKind::Registration.as_str(), id)
    }

    /// Beside the registration, so that a function may read both or none.
    pub(super) fn registration_secrets(id: &(impl Display + ?Sized)) -> Self {
        Self { sk: "SECRETS".to_owned(), ..Self::of(EntityKind::Registration.as_str(), id) }
    }

    pub(super) fn application(id: ObjectId) -> Self {
        Self::of(EntityKind::Application.as_str(), &id)
    }

    pub(super) fn app_token(id: ObjectId) -> Self {
        Self::item(format!("APP_TOKEN#{id}"))
    }

    pub(super) fn client(id: ClientId) -> Self {
        Self::of(EntityKind::Client.as_str(), &id)
    }

    /// The partition of a user's session entries.
    pub(super) fn sessions(subject: &Subject) -> String {
        format!("SUBJECT#{}", subject.as_str())
    }

    pub(super) fn session(subject: &Subject, session: &SessionId) -> Self {
        Self { pk: Self::sessions(subject), sk: session.as_str().to_owned() }
    }

    pub(super) fn grant(session: &SessionId) -> Self {
        Self::item(format!("GRANT#{}", session.as_str()))
    }

    /// The key of an item of this kind.
    pub(super) fn of(kind: &str, id: &(impl Display + ?Sized)) -> Self {
        Self::item(format!("{kind}#{id}"))
    }

    pub(super) fn signing_keys() -> Self {
        Self::item("SIGNING_KEYS#".to_owned())
    }

    /// No item has this key.
    pub(super) fn nothing() -> Self {
        Self::item("NOTHING#".to_owned())
    }
}

impl From<Key> for Item {
    fn from(key: Key) -> Self {
        Self::from([("pk".to_owned(), AttributeValue::S(key.pk)), ("sk".to_owned(), AttributeValue::S(key.sk))])
    }
}
