//! JSON Web Tokens, and the keys that sign and verify them.

mod data_key;
pub mod jwt;
mod key_set;
mod mac;
mod public_keys;
mod settings;
mod signer;
mod verification_key;

pub use self::{
    data_key::WrappingKey,
    mac::MacKey,
    public_keys::PublicKeys,
    settings::{Audience, Issuer, SigningMode},
    signer::Signer,
    verification_key::VerificationKey,
};
