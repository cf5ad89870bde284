//! Conditional writes: their outcomes, how one recognizes its own earlier attempt, and how one that lost a race is
//! decided again.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    operation::{
        put_item::{PutItemError, builders::PutItemFluentBuilder},
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure, error::ConditionalCheckFailedException},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::item::{DELETED_AT, Item, read};
use crate::{
    error::InternalError,
    random::Random,
    runtime::deadline::require_time_to_commit,
    runtime::telemetry::{Phase, timed},
};

/// The random id of one write. If the SDK sends a write again because its answer was lost, the write finds its own id
/// in the item and knows that it has succeeded.
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

/// The outcome of a conditional write.
#[derive(Debug)]
#[must_use]
pub enum Update<A, C = A> {
    /// It has happened: now, or in an earlier attempt of this write whose answer was lost.
    Applied(A),
    /// Its condition does not hold. The item as it is now.
    Conflict(C),
    /// There is no such item.
    Missing,
}

impl<A, C> Update<A, C> {
    /// The same outcome, with another view of the item that the write met.
    pub fn map_conflict<D>(self, map: impl FnOnce(C) -> D) -> Update<A, D> {
        match self {
            Self::Applied(applied) => Update::Applied(applied),
            Self::Conflict(existing) => Update::Conflict(map(existing)),
            Self::Missing => Update::Missing,
        }
    }
}

/// Lets a write that lost a race be decided again on what it lost to, a bounded number of times, and only while there
/// is enough time for another commit before the deadline of the request.
#[derive(Debug)]
pub struct Retry {
    context: &'static str,
    random: Arc<dyn Random>,
    rounds_left: u32,
    pause_unit: Duration,
}

impl Retry {
    /// 10 rounds, at most 2.6 ms apart.
    pub(super) fn new(context: &'static str, random: Arc<dyn Random>) -> Self {
        Self { context, random, rounds_left: 10, pause_unit: Duration::from_micros(10) }
    }

    /// 100 rounds, at most 255 ms apart.
    pub(super) fn patient(context: &'static str, random: Arc<dyn Random>) -> Self {
        Self { context, random, rounds_left: 100, pause_unit: Duration::from_millis(1) }
    }

    /// Waits for a random time, so that those who lost the same race do not meet again.
    ///
    /// # Errors
    /// When this was the last round, or too little time is left.
    pub async fn pause(&mut self) -> Result<(), InternalError> {
        self.rounds_left = self.rounds_left.saturating_sub(1);
        if self.rounds_left == 0 {
            return Err(InternalError::new(self.context, "it lost too many races in a row"));
        }
        let [factor] = self.random.bytes()?;
        tokio::time::sleep(self.pause_unit * u32::from(factor)).await;
        require_time_to_commit(self.context)
    }
}

/// Sends a conditional update. `applied` reads the attributes that it returns; `own` recognizes, in the item that the
/// condition failed on, an earlier attempt of this write.
pub(super) async fn send<A, C: DeserializeOwned>(
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

/// Sends a conditional put. `own` recognizes an earlier attempt of this write.
pub(super) async fn put<C: DeserializeOwned>(
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

/// The exception of a put whose condition does not hold.
pub(super) fn failed_condition(error: &PutItemError) -> Option<&ConditionalCheckFailedException> {
    match error {
        PutItemError::ConditionalCheckFailedException(failed) => Some(failed),
        _ => None,
    }
}

/// Reads the item that a condition failed on: the work of this write, or of another. A tombstone
/// counts as missing.
fn conflict<A, C: DeserializeOwned>(
    failed: &ConditionalCheckFailedException,
    context: &'static str,
    own: impl FnOnce(&Item, &C) -> Option<A>,
) -> Result<Update<A, C>, InternalError> {
    let item = failed.item().filter(|item| !item.contains_key(DELETED_AT));
    let Some(item) = item else { return Ok(Update::Missing) };
    let existing: C = read(item.clone(), context)?;
    Ok(own(item, &existing).map_or(Update::Conflict(existing), Update::Applied))
}
