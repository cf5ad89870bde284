//! The request: one of the actions of an operator.

use std::{collections::BTreeMap, ops::RangeInclusive, str::FromStr};

use chrono::{DateTime, Utc};
use shared::{
    auth::{ParsedClientId, Permission},
    error::{Constraint, ValidationError},
    id::{ClientId, ObjectId, RegistrationId, Slug},
    input::{JsonObject, Scope, Scopes, Service, Subject, required},
    keys::MaxTokenTtl,
    store::{
        Application, ApplicationChange, Client, ClientChange, ClientSecrets, Generation, GrantSettings, MAX_AUDIENCES,
        OwnerState, Registration, RegistrationChange, Suspension,
    },
    tokens::sessions::Selection,
};

use crate::{
    key_rotation::RotationRequest,
    secret::NewSecret,
    target::{ListQuery, Owner, Target, optional_organization, organization, organization_or_all},
};

/// The most entries of a list.
const MAX_ENTRIES: usize = 50;
/// The most characters of all scopes of a registration together.
const MAX_SCOPE_CHARACTERS: usize = 1000;
const MAX_ALLOWED: RangeInclusive<u32> = 1..=1000;
const MAX_APP_TOKEN_TTL_SECONDS: RangeInclusive<u32> = 60..=315_360_000;
/// How long what a rotation replaces may go on working.
const OVERLAP_SECONDS: RangeInclusive<u32> = 0..=2_592_000;
const DEFAULT_OVERLAP_SECONDS: u32 = 86_400;
const MAX_REFRESH_REUSE_SECONDS: u32 = 300;
const DEFAULT_TOKEN_TTL_SECONDS: u32 = 31_536_000;
const DEFAULT_CLIENT_CREDENTIALS_TTL_SECONDS: u32 = 3600;
/// Of the further claims of a registration's tokens.
const MAX_CLAIMS_BYTES: usize = 1024;

#[derive(Debug)]
pub(crate) enum Action {
    CreateOrganization {
        slug: Slug,
        name: Option<String>,
    },
    CreateApiKey(NewApiKey),
    CreateRegistration {
        registration_id: Option<RegistrationId>,
        registration: Box<Registration>,
        secret: Option<NewSecret>,
    },
    CreateApplication(Application),
    CreateClient {
        client_id: Option<ClientId>,
        client: Box<Client>,
        secret: Option<NewSecret>,
    },
    UpdateOrganization {
        organization_id: ObjectId,
        name: Option<String>,
    },
    UpdateRegistration {
        registration_id: RegistrationId,
        change: Box<RegistrationChange>,
    },
    UpdateApplication {
        application_id: ObjectId,
        change: ApplicationChange,
    },
    UpdateClient {
        client_id: ClientId,
        change: Box<ClientChange>,
    },
    RotateSecret {
        owner: ParsedClientId,
        secret: NewSecret,
        overlap_seconds: u32,
    },
    RotateApiKey {
        api_key_id: ObjectId,
        overlap_seconds: u32,
    },
    RevokeApiKey {
        api_key_id: ObjectId,
    },
    RevokeTokens(Owner),
    SuspendOrganization {
        organization_id: ObjectId,
    },
    ResumeOrganization {
        organization_id: ObjectId,
    },
    Delete(Target),
    Get(Target),
    List {
        query: ListQuery,
        limit: usize,
        cursor: Option<String>,
    },
    ListSessions {
        subject: Subject,
        client_id: Option<ClientId>,
        limit: usize,
        cursor: Option<String>,
    },
    EndSessions {
        subject: Subject,
        client_id: Option<ClientId>,
        selection: Selection,
    },
    RotateSigningKey(RotationRequest),
}

#[derive(Debug)]
pub(crate) struct NewApiKey {
    /// `None`: it may introspect what any organization has.
    pub(crate) organization_id: Option<ObjectId>,
    pub(crate) permissions: Scopes,
    pub(crate) description: Option<String>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

shared::named! {
    enum Name {
        CreateOrganization = "createOrganization",
        CreateApiKey = "createApiKey",
        CreateRegistration = "createRegistration",
        CreateApplication = "createApplication",
        CreateClient = "createClient",
        UpdateOrganization = "updateOrganization",
        UpdateRegistration = "updateRegistration",
        UpdateApplication = "updateApplication",
        UpdateClient = "updateClient",
        RotateSecret = "rotateSecret",
        RotateApiKey = "rotateApiKey",
        RevokeApiKey = "revokeApiKey",
        RevokeTokens = "revokeTokens",
        SuspendOrganization = "suspendOrganization",
        ResumeOrganization = "resumeOrganization",
        Delete = "delete",
        Get = "get",
        List = "list",
        ListSessions = "listSessions",
        EndSessions = "endSessions",
        RotateSigningKey = "rotateSigningKey",
    }
}

impl Action {
    pub(crate) fn parse(event: &str, now: DateTime<Utc>, max_token_ttl: MaxTokenTtl) -> Result<Self, ValidationError> {
        let mut event = JsonObject::with_claims(event.as_bytes(), &["claims"])?;
        let action = match required("action", event.parsed("action")?)? {
            Name::CreateOrganization => {
                Self::CreateOrganization { slug: required("slug", event.parsed("slug")?)?, name: name(&mut event)? }
            }
            Name::CreateApiKey => Self::create_api_key(&mut event, now)?,
            Name::CreateRegistration => Self::create_registration(&mut event, max_token_ttl)?,
            Name::CreateApplication => Self::create_application(&mut event)?,
            Name::CreateClient => Self::create_client(&mut event)?,
            Name::UpdateOrganization => {
                Self::UpdateOrganization { organization_id: organization(&mut event)?, name: name(&mut event)? }
            }
            Name::UpdateRegistration => Self::update_registration(&mut event, max_token_ttl)?,
            Name::UpdateApplication => Self::UpdateApplication {
                application_id: required("applicationId", event.parsed("applicationId")?)?,
                change: ApplicationChange {
                    name: name(&mut event)?,
                    max_app_token_ttl_seconds: event.integer("maxAppTokenTtlSeconds", MAX_APP_TOKEN_TTL_SECONDS)?,
                    enabled: event.boolean("enabled")?,
                },
            },
            Name::UpdateClient => Self::update_client(&mut event)?,
            Name::RotateSecret => Self::rotate_secret(&mut event)?,
            Name::RotateApiKey => Self::RotateApiKey {
                api_key_id: required("apiKeyId", event.parsed("apiKeyId")?)?,
                overlap_seconds: overlap(&mut event)?,
            },
            Name::RevokeTokens => Self::RevokeTokens(Owner::parse(&mut event)?),
            Name::SuspendOrganization => Self::SuspendOrganization { organization_id: organization(&mut event)? },
            Name::ResumeOrganization => Self::ResumeOrganization { organization_id: organization(&mut event)? },
            Name::Delete => Self::Delete(Target::to_delete(&mut event)?),
            Name::Get => {
                let kind = required("kind", event.parsed("kind")?)?;
                Self::Get(Target::parse(&mut event, kind)?)
            }
            Name::List => Self::List {
                query: ListQuery::parse(&mut event)?,
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
            Name::RotateSigningKey => Self::RotateSigningKey(RotationRequest::parse(&mut event)?),
        };
        event.refuse_others()?;
        Ok(action)
    }

    fn create_api_key(event: &mut JsonObject, now: DateTime<Utc>) -> Result<Self, ValidationError> {
        let permissions = event.distinct::<Permission>("permissions", MAX_ENTRIES)?;
        let organization_id = organization_or_all(event)?;
        let permissions = match (organization_id, permissions) {
            (Some(_), permissions) => permissions.unwrap_or_else(|| Permission::ALL.into()),
            (None, Some(permissions)) if permissions != [Permission::OauthTokenIntrospect] => {
                let rule = "must be [\"oauth.token.introspect\"] if allOrganizations is true";
                return Err(ValidationError::new("permissions", rule));
            }
            (None, _) => vec![Permission::OauthTokenIntrospect],
        };
        Ok(Self::CreateApiKey(NewApiKey {
            organization_id,
            permissions: permissions.into_iter().map(Scope::from).collect(),
            description: event.parsed("description")?.map(|Text(text)| text),
            expires_at: event.expiry("expiresAt", now)?,
        }))
    }

    fn create_application(event: &mut JsonObject) -> Result<Self, ValidationError> {
        Ok(Self::CreateApplication(Application {
            organization_id: organization(event)?,
            slug: required("slug", event.parsed("slug")?)?,
            name: name(event)?,
            max_app_token_ttl_seconds: event.integer("maxAppTokenTtlSeconds", MAX_APP_TOKEN_TTL_SECONDS)?,
            settings_version: None,
            state: OwnerState::new(Suspension::default()),
        }))
    }

    fn create_registration(event: &mut JsonObject, max_token_ttl: MaxTokenTtl) -> Result<Self, ValidationError> {
        let registration_id = event.parsed("registrationId")?;
        let settings = registration_settings(event, max_token_ttl)?;
        let MaxTokenTtl(max_token_ttl) = max_token_ttl;
        let registration = Registration {
            organization_id: organization(event)?,
            name: required("name", settings.name)?,
            max_allowed: settings.max_allowed.unwrap_or(10),
            token_ttl_seconds: settings.token_ttl_seconds.unwrap_or(DEFAULT_TOKEN_TTL_SECONDS.min(max_token_ttl)),
            client_credentials_ttl_seconds: settings
                .client_credentials_ttl_seconds
                .unwrap_or(DEFAULT_CLIENT_CREDENTIALS_TTL_SECONDS),
            scopes: settings.scopes.unwrap_or_else(|| Scopes::from_iter([Permission::OauthTokenCreate.into()])),
            claims: settings.claims.unwrap_or_default(),
            contents_revision: 0,
            earlier_contents: Vec::new(),
            audiences: settings.audiences.unwrap_or_default(),
            confidential: false,
            tokens: BTreeMap::new(),
            revoked: BTreeMap::new(),
            revoked_emptied_by: None,
            revoked_machine_tokens: BTreeMap::new(),
            machine_generation: Generation::default(),
            settings_version: None,
            state: OwnerState::new(Suspension::default()),
        };
        let secret = confidential(event)?.map(NewSecret::of_registration).transpose()?;
        if secret.is_some()
            && registration_id.as_ref().is_some_and(|id: &RegistrationId| id.as_str().parse::<ClientId>().is_ok())
        {
            let rule = "must not be true for a registrationId that is a UUID: as client_id it is that of a client";
            return Err(ValidationError::new("confidential", rule));
        }
        Ok(Self::CreateRegistration { registration_id, registration: Box::new(registration), secret })
    }

    fn update_registration(event: &mut JsonObject, max_token_ttl: MaxTokenTtl) -> Result<Self, ValidationError> {
        let registration_id = required("registrationId", event.parsed("registrationId")?)?;
        let enabled = event.boolean("enabled")?;
        let change = RegistrationChange { enabled, ..registration_settings(event, max_token_ttl)? };
        Ok(Self::UpdateRegistration { registration_id, change: Box::new(change) })
    }

    fn rotate_secret(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let registration = event.parsed("registrationId")?.map(ParsedClientId::Registration);
        let client = event.parsed("clientId")?.map(ParsedClientId::UserClient);
        let mut owners = [registration, client].into_iter().flatten();
        let (Some(owner), None) = (owners.next(), owners.next()) else {
            return Err(ValidationError::new("registrationId or clientId", "must be given, and only one of them"));
        };
        let secret = NewSecret::new(event.parsed("clientSecret")?);
        let secret = match owner {
            ParsedClientId::Registration(_) => secret.of_registration()?,
            ParsedClientId::UserClient(_) => secret,
        };
        Ok(Self::RotateSecret { owner, secret, overlap_seconds: overlap(event)? })
    }

    fn create_client(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let defaults = GrantSettings::default();
        let settings = client_settings(event)?;
        let client = Client {
            organization_id: optional_organization(event)?,
            name: settings.name,
            secrets: ClientSecrets::default(),
            redirect_uris: required("redirectUris", settings.redirect_uris)?,
            services: settings.services.unwrap_or_else(|| vec![Service::default()]),
            scopes: required("scopes", settings.scopes)?,
            default_scopes: settings.default_scopes,
            audiences: settings.audiences.unwrap_or_default(),
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
            state: OwnerState::new(Suspension::default()),
        };
        let secret = confidential(event)?;
        Ok(Self::CreateClient { client_id: event.parsed("clientId")?, client: Box::new(client), secret })
    }

    fn update_client(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let client_id = required("clientId", event.parsed("clientId")?)?;
        let change = ClientChange { enabled: event.boolean("enabled")?, ..client_settings(event)? };
        Ok(Self::UpdateClient { client_id, change: Box::new(change) })
    }
}

/// The secret of a new client or registration, if it is to be confidential.
fn confidential(event: &mut JsonObject) -> Result<Option<NewSecret>, ValidationError> {
    let secret = NewSecret::new(event.parsed("clientSecret")?);
    match (event.boolean("confidential")?.unwrap_or(false), secret) {
        (true, secret) => Ok(Some(secret)),
        (false, NewSecret::Random) => Ok(None),
        (false, NewSecret::BroughtAlong(_)) => {
            Err(ValidationError::new("clientSecret", "must not be given unless confidential is true"))
        }
    }
}

/// The settings of a registration that its creation and its updates have in common.
fn registration_settings(
    event: &mut JsonObject,
    MaxTokenTtl(max_token_ttl): MaxTokenTtl,
) -> Result<RegistrationChange, ValidationError> {
    let claims = event.claims("claims", MAX_CLAIMS_BYTES)?;
    claims.as_ref().map_or(Ok(()), |claims| claims.require_unreserved("claims"))?;
    Ok(RegistrationChange {
        name: name(event)?,
        max_allowed: event.integer("maxAllowed", MAX_ALLOWED)?,
        token_ttl_seconds: event.integer("tokenTtlSeconds", 1..=max_token_ttl)?,
        client_credentials_ttl_seconds: event
            .integer("clientCredentialsTtlSeconds", Registration::CLIENT_CREDENTIALS_TTL_SECONDS)?,
        scopes: registration_scopes(event)?,
        claims,
        audiences: event.distinct("audiences", MAX_AUDIENCES)?,
        ..RegistrationChange::default()
    })
}

/// The settings of a client that its creation and its updates have in common.
fn client_settings(event: &mut JsonObject) -> Result<ClientChange, ValidationError> {
    Ok(ClientChange {
        name: name(event)?,
        redirect_uris: list(event, "redirectUris")?,
        services: list(event, "services")?,
        scopes: list(event, "scopes")?.map(Scopes::from),
        default_scopes: list(event, "defaultScopes")?.map(Scopes::from),
        audiences: event.distinct("audiences", MAX_AUDIENCES)?,
        access_token_ttl_seconds: event.integer("accessTokenTtlSeconds", GrantSettings::ACCESS_TOKEN_TTL_SECONDS)?,
        grant_ttl_seconds: event.integer("grantTtlSeconds", GrantSettings::GRANT_TTL_SECONDS)?,
        idle_timeout_seconds: event.integer("idleTimeoutSeconds", GrantSettings::IDLE_TIMEOUT_SECONDS)?,
        refresh_tokens: event.parsed("refreshTokens")?,
        refresh_reuse_seconds: event.integer("refreshReuseSeconds", 0..=MAX_REFRESH_REUSE_SECONDS)?,
        ..ClientChange::default()
    })
}

fn name(event: &mut JsonObject) -> Result<Option<String>, ValidationError> {
    Ok(event.parsed("name")?.map(|Text(text)| text))
}

fn overlap(event: &mut JsonObject) -> Result<u32, ValidationError> {
    Ok(event.integer("overlapSeconds", OVERLAP_SECONDS)?.unwrap_or(DEFAULT_OVERLAP_SECONDS))
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

    const A_YEAR: MaxTokenTtl = MaxTokenTtl(31_536_000);

    fn parsed(event: &str, max_token_ttl: MaxTokenTtl) -> Result<Action, String> {
        Action::parse(event, DateTime::UNIX_EPOCH, max_token_ttl).map_err(|invalid| invalid.to_string())
    }

    fn error_text(event: &str) -> String {
        parsed(event, A_YEAR).unwrap_err()
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let id = "0".repeat(24);
        let create = format!(r#"{{"action":"createRegistration","organizationId":"{id}","name":"n"}}"#);
        for (max_token_ttl, token_ttl_seconds) in [(A_YEAR, 31_536_000), (MaxTokenTtl(7), 7)] {
            let Ok(Action::CreateRegistration { registration_id: None, registration, secret: None }) =
                parsed(&create, max_token_ttl)
            else {
                panic!("another action")
            };
            assert_eq!((registration.max_allowed, registration.token_ttl_seconds), (10, token_ttl_seconds));
            assert_eq!(registration.client_credentials_ttl_seconds, 3600);
            assert_eq!(registration.scopes.to_string(), "oauth.token.create");
        }
        let create = format!(r#"{{"action":"createApiKey","organizationId":"{id}","description":null}}"#);
        let Ok(Action::CreateApiKey(NewApiKey { permissions, description, expires_at: None, .. })) =
            parsed(&create, A_YEAR)
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
                 updateOrganization, updateRegistration, updateApplication, updateClient, rotateSecret, \
                 rotateApiKey, revokeApiKey, revokeTokens, suspendOrganization, resumeOrganization, delete, get, list, listSessions, endSessions or \
                 rotateSigningKey",
            ),
            (r#"{"action":"createOrganization"}"#, "slug is required"),
            (r#"{"action":"createOrganization","slug":"abc","slug":"abd"}"#, "slug must be given once"),
            (r#"{"action":"createOrganization","slug":"abc","Slug":"abc"}"#, "Slug is not a field of this request"),
            (
                r#"{"action":"createApiKey","organizationId":"ab"}"#,
                "organizationId must match ^(([a-fA-F0-9]{24})|([a-zA-Z0-9\\-]{3,}))$ and have at most 128 characters",
            ),
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
            (
                r#"{"action":"updateRegistration","registrationId":"a","tokenTtlSeconds":31536001}"#,
                "tokenTtlSeconds must be a whole number from 1 to 31536000",
            ),
            (
                r#"{"action":"updateRegistration","registrationId":"a","claims":{"role":1,"sub":"x"}}"#,
                "claims.sub must not be given: the name is reserved",
            ),
            (
                r#"{"action":"createApiKey","allOrganizations":true,"permissions":["oauth.token.create"]}"#,
                "permissions must be [\"oauth.token.introspect\"] if allOrganizations is true",
            ),
            (r#"{"action":"list","kind":"organizations","claims":{}}"#, "claims is not a field of this request"),
            (
                r#"{"action":"rotateSecret","registrationId":"a","clientId":"11111111-1111-1111-1111-111111111111"}"#,
                "registrationId or clientId must be given, and only one of them",
            ),
            (
                r#"{"action":"rotateSigningKey","stage":"prepare","withdrawPrevious":true}"#,
                "withdrawPrevious must not be true if stage is prepare",
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
            let _ = parsed(&event, A_YEAR);
        }
    }
}
