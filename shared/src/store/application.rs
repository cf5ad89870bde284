//! Applications of an organization.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{List, Store, Update, key::Key};
use crate::{
    error::InternalError,
    id::{ObjectId, Slug},
};

/// The item `APPLICATION#<id>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// The organization that it belongs to.
    pub organization_id: ObjectId,
    /// Its readable name within the organization.
    pub slug: Slug,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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
    /// Creates the application with this slug.
    pub async fn create_application(
        &self,
        id: ObjectId,
        application: &Application,
        now: DateTime<Utc>,
    ) -> Result<Update<()>, InternalError> {
        let listing = List::Applications(application.organization_id).entry(&id, now);
        self.create(Key::application(id), application, listing, "create the application").await
    }

    /// The application with this id.
    pub async fn load_application(&self, id: ObjectId) -> Result<Option<Application>, InternalError> {
        self.get(Key::application(id), "load the application").await
    }
}
