//! What can be wrong: with the service or AWS ([`InternalError`]), with a value ([`Constraint`], [`ValidationError`]), with the
//! caller's credential ([`Unauthenticated`]), with a request as a whole ([`ApiError`]).

mod api;
mod internal;
mod outcome;
mod validation;

pub use self::{
    api::{ApiError, Challenge, OauthError, Unauthenticated},
    internal::InternalError,
    outcome::Outcome,
    validation::{Constraint, ValidationError},
};
