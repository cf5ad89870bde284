//! What tokenmint's functions share.
//!
//! Dependencies point downwards: `tokens` (the operations) use `auth`, `keys`, `store`, `runtime` and `input`, in this order,
//! and all of them the modules of plain types. A test of the repository holds this. Only `store` and `keys` call AWS; each
//! call is boxed, because the SDK's futures are many KiB, and moving them costs more than an allocation.

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
