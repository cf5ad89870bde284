//! Strict parsing of requests: every error names the field and the rule, and never repeats a value.

mod audience;
mod claims;
mod fields;
mod json;
pub mod oidc;
mod parameters;
mod pkce;
mod redirect_uri;
mod scopes;
mod value;

pub use self::{
    audience::{Audience, Audiences},
    claims::{Claims, json_text},
    fields::{Acr, AuthenticationMethod, Email, Language, Service, Subject, comma_separated},
    json::{JsonObject, required},
    parameters::{Parameters, form_decoded},
    pkce::{CodeChallenge, CodeVerifier},
    redirect_uri::RedirectUri,
    scopes::{Scope, Scopes, space_separated},
};
