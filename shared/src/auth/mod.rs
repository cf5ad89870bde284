//! Who calls, for which organization, what they may do, and what they name their requests by.

mod authenticator;
mod idempotency;
mod principal;

pub use self::{
    authenticator::{Authenticator, Bearer},
    idempotency::IdempotencyKey,
    principal::{Permission, Principal},
};
