//! OAuth registrations, each one item with its tokens in it: the quota is the size of that map and cannot disagree
//! with it.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use chrono::{DateTime, Utc, serde::ts_seconds};
use serde::{Deserialize, Serialize};

use super::{List, Store, Update, WriteId, key::Key, number, read, send, text};
use crate::{
    error::InternalError,
    id::{ObjectId, RegistrationId, TokenId, TokenSlot},
    random::Random,
};

/// How many earlier lists of scopes a registration keeps, each of at most 1 KB, so that its item stays under 400 KB.
pub const MAX_EARLIER_SCOPES: usize = 10;

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
    /// How often the scopes were changed.
    #[serde(default)]
    pub scopes_revision: u32,
    /// The scopes of earlier revisions that an active token with an idempotency key was issued with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_scopes: Vec<EarlierScopes>,
    /// Its tokens: the active ones, and expired ones that no write has removed yet.
    pub tokens: BTreeMap<TokenSlot, RegistrationToken>,
    /// The last revocation of one of its tokens. Every write that records a token requires this to be unchanged, so a
    /// delayed write cannot restore a revoked token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_revocation: Option<WriteId>,
}

/// The scopes that tokens were issued with before they were changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EarlierScopes {
    /// The revision that they were.
    pub revision: u32,
    /// The scopes.
    pub scopes: Vec<String>,
}

/// What the registration keeps of a token: nothing that could be used as one.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct RegistrationToken {
    /// When it expires.
    #[serde(rename = "exp", with = "ts_seconds")]
    pub expires_at: DateTime<Utc>,
    /// The address that the creator gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
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
    pub fn issued_scopes(&self, record: &IdempotencyRecord) -> Option<&[String]> {
        if record.scopes_revision == self.scopes_revision {
            return Some(&self.scopes);
        }
        let earlier = self.earlier_scopes.iter().find(|earlier| earlier.revision == record.scopes_revision);
        earlier.map(|earlier| earlier.scopes.as_slice())
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

/// What an update of a registration writes; `None` leaves a setting as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RegistrationChange {
    /// [`Registration::name`].
    pub name: Option<String>,
    /// [`Registration::max_allowed`].
    pub max_allowed: Option<u32>,
    /// [`Registration::token_ttl_seconds`].
    pub token_ttl_seconds: Option<u32>,
    /// [`Registration::scopes`].
    pub scopes: Option<ScopesChange>,
}

/// New scopes in the place of those of a revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScopesChange {
    /// The revision that they replace.
    pub replaces: u32,
    /// The scopes.
    pub scopes: Vec<String>,
    /// [`Registration::earlier_scopes`].
    pub earlier: Vec<EarlierScopes>,
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
        now: DateTime<Utc>,
        random: &dyn Random,
    ) -> Result<Update<()>, InternalError> {
        let listing = List::Registrations(registration.organization_id).entry(id, now);
        self.create(Key::registration(id), registration, listing, random, "create the registration").await
    }

    /// The registration with this id.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn load_registration(&self, id: &RegistrationId) -> Result<Option<Registration>, InternalError> {
        self.get(Key::registration(id), "load the registration").await
    }

    /// Records a token and removes expired ones to make room, in one write. The condition is the quota; it fails if anything
    /// that the plan depends on has changed since `decided_on` was read.
    ///
    /// # Errors
    /// When the table does not answer.
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

        let has_room = "size(#tokens) < :limit AND #maxAllowed = :maxAllowed";
        let scopes_unchanged = "#scopesRevision = :scopesRevision";
        // The expired token in the slot may have been replaced by an active one.
        let slot_is_free = if replaces { "#tokens.#slot.#exp <= :now" } else { "attribute_not_exists(#tokens.#slot)" };
        let nothing_revoked = match decided_on.last_revocation {
            None => "attribute_not_exists(#lastRevocation)",
            Some(_) => "#lastRevocation = :lastRevocation",
        };
        let removed: Vec<String> = (0..plan.expired.len()).map(|n| format!("#tokens.#x{n}")).collect();
        let conditions = [has_room, scopes_unchanged, slot_is_free, nothing_revoked].map(str::to_owned);
        let still_expired = removed.iter().map(|path| format!("{path}.#exp <= :now"));
        let conditions: Vec<String> = conditions.into_iter().chain(still_expired).collect();
        let remove = if removed.is_empty() { String::new() } else { format!(" REMOVE {}", removed.join(", ")) };

        let entry = serde_dynamo::to_attribute_value(token).map_err(|error| InternalError::new(CONTEXT, error))?;
        let mut call = self
            .update_registration_item(id)
            .return_values(ReturnValue::AllNew)
            .update_expression(format!("SET #tokens.#slot = :token{remove}"))
            .condition_expression(conditions.join(" AND "))
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_names("#slot", plan.slot.to_string())
            .expression_attribute_names("#maxAllowed", "maxAllowed")
            .expression_attribute_names("#scopesRevision", "scopesRevision")
            .expression_attribute_names("#lastRevocation", "lastRevocation")
            .expression_attribute_values(":token", entry)
            .expression_attribute_values(":limit", AttributeValue::N(plan.limit(decided_on).to_string()))
            .expression_attribute_values(":maxAllowed", number(decided_on.max_allowed))
            .expression_attribute_values(":scopesRevision", number(decided_on.scopes_revision));
        if let Some(last_revocation) = &decided_on.last_revocation {
            call = call.expression_attribute_values(":lastRevocation", last_revocation.into());
        }
        if replaces || !removed.is_empty() {
            call = call
                .expression_attribute_names("#exp", "exp")
                .expression_attribute_values(":now", number(now.timestamp()));
        }
        for (n, slot) in plan.expired.iter().enumerate() {
            call = call.expression_attribute_names(format!("#x{n}"), slot.to_string());
        }
        // The item keeps whole seconds, and so does the token.
        let own = |found: &Registration| (found.tokens.get(&plan.slot) == Some(token)).then(|| found.clone());
        send(call, CONTEXT, |item| read(item, CONTEXT), own).await
    }

    /// Revokes the token with this id in this slot; its place in the quota is free at once. A conflict means that the slot no
    /// longer holds it. If the answer is lost and another token is revoked before the write is sent again, the conflict may
    /// be its own success.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn revoke_token(
        &self,
        id: &RegistrationId,
        slot: TokenSlot,
        token: TokenId,
        random: &dyn Random,
    ) -> Result<Update<Registration>, InternalError> {
        const CONTEXT: &str = "revoke the token";
        let write = WriteId::random(random)?;
        let mut call = self
            .update_registration_item(id)
            .return_values(ReturnValue::AllNew)
            .update_expression("REMOVE #tokens.#slot SET #lastRevocation = :write")
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_names("#slot", slot.to_string())
            .expression_attribute_names("#idempotency", "idempotency")
            .expression_attribute_names("#lastRevocation", "lastRevocation")
            .expression_attribute_values(":write", (&write).into());
        // A slot that belongs to an idempotency key may hold another token by now.
        call = if TokenSlot::from(token) == slot {
            call.condition_expression(
                "attribute_exists(#tokens.#slot) AND attribute_not_exists(#tokens.#slot.#idempotency)",
            )
        } else {
            call.condition_expression("#tokens.#slot.#idempotency.#jti = :jti")
                .expression_attribute_names("#jti", "jti")
                .expression_attribute_values(":jti", text(token))
        };
        let own = |found: &Registration| (found.last_revocation.as_ref() == Some(&write)).then(|| found.clone());
        send(call, CONTEXT, |item| read(item, CONTEXT), own).await
    }

    /// Changes settings of a registration. A conflict means that its scopes are of another revision by now.
    ///
    /// # Errors
    /// When the table does not answer. Sent again, it is the same as once.
    pub async fn update_registration(
        &self,
        id: &RegistrationId,
        change: &RegistrationChange,
    ) -> Result<Update<(), Registration>, InternalError> {
        const CONTEXT: &str = "update the registration";
        let failed = |error| InternalError::new(CONTEXT, error);
        let mut values = vec![
            ("name", change.name.clone().map(text)),
            ("maxAllowed", change.max_allowed.map(number)),
            ("tokenTtlSeconds", change.token_ttl_seconds.map(number)),
        ];
        let mut call = self.update_registration_item(id);
        let mut condition = "attribute_exists(pk)";
        if let Some(scopes) = &change.scopes {
            condition = "attribute_exists(pk) AND #scopesRevision = :replaces";
            call = call.expression_attribute_values(":replaces", number(scopes.replaces));
            values.push(("scopes", Some(serde_dynamo::to_attribute_value(&scopes.scopes).map_err(failed)?)));
            values.push(("scopesRevision", Some(number(scopes.replaces.saturating_add(1)))));
            values.push(("earlierScopes", Some(serde_dynamo::to_attribute_value(&scopes.earlier).map_err(failed)?)));
        }
        let mut assignments = Vec::new();
        for (name, value) in values {
            let Some(value) = value else { continue };
            assignments.push(format!("#{name} = :{name}"));
            call = call
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        if !assignments.is_empty() {
            call = call.update_expression(format!("SET {}", assignments.join(", ")));
        }
        // Not recognised as its own: who decides again finds the scopes as they should be, and writes the rest once more.
        send(call.condition_expression(condition), CONTEXT, |_| Ok(()), |_| None).await
    }

    fn update_registration_item(&self, id: &RegistrationId) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(Key::registration(id).into()))
    }
}
