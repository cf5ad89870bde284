//! The kinds of credentials.

/// The kinds of credentials that can be active.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActiveKind {
    ApiKey,
    AppToken,
    RegistrationToken,
    UserToken,
    RefreshToken,
}

impl ActiveKind {
    /// Those that are bearers.
    pub const BEARERS: [Self; 4] = [Self::ApiKey, Self::AppToken, Self::RegistrationToken, Self::UserToken];
    pub const ALL: [Self; 5] =
        [Self::ApiKey, Self::AppToken, Self::RegistrationToken, Self::UserToken, Self::RefreshToken];

    /// The name for the users of the authorizer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::AppToken => "appToken",
            Self::RegistrationToken => "accessToken",
            Self::UserToken => "userToken",
            Self::RefreshToken => "refreshToken",
        }
    }
}
