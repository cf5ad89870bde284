//! Readable names of organizations and applications.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ObjectId;
use crate::error::Constraint;

fn is_slug_character(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'-'
}

/// A readable name of an organization, or of an application within its organization: `^[a-zA-Z0-9-]{3,64}$`, but not
/// 24 hexadecimal digits, which would be an id.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Slug(String);

impl FromStr for Slug {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must match ^[a-zA-Z0-9-]{3,64}$ and not be 24 hexadecimal digits";
        if text.parse::<ObjectId>().is_ok() {
            return Err(Constraint::new(RULE));
        }
        Constraint::check(text, 3..=64, is_slug_character, RULE)?;
        Ok(Self(text.to_owned()))
    }
}

impl Slug {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a path names an organization or an application: by id or by slug. No slug looks like an id, so the two cannot be
/// confused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IdOrSlug {
    /// 24 hexadecimal digits.
    Id(ObjectId),
    /// A slug. It may be longer than any slug that exists: up to 128 characters.
    Slug(String),
}

impl IdOrSlug {
    /// The id, if slugs belong to `namespace`. It need not exist.
    #[must_use]
    pub fn id(&self, namespace: &str) -> ObjectId {
        match self {
            Self::Id(id) => *id,
            Self::Slug(slug) => ObjectId::of_slug(namespace, slug),
        }
    }
}

impl FromStr for IdOrSlug {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must match ^(([a-fA-F0-9]{24})|([a-zA-Z0-9\\-]{3,}))$ and have at most 128 characters";
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        Constraint::check(text, 3..=128, is_slug_character, RULE)?;
        Ok(Self::Slug(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slug_is_never_an_id() {
        for right in ["abc", "A-1", "-a-", &"x".repeat(64), &"f".repeat(23), &"f".repeat(25)] {
            assert!(right.parse::<Slug>().is_ok(), "{right}");
        }
        for wrong in ["", "ab", &"x".repeat(65), "a_b", "a b", "äbc", &"f".repeat(24), &"F".repeat(24)] {
            assert!(wrong.parse::<Slug>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_names_an_id_or_a_slug() {
        let id: ObjectId = "f".repeat(24).parse().unwrap();
        assert_eq!("F".repeat(24).parse(), Ok(IdOrSlug::Id(id)));
        for slug in ["abc", "---", &"f".repeat(25), &"x".repeat(128)] {
            assert_eq!(slug.parse(), Ok(IdOrSlug::Slug(slug.to_owned())));
        }
        for wrong in ["", "ab", "a_b", "a b", "äöü", &"x".repeat(129)] {
            assert!(wrong.parse::<IdOrSlug>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_id_or_slug_has_the_documented_form(text in "[0-9a-fA-F]{22,26}|[0-9a-zA-Z-]{0,130}|[0-9a-f_/.é-]{0,30}") {
            let form = text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='z' | 'A'..='Z' | '-'));
            let hex = text.len() == 24 && text.chars().all(|c| c.is_ascii_hexdigit());
            match text.parse::<IdOrSlug>() {
                Ok(IdOrSlug::Id(id)) => prop_assert!(hex && id.to_string() == text.to_lowercase()),
                Ok(IdOrSlug::Slug(slug)) => prop_assert!(!hex && form && (3..=128).contains(&text.len()) && slug == text),
                Err(_) => prop_assert!(!form || !(3..=128).contains(&text.len())),
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<IdOrSlug>();
            let _ = text.parse::<Slug>();
        }
    }
}
