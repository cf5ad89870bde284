//! The table: typed items, strongly consistent reads, conditional writes. One aggregate is one item, and a change of
//! it is one conditional write that recognises its own earlier attempt: the SDK repeats a write whose answer was
//! lost.

mod api_key;
mod application;
mod client;
mod grant;
mod key;
mod key_ring;
mod organization;
mod registration;

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use serde::{Serialize, de::DeserializeOwned};

use self::key::Key;
pub use self::{
    api_key::ApiKey,
    application::{AppToken, Application},
    client::Client,
    grant::{Grant, GrantWrite, MAX_SIBLINGS, Progress, Written},
    key_ring::{DataKeyPair, KeyRing, MAX_KEYS, PreviousKey, RingWrite},
    organization::Organization,
    registration::{ActiveToken, Registration, Repeat, TokenWrite},
};
use crate::{
    aws,
    fault::Fault,
    random::Random,
    settings::{Environment, SettingsError, TableName},
};

type Item = HashMap<String, AttributeValue>;

/// The attribute by which a put that is sent twice knows the item of its first sending.
const CREATION: &str = "creation";

/// The service's table.
#[derive(Clone, Debug)]
pub struct Store {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

/// What came of creating an item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Creation {
    /// It stands, made by this call.
    Done,
    /// Another stood there already and was left alone.
    Taken,
}

impl Store {
    /// The table that `TABLE_NAME` names.
    ///
    /// # Errors
    /// When the variable is missing or malformed.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let TableName(table) = environment.required(TableName::VARIABLE)?;
        Ok(Self { client: aws::dynamodb(environment), table })
    }

    /// Opens the connection that the first request would otherwise wait for. Failing is harmless.
    pub async fn warm(&self) {
        let _ = self.get::<()>(Key::nothing(), "warm up").await;
    }

    async fn get<T: DeserializeOwned>(&self, key: Key, doing: &'static str) -> Result<Option<T>, Fault> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(key.into())).consistent_read(true);
        let found = Box::pin(call.send()).await.map_err(|error| Fault::new(doing, error))?;
        found.item.map(|item| read(item, doing)).transpose()
    }

    /// Creates an item that must not exist yet.
    async fn create(
        &self,
        key: Key,
        item: &impl Serialize,
        random: &dyn Random,
        doing: &'static str,
    ) -> Result<Creation, Fault> {
        let standing = self.create_or_get(key, item, random, doing).await?;
        Ok(if standing.is_none() { Creation::Done } else { Creation::Taken })
    }

    /// Creates an item, or returns the other one that stands in its place.
    async fn create_or_get(
        &self,
        key: Key,
        item: &impl Serialize,
        random: &dyn Random,
        doing: &'static str,
    ) -> Result<Option<Item>, Fault> {
        let mut item: Item = serde_dynamo::to_item(item).map_err(|error| Fault::new(doing, error))?;
        let creation = AttributeValue::S(random.uuid()?.to_string());
        item.insert(CREATION.to_owned(), creation.clone());
        item.extend(Item::from(key));
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match Box::pin(call.send()).await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    let standing = failed.item().cloned().unwrap_or_default();
                    Ok((standing.get(CREATION) != Some(&creation)).then_some(standing))
                }
                _ => Err(Fault::new(doing, error)),
            },
        }
    }
}

fn read<T: DeserializeOwned>(item: Item, doing: &'static str) -> Result<T, Fault> {
    serde_dynamo::from_item(item).map_err(|error| Fault::new(doing, error))
}
