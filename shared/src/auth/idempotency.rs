//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header). A caller whose response was lost repeats
//! the request with the same key and gets the same token. No secret is stored for that: the token is derived again.

use std::{fmt, str::FromStr};

use crate::{auth::Principal, error::Constraint};

/// A name that the caller gives a request: 1 to 255 visible ASCII characters, but no comma, because API Gateway joins
/// repeated headers with commas. It must not be logged, because callers may treat it as a secret.
#[derive(Clone, Eq, PartialEq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub const HEADER: &'static str = "Idempotency-Key";

    /// The error message for a key that was already used for a different request.
    pub const REUSED: &'static str = "Idempotency-Key was used for another request";

    /// The input from which the id or the secret of an idempotent token is derived: the key and everything that it is
    /// scoped to. No part contains a NUL, so different requests never have the same input.
    #[must_use]
    pub fn derivation_input(&self, endpoint: &str, caller: &Principal, target: &str) -> Vec<u8> {
        [endpoint, &caller.organization.to_string(), &caller.id.to_string(), target, &self.0].join("\0").into_bytes()
    }
}

impl FromStr for IdempotencyKey {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be given once, with 1 to 255 visible ASCII characters other than the comma";
        Constraint::check(text, 1..=255, |c| c.is_ascii_graphic() && c != b',', RULE)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_visible_ascii_without_a_comma(text in "[ -~]{0,260}", any: String) {
            for text in [text, any] {
                let form = text.chars().all(|c| matches!(c, '!'..='+' | '-'..='~'));
                let length = text.chars().count();
                prop_assert_eq!(text.parse::<IdempotencyKey>().is_ok(), form && (1..=255).contains(&length));
            }
        }

        #[test]
        fn debug_does_not_show_the_key(text in "[A-Za-z0-9]{20,40}") {
            let shown = format!("{:?}", text.parse::<IdempotencyKey>());
            prop_assert!(!shown.contains(&text));
        }
    }
}
