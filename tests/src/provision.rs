//! The `provision` function, which operators invoke. What its actions change is tested with the endpoints that read it.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{InjectedFault, Node, Secrets, TestStack, with};

/// An error as Lambda returns it.
fn error(error_type: &str, message: &str) -> Value {
    json!({"errorType": error_type, "errorMessage": message})
}

/// One valid event for each action, on an organization.
fn events(organization: &str) -> [Value; 8] {
    let ids = json!({"organizationId": organization});
    [
        json!({"action": "createOrganization", "slug": "another"}),
        with(&ids, &json!({"action": "createApiKey"})),
        with(&ids, &json!({"action": "createRegistration", "name": "test"})),
        with(&ids, &json!({"action": "createApplication", "slug": "my-app"})),
        json!({"action": "createClient", "redirectUris": ["https://a.example/"], "services": ["email"], "scopes": ["openid"]}),
        json!({"action": "updateRegistration", "registrationId": "unknown", "name": "test"}),
        json!({"action": "revokeApiKey", "apiKeyId": "0".repeat(24)}),
        json!({"action": "rotateSigningKey"}),
    ]
}

// ------------------------------------------------------------------------------------------------ requests

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_a_misspelt_or_a_malformed_field_is_refused_without_any_call() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    stack.calls.reset();
    for event in events(&organization) {
        let misspelt = with(&event, &json!({"naem": "test"}));
        let fields = event.as_object().unwrap().keys();
        let malformed = fields.map(|field| with(&event, &json!({field: {}})));
        let incomplete = with(&event, &json!({"action": null}));
        for event in [misspelt, incomplete].into_iter().chain(malformed) {
            let refused = stack.try_provision(&event).await.unwrap_err();
            assert_eq!(refused["errorType"], "InvalidRequest", "{event}: {refused}");
        }
    }
    assert!(stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_an_internal_error() {
    let stack = TestStack::start().await;
    for operation in ["GetItem", "PutItem", "UpdateItem"] {
        stack.calls.fail(operation, &[InjectedFault::NotSent; 60]);
    }
    for event in &events(&"0".repeat(24))[..7] {
        let failed = stack.try_provision(event).await.unwrap_err();
        assert_eq!(failed, error("InternalError", "Internal server error"), "{event}");
    }
}

// ------------------------------------------------------------------------------------------------ creating

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_sdk_repeats_is_done_once() {
    let stack = TestStack::start().await;
    stack.calls.fail("PutItem", &[InjectedFault::AnswerLost]);
    let organization = stack.organization("acme").await;
    assert!(stack.calls.all_failed());
    let again = stack.try_provision(&json!({"action": "createOrganization", "slug": "acme"})).await;
    assert_eq!(again.unwrap_err(), json!({"errorType": "Taken", "errorMessage": "slug is already taken"}));
    let missing = json!({"action": "createApiKey", "organizationId": "0".repeat(24)});
    let missing = stack.try_provision(&missing).await.unwrap_err();
    assert_eq!(missing["errorType"], "NotFound");
    stack.calls.fail("PutItem", &[InjectedFault::AnswerLost]);
    let registration = stack.registration(&organization, &json!({})).await;
    assert_eq!(stack.registration_item(&registration).await["name"], json!({"S": "test"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_organizations_one_gets_the_slug() {
    let stack = TestStack::start().await;
    let action = json!({"action": "createOrganization", "slug": "acme"});
    let answers = join_all((0..20).map(|_| stack.try_provision(&action))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_applications_one_gets_the_slug_in_its_organization() {
    let stack = TestStack::start().await;
    let (acme, other) = (stack.organization("acme").await, stack.organization("other").await);
    let create =
        |organization: &str| json!({"action": "createApplication", "organizationId": organization, "slug": "my-app"});
    let action = create(&acme);
    let answers = join_all((0..20).map(|_| stack.try_provision(&action))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    let taken = json!({"errorType": "Taken", "errorMessage": "slug is already taken"});
    assert!(refused.into_iter().all(|answer| answer == Err(taken.clone())));
    let theirs = stack.provision(&create(&other)).await;
    assert_ne!(Ok(theirs), made[0]);
    let missing = stack.try_provision(&create(&"0".repeat(24))).await.unwrap_err();
    assert_eq!(missing["errorMessage"], "organizationId does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_is_lowercased_and_can_be_taken_once() {
    let stack = TestStack::start().await;
    let id = "11111111-1111-1111-1111-AAAAAAAAAAAA";
    let create = with(&events("")[4], &json!({"clientId": id}));
    assert_eq!(stack.provision(&create).await, json!({"clientId": id.to_lowercase()}));
    let taken = stack.try_provision(&create).await.unwrap_err();
    assert_eq!(taken, error("Taken", "clientId is already taken"));
}

// ------------------------------------------------------------------------------------------------ revoking

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_api_key_is_refused_at_once_by_every_process() {
    let stack = TestStack::start().await;
    let nodes: Vec<_> = (0..3).map(|_| Node::start(&stack, TimeDelta::zero())).collect();
    let organization = stack.organization("acme").await;
    let action = json!({"action": "createApiKey", "organizationId": organization});
    let made = stack.provision(&action).await;
    let key = made["apiKey"].as_str().unwrap();
    Secrets::add_credential(key);
    assert!(nodes[0].accepts(key).await);
    let revoke = json!({"action": "revokeApiKey", "apiKeyId": made["apiKeyId"]});
    let revocations = join_all((0..20).map(|_| stack.try_provision(&revoke))).await;
    let (done, refused): (Vec<_>, Vec<_>) = revocations.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), &done[0]), (1, &Ok(json!({"apiKeyId": made["apiKeyId"]}))));
    assert!(refused.iter().all(|refusal| refusal.as_ref().unwrap_err()["errorType"] == "NotFound"));
    for node in &nodes {
        assert!(!node.accepts(key).await);
    }
    let unknown = json!({"action": "revokeApiKey", "apiKeyId": "0".repeat(24)});
    assert_eq!(stack.try_provision(&unknown).await.unwrap_err()["errorType"], "NotFound");
    // The answer is lost, not the work.
    let other = stack.provision(&action).await;
    Secrets::add_credential(other["apiKey"].as_str().unwrap());
    stack.calls.fail("UpdateItem", &[InjectedFault::AnswerLost; 2]);
    let revoke = json!({"action": "revokeApiKey", "apiKeyId": other["apiKeyId"]});
    assert_eq!(stack.try_provision(&revoke).await, Ok(json!({"apiKeyId": other["apiKeyId"]})));
    assert!(stack.calls.all_failed());
}
