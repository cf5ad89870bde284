//! `POST /v1/organizations/{organizationId}/apps/{applicationId}/tokens`: an integration token of an app.

mod dialect;

use std::sync::Arc;

use shared::{
    auth::{Authenticator, Permission, Principal},
    clock::Clock,
    credential::{Credential, Kind},
    http::{Endpoint, Request, Response},
    id::ObjectId,
    random::Random,
    settings::{Environment, SettingsError},
    signer::MacKey,
    store::{AppToken, Application, Organization, Store},
    telemetry::{Step, step},
};

use self::dialect::{CreateAppTokenRequest, Created, Refusal};

/// The function.
#[derive(Debug)]
pub struct CreateAppToken {
    authenticator: Authenticator,
    mac_key: MacKey,
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Endpoint for CreateAppToken {
    const NAME: &'static str = "create-app-token";

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        Ok(Self {
            authenticator: Authenticator::from_environment(environment)?,
            mac_key: MacKey::from_environment(environment)?,
            store: Store::from_environment(environment)?,
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
        })
    }

    async fn warm(&self) {
        tokio::join!(self.authenticator.warm(), self.store.warm());
    }

    async fn respond(&self, request: Request) -> Response {
        self.create(&request).await.map_or_else(Response::from, Response::from)
    }
}

impl CreateAppToken {
    async fn create(&self, request: &Request) -> Result<Created, Refusal> {
        let now = self.clock.now();

        // Load: the caller and the application at the same time. Slugs are ids in other words, so no read finds them
        // out.
        let bearer = self.authenticator.inspect(&request.headers, now).await?;
        let token_request = CreateAppTokenRequest::read(request);
        let application = async {
            match &token_request {
                Ok(valid) => self.store.application(application_id(valid)).await,
                Err(_) => Ok(None),
            }
        };
        let caller = self.authenticator.authenticate(bearer, now);
        let (caller, application) = step(Step::Load, async { tokio::join!(caller, application) }).await;

        // Decide.
        let (caller, token_request) = (caller?, token_request?);
        let id = ObjectId::random(self.random.as_ref())?;
        let application = (application_id(&token_request), application?);
        let token = decide(&caller, &token_request, application, id)?;

        // Make the secret: random, or with a key one that only the same request makes again.
        let secret = match &token_request.idempotency_key {
            None => Credential::generate(Kind::AppBearer, self.random.as_ref())?,
            Some(key) => {
                let message = key.scoped(Self::NAME, &caller, &token.application_id.to_string());
                Credential::of_secret(Kind::AppBearer, self.mac_key.mac(message).await?)
            }
        };

        // Commit.
        match self.store.create_app_token(&secret.hash(), &token, now, self.random.as_ref()).await? {
            None => Ok(Created { token, secret, replayed: false }),
            Some(standing) if standing.description == token.description && standing.scopes == token.scopes => {
                Ok(Created { token: standing, secret, replayed: true })
            }
            Some(_) => Err(Refusal::KeyReused),
        }
    }
}

fn organization_id(request: &CreateAppTokenRequest) -> ObjectId {
    request.organization.id(Organization::SCOPE)
}

fn application_id(request: &CreateAppTokenRequest) -> ObjectId {
    request.application.id(&Application::scope(organization_id(request)))
}

fn decide(
    caller: &Principal,
    request: &CreateAppTokenRequest,
    (application_id, application): (ObjectId, Option<Application>),
    app_token_id: ObjectId,
) -> Result<AppToken, Refusal> {
    if !caller.may(Permission::MadApplicationTokenCreate) {
        return Err(Refusal::Forbidden);
    }
    // The organization exists if it is the caller's; every other must look like none.
    let organization_id = organization_id(request);
    let application = application.filter(|application| application.organization_id == organization_id);
    if organization_id != caller.organization || application.is_none() {
        return Err(Refusal::NotFound);
    }
    let (description, scopes) = (request.description.clone(), request.scopes.clone());
    Ok(AppToken { app_token_id, organization_id, application_id, description, scopes })
}
