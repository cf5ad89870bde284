//! Attributes of items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;

use crate::error::InternalError;

/// The attribute of a tombstone, which takes the place of a deleted item. Its id stays taken, and it reads as missing.
pub(super) const DELETED_AT: &str = "deletedAt";

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn string_value(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn number_value(number: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

pub(super) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn read<T: DeserializeOwned>(item: Item, context: &'static str) -> Result<T, InternalError> {
    serde_dynamo::from_item(item).map_err(|error| InternalError::new(context, error))
}
