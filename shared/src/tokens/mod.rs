//! The operations, independent of any endpoint's wire format. The modules of tokens take loaded items;
//! `codes` and `grants` load them. `grants` takes a closure that signs, and returns the tokens only after the commit.

pub mod app_tokens;
pub mod codes;
pub mod grants;
pub mod listing;
pub mod machine_tokens;
mod quota;
pub mod registration_tokens;
pub mod revocation;
pub mod sessions;
