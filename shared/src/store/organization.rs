//! Organizations. They own registrations, applications and API keys.

use serde::{Deserialize, Serialize};

use super::{Store, Update, item::Item, key::Key};
use crate::{
    error::InternalError,
    id::{ObjectId, Slug},
};

/// The item `ORGANIZATION#<id>`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    /// Its readable name.
    pub slug: Slug,
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
    pub async fn create_organization(&self, slug: &Slug) -> Result<Update<()>, InternalError> {
        let organization = Organization { slug: slug.clone() };
        let key = Key::organization(Organization::id(slug));
        self.create(key, &organization, Item::new(), "create the organization").await
    }

    /// The organization with this id.
    pub async fn load_organization(&self, id: ObjectId) -> Result<Option<Organization>, InternalError> {
        self.get(Key::organization(id), "load the organization").await
    }
}
