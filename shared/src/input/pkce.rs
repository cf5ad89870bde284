//! Proof Key for Code Exchange (RFC 7636), with S256 only.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::fields::checked_text;
use crate::{
    encoding::{base64url, sha256},
    error::Constraint,
};

checked_text!(
    /// An S256 challenge (RFC 7636, 4.2): a SHA-256 in base64url.
    #[derive(Debug)]
    CodeChallenge,
    |text| Constraint::check(
        text,
        43..=43,
        |c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_',
        "must be 43 characters of base64url (S256)",
    )
);

/// A PKCE code verifier (RFC 7636, 4.1).
pub struct CodeVerifier(String);

impl CodeVerifier {
    /// The verifier of this text. One that is malformed answers no challenge.
    #[must_use]
    pub fn of(text: &str) -> Self {
        text.parse().unwrap_or(Self(String::new()))
    }

    /// Its S256 challenge.
    pub(crate) fn challenge(&self) -> CodeChallenge {
        CodeChallenge(if self.0.is_empty() { String::new() } else { base64url(sha256(&self.0)) })
    }
}

impl FromStr for CodeVerifier {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be 43 to 128 of A-Z a-z 0-9 - . _ ~";
        Constraint::check(text, 43..=128, |c| c.is_ascii_alphanumeric() || b"-._~".contains(&c), RULE)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for CodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeVerifier(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s256_is_the_rfcs() {
        // RFC 7636, appendix B.
        let verifier = CodeVerifier::of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(verifier.challenge().as_str(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
