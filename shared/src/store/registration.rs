//! OAuth registrations, each one item with its tokens in it: the quota is the size of that map and cannot disagree
//! with it.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use chrono::{DateTime, Utc, serde::ts_seconds};
use serde::{Deserialize, Serialize};

use super::{
    List, Store, Update, WriteId,
    item::{number_value, read, string_value},
    key::Key,
    name_settings, settings_unchanged,
    write::send,
};
use crate::{
    error::InternalError,
    id::{ObjectId, RegistrationId, TokenId, TokenSlot},
    input::{Email, Scopes},
};

/// How many earlier lists of scopes a registration keeps, each of at most 1 KB, so that its item stays under 400 KB.
pub const MAX_EARLIER_SCOPES: usize = 10;
/// From so many remembered revocations on, the next create forgets them all. That makes every other create that is
/// under way decide again. Revocations never wait for each other, so more may be remembered: at most as many as there
/// were tokens.
const FORGET_FROM: usize = 20;

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
    pub scopes: Scopes,
    /// How often the scopes were changed.
    pub scopes_revision: u32,
    /// The scopes of earlier revisions that an active token with an idempotency key was issued with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_scopes: Vec<EarlierScopes>,
    /// Its tokens: the active ones, and expired ones that no write has removed yet.
    pub tokens: BTreeMap<TokenSlot, RegistrationToken>,
    /// The tokens that were revoked lately, each with the write that did it. A write that records one of them again,
    /// because it arrives late, is refused.
    pub revoked: BTreeMap<TokenId, WriteId>,
    /// The write that last emptied `revoked`. Every write that records a token requires this to be unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_emptied_by: Option<WriteId>,
    /// The last change of its settings. An update requires this to be unchanged, so a late one undoes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_version: Option<WriteId>,
}

/// The scopes that tokens were issued with before they were changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EarlierScopes {
    /// The revision that they were.
    pub revision: u32,
    /// The scopes.
    pub scopes: Scopes,
}

/// What the registration keeps of a token: nothing that could be used as one.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct RegistrationToken {
    /// When it expires.
    #[serde(rename = "exp", with = "ts_seconds")]
    pub expires_at: DateTime<Utc>,
    /// The address that the creator gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Present if an idempotency key was used: what is needed to sign the same token again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<IdempotencyRecord>,
}

/// What is needed to sign a token again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IdempotencyRecord {
    /// The token's id. The slot cannot give it: it is derived from the key.
    pub jti: TokenId,
    /// When the token was issued.
    #[serde(rename = "iat", with = "ts_seconds")]
    pub issued_at: DateTime<Utc>,
    /// Which of the registration's scopes it was issued with.
    #[serde(rename = "scopes")]
    pub scopes_revision: u32,
    /// A hash of the requested scopes. Absent if the request named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_scopes_hash: Option<String>,
}

impl RegistrationToken {
    /// A token is active until the instant it expires at.
    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        now < self.expires_at
    }

    /// The id of the token that is kept in this slot.
    #[must_use]
    pub fn id(&self, slot: TokenSlot) -> TokenId {
        self.idempotency.as_ref().map_or_else(|| slot.into(), |record| record.jti)
    }
}

/// Without the address.
impl std::fmt::Debug for RegistrationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrationToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Registration {
    /// How long a token may live at most, in seconds: ten years.
    pub const MAX_TOKEN_TTL_SECONDS: u32 = 315_360_000;

    /// How many tokens are active.
    #[must_use]
    pub fn active_tokens(&self, now: DateTime<Utc>) -> usize {
        self.tokens.values().filter(|token| token.is_active(now)).count()
    }

    /// The active token with this id, and where it is kept.
    #[must_use]
    pub fn find_active(&self, id: TokenId, now: DateTime<Utc>) -> Option<(TokenSlot, &RegistrationToken)> {
        let tokens = self.tokens.iter().map(|(slot, token)| (*slot, token));
        tokens.into_iter().find(|(slot, token)| token.id(*slot) == id && token.is_active(now))
    }

    /// The scopes that a token was issued with; `None` only if the item is damaged.
    #[must_use]
    pub fn issued_scopes(&self, record: &IdempotencyRecord) -> Option<&Scopes> {
        if record.scopes_revision == self.scopes_revision {
            return Some(&self.scopes);
        }
        let earlier = self.earlier_scopes.iter().find(|earlier| earlier.revision == record.scopes_revision);
        earlier.map(|earlier| &earlier.scopes)
    }
}

/// Where a token is to be recorded, and what is to be removed for it. [`Store::record_token`] requires that nothing it
/// depends on has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenWritePlan {
    /// The slot. An expired token in it is replaced.
    pub slot: TokenSlot,
    /// The slots of other expired tokens, which are removed.
    pub expired: Vec<TokenSlot>,
}

impl TokenWritePlan {
    /// Exclusive upper bound on the number of tokens before the write: the quota, and those that the write removes.
    #[must_use]
    pub fn limit(&self, registration: &Registration) -> usize {
        let removed = self.expired.len() + usize::from(registration.tokens.contains_key(&self.slot));
        removed.saturating_add(registration.max_allowed.try_into().unwrap_or(usize::MAX))
    }
}

/// The settings of [`Registration`] that an update writes; it leaves those that are `None` as they are.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_allowed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ttl_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// Changes with the scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes_revision: Option<u32>,
    /// Changes with the scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier_scopes: Option<Vec<EarlierScopes>>,
}

impl Store {
    /// Creates a registration.
    pub async fn create_registration(
        &self,
        id: &RegistrationId,
        registration: &Registration,
        now: DateTime<Utc>,
    ) -> Result<Update<()>, InternalError> {
        let listing = List::Registrations(registration.organization_id).entry(id, now);
        self.create(Key::registration(id), registration, listing, "create the registration").await
    }

    /// The registration with this id.
    pub async fn load_registration(&self, id: &RegistrationId) -> Result<Option<Registration>, InternalError> {
        self.get(Key::registration(id), "load the registration").await
    }

    /// Records a token and removes expired ones to make room, in one write. The condition is the quota; it fails if
    /// anything that the plan depends on has changed since `decided_on` was read.
    pub async fn record_token(
        &self,
        id: &RegistrationId,
        token: &RegistrationToken,
        plan: &TokenWritePlan,
        decided_on: &Registration,
        now: DateTime<Utc>,
    ) -> Result<Update<Registration>, InternalError> {
        const CONTEXT: &str = "record the token";
        let replaces = decided_on.tokens.contains_key(&plan.slot);

        let has_room = "size(#tokens) < :limit";
        let settings_unchanged = settings_unchanged(decided_on.settings_version.as_ref());
        // The expired token in the slot may have been replaced by an active one.
        let slot_is_free = if replaces { "#tokens.#slot.#exp <= :now" } else { "attribute_not_exists(#tokens.#slot)" };
        let not_revoked = "attribute_not_exists(#revoked.#jti)";
        let revocations_known = match decided_on.revoked_emptied_by {
            None => "attribute_not_exists(#revokedEmptiedBy)",
            Some(_) => "#revokedEmptiedBy = :revokedEmptiedBy",
        };
        let removed = expired_paths(&plan.expired);
        let conditions =
            [has_room, settings_unchanged, slot_is_free, not_revoked, revocations_known].map(str::to_owned);
        let conditions = conditions.into_iter().chain(removed.iter().map(|path| still_expired(path)));
        let conditions: Vec<String> = conditions.collect();
        let remove = if removed.is_empty() { String::new() } else { format!(" REMOVE {}", removed.join(", ")) };
        let forgets = decided_on.revoked.len() >= FORGET_FROM;
        let forget = if forgets { ", #revoked = :nothing, #revokedEmptiedBy = :write" } else { "" };

        let entry = serde_dynamo::to_attribute_value(token).map_err(|error| InternalError::new(CONTEXT, error))?;
        let mut call = self
            .update(Key::registration(id))
            .return_values(ReturnValue::AllNew)
            .update_expression(format!("SET #tokens.#slot = :token{forget}{remove}"))
            .condition_expression(conditions.join(" AND "))
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_names("#slot", plan.slot.to_string())
            .expression_attribute_names("#revoked", "revoked")
            .expression_attribute_names("#jti", token.id(plan.slot).to_string())
            .expression_attribute_names("#revokedEmptiedBy", "revokedEmptiedBy")
            .expression_attribute_values(":token", entry)
            .expression_attribute_values(":limit", AttributeValue::N(plan.limit(decided_on).to_string()));
        call = name_settings(call, decided_on.settings_version.as_ref());
        if let Some(write) = &decided_on.revoked_emptied_by {
            call = call.expression_attribute_values(":revokedEmptiedBy", write.into());
        }
        if forgets {
            call = call
                .expression_attribute_values(":nothing", AttributeValue::M(HashMap::new()))
                .expression_attribute_values(":write", (&self.write_id()?).into());
        }
        if replaces || !removed.is_empty() {
            call = name_expired(call, &plan.expired, now);
        }
        // The item keeps whole seconds, and so does the token.
        let own = |found: &Registration| (found.tokens.get(&plan.slot) == Some(token)).then(|| found.clone());
        send(call, CONTEXT, |item| read(item, CONTEXT), own).await
    }

    /// Removes these expired tokens, each only if it is still expired. For a registration that has more of them than
    /// one write of [`Self::record_token`] removes.
    pub async fn remove_expired_tokens(
        &self,
        id: &RegistrationId,
        expired: &[TokenSlot],
        now: DateTime<Utc>,
    ) -> Result<Update<Registration>, InternalError> {
        const CONTEXT: &str = "remove expired tokens";
        let paths = expired_paths(expired);
        let conditions: Vec<String> = paths.iter().map(|path| still_expired(path)).collect();
        let call = self
            .update(Key::registration(id))
            .return_values(ReturnValue::AllNew)
            .update_expression(format!("REMOVE {}", paths.join(", ")))
            .condition_expression(conditions.join(" AND "))
            .expression_attribute_names("#tokens", "tokens");
        let own = |found: &Registration| {
            let removed = expired.iter().all(|slot| !found.tokens.contains_key(slot));
            removed.then(|| found.clone())
        };
        send(name_expired(call, expired, now), CONTEXT, |item| read(item, CONTEXT), own).await
    }

    /// Revokes the token with this id in this slot; its place in the quota is free at once. A conflict means that the
    /// slot no longer holds it.
    pub async fn revoke_token(
        &self,
        id: &RegistrationId,
        slot: TokenSlot,
        token: TokenId,
    ) -> Result<Update<Registration>, InternalError> {
        const CONTEXT: &str = "revoke the token";
        let write = self.write_id()?;
        let mut call = self
            .update(Key::registration(id))
            .return_values(ReturnValue::AllNew)
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_names("#slot", slot.to_string())
            .expression_attribute_names("#idempotency", "idempotency")
            .expression_attribute_names("#revoked", "revoked")
            .expression_attribute_values(":write", (&write).into());
        // A slot that belongs to an idempotency key may hold another token by now.
        let holds_token = if TokenSlot::from(token) == slot {
            "attribute_exists(#tokens.#slot) AND attribute_not_exists(#tokens.#slot.#idempotency)"
        } else {
            call =
                call.expression_attribute_names("#jti", "jti").expression_attribute_values(":jti", string_value(token));
            "#tokens.#slot.#idempotency.#jti = :jti"
        };
        call = call
            .condition_expression(holds_token)
            .update_expression("REMOVE #tokens.#slot SET #revoked.#token = :write")
            .expression_attribute_names("#token", token.to_string());
        let own = |found: &Registration| (found.revoked.get(&token) == Some(&write)).then(|| found.clone());
        send(call, CONTEXT, |item| read(item, CONTEXT), own).await
    }

    /// Changes settings of a registration, if they are still those that the change was decided on.
    pub async fn update_registration(
        &self,
        id: &RegistrationId,
        change: &RegistrationChange,
        decided_on: &Registration,
    ) -> Result<Update<(), Registration>, InternalError> {
        let version = |registration: &Registration| registration.settings_version.clone();
        self.update_settings(Key::registration(id), decided_on, change, version, "update the registration").await
    }
}

/// The paths of expired tokens in an expression; [`name_expired`] names them.
fn expired_paths(expired: &[TokenSlot]) -> Vec<String> {
    (0..expired.len()).map(|n| format!("#tokens.#x{n}")).collect()
}

fn still_expired(path: &str) -> String {
    format!("{path}.#exp <= :now")
}

fn name_expired(call: UpdateItemFluentBuilder, expired: &[TokenSlot], now: DateTime<Utc>) -> UpdateItemFluentBuilder {
    let call = call
        .expression_attribute_names("#exp", "exp")
        .expression_attribute_values(":now", number_value(now.timestamp()));
    expired
        .iter()
        .enumerate()
        .fold(call, |call, (n, slot)| call.expression_attribute_names(format!("#x{n}"), slot.to_string()))
}
