//! Opaque credentials: `<prefix>_<43 base62 characters><6 base62 characters of CRC-32>`. Codes and refresh tokens have the
//! id of their grant, 22 characters, before the 43.
//!
//! The prefix tells secret scanners and people what a credential is for. The checksum is not a security measure: it rejects
//! a mistyped or made-up credential without a database read. The table stores only the SHA-256, which is enough for 256
//! random bits. The first 96 bits of it are the key in the table.

use std::{fmt, str::FromStr};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Constraint, InternalError},
    id::{ObjectId, hex, prefix},
    random::Random,
};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just above 2^256.
const SECRET_CHARACTERS: usize = 43;
/// 62^22 is above 2^128.
const GRANT_ID_CHARACTERS: usize = 22;
/// 62^6 is above 2^32.
const CHECKSUM_CHARACTERS: usize = 6;
const SESSION_ID_BYTES: usize = 16;

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
    const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "tmk_",
            Self::AppToken => "tma_",
            Self::ClientSecret => "tms_",
            Self::AuthorizationCode => "tmc_",
            Self::RefreshToken => "tmr_",
        }
    }

    const fn grant_id_characters(self) -> usize {
        match self {
            Self::ApiKey | Self::AppToken | Self::ClientSecret => 0,
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
        Self::of_grant(kind, "", secret)
    }

    fn of_grant(kind: CredentialKind, grant_id: &str, secret: [u8; 32]) -> Self {
        let mut text = format!("{}{grant_id}{}", kind.prefix(), base62::<SECRET_CHARACTERS>(secret));
        text.push_str(&checksum(&text));
        Self { kind, text }
    }

    /// Parses a credential of `kind`. It returns `None` if the prefix, length, alphabet or checksum is wrong, and does not
    /// say which, because no part of a credential belongs in a message.
    #[must_use]
    pub fn parse(kind: CredentialKind, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(kind.prefix())?;
        let length = kind.grant_id_characters() + SECRET_CHARACTERS + CHECKSUM_CHARACTERS;
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
        CredentialHash(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.text.as_bytes())))
    }

    /// The public id of an API key or app token, which is its key in the table: the first 96 bits of its SHA-256. They do
    /// not help to guess 256 random bits.
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

/// The id of a grant: 128 random bits in 22 base62 characters. Its codes and refresh tokens start with it, so it must not
/// be logged. The public id of a grant is its [`SessionId`].
#[derive(Clone, Eq, PartialEq)]
pub struct GrantId(String);

impl GrantId {
    pub fn random(random: &dyn Random) -> Result<Self, InternalError> {
        Ok(Self(base62::<GRANT_ID_CHARACTERS>(random.bytes::<16>()?)))
    }

    /// The session id (`sid`) of the grant.
    #[must_use]
    pub fn session(&self) -> SessionId {
        let hash = digest::digest(&digest::SHA256, format!("session\0{}", self.0).as_bytes());
        SessionId(hex(hash.as_ref().get(..SESSION_ID_BYTES).unwrap_or_default()))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantId(…)")
    }
}

/// The public id of a grant, which is its key in the table and the `sid` claim (OpenID Connect Front-Channel Logout 1.0,
/// 3): 128 bits of the SHA-256 of the [`GrantId`]. A JWT must not reveal the start of a refresh token.
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
        Constraint::check(text, length..=length, |c| matches!(c, b'0'..=b'9' | b'a'..=b'f'), RULE).map(Self)
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
        Ok(Self(URL_SAFE_NO_PAD.encode(random.bytes::<32>()?)))
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
        let credential = Credential::of_grant(CredentialKind::AuthorizationCode, &grant.0, random.bytes()?);
        Ok(Self { grant: grant.clone(), credential })
    }

    /// A new refresh token of a grant.
    pub fn generate_refresh_token(grant: &GrantId, random: &dyn Random) -> Result<Self, InternalError> {
        let credential = Credential::of_grant(CredentialKind::RefreshToken, &grant.0, random.bytes()?);
        Ok(Self { grant: grant.clone(), credential })
    }

    /// The one refresh token that replaces this one: an HMAC of it with the salt of its grant. Every call returns the same
    /// token. Deriving it takes both the table and this token.
    #[must_use]
    pub fn successor(&self, salt: &GrantSalt) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt.0.as_bytes());
        let secret = prefix(hmac::sign(&key, self.expose().as_bytes()).as_ref());
        let credential = Credential::of_grant(CredentialKind::RefreshToken, &self.grant.0, secret);
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

/// The SHA-256 of a credential in base64url. It cannot be used as the credential, but is not logged either. Compared in
/// constant time.
#[derive(Clone, Deserialize, Eq, Serialize)]
pub struct CredentialHash(String);

impl CredentialHash {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for CredentialHash {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash(…)")
    }
}

fn checksum(body: &str) -> String {
    base62::<CHECKSUM_CHARACTERS>(crc32fast::hash(body.as_bytes()).to_be_bytes())
}

/// `number` (big-endian) in base 62, most significant digit first, in `LENGTH` characters: repeated long division.
fn base62<const LENGTH: usize>(mut number: impl AsMut<[u8]>) -> String {
    let mut text = [0; LENGTH];
    for digit in text.iter_mut().rev() {
        let remainder = number.as_mut().iter_mut().fold(0_u16, |remainder, byte| {
            let dividend = remainder << 8 | u16::from(*byte);
            *byte = u8::try_from(dividend / 62).unwrap_or(u8::MAX);
            dividend % 62
        });
        *digit = BASE62.get(usize::from(remainder)).copied().unwrap_or(b'0');
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Fixed([u8; 32]);

    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), InternalError> {
            bytes.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
            Ok(())
        }
    }

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
        let hash = URL_SAFE_NO_PAD.decode(key.hash().as_str()).unwrap();
        assert_eq!(key.id().to_string(), hex(&hash[..12]));
    }

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
        fn every_generated_credential_parses(secret: [u8; 32]) {
            let key = api_key(secret);
            prop_assert_eq!(Credential::parse(CredentialKind::ApiKey, key.expose()), Some(key));
        }

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
