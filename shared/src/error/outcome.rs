//! How a request ended, in the log and the metrics.

crate::named! {
    /// How a request ended. The names are those of the log.
    pub enum Outcome {
        /// A token was issued.
        Issued = "issued",
        /// A token that was issued before was returned again.
        Replayed = "replayed",
        /// The request succeeded without issuing a token.
        Done = "done",
        /// The service or AWS failed.
        Failed = "failed",
        /// The maximum number of tokens is already active.
        QuotaExceeded = "quota exceeded",
        /// A code or refresh token was used again, so its grant was revoked.
        ReplayDetected = "replay detected",
        Unauthenticated = "unauthenticated",
        InvalidRequest = "invalid request",
        InvalidClient = "invalid client",
        UnauthorizedClient = "unauthorized client",
        UnsupportedGrantType = "unsupported grant type",
        InvalidScope = "invalid scope",
        InvalidTarget = "invalid target",
        PermissionMissing = "permission missing",
        NotFound = "not found",
        IdempotencyKeyReused = "idempotency key reused",
        /// The code or refresh token is not valid for the request.
        BadCredential = "bad credential",
        /// The id or slug of what was to be created.
        Taken = "taken",
        /// The authorizer's event is malformed.
        InvalidEvent = "invalid event",
        /// The authorizer's decisions would be cached by something else than the `Authorization` header.
        WrongIdentitySource = "wrong identity source",
        /// The authorizer's settings do not allow the credential.
        DeniedByPolicy = "denied by policy",
    }
}
