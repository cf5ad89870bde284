//! How a request ended, in the log and the metrics.

/// The outcome of a request in the log and the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A token was issued.
    Issued,
    /// A token that was issued before was returned again.
    Replayed,
    /// The quota was full.
    QuotaExceeded,
    /// A code or refresh token was used again, so its grant was revoked.
    ReplayDetected,
    /// The request was refused for another reason.
    Refused(&'static str),
    /// The request succeeded without issuing a token.
    Done,
    /// The service or AWS failed.
    Failed,
}
