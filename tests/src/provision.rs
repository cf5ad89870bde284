//! The `provision` function, which operators invoke. What its actions change is tested with the endpoints that read it.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::{credential::GrantCredential, random::SystemRandom};

use crate::harness::{
    ApiRequest, InjectedFault, Node, Secrets, TestStack,
    exchange_token::{self, CLIENT, exchange, issue},
    with,
};

/// An error as Lambda returns it.
fn error(error_type: &str, message: &str) -> Value {
    json!({"errorType": error_type, "errorMessage": message})
}

const CHOSEN_SECRET: &str = "a-secret-of-another-service-01234567";

/// The event that creates a client, with changes.
fn create_client(changes: &Value) -> Value {
    let event = json!({
        "action": "createClient", "redirectUris": ["https://a.example/"], "services": ["email"], "scopes": ["openid"],
    });
    with(&event, changes)
}

/// One valid event for each action, on an organization.
fn events(organization: &str) -> [Value; 13] {
    let ids = json!({"organizationId": organization});
    [
        json!({"action": "createOrganization", "slug": "another"}),
        with(&ids, &json!({"action": "createApiKey"})),
        with(&ids, &json!({"action": "createRegistration", "registrationId": "test", "name": "test"})),
        with(&ids, &json!({"action": "createApplication", "slug": "my-app"})),
        create_client(&json!({})),
        json!({"action": "updateRegistration", "registrationId": "unknown", "name": "test"}),
        json!({"action": "revokeApiKey", "apiKeyId": "0".repeat(24)}),
        json!({
            "action": "updateClient", "clientId": CLIENT, "name": "test", "defaultScopes": ["openid"],
            "accessTokenTtlSeconds": 60, "grantTtlSeconds": 300, "idleTimeoutSeconds": 0, "refreshTokens": "never",
        }),
        json!({"action": "rotateSecret", "clientId": CLIENT, "overlapSeconds": 0, "clientSecret": CHOSEN_SECRET}),
        with(&ids, &json!({"action": "list", "kind": "clients", "limit": 1})),
        json!({"action": "listSessions", "clientId": CLIENT, "subject": "user-1", "limit": 100}),
        json!({"action": "endSessions", "clientId": CLIENT, "subject": "user-1", "exceptSid": "0".repeat(32)}),
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
    for event in &events(&"0".repeat(24))[..12] {
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
async fn a_registration_id_that_is_brought_along_can_be_taken_once() {
    let stack = TestStack::start().await;
    let (acme, other) = (stack.organization("acme").await, stack.organization("other").await);
    let create = |organization: &str, id: &str| {
        let action = json!({"action": "createRegistration", "organizationId": organization, "name": "test"});
        with(&action, &json!({"registrationId": id}))
    };
    let actions = [create(&acme, "Billing_1"), create(&other, "Billing_1")];
    let answers = join_all((0..20).map(|n| stack.try_provision(&actions[n % 2]))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(made, [Ok(json!({"registrationId": "Billing_1"}))]);
    assert!(refused.into_iter().all(|answer| answer == Err(error("Taken", "registrationId is already taken"))));
    // Another case is another id.
    assert_eq!(stack.provision(&create(&other, "billing_1")).await, json!({"registrationId": "billing_1"}));
    let malformed = stack.try_provision(&create(&acme, "a b")).await.unwrap_err();
    assert_eq!(malformed, error("InvalidRequest", "registrationId must match ^[A-Za-z0-9_-]{1,64}$"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_is_in_lower_case_and_can_be_taken_once() {
    let stack = TestStack::start().await;
    let id = "11111111-1111-1111-1111-aaaaaaaaaaaa";
    let create = create_client(&json!({"clientId": id}));
    assert_eq!(stack.provision(&create).await, json!({"clientId": id}));
    let upper = create_client(&json!({"clientId": id.to_uppercase()}));
    let refused = stack.try_provision(&upper).await.unwrap_err();
    assert_eq!(refused, error("InvalidRequest", "clientId must be a UUID in lower case"));
    let taken = stack.try_provision(&create).await.unwrap_err();
    assert_eq!(taken, error("Taken", "clientId is already taken"));
}

// ------------------------------------------------------------------------------------------------ listing

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_listed_without_a_secret_or_a_hash() {
    let stack = TestStack::start().await;
    let (organization, other) = (stack.organization("acme").await, stack.organization("other").await);
    let ids = json!({"organizationId": organization});
    let list = |kind: &str| with(&ids, &json!({"action": "list", "kind": kind}));
    for kind in ["apiKeys", "registrations", "applications", "clients"] {
        assert_eq!(stack.provision(&list(kind)).await, json!({"items": []}));
        stack.provision(&json!({"action": "createApplication", "organizationId": other, "slug": kind})).await;
    }
    let key = json!({"action": "createApiKey", "permissions": ["oauth.token.list"], "description": "CI"});
    let key = stack.provision(&with(&ids, &key)).await;
    let bare = stack.provision(&with(&ids, &json!({"action": "createApiKey", "permissions": []}))).await;
    let registration = stack.registration(&organization, &json!({"maxAllowed": 2, "tokenTtlSeconds": 60})).await;
    let update =
        json!({"action": "updateRegistration", "registrationId": registration, "name": "new", "maxAllowed": 3});
    stack.provision(&update).await;
    let application = json!({"action": "createApplication", "slug": "my-app", "name": "My app"});
    let application = stack.provision(&with(&ids, &application)).await;
    let client = create_client(&json!({"organizationId": organization, "confidential": true}));
    let client = stack.provision(&client).await;
    for secret in [&key["apiKey"], &bare["apiKey"], &client["clientSecret"]] {
        Secrets::add_credential(secret.as_str().unwrap());
    }
    let created_at = "2027-01-15T08:00:00.250Z";
    let of_all = with(&ids, &json!({"createdAt": created_at, "suspended": false}));
    let described = json!({
        "apiKeyId": key["apiKeyId"], "permissions": ["oauth.token.list"], "description": "CI",
    });
    let expected_keys =
        [described, json!({"apiKeyId": bare["apiKeyId"], "permissions": []})].map(|key| with(&of_all, &key));
    let keys = stack.provision(&list("apiKeys")).await["items"].clone();
    let keys = keys.as_array().unwrap();
    assert!(keys.len() == 2 && expected_keys.iter().all(|key| keys.contains(key)));
    let expected_registration = json!({
        "registrationId": registration, "name": "new", "maxAllowed": 3, "tokenTtlSeconds": 60,
        "clientCredentialsTtlSeconds": 3600, "scopes": ["oauth.token.create"], "confidential": false, "enabled": true,
    });
    let expected_application = json!({
        "applicationId": application["applicationId"], "slug": "my-app", "name": "My app", "enabled": true,
    });
    let expected_client = json!({
        "clientId": client["clientId"], "redirectUris": ["https://a.example/"], "services": ["email"],
        "scopes": ["openid"], "accessTokenTtlSeconds": 3600, "grantTtlSeconds": 2_592_000, "idleTimeoutSeconds": 0,
        "refreshTokens": "always", "refreshReuseSeconds": 60, "confidential": true,
        "enabled": true,
    });
    for (kind, expected) in
        [("registrations", expected_registration), ("applications", expected_application), ("clients", expected_client)]
    {
        assert_eq!(stack.provision(&list(kind)).await, json!({"items": [with(&of_all, &expected)]}), "{kind}");
    }
    stack.provision(&json!({"action": "revokeApiKey", "apiKeyId": key["apiKeyId"]})).await;
    assert_eq!(stack.provision(&list("apiKeys")).await, json!({"items": [expected_keys[1]]}));
    let unknown = with(&list("clients"), &json!({"organizationId": "0".repeat(24)}));
    let unknown = stack.try_provision(&unknown).await.unwrap_err();
    assert_eq!(unknown, error("NotFound", "organizationId does not exist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_goes_on_in_its_own_list_only() {
    let stack = TestStack::start().await;
    let (organization, other) = (stack.organization("acme").await, stack.organization("other").await);
    let mut made = vec![];
    for n in 0..5 {
        made.push(stack.application(&organization, &format!("app-{n}")).await);
        stack.application(&other, &format!("app-{n}")).await;
        stack.clock.advance(1);
    }
    let list = json!({"action": "list", "kind": "applications", "organizationId": organization, "limit": 2});
    let (mut seen, mut request) = (vec![], list.clone());
    loop {
        let page = stack.provision(&request).await;
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["applicationId"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        assert_eq!(items.len(), 2);
        request = with(&list, &json!({"cursor": cursor}));
        for foreign in [
            json!({"organizationId": other}),
            json!({"kind": "apiKeys"}),
            json!({"cursor": &cursor[1..]}),
            json!({"cursor": ""}),
            json!({"cursor": "x"}),
            json!({"cursor": format!("{cursor}=")}),
        ] {
            let refused = stack.try_provision(&with(&request, &foreign)).await.unwrap_err();
            assert_eq!(refused, error("InvalidRequest", "cursor must be one that this list returned"), "{foreign}");
        }
    }
    assert_eq!(seen, made);
}

// ------------------------------------------------------------------------------------------------ clients

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_secret_is_shown_once_and_stored_as_a_hash() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let changes = json!({"organizationId": organization, "confidential": true});
    let made = stack.provision(&create_client(&changes)).await;
    let secret = made["clientSecret"].as_str().unwrap().to_owned();
    Secrets::add_credential(&secret);
    assert!(secret.starts_with("tms_") && secret.len() == 53 && !stack.dump().await.contains(&secret));
    let update = json!({"action": "updateClient", "clientId": made["clientId"], "services": ["sms"]});
    assert_eq!(stack.provision(&update).await, json!({"clientId": made["clientId"]}));
    let list = json!({"action": "list", "kind": "clients", "organizationId": organization});
    assert_eq!(stack.provision(&list).await["items"][0]["services"], json!(["sms"]));

    let unknown = create_client(&json!({"organizationId": "0".repeat(24)}));
    assert_eq!(stack.try_provision(&unknown).await.unwrap_err()["errorType"], "NotFound");
    let unknown = stack.try_provision(&with(&update, &json!({"clientId": CLIENT}))).await.unwrap_err();
    assert_eq!(unknown, error("NotFound", "clientId does not exist"));
    for empty in ["redirectUris", "services", "scopes", "defaultScopes"] {
        let refused = stack.try_provision(&with(&update, &json!({empty: []}))).await.unwrap_err();
        assert_eq!(refused, error("InvalidRequest", &format!("{empty} must have at least one entry")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_is_refused_as_a_bad_code_is() {
    let stack = TestStack::start().await;
    exchange_token::client(&stack, &json!({"confidential": true})).await;
    let code = issue(&stack, &json!({})).await;
    let refused = exchange(&stack, &code).await;
    let message = "Bad Request / validation error: code or refresh_token is not valid for this request";
    refused.assert(400, &json!({"errors": [{"validation": "error", "code": "[E4000]", "message": message}]}));
    // The code is as it was, also after a made-up refresh token that names another client.
    let presented = GrantCredential::parse_code(&code).unwrap();
    let grant = presented.grant();
    let made_up = GrantCredential::generate_refresh_token(grant, &SystemRandom).unwrap();
    for client in [exchange_token::CLIENT, "22222222-2222-2222-2222-222222222222"] {
        let body = with(&exchange_token::refresh_body(made_up.expose()), &json!({"client_id": client}));
        assert_eq!(exchange_token::post(&stack, &body).await.text, refused.text);
    }
    assert!(stack.item(&format!("GRANT#{}", grant.session().as_str())).await["revoked"].is_null());
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

// ------------------------------------------------------------------------------------------------ transactions

/// A creation locks the item of its organization for a moment. What meets it is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn what_meets_a_creation_is_tried_again() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let key = stack.provision(&json!({"action": "createApiKey", "organizationId": organization})).await;
    Secrets::add_credential(key["apiKey"].as_str().unwrap());
    let conflict = [InjectedFault::Error("TransactionConflictException")];
    for (operation, action) in [
        ("UpdateItem", json!({"action": "suspendOrganization", "organizationId": organization})),
        ("UpdateItem", json!({"action": "resumeOrganization", "organizationId": organization})),
        ("UpdateItem", json!({"action": "revokeApiKey", "apiKeyId": key["apiKeyId"]})),
        ("PutItem", json!({"action": "delete", "kind": "organization", "id": organization})),
    ] {
        let node = Node::start(&stack, TimeDelta::zero());
        node.calls.fail(operation, &conflict);
        let answer = node.send(&ApiRequest::provision(action.clone())).await;
        assert!(answer.body["errorType"].is_null(), "{action}: {answer:?}");
        assert!(node.calls.all_failed());
    }
}

/// The answer of the first attempt is lost, and the second one meets the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_recognizes_itself_in_a_later_round() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let node = Node::start(&stack, TimeDelta::zero());
    let in_progress = InjectedFault::Error("TransactionInProgressException");
    node.calls.fail("TransactWriteItems", &[InjectedFault::AnswerLost, in_progress]);
    let create = json!({
        "action": "createRegistration", "organizationId": organization, "name": "test", "registrationId": "mine",
    });
    let created = node.send(&ApiRequest::provision(create.clone())).await;
    assert_eq!(created.body, json!({"registrationId": "mine"}));
    assert!(node.calls.all_failed());
    assert_eq!(stack.try_provision(&create).await.unwrap_err(), error("Taken", "registrationId is already taken"));
}
