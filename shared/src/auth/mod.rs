//! Authentication of callers and clients, permissions, idempotency keys, and credential verification.

mod authenticator;
mod checked;
mod client_authentication;
mod idempotency;
mod principal;
mod stored;
mod verifier;

pub use self::{
    authenticator::{Authenticator, bearer},
    checked::{AccessClaims, CheckedCredential, CheckedRegistrationToken, CheckedUserToken},
    client_authentication::{
        AuthenticatedClient, AuthenticatedRegistration, ClientCredentials, ParsedClientId, two_methods,
    },
    idempotency::IdempotencyKey,
    principal::{Permission, Principal, PrincipalId},
    stored::{ActiveCredential, ActiveKind, Lookup, RevocableCredential, RevocableToken, StoredCredential},
    verifier::CredentialVerifier,
};
