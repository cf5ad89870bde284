//! What can be wrong: with us or AWS ([`InternalError`]), with a value ([`ValidationError`]), with a caller
//! ([`Unauthenticated`]).

use std::{borrow::Cow, error::Error};

/// A failure of the service or of AWS, never the caller's: logged with its causes, answered as a bare 500.
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

    /// The whole chain of causes on one line, for the log. The parts are `Display` texts only: the `Debug` form of an
    /// AWS error can hold an item of the table.
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

/// What a value must be, as the end of a sentence that begins with the field's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Constraint(pub &'static str);

/// A request that breaks a rule: the field and the rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct ValidationError {
    field: Cow<'static, str>,
    rule: Cow<'static, str>,
}

impl ValidationError {
    /// `field` must be named by the code, or be a field's *name* in a request; never a value.
    pub fn new(field: impl Into<Cow<'static, str>>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}

/// Why a caller is nobody to us. Which of the reasons made a token invalid is not told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unauthenticated {
    /// There is no `Authorization` header.
    #[error("no authorization header")]
    Missing,
    /// It is malformed, unknown, expired or revoked.
    #[error("invalid token")]
    InvalidToken,
}

impl Unauthenticated {
    /// The `WWW-Authenticate` header. A challenge has at least one parameter (RFC 6750, 3).
    #[must_use]
    pub const fn challenge(self) -> &'static str {
        match self {
            Self::Missing => "Bearer realm=\"tokenmint\"",
            Self::InvalidToken => "Bearer realm=\"tokenmint\", error=\"invalid_token\"",
        }
    }
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
