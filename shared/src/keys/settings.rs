//! The settings of JWTs: the keys that sign and verify them, their issuer and their audience.

use std::{net::IpAddr, str::FromStr};

use lambda_http::http::uri::Authority;

use crate::{
    error::Constraint,
    id::KmsKey,
    runtime::{Environment, SettingsError},
};

crate::named! {
    /// `SIGNING_MODE`: where tokens are signed, and therefore which keys verify them.
    #[derive(Default)]
    pub enum SigningMode {
        /// KMS signs each token, and the private key never leaves it.
        #[default]
        Kms = "kms",
        /// The process signs, with a private key that KMS decrypted for it.
        Envelope = "envelope",
        /// KMS signs, and the keys of envelope signing are trusted too. For the change from one mode to the other.
        Transition = "transition",
    }
}

impl SigningMode {
    /// Reads the variable; KMS signs unless it says otherwise.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        environment.optional("SIGNING_MODE").map(Option::unwrap_or_default)
    }
}

/// `SIGNING_KEY_ID`: the KMS key that signs.
pub(super) fn signing_key(environment: &Environment) -> Result<KmsKey, SettingsError> {
    environment.required("SIGNING_KEY_ID")
}

/// `PREVIOUS_SIGNING_KEY_IDS`: the KMS keys that signed tokens before and whose tokens may still be valid. Duplicates
/// are dropped.
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
#[derive(Clone, Debug, Eq, PartialEq)]
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

/// The `aud` of access tokens (RFC 7519, 4.1.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audience(String);

impl Audience {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The issuers of this deployment, and the audiences of their access tokens.
#[derive(Clone, Debug)]
pub struct Issuers {
    issuer: Issuer,
    oidc: Option<Issuer>,
    audience: Option<Audience>,
}

impl Issuers {
    /// Reads `ISSUER`, `OIDC_ISSUER` and `AUDIENCE`.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self {
            issuer: Issuer::from_environment(environment)?,
            oidc: OidcIssuer::from_environment(environment)?.map(|OidcIssuer(issuer)| issuer),
            audience: environment.optional("AUDIENCE")?,
        })
    }

    /// The issuer of `create-token` and `/api/v1/tokens`.
    #[must_use]
    pub fn api_v1(&self) -> &Issuer {
        &self.issuer
    }

    /// The issuer of the endpoints under `/oauth2`; `None` if `ISSUER` cannot be one and `OIDC_ISSUER` is not set.
    #[must_use]
    pub fn oidc(&self) -> Option<&Issuer> {
        self.oidc.as_ref()
    }

    /// The audience of the access tokens of an issuer: `AUDIENCE`, or the issuer.
    #[must_use]
    pub fn audience_of(&self, issuer: &Issuer) -> Audience {
        self.audience.clone().unwrap_or_else(|| Audience(issuer.0.clone()))
    }

    /// Whether this is one of the issuers.
    #[must_use]
    pub(crate) fn is_known(&self, iss: &str) -> bool {
        self.find(iss).is_some()
    }

    /// Whether an access token with these claims is from one of the issuers, for its audience.
    #[must_use]
    pub(crate) fn accepts(&self, iss: &str, aud: &str) -> bool {
        self.find(iss).is_some_and(|issuer| self.audience_of(issuer).as_str() == aud)
    }

    fn find(&self, iss: &str) -> Option<&Issuer> {
        [Some(&self.issuer), self.oidc.as_ref()].into_iter().flatten().find(|issuer| issuer.as_str() == iss)
    }
}

/// `OIDC_ISSUER`: the issuer of OpenID Connect Discovery 1.0 and RFC 8414, which is the URL that clients reach this API
/// at. The default is `ISSUER`, if that is such a URL.
///
/// It has no path: RFC 8414 (3.1) would put its metadata where no route is.
#[derive(Clone, Debug)]
pub struct OidcIssuer(Issuer);

impl OidcIssuer {
    /// Reads the variable, and `ISSUER` for its default. `None` if there is no such issuer.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, SettingsError> {
        let Issuer(default) = Issuer::from_environment(environment)?;
        let issuer = environment.optional("OIDC_ISSUER")?;
        Ok(issuer.or_else(|| default.parse().ok()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for OidcIssuer {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const NO_URL: Constraint = Constraint::new("must be a URL such as https://tokens.example.com");
        let issuer: Issuer = text.parse().map_err(|_| NO_URL)?;
        let HttpUrl { after_authority, .. } = HttpUrl::parse(text).ok_or(NO_URL)?.require_https()?;
        match after_authority.chars().next() {
            None => Ok(Self(issuer)),
            Some('/') if after_authority == "/" => Err(Constraint::new("must not end with a slash")),
            Some('/') => Err(Constraint::new("must have no path: RFC 8414 would move its metadata there")),
            Some(_) => Err(Constraint::new("must have no query and no fragment")),
        }
    }
}

/// `AUTHORIZATION_ENDPOINT`: the URL of the login service, to which a client sends the user's browser (RFC 6749, 3.1).
#[derive(Clone, Debug)]
pub struct AuthorizationEndpoint(String);

impl AuthorizationEndpoint {
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, SettingsError> {
        environment.optional("AUTHORIZATION_ENDPOINT")
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AuthorizationEndpoint {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be a URL such as https://login.example.com/authorize, of at most 2048 characters";
        Constraint::check(text, 1..=2048, |c| c.is_ascii_graphic(), RULE)?;
        let HttpUrl { after_authority, .. } = HttpUrl::parse(text).ok_or(Constraint::new(RULE))?.require_https()?;
        if after_authority.contains('#') {
            return Err(Constraint::new("must have no fragment"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The parts of an `http:` or `https:` URL that settings are checked by.
struct HttpUrl<'a> {
    encrypted: bool,
    host: String,
    /// Path, query and fragment.
    after_authority: &'a str,
}

impl<'a> HttpUrl<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let encrypted = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (authority, after_authority) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let authority: Authority = authority.parse().ok().filter(|_| !authority.contains('@'))?;
        let host = Some(authority.host().to_owned()).filter(|host| !host.is_empty())?;
        let port = authority.as_str().strip_prefix(host.as_str())?;
        let port_is_right = port.is_empty() || port.strip_prefix(':')?.parse::<u16>().is_ok();
        if !port_is_right {
            return None;
        }
        Some(Self { encrypted, host, after_authority })
    }

    /// Plain HTTP is accepted for loopback hosts only.
    fn require_https(self) -> Result<Self, Constraint> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if self.encrypted || loopback {
            Ok(self)
        } else {
            Err(Constraint::new("must begin with https:// (http:// only for a loopback host)"))
        }
    }
}

impl FromStr for Issuer {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        check_name(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Audience {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        check_name(text)?;
        Ok(Self(text.to_owned()))
    }
}

fn check_name(text: &str) -> Result<(), Constraint> {
    const RULE: &str = "must be at most 512 printable ASCII characters without spaces";
    Constraint::check(text, 0..=512, |c| c.is_ascii_graphic(), RULE)
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
            let issuers = Issuers::from_environment(&Environment::of(variables))?;
            Ok::<_, SettingsError>(issuers.audience_of(issuers.api_v1()).as_str().to_owned())
        };
        assert_eq!(audience(&[("ISSUER", "a")]).unwrap(), "a");
        assert_eq!(audience(&[("ISSUER", "a"), ("AUDIENCE", "b")]).unwrap(), "b");
        assert!(audience(&[("ISSUER", "a b")]).is_err());
        assert!(audience(&[("ISSUER", "a"), ("AUDIENCE", "b c")]).is_err());
        assert_eq!(audience(&[]).unwrap_err().to_string(), "environment variable ISSUER is not set");
    }

    #[test]
    fn each_issuer_has_its_own_audience_unless_one_is_set() {
        let issuers = |more: &[(&str, &str)]| {
            let variables = [&[("ISSUER", "one"), ("OIDC_ISSUER", "https://two.example")], more].concat();
            Issuers::from_environment(&Environment::of(&variables)).unwrap()
        };
        let (own, shared) = (issuers(&[]), issuers(&[("AUDIENCE", "three")]));
        assert!(own.accepts("one", "one") && own.accepts("https://two.example", "https://two.example"));
        assert!(!own.accepts("one", "https://two.example") && !own.accepts("three", "three"));
        assert!(shared.accepts("one", "three") && shared.accepts("https://two.example", "three"));
        assert!(!shared.accepts("one", "one") && shared.is_known("one") && !shared.is_known("three"));
    }

    #[test]
    fn an_oidc_issuer_is_the_url_of_the_api() {
        let oidc = |variables: &[(&str, &str)]| {
            let issuer = OidcIssuer::from_environment(&Environment::of(variables));
            issuer.map(|issuer| issuer.map(|issuer| issuer.as_str().to_owned())).map_err(|error| error.to_string())
        };
        for url in [
            "https://a.example",
            "https://a.example:8443",
            "http://127.0.0.1:3000",
            "http://localhost",
            "http://[::1]:1",
        ] {
            assert_eq!(oidc(&[("ISSUER", url)]), Ok(Some(url.to_owned())));
            assert_eq!(oidc(&[("ISSUER", "name"), ("OIDC_ISSUER", url)]), Ok(Some(url.to_owned())));
        }
        for (refused, rule) in [
            ("name", "must be a URL such as https://tokens.example.com"),
            ("ftp://a.example", "must be a URL such as https://tokens.example.com"),
            ("https://", "must be a URL such as https://tokens.example.com"),
            ("https://user@a.example", "must be a URL such as https://tokens.example.com"),
            ("https://a.example:x", "must be a URL such as https://tokens.example.com"),
            ("https://a.example:", "must be a URL such as https://tokens.example.com"),
            ("https://a b", "must be a URL such as https://tokens.example.com"),
            ("http://a.example", "must begin with https:// (http:// only for a loopback host)"),
            ("http://localhost.example", "must begin with https:// (http:// only for a loopback host)"),
            ("https://a.example/", "must not end with a slash"),
            ("https://a.example/b", "must have no path: RFC 8414 would move its metadata there"),
            ("https://a.example?b", "must have no query and no fragment"),
            ("https://a.example#b", "must have no query and no fragment"),
        ] {
            // As the default it is only left out.
            if refused != "https://a b" {
                assert_eq!(oidc(&[("ISSUER", refused)]), Ok(None), "{refused}");
            }
            let error = format!("environment variable OIDC_ISSUER {rule}");
            assert_eq!(oidc(&[("ISSUER", "https://a.example"), ("OIDC_ISSUER", refused)]), Err(error));
        }
    }

    #[test]
    fn an_authorization_endpoint_is_a_url_without_fragment() {
        for right in ["https://a.example/authorize", "https://a.example/?b=c", "http://127.0.0.1:3000/authorize"] {
            assert_eq!(right.parse::<AuthorizationEndpoint>().unwrap().as_str(), right);
        }
        for wrong in
            ["", "authorize", "/authorize", "http://a.example/authorize", "https://a.example/#b", "javascript://a"]
        {
            assert!(wrong.parse::<AuthorizationEndpoint>().is_err(), "{wrong}");
        }
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
