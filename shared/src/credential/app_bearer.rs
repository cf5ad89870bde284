//! App bearers: credentials that name their application, so that it can be read beside them.

use super::{Credential, CredentialHash, CredentialKind, opaque::APPLICATION_ID_CHARACTERS};
use crate::{
    encoding::{base62, from_base62},
    error::InternalError,
    id::ObjectId,
    random::Random,
};

/// The bearer of an app token: `tma_`, its application's id in base62, and a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppBearer {
    application_id: ObjectId,
    credential: Credential,
}

impl AppBearer {
    /// A new one with 256 random bits.
    pub fn generate(application_id: ObjectId, random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self::of_secret(application_id, random.bytes()?))
    }

    /// The one with these 256 secret bits, which must be indistinguishable from random ones.
    #[must_use]
    pub fn of_secret(application_id: ObjectId, secret: [u8; 32]) -> Self {
        let id = base62::<APPLICATION_ID_CHARACTERS>(application_id.bytes());
        Self { application_id, credential: Credential::with_id(CredentialKind::AppToken, &id, secret) }
    }

    /// Parses one, like [`Credential::parse`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let credential = Credential::parse(CredentialKind::AppToken, text)?;
        let id = text.strip_prefix(CredentialKind::AppToken.prefix())?.get(..APPLICATION_ID_CHARACTERS)?;
        Some(Self { application_id: from_base62(id)?.into(), credential })
    }

    #[must_use]
    pub fn application_id(&self) -> ObjectId {
        self.application_id
    }

    /// The public id of the app token, like [`Credential::id`].
    #[must_use]
    pub fn id(&self) -> ObjectId {
        self.credential.id()
    }

    /// The secret text, for the one response that returns it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.credential.expose()
    }

    /// What the table stores instead of the text.
    #[must_use]
    pub fn hash(&self) -> CredentialHash {
        self.credential.hash()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bearer_names_its_application(id: [u8; 12], secret: [u8; 32]) {
            let bearer = AppBearer::of_secret(id.into(), secret);
            prop_assert_eq!(bearer.expose().len(), 70);
            prop_assert_eq!(bearer.application_id(), ObjectId::from(id));
            prop_assert_eq!(AppBearer::parse(bearer.expose()), Some(bearer.clone()));
            prop_assert_eq!(format!("{:?}", bearer.credential), "tma_…");
        }

        #[test]
        fn no_text_panics(id in "[0-9A-Za-z]{17}", rest in "[0-9A-Za-z]{49}", any in "(tma_)?.{0,80}") {
            let _ = (AppBearer::parse(&format!("tma_{id}{rest}")), AppBearer::parse(&any));
        }
    }
}
