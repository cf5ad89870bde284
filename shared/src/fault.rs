//! A failure that is ours or AWS's, never the caller's: logged with its causes, answered as a bare 500.

use std::error::Error;

/// What was being done when it failed, and why it did.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}")]
pub struct Fault {
    doing: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl Fault {
    /// `doing` completes the sentence "could not …"; the cause stays in `source` and is not repeated in it.
    pub fn new(doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { doing, source: source.into() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let inner = Fault::new("reach the table", "connection refused");
        let outer = Fault::new("load the registration", inner);
        assert_eq!(outer.chain(), "could not load the registration: could not reach the table: connection refused");
    }
}
