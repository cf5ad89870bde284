//! What a request names: an organization, something that one has, or a list of those.

use chrono::{DateTime, Utc};
use shared::{
    error::{Constraint, ValidationError},
    id::{ClientId, IdOrSlug, ObjectId, RegistrationId},
    input::{JsonObject, required},
    store::{List, Organization},
};

/// What has issued the tokens that are to be revoked.
#[derive(Debug)]
pub(crate) enum Owner {
    Registration(RegistrationId),
    Application(ObjectId),
    Client(ClientId),
}

/// What is to be shown or deleted.
#[derive(Debug)]
pub(crate) enum Target {
    Organization(ObjectId),
    ApiKey(ObjectId),
    Registration(RegistrationId),
    Application(ObjectId),
    Client(ClientId),
}

shared::named! {
    pub(crate) enum TargetKind {
        Organization = "organization",
        ApiKey = "apiKey",
        Registration = "registration",
        Application = "application",
        Client = "client",
    }
}

shared::named! {
    enum ListKind {
        Organizations = "organizations",
        ApiKeys = "apiKeys",
        Registrations = "registrations",
        Applications = "applications",
        Clients = "clients",
    }
}

/// Which list is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListQuery {
    Organizations,
    ApiKeys {
        /// `None`: those of no organization.
        organization: Option<ObjectId>,
        /// Only those that expire before.
        expires_before: Option<DateTime<Utc>>,
    },
    Registrations(ObjectId),
    Applications(ObjectId),
    /// Those of no organization, if none is named.
    Clients(Option<ObjectId>),
}

impl ListQuery {
    pub(crate) fn parse(event: &mut JsonObject) -> Result<Self, ValidationError> {
        Ok(match required("kind", event.parsed("kind")?)? {
            ListKind::Organizations => Self::Organizations,
            ListKind::ApiKeys => Self::ApiKeys {
                organization: organization_or_all(event)?,
                expires_before: event.instant("expiresBefore")?,
            },
            ListKind::Registrations => Self::Registrations(organization(event)?),
            ListKind::Applications => Self::Applications(organization(event)?),
            ListKind::Clients => Self::Clients(optional_organization(event)?),
        })
    }

    pub(crate) const fn organization(self) -> Option<ObjectId> {
        match self {
            Self::Registrations(organization) | Self::Applications(organization) => Some(organization),
            Self::ApiKeys { organization, .. } | Self::Clients(organization) => organization,
            Self::Organizations => None,
        }
    }

    pub(crate) const fn list(self) -> List<'static> {
        match self {
            Self::Organizations => List::Organizations,
            Self::ApiKeys { organization, .. } => List::ApiKeys(organization),
            Self::Registrations(organization) => List::Registrations(organization),
            Self::Applications(organization) => List::Applications(organization),
            Self::Clients(organization) => List::Clients(organization),
        }
    }
}

impl Owner {
    /// The field that names it.
    pub(crate) const fn field(&self) -> &'static str {
        match self {
            Self::Registration(_) => "registrationId",
            Self::Application(_) => "applicationId",
            Self::Client(_) => "clientId",
        }
    }

    pub(crate) fn id(&self) -> String {
        match self {
            Self::Registration(id) => id.to_string(),
            Self::Application(id) => id.to_string(),
            Self::Client(id) => id.to_string(),
        }
    }

    pub(crate) fn parse(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let registration = event.parsed("registrationId")?.map(Self::Registration);
        let application = event.parsed("applicationId")?.map(Self::Application);
        let client = event.parsed("clientId")?.map(Self::Client);
        let mut owners = [registration, application, client].into_iter().flatten();
        match (owners.next(), owners.next()) {
            (Some(owner), None) => Ok(owner),
            _ => Err(ValidationError::new(
                "registrationId, applicationId or clientId",
                "must be given, and only one of them",
            )),
        }
    }
}

impl Target {
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Organization(id) | Self::ApiKey(id) | Self::Application(id) => id.to_string(),
            Self::Registration(id) => id.to_string(),
            Self::Client(id) => id.to_string(),
        }
    }

    pub(crate) fn parse(event: &mut JsonObject, kind: TargetKind) -> Result<Self, ValidationError> {
        Ok(match kind {
            TargetKind::Organization => {
                let id: IdOrSlug = required("id", event.parsed("id")?)?;
                Self::Organization(id.id(Organization::NAMESPACE))
            }
            TargetKind::ApiKey => Self::ApiKey(required("id", event.parsed("id")?)?),
            TargetKind::Registration => Self::Registration(required("id", event.parsed("id")?)?),
            TargetKind::Application => Self::Application(required("id", event.parsed("id")?)?),
            TargetKind::Client => Self::Client(required("id", event.parsed("id")?)?),
        })
    }

    /// API keys are revoked instead.
    pub(crate) fn to_delete(event: &mut JsonObject) -> Result<Self, ValidationError> {
        let kind = required("kind", event.parsed("kind")?)?;
        if kind == TargetKind::ApiKey {
            let kinds = TargetKind::ALL.into_iter().filter(|kind| *kind != TargetKind::ApiKey);
            let kinds: Vec<_> = kinds.map(TargetKind::as_str).collect();
            return Err(Constraint::one_of(&kinds).of("kind"));
        }
        Self::parse(event, kind)
    }
}

/// The id of the organization that `organizationId` names, by its id or slug. It need not exist.
pub(crate) fn optional_organization(event: &mut JsonObject) -> Result<Option<ObjectId>, ValidationError> {
    let organization: Option<IdOrSlug> = event.parsed("organizationId")?;
    Ok(organization.map(|organization| organization.id(Organization::NAMESPACE)))
}

pub(crate) fn organization(event: &mut JsonObject) -> Result<ObjectId, ValidationError> {
    required("organizationId", optional_organization(event)?)
}

/// The organization of an API key; `None` if `allOrganizations` is true.
pub(crate) fn organization_or_all(event: &mut JsonObject) -> Result<Option<ObjectId>, ValidationError> {
    match (optional_organization(event)?, event.boolean("allOrganizations")?.unwrap_or(false)) {
        (organization, false) => required("organizationId", organization).map(Some),
        (None, true) => Ok(None),
        (Some(_), true) => {
            Err(ValidationError::new("allOrganizations", "must not be given together with organizationId"))
        }
    }
}
