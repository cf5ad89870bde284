//! The primary keys of all items. The prefix is the kind of the item, so that IAM can restrict access by kind with
//! `dynamodb:LeadingKeys`.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Item;
use crate::{
    credential::SessionId,
    id::{ClientId, ObjectId, RegistrationId},
};

/// The primary key of an item. Every item has its own partition. The sort key is always the same; it is there so that other
/// items can be added to a partition later.
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
