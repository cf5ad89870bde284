//! OAuth registrations, each one item with its tokens in it: the quota is the size of that map and cannot disagree
//! with it.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
};

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use chrono::{DateTime, TimeDelta, Utc, serde::ts_seconds};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    Generation, OwnerState, Store, Update, WriteId,
    item::{number, number_value, read, string_value},
    key::Key,
    name_settings, settings_unchanged,
    write::send,
};
use crate::{
    error::InternalError,
    id::{KeyFingerprint, ObjectId, RegistrationId, TokenId, TokenSlot, TrustedKeys},
    input::{Audience, Claims, Email, Scopes, json_text},
};

/// How many earlier contents a registration keeps, each of at most 2 KB, so that its item stays under 400 KB.
pub const MAX_EARLIER_CONTENTS: usize = 10;
/// How many revoked machine tokens a registration remembers.
const MAX_REVOKED_MACHINE_TOKENS: usize = 200;
const REVOKED_MACHINE_TOKENS: &str = "revokedMachineTokens";
const MACHINE_GENERATION: &str = "machineGeneration";
/// A registration of more bytes, as JSON, remembers no further one: its item may have 400 KB, and is shorter than that.
const MAX_BYTES_TO_REMEMBER: usize = 390_000;
/// How many of them one write forgets.
const MAX_FORGOTTEN: usize = 50;
/// How long a revoked machine token is remembered after it has expired, for functions whose clocks are behind.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);
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
    /// How long a token of `create-token` lives.
    pub token_ttl_seconds: u32,
    /// How long a machine token lives: [`Self::CLIENT_CREDENTIALS_TTL_SECONDS`].
    pub client_credentials_ttl_seconds: u32,
    /// What its tokens may do.
    pub scopes: Scopes,
    /// Further claims of its tokens. The name differs from that of a grant's claims, because the index has these.
    #[serde(rename = "tokenClaims", default, skip_serializing_if = "Claims::is_empty", with = "json_text")]
    pub claims: Claims,
    /// How often the scopes or the claims were changed.
    pub contents_revision: u32,
    /// The scopes and claims of earlier revisions that an active token with an idempotency key was issued with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_contents: Vec<EarlierContents>,
    /// The APIs that its machine tokens may be for, beside that of the deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<Audience>,
    /// Whether it has secrets of its own: [`Store::load_registration_secrets`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confidential: bool,
    /// Its tokens: the active ones, and those that have expired or whose key was withdrawn, until a write removes them.
    pub tokens: BTreeMap<TokenSlot, RegistrationToken>,
    /// The tokens that were revoked lately, each with the write that did it. A write that records one of them again,
    /// because it arrives late, is refused.
    pub revoked: BTreeMap<TokenId, WriteId>,
    /// The write that last emptied `revoked`. Every write that records a token requires this to be unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_emptied_by: Option<WriteId>,
    /// The machine tokens of this generation that were revoked, by their `jti`.
    pub revoked_machine_tokens: BTreeMap<TokenId, ExpiresAt>,
    /// How often all its machine tokens were ended: together with all others, or because too many of them were revoked
    /// one by one. Not the generation of its state, which a revocation of everything depends on.
    pub machine_generation: Generation,
    /// The last change of its settings. An update requires this to be unchanged, so a late one undoes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_version: Option<WriteId>,
    #[serde(flatten)]
    pub state: OwnerState,
}

/// The scopes and claims that tokens were issued with before they were changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EarlierContents {
    /// The revision that they were.
    pub revision: u32,
    pub scopes: Scopes,
    #[serde(default, skip_serializing_if = "Claims::is_empty", with = "json_text")]
    pub claims: Claims,
}

/// When a revoked token expires, in seconds since the epoch.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct ExpiresAt(#[serde(with = "ts_seconds")] DateTime<Utc>);

/// What the registration keeps of a token: nothing that could be used as one.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct RegistrationToken {
    /// When it expires.
    #[serde(rename = "exp", with = "ts_seconds")]
    pub expires_at: DateTime<Utc>,
    /// The key that signed it. If that one is withdrawn, the token is over.
    pub key: KeyFingerprint,
    /// The address that the creator gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Present if an idempotency key was used: what is needed to sign the same token again.
    #[serde(rename = "idem", skip_serializing_if = "Option::is_none")]
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
    /// Which of the registration's scopes and claims it was issued with.
    #[serde(rename = "rev")]
    pub contents_revision: u32,
}

impl RegistrationToken {
    /// Whether it is active. Revoked tokens are not recorded any more.
    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>, keys: &TrustedKeys) -> bool {
        self.end(now, keys).is_none()
    }

    /// Why it is not active any more.
    #[must_use]
    pub fn end(&self, now: DateTime<Utc>, keys: &TrustedKeys) -> Option<TokenEnd> {
        if self.expires_at <= now {
            return Some(TokenEnd::Expired);
        }
        (!keys.contains(&self.key)).then(|| TokenEnd::KeyWithdrawn(self.key.clone()))
    }

    /// The id of the token that is kept in this slot.
    #[must_use]
    pub fn id(&self, slot: TokenSlot) -> TokenId {
        self.idempotency.as_ref().map_or_else(|| slot.into(), |record| record.jti)
    }
}

/// Why a recorded token is not active. It frees its place, and the next write that records a token removes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenEnd {
    Expired,
    /// This key signed it and is not trusted any more.
    KeyWithdrawn(KeyFingerprint),
}

/// Without the address.
impl std::fmt::Debug for RegistrationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrationToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Registration {
    /// How long a machine token may live.
    pub const CLIENT_CREDENTIALS_TTL_SECONDS: RangeInclusive<u32> = 60..=86_400;

    /// How many tokens are active.
    #[must_use]
    pub fn active_tokens(&self, now: DateTime<Utc>, keys: &TrustedKeys) -> usize {
        self.tokens.values().filter(|token| token.is_active(now, keys)).count()
    }

    /// The recorded token with this id, active or not, and where it is kept.
    #[must_use]
    pub fn find(&self, id: TokenId) -> Option<(TokenSlot, &RegistrationToken)> {
        let tokens = self.tokens.iter().map(|(slot, token)| (*slot, token));
        tokens.into_iter().find(|(slot, token)| token.id(*slot) == id)
    }

    /// Where the active token with this id is kept.
    #[must_use]
    pub fn find_active(&self, id: TokenId, now: DateTime<Utc>, keys: &TrustedKeys) -> Option<TokenSlot> {
        self.find(id).filter(|(_, token)| token.is_active(now, keys)).map(|(slot, _)| slot)
    }

    /// The keys of the tokens that have not expired.
    pub fn keys(&self, now: DateTime<Utc>) -> impl Iterator<Item = &KeyFingerprint> {
        self.tokens.values().filter(move |token| now < token.expires_at).map(|token| &token.key)
    }

    /// The scopes and claims that a token was issued with; `None` only if the item is damaged.
    #[must_use]
    pub fn issued_contents(&self, record: &IdempotencyRecord) -> Option<(&Scopes, &Claims)> {
        if record.contents_revision == self.contents_revision {
            return Some((&self.scopes, &self.claims));
        }
        let earlier = self.earlier_contents.iter().find(|earlier| earlier.revision == record.contents_revision);
        earlier.map(|earlier| (&earlier.scopes, &earlier.claims))
    }

    /// Whether it has ended this machine token: all of its generation, or this one alone. One of a later generation
    /// is over too: the item was restored from a backup, and may lack its revocation.
    #[must_use]
    pub fn has_ended_machine_token(&self, id: TokenId, generation: Generation) -> bool {
        generation != self.machine_generation || self.revoked_machine_tokens.contains_key(&id)
    }
}

/// Where a token is to be recorded, and what is to be removed for it. [`Store::record_token`] requires that nothing it
/// depends on has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenWritePlan {
    pub slot: TokenSlot,
    /// Why the token that is in the slot is over, if there is one. It is replaced.
    pub replaces: Option<TokenEnd>,
    /// Other tokens that are over, which are removed.
    pub removes: Vec<EndedToken>,
}

/// A recorded token that is over. It is removed only if it still is: its slot may have a new one by then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndedToken {
    pub slot: TokenSlot,
    pub end: TokenEnd,
}

impl TokenWritePlan {
    /// Exclusive upper bound on the number of tokens before the write: the quota, and those that the write removes.
    #[must_use]
    pub fn limit(&self, registration: &Registration) -> usize {
        let removed = self.removes.len() + usize::from(self.replaces.is_some());
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
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_allowed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ttl_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_credentials_ttl_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    #[serde(
        rename = "tokenClaims",
        skip_serializing_if = "Option::is_none",
        serialize_with = "json_text::serialize_option"
    )]
    pub claims: Option<Claims>,
    /// Changes with the scopes and the claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents_revision: Option<u32>,
    /// Changes with the scopes and the claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier_contents: Option<Vec<EarlierContents>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Vec<Audience>>,
}

/// The revocation of a machine token, which is recorded nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct MachineTokenRevocation {
    pub id: TokenId,
    pub generation: Generation,
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// The registration with this id.
    pub async fn load_registration(&self, id: &RegistrationId) -> Result<Option<Registration>, InternalError> {
        self.get(Key::registration(id), "load the registration").await
    }

    /// Records a token and removes those that are over to make room, in one write. The condition is the quota; it fails
    /// if anything that the plan depends on has changed since `decided_on` was read.
    pub async fn record_token(
        &self,
        id: &RegistrationId,
        token: &RegistrationToken,
        plan: &TokenWritePlan,
        decided_on: &Registration,
        now: DateTime<Utc>,
    ) -> Result<Update<Registration>, InternalError> {
        const CONTEXT: &str = "record the token";
        let has_room = "size(#tokens) < :limit";
        let settings_unchanged = settings_unchanged(decided_on.settings_version.as_ref());
        // The token in the slot may have been replaced by an active one.
        let slot_is_free = match &plan.replaces {
            None => "attribute_not_exists(#tokens.#slot)",
            Some(TokenEnd::Expired) => "#tokens.#slot.#exp <= :now",
            Some(TokenEnd::KeyWithdrawn(_)) => "#tokens.#slot.#key = :withdrawn",
        };
        let not_revoked = "attribute_not_exists(#revoked.#jti)";
        let revocations_known = match decided_on.revoked_emptied_by {
            None => "attribute_not_exists(#revokedEmptiedBy)",
            Some(_) => "#revokedEmptiedBy = :revokedEmptiedBy",
        };
        let conditions =
            [has_room, settings_unchanged, slot_is_free, not_revoked, revocations_known].map(str::to_owned);
        let conditions: Vec<String> = conditions.into_iter().chain(still_ended(&plan.removes)).collect();
        let remove = removal("#tokens", plan.removes.len());
        let forgets = decided_on.revoked.len() >= FORGET_FROM;
        let forget = if forgets { ", #revoked = :nothing, #revokedEmptiedBy = :write" } else { "" };

        let entry = serde_dynamo::to_attribute_value(token).map_err(|error| InternalError::new(CONTEXT, error))?;
        let mut call = self
            .update(Key::registration(id))
            .return_values(ReturnValue::AllNew)
            .update_expression(format!("SET #tokens.#slot = :token{forget} {remove}"))
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
        match &plan.replaces {
            None => {}
            Some(TokenEnd::Expired) => call = name_expiry(call, now),
            Some(TokenEnd::KeyWithdrawn(key)) => {
                call = call
                    .expression_attribute_names("#key", "key")
                    .expression_attribute_values(":withdrawn", string_value(key.as_str()));
            }
        }
        call = name_ended(call, &plan.removes, now);
        // The item keeps whole seconds, and so does the token.
        let own = |found: &Registration| (found.tokens.get(&plan.slot) == Some(token)).then(|| found.clone());
        send(call, CONTEXT, |item| read(item, CONTEXT), own).await
    }

    /// Removes tokens that are over, each only if it still is. For a registration that has more of them than one write
    /// of [`Self::record_token`] removes.
    pub async fn remove_ended_tokens(
        &self,
        id: &RegistrationId,
        ended: &[EndedToken],
        now: DateTime<Utc>,
    ) -> Result<Update<Registration>, InternalError> {
        const CONTEXT: &str = "remove ended tokens";
        let conditions: Vec<String> = still_ended(ended).collect();
        let call = self
            .update(Key::registration(id))
            .return_values(ReturnValue::AllNew)
            .update_expression(removal("#tokens", ended.len()))
            .condition_expression(conditions.join(" AND "))
            .expression_attribute_names("#tokens", "tokens");
        let own = |found: &Registration| {
            let removed = ended.iter().all(|token| !found.tokens.contains_key(&token.slot));
            removed.then(|| found.clone())
        };
        send(name_ended(call, ended, now), CONTEXT, |item| read(item, CONTEXT), own).await
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
            .expression_attribute_names("#idempotency", "idem")
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

    /// Revokes all tokens, and every one that is being recorded on what was read before. It depends on nothing that a
    /// create, a revocation or an update changes. A conflict means that another call has done it since this
    /// registration was read.
    pub async fn revoke_tokens(
        &self,
        id: &RegistrationId,
        generation: Generation,
    ) -> Result<Update<(), IgnoredAny>, InternalError> {
        let call = self
            .next_generation(Key::registration(id), generation)
            .update_expression(
                "SET #generation = #generation + :one, #tokens = :nothing, #revoked = :nothing, \
                 #revokedEmptiedBy = :write, #machineGeneration = #machineGeneration + :one, \
                 #revokedMachineTokens = :nothing",
            )
            .expression_attribute_names("#machineGeneration", MACHINE_GENERATION)
            .expression_attribute_names("#revokedMachineTokens", REVOKED_MACHINE_TOKENS)
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_names("#revoked", "revoked")
            .expression_attribute_names("#revokedEmptiedBy", "revokedEmptiedBy")
            .expression_attribute_values(":nothing", AttributeValue::M(HashMap::new()))
            .expression_attribute_values(":write", (&self.write_id()?).into());
        send(call, "revoke the tokens", |_| Ok(()), |_| None).await
    }

    /// Revokes a machine token: the registration remembers it until it has expired. If it remembers too many, or has no
    /// room, it ends all machine tokens of this generation instead. `decided_on` is what was read; a conflict means
    /// that it has changed since, and the decision is to be made again.
    pub async fn revoke_machine_token(
        &self,
        id: &RegistrationId,
        token: MachineTokenRevocation,
        decided_on: &Registration,
        now: DateTime<Utc>,
    ) -> Result<Update<(), Registration>, InternalError> {
        const CONTEXT: &str = "revoke the machine token";
        let remembered = &decided_on.revoked_machine_tokens;
        let is_over = |ExpiresAt(at): &ExpiresAt| *at + CLOCK_SKEW <= now;
        let over: Vec<TokenId> = remembered.iter().filter(|(_, until)| is_over(until)).map(|(id, _)| *id).collect();
        // Those that are over do not count.
        let limit = MAX_REVOKED_MACHINE_TOKENS + over.len();
        let has_room = || serde_json::to_string(decided_on).is_ok_and(|json| json.len() <= MAX_BYTES_TO_REMEMBER);
        let call = self
            .update(Key::registration(id))
            .expression_attribute_names("#generation", MACHINE_GENERATION)
            .expression_attribute_names("#revoked", REVOKED_MACHINE_TOKENS)
            .expression_attribute_values(":generation", token.generation.into());
        let call = if remembered.len() < limit && has_room() {
            // Entries never change, so those that are over may be removed whatever else has happened.
            let removed = over.get(..MAX_FORGOTTEN).unwrap_or(&over);
            let remove = removal("#revoked", removed.len());
            let mut call = call
                .update_expression(format!("SET #revoked.#token = :until {remove}"))
                .condition_expression("#generation = :generation AND size(#revoked) < :limit")
                .expression_attribute_names("#token", token.id.to_string())
                .expression_attribute_values(":until", number_value(token.expires_at.timestamp()))
                .expression_attribute_values(":limit", AttributeValue::N(limit.to_string()));
            for (n, over) in removed.iter().enumerate() {
                call = call.expression_attribute_names(format!("#x{n}"), over.to_string());
            }
            call
        } else {
            call.update_expression("SET #generation = #generation + :one, #revoked = :nothing")
                .condition_expression("#generation = :generation")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":nothing", AttributeValue::M(HashMap::new()))
        };
        // It is revoked already, by this or another call.
        let own = |found: &Registration| found.has_ended_machine_token(token.id, token.generation).then_some(());
        send(call, CONTEXT, |_| Ok(()), own).await
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

/// The clause that removes so many entries of a map, which are named `#x0`, `#x1` and so on.
fn removal(map: &str, entries: usize) -> String {
    let paths: Vec<String> = (0..entries).map(|n| format!("{map}.#x{n}")).collect();
    if paths.is_empty() { String::new() } else { format!("REMOVE {}", paths.join(", ")) }
}

/// The conditions that each of these tokens is still the one that is over.
fn still_ended(ended: &[EndedToken]) -> impl Iterator<Item = String> {
    ended.iter().enumerate().map(|(n, token)| match token.end {
        TokenEnd::Expired => format!("#tokens.#x{n}.#exp <= :now"),
        TokenEnd::KeyWithdrawn(_) => format!("#tokens.#x{n}.#key = :k{n}"),
    })
}

fn name_ended(mut call: UpdateItemFluentBuilder, ended: &[EndedToken], now: DateTime<Utc>) -> UpdateItemFluentBuilder {
    for (n, EndedToken { slot, end }) in ended.iter().enumerate() {
        call = call.expression_attribute_names(format!("#x{n}"), slot.to_string());
        call = match end {
            TokenEnd::Expired => name_expiry(call, now),
            TokenEnd::KeyWithdrawn(key) => call
                .expression_attribute_names("#key", "key")
                .expression_attribute_values(format!(":k{n}"), string_value(key.as_str())),
        };
    }
    call
}

fn name_expiry(call: UpdateItemFluentBuilder, now: DateTime<Utc>) -> UpdateItemFluentBuilder {
    call.expression_attribute_names("#exp", "exp").expression_attribute_values(":now", number_value(now.timestamp()))
}
