//! Opaque credentials and their checksum.

use std::fmt;

use super::CredentialHash;
use crate::{encoding::base62, error::InternalError, id::ObjectId, random::Random};

/// 62^43 is just above 2^256.
const SECRET_CHARACTERS: usize = 43;
/// 62^22 is above 2^128.
pub(super) const GRANT_ID_CHARACTERS: usize = 22;
/// 62^17 is above 2^96.
pub(super) const APPLICATION_ID_CHARACTERS: usize = 17;
/// 62^6 is above 2^32.
const CHECKSUM_CHARACTERS: usize = 6;

/// What a credential is for. The prefix of a kind never changes: scanners and stored hashes depend on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialKind {
    /// Authenticates an organization's server.
    ApiKey,
    /// Authenticates an application.
    AppToken,
    /// Authenticates a confidential client (RFC 6749, 2.3.1).
    ClientSecret,
    /// Exchanged for the first tokens of a grant (RFC 6749, 1.3.1).
    AuthorizationCode,
    /// Exchanged for further tokens of a grant (RFC 6749, 1.5).
    RefreshToken,
}

impl CredentialKind {
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "tmk_",
            Self::AppToken => "tma_",
            Self::ClientSecret => "tms_",
            Self::AuthorizationCode => "tmc_",
            Self::RefreshToken => "tmr_",
        }
    }

    /// The length of the id of what it belongs to, which it starts with.
    const fn id_characters(self) -> usize {
        match self {
            Self::ApiKey | Self::ClientSecret => 0,
            Self::AppToken => APPLICATION_ID_CHARACTERS,
            Self::AuthorizationCode | Self::RefreshToken => GRANT_ID_CHARACTERS,
        }
    }
}

/// A well-formed credential with a correct checksum. Its text is secret.
#[derive(Clone, Eq, PartialEq)]
pub struct Credential {
    kind: CredentialKind,
    text: String,
}

impl Credential {
    /// A new credential with 256 random bits.
    pub fn generate(kind: CredentialKind, random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self::of_secret(kind, random.bytes()?))
    }

    /// The credential with these 256 secret bits, which must be indistinguishable from random ones.
    #[must_use]
    pub fn of_secret(kind: CredentialKind, secret: [u8; 32]) -> Self {
        Self::with_id(kind, "", secret)
    }

    pub(super) fn with_id(kind: CredentialKind, id: &str, secret: [u8; 32]) -> Self {
        let mut text = format!("{}{id}{}", kind.prefix(), base62::<SECRET_CHARACTERS>(secret));
        text.push_str(&checksum(&text));
        Self { kind, text }
    }

    /// Parses a credential of `kind`. It returns `None` if the prefix, length, alphabet or checksum is wrong, and does
    /// not say which, because no part of a credential belongs in a message.
    #[must_use]
    pub fn parse(kind: CredentialKind, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(kind.prefix())?;
        let length = kind.id_characters() + SECRET_CHARACTERS + CHECKSUM_CHARACTERS;
        if rest.len() != length || !rest.bytes().all(|c| c.is_ascii_alphanumeric()) {
            return None;
        }
        let (body, check) = text.split_at_checked(text.len() - CHECKSUM_CHARACTERS)?;
        (checksum(body) == check).then(|| Self { kind, text: text.to_owned() })
    }

    /// The secret text, for the one response that returns it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the table stores instead of the text.
    #[must_use]
    pub fn hash(&self) -> CredentialHash {
        CredentialHash::of(&self.text)
    }

    /// The public id of an API key or app token, which is its key in the table: the first 96 bits of its SHA-256. They
    /// do not help to guess 256 random bits.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        ObjectId::of_sha256(self.text.as_bytes())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.kind.prefix())
    }
}

fn checksum(body: &str) -> String {
    base62::<CHECKSUM_CHARACTERS>(crc32fast::hash(body.as_bytes()).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Fixed;

    fn api_key(secret: [u8; 32]) -> Credential {
        Credential::generate(CredentialKind::ApiKey, &Fixed(secret)).unwrap()
    }

    #[test]
    fn the_format_never_changes() {
        // Computed with another implementation (Python's int and zlib.crc32): stored hashes and scanners depend on it.
        let mut one = [0; 32];
        one[31] = 62;
        assert_eq!(api_key([0; 32]).expose(), "tmk_00000000000000000000000000000000000000000002eIzD5");
        assert_eq!(api_key(one).expose(), "tmk_00000000000000000000000000000000000000000102WKF4w");
        assert_eq!(api_key([255; 32]).expose(), "tmk_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp115FYSt");
    }

    #[test]
    fn debug_and_hash_do_not_reveal_the_secret() {
        let key = api_key([7; 32]);
        assert_eq!(format!("{key:?} {:?}", key.hash()), "tmk_… CredentialHash(…)");
        assert_eq!(key.hash().as_str().len(), 43);
        assert_ne!(key.hash(), api_key([8; 32]).hash());
    }

    #[test]
    fn an_id_is_the_start_of_the_stored_hash() {
        let key = api_key([7; 32]);
        let hash = crate::encoding::from_base64url(key.hash().as_str()).unwrap();
        assert_eq!(key.id().to_string(), hex::encode(&hash[..12]));
    }

    proptest! {
        #[test]
        fn every_generated_credential_parses(secret: [u8; 32]) {
            let key = api_key(secret);
            prop_assert_eq!(Credential::parse(CredentialKind::ApiKey, key.expose()), Some(key));
        }

        #[test]
        fn one_wrong_character_is_noticed(secret: [u8; 32], at in 0..53_usize, wrong in "[ -~]") {
            let key = api_key(secret);
            let mut text = key.expose().to_owned();
            prop_assume!(text.get(at..=at) != Some(&wrong));
            text.replace_range(at..=at, &wrong);
            prop_assert_eq!(Credential::parse(CredentialKind::ApiKey, &text), None);
        }

        #[test]
        fn swapped_neighbours_are_noticed(secret: [u8; 32], at in 4..52_usize) {
            let key = api_key(secret);
            let mut text = key.expose().as_bytes().to_vec();
            text.swap(at, at + 1);
            let text = String::from_utf8(text).unwrap();
            prop_assume!(text != key.expose());
            prop_assert_eq!(Credential::parse(CredentialKind::ApiKey, &text), None);
        }

        #[test]
        fn no_text_panics(text in "(tmk_)?.{0,60}") {
            let _ = Credential::parse(CredentialKind::ApiKey, &text);
        }
    }
}
