//! Strict parsing of requests: every error names the field and the rule, and never repeats a value.

mod claims;
mod fields;
mod form;
mod json;
pub mod oidc;
mod pkce;
mod query;
mod scopes;
mod value;

pub use self::{
    claims::{Claims, json_text},
    fields::{Email, Language, RedirectUri, Service, Subject},
    form::{Form, form_decoded},
    json::{JsonObject, required},
    pkce::{CodeChallenge, CodeVerifier},
    query::Query,
    scopes::{Scope, Scopes, space_separated},
};
