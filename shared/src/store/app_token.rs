//! Integration tokens of applications, found by the first 96 bits of the SHA-256 of their bearer.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{List, Store, Update, key::Key};
use crate::{
    credential::CredentialHash,
    error::InternalError,
    id::ObjectId,
    random::Random,
    runtime::telemetry::{Phase, timed},
};

/// An integration token, at `APP_TOKEN#<its id>`. Revoking marks it: an item that is never deleted can never be made again.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppToken {
    /// Its public id, with which the hash of its bearer starts.
    pub app_token_id: ObjectId,
    /// The hash of its bearer.
    pub hash: CredentialHash,
    /// The organization that it belongs to.
    pub organization_id: ObjectId,
    /// The application that it is for.
    pub application_id: ObjectId,
    /// What its creator said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// If it was revoked, when: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
}

impl Store {
    /// Records an app token under the id of its bearer. A conflict returns the token that has that bearer already.
    pub async fn create_app_token(
        &self,
        token: &AppToken,
        now: DateTime<Utc>,
        random: &dyn Random,
    ) -> Result<Update<(), AppToken>, InternalError> {
        let listing = List::AppTokens(token.application_id).entry(&token.app_token_id, now);
        let key = Key::app_token(token.app_token_id);
        timed(Phase::Commit, self.create_or_get(key, token, listing, random, "record the app token")).await
    }

    /// The app token with this id, revoked or not.
    pub async fn load_app_token(&self, id: ObjectId) -> Result<Option<AppToken>, InternalError> {
        self.get(Key::app_token(id), "load the app token").await
    }

    /// Revokes an app token, for good. A conflict means that it was revoked before.
    pub async fn revoke_app_token(
        &self,
        id: ObjectId,
        now: DateTime<Utc>,
        random: &dyn Random,
    ) -> Result<Update<()>, InternalError> {
        self.revoke(Key::app_token(id), now, random, "revoke the app token").await
    }
}
