//! OAuth registrations, each one item with its tokens in it: the quota is the size of that map and cannot disagree
//! with it.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Creation, Store, key::Key, read};
use crate::{
    fault::Fault,
    id::{ObjectId, RegistrationId, TokenId},
    quota::Place,
    random::Random,
    telemetry::{Step, step},
};

/// A registration, at `REGISTRATION#<id>`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// The organization that it belongs to.
    pub organization_id: ObjectId,
    /// What its owner calls it.
    pub name: String,
    /// How many tokens may be active at once, 1 to 1000.
    pub max_allowed: u32,
    /// How long a token lives.
    pub token_ttl_seconds: u32,
    /// What its tokens may do.
    pub scopes: Vec<String>,
    /// Its tokens: the active ones, and expired ones that no write has removed yet.
    pub tokens: BTreeMap<TokenId, ActiveToken>,
}

/// What the registration keeps of a token: nothing that could be used as one.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct ActiveToken {
    /// When it expires, in seconds since the epoch.
    pub exp: i64,
    /// The address that the creator gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What it takes to make the token again, where it was created with an idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

/// What a repeated creation needs to know of the first.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Repeat {
    /// When the token was issued, in seconds since the epoch.
    pub iat: i64,
    /// Tells the write of one request from that of another with the same key.
    pub writer: u64,
}

impl ActiveToken {
    /// A token is active until the instant it expires at.
    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        now.timestamp() < self.exp
    }
}

/// Without the address.
impl std::fmt::Debug for ActiveToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActiveToken").field("exp", &self.exp).finish_non_exhaustive()
    }
}

/// What came of adding a token.
#[derive(Debug)]
#[must_use]
pub enum TokenWrite {
    /// It is there; the registration as it is now.
    Added(Registration),
    /// The registration was no longer what the place was found in; as it is now.
    Moved(Registration),
    /// There is no such registration any more.
    Gone,
}

impl Registration {
    /// How long a token may live at most, in seconds: ten years.
    pub const MAX_TOKEN_TTL_SECONDS: u32 = 315_360_000;

    /// How many tokens are active.
    #[must_use]
    pub fn active_tokens(&self, now: DateTime<Utc>) -> usize {
        self.tokens.values().filter(|token| token.is_active(now)).count()
    }
}

impl Store {
    /// Creates a registration.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn create_registration(
        &self,
        id: &RegistrationId,
        registration: &Registration,
        random: &dyn Random,
    ) -> Result<Creation, Fault> {
        self.create(Key::registration(id), registration, random, "create the registration").await
    }

    /// The registration with this id.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn registration(&self, id: &RegistrationId) -> Result<Option<Registration>, Fault> {
        self.get(Key::registration(id), "load the registration").await
    }

    /// Puts a token in its place, and the expired ones that make the place out, in one write. The condition is the
    /// quota: the tokens to remove are still there, with them counted out the map is not full, and no active token
    /// has the id.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn add_token(
        &self,
        registration: &RegistrationId,
        id: TokenId,
        token: &ActiveToken,
        place: &Place,
    ) -> Result<TokenWrite, Fault> {
        const DOING: &str = "record the token";
        let entry = serde_dynamo::to_attribute_value(token).map_err(|error| Fault::new(DOING, error))?;
        let expired: Vec<String> = (0..place.expired.len()).map(|n| format!("#tokens.#expired{n}")).collect();
        let free = if place.replaces { "#tokens.#new.#exp <= :now" } else { "attribute_not_exists(#tokens.#new)" };
        let mut conditions = ["size(#tokens) < :limit", "#maxAllowed = :maxAllowed", free].map(str::to_owned).to_vec();
        conditions.extend(expired.iter().map(|path| format!("attribute_exists({path})")));
        let remove = if expired.is_empty() { String::new() } else { format!(" REMOVE {}", expired.join(", ")) };
        let mut call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(Key::registration(registration).into()))
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_names("#maxAllowed", "maxAllowed")
            .expression_attribute_names("#new", id.to_string())
            .expression_attribute_values(":token", entry)
            .expression_attribute_values(":limit", AttributeValue::N(place.limit().to_string()))
            .expression_attribute_values(":maxAllowed", AttributeValue::N(place.max_allowed.to_string()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if place.replaces {
            call = call
                .expression_attribute_names("#exp", "exp")
                .expression_attribute_values(":now", AttributeValue::N(place.now.timestamp().to_string()));
        }
        for (n, id) in place.expired.iter().enumerate() {
            call = call.expression_attribute_names(format!("#expired{n}"), id.to_string());
        }
        let call = call
            .update_expression(format!("SET #tokens.#new = :token{remove}"))
            .condition_expression(conditions.join(" AND "));
        match step(Step::Commit, Box::pin(call.send())).await {
            Ok(output) => read(output.attributes.unwrap_or_default(), DOING).map(TokenWrite::Added),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => match failed.item().cloned() {
                    None => Ok(TokenWrite::Gone),
                    Some(item) => read::<Registration>(item, DOING).map(|standing| {
                        // An earlier attempt of this very write, whose answer was lost, has put it there.
                        let own = standing.tokens.get(&id) == Some(token);
                        if own { TokenWrite::Added(standing) } else { TokenWrite::Moved(standing) }
                    }),
                },
                _ => Err(Fault::new(DOING, error)),
            },
        }
    }
}
