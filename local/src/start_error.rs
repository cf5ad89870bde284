//! Why the stack does not start.

/// One line for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub(crate) String);

impl StartError {
    /// "cannot open the database: …".
    pub(crate) fn new(context: &str, reason: impl std::fmt::Display) -> Self {
        Self(format!("{context}: {reason}"))
    }
}
