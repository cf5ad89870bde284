//! The settings of JWTs: the keys that sign and verify them, their issuer and their audience.

use std::{net::IpAddr, str::FromStr};

use chrono::TimeDelta;
use lambda_http::http::uri::Authority;

use crate::{
    error::Constraint,
    id::KmsKey,
    input::{Audience, Audiences, comma_separated},
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

/// How many keys are published at most: AWS's Application Load Balancer forwards nothing if there are more.
pub const MAX_PUBLISHED_KEYS: usize = 10;

/// `PREVIOUS_SIGNING_KEY_IDS`: the KMS keys that signed tokens before and whose tokens may still be valid. Duplicates
/// are dropped.
pub(super) fn previous_signing_keys(
    environment: &Environment,
    signing_key: &KmsKey,
) -> Result<Vec<KmsKey>, SettingsError> {
    const VARIABLE: &str = "PREVIOUS_SIGNING_KEY_IDS";
    let KmsKeyList(listed) = environment.optional(VARIABLE)?.unwrap_or_default();
    let mut known = vec![signing_key.clone()];
    for key in listed {
        if !known.iter().any(|other| other.id() == key.id()) {
            known.push(key);
        }
    }
    if known.len() > MAX_PUBLISHED_KEYS {
        return Err(SettingsError::new(VARIABLE, Constraint::new("must be at most 9 keys beside SIGNING_KEY_ID")));
    }
    Ok(known.split_off(1))
}

/// How many keys of KMS are published.
pub fn count_kms_keys(environment: &Environment) -> Result<usize, SettingsError> {
    Ok(1 + previous_signing_keys(environment, &signing_key(environment)?)?.len())
}

/// Key ids or ARNs, separated by commas.
#[derive(Default)]
struct KmsKeyList(Vec<KmsKey>);

impl FromStr for KmsKeyList {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        comma_separated(text, "must be ids or ARNs of KMS keys, separated by commas").map(Self)
    }
}

/// `ISSUER`: the `iss` of our JWTs (RFC 7519, 4.1.1). Any string is allowed, such as a URL or a UUID;
/// verifiers compare it exactly. It is the audience of its tokens too, unless there is an `AUDIENCE`, so it is checked
/// as one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuer(Audience);

impl Issuer {
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        environment.required("ISSUER")
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The audiences that a token may be for.
#[derive(Clone, Debug)]
pub enum AcceptedAudiences {
    /// That of the deployment, as at its own endpoints. An access token of `/api/v1/tokens` has none but its client.
    Deployment,
    /// At least one of these.
    OneOf(Vec<Audience>),
    Any,
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

    /// The deployment's audience in the access tokens of an issuer: `AUDIENCE`, or the issuer.
    #[must_use]
    pub fn audience_of(&self, issuer: &Issuer) -> Audience {
        self.audience.clone().unwrap_or_else(|| issuer.0.clone())
    }

    /// The deployment's audience in the access tokens of logins.
    #[must_use]
    pub fn audience_of_logins(&self) -> Audience {
        self.audience_of(self.oidc.as_ref().unwrap_or(&self.issuer))
    }

    /// Whether an access token is from one of the issuers and for an accepted audience. `of_client` says that it is one
    /// of `/api/v1/tokens`, whose audience is its client.
    pub(crate) fn accepts(&self, iss: &str, aud: &Audiences, of_client: bool, accepted: &AcceptedAudiences) -> bool {
        self.find(iss).is_some_and(|issuer| match accepted {
            AcceptedAudiences::Deployment => of_client || aud.contains(&self.audience_of(issuer)),
            AcceptedAudiences::OneOf(audiences) => audiences.iter().any(|audience| aud.contains(audience)),
            AcceptedAudiences::Any => true,
        })
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
    ///
    /// # Errors
    /// Also if `ISSUER` would be one without the slash at its end: its clients would find no endpoints.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, SettingsError> {
        let issuer = Issuer::from_environment(environment)?;
        if let Some(oidc_issuer) = environment.optional("OIDC_ISSUER")? {
            return Ok(Some(oidc_issuer));
        }
        if issuer.as_str().strip_suffix('/').is_some_and(|origin| origin.parse::<Self>().is_ok()) {
            let rule = Constraint::new("must not end with a slash, unless OIDC_ISSUER is set");
            return Err(SettingsError::new("ISSUER", rule));
        }
        Ok(issuer.as_str().parse().ok())
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

/// `MAX_TOKEN_TTL_SECONDS`: how long a token of `create-token` lives at most. All others live for a day at most, so
/// this is for how long a key stays published that signs no more. A year, unless it is set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaxTokenTtl(pub u32);

impl MaxTokenTtl {
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let seconds = environment.optional("MAX_TOKEN_TTL_SECONDS")?;
        Ok(seconds.map_or(Self(31_536_000), |Seconds::<1>(seconds)| Self(seconds)))
    }
}

/// `KEY_PUBLICATION_SECONDS`: how long a key is published before it may sign. Two hours, unless it is set: for so long
/// AWS's verifiers may keep a key set.
pub fn key_publication(environment: &Environment) -> Result<TimeDelta, SettingsError> {
    let seconds = environment.optional("KEY_PUBLICATION_SECONDS")?;
    Ok(TimeDelta::seconds(seconds.map_or(7200, |Seconds::<0>(seconds)| seconds.into())))
}

/// `MIN` to 315,360,000 (ten years).
struct Seconds<const MIN: u32>(u32);

impl<const MIN: u32> FromStr for Seconds<MIN> {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let seconds = text.parse().ok().filter(|seconds| (MIN..=315_360_000).contains(seconds));
        seconds.map(Self).ok_or(Constraint::new(if MIN == 0 {
            "must be a whole number of seconds from 0 to 315360000"
        } else {
            "must be a whole number of seconds from 1 to 315360000"
        }))
    }
}

/// A URL of the login service, to which a client sends the user's browser.
#[derive(Clone, Debug)]
pub struct LoginUrl(String);

impl LoginUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LoginUrl {
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

/// `AUTHORIZATION_RESPONSE_ISS`: whether the login service names the issuer in its answers (RFC 9207). It does, unless
/// this is `false`.
pub fn authorization_response_iss(environment: &Environment) -> Result<bool, SettingsError> {
    crate::named! {
        enum Truth {
            True = "true",
            False = "false",
        }
    }
    let setting = environment.optional("AUTHORIZATION_RESPONSE_ISS")?;
    Ok(setting.is_none_or(|truth| matches!(truth, Truth::True)))
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
        text.parse().map(Self)
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
        let audiences = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Audience>>();
        let accept = |issuers: &Issuers, iss, aud: &[&str], accepted| {
            issuers.accepts(iss, &Audiences::from(audiences(aud)), false, &accepted)
        };
        let deployment = |issuers: &Issuers, iss, aud| accept(issuers, iss, &[aud], AcceptedAudiences::Deployment);
        let (own, shared) = (issuers(&[]), issuers(&[("AUDIENCE", "three")]));
        assert!(deployment(&own, "one", "one") && deployment(&own, "https://two.example", "https://two.example"));
        assert!(!deployment(&own, "one", "https://two.example") && !deployment(&own, "three", "three"));
        assert!(deployment(&shared, "one", "three") && deployment(&shared, "https://two.example", "three"));
        assert!(!deployment(&shared, "one", "one"));
        assert!(accept(&shared, "one", &["four", "three"], AcceptedAudiences::Deployment));
        let of_two = || AcceptedAudiences::OneOf(audiences(&["four", "five"]));
        assert!(accept(&own, "one", &["three", "five"], of_two()) && !accept(&own, "one", &["one"], of_two()));
        assert!(accept(&own, "one", &["six"], AcceptedAudiences::Any));
        assert!(!accept(&own, "three", &["three"], AcceptedAudiences::Any));
        // The audience of an access token of `/api/v1/tokens` is its client.
        let of_client = |accepted| own.accepts("one", &audiences(&["client"]).into(), true, &accepted);
        assert!(of_client(AcceptedAudiences::Deployment) && !of_client(of_two()));
        assert!(of_client(AcceptedAudiences::OneOf(audiences(&["client"]))));
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
            // As the default it is only left out, unless it is one but for its slash.
            if !["https://a b", "https://a.example/"].contains(&refused) {
                assert_eq!(oidc(&[("ISSUER", refused)]), Ok(None), "{refused}");
            }
            let error = format!("environment variable OIDC_ISSUER {rule}");
            assert_eq!(oidc(&[("ISSUER", "https://a.example"), ("OIDC_ISSUER", refused)]), Err(error));
        }
        let error = oidc(&[("ISSUER", "https://a.example/")]).unwrap_err();
        assert_eq!(error, "environment variable ISSUER must not end with a slash, unless OIDC_ISSUER is set");
        let both = [("ISSUER", "https://a.example/"), ("OIDC_ISSUER", "https://b.example")];
        assert_eq!(oidc(&both), Ok(Some("https://b.example".to_owned())));
    }

    #[test]
    fn a_url_of_the_login_service_has_no_fragment() {
        for right in ["https://a.example/authorize", "https://a.example/?b=c", "http://127.0.0.1:3000/authorize"] {
            assert_eq!(right.parse::<LoginUrl>().unwrap().as_str(), right);
        }
        for wrong in
            ["", "authorize", "/authorize", "http://a.example/authorize", "https://a.example/#b", "javascript://a"]
        {
            assert!(wrong.parse::<LoginUrl>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_issuer_fits_into_a_header_and_a_url(text in "[!-~]{0,520}", any: String) {
            for text in [text, any] {
                let form = text.chars().all(|c| matches!(c, '!'..='~'));
                prop_assert_eq!(text.parse::<Issuer>().is_ok(), form && (1..=512).contains(&text.len()));
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
