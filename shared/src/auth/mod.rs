//! Authentication of callers and clients, permissions, idempotency keys, and credential verification.

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
    principal::{Permission, Principal, PrincipalId},
    verifier::{
        ActiveCredential, ActiveKind, CheckedCredential, CheckedRegistrationToken, CheckedUserToken, CredentialVerifier,
    },
};
