//! Failures of the service or of AWS.

use std::error::Error;

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

    /// The whole chain of causes on one line, for the log. It uses only `Display` texts: the `Debug` form of an AWS
    /// error can contain an item of the table.
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
