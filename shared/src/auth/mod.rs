//! Who the caller is, for which organization it acts, what it may do, and the idempotency keys of its requests; who a client
//! is; and whether a credential is good.

mod authenticator;
mod client_authentication;
mod idempotency;
mod principal;
mod verifier;

pub use self::{
    authenticator::{Authenticator, bearer},
    client_authentication::{
        AuthenticatedClient, AuthenticatedRegistration, ClientCredentials, ParsedClientId, two_methods,
    },
    idempotency::IdempotencyKey,
    principal::{Caller, Permission, Principal},
    verifier::{
        ActiveCredential, ActiveKind, CheckedCredential, CheckedRegistrationToken, CheckedUserToken, CredentialVerifier,
    },
};
