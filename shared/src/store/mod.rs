//! The table: typed items, strongly consistent reads, conditional writes. One aggregate is one item, and a change of
//! it is one conditional write that recognises its own earlier attempt: the SDK repeats a write whose answer was
//! lost.

mod api_key;
mod app_token;
mod application;
mod client;
mod grant;
mod key;
mod key_ring;
mod organization;
mod registration;

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    operation::{
        put_item::PutItemError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure, error::ConditionalCheckFailedException},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use self::key::Key;
pub use self::{
    api_key::ApiKey,
    app_token::AppToken,
    application::Application,
    client::Client,
    grant::{Grant, GrantChange, GrantState, GrantVersion, Rotation},
    key_ring::{DataKeyPair, KeyRing, MAX_KEYS, PreviousKey, RingWrite},
    organization::Organization,
    registration::{
        EarlierScopes, IdempotencyRecord, MAX_EARLIER_SCOPES, Registration, RegistrationChange, RegistrationToken,
        Reservation, RevocationMark, ScopesChange,
    },
};
use crate::{
    aws,
    fault::Fault,
    random::Random,
    settings::{Environment, SettingsError, TableName},
    telemetry::{Step, step},
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

/// The outcome of a conditional write.
#[derive(Debug)]
#[must_use]
pub enum Update<A, C = A> {
    /// It has happened: now, or in an earlier attempt of this very write whose answer was lost.
    Applied(A),
    /// Its condition does not hold. The item as it is now.
    Conflict(C),
    /// There is no such item.
    Missing,
}

/// Lets a write that lost a race be decided again on what it lost to, a bounded number of times.
#[derive(Debug)]
pub struct Retry<'a> {
    context: &'static str,
    random: &'a dyn Random,
    rounds_left: u32,
    pause: Duration,
}

impl<'a> Retry<'a> {
    /// For a write that somebody waits for: 10 rounds, a few milliseconds apart. `context` completes the sentence
    /// "could not …".
    #[must_use]
    pub fn new(context: &'static str, random: &'a dyn Random) -> Self {
        Self { context, random, rounds_left: 10, pause: Duration::from_micros(10) }
    }

    /// For a write that every racer must get through, one after another: 100 rounds, a tenth of a second apart.
    #[must_use]
    pub fn patient(context: &'static str, random: &'a dyn Random) -> Self {
        Self { context, random, rounds_left: 100, pause: Duration::from_millis(1) }
    }

    /// Waits for a random time, so that those who lost the same race do not meet again.
    ///
    /// # Errors
    /// When this was the last round.
    pub async fn pause(&mut self) -> Result<(), Fault> {
        self.rounds_left = self.rounds_left.saturating_sub(1);
        if self.rounds_left == 0 {
            return Err(Fault::new(self.context, "it lost too many races in a row"));
        }
        let [factor] = self.random.bytes()?;
        tokio::time::sleep(self.pause * u32::from(factor)).await;
        Ok(())
    }
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
        match self.create_or_get::<IgnoredAny>(key, item, random, doing).await? {
            Update::Applied(()) => Ok(Creation::Done),
            Update::Conflict(_) | Update::Missing => Ok(Creation::Taken),
        }
    }

    /// Creates an item, or returns the other one that exists.
    async fn create_or_get<T: DeserializeOwned>(
        &self,
        key: Key,
        item: &impl Serialize,
        random: &dyn Random,
        doing: &'static str,
    ) -> Result<Update<(), T>, Fault> {
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
            Ok(_) => Ok(Update::Applied(())),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    conflict(failed, doing, |item, _: &T| (item.get(CREATION) == Some(&creation)).then_some(()))
                }
                _ => Err(Fault::new(doing, error)),
            },
        }
    }

    /// Marks a credential as revoked, once and for good.
    async fn revoke(
        &self,
        key: Key,
        now: DateTime<Utc>,
        random: &dyn Random,
        doing: &'static str,
    ) -> Result<Update<()>, Fault> {
        let revoked_by = random.uuid()?.to_string();
        let revoked_at = now.to_rfc3339_opts(SecondsFormat::Millis, true);
        let call = self.client.update_item().table_name(&self.table).set_key(Some(key.into()));
        let call = call
            .update_expression("SET #revokedAt = :revokedAt, #revokedBy = :revokedBy")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(#revokedAt)")
            .expression_attribute_names("#revokedAt", "revokedAt")
            .expression_attribute_names("#revokedBy", "revokedBy")
            .expression_attribute_values(":revokedAt", AttributeValue::S(revoked_at))
            .expression_attribute_values(":revokedBy", AttributeValue::S(revoked_by.clone()));
        let own = |found: &Revocable| (found.revoked_by.as_ref() == Some(&revoked_by)).then_some(());
        Ok(match send(call, doing, |_| Ok(()), own).await? {
            Update::Applied(()) => Update::Applied(()),
            Update::Conflict(_) => Update::Conflict(()),
            Update::Missing => Update::Missing,
        })
    }
}

/// What a revocation reads of the item that it meets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revocable {
    revoked_by: Option<String>,
}

/// Sends a conditional update. `applied` reads the attributes that it returns; `own` recognises, in the item that the
/// condition failed on, an earlier attempt of this very write.
async fn send<A, C: DeserializeOwned>(
    call: UpdateItemFluentBuilder,
    doing: &'static str,
    applied: impl FnOnce(Item) -> Result<A, Fault>,
    own: impl FnOnce(&C) -> Option<A>,
) -> Result<Update<A, C>, Fault> {
    let call = call.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match step(Step::Commit, Box::pin(call.send())).await {
        Ok(output) => applied(output.attributes.unwrap_or_default()).map(Update::Applied),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                conflict(failed, doing, |_, existing| own(existing))
            }
            _ => Err(Fault::new(doing, error)),
        },
    }
}

/// Reads the item that a condition failed on: the work of this very write, or of another.
fn conflict<A, C: DeserializeOwned>(
    failed: &ConditionalCheckFailedException,
    doing: &'static str,
    own: impl FnOnce(&Item, &C) -> Option<A>,
) -> Result<Update<A, C>, Fault> {
    let Some(item) = failed.item() else { return Ok(Update::Missing) };
    let existing: C = read(item.clone(), doing)?;
    Ok(own(item, &existing).map_or(Update::Conflict(existing), Update::Applied))
}

fn read<T: DeserializeOwned>(item: Item, doing: &'static str) -> Result<T, Fault> {
    serde_dynamo::from_item(item).map_err(|error| Fault::new(doing, error))
}
