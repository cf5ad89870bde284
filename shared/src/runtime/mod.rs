//! What runs a function: AWS Lambda or the `local` crate, HTTP, settings, AWS clients and the log.

mod api_error;
pub mod aws;
mod environment;
pub mod function;
pub mod http;
mod outcome;
pub mod telemetry;

pub use self::{
    api_error::{ApiError, Challenge, OauthError},
    environment::{Environment, SettingsError},
    outcome::{FunctionError, Handled, Outcome},
};
