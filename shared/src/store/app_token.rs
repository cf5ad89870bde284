//! App tokens. The id of a token is the first 96 bits of the SHA-256 of its secret, so a presented token is found in
//! one read.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Generation, List, OwnerState, Store, Update, key::Key};
use crate::{
    clock::optional_rfc3339,
    credential::CredentialHash,
    error::InternalError,
    id::ObjectId,
    input::Scopes,
    runtime::telemetry::{Phase, timed},
};

/// The item `APP_TOKEN#<id>`. A revoked token is marked and never deleted, so that its secret can never be issued
/// again.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppToken {
    pub app_token_id: ObjectId,
    /// The SHA-256 of its secret. It starts with the id.
    pub hash: CredentialHash,
    /// The organization that it belongs to.
    pub organization_id: ObjectId,
    /// The application that it is for.
    pub application_id: ObjectId,
    /// The description that its creator gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub scopes: Scopes,
    /// The generation of the application that it was created in.
    pub generation: Generation,
    /// When it expires, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_rfc3339")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether its creator asked for this expiry, and not the application.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requested_expiry: bool,
    /// When it was revoked, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
}

impl AppToken {
    /// Whether it has expired or was revoked, alone or with all others of its application. That is for good.
    #[must_use]
    pub fn is_over(&self, application: &OwnerState, now: DateTime<Utc>) -> bool {
        self.is_over_alone(now) || application.has_ended(self.generation)
    }

    /// Whether it has expired or was itself revoked, whatever became of its application.
    #[must_use]
    pub fn is_over_alone(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_some() || self.expires_at.is_some_and(|at| at <= now)
    }

    #[must_use]
    pub fn is_active(&self, application: &OwnerState, now: DateTime<Utc>) -> bool {
        !self.is_over(application, now) && application.is_usable()
    }
}

impl Store {
    /// Records an app token. A conflict returns the existing token with the same secret.
    pub async fn create_app_token(
        &self,
        token: &AppToken,
        now: DateTime<Utc>,
    ) -> Result<Update<(), AppToken>, InternalError> {
        let listing = List::AppTokens(token.application_id).entry(&token.app_token_id, now);
        let key = Key::app_token(token.app_token_id);
        timed(Phase::Commit, self.create_or_get(key, token, listing, "record the app token")).await
    }

    /// The app token with this id, revoked or not.
    pub async fn load_app_token(&self, id: ObjectId) -> Result<Option<AppToken>, InternalError> {
        self.get(Key::app_token(id), "load the app token").await
    }

    /// Revokes an app token permanently. A conflict means that it was already revoked.
    pub async fn revoke_app_token(&self, id: ObjectId, now: DateTime<Utc>) -> Result<Update<()>, InternalError> {
        self.revoke(Key::app_token(id), now, "revoke the app token").await
    }
}
