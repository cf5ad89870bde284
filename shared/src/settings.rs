//! What a function is given when it starts: variables, AWS configuration, time and randomness.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use aws_config::SdkConfig;
use serde::{Deserialize, Serialize};

use crate::{
    aws,
    clock::{Clock, SystemClock},
    fault::Fault,
    field::Rule,
    random::{Random, SystemRandom},
};

/// Where a function runs. Production takes it from the process, the `local` crate and the tests make their own.
#[derive(Clone)]
pub struct Environment {
    /// The environment variables.
    pub variables: HashMap<String, String>,
    /// Region, credentials, endpoints, timeouts and retries of the AWS SDK.
    pub aws: SdkConfig,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub random: Arc<dyn Random>,
}

impl Environment {
    /// The environment of this process.
    pub async fn of_process() -> Self {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self {
            variables: variables.collect(),
            aws: aws::config().load().await,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        }
    }

    /// A setting that the function cannot run without.
    ///
    /// # Errors
    /// When the variable is not set, or `T` refuses it.
    pub fn required<T: FromStr<Err = Rule>>(&self, variable: &'static str) -> Result<T, SettingsError> {
        self.optional(variable)?.ok_or(SettingsError::not_set(variable))
    }

    /// A setting that has a default; an empty variable counts as not set, as a template's empty parameter makes it.
    ///
    /// # Errors
    /// When `T` refuses the variable.
    pub fn optional<T: FromStr<Err = Rule>>(&self, variable: &'static str) -> Result<Option<T>, SettingsError> {
        match self.variables.get(variable).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|Rule(rule)| SettingsError { variable, rule }),
        }
    }
}

/// The AWS credentials are among the variables, so their values are not shown.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("variables", &self.variables.keys()).finish_non_exhaustive()
    }
}

/// An environment variable that a function cannot start with.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("environment variable {variable} {rule}")]
pub struct SettingsError {
    variable: &'static str,
    rule: &'static str,
}

impl SettingsError {
    pub(crate) const fn not_set(variable: &'static str) -> Self {
        Self { variable, rule: "is not set" }
    }
}

/// `TABLE_NAME`: the name of the DynamoDB table.
#[derive(Clone, Debug)]
pub struct TableName(pub(crate) String);

impl TableName {
    /// The variable.
    pub(crate) const VARIABLE: &'static str = "TABLE_NAME";
}

impl FromStr for TableName {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let form = (3..=255).contains(&text.len());
        if form && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Rule("must be the name of a DynamoDB table: 3 to 255 of A-Z a-z 0-9 _ - ."))
        }
    }
}

/// The id of a key: of one in KMS, or of one that KMS made for envelope signing. As the `kid` of our JWTs (RFC 7515,
/// 4.1.4) it names the key that signed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    /// A new random id: a UUID, as KMS gives its own keys.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: &dyn Random) -> Result<Self, Fault> {
        Ok(Self(random.uuid()?.to_string()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let form = (1..=64).contains(&text.len());
        if form && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Rule("must be the id of a key: 1 to 64 of A-Z a-z 0-9 -"))
        }
    }
}

impl TryFrom<String> for KeyId {
    type Error = Rule;

    fn try_from(text: String) -> Result<Self, Rule> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

/// A key in KMS, by its id or ARN. An alias is refused, since it can come to mean another key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KmsKey {
    /// The id or ARN as it was given. KMS finds a key of another account by its ARN only.
    reference: String,
    id: KeyId,
}

impl KmsKey {
    /// The id or ARN as it was given, which is what KMS is asked for.
    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }

    /// The id alone: the `kid` of what it signed.
    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }
}

impl FromStr for KmsKey {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        // arn:<partition>:kms:<region>:<account>:key/<id>
        let id = match text.split(':').collect::<Vec<_>>()[..] {
            [id] => Some(id),
            ["arn", _, "kms", _, _, resource] => resource.strip_prefix("key/"),
            _ => None,
        };
        let form = text.len() <= 2048 && text.bytes().all(|c| c.is_ascii_graphic());
        let id = id.filter(|_| form).and_then(|id| id.parse().ok());
        let id = id.ok_or(Rule("must be the id or ARN of a KMS key, not an alias"))?;
        Ok(Self { reference: text.to_owned(), id })
    }
}

impl TryFrom<String> for KmsKey {
    type Error = Rule;

    fn try_from(text: String) -> Result<Self, Rule> {
        text.parse()
    }
}

impl From<KmsKey> for String {
    fn from(key: KmsKey) -> Self {
        key.reference
    }
}

/// `SIGNING_MODE`: where tokens are signed, and so which keys verify them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SigningMode {
    /// KMS signs each token, and the private key never leaves it.
    #[default]
    Kms,
    /// The process signs, with a private key that KMS decrypted for it.
    Envelope,
    /// KMS signs, and the keys of envelope signing are trusted too: on the way from one to the other.
    Transition,
}

impl SigningMode {
    /// Reads the variable; KMS signs unless it says otherwise.
    ///
    /// # Errors
    /// When it is none of the modes.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        environment.optional("SIGNING_MODE").map(Option::unwrap_or_default)
    }

    /// Its name.
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
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let known = [Self::Kms, Self::Envelope, Self::Transition].into_iter().find(|mode| mode.as_str() == text);
        known.ok_or(Rule("must be kms, envelope or transition"))
    }
}

/// `SIGNING_KEY_ID`: the KMS key that signs.
pub(crate) fn signing_key(environment: &Environment) -> Result<KmsKey, SettingsError> {
    environment.required("SIGNING_KEY_ID")
}

/// `PREVIOUS_SIGNING_KEY_IDS`: the KMS keys that signed tokens which may still live, each once.
pub(crate) fn previous_signing_keys(environment: &Environment) -> Result<Vec<KmsKey>, SettingsError> {
    let KmsKeyList(listed) = environment.optional("PREVIOUS_SIGNING_KEY_IDS")?.unwrap_or_default();
    let mut known = vec![signing_key(environment)?];
    for key in listed {
        if !known.iter().any(|other| other.id == key.id) {
            known.push(key);
        }
    }
    Ok(known.split_off(1))
}

/// Key ids or ARNs, separated by commas.
#[derive(Default)]
struct KmsKeyList(Vec<KmsKey>);

impl FromStr for KmsKeyList {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let keys = text.split(',').map(|key| key.trim().parse()).collect::<Result<_, Rule>>();
        keys.map(Self).map_err(|_| Rule("must be ids or ARNs of KMS keys, separated by commas"))
    }
}

/// `ISSUER`: the `iss` of our JWTs (RFC 7519, 4.1.1). Any string serves, such as a URL or a UUID; verifiers compare
/// it exactly.
#[derive(Clone, Debug)]
pub struct Issuer(String);

impl Issuer {
    /// Reads the variable.
    ///
    /// # Errors
    /// When it is not set, or not of the form.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        environment.required("ISSUER")
    }

    /// The issuer as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `AUDIENCE`: the `aud` of OAuth access tokens (RFC 7519, 4.1.3), which is the issuer unless set.
#[derive(Clone, Debug)]
pub struct Audience(String);

impl Audience {
    /// Reads both variables.
    ///
    /// # Errors
    /// When `AUDIENCE` is not of the form, or not set and [`Issuer::from_environment`] fails.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let audience = environment.optional::<Issuer>("AUDIENCE")?;
        audience.map_or_else(|| Issuer::from_environment(environment), Ok).map(|Issuer(audience)| Self(audience))
    }

    /// The audience as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Issuer {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        if text.len() <= 512 && text.bytes().all(|c| c.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Rule("must be at most 512 printable ASCII characters without spaces"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            aws: SdkConfig::builder().build(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        }
    }

    #[test]
    fn a_refusal_names_the_variable() {
        let refusal =
            |variables: &[(&str, &str)]| previous_signing_keys(&environment(variables)).unwrap_err().to_string();
        assert_eq!(refusal(&[]), "environment variable SIGNING_KEY_ID is not set");
        assert_eq!(refusal(&[("SIGNING_KEY_ID", "")]), "environment variable SIGNING_KEY_ID is not set");
        assert_eq!(
            refusal(&[("SIGNING_KEY_ID", "alias/tokens")]),
            "environment variable SIGNING_KEY_ID must be the id or ARN of a KMS key, not an alias"
        );
        assert_eq!(
            refusal(&[("SIGNING_KEY_ID", "one"), ("PREVIOUS_SIGNING_KEY_IDS", "two,,three")]),
            "environment variable PREVIOUS_SIGNING_KEY_IDS must be ids or ARNs of KMS keys, separated by commas"
        );
    }

    #[test]
    fn a_kms_key_is_asked_for_as_it_is_given_and_named_by_its_id() {
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let previous = format!("{arn}, one,two ,two,{arn}");
        let keys = previous_signing_keys(&environment(&[
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
        let audience = |variables: &[(&str, &str)]| Audience::from_environment(&environment(variables));
        assert_eq!(audience(&[("ISSUER", "a")]).unwrap().as_str(), "a");
        assert_eq!(audience(&[("ISSUER", "a"), ("AUDIENCE", "b")]).unwrap().as_str(), "b");
        assert!(audience(&[("ISSUER", "a b")]).is_err());
        assert!(audience(&[("ISSUER", "a"), ("AUDIENCE", "b c")]).is_err());
        assert_eq!(audience(&[]).unwrap_err().to_string(), "environment variable ISSUER is not set");
    }

    #[test]
    fn debug_shows_no_value() {
        let text = format!("{:?}", environment(&[("AWS_SECRET_ACCESS_KEY", "hush")]));
        assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("hush"));
    }

    proptest! {
        #[test]
        fn an_issuer_is_what_a_header_and_a_url_can_hold(text in "[!-~]{0,520}", any: String) {
            for text in [text, any] {
                let form = text.chars().all(|c| matches!(c, '!'..='~'));
                prop_assert_eq!(text.parse::<Issuer>().is_ok(), form && text.len() <= 512);
            }
        }

        #[test]
        fn a_list_of_kms_keys_is_each_of_them(ids in vec("[A-Za-z0-9-]{1,64}", 1..5), wrong in "[ -~é]{0,20}", spaces in " {0,2}") {
            let list = |texts: &[String]| texts.join(&format!("{spaces},")).parse::<KmsKeyList>().map(|list| list.0).ok();
            let named = |texts: &[String]| list(texts).map(|keys| keys.into_iter().map(|key| key.id.0).collect::<Vec<_>>());
            let with_arn: Vec<String> = ids.iter().map(|id| format!("arn:aws:kms:eu-west-1:111122223333:key/{id}")).collect();
            prop_assert_eq!(named(&with_arn), Some(ids.clone()));
            prop_assert_eq!(named(&ids), Some(ids.clone()));
            if let Some(read) = named(&[ids, vec![wrong]].concat()) {
                prop_assert!(read.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')));
            }
        }
    }
}
