//! The audiences of access tokens (RFC 7519, 4.1.3).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::fields::checked_text;
use crate::{error::Constraint, id::ClientId};

checked_text!(
    /// An API that a token is for.
    #[derive(Debug)]
    Audience,
    |text| Constraint::check(
        text,
        1..=512,
        |c| c.is_ascii_graphic(),
        "must be 1 to 512 printable ASCII characters without spaces",
    )
);

impl Audience {
    /// Whether a client or registration with these audiences may ask for it: it is one of them, or that of the
    /// deployment.
    #[must_use]
    pub fn is_allowed(&self, registered: &[Self], deployment: &Self) -> bool {
        self == deployment || registered.contains(self)
    }

    /// Whether it can be the `resource` of a request: an absolute URI without a fragment (RFC 8707, 2).
    #[must_use]
    pub fn is_resource(&self) -> bool {
        const NO_URI_CHARACTERS: [char; 10] = ['"', '<', '>', '\\', '^', '`', '{', '|', '}', '#'];
        self.as_str().split_once(':').is_some_and(|(scheme, rest)| {
            let of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(of_scheme);
            let is_encoded =
                |text: &str| text.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            let encoded = rest.split('%').skip(1).all(is_encoded);
            is_scheme && !rest.is_empty() && !rest.contains(NO_URI_CHARACTERS) && encoded
        })
    }
}

/// The `aud` of a token: one as a string, several as an array.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "OneOrMany", into = "OneOrMany")]
pub struct Audiences(Vec<Audience>);

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Audience),
    Many(Vec<Audience>),
}

impl Audiences {
    pub fn iter(&self) -> impl Iterator<Item = &Audience> {
        self.0.iter()
    }

    #[must_use]
    pub fn contains(&self, audience: &Audience) -> bool {
        self.0.contains(audience)
    }
}

impl From<Audience> for Audiences {
    fn from(audience: Audience) -> Self {
        Self(vec![audience])
    }
}

/// Of an access token of `/api/v1/tokens`.
impl From<ClientId> for Audiences {
    fn from(client: ClientId) -> Self {
        Audience(client.to_string()).into()
    }
}

impl From<Vec<Audience>> for Audiences {
    fn from(audiences: Vec<Audience>) -> Self {
        Self(audiences)
    }
}

impl From<OneOrMany> for Audiences {
    fn from(audiences: OneOrMany) -> Self {
        match audiences {
            OneOrMany::One(audience) => audience.into(),
            OneOrMany::Many(audiences) => audiences.into(),
        }
    }
}

impl From<Audiences> for OneOrMany {
    fn from(Audiences(audiences): Audiences) -> Self {
        match <[Audience; 1]>::try_from(audiences) {
            Ok([audience]) => Self::One(audience),
            Err(audiences) => Self::Many(audiences),
        }
    }
}

/// Separated by spaces.
impl fmt::Display for Audiences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, audience) in self.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { " " })?;
            f.write_str(audience.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_audience_is_a_string_and_several_are_an_array() {
        for aud in [json!("a"), json!(["b", "a"])] {
            let audiences: Audiences = serde_json::from_value(aud.clone()).unwrap();
            assert_eq!(serde_json::to_value(audiences).unwrap(), aud);
        }
    }

    #[test]
    fn a_resource_is_an_absolute_uri_without_a_fragment() {
        let is_resource = |text: &str| text.parse::<Audience>().unwrap().is_resource();
        for right in ["https://api.example.com", "https://api.example.com/?a=b", "urn:example:api", "api+v1:x", "a:%4a"]
        {
            assert!(is_resource(right), "{right}");
        }
        for wrong in [
            "api",
            "/api",
            "https:",
            ":x",
            "1a:x",
            "https://api.example.com/#a",
            "ht_tp:x",
            "a:<b>",
            "a:%",
            "a:%zz",
            "a:%4",
        ] {
            assert!(!is_resource(wrong), "{wrong}");
        }
    }
}
