//! Strict parsing of requests: every error names the field and the rule, and never repeats a value.

mod fields;
mod form;
mod json;
pub mod oidc;
mod query;
mod value;

pub use self::{
    fields::{Email, Scope, ScopeList, Subject},
    form::{Form, form_decoded},
    json::{JsonObject, raw_member, required},
    query::Query,
};
