//! Authentication of callers and clients, permissions, idempotency keys, and credential verification.

mod authenticator;
mod checked;
mod client_authentication;
mod idempotency;
mod kind;
mod principal;
mod stored;
mod verifier;

pub use self::{
    authenticator::{Authenticator, Introspector, bearer},
    checked::{AccessClaims, CheckedCredential, CheckedRegistrationToken, CheckedUserToken},
    client_authentication::{
        AuthenticatedClient, AuthenticatedRegistration, ClientCredentials, ParsedClientId, two_methods,
    },
    idempotency::IdempotencyKey,
    kind::ActiveKind,
    principal::{Permission, Principal, PrincipalId},
    stored::{ActiveCredential, Lookup, RevocableCredential, RevocableMachineToken, RevocableToken, StoredCredential},
    verifier::CredentialVerifier,
};
