//! Who the caller is, for which organization it acts, what it may do, and the idempotency keys of its requests.

mod authenticator;
mod idempotency;
mod principal;

pub use self::{
    authenticator::Authenticator,
    idempotency::IdempotencyKey,
    principal::{Caller, Permission, Principal},
};
