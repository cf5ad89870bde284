//! What a client's grants are like.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::input::{Scopes, oidc::OFFLINE_ACCESS};

/// How long the grants of a client and their tokens last, and which grants have refresh tokens.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantSettings {
    /// How long an access token and an ID token live.
    pub access_token_ttl_seconds: u32,
    /// How long a grant lives after its code was exchanged, however often it is refreshed.
    pub grant_ttl_seconds: u32,
    /// How long a refresh token may stay unused. 0: as long as the grant lives.
    pub idle_timeout_seconds: u32,
    pub refresh_tokens: RefreshTokens,
}

impl GrantSettings {
    pub const ACCESS_TOKEN_TTL_SECONDS: RangeInclusive<u32> = 60..=86400;
    pub const GRANT_TTL_SECONDS: RangeInclusive<u32> = 300..=Self::MAX_GRANT_TTL_SECONDS;
    pub const IDLE_TIMEOUT_SECONDS: RangeInclusive<u32> = 0..=Self::MAX_GRANT_TTL_SECONDS;
    /// A year.
    pub const MAX_GRANT_TTL_SECONDS: u32 = 31_536_000;
}

impl Default for GrantSettings {
    fn default() -> Self {
        Self {
            access_token_ttl_seconds: 3600,
            grant_ttl_seconds: 30 * 86400,
            idle_timeout_seconds: 0,
            refresh_tokens: RefreshTokens::Always,
        }
    }
}

crate::named! {
    /// Which grants of a client have refresh tokens.
    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase")]
    pub enum RefreshTokens {
        Always = "always",
        /// Those with the scope `offline_access` (OpenID Connect Core 1.0, 11).
        OfflineAccess = "offlineAccess",
        Never = "never",
    }
}

impl RefreshTokens {
    /// Whether a grant of these scopes has one.
    #[must_use]
    pub fn has_one(self, scopes: &Scopes) -> bool {
        match self {
            Self::Always => true,
            Self::OfflineAccess => scopes.contains(OFFLINE_ACCESS),
            Self::Never => false,
        }
    }
}
