//! What the table stores of a credential.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::{Deserialize, Serialize};

use crate::encoding::{base64url, sha256};

/// The SHA-256 of a credential in base64url. It cannot be used as the credential, but is not logged either. Compared in
/// constant time.
#[derive(Clone, Deserialize, Eq, Serialize)]
pub struct CredentialHash(String);

impl CredentialHash {
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(base64url(sha256(text)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for CredentialHash {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash(…)")
    }
}
