//! Grants: an authorization code and every refresh token descended from it are one item, so that exchange, rotation,
//! replay detection and revocation are each one conditional write.

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use chrono::{
    DateTime, Utc,
    serde::{ts_milliseconds_option, ts_seconds, ts_seconds_option},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    Generation, List, Store, Update, WriteId,
    item::{number_value, read, string_value},
    key::{Key, SessionFilter},
    listing,
    write::send,
};
use crate::{
    credential::{CredentialHash, GrantSalt, SessionId},
    error::InternalError,
    id::{ClientId, ObjectId},
    input::{
        Acr, Audience, AuthenticationMethod, Claims, CodeChallenge, Language, RedirectUri, Scopes, Service, Subject,
        json_text,
    },
    random::Random,
    runtime::deadline::require_time_to_commit,
    runtime::telemetry::{Phase, timed},
};

/// A grant, at `GRANT#<its session id>`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "Row", into = "Row")]
pub struct Grant {
    /// What was granted, and to whom.
    pub details: GrantDetails,
    /// What its refresh tokens are derived under.
    pub salt: GrantSalt,
    /// How far it has come.
    pub status: GrantStatus,
    /// The latest write. A write requires the version that it was decided on, so a late one changes nothing.
    pub version: WriteId,
}

impl Grant {
    /// A grant whose code was just issued.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn issued(details: GrantDetails, random: &dyn Random) -> Result<Self, InternalError> {
        let (salt, version) = (GrantSalt::random(random)?, WriteId::random(random)?);
        Ok(Self { details, salt, status: GrantStatus::Issued, version })
    }
}

/// What was granted. It never changes.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantDetails {
    /// The client that it was issued to.
    pub client_id: ClientId,
    /// The generation of the client that it was issued in.
    pub generation: Generation,
    /// The organization of the client, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<ObjectId>,
    /// Whether the client is confidential (RFC 6749, 2.1), so that only it may use or end the grant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confidential: bool,
    /// The login service that the user came through.
    pub service: Service,
    /// Where the code was sent.
    pub redirect_uri: RedirectUri,
    /// The user.
    pub subject: Subject,
    /// The scopes.
    pub scopes: Scopes,
    /// The APIs that the login was for. Empty: that of the deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Audience>,
    /// The `state` of the authorization request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The `nonce` of the authorization request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The S256 challenge of the authorization request (RFC 7636, 4.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_challenge: Option<CodeChallenge>,
    /// When the user logged in.
    #[serde(with = "ts_seconds")]
    pub auth_time: DateTime<Utc>,
    /// The language of the authorization request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// How the user logged in, as one level of assurance (OpenID Connect Core 1.0, 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<Acr>,
    /// By what methods the user logged in (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<AuthenticationMethod>,
    /// What is known of the user: OpenID Connect's standard claims.
    #[serde(with = "json_text")]
    pub claims: Claims,
    /// Further claims of the access token.
    #[serde(default, skip_serializing_if = "Claims::is_empty", with = "json_text")]
    pub access_token_claims: Claims,
    /// Further claims of the ID token, whatever its scopes are.
    #[serde(default, skip_serializing_if = "Claims::is_empty", with = "json_text")]
    pub id_token_claims: Claims,
    /// The code.
    pub code: CredentialHash,
    /// When the code expires.
    #[serde(with = "ts_seconds")]
    pub code_expires_at: DateTime<Utc>,
}

/// How far a grant has come: `Issued`, then `Active`, and at any time `Revoked`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GrantStatus {
    /// The code was issued and not exchanged.
    Issued,
    /// The code was exchanged.
    Active {
        /// The refresh token that may be used next.
        current: CredentialHash,
        /// How it took the place of another, unless it is the first.
        rotation: Option<Rotation>,
        /// When the current refresh token expires: with the grant, or earlier if the client had an idle timeout when
        /// this one was issued.
        expires_at: DateTime<Utc>,
        /// When the grant ends, however often it is refreshed.
        ends_at: DateTime<Utc>,
    },
    /// It was ended.
    Revoked,
}

/// A refresh token that was rotated away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotation {
    pub from: CredentialHash,
    pub at: DateTime<Utc>,
    /// [`super::Client::refresh_reuse_seconds`] at that time. A window that was over stays over when the client's is
    /// raised.
    pub reuse_seconds: u32,
}

/// Personal data and hashes are not shown.
impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("client_id", &self.details.client_id).finish_non_exhaustive()
    }
}

/// Personal data and hashes are not shown.
impl std::fmt::Debug for GrantDetails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrantDetails").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A step in the life of a grant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GrantChange {
    /// The code is exchanged for the first refresh token.
    Exchange {
        /// The refresh token.
        refresh_token: CredentialHash,
        /// When the refresh token expires.
        expires_at: DateTime<Utc>,
        /// When the grant ends.
        ends_at: DateTime<Utc>,
    },
    /// The current refresh token is exchanged for its successor.
    Rotate {
        rotation: Rotation,
        /// The successor.
        to: CredentialHash,
        /// When the successor expires.
        expires_at: DateTime<Utc>,
    },
}

/// The versions of a grant before and after a change.
#[derive(Clone, Copy, Debug)]
pub struct GrantStep<'a> {
    /// The version that the change was decided on.
    pub from: &'a WriteId,
    pub to: &'a WriteId,
}

impl Store {
    /// Creates a grant.
    pub async fn create_grant(
        &self,
        id: &SessionId,
        grant: &Grant,
        now: DateTime<Utc>,
    ) -> Result<Update<()>, InternalError> {
        let sessions = SessionFilter { subject: &grant.details.subject, client_id: None };
        let listing = List::Sessions(sessions).entry(&id.as_str(), now);
        timed(Phase::Commit, self.create(Key::grant(id), grant, listing, "create the grant")).await
    }

    /// The grant with this id.
    pub async fn load_grant(&self, id: &SessionId) -> Result<Option<Grant>, InternalError> {
        self.get(Key::grant(id), "load the grant").await
    }

    /// Moves a grant on if its version is still `step.from`; `step.to` becomes its version. Without an answer, a second
    /// write makes sure that the first has happened or never will: whoever repeats an exchange that has happened would
    /// be taken for a thief. So it does not start if the deadline of the request could come before the second answer.
    ///
    /// # Errors
    /// Nothing was issued then, and this change can no longer happen, unless the second write got no answer either.
    pub async fn change_grant(
        &self,
        id: &SessionId,
        change: &GrantChange,
        step: GrantStep<'_>,
    ) -> Result<Update<(), Grant>, InternalError> {
        const CONTEXT: &str = "change the grant";
        require_time_to_commit(CONTEXT)?;
        let call = self.grant_update(id, step).expression_attribute_names("#current", "current");
        let call = match change {
            // `state` and the challenge are compared only when the code is exchanged. ID tokens of refreshes repeat the
            // `nonce`.
            GrantChange::Exchange { refresh_token, expires_at, ends_at } => call
                .update_expression(
                    "SET #version = :newVersion, #current = :current, #expiresAt = :expiresAt, #endsAt = :endsAt, \
                     #ttl = :endsAt REMOVE #state, #codeChallenge",
                )
                .expression_attribute_names("#state", "state")
                .expression_attribute_names("#codeChallenge", "codeChallenge")
                .expression_attribute_names("#expiresAt", "expiresAt")
                .expression_attribute_names("#endsAt", "endsAt")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":current", string_value(refresh_token.as_str()))
                .expression_attribute_values(":expiresAt", number_value(expires_at.timestamp()))
                .expression_attribute_values(":endsAt", number_value(ends_at.timestamp())),
            GrantChange::Rotate { rotation: Rotation { from, at, reuse_seconds }, to, expires_at } => call
                .update_expression(
                    "SET #version = :newVersion, #current = :current, #rotatedFrom = :rotatedFrom, \
                     #rotatedAt = :rotatedAt, #reuseSeconds = :reuseSeconds, #expiresAt = :expiresAt",
                )
                .expression_attribute_names("#expiresAt", "expiresAt")
                .expression_attribute_values(":expiresAt", number_value(expires_at.timestamp()))
                .expression_attribute_names("#reuseSeconds", "reuseSeconds")
                .expression_attribute_values(":reuseSeconds", number_value(*reuse_seconds))
                .expression_attribute_names("#rotatedFrom", "rotatedFrom")
                .expression_attribute_names("#rotatedAt", "rotatedAt")
                .expression_attribute_values(":current", string_value(to.as_str()))
                .expression_attribute_values(":rotatedFrom", string_value(from.as_str()))
                .expression_attribute_values(":rotatedAt", number_value(at.timestamp_millis())),
        };
        let own = |found: &Grant| (found.version == *step.to).then_some(());
        match send(call, CONTEXT, |_| Ok(()), own).await {
            Err(unanswered) => self.settle(id, step, unanswered).await,
            outcome => outcome,
        }
    }

    /// Finds out what became of a change that was not answered. It may still be in flight; if it has not happened, it
    /// never will, because this write replaces the version that it requires.
    async fn settle(
        &self,
        id: &SessionId,
        step: GrantStep<'_>,
        unanswered: InternalError,
    ) -> Result<Update<(), Grant>, InternalError> {
        let fence = self.write_id()?;
        let call =
            self.grant_update(id, GrantStep { to: &fence, ..step }).update_expression("SET #version = :newVersion");
        let own = |found: &Grant| (found.version == fence).then_some(());
        match send(call, "settle a change of the grant", |_| Ok(()), own).await {
            Ok(Update::Applied(())) | Err(_) => Err(unanswered),
            Ok(Update::Conflict(found)) if found.version == *step.to => Ok(Update::Applied(())),
            // Others have moved the grant on, with our change or without it: to be decided again.
            outcome => outcome,
        }
    }

    /// Ends a grant, whatever its status, and takes it out of the list of sessions. Sent twice, it is the same as once.
    pub async fn revoke_grant(&self, id: &SessionId) -> Result<(), InternalError> {
        let call = self.grant_revocation(id, &self.write_id()?).condition_expression("attribute_exists(pk)");
        // If there is no such grant any more, there is nothing to end.
        let _: Update<(), IgnoredAny> = send(call, "revoke the grant", |_| Ok(()), |_| None).await?;
        Ok(())
    }

    /// Revokes a grant that the filter includes, unless it was revoked before, and returns it as it was. The write does
    /// not require that it could still be used: the clock of the function that exchanges the code may differ from ours.
    /// A conflict means that the grant was revoked before, or belongs to another user or client.
    pub async fn end_grant(
        &self,
        id: &SessionId,
        filter: SessionFilter<'_>,
    ) -> Result<Update<GrantLifetime>, InternalError> {
        const CONTEXT: &str = "end the session";
        let write = self.write_id()?;
        let call = self
            .grant_revocation(id, &write)
            .return_values(ReturnValue::AllOld)
            .expression_attribute_names("#subject", "subject")
            .expression_attribute_values(":subject", string_value(filter.subject.as_str()));
        let condition = "attribute_not_exists(#revoked) AND #subject = :subject";
        let call = match filter.client_id {
            None => call.condition_expression(condition),
            Some(client_id) => call
                .condition_expression(format!("{condition} AND #clientId = :clientId"))
                .expression_attribute_names("#clientId", "clientId")
                .expression_attribute_values(":clientId", string_value(client_id)),
        };
        let own = |found: &GrantLifetime| (found.version == write).then(|| found.clone());
        send(call, CONTEXT, |item| read(item, CONTEXT), own).await
    }

    /// Marks a grant as revoked and takes it out of the list of sessions.
    fn grant_revocation(&self, id: &SessionId, write: &WriteId) -> UpdateItemFluentBuilder {
        self.update(Key::grant(id))
            .update_expression("SET #revoked = :true, #version = :newVersion REMOVE #owner")
            .expression_attribute_names("#owner", listing::OWNER)
            .expression_attribute_names("#revoked", "revoked")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":newVersion", write.into())
            .expression_attribute_values(":true", AttributeValue::Bool(true))
    }

    fn grant_update(&self, id: &SessionId, step: GrantStep<'_>) -> UpdateItemFluentBuilder {
        self.update(Key::grant(id))
            .condition_expression("#version = :expected")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":expected", step.from.into())
            .expression_attribute_values(":newVersion", step.to.into())
    }
}

/// What ending a grant reads of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantLifetime {
    version: WriteId,
    /// The generation of the client that it was issued in.
    pub generation: Generation,
    /// Whether it was ended.
    #[serde(default)]
    pub revoked: bool,
    #[serde(default, with = "ts_seconds_option")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(with = "ts_seconds")]
    code_expires_at: DateTime<Utc>,
}

impl GrantLifetime {
    /// Whether its code or refresh token has not expired.
    #[must_use]
    pub fn can_be_used(&self, now: DateTime<Utc>) -> bool {
        now < self.expires_at.unwrap_or(self.code_expires_at)
    }
}

/// The attributes of the item.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    details: GrantDetails,
    salt: GrantSalt,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<CredentialHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_from: Option<CredentialHash>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "ts_milliseconds_option")]
    rotated_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reuse_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "ts_seconds_option")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "ts_seconds_option")]
    ends_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    revoked: bool,
    version: WriteId,
    /// When DynamoDB may delete the item. Nothing depends on it.
    #[serde(with = "ts_seconds")]
    ttl: DateTime<Utc>,
}

/// An item that this code never writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the grant has some of current, expiresAt, endsAt, rotatedFrom, rotatedAt and reuseSeconds without the others")]
struct DamagedGrant;

impl TryFrom<Row> for Grant {
    type Error = DamagedGrant;

    fn try_from(row: Row) -> Result<Self, DamagedGrant> {
        let rotation = match (row.rotated_from, row.rotated_at, row.reuse_seconds) {
            (None, None, None) => None,
            (Some(from), Some(at), Some(reuse_seconds)) => Some(Rotation { from, at, reuse_seconds }),
            _ => return Err(DamagedGrant),
        };
        let status = match (row.revoked, row.current, row.expires_at, row.ends_at, rotation) {
            (true, ..) => GrantStatus::Revoked,
            (false, None, None, None, None) => GrantStatus::Issued,
            (false, Some(current), Some(expires_at), Some(ends_at), rotation) => {
                GrantStatus::Active { current, rotation, expires_at, ends_at }
            }
            _ => return Err(DamagedGrant),
        };
        Ok(Self { details: row.details, salt: row.salt, status, version: row.version })
    }
}

impl From<Grant> for Row {
    fn from(grant: Grant) -> Self {
        let revoked = grant.status == GrantStatus::Revoked;
        let (current, rotation, expires_at, ends_at) = match grant.status {
            GrantStatus::Issued | GrantStatus::Revoked => (None, None, None, None),
            GrantStatus::Active { current, rotation, expires_at, ends_at } => {
                (Some(current), rotation, Some(expires_at), Some(ends_at))
            }
        };
        let (rotated_at, reuse_seconds) =
            rotation.as_ref().map(|rotation| (rotation.at, rotation.reuse_seconds)).unzip();
        let rotated_from = rotation.map(|rotation| rotation.from);
        let ttl = ends_at.unwrap_or(grant.details.code_expires_at);
        let (details, salt, version) = (grant.details, grant.salt, grant.version);
        Self {
            details,
            salt,
            current,
            rotated_from,
            rotated_at,
            reuse_seconds,
            expires_at,
            ends_at,
            revoked,
            version,
            ttl,
        }
    }
}
