//! What an organization has: API keys, registrations, applications and clients, and how they begin and end.
//!
//! An index follows the table only later, so it cannot say what is to be suspended, or that nothing is left. Therefore
//! an entity is created in one transaction with a *member*, an item that names it. The members of an organization are
//! in one partition, which one strongly consistent query reads. The transaction requires that the organization was
//! neither suspended nor deleted since it was read.

use aws_sdk_dynamodb::{
    operation::{transact_write_items::TransactWriteItemsError, update_item::builders::UpdateItemFluentBuilder},
    types::{
        AttributeValue, CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
        Update as TransactUpdate,
    },
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    ApiKey, CREATED_BY, Entity, Generation, List, Organization, REVOKED_AT, Store, Suspension, Update, WriteId,
    item::{DELETED_AT, Item, number, read, string_value},
    key::{EntityKind, Key},
    write::{failed_condition, send},
};
use crate::{
    clock::rfc3339,
    credential::CredentialHash,
    error::InternalError,
    id::ObjectId,
    runtime::telemetry::{Phase, timed},
};

/// An organization as it was read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOrganization<'a> {
    pub id: ObjectId,
    pub organization: &'a Organization,
}

/// A creation. All its attempts have the same id, so that a later one recognizes what an earlier one has done.
#[derive(Debug)]
pub struct CreationWrite {
    pub id: WriteId,
    pub at: DateTime<Utc>,
}

/// The outcome of an attempt of a creation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Creation {
    Created,
    /// The id or slug is taken.
    Taken,
    /// The organization has changed, or another transaction was in progress: to be decided again.
    Contended,
}

/// An API key that a new one takes the place of.
#[derive(Clone, Copy, Debug)]
pub struct ReplacedKey<'a> {
    pub id: ObjectId,
    pub api_key: &'a ApiKey,
    /// When it expires from now on.
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// Creates an entity of an organization. `secret` is that of a confidential registration.
    pub async fn create_entity(
        &self,
        organization: ReadOrganization<'_>,
        entity: &Entity,
        item: &impl Serialize,
        secret: Option<&CredentialHash>,
        write: &CreationWrite,
    ) -> Result<Creation, InternalError> {
        let secret = secret.map(|secret| self.first_secret(&entity.id, secret, &write.id)).transpose()?;
        let also = secret.map(|put| TransactWriteItem::builder().put(put).build());
        self.create_and(Some(organization), list_of(entity, organization.id), entity, item, write, also).await
    }

    /// Creates an API key and lets another one expire, if that one is as it was read. `organization` is that of both,
    /// if they have one.
    pub async fn replace_api_key(
        &self,
        organization: Option<ReadOrganization<'_>>,
        id: ObjectId,
        api_key: &ApiKey,
        replaced: ReplacedKey<'_>,
        write: &CreationWrite,
    ) -> Result<Creation, InternalError> {
        let not_revoked = "attribute_not_exists(#revokedAt)";
        let same_expiry = match replaced.api_key.expires_at {
            None => "attribute_not_exists(#expiresAt)",
            Some(_) => "#expiresAt = :seen",
        };
        let mut update = TransactUpdate::builder()
            .table_name(&self.table)
            .set_key(Some(Key::api_key(replaced.id).into()))
            .update_expression("SET #expiresAt = :expiresAt")
            .condition_expression(format!("attribute_exists(pk) AND {not_revoked} AND {same_expiry}"))
            .expression_attribute_names("#revokedAt", REVOKED_AT)
            .expression_attribute_names("#expiresAt", "expiresAt")
            .expression_attribute_values(":expiresAt", string_value(rfc3339(replaced.expires_at)));
        if let Some(seen) = replaced.api_key.expires_at {
            update = update.expression_attribute_values(":seen", string_value(rfc3339(seen)));
        }
        let update = update.build().map_err(|error| InternalError::new(CREATE, error))?;
        let also = TransactWriteItem::builder().update(update).build();
        let list = List::ApiKeys(organization.map(|organization| organization.id));
        self.create_and(organization, list, &Entity::api_key(id), api_key, write, Some(also)).await
    }

    async fn create_and(
        &self,
        organization: Option<ReadOrganization<'_>>,
        list: List<'_>,
        entity: &Entity,
        item: &impl Serialize,
        CreationWrite { id: write, at }: &CreationWrite,
        also: Option<TransactWriteItem>,
    ) -> Result<Creation, InternalError> {
        let failed = |error| InternalError::new(CREATE, error);
        let write = AttributeValue::from(write);
        let mut created: Item = serde_dynamo::to_item(item).map_err(|error| InternalError::new(CREATE, error))?;
        created.insert(CREATED_BY.to_owned(), write.clone());
        created.extend(list.entry(&entity.id, *at));
        created.extend(Item::from(entity.key()));
        let created = Put::builder()
            .table_name(&self.table)
            .set_item(Some(created))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(failed)?;

        let mut writes = vec![TransactWriteItem::builder().put(created).build()];
        if let Some(ReadOrganization { id, organization }) = organization {
            let mut member = Item::from(entity.member_key(id));
            member.insert(SUSPENSION.to_owned(), organization.suspension.into());
            let member = Put::builder().table_name(&self.table).set_item(Some(member)).build().map_err(failed)?;
            let counted = TransactUpdate::builder()
                .table_name(&self.table)
                .set_key(Some(Key::organization(id).into()))
                .update_expression("SET #creations = #creations + :one")
                .condition_expression("#suspension = :suspension")
                .expression_attribute_names("#creations", "creations")
                .expression_attribute_names("#suspension", SUSPENSION)
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":suspension", organization.suspension.into())
                .build()
                .map_err(failed)?;
            writes.push(TransactWriteItem::builder().put(member).build());
            writes.push(TransactWriteItem::builder().update(counted).build());
        }
        writes.extend(also);
        let call = self.client.transact_write_items().set_transact_items(Some(writes));
        match timed(Phase::Commit, Box::pin(call.send())).await {
            Ok(_) => Ok(Creation::Created),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                    outcome(canceled.cancellation_reasons(), &write).ok_or_else(|| InternalError::new(CREATE, error))
                }
                Some(TransactWriteItemsError::TransactionInProgressException(_)) => Ok(Creation::Contended),
                _ => Err(InternalError::new(CREATE, error)),
            },
        }
    }

    /// Deletes a registration, application or client: nothing finds it any more, and its id stays taken.
    pub async fn delete_entity(&self, entity: &Entity, now: DateTime<Utc>) -> Result<Update<()>, InternalError> {
        self.replace_with_tombstone(entity.key(), now, None).await
    }

    /// Deletes an organization, if nothing was created in it since it was read.
    pub async fn delete_organization(
        &self,
        ReadOrganization { id, organization }: ReadOrganization<'_>,
        now: DateTime<Utc>,
    ) -> Result<Update<()>, InternalError> {
        self.replace_with_tombstone(Key::organization(id), now, Some(organization.creations)).await
    }

    /// Replaces an item by a tombstone, if it exists and, if one is given, has this number of creations. A conflict
    /// means that it has another.
    async fn replace_with_tombstone(
        &self,
        key: Key,
        now: DateTime<Utc>,
        creations: Option<u64>,
    ) -> Result<Update<()>, InternalError> {
        const CONTEXT: &str = "delete the item";
        const DELETED_BY: &str = "deletedBy";
        let write = AttributeValue::from(&self.write_id()?);
        let mut item = Item::from(key);
        item.insert(DELETED_AT.to_owned(), string_value(rfc3339(now)));
        item.insert(DELETED_BY.to_owned(), write.clone());
        let is_there = "attribute_exists(pk) AND attribute_not_exists(#deletedAt)";
        let mut call = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .expression_attribute_names("#deletedAt", DELETED_AT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        call = match creations {
            None => call.condition_expression(is_there),
            Some(creations) => call
                .condition_expression(format!("{is_there} AND #creations = :creations"))
                .expression_attribute_names("#creations", "creations")
                .expression_attribute_values(":creations", number(creations)),
        };
        let Err(error) = timed(Phase::Commit, Box::pin(call.send())).await else { return Ok(Update::Applied(())) };
        let Some(failed) = error.as_service_error().and_then(failed_condition) else {
            return Err(InternalError::new(CONTEXT, error));
        };
        Ok(match failed.item() {
            Some(found) if found.get(DELETED_BY) == Some(&write) => Update::Applied(()),
            Some(found) if !found.contains_key(DELETED_AT) => Update::Conflict(()),
            Some(_) | None => Update::Missing,
        })
    }

    /// What an organization has, by a strongly consistent query. Some of it may be over. With `below`, only what is
    /// behind this suspension.
    pub async fn load_members(
        &self,
        organization: ObjectId,
        below: Option<Suspension>,
    ) -> Result<Vec<Entity>, InternalError> {
        const CONTEXT: &str = "load the members";
        let failed = |error| InternalError::new(CONTEXT, error);
        let (mut members, mut start) = (Vec::new(), None);
        loop {
            let mut call = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", string_value(Key::members(organization)))
                .set_exclusive_start_key(start.take());
            if let Some(below) = below {
                call = call
                    .filter_expression("#suspension < :below")
                    .expression_attribute_names("#suspension", SUSPENSION)
                    .expression_attribute_values(":below", below.into());
            }
            let found = timed(Phase::Load, Box::pin(call.send())).await.map_err(failed)?;
            for item in found.items.unwrap_or_default() {
                let Member { sk } = read(item, CONTEXT)?;
                let member = Entity::of_member(&sk);
                members.push(member.ok_or_else(|| InternalError::new(CONTEXT, "an entity of an unknown kind"))?);
            }
            start = found.last_evaluated_key;
            if start.is_none() {
                return Ok(members);
            }
        }
    }

    /// Brings an entity to the suspension of its organization, and records that in its member. Returns whether this
    /// call changed it. The member of an entity that is revoked or deleted is deleted.
    pub async fn suspend_member(
        &self,
        organization: ObjectId,
        entity: &Entity,
        suspension: Suspension,
        now: DateTime<Utc>,
    ) -> Result<bool, InternalError> {
        const CONTEXT: &str = "suspend or resume an entity";
        let write = self.write_id()?;
        let call = self
            .update(entity.key())
            .update_expression("SET #suspension = :suspension, #settingsVersion = :write")
            .condition_expression(
                "attribute_not_exists(#revokedAt) AND attribute_not_exists(#deletedAt) AND #suspension < :suspension",
            )
            .expression_attribute_names("#revokedAt", REVOKED_AT)
            .expression_attribute_names("#deletedAt", DELETED_AT)
            .expression_attribute_names("#suspension", SUSPENSION)
            .expression_attribute_names("#settingsVersion", "settingsVersion")
            .expression_attribute_values(":suspension", suspension.into())
            .expression_attribute_values(":write", (&write).into());
        let own = |found: &SuspendedEntity| (found.settings_version.as_ref() == Some(&write)).then_some(());
        let changed = match send(call, CONTEXT, |_| Ok(()), own).await? {
            Update::Applied(()) => true,
            Update::Conflict(SuspendedEntity { revoked_at: None, .. }) => false,
            Update::Conflict(_) | Update::Missing => {
                self.forget_if_over(organization, entity, now).await?;
                return Ok(false);
            }
        };
        let call = self
            .update(entity.member_key(organization))
            .update_expression("SET #suspension = :suspension")
            .condition_expression("#suspension < :suspension")
            .expression_attribute_names("#suspension", SUSPENSION)
            .expression_attribute_values(":suspension", suspension.into());
        let _: Update<(), IgnoredAny> = send(call, CONTEXT, |_| Ok(()), |_| None).await?;
        Ok(changed)
    }

    /// Deletes the member of an entity that is deleted or, if it is an API key, revoked or has expired; whether it is.
    /// An entity that is not there is not over: the transaction that creates it may show its items one by one.
    pub async fn forget_if_over(
        &self,
        organization: ObjectId,
        entity: &Entity,
        now: DateTime<Utc>,
    ) -> Result<bool, InternalError> {
        const CONTEXT: &str = "load a member";
        let Some(item) = self.get_item_or_tombstone(entity.key(), CONTEXT).await? else { return Ok(false) };
        let is_deleted = item.contains_key(DELETED_AT);
        if !is_deleted && (entity.kind != EntityKind::ApiKey || !read::<ApiKey>(item, CONTEXT)?.is_over(now)) {
            return Ok(false);
        }
        self.forget_member(organization, entity).await.map(|()| true)
    }

    /// Sent twice, it is the same as once.
    async fn forget_member(&self, organization: ObjectId, entity: &Entity) -> Result<(), InternalError> {
        let key = entity.member_key(organization);
        let call = self.client.delete_item().table_name(&self.table).set_key(Some(key.into()));
        let failed = |error| InternalError::new("forget a member", error);
        timed(Phase::Commit, Box::pin(call.send())).await.map(|_| ()).map_err(failed)
    }

    /// Writes the organization unchanged. DynamoDB refuses that while a transaction holds its item, so once it has
    /// succeeded, the transaction of every entity that was counted in it is decided.
    pub async fn settle_creations(
        &self,
        ReadOrganization { id, organization }: ReadOrganization<'_>,
    ) -> Result<Update<()>, InternalError> {
        let call = self
            .update(Key::organization(id))
            .update_expression("SET #creations = :creations")
            .condition_expression("#creations = :creations")
            .expression_attribute_names("#creations", "creations")
            .expression_attribute_values(":creations", number(organization.creations));
        let own = |_: &IgnoredAny| None;
        Ok(send(call, "wait for creations", |_| Ok(()), own).await?.map_conflict(|_| ()))
    }

    /// Ends all that an application or client has issued, and what it is issuing on what was read before. A conflict
    /// means that another call has done it since it was read.
    pub async fn end_generation(
        &self,
        entity: &Entity,
        generation: Generation,
    ) -> Result<Update<(), IgnoredAny>, InternalError> {
        let call =
            self.next_generation(entity.key(), generation).update_expression("SET #generation = #generation + :one");
        send(call, "end what was issued", |_| Ok(()), |_| None).await
    }

    /// An update of an owner in this generation, which moves it on.
    pub(super) fn next_generation(&self, key: Key, generation: Generation) -> UpdateItemFluentBuilder {
        self.update(key)
            .condition_expression("#generation = :generation")
            .expression_attribute_names("#generation", "generation")
            .expression_attribute_values(":generation", generation.into())
            .expression_attribute_values(":one", number(1))
    }
}

const CREATE: &str = "create the entity";
const SUSPENSION: &str = "suspension";

fn list_of(entity: &Entity, organization: ObjectId) -> List<'static> {
    match entity.kind {
        EntityKind::ApiKey => List::ApiKeys(Some(organization)),
        EntityKind::Registration => List::Registrations(organization),
        EntityKind::Application => List::Applications(organization),
        EntityKind::Client => List::Clients(Some(organization)),
    }
}

/// Why a transaction that creates was canceled; `None` if it could not be tried.
fn outcome(reasons: &[CancellationReason], write: &AttributeValue) -> Option<Creation> {
    let code = |reason: &CancellationReason| reason.code().unwrap_or_default().to_owned();
    // The first write is the put of the entity. If that is its own, the SDK has repeated the transaction.
    if let Some(put) = reasons.first().filter(|reason| code(reason) == "ConditionalCheckFailed") {
        let own = put.item().is_some_and(|item| item.get(CREATED_BY) == Some(write));
        return Some(if own { Creation::Created } else { Creation::Taken });
    }
    let lost = |reason| matches!(code(reason).as_str(), "ConditionalCheckFailed" | "TransactionConflict");
    reasons.iter().any(lost).then_some(Creation::Contended)
}

#[derive(Deserialize)]
struct Member {
    sk: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SuspendedEntity {
    settings_version: Option<WriteId>,
    revoked_at: Option<String>,
}
