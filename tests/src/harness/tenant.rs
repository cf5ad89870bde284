//! What most tests begin with: an organization, and one of each of its entities.

use serde_json::{Value, json};

use super::{Answer, ApiRequest, Secrets, TestStack};

pub(crate) const CREATE_TOKEN: &str = "/api/v1/create-token";

pub(crate) const REVOKE_APP_TOKEN: &str =
    "DELETE /v1/organizations/{organizationId}/apps/{applicationId}/tokens/{tokenId}";

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

    /// The request that revokes an OAuth access token, for a [`super::Node`].
    pub(crate) fn revoke_token_request(&self, token: &str) -> ApiRequest {
        let body = json!({"registrationId": self.registration, "tokenId": token});
        ApiRequest::new("manage-tokens", &json!({}), &self.key, &body).with_route("POST /api/v1/revoke-token", "")
    }

    /// The request that revokes an app token, for a [`super::Node`].
    pub(crate) fn revoke_app_token_request(&self, token: &str) -> ApiRequest {
        let path = json!({"organizationId": self.slug, "applicationId": APPLICATION, "tokenId": token});
        ApiRequest::new("manage-tokens", &path, &self.key, &json!({})).with_route(REVOKE_APP_TOKEN, "")
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

impl Answer {
    /// The text of the OAuth access token that was created.
    pub(crate) fn access_token(&self) -> String {
        let token = self.json()["token"]["accessToken"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned();
        Secrets::add_credential(&token);
        token
    }
}

/// The path of an application's tokens, by ids or slugs.
pub(crate) fn app_tokens(organization: &str, application: &str) -> String {
    format!("/v1/organizations/{organization}/apps/{application}/tokens")
}
