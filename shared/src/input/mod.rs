//! Strict parsing of requests: every error names the field and the rule, and never repeats a value.

mod fields;
mod json;
pub mod oidc;
mod parameters;
mod value;

pub use self::{
    fields::{Email, Scope, ScopeList, Subject},
    json::{JsonObject, raw_member, required},
    parameters::{Parameters, form_decoded},
};
