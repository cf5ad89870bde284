//! What runs a function: AWS Lambda or the `local` crate, HTTP, settings, AWS clients and the log.

mod allocator;
pub mod aws;
pub mod deadline;
mod environment;
pub mod function;
mod handled;
pub mod http;
pub mod telemetry;

pub use self::{
    environment::{Environment, SettingsError},
    handled::Handled,
};
