//! What can be wrong: with the service or AWS ([`InternalError`]), with a value ([`Constraint`], [`ValidationError`]),
//! with the caller's credential ([`Unauthenticated`]), with a request as a whole ([`ApiError`]) or an event
//! ([`InvocationError`]).

mod api;
mod internal;
mod invocation;
mod outcome;
mod validation;

pub use self::{
    api::{ApiError, Challenge, OauthError, Unauthenticated},
    internal::InternalError,
    invocation::{ErrorType, InvocationError},
    outcome::Outcome,
    validation::{Constraint, ValidationError},
};
