//! The operations: what is done for a caller, whatever the dialect that it is asked for in. Each loads, decides, signs and
//! commits, in this order; a function parses its request before and renders the outcome after.

pub mod app_tokens;
pub mod grants;
pub mod listing;
mod quota;
pub mod registration_tokens;
pub mod revocation;
pub mod sessions;
