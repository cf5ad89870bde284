//! JSON Web Tokens (RFC 7519) signed with RS256 (RFC 7518, 3.3): writing them, and
//! reading our own access tokens.

use std::io;

use aws_lc_rs::{rsa::PublicKey, signature::RSA_PKCS1_2048_8192_SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc, serde::ts_seconds};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::{
    credential::SessionId,
    id::{ClientId, KeyId, ObjectId, RegistrationId, TokenId},
    input::{Acr, Audiences, AuthenticationMethod, Claims, Email, Language, Scopes, Subject, space_separated},
    store::Generation,
};

/// The prefix of an OAuth access token before the JWT.
pub const ACCESS_TOKEN_PREFIX: &str = "oauth2_";
/// Longer tokens are rejected unread: no header and no body of a request can hold one.
const MAX_JWT_BYTES: usize = 16 * 1024;

/// The `typ` header (RFC 7515, 4.1.9). It prevents that one kind of token is accepted as another (RFC 8725, 3.11).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum TokenType {
    /// An OAuth access token (RFC 9068, 2.1).
    #[serde(rename = "at+jwt")]
    AtJwt,
    /// An ID token, or an access token of `/api/v1/tokens`, whose published clients expect this value.
    #[serde(rename = "JWT")]
    Jwt,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Algorithm {
    #[serde(rename = "RS256")]
    Rs256,
}

/// The whole header. A token with any other member, such as `crit`, is not one of ours.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header<K> {
    alg: Algorithm,
    typ: TokenType,
    kid: K,
}

/// The claims of an OAuth access token of a registration (RFC 9068, 2.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RegistrationTokenClaims {
    /// The configured issuer.
    pub iss: String,
    pub sub: RegistrationId,
    pub aud: Audiences,
    pub client_id: RegistrationId,
    pub jti: TokenId,
    /// When it was issued.
    #[serde(with = "ts_seconds")]
    pub iat: DateTime<Utc>,
    /// When it expires.
    #[serde(with = "ts_seconds")]
    pub exp: DateTime<Utc>,
    /// The granted scopes, separated by spaces. An empty one is left out.
    #[serde(default, skip_serializing_if = "Scopes::is_empty", with = "space_separated")]
    pub scope: Scopes,
    /// Whose it is. Every new token has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<ObjectId>,
    /// Of a machine token, which is not recorded: the generation of the registration that it was issued in.
    #[serde(rename = "gen", skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The address that the creator gave.
    /// Never read: the one of a token may be a claim of its registration, of any form.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub email: Option<Email>,
}

/// The claims of a user's access token in the profile of RFC 9068 (2.2).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct UserTokenClaims {
    pub iss: String,
    pub sub: Subject,
    pub aud: Audiences,
    pub client_id: ClientId,
    pub jti: TokenId,
    #[serde(with = "ts_seconds")]
    pub iat: DateTime<Utc>,
    #[serde(with = "ts_seconds")]
    pub exp: DateTime<Utc>,
    /// When the user logged in.
    #[serde(with = "ts_seconds")]
    pub auth_time: DateTime<Utc>,
    /// The grant (OpenID Connect Front-Channel Logout 1.0, 3).
    pub sid: SessionId,
    /// The scopes, separated by spaces. An empty one is left out.
    #[serde(default, skip_serializing_if = "Scopes::is_empty", with = "space_separated")]
    pub scope: Scopes,
    /// Whose client it was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<ObjectId>,
    /// How the user logged in, as one level of assurance (OpenID Connect Core 1.0, 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<Acr>,
    /// By what methods the user logged in (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<AuthenticationMethod>,
}

/// The claims of a token, and others that it only passes on. No name is in both: see [`Claims::require_unreserved`].
#[derive(Debug, Serialize)]
pub struct WithClaims<'a, T> {
    #[serde(flatten)]
    pub own: &'a T,
    #[serde(flatten)]
    pub others: &'a Claims,
}

/// What a token is for, so that an ID token is never accepted as an access token. Amazon Cognito uses the same claim.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenUse {
    Access,
    Id,
}

/// The claims that the access token and the ID token of `/api/v1/tokens` have in common, in its documented format.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ApiV1UserClaims {
    pub iss: String,
    pub sub: Subject,
    /// The client.
    pub aud: ClientId,
    pub jti: TokenId,
    #[serde(with = "ts_seconds")]
    pub iat: DateTime<Utc>,
    #[serde(with = "ts_seconds")]
    pub exp: DateTime<Utc>,
    /// When the user logged in.
    #[serde(with = "ts_seconds")]
    pub auth_time: DateTime<Utc>,
    /// The language of the user.
    pub lng: Language,
    pub scope: Scopes,
    /// The grant (OpenID Connect Front-Channel Logout 1.0, 3).
    pub sid: SessionId,
    pub token_use: TokenUse,
    /// Whose client it was issued to; of an access token only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<ObjectId>,
    /// How the user logged in, as one level of assurance (OpenID Connect Core 1.0, 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<Acr>,
    /// By what methods the user logged in (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<AuthenticationMethod>,
}

/// The text that is signed: header and payload, encoded and joined by a dot (RFC 7515, 5.1).
pub(crate) fn signing_input(typ: TokenType, kid: &KeyId, claims: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = encode(&Header { alg: Algorithm::Rs256, typ, kid: kid.as_str() })?;
    text.push('.');
    text.push_str(&encode(claims)?);
    Ok(text)
}

/// The finished token (RFC 7515, 7.1).
pub(crate) fn compact(mut signing_input: String, signature: &[u8]) -> String {
    signing_input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut signing_input);
    signing_input
}

fn encode(part: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut json = Vec::new();
    part.serialize(&mut Serializer::with_formatter(&mut json, PlainBase64))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// Writes JSON whose base64url contains no `-` and no `_`, because published browser clients decode it with `atob`,
/// which accepts neither. These two characters encode the sextets 62 and 63. In ASCII only the last sextet of three
/// bytes can have these values, if the third byte is `>`, `?`, `~` or DEL. So these four and everything that is not
/// ASCII are escaped.
struct PlainBase64;

impl Formatter for PlainBase64 {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !c.is_ascii() || matches!(c, '>' | '?' | '~' | '\x7f')) {
            let (plain, from) = rest.split_at(at);
            CompactFormatter.write_string_fragment(writer, plain)?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }

    /// JSON that was given. It has these characters only inside its strings, and never after a backslash that escapes
    /// them.
    fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.write_string_fragment(writer, fragment)
    }
}

/// A JWT in our format whose signature is not verified yet. Only its `kid` may be used, to find the key.
pub(crate) struct UnverifiedJwt<'a> {
    signed: &'a str,
    typ: TokenType,
    kid: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> UnverifiedJwt<'a> {
    /// Parses a JWT without the prefix. `None` if it cannot be one of ours.
    pub(crate) fn parse(jwt: &'a str) -> Option<Self> {
        if jwt.len() > MAX_JWT_BYTES {
            return None;
        }
        let (signed, signature) = jwt.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |part| URL_SAFE_NO_PAD.decode(part).ok();
        let Header { typ, kid, .. } = serde_json::from_slice::<Header<String>>(&decode(header)?).ok()?;
        Some(Self { signed, typ, kid, payload: decode(payload)?, signature: decode(signature)? })
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// The token, if `key` signed it.
    pub(crate) fn verify(self, key: &PublicKey) -> Option<VerifiedJwt> {
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref());
        key.verify(self.signed.as_bytes(), &self.signature).ok()?;
        Some(VerifiedJwt { typ: self.typ, payload: self.payload })
    }
}

/// A JWT that one of our keys signed. Issuer, audience and expiry are not checked yet.
pub(crate) struct VerifiedJwt {
    pub(crate) typ: TokenType,
    payload: Vec<u8>,
}

impl VerifiedJwt {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its claims, if they are of this form.
    pub(crate) fn claims<C: DeserializeOwned>(&self) -> Option<C> {
        serde_json::from_slice(&self.payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json, value::RawValue};

    use super::*;

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn the_header_has_exactly_three_members() {
        let input = signing_input(TokenType::AtJwt, &"key-1".parse().unwrap(), &json!({})).unwrap();
        let (header, payload) = input.split_once('.').unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(header).unwrap(), br#"{"alg":"RS256","typ":"at+jwt","kid":"key-1"}"#);
        assert_eq!(decoded(payload), json!({}));
    }

    proptest! {
        #[test]
        fn every_text_is_encoded_without_dash_or_underscore(name in ".*", value in any::<String>(), dense in r"[>?~\x7f\\a]*") {
            let claims = json!({"x": {name: [value, dense]}});
            let given = RawValue::from_string(claims.to_string()).unwrap();
            for part in [encode(&claims).unwrap(), encode(&given).unwrap()] {
                prop_assert!(part.bytes().all(|c| c.is_ascii_alphanumeric()));
                prop_assert_eq!(decoded(&part), claims.clone());
            }
        }

        #[test]
        fn only_our_header_is_accepted(kid in "[a-z0-9-]{1,20}", more in "[a-z]{1,6}", value in "[a-z]{0,6}", length in 0..12_000_usize) {
            let jwt = |header: Value| format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), "A".repeat(length / 4 * 4), "AAAA");
            let ours = json!({"alg": "RS256", "typ": "at+jwt", "kid": kid});
            let text = jwt(ours.clone());
            match UnverifiedJwt::parse(&text) {
                Some(token) => prop_assert!(token.kid() == kid && text.len() <= MAX_JWT_BYTES && text.ends_with("AAAA")),
                None => prop_assert!(text.len() > MAX_JWT_BYTES),
            }
            let mut other = ours;
            other[more] = value.into();
            prop_assert!(other["alg"] == "RS256" && other["typ"] == "at+jwt" && other["kid"] != kid || UnverifiedJwt::parse(&jwt(other)).is_none());
        }

        #[test]
        fn no_text_panics(text in "[A-Za-z0-9_.-]{0,80}", any in ".{0,80}") {
            let _ = UnverifiedJwt::parse(&text);
            let _ = UnverifiedJwt::parse(&any);
        }
    }
}
