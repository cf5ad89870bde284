//! The keys of all items, in one place. The prefix tells the kind, so that IAM can tell kinds apart by
//! `dynamodb:LeadingKeys`.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Item;
use crate::{
    credential::SessionId,
    id::{ClientId, ObjectId, RegistrationId},
};

/// The primary key of an item. Every item has a partition of its own; the sort key is left for what may come to stand
/// beside it.
#[derive(Clone, Debug)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn organization(id: ObjectId) -> Self {
        Self(format!("ORGANIZATION#{id}"))
    }

    pub(super) fn api_key(id: ObjectId) -> Self {
        Self(format!("API_KEY#{id}"))
    }

    pub(super) fn registration(id: &RegistrationId) -> Self {
        Self(format!("REGISTRATION#{id}"))
    }

    pub(super) fn application(id: ObjectId) -> Self {
        Self(format!("APPLICATION#{id}"))
    }

    pub(super) fn app_token(id: ObjectId) -> Self {
        Self(format!("APP_TOKEN#{id}"))
    }

    pub(super) fn client(id: ClientId) -> Self {
        Self(format!("CLIENT#{id}"))
    }

    pub(super) fn grant(session: &SessionId) -> Self {
        Self(format!("GRANT#{}", session.as_str()))
    }

    /// The key of an item of this kind.
    pub(super) fn of(kind: &str, id: &str) -> Self {
        Self(format!("{kind}#{id}"))
    }

    pub(super) fn signing_keys() -> Self {
        Self("SIGNING_KEYS#".to_owned())
    }

    /// No item has this key.
    pub(super) fn nothing() -> Self {
        Self("NOTHING#".to_owned())
    }
}

impl From<Key> for Item {
    fn from(key: Key) -> Self {
        Self::from([
            ("pk".to_owned(), AttributeValue::S(key.0)),
            ("sk".to_owned(), AttributeValue::S("ITEM".to_owned())),
        ])
    }
}
