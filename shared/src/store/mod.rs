//! The table: typed items, strongly consistent reads, conditional writes. One aggregate is one item, and a change of
//! it is one conditional write that recognises its own earlier attempt: the SDK repeats a write whose answer was
//! lost.

mod api_key;
mod app_token;
mod application;
mod client;
mod grant;
mod key;
mod listing;
mod organization;
mod registration;
mod signing_keys;
mod subject;

use std::{collections::HashMap, str::FromStr, time::Duration};

use aws_sdk_dynamodb::{
    operation::{
        put_item::{PutItemError, builders::PutItemFluentBuilder},
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure, error::ConditionalCheckFailedException},
};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use self::key::Key;
pub use self::{
    api_key::ApiKey,
    app_token::AppToken,
    application::Application,
    client::{Client, ClientChange},
    grant::{Grant, GrantChange, GrantDetails, GrantLifetime, GrantStatus, Rotation},
    listing::{List, Order, Page, Position, Start},
    organization::Organization,
    registration::{
        EarlierScopes, IdempotencyRecord, MAX_EARLIER_SCOPES, Registration, RegistrationChange, RegistrationToken,
        ScopesChange, TokenWritePlan,
    },
    signing_keys::{DataKeyPair, MAX_KEYS, PreviousKey, SigningKeys},
};
use crate::{
    clock::rfc3339,
    error::{Constraint, InternalError},
    random::Random,
    runtime::telemetry::{Phase, timed},
    runtime::{Environment, SettingsError, aws},
};

type Item = HashMap<String, AttributeValue>;

/// The attribute that marks a revoked credential.
const REVOKED_AT: &str = "revokedAt";
/// The attribute that holds the [`WriteId`] of the put that created an item.
const CREATED_BY: &str = "createdBy";

/// The random id of one write. If the SDK sends a write again because its answer was lost, the write finds its own id in
/// the item and knows that it has succeeded.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WriteId(String);

impl WriteId {
    /// A new random id.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        random.uuid().map(|uuid| Self(uuid.simple().to_string()))
    }
}

impl From<&WriteId> for AttributeValue {
    fn from(WriteId(id): &WriteId) -> Self {
        Self::S(id.clone())
    }
}

/// `TABLE_NAME`: the name of the DynamoDB table.
#[derive(Clone, Debug)]
pub struct TableName(pub(crate) String);

impl TableName {
    /// The variable.
    pub(crate) const VARIABLE: &'static str = "TABLE_NAME";
}

impl FromStr for TableName {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be the name of a DynamoDB table: 3 to 255 of A-Z a-z 0-9 _ - .";
        Constraint::check(text, 3..=255, |c| c.is_ascii_alphanumeric() || b"_-.".contains(&c), RULE).map(Self)
    }
}

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

impl<A, C> Update<A, C> {
    fn map_conflict<D>(self, map: impl FnOnce(C) -> D) -> Update<A, D> {
        match self {
            Self::Applied(applied) => Update::Applied(applied),
            Self::Conflict(existing) => Update::Conflict(map(existing)),
            Self::Missing => Update::Missing,
        }
    }
}

/// Lets a write that lost a race be decided again on what it lost to, a bounded number of times.
#[derive(Debug)]
pub struct Retry<'a> {
    context: &'static str,
    random: &'a dyn Random,
    rounds_left: u32,
    pause_unit: Duration,
}

impl<'a> Retry<'a> {
    /// For a write that somebody waits for: 10 rounds, at most 2.6 ms apart. `context` completes the sentence
    /// "could not …".
    #[must_use]
    pub fn new(context: &'static str, random: &'a dyn Random) -> Self {
        Self { context, random, rounds_left: 10, pause_unit: Duration::from_micros(10) }
    }

    /// For a write that every racer must get through, one after another: 100 rounds, at most 255 ms apart.
    #[must_use]
    pub fn patient(context: &'static str, random: &'a dyn Random) -> Self {
        Self { context, random, rounds_left: 100, pause_unit: Duration::from_millis(1) }
    }

    /// Waits for a random time, so that those who lost the same race do not meet again.
    ///
    /// # Errors
    /// When this was the last round.
    pub async fn pause(&mut self) -> Result<(), InternalError> {
        self.rounds_left = self.rounds_left.saturating_sub(1);
        if self.rounds_left == 0 {
            return Err(InternalError::new(self.context, "it lost too many races in a row"));
        }
        let [factor] = self.random.bytes()?;
        tokio::time::sleep(self.pause_unit * u32::from(factor)).await;
        Ok(())
    }
}

impl Store {
    /// The table that `TABLE_NAME` names.
    ///
    /// # Errors
    /// When the variable is missing or malformed.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let TableName(table) = environment.required(TableName::VARIABLE)?;
        Ok(Self { client: aws::dynamodb(&environment.aws), table })
    }

    /// Opens this many connections, as many as the first request has calls at the same time, which would otherwise wait for them.
    /// Failing is harmless.
    pub async fn warm(&self, connections: usize) {
        join_all((0..connections).map(|_| self.get::<()>(Key::nothing(), "warm up"))).await;
    }

    async fn get<T: DeserializeOwned>(&self, key: Key, context: &'static str) -> Result<Option<T>, InternalError> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(key.into())).consistent_read(true);
        let found = Box::pin(call.send()).await.map_err(|error| InternalError::new(context, error))?;
        found.item.map(|item| read(item, context)).transpose()
    }

    /// Creates an item that must not exist yet, with what puts it into a list, if anything. A conflict means that its key is
    /// taken.
    async fn create(
        &self,
        key: Key,
        item: &impl Serialize,
        listing: Item,
        random: &dyn Random,
        context: &'static str,
    ) -> Result<Update<()>, InternalError> {
        let created = self.create_or_get::<IgnoredAny>(key, item, listing, random, context).await?;
        Ok(created.map_conflict(|_| ()))
    }

    /// Creates an item, or returns the other one that exists.
    async fn create_or_get<T: DeserializeOwned>(
        &self,
        key: Key,
        item: &impl Serialize,
        listing: Item,
        random: &dyn Random,
        context: &'static str,
    ) -> Result<Update<(), T>, InternalError> {
        let mut item: Item = serde_dynamo::to_item(item).map_err(|error| InternalError::new(context, error))?;
        let write = AttributeValue::from(&WriteId::random(random)?);
        item.insert(CREATED_BY.to_owned(), write.clone());
        item.extend(listing);
        item.extend(Item::from(key));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = call.condition_expression("attribute_not_exists(pk)");
        // What was revoked meanwhile is no success: it is of no use to the caller.
        let own = |found: &Item, _: &T| found.get(CREATED_BY) == Some(&write) && !found.contains_key(REVOKED_AT);
        put(call, context, own).await
    }

    /// Changes settings, those of `values` that are given, if they are still what `decided_on` has; `version` reads which they
    /// are.
    async fn update_settings<C: DeserializeOwned>(
        &self,
        key: Key,
        decided_on: &C,
        values: impl IntoIterator<Item = (&'static str, Option<AttributeValue>)>,
        version: impl Fn(&C) -> Option<WriteId>,
        random: &dyn Random,
        context: &'static str,
    ) -> Result<Update<(), C>, InternalError> {
        let write = WriteId::random(random)?;
        let decided_on = version(decided_on);
        let unchanged = settings_unchanged(decided_on.as_ref());
        let mut call = self.update(key).condition_expression(format!("attribute_exists(pk) AND {unchanged}"));
        call =
            name_settings(call, decided_on.as_ref()).expression_attribute_values(":settingsVersion", (&write).into());
        let mut assignments = vec!["#settingsVersion = :settingsVersion".to_owned()];
        for (name, value) in values {
            let Some(value) = value else { continue };
            assignments.push(format!("#{name} = :{name}"));
            call = call
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        let call = call.update_expression(format!("SET {}", assignments.join(", ")));
        let own = |found: &C| (version(found).as_ref() == Some(&write)).then_some(());
        send(call, context, |_| Ok(()), own).await
    }

    /// An update of the item with this key.
    fn update(&self, key: Key) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key.into()))
    }

    /// Marks a credential as revoked, once and for good, and takes it out of its list.
    async fn revoke(
        &self,
        key: Key,
        now: DateTime<Utc>,
        random: &dyn Random,
        context: &'static str,
    ) -> Result<Update<()>, InternalError> {
        let write = WriteId::random(random)?;
        let call = self
            .update(key)
            .update_expression("SET #revokedAt = :revokedAt, #revocationId = :revocationId REMOVE #owner")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(#revokedAt)")
            .expression_attribute_names("#revokedAt", REVOKED_AT)
            .expression_attribute_names("#revocationId", "revocationId")
            .expression_attribute_names("#owner", listing::OWNER)
            .expression_attribute_values(":revokedAt", text(rfc3339(now)))
            .expression_attribute_values(":revocationId", (&write).into());
        let own = |found: &Revocable| (found.revocation_id.as_ref() == Some(&write)).then_some(());
        Ok(send(call, context, |_| Ok(()), own).await?.map_conflict(|_| ()))
    }
}

/// What a revocation reads of the item that it meets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revocable {
    revocation_id: Option<WriteId>,
}

/// Sends a conditional update. `applied` reads the attributes that it returns; `own` recognises, in the item that the
/// condition failed on, an earlier attempt of this very write.
async fn send<A, C: DeserializeOwned>(
    call: UpdateItemFluentBuilder,
    context: &'static str,
    applied: impl FnOnce(Item) -> Result<A, InternalError>,
    own: impl FnOnce(&C) -> Option<A>,
) -> Result<Update<A, C>, InternalError> {
    let call = call.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match timed(Phase::Commit, Box::pin(call.send())).await {
        Ok(output) => applied(output.attributes.unwrap_or_default()).map(Update::Applied),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                conflict(failed, context, |_, existing| own(existing))
            }
            _ => Err(InternalError::new(context, error)),
        },
    }
}

/// Sends a conditional put. `own` recognises an earlier attempt of this very write.
async fn put<C: DeserializeOwned>(
    call: PutItemFluentBuilder,
    context: &'static str,
    own: impl FnOnce(&Item, &C) -> bool,
) -> Result<Update<(), C>, InternalError> {
    let call = call.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match Box::pin(call.send()).await {
        Ok(_) => Ok(Update::Applied(())),
        Err(error) => match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                conflict(failed, context, |item, existing| own(item, existing).then_some(()))
            }
            _ => Err(InternalError::new(context, error)),
        },
    }
}

/// Reads the item that a condition failed on: the work of this very write, or of another.
fn conflict<A, C: DeserializeOwned>(
    failed: &ConditionalCheckFailedException,
    context: &'static str,
    own: impl FnOnce(&Item, &C) -> Option<A>,
) -> Result<Update<A, C>, InternalError> {
    let Some(item) = failed.item() else { return Ok(Update::Missing) };
    let existing: C = read(item.clone(), context)?;
    Ok(own(item, &existing).map_or(Update::Conflict(existing), Update::Applied))
}

/// The condition that settings are still of the version that was decided on; [`name_settings`] names its parts.
fn settings_unchanged(decided_on: Option<&WriteId>) -> &'static str {
    match decided_on {
        None => "attribute_not_exists(#settingsVersion)",
        Some(_) => "#settingsVersion = :decidedOn",
    }
}

fn name_settings(call: UpdateItemFluentBuilder, decided_on: Option<&WriteId>) -> UpdateItemFluentBuilder {
    let call = call.expression_attribute_names("#settingsVersion", "settingsVersion");
    match decided_on {
        None => call,
        Some(version) => call.expression_attribute_values(":decidedOn", version.into()),
    }
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

fn read<T: DeserializeOwned>(item: Item, context: &'static str) -> Result<T, InternalError> {
    serde_dynamo::from_item(item).map_err(|error| InternalError::new(context, error))
}
