//! Validated fields that several requests share.

use std::{fmt, str::FromStr};

use crate::error::Constraint;

/// A plausible e-mail address of at most 254 octets (RFC 5321, 4.5.3.1.3): no display name, no address literal, and a
/// domain of at least two labels.
#[derive(Clone, Eq, PartialEq)]
pub struct Email(String);

impl Email {
    /// The address. It is personal data and must not be logged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let form =
            email_address::Options::default().without_display_text().without_domain_literal().with_required_tld();
        if text.len() <= 254 && email_address::EmailAddress::parse_with_options(text, form).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(Constraint::new("must be one e-mail address of at most 254 characters"))
        }
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

/// An RFC 6749 scope-token (3.3) of at most 64 characters: printable ASCII without space, `"` and `\`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope(String);

impl Scope {
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl FromStr for Scope {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be 1 to 64 printable ASCII characters without space, quote and backslash";
        Constraint::check(text, 1..=64, |c| c.is_ascii_graphic() && c != b'"' && c != b'\\', RULE).map(Self)
    }
}

/// At most 50 scopes, separated by spaces (RFC 6749, 3.3). Duplicates are dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScopeList(Vec<String>);

impl ScopeList {
    #[must_use]
    pub fn into_inner(self) -> Vec<String> {
        self.0
    }
}

impl FromStr for ScopeList {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: Constraint = Constraint::new(
            "must be at most 50 scopes separated by single spaces, each of 1 to 64 printable ASCII characters",
        );
        let mut scopes = Vec::new();
        for scope in text.split(' ') {
            let Scope(scope) = scope.parse().map_err(|_| RULE)?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
            // Here and not at the end, because comparing thousands with each other takes long.
            if scopes.len() > 50 {
                return Err(RULE);
            }
        }
        Ok(Self(scopes))
    }
}

/// A user (OpenID Connect Core 1.0, 2: at most 255 ASCII characters).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject(String);

impl Subject {
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl FromStr for Subject {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be 1 to 255 printable ASCII characters";
        Constraint::check(text, 1..=255, |c| c.is_ascii_graphic() || c == b' ', RULE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn scope_lists_are_separated_by_single_spaces() {
        let list = |text: &str| text.parse::<ScopeList>().map(ScopeList::into_inner);
        assert_eq!(list("openid profile openid").unwrap(), ["openid", "profile"]);
        for wrong in ["", " ", "a ", " a", "a  b", "a\tb", "é"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
    }

    /// A body of 16 KiB may have thousands. Comparing each with all others would take a third of a second.
    #[test]
    fn a_long_list_is_refused_at_its_51st_scope() {
        let many = (0..200_000).map(|n| format!("{n:x}")).collect::<Vec<_>>().join(" ");
        assert!(many.parse::<ScopeList>().is_err());
    }

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

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = text.parse::<Email>();
            let _ = text.parse::<ScopeList>();
        }

        #[test]
        fn only_scope_tokens_are_accepted(text in "[ -~\té]{0,70}") {
            let form = text.chars().all(|c| matches!(c, '!' | '#'..='[' | ']'..='~'));
            prop_assert_eq!(text.parse::<Scope>().is_ok(), form && (1..=64).contains(&text.chars().count()));
        }

        #[test]
        fn a_scope_list_drops_duplicates(scopes in vec("[a-c!~]{1,3}", 1..80)) {
            let mut distinct = scopes.clone();
            let mut seen = BTreeSet::new();
            distinct.retain(|scope| seen.insert(scope.clone()));
            let list = scopes.join(" ").parse::<ScopeList>().map(ScopeList::into_inner).ok();
            prop_assert_eq!(list, (distinct.len() <= 50).then_some(distinct));
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
