//! Validated fields that several requests share.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::Constraint;

/// A text that was checked when it came in. Items and our own tokens have only what was checked then, perhaps under a
/// wider rule than today's, so reading them checks nothing.
macro_rules! checked_text {
    ($(#[$attribute:meta])* $name:ident, |$text:ident| $check:expr) => {
        $(#[$attribute])*
        #[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Constraint;

            fn from_str($text: &str) -> Result<Self, Constraint> {
                $check?;
                Ok(Self($text.to_owned()))
            }
        }
    };
}

pub(super) use checked_text;

checked_text!(
    /// A plausible e-mail address of at most 254 octets (RFC 5321, 4.5.3.1.3): no display name, no address literal, and
    /// a domain of at least two labels. It is personal data and must not be logged.
    Email,
    |text| Constraint::require(is_email(text), "must be one e-mail address of at most 254 characters")
);

checked_text!(
    /// A user (OpenID Connect Core 1.0, 2: at most 255 ASCII characters).
    #[derive(Debug)]
    Subject,
    |text| check_printable(text)
);

checked_text!(
    /// The Authentication Context Class Reference of a login (OpenID Connect Core 1.0, 2).
    #[derive(Debug)]
    Acr,
    |text| check_printable(text)
);

checked_text!(
    /// A method by which a user logged in (RFC 8176), such as `pwd`.
    #[derive(Debug)]
    AuthenticationMethod,
    |text| check_printable(text)
);

checked_text!(
    /// A login service, such as `email`.
    #[derive(Debug)]
    Service,
    |text| Constraint::check(
        text,
        1..=64,
        |c| c.is_ascii_alphanumeric() || b"._-".contains(&c),
        "must match ^[A-Za-z0-9._-]{1,64}$",
    )
);

/// The language of a user, such as `en` or `pt-BR` (BCP 47). Browsers and operating systems also write `pt_BR`, which
/// is the same.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Language(String);

impl Language {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Language {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be 1 to 35 characters of A-Z a-z 0-9 _ -, such as en or pt-BR";
        Constraint::check(text, 1..=35, |c| c.is_ascii_alphanumeric() || b"_-".contains(&c), RULE)?;
        Ok(Self(text.replace('_', "-")))
    }
}

impl Default for Service {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl Default for Language {
    fn default() -> Self {
        Self("en".to_owned())
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

fn is_email(text: &str) -> bool {
    let form = email_address::Options::default().without_display_text().without_domain_literal().with_required_tld();
    text.len() <= 254 && email_address::EmailAddress::parse_with_options(text, form).is_ok()
}

fn check_printable(text: &str) -> Result<(), Constraint> {
    const RULE: &str = "must be 1 to 255 printable ASCII characters";
    Constraint::check(text, 1..=255, |c| c.is_ascii_graphic() || c == b' ', RULE)
}

/// A list whose entries are separated by commas, with or without spaces. `rule` is that of the whole list.
pub fn comma_separated<T: FromStr<Err = Constraint>>(text: &str, rule: &'static str) -> Result<Vec<T>, Constraint> {
    let entries = text.split(',').map(|entry| entry.trim().parse()).collect::<Result<_, Constraint>>();
    entries.map_err(|_| Constraint::new(rule))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn emails_are_plausible() {
        let long =
            |local: usize, labels: usize| format!("{}@{}example.com", "x".repeat(local), "a23456789.".repeat(labels));
        for right in ["user@example.com", "first.last+tag@sub.example.co", &long(63, 17)] {
            assert!(right.parse::<Email>().is_ok(), "{right}");
        }
        assert_eq!(long(64, 18).len(), 256);
        for wrong in [
            "",
            "user",
            "@example.com",
            "user@",
            "user@localhost",
            "a@b@example.com",
            "A <a@example.com>",
            "user@[127.0.0.1]",
            "a b@example.com",
            "a@exa mple.com",
            "a@example..com",
            " a@example.com",
            "a@example.com\n",
            &long(64, 18),
        ] {
            assert!(wrong.parse::<Email>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn languages_are_short_and_have_hyphens() {
        for (given, read) in [("en", "en"), ("pt-BR", "pt-BR"), ("en_US", "en-US"), ("e", "e"), ("1", "1")] {
            assert_eq!(given.parse::<Language>().unwrap().as_str(), read);
        }
        for wrong in ["", "en US", "é", &"a".repeat(36)] {
            assert!(wrong.parse::<Language>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = (text.parse::<Email>(), text.parse::<Language>());
        }

        #[test]
        fn an_accepted_email_is_a_single_address(text in "[a-z\"<>(),;:@. \x00-\x1f\u{7f}é]{0,12}@([a-zé-]{1,5}|\\[|\\.| |@|\r\n){0,6}") {
            if text.parse::<Email>().is_ok() {
                let (_, domain) = text.rsplit_once('@').unwrap();
                prop_assert!(text.len() <= 254 && domain.contains('.') && !domain.contains([' ', '<', '>', '[', '\r', '\n']));
                prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
            }
        }
    }
}
