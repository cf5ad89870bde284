//! Organizations. They own API keys, registrations, applications and clients.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{List, Store, Suspension, Update, WriteId, key::Key};
use crate::{
    error::InternalError,
    id::{ObjectId, Slug},
};

/// The item `ORGANIZATION#<id>`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    /// Its readable name.
    pub slug: Slug,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub suspension: Suspension,
    /// How many entities were created in it. Each creation counts itself in the same transaction, so a deletion notices
    /// one that happens beside it.
    pub creations: u64,
    /// The last change of its name or suspension. An update requires this to be unchanged, so a late one undoes
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_version: Option<WriteId>,
}

/// The settings of [`Organization`] that an update writes; it leaves those that are `None` as they are.
#[derive(Debug, Serialize)]
pub struct OrganizationChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
}

impl Organization {
    /// The namespace in which its slug is unique: the whole service.
    pub const NAMESPACE: &'static str = "organization";

    /// The id of the organization with this slug. Slugs are unique because ids are.
    #[must_use]
    pub fn id(slug: &Slug) -> ObjectId {
        ObjectId::of_slug(Self::NAMESPACE, slug.as_str())
    }
}

impl Store {
    /// Creates the organization with this slug.
    pub async fn create_organization(
        &self,
        slug: Slug,
        name: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Update<()>, InternalError> {
        let id = Organization::id(&slug);
        let suspension = Suspension::default();
        let organization = Organization { slug, name, suspension, creations: 0, settings_version: None };
        let listing = List::Organizations.entry(&id, now);
        self.create(Key::organization(id), &organization, listing, "create the organization").await
    }

    /// The organization with this id.
    pub async fn load_organization(&self, id: ObjectId) -> Result<Option<Organization>, InternalError> {
        self.get(Key::organization(id), "load the organization").await
    }

    /// Changes settings of an organization, if they are still those that the change was decided on.
    pub async fn update_organization(
        &self,
        id: ObjectId,
        change: &OrganizationChange,
        decided_on: &Organization,
    ) -> Result<Update<(), Organization>, InternalError> {
        let version = |organization: &Organization| organization.settings_version.clone();
        self.update_settings(Key::organization(id), decided_on, change, version, "update the organization").await
    }
}
