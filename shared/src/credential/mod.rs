//! Opaque credentials: `<prefix>_<43 base62 characters><6 base62 characters of CRC-32>`. Before the 43, codes and
//! refresh tokens have the id of their grant (22 characters), and app bearers that of their application (17).
//!
//! The prefix tells secret scanners and people what a credential is for. The checksum is not a security measure: it
//! rejects a mistyped or made-up credential without a database read. The table stores only the SHA-256, which is enough
//! for 256 random bits. The first 96 bits of it are the key in the table.

mod app_bearer;
mod grant;
mod hash;
mod opaque;

pub use self::{
    app_bearer::AppBearer,
    grant::{GrantCredential, GrantId, GrantSalt, SessionId},
    hash::CredentialHash,
    opaque::{Credential, CredentialKind},
};
