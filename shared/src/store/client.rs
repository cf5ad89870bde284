//! Clients of the token endpoint (RFC 6749, 2).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ClientSecrets, List, OwnerState, Store, Update, WriteId,
    grant_settings::{GrantSettings, RefreshTokens},
    key::Key,
};
use crate::{
    error::InternalError,
    id::{ClientId, ObjectId},
    input::{Audience, RedirectUri, Scopes, Service},
};

/// The item `CLIENT#<id>`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The organization that it belongs to, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<ObjectId>,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(flatten)]
    pub secrets: ClientSecrets,
    /// The redirect URIs that its codes may be sent to.
    pub redirect_uris: Vec<RedirectUri>,
    /// The login services that it allows.
    pub services: Vec<Service>,
    /// The scopes that its tokens may have.
    pub scopes: Scopes,
    /// The scopes of a login that asks for none. `None`: all of `scopes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_scopes: Option<Scopes>,
    /// The APIs that its tokens may be for, beside that of the deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<Audience>,
    #[serde(flatten)]
    pub grants: GrantSettings,
    /// For how many seconds after its rotation a refresh token may be used again, unless its successor was used: 0 to
    /// 300.
    pub refresh_reuse_seconds: u32,
    /// The latest change of these settings. A write requires the version that it was decided on, so a late one changes
    /// nothing: no secret that was rotated away comes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_version: Option<WriteId>,
    #[serde(flatten)]
    pub state: OwnerState,
}

impl Client {
    /// Whether it has a secret (RFC 6749, 2.1).
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.secrets.current.is_some()
    }

    /// Whether a code exchange may leave the redirect URI out: there is only one that it can be.
    #[must_use]
    pub fn may_omit_redirect_uri(&self) -> bool {
        matches!(self.redirect_uris.as_slice(), [only] if !only.is_loopback())
    }

    /// The redirect URI that is requested, if one that is registered permits it.
    #[must_use]
    pub fn redirect_uri(&self, requested: &str) -> Option<RedirectUri> {
        self.redirect_uris.iter().find_map(|registered| registered.permitted(requested))
    }
}

/// The settings of [`Client`] that an update writes; it leaves those that are `None` as they are.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<Vec<RedirectUri>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<Service>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_scopes: Option<Scopes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_ttl_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_ttl_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_tokens: Option<RefreshTokens>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_reuse_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Vec<Audience>>,
    #[serde(flatten)]
    pub secrets: ClientSecrets,
}

impl Store {
    /// Creates a client of no organization.
    pub async fn create_client(
        &self,
        id: ClientId,
        client: &Client,
        now: DateTime<Utc>,
    ) -> Result<Update<()>, InternalError> {
        let listing = List::Clients(None).entry(&id, now);
        self.create(Key::client(id), client, listing, "create the client").await
    }

    /// The client with this id.
    pub async fn load_client(&self, id: ClientId) -> Result<Option<Client>, InternalError> {
        self.get(Key::client(id), "load the client").await
    }

    /// Changes settings of a client, if they are still those that the change was decided on.
    pub async fn update_client(
        &self,
        id: ClientId,
        change: &ClientChange,
        decided_on: &Client,
    ) -> Result<Update<(), Client>, InternalError> {
        let version = |client: &Client| client.settings_version.clone();
        self.update_settings(Key::client(id), decided_on, change, version, "update the client").await
    }
}
