//! Scopes (RFC 6749, 3.3).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::checked_text;
use crate::error::Constraint;

checked_text!(
    /// An RFC 6749 scope-token (3.3) of at most 256 characters: printable ASCII without space, `"` and `\`.
    #[derive(Debug)]
    Scope,
    |text| Constraint::check(
        text,
        1..=256,
        |c| c.is_ascii_graphic() && c != b'"' && c != b'\\',
        "must be 1 to 256 printable ASCII characters without space, quote and backslash",
    )
);

impl Scope {
    /// A scope of this service.
    pub(crate) fn of_service(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

/// Distinct scopes, in the order in which they were given.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Vec<Scope>")]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|held| held.as_str() == scope)
    }

    #[must_use]
    pub fn is_subset(&self, of: &Self) -> bool {
        self.iter().all(|scope| of.0.contains(scope))
    }

    /// Those that `others` has too, in their order here.
    #[must_use]
    pub fn intersection(&self, others: &Self) -> Self {
        Self(self.iter().filter(|scope| others.0.contains(scope)).cloned().collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    fn insert(&mut self, scope: Scope) {
        if !self.0.contains(&scope) {
            self.0.push(scope);
        }
    }
}

/// Duplicates are dropped.
impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut distinct = Self::default();
        scopes.into_iter().for_each(|scope| distinct.insert(scope));
        distinct
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, scope) in self.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { " " })?;
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

/// 1 to 50 scopes, separated by spaces. Duplicates are dropped.
impl FromStr for Scopes {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: Constraint = Constraint::new(
            "must be 1 to 50 scopes separated by spaces, each of at most 256 printable ASCII characters",
        );
        let mut scopes = Self::default();
        for scope in text.split(' ').filter(|scope| !scope.is_empty()) {
            scopes.insert(scope.parse().map_err(|_| RULE)?);
            // Here and not at the end, because comparing thousands with each other takes long.
            if scopes.0.len() > 50 {
                return Err(RULE);
            }
        }
        if scopes.is_empty() { Err(RULE) } else { Ok(scopes) }
    }
}

/// Scopes as the text of a claim or an answer, separated by spaces: for `#[serde(with)]`.
pub mod space_separated {
    use super::{Deserialize, Deserializer, Scope, Scopes, Serializer};

    pub fn serialize<S: Serializer>(scopes: &Scopes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(scopes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scopes, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(text.split_whitespace().map(|scope| Scope(scope.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn scope_lists_are_separated_by_spaces() {
        let list = |text: &str| text.parse::<Scopes>();
        for right in ["openid profile openid", " openid  profile   "] {
            assert_eq!(list(right).unwrap().to_string(), "openid profile");
        }
        for wrong in ["", " ", "a\tb", "é", "a\u{a0}b"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
    }

    /// A body of 16 KiB may have thousands. Comparing each with all others would take a third of a second.
    #[test]
    fn a_long_list_is_refused_at_its_51st_scope() {
        let many = (0..200_000).map(|n| format!("{n:x}")).collect::<Vec<_>>().join(" ");
        assert!(many.parse::<Scopes>().is_err());
    }

    #[test]
    fn an_item_has_an_array_and_a_claim_has_a_text() {
        #[derive(Deserialize, Serialize)]
        struct Both {
            item: Scopes,
            #[serde(with = "space_separated")]
            claim: Scopes,
        }

        // Longer than a request may give it: written under another rule.
        let long = "x".repeat(300);
        let json = format!(r#"{{"item":["b","a","b","{long}"],"claim":"b a  b {long}"}}"#);
        let both: Both = serde_json::from_str(&json).unwrap();
        assert_eq!(both.item, both.claim);
        let written = format!(r#"{{"item":["b","a","{long}"],"claim":"b a {long}"}}"#);
        assert_eq!(serde_json::to_string(&both).unwrap(), written);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = text.parse::<Scopes>();
        }

        #[test]
        fn only_scope_tokens_are_accepted(text in "[ -~\té]{0,300}") {
            let form = text.chars().all(|c| matches!(c, '!' | '#'..='[' | ']'..='~'));
            prop_assert_eq!(text.parse::<Scope>().is_ok(), form && (1..=256).contains(&text.chars().count()));
        }

        #[test]
        fn a_scope_list_drops_duplicates(scopes in vec("[a-c!~]{1,3}", 1..80)) {
            let mut distinct = scopes.clone();
            let mut seen = BTreeSet::new();
            distinct.retain(|scope| seen.insert(scope.clone()));
            let list = scopes.join(" ").parse::<Scopes>().ok().map(|scopes| scopes.to_string());
            prop_assert_eq!(list, (distinct.len() <= 50).then(|| distinct.join(" ")));
        }

        #[test]
        fn sets_are_as_those_of_the_standard_library(one in vec("[a-e]", 0..6), other in vec("[a-e]", 0..6)) {
            let scopes = |names: &[String]| names.iter().map(|name| name.parse().unwrap()).collect::<Scopes>();
            let set = |scopes: &Scopes| scopes.iter().map(|scope| scope.as_str().to_owned()).collect::<BTreeSet<_>>();
            let (one, other) = (scopes(&one), scopes(&other));
            prop_assert_eq!(one.is_subset(&other), set(&one).is_subset(&set(&other)));
            prop_assert_eq!(set(&one.intersection(&other)), &set(&one) & &set(&other));
        }
    }
}
