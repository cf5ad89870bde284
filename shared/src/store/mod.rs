//! The table: typed items, strongly consistent reads, conditional writes. One aggregate is one item, and a change of
//! it is one conditional write that recognizes its own earlier attempt: the SDK repeats a write whose answer was
//! lost. Only an entity of an organization is created in a transaction. Session entries and members are items beside
//! what they name.

mod api_key;
mod app_token;
mod application;
mod client;
mod client_secrets;
mod entity;
mod grant;
mod grant_settings;
mod item;
mod key;
mod listing;
mod organization;
mod owner;
mod registration;
mod registration_secrets;
mod session;
mod signing_keys;
mod write;

use std::{str::FromStr, sync::Arc};

use aws_sdk_dynamodb::{operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

pub use self::{
    api_key::ApiKey,
    app_token::AppToken,
    application::{Application, ApplicationChange},
    client::{Client, ClientChange},
    client_secrets::ClientSecrets,
    entity::{Creation, CreationWrite, ReadOrganization, ReplacedKey},
    grant::{Grant, GrantChange, GrantDetails, GrantLifetime, GrantStatus, GrantStep, Rotation},
    grant_settings::{GrantSettings, RefreshTokens},
    key::{Entity, SessionFilter},
    listing::{
        List, ListedApiKey, ListedApplication, ListedClient, ListedOrganization, ListedRegistration, Order, Page,
        Position, Start,
    },
    organization::{Organization, OrganizationChange},
    owner::{Generation, OwnerState, Suspension},
    registration::{
        EarlierContents, EndedToken, IdempotencyRecord, MAX_EARLIER_CONTENTS, MachineTokenRevocation, Registration,
        RegistrationChange, RegistrationToken, TokenEnd, TokenWritePlan,
    },
    registration_secrets::RegistrationSecrets,
    session::SessionEntry,
    signing_keys::{DataKeyPair, KeyChange, NextKey, PreviousKey, SigningKeys},
    write::{Retry, Update, WriteId},
};
use self::{
    item::{DELETED_AT, Item, read, string_value},
    key::Key,
    write::{put, send},
};
use crate::{
    clock::rfc3339,
    error::{Constraint, InternalError},
    random::Random,
    runtime::{Environment, SettingsError, aws},
};

/// The attribute that marks a revoked credential.
const REVOKED_AT: &str = "revokedAt";
/// The attribute that holds the [`WriteId`] of the put that created an item.
const CREATED_BY: &str = "createdBy";

/// How many audiences a registration or client may have, beside that of the deployment.
pub const MAX_AUDIENCES: usize = 20;

/// `TABLE_NAME`: the name of the DynamoDB table.
#[derive(Clone, Debug)]
pub struct TableName(pub(crate) String);

impl TableName {
    pub(crate) const VARIABLE: &'static str = "TABLE_NAME";
}

impl FromStr for TableName {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be the name of a DynamoDB table: 3 to 255 of A-Z a-z 0-9 _ - .";
        Constraint::check(text, 3..=255, |c| c.is_ascii_alphanumeric() || b"_-.".contains(&c), RULE)?;
        Ok(Self(text.to_owned()))
    }
}

/// The service's table.
#[derive(Clone, Debug)]
pub struct Store {
    client: aws_sdk_dynamodb::Client,
    table: String,
    /// What the ids of writes are drawn from.
    random: Arc<dyn Random>,
}

impl Store {
    /// The table that `TABLE_NAME` names.
    ///
    /// # Errors
    /// When the variable is missing or malformed.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let TableName(table) = environment.required(TableName::VARIABLE)?;
        Ok(Self { client: aws::dynamodb(&environment.aws), table, random: Arc::clone(&environment.random) })
    }

    /// Opens this many connections, as many as the first request has calls at the same time, which would otherwise wait
    /// for them. Failing is harmless.
    pub async fn warm(&self, connections: usize) {
        join_all((0..connections).map(|_| self.get::<()>(Key::nothing(), "warm up"))).await;
    }

    async fn get<T: DeserializeOwned>(&self, key: Key, context: &'static str) -> Result<Option<T>, InternalError> {
        self.get_item(key, context).await?.map(|item| read(item, context)).transpose()
    }

    /// The item with this key. A tombstone counts as missing.
    async fn get_item(&self, key: Key, context: &'static str) -> Result<Option<Item>, InternalError> {
        let found = self.get_item_or_tombstone(key, context).await?;
        Ok(found.filter(|item| !item.contains_key(DELETED_AT)))
    }

    async fn get_item_or_tombstone(&self, key: Key, context: &'static str) -> Result<Option<Item>, InternalError> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(key.into())).consistent_read(true);
        let found = Box::pin(call.send()).await.map_err(|error| InternalError::new(context, error))?;
        Ok(found.item)
    }

    /// Creates an item that must not exist yet, with what puts it into a list, if anything. A conflict means that its
    /// key is taken.
    async fn create(
        &self,
        key: Key,
        item: &impl Serialize,
        listing: Item,
        context: &'static str,
    ) -> Result<Update<()>, InternalError> {
        let created = self.create_or_get::<IgnoredAny>(key, item, listing, context).await?;
        Ok(created.map_conflict(|_| ()))
    }

    /// Creates an item, or returns the other one that exists.
    async fn create_or_get<T: DeserializeOwned>(
        &self,
        key: Key,
        item: &impl Serialize,
        listing: Item,
        context: &'static str,
    ) -> Result<Update<(), T>, InternalError> {
        let mut item: Item = serde_dynamo::to_item(item).map_err(|error| InternalError::new(context, error))?;
        let write = AttributeValue::from(&self.write_id()?);
        item.insert(CREATED_BY.to_owned(), write.clone());
        item.extend(listing);
        item.extend(Item::from(key));
        let call = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let call = call.condition_expression("attribute_not_exists(pk)");
        // What was revoked meanwhile is no success: it is of no use to the caller.
        let own = |found: &Item, _: &T| found.get(CREATED_BY) == Some(&write) && !found.contains_key(REVOKED_AT);
        put(call, context, own).await
    }

    /// Writes the settings that `change` has, if they are still what `decided_on` has; `version` reads which they are.
    async fn update_settings<C: DeserializeOwned>(
        &self,
        key: Key,
        decided_on: &C,
        change: &impl Serialize,
        version: impl Fn(&C) -> Option<WriteId>,
        context: &'static str,
    ) -> Result<Update<(), C>, InternalError> {
        let write = self.write_id()?;
        let decided_on = version(decided_on);
        let unchanged = settings_unchanged(decided_on.as_ref());
        // A tombstone has no settings to be changed.
        let is_there = "attribute_exists(pk) AND attribute_not_exists(deletedAt)";
        let mut call = self.update(key).condition_expression(format!("{is_there} AND {unchanged}"));
        call =
            name_settings(call, decided_on.as_ref()).expression_attribute_values(":settingsVersion", (&write).into());
        let mut assignments = vec!["#settingsVersion = :settingsVersion".to_owned()];
        let change: Item = serde_dynamo::to_item(change).map_err(|error| InternalError::new(context, error))?;
        for (name, value) in change {
            assignments.push(format!("#{name} = :{name}"));
            call = call
                .expression_attribute_values(format!(":{name}"), value)
                .expression_attribute_names(format!("#{name}"), name);
        }
        let call = call.update_expression(format!("SET {}", assignments.join(", ")));
        let own = |found: &C| (version(found).as_ref() == Some(&write)).then_some(());
        send(call, context, |_| Ok(()), own).await
    }

    /// Lets a write that somebody waits for be decided again. `context` completes the sentence "could not …".
    #[must_use]
    pub fn retry(&self, context: &'static str) -> Retry {
        Retry::new(context, Arc::clone(&self.random))
    }

    /// Lets a write that every racer must get through be decided again. `context` completes the sentence "could not
    /// …".
    #[must_use]
    pub fn patient_retry(&self, context: &'static str) -> Retry {
        Retry::patient(context, Arc::clone(&self.random))
    }

    /// A new random id of a write.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn write_id(&self) -> Result<WriteId, InternalError> {
        WriteId::random(self.random.as_ref())
    }

    /// An update of the item with this key.
    fn update(&self, key: Key) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key.into()))
    }

    /// Marks a credential as revoked, once and for good, and takes it out of its list.
    async fn revoke(&self, key: Key, now: DateTime<Utc>, context: &'static str) -> Result<Update<()>, InternalError> {
        let write = self.write_id()?;
        let call = self
            .update(key)
            .update_expression("SET #revokedAt = :revokedAt, #revocationId = :revocationId REMOVE #owner")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(#revokedAt)")
            .expression_attribute_names("#revokedAt", REVOKED_AT)
            .expression_attribute_names("#revocationId", "revocationId")
            .expression_attribute_names("#owner", listing::OWNER)
            .expression_attribute_values(":revokedAt", string_value(rfc3339(now)))
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
