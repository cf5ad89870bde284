//! Applications of an organization, and their integration tokens.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::{Creation, Store, key::Key, read};
use crate::{
    credential::CredentialHash,
    fault::Fault,
    id::{ObjectId, Slug},
    random::Random,
    telemetry::{Step, step},
};

/// An application, at `APPLICATION#<id>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// The organization that it belongs to.
    pub organization_id: ObjectId,
    /// Its readable name within the organization.
    pub slug: String,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Application {
    /// Where its slug is unique: the organization.
    #[must_use]
    pub fn scope(organization: ObjectId) -> String {
        format!("application of {organization}")
    }

    /// The id of the application with this slug.
    #[must_use]
    pub fn id(organization: ObjectId, slug: &Slug) -> ObjectId {
        ObjectId::of_slug(&Self::scope(organization), slug.as_str())
    }
}

/// An integration token, at `APP_TOKEN#<hash of its bearer>`. The index `appTokensByApplication` lists them by
/// application in the order of their creation.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppToken {
    /// Its public id.
    pub app_token_id: ObjectId,
    /// The organization that it belongs to.
    pub organization_id: ObjectId,
    /// The application that it is for.
    pub application_id: ObjectId,
    /// What its creator said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
}

/// An app token as it is stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppTokenItem<'a> {
    #[serde(flatten)]
    token: &'a AppToken,
    /// RFC 3339 with milliseconds, which sorts by time.
    created_at: String,
}

impl Store {
    /// Creates the application with this slug.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn create_application(
        &self,
        id: ObjectId,
        application: &Application,
        random: &dyn Random,
    ) -> Result<Creation, Fault> {
        self.create(Key::application(id), application, random, "create the application").await
    }

    /// The application with this id.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn application(&self, id: ObjectId) -> Result<Option<Application>, Fault> {
        self.get(Key::application(id), "load the application").await
    }

    /// Records an app token by the hash of its bearer; where one stands already, it is returned and left alone.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn create_app_token(
        &self,
        hash: &CredentialHash,
        token: &AppToken,
        now: DateTime<Utc>,
        random: &dyn Random,
    ) -> Result<Option<AppToken>, Fault> {
        const DOING: &str = "record the app token";
        let item = AppTokenItem { token, created_at: now.to_rfc3339_opts(SecondsFormat::Millis, true) };
        let standing = step(Step::Commit, self.create_or_get(Key::app_token(hash), &item, random, DOING)).await?;
        standing.map(|item| read(item, DOING)).transpose()
    }
}
