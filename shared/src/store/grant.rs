//! Grants: an authorization code and every refresh token descended from it are one item, so that exchange, rotation,
//! replay detection and revocation are each one conditional write.

use aws_sdk_dynamodb::{operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{List, Store, Update, key::Key, listing, send};
use crate::{
    credential::{CredentialHash, GrantSalt, SessionId},
    error::InternalError,
    id::ClientId,
    random::Random,
    runtime::telemetry::{Phase, timed},
};

/// A grant, at `GRANT#<its session id>`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "Row", into = "Row")]
pub struct Grant {
    /// The client that it was issued to.
    pub client_id: ClientId,
    /// The login service that the user came through.
    pub service: String,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// The user.
    pub subject: String,
    /// What was granted.
    pub scopes: Vec<String>,
    /// The `state` of the authorization request.
    pub state: Option<String>,
    /// The `nonce` of the authorization request.
    pub nonce: Option<String>,
    /// The S256 challenge of the authorization request (RFC 7636, 4.2).
    pub code_challenge: Option<String>,
    /// When the user logged in.
    pub auth_time: DateTime<Utc>,
    /// The language of the authorization request.
    pub language: Option<String>,
    /// What is known of the user: OpenID Connect's standard claims.
    pub claims: Map<String, Value>,
    /// The code.
    pub code: CredentialHash,
    /// When the code expires.
    pub code_expires_at: DateTime<Utc>,
    /// What its refresh tokens are derived under.
    pub salt: GrantSalt,
    /// What has become of it.
    pub progress: GrantState,
    /// The write that brought it there.
    pub version: GrantVersion,
}

/// What becomes of a grant: `Issued`, then `Active`, and at any time `Revoked`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GrantState {
    /// The code was issued and not exchanged.
    Issued,
    /// The code was exchanged.
    Active {
        /// The refresh token that comes next.
        current: CredentialHash,
        /// The one that it took the place of, unless it is the first.
        rotation: Option<Rotation>,
        /// When the grant ends, however often it is refreshed.
        expires_at: DateTime<Utc>,
    },
    /// It was ended.
    Revoked,
}

/// A refresh token that was rotated away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// The token.
    pub from: CredentialHash,
    /// When.
    pub at: DateTime<Utc>,
}

/// The name of one state of a grant: random, and new with every write. A write names the one that it was decided on, so
/// that no write lands on another state, however late it arrives, and each recognises its own work.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GrantVersion(String);

impl GrantVersion {
    /// A new one.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self(format!("{:016x}", u64::from_be_bytes(random.bytes()?))))
    }
}

/// Personal data and hashes are not shown.
impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A step in the life of a grant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GrantChange {
    /// The code is exchanged for the first refresh token.
    Exchange {
        /// The refresh token.
        refresh_token: CredentialHash,
        /// When the grant ends.
        expires_at: DateTime<Utc>,
    },
    /// The current refresh token is exchanged for its successor.
    Rotate {
        /// The token that was presented.
        from: CredentialHash,
        /// Its successor.
        to: CredentialHash,
        /// The time.
        at: DateTime<Utc>,
    },
}

impl Store {
    /// Creates a grant.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn create_grant(
        &self,
        id: &SessionId,
        grant: &Grant,
        now: DateTime<Utc>,
        random: &dyn Random,
    ) -> Result<Update<()>, InternalError> {
        let list = List::Sessions { client_id: grant.client_id, subject: &grant.subject };
        let listing = list.entry(&id.as_str(), now);
        timed(Phase::Commit, self.create(Key::grant(id), grant, listing, random, "create the grant")).await
    }

    /// The grant with this id.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn load_grant(&self, id: &SessionId) -> Result<Option<Grant>, InternalError> {
        self.get(Key::grant(id), "load the grant").await
    }

    /// Takes a grant a step further, if it is still in the state that this was decided on; `becomes` names the state that
    /// follows. If no answer comes, the write is made sure either to have happened or never to happen: whoever repeats an
    /// exchange that has happened would be taken for a thief.
    ///
    /// # Errors
    /// When the table does not answer. The grant is as it was then, unless the table left that question open too.
    pub async fn change_grant(
        &self,
        id: &SessionId,
        decided_on: &GrantVersion,
        change: &GrantChange,
        becomes: &GrantVersion,
        random: &dyn Random,
    ) -> Result<Update<(), Grant>, InternalError> {
        const CONTEXT: &str = "change the grant";
        let text = |hash: &CredentialHash| AttributeValue::S(hash.as_str().to_owned());
        let number = |number: i64| AttributeValue::N(number.to_string());
        let call = self.move_grant(id, decided_on, becomes).expression_attribute_names("#current", "current");
        let call = match change {
            GrantChange::Exchange { refresh_token, expires_at } => call
                .update_expression("SET #version = :becomes, #current = :current, #expiresAt = :expiresAt, #ttl = :expiresAt")
                .expression_attribute_names("#expiresAt", "expiresAt")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":current", text(refresh_token))
                .expression_attribute_values(":expiresAt", number(expires_at.timestamp())),
            GrantChange::Rotate { from, to, at } => call
                .update_expression(
                    "SET #version = :becomes, #current = :current, #rotatedFrom = :rotatedFrom, #rotatedAt = :rotatedAt",
                )
                .expression_attribute_names("#rotatedFrom", "rotatedFrom")
                .expression_attribute_names("#rotatedAt", "rotatedAt")
                .expression_attribute_values(":current", text(to))
                .expression_attribute_values(":rotatedFrom", text(from))
                .expression_attribute_values(":rotatedAt", number(at.timestamp_millis())),
        };
        let own = |found: &Grant| (found.version == *becomes).then_some(());
        match send(call, CONTEXT, |_| Ok(()), own).await {
            Err(_) if self.has_happened(id, decided_on, becomes, random).await.unwrap_or(false) => {
                Ok(Update::Applied(()))
            }
            outcome => outcome,
        }
    }

    /// Whether a write that was not answered has happened. If not, it never will: it may still be on its way, but the state
    /// that its condition names is gone.
    async fn has_happened(
        &self,
        id: &SessionId,
        decided_on: &GrantVersion,
        becomes: &GrantVersion,
        random: &dyn Random,
    ) -> Result<bool, InternalError> {
        let fence = GrantVersion::random(random)?;
        let call = self.move_grant(id, decided_on, &fence).update_expression("SET #version = :becomes");
        let own = |found: &Grant| (found.version == fence).then_some(());
        match send(call, "fence the grant off", |_| Ok(()), own).await? {
            Update::Applied(()) | Update::Missing => Ok(false),
            Update::Conflict(found) => Ok(found.version == *becomes),
        }
    }

    /// Ends a grant, whatever its state, and takes it out of the list of sessions.
    ///
    /// # Errors
    /// When the table does not answer. Sent again, it is the same as once.
    pub async fn revoke_grant(&self, id: &SessionId, random: &dyn Random) -> Result<Update<(), Grant>, InternalError> {
        let becomes = GrantVersion::random(random)?;
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(Key::grant(id).into()))
            .update_expression("SET #revoked = :true, #version = :becomes REMOVE #owner")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#revoked", "revoked")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#owner", listing::OWNER)
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":becomes", AttributeValue::S(becomes.0));
        send(call, "revoke the grant", |_| Ok(()), |_: &Grant| None).await
    }

    fn move_grant(&self, id: &SessionId, from: &GrantVersion, to: &GrantVersion) -> UpdateItemFluentBuilder {
        let call = self.client.update_item().table_name(&self.table).set_key(Some(Key::grant(id).into()));
        call.condition_expression("#version = :decidedOn")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":decidedOn", AttributeValue::S(from.0.clone()))
            .expression_attribute_values(":becomes", AttributeValue::S(to.0.clone()))
    }
}

/// The attributes of the item. Times are numbers: seconds since the epoch, `rotatedAt` milliseconds.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    client_id: ClientId,
    service: String,
    redirect_uri: String,
    subject: String,
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_challenge: Option<String>,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    claims: Map<String, Value>,
    code: CredentialHash,
    code_expires_at: i64,
    salt: GrantSalt,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<CredentialHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_from: Option<CredentialHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    revoked: bool,
    version: GrantVersion,
    /// When DynamoDB may tidy the item up. Nothing depends on it.
    ttl: i64,
}

/// An item that no write of ours makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum DamagedGrant {
    #[error("a grant has some of current, expiresAt, rotatedFrom and rotatedAt without the others")]
    State,
    #[error("a grant has a time that does not exist")]
    Time,
}

impl TryFrom<Row> for Grant {
    type Error = DamagedGrant;

    fn try_from(row: Row) -> Result<Self, DamagedGrant> {
        let seconds = |seconds| DateTime::from_timestamp(seconds, 0).ok_or(DamagedGrant::Time);
        let rotation = match (row.rotated_from, row.rotated_at) {
            (None, None) => None,
            (Some(from), Some(at)) => {
                Some(Rotation { from, at: DateTime::from_timestamp_millis(at).ok_or(DamagedGrant::Time)? })
            }
            _ => return Err(DamagedGrant::State),
        };
        let progress = match (row.revoked, row.current, row.expires_at, rotation) {
            (true, ..) => GrantState::Revoked,
            (false, None, None, None) => GrantState::Issued,
            (false, Some(current), Some(expires_at), rotation) => {
                GrantState::Active { current, rotation, expires_at: seconds(expires_at)? }
            }
            _ => return Err(DamagedGrant::State),
        };
        Ok(Self {
            client_id: row.client_id,
            service: row.service,
            redirect_uri: row.redirect_uri,
            subject: row.subject,
            scopes: row.scopes,
            state: row.state,
            nonce: row.nonce,
            code_challenge: row.code_challenge,
            auth_time: seconds(row.auth_time)?,
            language: row.language,
            claims: row.claims,
            code: row.code,
            code_expires_at: seconds(row.code_expires_at)?,
            salt: row.salt,
            progress,
            version: row.version,
        })
    }
}

impl From<Grant> for Row {
    fn from(grant: Grant) -> Self {
        let (current, rotation, expires_at, revoked) = match grant.progress {
            GrantState::Issued => (None, None, None, false),
            GrantState::Active { current, rotation, expires_at } => (Some(current), rotation, Some(expires_at), false),
            GrantState::Revoked => (None, None, None, true),
        };
        let (rotated_from, rotated_at) = rotation.map(|Rotation { from, at }| (from, at.timestamp_millis())).unzip();
        Self {
            client_id: grant.client_id,
            service: grant.service,
            redirect_uri: grant.redirect_uri,
            subject: grant.subject,
            scopes: grant.scopes,
            state: grant.state,
            nonce: grant.nonce,
            code_challenge: grant.code_challenge,
            auth_time: grant.auth_time.timestamp(),
            language: grant.language,
            claims: grant.claims,
            code: grant.code,
            code_expires_at: grant.code_expires_at.timestamp(),
            salt: grant.salt,
            current,
            rotated_from,
            rotated_at,
            expires_at: expires_at.map(|at| at.timestamp()),
            revoked,
            version: grant.version,
            ttl: expires_at.unwrap_or(grant.code_expires_at).timestamp(),
        }
    }
}
