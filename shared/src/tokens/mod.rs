//! The operations, independent of any endpoint's wire format. `registration_tokens` and `app_tokens` get what the function
//! loaded. `grants` loads by itself, and gets what signs the tokens as a closure: they leave after the commit only.

pub mod app_tokens;
pub mod codes;
pub mod grants;
pub mod listing;
mod quota;
pub mod registration_tokens;
pub mod revocation;
pub mod sessions;
