//! What most tests begin with: an organization, and one of each of its entities.

use serde_json::{Value, json};

use super::{Answer, ApiRequest, Secrets, TestStack};

pub(crate) const CREATE_TOKEN: &str = "/api/v1/create-token";

/// The slug of every tenant's application.
const APPLICATION: &str = "my-app";

/// An organization with an API key that has all permissions, a registration and an application.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) slug: String,
    pub(crate) organization: String,
    pub(crate) key: String,
    pub(crate) registration: String,
    pub(crate) application: String,
}

impl Tenant {
    pub(crate) async fn new(stack: &TestStack, slug: &str) -> Self {
        Self::with_registration(stack, slug, &json!({})).await
    }

    /// As [`Self::new`], with these further fields of the registration.
    pub(crate) async fn with_registration(stack: &TestStack, slug: &str, registration: &Value) -> Self {
        let organization = stack.organization(slug).await;
        let key = stack.api_key(&organization).await;
        let registration = stack.registration(&organization, registration).await;
        let application = stack.application(&organization, APPLICATION).await;
        Self { slug: slug.to_owned(), organization, key, registration, application }
    }

    /// Creates an OAuth access token with the API key.
    pub(crate) async fn create_token(&self, stack: &TestStack) -> Answer {
        self.create_token_as(stack, &self.key).await
    }

    pub(crate) async fn create_token_as(&self, stack: &TestStack, bearer: &str) -> Answer {
        stack.post(CREATE_TOKEN, bearer, &json!({"registrationId": self.registration})).await
    }

    /// Creates an app token with the API key.
    pub(crate) async fn create_app_token(&self, stack: &TestStack, body: &Value) -> Answer {
        let answer = stack.post(&self.app_tokens(), &self.key, body).await;
        if answer.status == 200 {
            Secrets::add_credential(answer.json()["data"]["bearer"].as_str().unwrap());
        }
        answer
    }

    /// The path of the application's tokens, by slugs.
    pub(crate) fn app_tokens(&self) -> String {
        app_tokens(&self.slug, APPLICATION)
    }

    /// The request of [`Self::create_token`], for a [`super::Node`].
    pub(crate) fn create_token_request(&self) -> ApiRequest {
        ApiRequest::new("create-token", &json!({}), &self.key, &json!({"registrationId": self.registration}))
    }

    /// The request of [`Self::create_app_token`] with an empty body, for a [`super::Node`].
    pub(crate) fn create_app_token_request(&self) -> ApiRequest {
        let path = json!({"organizationId": self.slug, "applicationId": APPLICATION});
        ApiRequest::new("create-app-token", &path, &self.key, &json!({}))
    }
}

/// The path of an application's tokens, by ids or slugs.
pub(crate) fn app_tokens(organization: &str, application: &str) -> String {
    format!("/v1/organizations/{organization}/apps/{application}/tokens")
}
