//! Grants: an authorization code and every refresh token descended from it are one item, so that exchange, rotation,
//! replay detection and revocation are each one conditional write.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Creation, Store, key::Key, read};
use crate::{
    credential::{CredentialHash, GrantId},
    fault::Fault,
    random::Random,
    telemetry::{Step, step},
};

/// How many refresh tokens of one generation may be live at once: a client that lost more answers than this within
/// its `refreshReuseSeconds` is none.
pub const MAX_SIBLINGS: usize = 100;

/// A grant, at `GRANT#<id>`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The client that it was issued to.
    pub client_id: String,
    /// The login service that the user came through.
    pub service: String,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// The user.
    pub subject: String,
    /// What was granted.
    pub scopes: Vec<String>,
    /// The `state` of the authorization request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The `nonce` of the authorization request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The S256 challenge of the authorization request (RFC 7636, 4.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_challenge: Option<String>,
    /// When the user logged in, in seconds since the epoch.
    pub auth_time: i64,
    /// The language of the authorization request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// What is known of the user: OpenID Connect's standard claims.
    pub claims: Map<String, Value>,
    /// The code.
    pub code: CredentialHash,
    /// When the code expires, in seconds since the epoch.
    pub code_expires_at: i64,
    /// When DynamoDB may tidy the item up, in seconds since the epoch; nothing depends on it.
    pub ttl: i64,
    /// What has become of it since the code was issued.
    #[serde(flatten)]
    pub progress: Progress,
}

/// The attributes that change.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The refresh tokens that may be used, all made with the same one. Empty until the code is exchanged.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub live: BTreeSet<CredentialHash>,
    /// The refresh token that the live ones were made with. Absent until the first refresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<CredentialHash>,
    /// When the parent was first used, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<i64>,
    /// When the grant ends, in seconds since the epoch. Absent until the code is exchanged, and then for ever the
    /// same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// The refresh token of a write that was given up: it keeps that write from happening later on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<CredentialHash>,
    /// Whether a replay has ended it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

/// Personal data and hashes are not shown.
impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A change of a grant, under the condition that it is still what the change was decided on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GrantWrite {
    /// The code is used: `successor` is the first refresh token, and the grant ends at `expires_at`.
    Exchange {
        /// The new refresh token.
        successor: CredentialHash,
        /// When the grant ends.
        expires_at: DateTime<Utc>,
    },
    /// A live refresh token is used: `successor` takes its place and that of its siblings.
    Rotate {
        /// The token that is used.
        used: CredentialHash,
        /// The new refresh token.
        successor: CredentialHash,
        /// The time.
        now: DateTime<Utc>,
    },
    /// The parent of the live refresh tokens is used again: `successor` becomes one of them.
    AddSibling {
        /// The token that is used again.
        used: CredentialHash,
        /// The new refresh token.
        successor: CredentialHash,
    },
    /// A replay ends the grant.
    Revoke,
}

impl GrantWrite {
    /// The refresh token that it makes live; a revocation makes none.
    fn successor(&self) -> Option<&CredentialHash> {
        match self {
            Self::Exchange { successor, .. } | Self::Rotate { successor, .. } | Self::AddSibling { successor, .. } => {
                Some(successor)
            }
            Self::Revoke => None,
        }
    }

    /// Whether a grant shows that this write has happened.
    fn happened_in(&self, grant: &Grant) -> bool {
        match self.successor() {
            Some(successor) => !grant.progress.revoked && grant.progress.live.contains(successor),
            None => grant.progress.revoked,
        }
    }
}

/// What came of a [`GrantWrite`].
#[derive(Debug)]
#[must_use]
pub enum Written {
    /// It is done.
    Done,
    /// The grant was no longer what the write was decided on; as it is now.
    Moved(Box<Grant>),
    /// There is no such grant any more.
    Gone,
}

impl Store {
    /// Creates a grant.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn create_grant(&self, id: &GrantId, grant: &Grant, random: &dyn Random) -> Result<Creation, Fault> {
        step(Step::Commit, self.create(Key::grant(id), grant, random, "create the grant")).await
    }

    /// The grant with this id.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, Fault> {
        self.get(Key::grant(id), "load the grant").await
    }

    /// Changes a grant whose fence is still the one that the change was decided on. Where no answer comes, the write is
    /// made sure either to have happened or never to happen: whoever repeats an exchange that has happened would be
    /// taken for a thief.
    ///
    /// # Errors
    /// When the table does not answer. The grant is as it was then, unless the table left that question open too.
    pub async fn write_grant(
        &self,
        id: &GrantId,
        write: &GrantWrite,
        fence: Option<&CredentialHash>,
    ) -> Result<Written, Fault> {
        const DOING: &str = "change the grant";
        let text = |hash: &CredentialHash| AttributeValue::S(hash.as_str().to_owned());
        let number = |number: i64| AttributeValue::N(number.to_string());
        let call = self.client.update_item().table_name(&self.table).set_key(Some(Key::grant(id).into()));
        let (call, condition) = match write {
            GrantWrite::Exchange { expires_at, .. } => (
                call.update_expression("SET #live = :successor, #expiresAt = :expiresAt, #ttl = :expiresAt")
                    .expression_attribute_names("#expiresAt", "expiresAt")
                    .expression_attribute_names("#ttl", "ttl")
                    .expression_attribute_values(":expiresAt", number(expires_at.timestamp())),
                "attribute_exists(pk) AND attribute_not_exists(#live) AND attribute_not_exists(#revoked)",
            ),
            GrantWrite::Rotate { used, now, .. } => (
                call.update_expression("SET #live = :successor, #parent = :used, #rotatedAt = :now")
                    .expression_attribute_names("#parent", "parent")
                    .expression_attribute_names("#rotatedAt", "rotatedAt")
                    .expression_attribute_values(":used", text(used))
                    .expression_attribute_values(":now", number(now.timestamp_millis())),
                "contains(#live, :used) AND attribute_not_exists(#revoked)",
            ),
            GrantWrite::AddSibling { used, .. } => (
                call.update_expression("ADD #live :successor")
                    .expression_attribute_names("#parent", "parent")
                    .expression_attribute_values(":used", text(used))
                    .expression_attribute_values(":max", AttributeValue::N(MAX_SIBLINGS.to_string())),
                "#parent = :used AND size(#live) < :max AND attribute_not_exists(#revoked)",
            ),
            GrantWrite::Revoke => (
                call.update_expression("SET #revoked = :true")
                    .expression_attribute_values(":true", AttributeValue::Bool(true)),
                "attribute_exists(pk)",
            ),
        };
        let call = match write.successor() {
            None => call.condition_expression(condition),
            Some(successor) => {
                let unfenced = if fence.is_none() { "attribute_not_exists(#fence)" } else { "#fence = :fence" };
                let call = call
                    .condition_expression(format!("{condition} AND {unfenced}"))
                    .expression_attribute_names("#fence", "fence")
                    .expression_attribute_names("#live", "live")
                    .expression_attribute_values(":successor", AttributeValue::Ss(vec![successor.as_str().to_owned()]));
                match fence {
                    None => call,
                    Some(fence) => call.expression_attribute_values(":fence", text(fence)),
                }
            }
        };
        let call = call
            .expression_attribute_names("#revoked", "revoked")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match step(Step::Commit, Box::pin(call.send())).await {
            Ok(_) => Ok(Written::Done),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => match failed.item().cloned() {
                    None => Ok(Written::Gone),
                    Some(item) => read::<Grant>(item, DOING).map(|standing| {
                        // An earlier attempt of this very write, whose answer was lost, has done it.
                        if write.happened_in(&standing) { Written::Done } else { Written::Moved(Box::new(standing)) }
                    }),
                },
                _ if self.happened_or_never_will(id, write).await => Ok(Written::Done),
                _ => Err(Fault::new(DOING, error)),
            },
        }
    }

    /// Whether a write that was not answered has happened. If not it never will: it may still be on its way, and the
    /// fence is one that its condition does not know.
    async fn happened_or_never_will(&self, id: &GrantId, write: &GrantWrite) -> bool {
        let Some(successor) = write.successor() else { return false };
        let call = self.client.update_item().table_name(&self.table).set_key(Some(Key::grant(id).into()));
        let call = call
            .update_expression("SET #fence = :successor")
            .condition_expression("attribute_exists(pk) AND NOT contains(#live, :successor)")
            .expression_attribute_names("#fence", "fence")
            .expression_attribute_names("#live", "live")
            .expression_attribute_values(":successor", AttributeValue::S(successor.as_str().to_owned()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let standing = match step(Step::Commit, Box::pin(call.send())).await.map_err(SdkError::into_service_error) {
            Err(UpdateItemError::ConditionalCheckFailedException(failed)) => failed.item,
            _ => None,
        };
        let standing = standing.and_then(|item| read::<Grant>(item, "read the grant").ok());
        standing.is_some_and(|standing| write.happened_in(&standing))
    }
}
