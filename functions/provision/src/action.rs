//! The request: one of the actions of an operator.

use std::{collections::BTreeMap, ops::RangeInclusive, str::FromStr};

use shared::{
    auth::Permission,
    error::{Constraint, ValidationError},
    id::{ClientId, ObjectId, RegistrationId, Slug},
    input::{JsonObject, Scope, Scopes, Service, Subject, required},
    store::{Client, ClientChange, GrantSettings, Registration, RegistrationChange},
    tokens::sessions::Selection,
};

use crate::{lists::ListKind, secret::NewSecret};

/// The most entries of a list.
const MAX_ENTRIES: usize = 50;
/// The most characters of all scopes of a registration together.
const MAX_SCOPE_CHARACTERS: usize = 1000;
const MAX_ALLOWED: RangeInclusive<u32> = 1..=1000;
const MAX_REFRESH_REUSE_SECONDS: u32 = 300;
/// 30 days.
const MAX_OVERLAP_SECONDS: u32 = 2_592_000;
const TOKEN_TTL_SECONDS: RangeInclusive<u32> = 1..=Registration::MAX_TOKEN_TTL_SECONDS;

#[derive(Debug)]
pub(crate) enum Action {
    CreateOrganization { slug: Slug },
    CreateApiKey { organization_id: ObjectId, permissions: Scopes, description: Option<String> },
    CreateRegistration { registration_id: Option<RegistrationId>, registration: Registration },
    CreateApplication { organization_id: ObjectId, slug: Slug, name: Option<String> },
    CreateClient { client_id: Option<ClientId>, client: Box<Client>, secret: Option<NewSecret> },
    UpdateRegistration { registration_id: RegistrationId, change: RegistrationChange },
    UpdateClient { client_id: ClientId, change: Box<ClientChange> },
    RotateSecret { client_id: ClientId, secret: NewSecret, overlap_seconds: u32 },
    RevokeApiKey { api_key_id: ObjectId },
    List { kind: ListKind, organization_id: ObjectId, limit: usize, cursor: Option<String> },
    ListSessions { subject: Subject, client_id: Option<ClientId>, limit: usize, cursor: Option<String> },
    EndSessions { subject: Subject, client_id: Option<ClientId>, selection: Selection },
    RotateSigningKey { withdraw_previous: bool },
}

shared::named! {
    enum Name {
        CreateOrganization = "createOrganization",
        CreateApiKey = "createApiKey",
        CreateRegistration = "createRegistration",
        CreateApplication = "createApplication",
        CreateClient = "createClient",
        UpdateRegistration = "updateRegistration",
        UpdateClient = "updateClient",
        RotateSecret = "rotateSecret",
        RevokeApiKey = "revokeApiKey",
        List = "list",
        ListSessions = "listSessions",
        EndSessions = "endSessions",
        RotateSigningKey = "rotateSigningKey",
    }
}

impl Action {
    pub(crate) fn parse(event: &str) -> Result<Self, ValidationError> {
        let mut event = JsonObject::from_json(event.as_bytes())?;
        let action = match required("action", event.parsed("action")?)? {
            Name::CreateOrganization => Self::CreateOrganization { slug: required("slug", event.parsed("slug")?)? },
            Name::CreateApiKey => Self::CreateApiKey {
                organization_id: required("organizationId", event.parsed("organizationId")?)?,
                permissions: event
                    .distinct::<Permission>("permissions", MAX_ENTRIES)?
                    .unwrap_or_else(|| Permission::ALL.into())
                    .into_iter()
                    .map(Scope::from)
                    .collect(),
                description: event.parsed("description")?.map(|Text(text)| text),
            },
            Name::CreateRegistration => Self::create_registration(&mut event)?,
            Name::CreateApplication => Self::CreateApplication {
                organization_id: required("organizationId", event.parsed("organizationId")?)?,
                slug: required("slug", event.parsed("slug")?)?,
                name: event.parsed("name")?.map(|Text(text)| text),
            },
            Name::CreateClient => Self::create_client(&mut event)?,
            Name::UpdateRegistration => Self::update_registration(&mut event)?,
            Name::UpdateClient => Self::update_client(&mut event)?,
            Name::RotateSecret => Self::RotateSecret {
                client_id: required("clientId", event.parsed("clientId")?)?,
                secret: NewSecret::new(event.parsed("clientSecret")?),
                overlap_seconds: event.integer("overlapSeconds", 0..=MAX_OVERLAP_SECONDS)?.unwrap_or(86400),
            },
            Name::List => Self::List {
                kind: required("kind", event.parsed("kind")?)?,
                organization_id: required("organizationId", event.parsed("organizationId")?)?,
                limit: limit(&mut event)?,
                cursor: event.string("cursor")?,
            },
            Name::ListSessions => Self::ListSessions {
                subject: required("subject", event.parsed("subject")?)?,
                client_id: event.parsed("clientId")?,
                limit: limit(&mut event)?,
                cursor: event.string("cursor")?,
            },
            Name::EndSessions => Self::EndSessions {
                subject: required("subject", event.parsed("subject")?)?,
                client_id: event.parsed("clientId")?,
                selection: selection(&mut event)?,
            },
            Name::RevokeApiKey => Self::RevokeApiKey { api_key_id: required("apiKeyId", event.parsed("apiKeyId")?)? },
            Name::RotateSigningKey => {
                Self::RotateSigningKey { withdraw_previous: event.boolean("withdrawPrevious")?.unwrap_or(false) }
            }
        };
        event.refuse_others()?;
        Ok(action)
    }

    fn create_registration(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let registration_id = event.parsed("registrationId")?;
        let registration = Registration {
            organization_id: required("organizationId", event.parsed("organizationId")?)?,
            name: required("name", event.parsed("name")?.map(|Text(text)| text))?,
            max_allowed: event.integer("maxAllowed", MAX_ALLOWED)?.unwrap_or(10),
            token_ttl_seconds: event.integer("tokenTtlSeconds", TOKEN_TTL_SECONDS)?.unwrap_or(31_536_000),
            scopes: registration_scopes(event)?
                .unwrap_or_else(|| Scopes::from_iter([Permission::OauthTokenCreate.into()])),
            scopes_revision: 0,
            earlier_scopes: Vec::new(),
            tokens: BTreeMap::new(),
            revoked: BTreeMap::new(),
            revoked_emptied_by: None,
            settings_version: None,
        };
        Ok(Self::CreateRegistration { registration_id, registration })
    }

    fn update_registration(event: &mut JsonObject) -> Result<Self, ValidationError> {
        Ok(Self::UpdateRegistration {
            registration_id: required("registrationId", event.parsed("registrationId")?)?,
            change: RegistrationChange {
                name: event.parsed("name")?.map(|Text(text)| text),
                max_allowed: event.integer("maxAllowed", MAX_ALLOWED)?,
                token_ttl_seconds: event.integer("tokenTtlSeconds", TOKEN_TTL_SECONDS)?,
                scopes: registration_scopes(event)?,
                ..RegistrationChange::default()
            },
        })
    }

    fn create_client(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let defaults = GrantSettings::default();
        let settings = client_settings(event)?;
        let client = Client {
            organization_id: event.parsed("organizationId")?,
            name: settings.name,
            secret_hash: None,
            previous_secret: None,
            redirect_uris: required("redirectUris", settings.redirect_uris)?,
            services: settings.services.unwrap_or_else(|| vec![Service::default()]),
            scopes: required("scopes", settings.scopes)?,
            default_scopes: settings.default_scopes,
            grants: GrantSettings {
                access_token_ttl_seconds: settings
                    .access_token_ttl_seconds
                    .unwrap_or(defaults.access_token_ttl_seconds),
                grant_ttl_seconds: settings.grant_ttl_seconds.unwrap_or(defaults.grant_ttl_seconds),
                idle_timeout_seconds: settings.idle_timeout_seconds.unwrap_or(defaults.idle_timeout_seconds),
                refresh_tokens: settings.refresh_tokens.unwrap_or(defaults.refresh_tokens),
            },
            refresh_reuse_seconds: settings.refresh_reuse_seconds.unwrap_or(60),
            settings_version: None,
        };
        let secret = NewSecret::new(event.parsed("clientSecret")?);
        let secret = match (event.boolean("confidential")?.unwrap_or(false), secret) {
            (true, secret) => Some(secret),
            (false, NewSecret::Random) => None,
            (false, NewSecret::BroughtAlong(_)) => {
                return Err(ValidationError::new("clientSecret", "must not be given unless confidential is true"));
            }
        };
        Ok(Self::CreateClient { client_id: event.parsed("clientId")?, client: Box::new(client), secret })
    }

    fn update_client(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let client_id = required("clientId", event.parsed("clientId")?)?;
        Ok(Self::UpdateClient { client_id, change: Box::new(client_settings(event)?) })
    }
}

/// The settings of a client that its creation and its updates have in common.
fn client_settings(event: &mut JsonObject) -> Result<ClientChange, ValidationError> {
    Ok(ClientChange {
        name: event.parsed("name")?.map(|Text(text)| text),
        redirect_uris: list(event, "redirectUris")?,
        services: list(event, "services")?,
        scopes: list(event, "scopes")?.map(Scopes::from),
        default_scopes: list(event, "defaultScopes")?.map(Scopes::from),
        access_token_ttl_seconds: event.integer("accessTokenTtlSeconds", GrantSettings::ACCESS_TOKEN_TTL_SECONDS)?,
        grant_ttl_seconds: event.integer("grantTtlSeconds", GrantSettings::GRANT_TTL_SECONDS)?,
        idle_timeout_seconds: event.integer("idleTimeoutSeconds", GrantSettings::IDLE_TIMEOUT_SECONDS)?,
        refresh_tokens: event.parsed("refreshTokens")?,
        refresh_reuse_seconds: event.integer("refreshReuseSeconds", 0..=MAX_REFRESH_REUSE_SECONDS)?,
        ..ClientChange::default()
    })
}

/// The scopes of a registration. They are limited because a token contains them, and it must fit into a header.
fn registration_scopes(event: &mut JsonObject) -> Result<Option<Scopes>, ValidationError> {
    let scopes = event.distinct::<Scope>("scopes", MAX_ENTRIES)?;
    if scopes.iter().flatten().map(|scope| scope.as_str().len()).sum::<usize>() <= MAX_SCOPE_CHARACTERS {
        Ok(scopes.map(Scopes::from))
    } else {
        Err(ValidationError::new("scopes", format!("must have at most {MAX_SCOPE_CHARACTERS} characters together")))
    }
}

/// Which of the sessions to end.
fn selection(event: &mut JsonObject) -> Result<Selection, ValidationError> {
    match (event.parsed("sid")?, event.parsed("exceptSid")?) {
        (None, None) => Ok(Selection::All),
        (Some(session), None) => Ok(Selection::Only(session)),
        (None, Some(session)) => Ok(Selection::AllBut(session)),
        (Some(_), Some(_)) => Err(ValidationError::new("exceptSid", "must not be given together with sid")),
    }
}

/// The most items of a page.
fn limit(event: &mut JsonObject) -> Result<usize, ValidationError> {
    Ok(usize::from(event.integer("limit", 1..=100_u8)?.unwrap_or(50)))
}

/// A list that must not be empty if it is given.
fn list<T: FromStr<Err = Constraint> + PartialEq>(
    event: &mut JsonObject,
    field: &'static str,
) -> Result<Option<Vec<T>>, ValidationError> {
    match event.distinct(field, MAX_ENTRIES)? {
        Some(entries) if entries.is_empty() => Err(ValidationError::new(field, "must have at least one entry")),
        entries => Ok(entries),
    }
}

/// A name or description: 1 to 200 characters, without control characters.
struct Text(String);

impl FromStr for Text {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        let form = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        Constraint::require(form, "must be 1 to 200 characters without control characters")?;
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error_text(event: &str) -> String {
        Action::parse(event).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let id = "0".repeat(24);
        let Action::CreateRegistration { registration_id: None, registration } =
            Action::parse(&format!(r#"{{"action":"createRegistration","organizationId":"{id}","name":"n"}}"#)).unwrap()
        else {
            panic!("another action")
        };
        assert_eq!((registration.max_allowed, registration.token_ttl_seconds), (10, 31_536_000));
        assert_eq!(registration.scopes.to_string(), "oauth.token.create");
        let Action::CreateApiKey { permissions, description, .. } =
            Action::parse(&format!(r#"{{"action":"createApiKey","organizationId":"{id}","description":null}}"#))
                .unwrap()
        else {
            panic!("another action")
        };
        assert_eq!(permissions.to_string(), Permission::ALL.map(Permission::as_str).join(" "));
        assert_eq!(description, None);
    }

    #[test]
    fn an_error_names_field_and_rule() {
        for (event, message) in [
            ("[]", "body must be a JSON object"),
            ("{}", "action is required"),
            (
                r#"{"action":"createOrganisation","slug":"abc"}"#,
                "action must be createOrganization, createApiKey, createRegistration, createApplication, createClient, \
                 updateRegistration, updateClient, rotateSecret, revokeApiKey, list, listSessions, endSessions or \
                 rotateSigningKey",
            ),
            (r#"{"action":"createOrganization"}"#, "slug is required"),
            (r#"{"action":"createOrganization","slug":"abc","slug":"abd"}"#, "slug must be given once"),
            (r#"{"action":"createOrganization","slug":"abc","Slug":"abc"}"#, "Slug is not a field of this request"),
            (r#"{"action":"createApiKey","organizationId":"abc"}"#, "organizationId must be 24 hexadecimal digits"),
            (
                r#"{"action":"createApiKey","organizationId":"000000000000000000000000","permissions":["all"]}"#,
                "permissions entries must be oauth.token.create, oauth.token.list, oauth.token.revoke, \
                 oauth.token.introspect, mad.application.token.create, mad.application.token.list or \
                 mad.application.token.remove",
            ),
            (
                r#"{"action":"createRegistration","organizationId":"000000000000000000000000","name":"n","maxAllowed":1001}"#,
                "maxAllowed must be a whole number from 1 to 1000",
            ),
            (r#"{"action":"createClient","redirectUris":[]}"#, "redirectUris must have at least one entry"),
            (r#"{"action":"endSessions"}"#, "subject is required"),
            (
                r#"{"action":"endSessions","subject":"u","sid":"00000000000000000000000000000000","exceptSid":"00000000000000000000000000000001"}"#,
                "exceptSid must not be given together with sid",
            ),
        ] {
            assert_eq!(error_text(event), message);
        }
    }

    proptest! {
        #[test]
        fn no_event_panics(event in r#"\{("(action|slug|maxAllowed|scopes|redirectUris)":("createClient"|\["a"\]|-?[0-9]{1,30}|null|\{\}),?){0,4}\}?"#) {
            let _ = Action::parse(&event);
        }
    }
}
