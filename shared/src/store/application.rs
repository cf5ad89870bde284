//! Applications of an organization.

use serde::{Deserialize, Serialize};

use super::{OwnerState, Store, Update, WriteId, key::Key};
use crate::{
    error::InternalError,
    id::{ObjectId, Slug},
};

/// The item `APPLICATION#<id>`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// The organization that it belongs to.
    pub organization_id: ObjectId,
    /// Its readable name within the organization.
    pub slug: Slug,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The longest lifetime of its app tokens, in seconds: 60 to 315,360,000. `None` lets them live for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_app_token_ttl_seconds: Option<u32>,
    /// The last change of its settings. An update requires this to be unchanged, so a late one undoes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_version: Option<WriteId>,
    #[serde(flatten)]
    pub state: OwnerState,
}

/// The settings of [`Application`] that an update writes; it leaves those that are `None` as they are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_app_token_ttl_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl Application {
    /// The namespace in which its slug is unique: the organization.
    #[must_use]
    pub fn namespace(organization: ObjectId) -> String {
        format!("application of {organization}")
    }

    /// The id of the application with this slug.
    #[must_use]
    pub fn id(organization: ObjectId, slug: &Slug) -> ObjectId {
        ObjectId::of_slug(&Self::namespace(organization), slug.as_str())
    }
}

impl Store {
    /// The application with this id.
    pub async fn load_application(&self, id: ObjectId) -> Result<Option<Application>, InternalError> {
        self.get(Key::application(id), "load the application").await
    }

    /// Changes settings of an application, if they are still those that the change was decided on.
    pub async fn update_application(
        &self,
        id: ObjectId,
        change: &ApplicationChange,
        decided_on: &Application,
    ) -> Result<Update<(), Application>, InternalError> {
        let version = |application: &Application| application.settings_version.clone();
        self.update_settings(Key::application(id), decided_on, change, version, "update the application").await
    }
}
