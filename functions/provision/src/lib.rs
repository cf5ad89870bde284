//! `provision`: operators create and change what the endpoints work with. It has no route; IAM decides who may invoke
//! it.

mod action;
mod clients;
mod lists;
mod provision;
mod registration;
mod secret;
mod sessions;

use std::sync::Arc;

use serde_json::{Value, json};
use shared::{
    credential::{Credential, CredentialKind},
    error::{InvocationError, ValidationError},
    id::{KeyId, ObjectId, RegistrationId},
    keys::{SigningMode, WrappingKey},
    runtime::function::Function,
    runtime::{Environment, Handled, SettingsError},
    store::{
        ApiKey, Application, MAX_KEYS, Organization, RegistrationChange, SessionFilter, SigningKeys, Store, Update,
    },
};

pub use self::provision::Provision;
use self::{action::Action, provision::created};

impl Function for Provision {
    const NAME: &'static str = "provision";
    type Answer = Value;

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        Ok(Self {
            store,
            wrapping_key: WrappingKey::from_environment(environment, SigningMode::from_environment(environment)?)?,
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
        })
    }

    async fn warm(&self) {
        self.store.warm(1).await;
    }

    async fn handle(&self, event: &str) -> Handled<Value> {
        Handled::of(match Action::parse(event) {
            Ok(action) => self.perform(action).await,
            Err(invalid) => Err(invalid.into()),
        })
    }
}

impl Provision {
    async fn perform(&self, action: Action) -> Result<Value, InvocationError> {
        let (now, random) = (self.clock.now(), self.random.as_ref());
        match action {
            Action::CreateOrganization { slug } => {
                created("slug", &self.store.create_organization(&slug).await?)?;
                Ok(json!({"organizationId": Organization::id(&slug)}))
            }
            Action::CreateApiKey { organization_id, permissions, description } => {
                self.require_organization(organization_id).await?;
                let secret = Credential::generate(CredentialKind::ApiKey, random)?;
                let hash = secret.hash();
                let api_key = ApiKey { hash, organization_id, permissions, description, revoked_at: None };
                created("apiKey", &self.store.create_api_key(secret.id(), &api_key, now).await?)?;
                Ok(json!({"apiKeyId": secret.id(), "apiKey": secret.expose()}))
            }
            Action::CreateRegistration { registration_id, registration } => {
                self.require_organization(registration.organization_id).await?;
                let id = registration_id.map_or_else(|| ObjectId::random(random).map(RegistrationId::from), Ok)?;
                let registration = self.store.create_registration(&id, &registration, now).await?;
                created("registrationId", &registration)?;
                Ok(json!({"registrationId": id.as_str()}))
            }
            Action::CreateApplication { organization_id, slug, name } => {
                self.require_organization(organization_id).await?;
                let id = Application::id(organization_id, &slug);
                let application = Application { organization_id, slug, name };
                created("slug", &self.store.create_application(id, &application, now).await?)?;
                Ok(json!({"applicationId": id}))
            }
            Action::CreateClient { client_id, client, secret } => {
                self.create_client(client_id, *client, secret.as_ref()).await
            }
            Action::UpdateClient { client_id, change } => self.update_client(client_id, *change).await,
            Action::RotateSecret { client_id, secret, overlap_seconds } => {
                self.rotate_secret(client_id, &secret, overlap_seconds).await
            }
            Action::List { kind, organization_id, limit, cursor } => {
                self.list((kind, organization_id), limit, cursor.as_deref()).await
            }
            Action::ListSessions { subject, client_id, limit, cursor } => {
                self.list_sessions(SessionFilter { subject: &subject, client_id }, limit, cursor.as_deref()).await
            }
            Action::EndSessions { subject, client_id, selection } => {
                self.end_sessions(SessionFilter { subject: &subject, client_id }, &selection).await
            }
            Action::UpdateRegistration { registration_id, change } => {
                self.update_registration(&registration_id, &change).await?;
                Ok(json!({"registrationId": registration_id}))
            }
            Action::RevokeApiKey { api_key_id } => match self.store.revoke_api_key(api_key_id, now).await? {
                Update::Applied(()) => Ok(json!({"apiKeyId": api_key_id})),
                Update::Conflict(()) | Update::Missing => Err(InvocationError::NotFoundOrRevoked("apiKeyId")),
            },
            Action::RotateSigningKey { withdraw_previous } => self.rotate_signing_key(withdraw_previous).await,
        }
    }

    /// Changes a registration. Its tokens keep what they were issued with, so earlier scopes are stored for as long as
    /// a token that can be repeated has them.
    async fn update_registration(
        &self,
        id: &RegistrationId,
        asked: &RegistrationChange,
    ) -> Result<(), InvocationError> {
        let now = self.clock.now();
        let missing = InvocationError::NotFound("registrationId");
        let Some(mut registration) = self.store.load_registration(id).await? else { return Err(missing) };
        let mut retry = self.store.patient_retry("update the registration");
        loop {
            let change = registration::decide(asked, &registration, now)?;
            match self.store.update_registration(id, &change, &registration).await? {
                Update::Applied(()) => return Ok(()),
                Update::Conflict(current) => registration = current,
                Update::Missing => return Err(missing),
            }
            retry.pause().await?;
        }
    }

    /// Replaces the key pair that signs. Within a minute every function signs with the new one. The previous public
    /// keys stay published unless they are withdrawn.
    async fn rotate_signing_key(&self, withdraw_previous: bool) -> Result<Value, InvocationError> {
        let Some(wrapping_key) = &self.wrapping_key else {
            let rule = "rotateSigningKey needs SIGNING_MODE envelope or transition; \
                        in kms mode, replace the key in the template";
            return Err(ValidationError::new("action", rule).into());
        };
        let mut keys = self.store.load_signing_keys().await?;
        let new = wrapping_key.generate(KeyId::random(self.random.as_ref())?).await?;
        let mut retry = self.store.patient_retry("record the signing key");
        loop {
            let replaces = keys.as_ref().map(|keys| keys.current.kid.clone());
            let rotated = SigningKeys::rotated(keys, new.clone(), self.clock.now(), withdraw_previous);
            if rotated.len() > MAX_KEYS {
                let rule = format!(
                    "must be true: {MAX_KEYS} keys are published, and none of them is old enough to be removed"
                );
                return Err(ValidationError::new("withdrawPrevious", rule).into());
            }
            match self.store.record_signing_keys(&rotated, replaces.as_ref()).await? {
                Update::Applied(()) => return Ok(json!({"kid": new.kid})),
                Update::Conflict(winner) => keys = Some(winner),
                Update::Missing => keys = None,
            }
            retry.pause().await?;
        }
    }
}
