//! What several of tokenmint's functions need, and no endpoint's own rules.
//!
//! The pure modules ([`id`], [`credential`], [`field`], [`jwt`], [`tokens`]) decide; [`store`], [`signer`],
//! [`public_keys`] and [`data_key`] are the only ones that call AWS, each call boxed: the SDK's futures are many KiB, and
//! moving them costs more than an allocation. [`function`] is the seam between a function and whatever runs it: AWS Lambda or the `local` crate.

pub mod auth;
pub mod aws;
pub mod clock;
pub mod credential;
pub mod data_key;
pub mod error;
pub mod fault;
pub mod field;
pub mod function;
pub mod http;
pub mod id;
pub mod idempotency;
pub mod jwt;
mod key_set;
pub mod oidc;
pub mod public_keys;
pub mod random;
pub mod settings;
pub mod signer;
pub mod store;
pub mod telemetry;
pub mod tokens;
