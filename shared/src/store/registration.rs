//! OAuth registrations, each one item with its tokens in it: the quota is the size of that map and cannot disagree
//! with it.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use chrono::{DateTime, Utc, serde::ts_seconds};
use serde::{Deserialize, Serialize};

use super::{List, Store, Update, key::Key, read, send};
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
    /// The scopes of earlier revisions that a token which can be repeated was issued with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_scopes: Vec<EarlierScopes>,
    /// Its tokens: the active ones, and expired ones that no write has removed yet.
    pub tokens: BTreeMap<TokenSlot, RegistrationToken>,
    /// The last revocation of one of its tokens. A write that records a token names the one that it was decided on, so that
    /// a write which arrives late never brings a revoked token back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_revocation: Option<RevocationMark>,
}

/// The scopes that tokens were issued with before they were changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EarlierScopes {
    /// The revision that they were.
    pub revision: u32,
    /// The scopes.
    pub scopes: Vec<String>,
}

/// The name of one revocation: random, so that no two have the same.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevocationMark(String);

impl RevocationMark {
    /// A new one.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        random.uuid().map(|uuid| Self(uuid.to_string()))
    }
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
    /// If it was created with an idempotency key, what it takes to make it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<IdempotencyRecord>,
}

/// What makes a token again that was created with an idempotency key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IdempotencyRecord {
    /// The token's id, which its slot does not tell: the slot belongs to the key.
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

/// Room for one more token, as found in a registration at some moment. [`Store::record_token`] takes it under the
/// condition that it is still there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reservation {
    /// Where the token is to be kept.
    pub slot: TokenSlot,
    /// Whether an expired token is in that slot.
    pub replaces: bool,
    /// The expired tokens in other slots that the write removes.
    pub expired: Vec<TokenSlot>,
    /// The quota that it was found under.
    pub max_allowed: u32,
    /// The revision of the scopes that the token is issued with.
    pub scopes_revision: u32,
    /// The last revocation before it.
    pub last_revocation: Option<RevocationMark>,
    /// When it was found.
    pub now: DateTime<Utc>,
}

impl Reservation {
    /// Exclusive upper bound on the size of the map before the write.
    #[must_use]
    pub fn limit(&self) -> usize {
        let leaving = self.expired.len() + usize::from(self.replaces);
        leaving.saturating_add(self.max_allowed.try_into().unwrap_or(usize::MAX))
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

    /// Records a token in the slot that was reserved for it and removes expired tokens to make room, in one write. The
    /// condition is the quota: the registration is still what the reservation was made on, in everything that it rests on.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn record_token(
        &self,
        id: &RegistrationId,
        token: &RegistrationToken,
        reservation: &Reservation,
    ) -> Result<Update<Registration>, InternalError> {
        const CONTEXT: &str = "record the token";
        let entry = serde_dynamo::to_attribute_value(token).map_err(|error| InternalError::new(CONTEXT, error))?;
        let removed: Vec<String> = (0..reservation.expired.len()).map(|n| format!("#tokens.#x{n}")).collect();
        // A slot that was expired when it was judged may hold a live token by now.
        let slot_is_free =
            if reservation.replaces { "#tokens.#slot.#exp <= :now" } else { "attribute_not_exists(#tokens.#slot)" };
        let not_revoked_since = match reservation.last_revocation {
            None => "attribute_not_exists(#lastRevocation)",
            Some(_) => "#lastRevocation = :lastRevocation",
        };
        let has_room = "size(#tokens) < :limit AND #maxAllowed = :maxAllowed AND #scopesRevision = :scopesRevision";
        let mut conditions = [has_room, slot_is_free, not_revoked_since].map(str::to_owned).to_vec();
        conditions.extend(removed.iter().map(|path| format!("{path}.#exp <= :now")));
        let remove = if removed.is_empty() { String::new() } else { format!(" REMOVE {}", removed.join(", ")) };

        let mut call = self
            .update_registration_item(id)
            .update_expression(format!("SET #tokens.#slot = :token{remove}"))
            .condition_expression(conditions.join(" AND "))
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_names("#slot", reservation.slot.to_string())
            .expression_attribute_names("#maxAllowed", "maxAllowed")
            .expression_attribute_names("#scopesRevision", "scopesRevision")
            .expression_attribute_names("#lastRevocation", "lastRevocation")
            .expression_attribute_values(":token", entry)
            .expression_attribute_values(":limit", number(&reservation.limit()))
            .expression_attribute_values(":maxAllowed", number(&reservation.max_allowed))
            .expression_attribute_values(":scopesRevision", number(&reservation.scopes_revision));
        if let Some(RevocationMark(mark)) = &reservation.last_revocation {
            call = call.expression_attribute_values(":lastRevocation", AttributeValue::S(mark.clone()));
        }
        if reservation.replaces || !removed.is_empty() {
            call = call
                .expression_attribute_names("#exp", "exp")
                .expression_attribute_values(":now", number(&reservation.now.timestamp()));
        }
        for (n, slot) in reservation.expired.iter().enumerate() {
            call = call.expression_attribute_names(format!("#x{n}"), slot.to_string());
        }
        let own = |found: &Registration| (found.tokens.get(&reservation.slot) == Some(token)).then(|| found.clone());
        send(call, CONTEXT, |item| read(item, CONTEXT), own).await
    }

    /// Revokes the token with this id in this slot; its place in the quota is free at once. A conflict means that the slot no
    /// longer holds it.
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
        let mark = RevocationMark::random(random)?;
        let mut call = self
            .update_registration_item(id)
            .update_expression("REMOVE #tokens.#slot SET #lastRevocation = :mark")
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_names("#slot", slot.to_string())
            .expression_attribute_names("#idempotency", "idempotency")
            .expression_attribute_names("#lastRevocation", "lastRevocation")
            .expression_attribute_values(":mark", AttributeValue::S(mark.0.clone()));
        // A slot that belongs to an idempotency key may hold another token by now.
        call = if TokenSlot::from(token) == slot {
            call.condition_expression(
                "attribute_exists(#tokens.#slot) AND attribute_not_exists(#tokens.#slot.#idempotency)",
            )
        } else {
            call.condition_expression("#tokens.#slot.#idempotency.#jti = :jti")
                .expression_attribute_names("#jti", "jti")
                .expression_attribute_values(":jti", AttributeValue::S(token.to_string()))
        };
        let own = |found: &Registration| (found.last_revocation.as_ref() == Some(&mark)).then(|| found.clone());
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
    ) -> Result<Update<Registration>, InternalError> {
        const CONTEXT: &str = "update the registration";
        let failed = |error| InternalError::new(CONTEXT, error);
        let mut values = vec![
            ("name", change.name.clone().map(AttributeValue::S)),
            ("maxAllowed", change.max_allowed.as_ref().map(number)),
            ("tokenTtlSeconds", change.token_ttl_seconds.as_ref().map(number)),
        ];
        let mut call = self.update_registration_item(id);
        let mut condition = "attribute_exists(pk)";
        if let Some(scopes) = &change.scopes {
            condition = "attribute_exists(pk) AND #scopesRevision = :replaces";
            call = call.expression_attribute_values(":replaces", number(&scopes.replaces));
            values.push(("scopes", Some(serde_dynamo::to_attribute_value(&scopes.scopes).map_err(failed)?)));
            values.push(("scopesRevision", Some(number(&scopes.replaces.saturating_add(1)))));
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
        send(call.condition_expression(condition), CONTEXT, |item| read(item, CONTEXT), |_| None).await
    }

    fn update_registration_item(&self, id: &RegistrationId) -> UpdateItemFluentBuilder {
        let call = self.client.update_item().table_name(&self.table).set_key(Some(Key::registration(id).into()));
        call.return_values(ReturnValue::AllNew)
    }
}

fn number(number: &impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
