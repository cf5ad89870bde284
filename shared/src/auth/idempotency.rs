//! The `Idempotency-Key` of a create (draft-ietf-httpapi-idempotency-key-header): by it, a caller whose answer was
//! lost gets the very same token again. Nothing secret is kept for that: the token is made once more.

use std::{fmt, str::FromStr};

use crate::{auth::Principal, error::Constraint};

/// What a caller names a request by: 1 to 255 visible ASCII characters but the comma, with which API Gateway joins a
/// header that was given twice. Not for the log: it may be what somebody takes for a secret.
#[derive(Clone, Eq, PartialEq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The header that it comes in.
    pub const HEADER: &'static str = "Idempotency-Key";

    /// What a caller is told who uses one key for two requests.
    pub const REUSED: &'static str = "Idempotency-Key was used for another request";

    /// What the key means from this caller at this endpoint, as bytes to derive an id or a secret from. No part has a
    /// NUL in it, so that none can pass for another.
    #[must_use]
    pub fn scoped(&self, endpoint: &str, caller: &Principal, target: &str) -> Vec<u8> {
        [endpoint, &caller.organization.to_string(), &caller.id, target, &self.0].join("\0").into_bytes()
    }
}

impl FromStr for IdempotencyKey {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let form = (1..=255).contains(&text.len());
        if form && text.bytes().all(|c| c.is_ascii_graphic() && c != b',') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Constraint("must be given once, with 1 to 255 visible ASCII characters other than the comma"))
        }
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
                prop_assert_eq!(text.parse::<IdempotencyKey>().is_ok(), form && (1..=255).contains(&text.chars().count()));
            }
        }

        #[test]
        fn debug_does_not_tell_the_key(text in "[A-Za-z0-9]{20,40}") {
            let shown = format!("{:?}", text.parse::<IdempotencyKey>());
            prop_assert!(!shown.contains(&text));
        }
    }
}
