//! `provision`: operators create and change what the endpoints work with. It has no route; IAM decides who may invoke
//! it.

mod action;
mod api_keys;
mod applications;
mod clients;
mod endings;
mod lists;
mod organizations;
mod provision;
mod registration;
mod secret;
mod sessions;
mod target;

use std::sync::Arc;

use serde_json::{Value, json};
use shared::{
    error::{InvocationError, ValidationError},
    id::KeyId,
    keys::{SigningMode, WrappingKey},
    runtime::function::Function,
    runtime::{Environment, Handled, SettingsError},
    store::{MAX_KEYS, SessionFilter, SigningKeys, Store, Update},
};

use self::action::Action;
pub use self::provision::Provision;

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
        Handled::of(match Action::parse(event, self.clock.now()) {
            Ok(action) => self.perform(action).await,
            Err(invalid) => Err(invalid.into()),
        })
    }
}

impl Provision {
    async fn perform(&self, action: Action) -> Result<Value, InvocationError> {
        match action {
            Action::CreateOrganization { slug, name } => self.create_organization(slug, name).await,
            Action::CreateApiKey(new) => self.create_api_key(new).await,
            Action::CreateRegistration { registration_id, registration } => {
                self.create_registration(registration_id, registration).await
            }
            Action::CreateApplication(application) => self.create_application(application).await,
            Action::CreateClient { client_id, client, secret } => {
                self.create_client(client_id, *client, secret.as_ref()).await
            }
            Action::UpdateClient { client_id, change } => self.update_client(client_id, *change).await,
            Action::RotateSecret { client_id, secret, overlap_seconds } => {
                self.rotate_secret(client_id, &secret, overlap_seconds).await
            }
            Action::UpdateOrganization { organization_id, name } => {
                self.update_organization(organization_id, name).await
            }
            Action::UpdateApplication { application_id, change } => {
                self.update_application(application_id, &change).await
            }
            Action::RotateApiKey { api_key_id, overlap_seconds } => {
                self.rotate_api_key(api_key_id, overlap_seconds).await
            }
            Action::RevokeTokens(owner) => self.revoke_tokens(&owner).await,
            Action::SuspendOrganization { organization_id } => {
                Ok(json!({"suspended": self.set_suspended(organization_id, true).await?}))
            }
            Action::ResumeOrganization { organization_id } => {
                Ok(json!({"resumed": self.set_suspended(organization_id, false).await?}))
            }
            Action::Delete(target) => self.delete(&target).await,
            Action::Get(target) => self.get(&target).await,
            Action::List { query, limit, cursor } => self.list(query, limit, cursor.as_deref()).await,
            Action::ListSessions { subject, client_id, limit, cursor } => {
                self.list_sessions(SessionFilter { subject: &subject, client_id }, limit, cursor.as_deref()).await
            }
            Action::EndSessions { subject, client_id, selection } => {
                self.end_sessions(SessionFilter { subject: &subject, client_id }, &selection).await
            }
            Action::UpdateRegistration { registration_id, change } => {
                self.update_registration(&registration_id, &change).await
            }
            Action::RevokeApiKey { api_key_id } => self.revoke_api_key(api_key_id).await,
            Action::RotateSigningKey { withdraw_previous } => self.rotate_signing_key(withdraw_previous).await,
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
