//! What can be wrong: with the service or AWS ([`InternalError`]), with a value ([`Constraint`], [`ValidationError`]), with
//! the caller's credential ([`Unauthenticated`]).

use std::{borrow::Cow, error::Error, ops::RangeInclusive};

/// A failure of the service or of AWS, never the caller's: DynamoDB or KMS does not answer, an item is damaged, or the
/// random source fails. It is logged with its causes and answered as a bare 500.
#[derive(Debug, thiserror::Error)]
#[error("could not {context}")]
pub struct InternalError {
    context: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl InternalError {
    /// `context` completes the sentence "could not …"; the cause stays in `source` and is not repeated in it.
    pub fn new(context: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { context, source: source.into() }
    }

    /// The whole chain of causes on one line, for the log. It uses only `Display` texts: the `Debug` form of an AWS error
    /// can contain an item of the table.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// The rule that a value breaks, as the end of a sentence that begins with the field's name: "must be a UUID".
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Constraint(Cow<'static, str>);

impl Constraint {
    /// A rule with a fixed text.
    #[must_use]
    pub const fn new(rule: &'static str) -> Self {
        Self(Cow::Borrowed(rule))
    }

    /// "must be a, b or c".
    #[must_use]
    pub fn one_of(names: &[&str]) -> Self {
        let (last, others) = names.split_last().map_or(("", &[][..]), |(last, others)| (*last, others));
        Self(format!("must be {} or {last}", others.join(", ")).into())
    }

    /// The error that `field` breaks this rule.
    pub fn of(self, field: impl Into<Cow<'static, str>>) -> ValidationError {
        ValidationError::new(field, self.0)
    }

    /// Copies `text` if its length in bytes is in `length` and every byte is allowed; otherwise it breaks `rule`.
    pub fn check(
        text: &str,
        length: RangeInclusive<usize>,
        allowed: impl Fn(u8) -> bool,
        rule: &'static str,
    ) -> Result<String, Self> {
        if length.contains(&text.len()) && text.bytes().all(allowed) {
            Ok(text.to_owned())
        } else {
            Err(Self::new(rule))
        }
    }
}

/// A field of a request breaks a rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct ValidationError {
    field: Cow<'static, str>,
    rule: Cow<'static, str>,
}

impl ValidationError {
    /// `field` is a name, from the code or from the request. It is never a value, because messages repeat it.
    pub fn new(field: impl Into<Cow<'static, str>>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}

/// Why authentication failed. The caller does not learn why a token is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unauthenticated {
    /// There is no `Authorization` header.
    #[error("no authorization header")]
    Missing,
    /// The credential is malformed, unknown, expired or revoked.
    #[error("invalid token")]
    InvalidToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let inner = InternalError::new("reach the table", "connection refused");
        let outer = InternalError::new("load the registration", inner);
        assert_eq!(outer.chain(), "could not load the registration: could not reach the table: connection refused");
    }
}
