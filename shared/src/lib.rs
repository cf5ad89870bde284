//! What the functions of tokenmint share.
//!
//! `tokens` has the operations. They use `auth`, `keys`, `store`, `runtime` and `input`, and everything uses the modules of
//! plain types at the end of the list. Only `store` and `keys` call AWS. They box each call, because the futures of the SDK
//! take many KiB and moving them costs more than an allocation.

pub mod tokens;
pub mod wire;

pub mod auth;
pub mod input;
pub mod keys;
pub mod runtime;
pub mod store;

pub mod clock;
pub mod credential;
pub mod error;
pub mod id;
pub mod random;
