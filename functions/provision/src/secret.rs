//! The secrets of confidential clients and registrations: random ones, and those that operators bring along.

use std::{collections::HashSet, fmt, str::FromStr};

use serde_json::{Value, json};
use shared::{
    auth::ParsedClientId,
    credential::{Credential, CredentialHash, CredentialKind},
    error::{Constraint, InternalError, InvocationError, ValidationError},
    id::{ClientId, RegistrationId},
    random::Random,
    store::{Client, ClientChange, ClientSecrets, OwnerState, Registration, RegistrationSecrets, Update},
};

use crate::provision::Provision;

/// Where a new secret comes from.
#[derive(Debug)]
pub(crate) enum NewSecret {
    /// It is random, and shown in the answer.
    Random,
    /// The operator has it already, for example from another service, so the answer does not show it.
    BroughtAlong(ChosenSecret),
}

impl NewSecret {
    pub(crate) fn new(chosen: Option<ChosenSecret>) -> Self {
        chosen.map_or(Self::Random, Self::BroughtAlong)
    }

    /// Refuses what would never work for a registration: a secret in the form of an API key is looked up as an API key.
    pub(crate) fn of_registration(self) -> Result<Self, ValidationError> {
        match self {
            Self::BroughtAlong(ChosenSecret { is_api_key: true, .. }) => {
                Err(ValidationError::new("clientSecret", "must not have the form of an API key"))
            }
            secret => Ok(secret),
        }
    }

    /// The hash of the secret, and the secret if it is to be shown. Each call makes another random one.
    pub(crate) fn make(&self, random: &dyn Random) -> Result<(CredentialHash, Option<Credential>), InternalError> {
        match self {
            Self::Random => {
                let secret = Credential::generate(CredentialKind::ClientSecret, random)?;
                Ok((secret.hash(), Some(secret)))
            }
            Self::BroughtAlong(ChosenSecret { hash, .. }) => Ok((hash.clone(), None)),
        }
    }
}

/// The hash of a secret that an operator chose. The form does not make it random, but refuses what is plainly not.
#[derive(Debug)]
pub(crate) struct ChosenSecret {
    hash: CredentialHash,
    is_api_key: bool,
}

impl ChosenSecret {
    const MIN_DISTINCT: usize = 16;
}

impl FromStr for ChosenSecret {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str =
            "must be 32 to 128 printable ASCII characters without spaces, of which at least 16 are different";
        Constraint::check(text, 32..=128, |c| c.is_ascii_graphic(), RULE)?;
        Constraint::require(text.bytes().collect::<HashSet<_>>().len() >= Self::MIN_DISTINCT, RULE)?;
        let is_api_key = Credential::parse(CredentialKind::ApiKey, text).is_some();
        Ok(Self { hash: CredentialHash::of(text), is_api_key })
    }
}

impl Provision {
    /// Gives a confidential client or registration a new secret. The one before stays good for the overlap, an older
    /// one ends at once.
    pub(crate) async fn rotate_secret(
        &self,
        owner: &ParsedClientId,
        secret: &NewSecret,
        overlap_seconds: u32,
    ) -> Result<Value, InvocationError> {
        let now = self.clock.now();
        let field = match owner {
            ParsedClientId::UserClient(_) => "clientId",
            ParsedClientId::Registration(_) => "registrationId",
        };
        let missing = || InvocationError::NotFound(field);
        let mut loaded = self.load_owner(owner).await?.ok_or_else(missing)?;
        let mut tried: Option<(CredentialHash, Option<Credential>)> = None;
        let mut retry = self.store.patient_retry("rotate the secret");
        loop {
            let (secrets, state, kind) = loaded.settings();
            let refused = |rule: String| InvocationError::from(ValidationError::new(field, rule));
            let public = || refused(format!("must be that of a confidential {kind}"));
            let ClientSecrets { current, previous } = secrets.cloned().unwrap_or_default();
            let current = current.ok_or_else(public)?;
            // An earlier attempt whose answer was lost, before a change of other settings.
            if let Some((_, shown)) = tried.filter(|(hash, _)| current == *hash) {
                return Ok(answer(field, owner, shown.as_ref()));
            }
            if state.suspension.is_suspended() {
                return Err(refused(format!("must not be that of a {kind} of a suspended organization")));
            }
            // A new one each time. An earlier attempt may have recorded its own, and others may have rotated that away
            // since: it must not come back.
            let (hash, shown) = secret.make(self.random.as_ref())?;
            // The repeat of a call whose answer was lost. Another rotation would end the secret before this one.
            if current == hash {
                return Ok(answer(field, owner, None));
            }
            if previous.is_some_and(|previous| previous.hash == hash) {
                return Err(ValidationError::new("clientSecret", "must not be the one that was replaced last").into());
            }
            let secrets = ClientSecrets::rotated(current, hash.clone(), overlap_seconds, now);
            match self.update_secrets(&loaded, secrets).await? {
                Update::Applied(()) => return Ok(answer(field, owner, shown.as_ref())),
                Update::Conflict(other) => (loaded, tried) = (other, Some((hash, shown))),
                Update::Missing => return Err(missing()),
            }
            retry.pause().await?;
        }
    }

    async fn load_owner(&self, owner: &ParsedClientId) -> Result<Option<SecretOwner>, InternalError> {
        Ok(match owner {
            ParsedClientId::UserClient(id) => {
                self.store.load_client(*id).await?.map(|client| SecretOwner::Client(*id, Box::new(client)))
            }
            ParsedClientId::Registration(id) => {
                let secrets = self.store.load_registration_secrets(id);
                let (registration, secrets) = tokio::join!(self.store.load_registration(id), secrets);
                let secrets = secrets?;
                registration?.map(|Registration { state, .. }| SecretOwner::Registration(id.clone(), state, secrets))
            }
        })
    }

    async fn update_secrets(
        &self,
        owner: &SecretOwner,
        secrets: ClientSecrets,
    ) -> Result<Update<(), SecretOwner>, InternalError> {
        match owner {
            SecretOwner::Client(id, client) => {
                let change = ClientChange { secrets, ..ClientChange::default() };
                let update = self.store.update_client(*id, &change, client).await?;
                Ok(update.map_conflict(|client| SecretOwner::Client(*id, Box::new(client))))
            }
            SecretOwner::Registration(id, _, Some(current)) => {
                match self.store.update_registration_secrets(id, secrets, current).await? {
                    Update::Applied(()) => Ok(Update::Applied(())),
                    // Its state, which is in another item, may have changed too.
                    Update::Conflict(_) => {
                        let owner = self.load_owner(&ParsedClientId::Registration(id.clone())).await?;
                        Ok(owner.map_or(Update::Missing, Update::Conflict))
                    }
                    Update::Missing => Ok(Update::Missing),
                }
            }
            SecretOwner::Registration(.., None) => Ok(Update::Missing),
        }
    }
}

/// What has secrets.
enum SecretOwner {
    Client(ClientId, Box<Client>),
    /// `None` if it is not confidential.
    Registration(RegistrationId, OwnerState, Option<RegistrationSecrets>),
}

impl SecretOwner {
    /// Its secrets, its state, and what it is called.
    fn settings(&self) -> (Option<&ClientSecrets>, &OwnerState, &'static str) {
        match self {
            Self::Client(_, client) => (Some(&client.secrets), &client.state, "client"),
            Self::Registration(_, state, secrets) => {
                (secrets.as_ref().map(|secrets| &secrets.secrets), state, "registration")
            }
        }
    }
}

/// A random secret is shown only in this answer.
pub(crate) fn answer(field: &str, id: &impl fmt::Display, secret: Option<&Credential>) -> Value {
    match secret {
        None => json!({field: id.to_string()}),
        Some(secret) => json!({field: id.to_string(), "clientSecret": secret.expose()}),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chosen_secret_has_the_form(text in "[a-p]{0,40}|[!-~]{30,130}|[ -~é]{30,34}|[a-o]{32,40}") {
            let distinct = text.chars().collect::<HashSet<_>>().len();
            let form = (32..=128).contains(&text.len()) && text.chars().all(|c| matches!(c, '!'..='~'));
            prop_assert_eq!(text.parse::<ChosenSecret>().is_ok(), form && distinct >= 16);
        }
    }
}
