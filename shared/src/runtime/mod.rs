//! The seam between a function and whatever runs it: AWS Lambda, or the `local` crate.

mod api_error;
pub mod aws;
mod environment;
pub mod function;
pub mod http;
mod outcome;
pub mod telemetry;

pub use self::{
    api_error::ApiError,
    environment::{Environment, SettingsError},
    outcome::{FunctionError, Handled, Outcome},
};
