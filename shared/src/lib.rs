//! What the functions of tokenmint share.
//!
//! Dependencies point one way: `wire` (formats that two functions share), `tokens` (the operations), `auth`, `keys`,
//! `store`, `runtime` and `input` use only groups after them, and all of them use the modules of plain types. A test
//! checks this. Only `store` and `keys` call AWS. They box each call, because the futures of the SDK take many KiB and
//! moving them costs more than an allocation.

pub mod tokens;
pub mod wire;

pub mod auth;
pub mod input;
pub mod keys;
pub mod runtime;
pub mod store;

pub mod clock;
pub mod credential;
pub mod encoding;
pub mod error;
pub mod id;
mod names;
pub mod random;
