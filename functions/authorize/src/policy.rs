//! Which credentials the settings allow. Each setting is optional, and all that are set must hold.

use std::str::FromStr;

use shared::{
    auth::{ActiveCredential, ActiveKind, ParsedClientId},
    error::Constraint,
    id::ObjectId,
    input::{Audience, Scopes, comma_separated},
    keys::AcceptedAudiences,
    runtime::{Environment, SettingsError},
};

#[derive(Debug)]
pub(crate) struct Policy {
    /// `REQUIRED_SCOPES`: the credential must hold all of them.
    required_scopes: Scopes,
    /// `ORGANIZATION_ID`: only credentials of this organization.
    organization: Option<ObjectId>,
    /// `CREDENTIAL_KINDS`: only these kinds.
    kinds: Vec<ActiveKind>,
    /// `CLIENT_IDS`: of the access tokens only those of these clients and registrations. It does not restrict API keys
    /// and app tokens, which have neither.
    clients: Option<Vec<ParsedClientId>>,
    /// `APPLICATION_IDS`: of the app tokens only those of these applications.
    applications: Option<Vec<ObjectId>>,
    /// `AUDIENCES`: of the access tokens only those that are for one of these. The default is that of the deployment.
    audiences: AcceptedAudiences,
}

impl Policy {
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let kinds: Option<Kinds> = environment.optional("CREDENTIAL_KINDS")?;
        let clients: Option<Clients> = environment.optional("CLIENT_IDS")?;
        let applications: Option<Applications> = environment.optional("APPLICATION_IDS")?;
        let audiences: Option<AudienceList> = environment.optional("AUDIENCES")?;
        Ok(Self {
            required_scopes: environment.optional("REQUIRED_SCOPES")?.unwrap_or_default(),
            organization: environment.optional("ORGANIZATION_ID")?,
            kinds: kinds.map_or_else(|| ActiveKind::BEARERS.into(), |Kinds(kinds)| kinds),
            clients: clients.map(|Clients(clients)| clients),
            applications: applications.map(|Applications(applications)| applications),
            audiences: audiences
                .map_or(AcceptedAudiences::Deployment, |AudienceList(audiences)| AcceptedAudiences::OneOf(audiences)),
        })
    }

    /// The audiences that an access token may have.
    pub(crate) fn audiences(&self) -> &AcceptedAudiences {
        &self.audiences
    }

    /// Whether an active credential, which has an accepted audience, is allowed.
    pub(crate) fn allows(&self, credential: &ActiveCredential<'_>) -> bool {
        let organization = self.organization.is_none_or(|required| credential.organization_id() == Some(required));
        let scopes = self.required_scopes.is_subset(credential.scopes());
        let client = match (&self.clients, credential.client_id()) {
            // By the text: a registration's id may have the form of a client's.
            (Some(allowed), Some(client)) => client.to_string().parse().is_ok_and(|client| allowed.contains(&client)),
            (None, _) | (_, None) => true,
        };
        let application = match (&self.applications, credential.application_id()) {
            (Some(allowed), Some(application)) => allowed.contains(&application),
            (None, _) | (_, None) => true,
        };
        let kind = credential.is_bearer() && self.kinds.contains(&credential.kind());
        kind && organization && scopes && client && application
    }
}

struct Kinds(Vec<ActiveKind>);

impl FromStr for Kinds {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be some of apiKey, appToken, accessToken and userToken, separated by commas";
        let kind = |text: &str| ActiveKind::BEARERS.into_iter().find(|kind| kind.as_str() == text.trim());
        text.split(',').map(kind).collect::<Option<_>>().map(Self).ok_or(Constraint::new(RULE))
    }
}

struct Clients(Vec<ParsedClientId>);

impl FromStr for Clients {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        comma_separated(text, "must be ids of clients or registrations, separated by commas").map(Self)
    }
}

struct Applications(Vec<ObjectId>);

impl FromStr for Applications {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        comma_separated(text, "must be ids of applications, separated by commas").map(Self)
    }
}

struct AudienceList(Vec<Audience>);

impl FromStr for AudienceList {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be audiences separated by spaces, each of at most 512 printable ASCII characters";
        let audiences = text.split(' ').filter(|text| !text.is_empty()).map(str::parse);
        let audiences: Vec<_> = audiences.collect::<Result<_, Constraint>>().map_err(|_| Constraint::new(RULE))?;
        Constraint::require(!audiences.is_empty(), RULE)?;
        Ok(Self(audiences))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use chrono::DateTime;
    use proptest::{prelude::*, sample::subsequence};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use shared::{
        auth::{AccessClaims, CheckedRegistrationToken, CheckedUserToken},
        store::GrantDetails,
    };

    use super::*;

    const ORGANIZATION: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";
    const CLIENT: &str = "aaaaaaaa-1111-1111-1111-111111111111";
    const SCOPES: [&str; 5] = ["read", "read:all", "write", "Read", "oauth.token.create"];

    fn policy(variables: &[(&str, &str)]) -> Result<Policy, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = Environment::with_variables(variables.collect::<HashMap<_, _>>());
        Policy::from_environment(&environment).map_err(|error| error.to_string())
    }

    fn claims(scopes: &[&str]) -> AccessClaims {
        AccessClaims {
            issuer: String::new(),
            audiences: Vec::new().into(),
            id: CLIENT.parse().unwrap(),
            scopes: scopes.join(" ").parse().unwrap_or_default(),
            issued_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH,
            payload: Box::default(),
        }
    }

    fn leaked<T: DeserializeOwned>(item: Value) -> &'static T {
        Box::leak(Box::new(serde_json::from_value(item).unwrap()))
    }

    fn grant(organization: Option<&str>, scopes: &[&str]) -> &'static GrantDetails {
        leaked(json!({
            "clientId": CLIENT, "generation": 0, "organizationId": organization, "service": "", "redirectUri": "", "subject": "",
            "scopes": scopes, "authTime": 0, "claims": "{}", "code": "", "codeExpiresAt": 0,
        }))
    }

    fn user_token(organization: Option<&str>, scopes: &[&str]) -> ActiveCredential<'static> {
        let token = CheckedUserToken {
            client_id: CLIENT.parse().unwrap(),
            is_rfc9068: true,
            subject: "user".parse().unwrap(),
            session_id: "0".repeat(32).parse().unwrap(),
            claims: claims(scopes),
        };
        ActiveCredential::UserToken { token: Box::leak(Box::new(token)), grant: grant(organization, &[]) }
    }

    fn credential(kind: ActiveKind, scopes: &[&str]) -> ActiveCredential<'static> {
        match kind {
            ActiveKind::ApiKey => ActiveCredential::ApiKey {
                id: ORGANIZATION.parse().unwrap(),
                api_key: leaked(json!({
                    "hash": "", "organizationId": ORGANIZATION, "permissions": scopes, "suspension": 0,
                })),
            },
            ActiveKind::AppToken => ActiveCredential::AppToken(leaked(json!({
                "hash": "", "appTokenId": ORGANIZATION, "organizationId": ORGANIZATION, "applicationId": ORGANIZATION,
                "scopes": scopes, "generation": 0,
            }))),
            ActiveKind::RegistrationToken => ActiveCredential::RegistrationToken {
                token: Box::leak(Box::new(CheckedRegistrationToken {
                    registration_id: "registration".parse().unwrap(),
                    generation: None,
                    claims: claims(scopes),
                })),
                registration: leaked(json!({
                    "organizationId": ORGANIZATION, "name": "", "maxAllowed": 1, "tokenTtlSeconds": 1,
                    "clientCredentialsTtlSeconds": 60, "scopes": [], "contentsRevision": 0, "tokens": {}, "revoked": {},
                    "revokedMachineTokens": {}, "machineGeneration": 0, "confidential": false, "enabled": true, "suspension": 0, "generation": 0,
                })),
            },
            ActiveKind::UserToken => user_token(Some(ORGANIZATION), scopes),
            ActiveKind::RefreshToken => ActiveCredential::RefreshToken {
                session_id: "0".repeat(32).parse().unwrap(),
                grant: grant(Some(ORGANIZATION), scopes),
                expires_at: DateTime::UNIX_EPOCH,
            },
        }
    }

    #[test]
    fn without_settings_every_kind_is_allowed() {
        let policy = policy(&[]).unwrap();
        assert!(ActiveKind::BEARERS.iter().all(|kind| policy.allows(&credential(*kind, &[]))));
        assert!(!policy.allows(&credential(ActiveKind::RefreshToken, &[])));
        // A key of no organization is for introspection.
        let api_key = leaked(json!({"hash": "", "permissions": ["oauth.token.introspect"], "suspension": 0}));
        assert!(!policy.allows(&ActiveCredential::ApiKey { id: ORGANIZATION.parse().unwrap(), api_key }));
    }

    #[test]
    fn every_setting_restricts() {
        let allowed = |name, value: &str| {
            let policy = policy(&[(name, value)]).unwrap();
            ActiveKind::BEARERS.map(|kind| policy.allows(&credential(kind, &["read"])))
        };
        assert_eq!(allowed("ORGANIZATION_ID", &ORGANIZATION.to_uppercase()), [true; 4]);
        assert_eq!(allowed("ORGANIZATION_ID", &"b".repeat(24)), [false; 4]);
        assert_eq!(allowed("CREDENTIAL_KINDS", "appToken, userToken"), [false, true, false, true]);
        assert_eq!(allowed("CLIENT_IDS", &format!("registration, {CLIENT}")), [true; 4]);
        assert_eq!(allowed("CLIENT_IDS", &CLIENT.to_uppercase()), [true, true, false, false]);
        assert_eq!(
            allowed("APPLICATION_IDS", &format!("{}, {}", "b".repeat(24), ORGANIZATION.to_uppercase())),
            [true; 4]
        );
        assert_eq!(allowed("APPLICATION_IDS", &"b".repeat(24)), [true, false, true, true]);
        assert_eq!(allowed("CLIENT_IDS", "other,registration"), [true, true, true, false]);
        assert_eq!(allowed("CLIENT_IDS", "other"), [true, true, false, false]);
        assert_eq!(allowed("REQUIRED_SCOPES", "read"), [true; 4]);
        assert_eq!(allowed("REQUIRED_SCOPES", "read write"), [false; 4]);
        let both = policy(&[("CREDENTIAL_KINDS", "userToken"), ("CLIENT_IDS", "other")]).unwrap();
        assert!(ActiveKind::BEARERS.iter().all(|kind| !both.allows(&credential(*kind, &[]))));
        // Who has no organization is of no organization.
        assert!(!policy(&[("ORGANIZATION_ID", ORGANIZATION)]).unwrap().allows(&user_token(None, &[])));
    }

    #[test]
    fn a_malformed_setting_is_refused() {
        for (name, value) in [
            ("REQUIRED_SCOPES", "a é"),
            ("ORGANIZATION_ID", "acme"),
            ("CREDENTIAL_KINDS", "apiKey,refreshToken"),
            ("CREDENTIAL_KINDS", "apikey"),
            ("CLIENT_IDS", "a,,b"),
            ("CLIENT_IDS", "a b"),
            ("APPLICATION_IDS", "a"),
            ("AUDIENCES", " "),
            ("AUDIENCES", "a é"),
        ] {
            let error = policy(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("environment variable {name} must be ")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn all_required_scopes_must_be_held(
            required in subsequence(&SCOPES[..], 0..=5).prop_shuffle(),
            held in subsequence(&SCOPES[..], 0..=5).prop_shuffle(),
        ) {
            let policy = policy(&[("REQUIRED_SCOPES", &required.join(" "))]).unwrap();
            let (needed, has): (BTreeSet<_>, BTreeSet<_>) = (required.iter().collect(), held.iter().collect());
            for kind in ActiveKind::BEARERS {
                prop_assert_eq!(policy.allows(&credential(kind, &held)), needed.is_subset(&has));
            }
        }
    }
}
