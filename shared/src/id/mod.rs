//! Public identifiers: none of them is a secret, and none looks like one. `credential::GrantId` is a secret and lives
//! there.

mod key;
mod object_id;
mod registration_id;
mod slug;
mod uuid;

pub use self::{
    key::{KeyFingerprint, KeyId, KmsKey, TrustedKeys},
    object_id::ObjectId,
    registration_id::RegistrationId,
    slug::{IdOrSlug, Slug},
    uuid::{ClientId, TokenId, TokenSlot},
};
