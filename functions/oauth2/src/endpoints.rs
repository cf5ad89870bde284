//! What the endpoints share.

use shared::{
    auth::Authenticator,
    store::Store,
    tokens::{grants::Grants, registration_tokens::RegistrationTokens},
};

#[derive(Debug)]
pub(crate) struct Endpoints {
    pub(crate) authenticator: Authenticator,
    pub(crate) grants: Grants,
    pub(crate) tokens: RegistrationTokens,
    pub(crate) store: Store,
}
