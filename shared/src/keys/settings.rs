//! The settings of JWTs: the keys that sign and verify them, their issuer and their audience.

use std::str::FromStr;

use crate::{
    error::Constraint,
    id::KmsKey,
    runtime::{Environment, SettingsError},
};

/// `SIGNING_MODE`: where tokens are signed, and therefore which keys verify them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SigningMode {
    /// KMS signs each token, and the private key never leaves it.
    #[default]
    Kms,
    /// The process signs, with a private key that KMS decrypted for it.
    Envelope,
    /// KMS signs, and the keys of envelope signing are trusted too. For the change from one mode to the other.
    Transition,
}

impl SigningMode {
    const ALL: [Self; 3] = [Self::Kms, Self::Envelope, Self::Transition];

    /// Reads the variable; KMS signs unless it says otherwise.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        environment.optional("SIGNING_MODE").map(Option::unwrap_or_default)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::Envelope => "envelope",
            Self::Transition => "transition",
        }
    }
}

impl FromStr for SigningMode {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let known = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        known.ok_or_else(|| Constraint::one_of(&Self::ALL.map(Self::as_str)))
    }
}

/// `SIGNING_KEY_ID`: the KMS key that signs.
pub(super) fn signing_key(environment: &Environment) -> Result<KmsKey, SettingsError> {
    environment.required("SIGNING_KEY_ID")
}

/// `PREVIOUS_SIGNING_KEY_IDS`: the KMS keys that signed tokens before and whose tokens may still be valid. Duplicates are
/// dropped.
pub(super) fn previous_signing_keys(
    environment: &Environment,
    signing_key: &KmsKey,
) -> Result<Vec<KmsKey>, SettingsError> {
    let KmsKeyList(listed) = environment.optional("PREVIOUS_SIGNING_KEY_IDS")?.unwrap_or_default();
    let mut known = vec![signing_key.clone()];
    for key in listed {
        if !known.iter().any(|other| other.id() == key.id()) {
            known.push(key);
        }
    }
    Ok(known.split_off(1))
}

/// Key ids or ARNs, separated by commas.
#[derive(Default)]
struct KmsKeyList(Vec<KmsKey>);

impl FromStr for KmsKeyList {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let keys = text.split(',').map(|key| key.trim().parse()).collect::<Result<_, Constraint>>();
        keys.map(Self).map_err(|_| Constraint::new("must be ids or ARNs of KMS keys, separated by commas"))
    }
}

/// `ISSUER`: the `iss` of our JWTs (RFC 7519, 4.1.1). Any string is allowed, such as a URL or a UUID;
/// verifiers compare it exactly.
#[derive(Clone, Debug)]
pub struct Issuer(String);

impl Issuer {
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        environment.required("ISSUER")
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `AUDIENCE`: the `aud` of OAuth access tokens (RFC 7519, 4.1.3). The default is the issuer.
#[derive(Clone, Debug)]
pub struct Audience(String);

impl Audience {
    pub fn from_environment(environment: &Environment, issuer: &Issuer) -> Result<Self, SettingsError> {
        let audience = environment.optional("AUDIENCE")?;
        let Issuer(audience) = audience.unwrap_or_else(|| issuer.clone());
        Ok(Self(audience))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Issuer {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be at most 512 printable ASCII characters without spaces";
        Constraint::check(text, 0..=512, |c| c.is_ascii_graphic(), RULE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn previous_of(environment: &Environment) -> Result<Vec<KmsKey>, SettingsError> {
        previous_signing_keys(environment, &signing_key(environment)?)
    }

    #[test]
    fn an_error_names_the_variable() {
        let error_text = |variables: &[(&str, &str)]| previous_of(&Environment::of(variables)).unwrap_err().to_string();
        assert_eq!(error_text(&[]), "environment variable SIGNING_KEY_ID is not set");
        assert_eq!(error_text(&[("SIGNING_KEY_ID", "")]), "environment variable SIGNING_KEY_ID is not set");
        assert_eq!(
            error_text(&[("SIGNING_KEY_ID", "alias/tokens")]),
            "environment variable SIGNING_KEY_ID must be the id or ARN of a KMS key, not an alias"
        );
        assert_eq!(
            error_text(&[("SIGNING_KEY_ID", "one"), ("PREVIOUS_SIGNING_KEY_IDS", "two,,three")]),
            "environment variable PREVIOUS_SIGNING_KEY_IDS must be ids or ARNs of KMS keys, separated by commas"
        );
    }

    #[test]
    fn a_kms_key_is_requested_as_given_and_named_by_its_id() {
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let previous = format!("{arn}, one,two ,two,{arn}");
        let keys = previous_of(&Environment::of(&[
            ("SIGNING_KEY_ID", "arn:aws:kms:eu-west-1:111122223333:key/one"),
            ("PREVIOUS_SIGNING_KEY_IDS", &previous),
        ]));
        let keys = keys
            .unwrap()
            .iter()
            .map(|key| (key.reference().to_owned(), key.id().as_str().to_owned()))
            .collect::<Vec<_>>();
        let id = arn.rsplit_once('/').unwrap().1;
        assert_eq!(keys, [(arn.to_owned(), id.to_owned()), ("two".to_owned(), "two".to_owned())]);
        for wrong in [
            "arn:aws:kms:eu-west-1:111122223333:alias/tokens",
            "arn:aws:sns:eu-west-1:111122223333:key/one",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:key/one:two",
            "arn:aws:kms:eu west-1:111122223333:key/one",
            "alias/tokens",
            "",
        ] {
            assert!(wrong.parse::<KmsKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_audience_is_the_issuer_unless_set() {
        let audience = |variables: &[(&str, &str)]| {
            let environment = Environment::of(variables);
            Audience::from_environment(&environment, &Issuer::from_environment(&environment)?)
        };
        assert_eq!(audience(&[("ISSUER", "a")]).unwrap().as_str(), "a");
        assert_eq!(audience(&[("ISSUER", "a"), ("AUDIENCE", "b")]).unwrap().as_str(), "b");
        assert!(audience(&[("ISSUER", "a b")]).is_err());
        assert!(audience(&[("ISSUER", "a"), ("AUDIENCE", "b c")]).is_err());
        assert_eq!(audience(&[]).unwrap_err().to_string(), "environment variable ISSUER is not set");
    }

    proptest! {
        #[test]
        fn an_issuer_fits_into_a_header_and_a_url(text in "[!-~]{0,520}", any: String) {
            for text in [text, any] {
                let form = text.chars().all(|c| matches!(c, '!'..='~'));
                prop_assert_eq!(text.parse::<Issuer>().is_ok(), form && text.len() <= 512);
            }
        }

        #[test]
        fn a_list_of_kms_keys_contains_each_of_them(ids in vec("[A-Za-z0-9-]{1,64}", 1..5), wrong in "[ -~é]{0,20}", spaces in " {0,2}") {
            let list = |texts: &[String]| texts.join(&format!("{spaces},")).parse::<KmsKeyList>().map(|list| list.0).ok();
            let named = |texts: &[String]| list(texts).map(|keys| keys.into_iter().map(|key| key.id().as_str().to_owned()).collect::<Vec<_>>());
            let with_arn: Vec<String> = ids.iter().map(|id| format!("arn:aws:kms:eu-west-1:111122223333:key/{id}")).collect();
            prop_assert_eq!(named(&with_arn), Some(ids.clone()));
            prop_assert_eq!(named(&ids), Some(ids.clone()));
            if let Some(read) = named(&[ids, vec![wrong]].concat()) {
                prop_assert!(read.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')));
            }
        }
    }
}
