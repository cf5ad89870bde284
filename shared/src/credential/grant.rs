//! The credentials of a grant: its code and its refresh tokens, and the ids that they carry.

use std::{fmt, str::FromStr};

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::{Credential, CredentialHash, CredentialKind, opaque::GRANT_ID_CHARACTERS};
use crate::{
    encoding::{base62, base64url, sha256, truncated},
    error::{Constraint, InternalError},
    random::Random,
};

const SESSION_ID_BYTES: usize = 16;

/// The id of a grant: 128 random bits in 22 base62 characters. Its codes and refresh tokens start with it, so it must
/// not be logged. The public id of a grant is its [`SessionId`].
#[derive(Clone, Eq, PartialEq)]
pub struct GrantId(String);

impl GrantId {
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self(base62::<GRANT_ID_CHARACTERS>(random.bytes::<16>()?)))
    }

    /// The session id (`sid`) of the grant.
    #[must_use]
    pub fn session(&self) -> SessionId {
        let hash = sha256(format!("session\0{}", self.0));
        SessionId(hex::encode(truncated::<SESSION_ID_BYTES>(&hash)))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantId(…)")
    }
}

/// The public id of a grant, which is its key in the table and the `sid` claim (OpenID Connect Front-Channel Logout
/// 1.0, 3): 128 bits of the SHA-256 of the [`GrantId`]. A JWT must not reveal the start of a refresh token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub struct SessionId(String);

impl SessionId {
    /// The id as text: 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be 32 lower-case hexadecimal digits";
        let length = 2 * SESSION_ID_BYTES;
        Constraint::check(text, length..=length, |c| matches!(c, b'0'..=b'9' | b'a'..=b'f'), RULE)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SessionId {
    type Error = Constraint;

    fn try_from(text: String) -> Result<Self, Constraint> {
        text.parse()
    }
}

/// The key that the refresh tokens of one grant are derived with: 256 random bits, stored in the grant's item. Whoever
/// has it and a refresh token can derive the successors of the token, so it must not be logged.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct GrantSalt(String);

impl GrantSalt {
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self(base64url(random.bytes::<32>()?)))
    }
}

impl fmt::Debug for GrantSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantSalt(…)")
    }
}

/// An authorization code or a refresh token: a credential that names the grant it belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrantCredential {
    grant: GrantId,
    credential: Credential,
}

impl GrantCredential {
    /// A new code of a grant.
    pub fn generate_code(grant: &GrantId, random: &dyn Random) -> Result<Self, InternalError> {
        let credential = Credential::with_id(CredentialKind::AuthorizationCode, &grant.0, random.bytes()?);
        Ok(Self { grant: grant.clone(), credential })
    }

    /// A new refresh token of a grant.
    pub fn generate_refresh_token(grant: &GrantId, random: &dyn Random) -> Result<Self, InternalError> {
        let credential = Credential::with_id(CredentialKind::RefreshToken, &grant.0, random.bytes()?);
        Ok(Self { grant: grant.clone(), credential })
    }

    /// The one refresh token that replaces this one: an HMAC of it with the salt of its grant. Every call returns the
    /// same token. Deriving it takes both the table and this token.
    #[must_use]
    pub fn successor(&self, salt: &GrantSalt) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt.0.as_bytes());
        let secret = truncated(hmac::sign(&key, self.expose().as_bytes()).as_ref());
        let credential = Credential::with_id(CredentialKind::RefreshToken, &self.grant.0, secret);
        Self { grant: self.grant.clone(), credential }
    }

    /// Parses a code, like [`Credential::parse`].
    #[must_use]
    pub fn parse_code(text: &str) -> Option<Self> {
        Self::parse(CredentialKind::AuthorizationCode, text)
    }

    /// Parses a refresh token, like [`Credential::parse`].
    #[must_use]
    pub fn parse_refresh_token(text: &str) -> Option<Self> {
        Self::parse(CredentialKind::RefreshToken, text)
    }

    fn parse(kind: CredentialKind, text: &str) -> Option<Self> {
        let credential = Credential::parse(kind, text)?;
        let grant = text.strip_prefix(kind.prefix())?.get(..GRANT_ID_CHARACTERS)?;
        Some(Self { grant: GrantId(grant.to_owned()), credential })
    }

    /// The grant that it belongs to.
    #[must_use]
    pub fn grant(&self) -> &GrantId {
        &self.grant
    }

    /// The secret text, for the one response that returns it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.credential.expose()
    }

    /// What the table stores instead of the text.
    #[must_use]
    pub fn hash(&self) -> CredentialHash {
        self.credential.hash()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Fixed;

    #[test]
    fn a_session_id_does_not_contain_the_grant_id() {
        let grant = GrantId::random(&Fixed([7; 32])).unwrap();
        let session = grant.session();
        assert_eq!(session.as_str().len(), 32);
        assert!(!session.as_str().contains(&grant.0));
        assert_ne!(session, GrantId::random(&Fixed([8; 32])).unwrap().session());
    }

    proptest! {
        #[test]
        fn every_generated_grant_credential_parses_as_its_kind_only(secret: [u8; 32]) {
            let grant = GrantId::random(&Fixed(secret)).unwrap();
            let code = GrantCredential::generate_code(&grant, &Fixed(secret)).unwrap();
            prop_assert_eq!(code.expose().len(), 75);
            prop_assert_eq!(GrantCredential::parse_code(code.expose()), Some(code.clone()));
            prop_assert_eq!(GrantCredential::parse_refresh_token(code.expose()), None);
            prop_assert_eq!(GrantCredential::parse_refresh_token(&code.expose().replacen("tmc", "tmr", 1)), None);
            prop_assert_eq!(Credential::parse(CredentialKind::ApiKey, code.expose()), None);
            prop_assert_eq!(format!("{code:?}"), "GrantCredential { grant: GrantId(…), credential: tmc_… }");
        }

        #[test]
        fn a_refresh_token_has_one_successor_per_salt(secret: [u8; 32], salts: ([u8; 32], [u8; 32])) {
            prop_assume!(salts.0 != salts.1);
            let grant = GrantId::random(&Fixed(secret)).unwrap();
            let token = GrantCredential::generate_refresh_token(&grant, &Fixed(secret)).unwrap();
            let (one, other) = (GrantSalt::random(&Fixed(salts.0)).unwrap(), GrantSalt::random(&Fixed(salts.1)).unwrap());
            let successor = token.successor(&one);
            prop_assert_eq!(GrantCredential::parse_refresh_token(successor.expose()), Some(successor.clone()));
            prop_assert_eq!(&token.successor(&one), &successor);
            prop_assert_eq!(successor.grant(), token.grant());
            prop_assert_ne!(&token.successor(&other), &successor);
            prop_assert_ne!(successor.successor(&one), successor.clone());
            prop_assert_ne!(successor, token);
            prop_assert_eq!(format!("{one:?}"), "GrantSalt(…)");
        }
    }
}
