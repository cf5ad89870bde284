//! `provision`: operators create and change what the endpoints work with. It has no route; IAM decides who may invoke
//! it.

mod action;
mod api_keys;
mod applications;
mod clients;
mod endings;
mod key_rotation;
mod lists;
mod organizations;
mod provision;
mod registration;
mod secret;
mod sessions;
mod settings;
mod target;

use std::sync::Arc;

use serde_json::{Value, json};
use shared::{
    error::InvocationError,
    keys::MaxTokenTtl,
    runtime::function::Function,
    runtime::{Environment, Handled, SettingsError},
    store::{SessionFilter, Store},
};

pub use self::provision::Provision;
use self::{action::Action, settings::KeyRotationSettings};

impl Function for Provision {
    const NAME: &'static str = "provision";
    type Answer = Value;

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let store = Store::from_environment(environment)?;
        Ok(Self {
            store,
            key_rotation: KeyRotationSettings::from_environment(environment)?,
            max_token_ttl: MaxTokenTtl::from_environment(environment)?,
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
        })
    }

    async fn warm(&self) {
        self.store.warm(1).await;
    }

    async fn handle(&self, event: &str) -> Handled<Value> {
        Handled::of(match Action::parse(event, self.clock.now(), self.max_token_ttl) {
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
            Action::CreateRegistration { registration_id, registration, secret } => {
                self.create_registration(registration_id, *registration, secret.as_ref()).await
            }
            Action::CreateApplication(application) => self.create_application(application).await,
            Action::CreateClient { client_id, client, secret } => {
                self.create_client(client_id, *client, secret.as_ref()).await
            }
            Action::UpdateClient { client_id, change } => self.update_client(client_id, *change).await,
            Action::RotateSecret { owner, secret, overlap_seconds } => {
                self.rotate_secret(&owner, &secret, overlap_seconds).await
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
            Action::RotateSigningKey(rotation) => self.rotate_signing_key(rotation).await,
        }
    }
}
