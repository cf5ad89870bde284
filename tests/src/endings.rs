//! How what operators create is shown, changed, switched off and ended.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};
use shared::{
    credential::{Credential, CredentialKind},
    keys::SigningMode,
};

use crate::harness::{
    Answer, ApiRequest, CREATE_TOKEN, Fixture, Node, Outcome, Secrets, Tenant, TestStack, app_tokens, authorizer_event,
    calls,
    exchange_token::{self, CLIENT},
    oauth2, with, with_bearer,
};

const IN_AN_HOUR: &str = "2027-01-15T09:00:00.000Z";
/// A list without items.
const NOTHING: [Value; 0] = [];
const CREATED_AT: &str = "2027-01-15T08:00:00.250Z";

fn error(error_type: &str, message: &str) -> Result<Value, Value> {
    Err(json!({"errorType": error_type, "errorMessage": message}))
}

fn missing(field: &str) -> Result<Value, Value> {
    error("NotFound", &format!("{field} does not exist"))
}

async fn get(stack: &TestStack, kind: &str, id: &Value) -> Result<Value, Value> {
    stack.try_provision(&json!({"action": "get", "kind": kind, "id": id})).await
}

async fn delete(stack: &TestStack, kind: &str, id: &Value) -> Result<Value, Value> {
    stack.try_provision(&json!({"action": "delete", "kind": kind, "id": id})).await
}

async fn act(stack: &TestStack, action: &str, fields: &Value) -> Result<Value, Value> {
    stack.try_provision(&with(fields, &json!({"action": action}))).await
}

async fn items(stack: &TestStack, kind: &str, fields: &Value) -> Vec<Value> {
    let list = with(fields, &json!({"action": "list", "kind": kind}));
    stack.provision(&list).await["items"].as_array().unwrap().clone()
}

/// A new API key: its id, and the key.
async fn new_key(stack: &TestStack, organization: &str, more: &Value) -> (Value, String) {
    let made = act(stack, "createApiKey", &with(&json!({"organizationId": organization}), more)).await.unwrap();
    let key = made["apiKey"].as_str().unwrap();
    Secrets::add_credential(key);
    (made["apiKeyId"].clone(), key.to_owned())
}

fn key_id(key: &str) -> Value {
    Credential::parse(CredentialKind::ApiKey, key).unwrap().id().to_string().into()
}

/// Whether the authorizer accepts a bearer.
async fn is_good(stack: &TestStack, bearer: &str) -> bool {
    let authorized = stack.local.invoke("authorize", &authorizer_event(bearer)).await.unwrap();
    authorized["isAuthorized"] == true
}

fn bearer(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["data"]["bearer"].as_str().unwrap().to_owned()
}

async fn app_bearer(stack: &TestStack, tenant: &Tenant, body: &Value) -> String {
    bearer(&tenant.create_app_token(stack, body).await)
}

// ------------------------------------------------------------------------------------------------ showing

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_shown_as_in_its_list_until_it_ends() {
    let stack = TestStack::start().await;
    let organization = act(&stack, "createOrganization", &json!({"slug": "acme", "name": "Acme"})).await.unwrap();
    let id = organization["organizationId"].clone();
    let of = json!({"organizationId": id});
    let (api_key, _) =
        new_key(&stack, id.as_str().unwrap(), &json!({"description": "CI", "expiresAt": IN_AN_HOUR})).await;
    let registration = stack.registration(id.as_str().unwrap(), &json!({})).await;
    let application = json!({"slug": "my-app", "name": "My app", "maxAppTokenTtlSeconds": 60});
    let application = act(&stack, "createApplication", &with(&of, &application)).await.unwrap();
    let new_client = json!({"redirectUris": ["https://a.example/"], "scopes": ["openid"]});
    let client = act(&stack, "createClient", &with(&of, &new_client)).await.unwrap();
    let client_of_none = act(&stack, "createClient", &new_client).await.unwrap();
    let kinds = [
        ("clients", "client", "clientId", &json!({}), client_of_none["clientId"].clone()),
        ("clients", "client", "clientId", &of, client["clientId"].clone()),
        ("applications", "application", "applicationId", &of, application["applicationId"].clone()),
        ("registrations", "registration", "registrationId", &of, registration.into()),
        ("apiKeys", "apiKey", "apiKeyId", &of, api_key.clone()),
        ("organizations", "organization", "organizationId", &json!({}), id.clone()),
    ];
    for (list, kind, field, of, id) in &kinds {
        let listed = items(&stack, list, of).await;
        assert_eq!((listed.len(), &listed[0][field], &listed[0]["createdAt"]), (1, id, &json!(CREATED_AT)), "{kind}");
        stack.calls.reset();
        assert_eq!(get(&stack, kind, id).await, Ok(listed[0].clone()), "{kind}");
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]), "{kind}");
        if *kind == "apiKey" {
            assert_eq!((&listed[0]["expiresAt"], &listed[0]["description"]), (&json!(IN_AN_HOUR), &json!("CI")));
        }
        if *kind == "application" {
            assert_eq!(listed[0]["maxAppTokenTtlSeconds"], 60);
        }
    }
    let shown = get(&stack, "organization", &json!("acme")).await.unwrap();
    assert_eq!(
        shown,
        json!({
            "organizationId": id, "slug": "acme", "name": "Acme", "suspended": false, "createdAt": CREATED_AT,
        })
    );
    // What has expired is still shown.
    stack.clock.advance(3600);
    assert!(get(&stack, "apiKey", &api_key).await.is_ok());
    act(&stack, "revokeApiKey", &json!({"apiKeyId": api_key})).await.unwrap();
    for (list, kind, _, of, id) in &kinds {
        if *kind != "apiKey" {
            assert_eq!(delete(&stack, kind, id).await, Ok(json!({"id": id})));
        }
        assert_eq!(get(&stack, kind, id).await, missing("id"), "{kind}");
        let again = delete(&stack, kind, id).await;
        if *kind == "apiKey" {
            let kinds = "kind must be organization, registration, application or client";
            assert_eq!(again, error("InvalidRequest", kinds));
        } else {
            assert_eq!(again, missing("id"), "{kind}");
        }
        if *kind != "organization" {
            assert_eq!(items(&stack, list, of).await, NOTHING, "{kind}");
        }
    }
    assert_eq!(items(&stack, "organizations", &json!({})).await, NOTHING);
    for (kind, malformed) in [("apiKey", "x"), ("application", "my-app"), ("client", "x"), ("registration", "a b")] {
        assert_eq!(get(&stack, kind, &json!(malformed)).await.unwrap_err()["errorType"], "InvalidRequest", "{kind}");
    }
    assert_eq!(get(&stack, "organizations", &json!("acme")).await.unwrap_err()["errorType"], "InvalidRequest");
}

#[tokio::test(flavor = "multi_thread")]
async fn organizations_are_listed_in_pages() {
    let stack = TestStack::start().await;
    let mut made = vec![];
    for n in 0..5 {
        made.push(stack.organization(&format!("org-{n}")).await);
        stack.clock.advance(1);
    }
    act(&stack, "suspendOrganization", &json!({"organizationId": "org-1"})).await.unwrap();
    delete(&stack, "organization", &json!("org-3")).await.unwrap();
    made.remove(3);
    let list = json!({"action": "list", "kind": "organizations", "limit": 2});
    let (mut seen, mut request, mut pages) = (vec![], list.clone(), 0);
    loop {
        let page = stack.provision(&request).await;
        pages += 1;
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item["suspended"], item["slug"] == "org-1", "{item}");
            seen.push(item["organizationId"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["cursor"].as_str() else { break };
        let elsewhere = json!({"action": "list", "kind": "clients", "cursor": cursor});
        let refused = stack.try_provision(&elsewhere).await;
        assert_eq!(refused, error("InvalidRequest", "cursor must be one that this list returned"));
        request = with(&list, &json!({"cursor": cursor}));
    }
    assert_eq!((seen, pages), (made, 2));
    let refused = act(&stack, "list", &json!({"kind": "organizations", "organizationId": "org-1"})).await;
    assert_eq!(refused, error("InvalidRequest", "organizationId is not a field of this request"));
    let refused = act(&stack, "list", &json!({"kind": "apiKeys"})).await;
    assert_eq!(refused, error("InvalidRequest", "organizationId is required"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_expire_before_an_instant_are_listed() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    new_key(&stack, &organization, &json!({})).await;
    let mut keys = vec![];
    for hour in ["09", "10", "11"] {
        keys.push(new_key(&stack, &organization, &json!({"expiresAt": format!("2027-01-15T{hour}:00:00.5Z")})).await.0);
    }
    for (before, count) in [
        ("2027-01-15T09:00:00.500Z", 0),
        ("2027-01-15T09:00:00.501Z", 1),
        ("2027-01-15T12:30:00.501+02:00", 2),
        ("2100-01-01T00:00:00Z", 3),
    ] {
        // In pages of one, so that what is left out is no page.
        let list = json!({"organizationId": "acme", "expiresBefore": before, "limit": 1});
        let (mut seen, mut cursor) = (BTreeSet::new(), Value::Null);
        for _ in 0..count.max(1) {
            let page = act(&stack, "list", &with(&list, &json!({"kind": "apiKeys", "cursor": cursor}))).await.unwrap();
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["apiKeyId"].to_string()));
            cursor = page["cursor"].clone();
        }
        assert_eq!(seen, keys[..count].iter().map(Value::to_string).collect(), "{before}");
        assert!(cursor.is_null(), "{before}");
    }
    let list = json!({"organizationId": "acme", "expiresBefore": "tomorrow"});
    let refused = act(&stack, "list", &with(&list, &json!({"kind": "apiKeys"}))).await;
    assert_eq!(refused, error("InvalidRequest", "expiresBefore must be an instant such as 2027-04-02T12:00:00Z"));
    let refused = act(&stack, "list", &with(&list, &json!({"kind": "registrations"}))).await;
    assert_eq!(refused, error("InvalidRequest", "expiresBefore is not a field of this request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slug_names_an_organization_wherever_its_id_does() {
    let stack = TestStack::start().await;
    let id = stack.organization("acme").await;
    let unknown = json!({"organizationId": "no-such-organization"});
    let client = json!({"redirectUris": ["https://a.example/"], "scopes": ["openid"]});
    for (n, name) in ["acme".to_owned(), id.to_uppercase(), id.clone()].iter().enumerate() {
        for (action, fields) in [
            ("createApiKey", json!({})),
            ("createRegistration", json!({"name": "test"})),
            ("createApplication", json!({"slug": format!("app-{n}")})),
            ("createClient", client.clone()),
            ("updateOrganization", json!({"name": format!("Acme {n}")})),
            ("list", json!({"kind": "registrations"})),
            ("suspendOrganization", json!({})),
            ("resumeOrganization", json!({})),
        ] {
            let done = act(&stack, action, &with(&fields, &json!({"organizationId": name}))).await;
            assert!(done.is_ok(), "{action} {name}: {done:?}");
            if let Some(secret) = done.unwrap()["apiKey"].as_str() {
                Secrets::add_credential(secret);
            }
            let refused = act(&stack, action, &with(&fields, &unknown)).await;
            assert_eq!(refused, missing("organizationId"), "{action}");
        }
        let shown = get(&stack, "organization", &json!(name)).await.unwrap();
        assert_eq!((&shown["organizationId"], &shown["name"]), (&json!(id), &json!(format!("Acme {n}"))));
        for kind in ["apiKeys", "registrations", "applications", "clients"] {
            assert_eq!(items(&stack, kind, &json!({"organizationId": id})).await.len(), n + 1, "{kind} {name}");
        }
    }
    stack.organization("other").await;
    assert!(delete(&stack, "organization", &json!("other")).await.is_ok());
}

// ------------------------------------------------------------------------------------------------ changing

#[tokio::test(flavor = "multi_thread")]
async fn organizations_and_applications_are_changed_in_place() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let organization = json!({"organizationId": tenant.organization});
    let renamed = act(&stack, "updateOrganization", &with(&organization, &json!({"name": "Acme"}))).await;
    assert_eq!(renamed, Ok(organization.clone()));
    assert_eq!(get(&stack, "organization", &json!("acme")).await.unwrap()["name"], "Acme");
    // Without a field it changes nothing.
    assert_eq!(act(&stack, "updateOrganization", &organization).await, Ok(organization.clone()));
    assert_eq!(get(&stack, "organization", &json!("acme")).await.unwrap()["name"], "Acme");
    for (fields, message) in [
        (json!({"name": ""}), "name must be 1 to 200 characters without control characters"),
        (json!({"enabled": false}), "enabled is not a field of this request"),
        (json!({"slug": "other"}), "slug is not a field of this request"),
    ] {
        let refused = act(&stack, "updateOrganization", &with(&organization, &fields)).await;
        assert_eq!(refused, error("InvalidRequest", message));
    }

    let application = json!({"applicationId": tenant.application});
    let forever = app_bearer(&stack, &tenant, &json!({})).await;
    let change = json!({"name": "My app", "maxAppTokenTtlSeconds": 60});
    assert_eq!(act(&stack, "updateApplication", &with(&application, &change)).await, Ok(application.clone()));
    let shown = get(&stack, "application", &json!(tenant.application)).await.unwrap();
    let expected = with(
        &change,
        &json!({
            "applicationId": tenant.application, "organizationId": tenant.organization, "slug": "my-app",
            "enabled": true, "suspended": false, "createdAt": CREATED_AT,
        }),
    );
    assert_eq!(shown, expected);
    let short = app_bearer(&stack, &tenant, &json!({})).await;
    stack.clock.advance(60);
    assert!(is_good(&stack, &forever).await && !is_good(&stack, &short).await, "tokens keep their expiry");
    for (fields, message) in [
        (json!({"maxAppTokenTtlSeconds": 59}), "maxAppTokenTtlSeconds must be a whole number from 60 to 315360000"),
        (
            json!({"maxAppTokenTtlSeconds": 315_360_001}),
            "maxAppTokenTtlSeconds must be a whole number from 60 to 315360000",
        ),
        (json!({"enabled": "no"}), "enabled must be true or false"),
        (json!({"slug": "other"}), "slug is not a field of this request"),
    ] {
        let refused = act(&stack, "updateApplication", &with(&application, &fields)).await;
        assert_eq!(refused, error("InvalidRequest", message));
    }
    let unknown = act(&stack, "updateApplication", &json!({"applicationId": "0".repeat(24)})).await;
    assert_eq!(unknown, missing("applicationId"));
}

/// A credential of each kind of owner, with the member of an action that names the owner.
async fn owners(stack: &TestStack, tenant: &Tenant) -> [(&'static str, &'static str, Value, String); 3] {
    [
        (
            "registration",
            "updateRegistration",
            json!({"registrationId": tenant.registration}),
            tenant.create_token(stack).await.access_token(),
        ),
        (
            "application",
            "updateApplication",
            json!({"applicationId": tenant.application}),
            app_bearer(stack, tenant, &json!({})).await,
        ),
        ("client", "updateClient", json!({"clientId": CLIENT}), oauth2::user(stack).await.access_token),
    ]
}

async fn tenant_with_client(stack: &TestStack) -> Tenant {
    let tenant = Tenant::new(stack, "acme").await;
    exchange_token::client(stack, &json!({"organizationId": tenant.organization})).await;
    tenant
}

/// Whether something new can be issued by this kind of owner.
async fn issues(stack: &TestStack, tenant: &Tenant, kind: &str) -> bool {
    match kind {
        "registration" => tenant.create_token(stack).await.status == 201,
        "application" => tenant.create_app_token(stack, &json!({})).await.status == 200,
        _ => stack.local.invoke("issue-code", &exchange_token::login()).await.is_ok(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disabled_issues_nothing_and_comes_back() {
    let stack = TestStack::start().await;
    let tenant = tenant_with_client(&stack).await;
    for (kind, update, owner, token) in owners(&stack, &tenant).await {
        assert!(is_good(&stack, &token).await && issues(&stack, &tenant, kind).await, "{kind}");
        let id = owner.as_object().unwrap().values().next().unwrap().clone();
        for enabled in [false, true] {
            act(&stack, update, &with(&owner, &json!({"enabled": enabled}))).await.unwrap();
            assert_eq!(get(&stack, kind, &id).await.unwrap()["enabled"], enabled, "{kind}");
            assert_eq!(is_good(&stack, &token).await, enabled, "{kind}");
            assert_eq!(issues(&stack, &tenant, kind).await, enabled, "{kind}");
        }
        // What it has can be ended while it is disabled, and stays so.
        act(&stack, update, &with(&owner, &json!({"enabled": false}))).await.unwrap();
        assert_eq!(act(&stack, "revokeTokens", &owner).await, Ok(owner.clone()));
        act(&stack, update, &with(&owner, &json!({"enabled": true}))).await.unwrap();
        assert!(!is_good(&stack, &token).await && issues(&stack, &tenant, kind).await, "{kind}");
    }
    let ids = json!({"registrationId": tenant.registration, "clientId": CLIENT});
    for refused in [ids, json!({})] {
        let message = "registrationId, applicationId or clientId must be given, and only one of them";
        assert_eq!(act(&stack, "revokeTokens", &refused).await, error("InvalidRequest", message));
    }
}

/// One write, whatever there is.
#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_an_owner_end_in_one_write() {
    let stack = TestStack::start().await;
    let tenant = tenant_with_client(&stack).await;
    let path = "/api/v1/revoke-tokens";
    stack.introduce(path, &tenant.key).await;
    for (kind, _, owner, token) in owners(&stack, &tenant).await {
        stack.calls.reset();
        assert_eq!(act(&stack, "revokeTokens", &owner).await, Ok(owner.clone()));
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 1), ("UpdateItem", 1)]), "{kind}");
        assert!(!is_good(&stack, &token).await, "{kind}");
    }
    let token = tenant.create_token(&stack).await.access_token();
    stack.calls.reset();
    let body = json!({"registrationId": tenant.registration});
    let ended = json!({"message": "Tokens revoked successfully", "activeTokens": 0, "maxAllowed": 10});
    stack.post(path, &tenant.key, &body).await.assert(200, &ended);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("UpdateItem", 1)]));
    assert_eq!(stack.calls.rounds(), 2);
    assert!(!is_good(&stack, &token).await);
    let weak = stack.api_key_that_may(&tenant.organization, &["oauth.token.create", "oauth.token.list"]).await;
    stack.post(path, &weak, &body).await.assert(403, &json!({"message": "Forbidden"}));
    let other = Tenant::new(&stack, "other").await;
    let unknown = json!({"message": "OAuth registration not found"});
    stack.post(path, &other.key, &body).await.assert(404, &unknown);
}

// ------------------------------------------------------------------------------------------------ deleting

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_for_good_and_its_names_stay_taken() {
    let stack = TestStack::start().await;
    let tenant = tenant_with_client(&stack).await;
    let of = json!({"organizationId": tenant.organization});
    let owners = owners(&stack, &tenant).await;
    let lists = ["registrations", "applications", "clients"];
    for ((kind, update, owner, token), list) in owners.iter().zip(lists) {
        let (field, id) = owner.as_object().unwrap().iter().next().unwrap();
        assert!(is_good(&stack, token).await, "{kind}");
        stack.calls.reset();
        assert_eq!(delete(&stack, kind, id).await, Ok(json!({"id": id})));
        assert_eq!(stack.calls.count(), calls(&[("PutItem", 1)]), "{kind}");
        assert!(!is_good(&stack, token).await && !issues(&stack, &tenant, kind).await, "{kind}");
        assert_eq!(items(&stack, list, &of).await, NOTHING, "{kind}");
        assert_eq!(get(&stack, kind, id).await, missing("id"), "{kind}");
        assert_eq!(act(&stack, update, &with(owner, &json!({"enabled": true}))).await, missing(field), "{kind}");
        assert_eq!(act(&stack, update, &with(owner, &json!({"name": "new"}))).await, missing(field), "{kind}");
        assert_eq!(act(&stack, "revokeTokens", owner).await, missing(field), "{kind}");
        assert_eq!(delete(&stack, kind, id).await, missing("id"), "{kind}");
        assert!(!is_good(&stack, token).await, "{kind}");
    }
    assert_eq!(act(&stack, "rotateSecret", &json!({"clientId": CLIENT})).await, missing("clientId"));
    let session = json!({"clientId": CLIENT, "subject": "user-1"});
    for action in ["listSessions", "endSessions"] {
        assert_eq!(act(&stack, action, &session).await, missing("clientId"), "{action}");
    }
    for (action, fields, message) in [
        (
            "createRegistration",
            json!({"registrationId": tenant.registration, "name": "test"}),
            "registrationId is already taken",
        ),
        ("createApplication", json!({"slug": "my-app"}), "slug is already taken"),
        (
            "createClient",
            json!({"clientId": CLIENT, "redirectUris": ["https://a.example/"], "scopes": ["openid"]}),
            "clientId is already taken",
        ),
    ] {
        assert_eq!(act(&stack, action, &with(&of, &fields)).await, error("Taken", message));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_deleted_once_it_has_nothing() {
    let stack = TestStack::start().await;
    let tenant = tenant_with_client(&stack).await;
    let (expiring, _) = new_key(&stack, &tenant.organization, &json!({"expiresAt": IN_AN_HOUR})).await;
    let rule = "id must be an organization whose API keys are revoked or expired, and whose registrations, \
                applications and clients are deleted";
    let refused = error("InvalidRequest", rule);
    let ends = [
        ("registration", json!(tenant.registration)),
        ("application", json!(tenant.application)),
        ("client", json!(CLIENT)),
    ];
    // Everything but one thing has ended, which is another one each time.
    assert_eq!(delete(&stack, "organization", &json!("acme")).await, refused);
    for (kind, id) in &ends {
        delete(&stack, kind, id).await.unwrap();
        assert_eq!(delete(&stack, "organization", &json!("acme")).await, refused, "{kind}");
    }
    act(&stack, "revokeApiKey", &json!({"apiKeyId": key_id(&tenant.key)})).await.unwrap();
    assert_eq!(delete(&stack, "organization", &json!("acme")).await, refused, "a key expires later");
    stack.clock.advance(3599);
    assert_eq!(delete(&stack, "organization", &json!("acme")).await, refused, "a key expires later");
    stack.clock.advance(1);
    let other = stack.application(&tenant.organization, "another").await;
    assert_eq!(delete(&stack, "organization", &json!("acme")).await, refused, "an application");
    delete(&stack, "application", &json!(other)).await.unwrap();
    // What is suspended is still there.
    let client = json!({"organizationId": "acme", "redirectUris": ["https://a.example/"], "scopes": ["openid"]});
    let client = act(&stack, "createClient", &client).await.unwrap()["clientId"].clone();
    act(&stack, "suspendOrganization", &json!({"organizationId": "acme"})).await.unwrap();
    assert_eq!(delete(&stack, "organization", &json!("acme")).await, refused, "a client");
    delete(&stack, "client", &client).await.unwrap();
    assert_eq!(delete(&stack, "organization", &json!("acme")).await, Ok(json!({"id": tenant.organization})));

    assert_eq!(stack.count_items("MEMBERS#").await, 0);
    let taken = act(&stack, "createOrganization", &json!({"slug": "acme"})).await;
    assert_eq!(taken, error("Taken", "slug is already taken"));
    assert_eq!(items(&stack, "organizations", &json!({})).await, NOTHING);
    let of = json!({"organizationId": "acme"});
    for (action, fields) in [
        ("createApiKey", json!({})),
        ("createRegistration", json!({"name": "test"})),
        ("createApplication", json!({"slug": "new"})),
        ("createClient", json!({"redirectUris": ["https://a.example/"], "scopes": ["openid"]})),
        ("updateOrganization", json!({"name": "new"})),
        ("suspendOrganization", json!({})),
        ("resumeOrganization", json!({})),
        ("list", json!({"kind": "apiKeys"})),
    ] {
        assert_eq!(act(&stack, action, &with(&of, &fields)).await, missing("organizationId"), "{action}");
    }
    for kind in ["get", "delete"] {
        let gone = act(&stack, kind, &json!({"kind": "organization", "id": tenant.organization})).await;
        assert_eq!(gone, missing("id"));
    }
    // The expired key stays what it was, and its organization is gone.
    let rotated = act(&stack, "rotateApiKey", &json!({"apiKeyId": expiring})).await;
    assert_eq!(rotated, error("NotFound", "apiKeyId does not exist, or is revoked or expired"));
}

// ------------------------------------------------------------------------------------------------ suspending

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_switches_everything_off_and_a_resumption_what_was_on() {
    let stack = TestStack::start().await;
    let tenant = tenant_with_client(&stack).await;
    let bystander = Tenant::new(&stack, "other").await;
    let (of, revoked) = (json!({"organizationId": "acme"}), new_key(&stack, &tenant.organization, &json!({})).await.0);
    act(&stack, "revokeApiKey", &json!({"apiKeyId": revoked})).await.unwrap();
    let deleted = stack.application(&tenant.organization, "deleted").await;
    delete(&stack, "application", &json!(deleted)).await.unwrap();
    let owners = owners(&stack, &tenant).await;
    let disabled = stack.registration(&tenant.organization, &json!({})).await;
    let of_disabled = json!({"registrationId": disabled});
    let token = stack.post(CREATE_TOKEN, &tenant.key, &of_disabled).await.access_token();
    act(&stack, "updateRegistration", &with(&of_disabled, &json!({"enabled": false}))).await.unwrap();

    for round in 0..2 {
        // The key, the two registrations, the application and the client.
        assert_eq!(act(&stack, "suspendOrganization", &of).await, Ok(json!({"suspended": 5})), "{round}");
        stack.calls.reset();
        assert_eq!(act(&stack, "suspendOrganization", &of).await, Ok(json!({"suspended": 0})), "{round}");
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 1), ("Query", 1)]), "a repeat writes nothing");
        assert!(!is_good(&stack, &tenant.key).await && is_good(&stack, &bystander.key).await);
        for (kind, _, owner, token) in &owners {
            let id = owner.as_object().unwrap().values().next().unwrap();
            let shown = get(&stack, kind, id).await.unwrap();
            assert_eq!((&shown["suspended"], &shown["enabled"]), (&json!(true), &json!(true)), "{kind}");
            assert!(!is_good(&stack, token).await && !issues(&stack, &tenant, kind).await, "{kind}");
        }
        assert_eq!(get(&stack, "organization", &json!("acme")).await.unwrap()["suspended"], true);
        let suspended = error("InvalidRequest", "organizationId must not be that of a suspended organization");
        for (action, fields) in [
            ("createApiKey", json!({})),
            ("createRegistration", json!({"name": "test"})),
            ("createApplication", json!({"slug": "new"})),
            ("createClient", json!({"redirectUris": ["https://a.example/"], "scopes": ["openid"]})),
        ] {
            assert_eq!(act(&stack, action, &with(&of, &fields)).await, suspended, "{action}");
        }
        let rotated = act(&stack, "rotateApiKey", &json!({"apiKeyId": key_id(&tenant.key)})).await;
        assert_eq!(rotated, suspended);
        let rotated = act(&stack, "rotateSecret", &json!({"clientId": CLIENT})).await;
        assert_eq!(rotated.unwrap_err()["errorType"], "InvalidRequest");
        // An update while it is suspended does not switch it on.
        act(&stack, "updateApplication", &json!({"applicationId": tenant.application, "enabled": true})).await.unwrap();
        act(&stack, "updateOrganization", &with(&of, &json!({"name": "new"}))).await.unwrap();
        assert!(!is_good(&stack, &owners[1].3).await);

        assert_eq!(act(&stack, "resumeOrganization", &of).await, Ok(json!({"resumed": 5})), "{round}");
        stack.calls.reset();
        assert_eq!(act(&stack, "resumeOrganization", &of).await, Ok(json!({"resumed": 0})), "{round}");
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 1), ("Query", 1)]), "a repeat writes nothing");
        assert!(is_good(&stack, &tenant.key).await);
        for (kind, _, _, token) in &owners {
            assert!(is_good(&stack, token).await && issues(&stack, &tenant, kind).await, "{kind}");
        }
        assert!(!is_good(&stack, &token).await, "it was disabled by itself");
        assert_eq!(get(&stack, "registration", &json!(disabled)).await.unwrap()["enabled"], false);
    }
    act(&stack, "updateRegistration", &with(&of_disabled, &json!({"enabled": true}))).await.unwrap();
    assert!(is_good(&stack, &token).await);
}

// ------------------------------------------------------------------------------------------------ API keys

fn is_accepted(node: &Node, key: &str) -> impl Future<Output = bool> {
    let request = ApiRequest { function: "authorize", event: authorizer_event(key) };
    async move { node.send(&request).await.body["isAuthorized"] == true }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_works_until_the_millisecond_in_which_its_overlap_ends() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let more = json!({"description": "CI", "permissions": ["oauth.token.list"], "expiresAt": "2028-01-01T00:00:00Z"});
    for (overlap, seconds) in [(json!(null), 86_400), (json!(90), 90), (json!(0), 0)] {
        let (id, old) = new_key(&stack, &organization, &more).await;
        stack.calls.reset();
        let rotation = with(&json!({"apiKeyId": id}), &json!({"overlapSeconds": overlap}));
        let made = act(&stack, "rotateApiKey", &rotation).await.unwrap();
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("TransactWriteItems", 1)]));
        let new = made["apiKey"].as_str().unwrap();
        Secrets::add_credential(new);
        assert_eq!((made["apiKeyId"].clone(), made.as_object().unwrap().len()), (key_id(new), 2));
        let shown = get(&stack, "apiKey", &made["apiKeyId"]).await.unwrap();
        let expected = json!({
            "apiKeyId": made["apiKeyId"], "organizationId": organization, "description": "CI",
            "permissions": ["oauth.token.list"], "suspended": false, "createdAt": CREATED_AT,
        });
        assert_eq!(shown, expected, "no expiry");
        let before = Node::start(&stack, TimeDelta::milliseconds(seconds * 1000 - 1));
        let after = Node::start(&stack, TimeDelta::seconds(seconds));
        assert!(is_accepted(&before, &old).await && is_accepted(&before, new).await, "{seconds}");
        assert!(!is_accepted(&after, &old).await && is_accepted(&after, new).await, "{seconds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_makes_no_key_live_longer() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let (id, old) = new_key(&stack, &organization, &json!({"expiresAt": IN_AN_HOUR})).await;
    let key = json!({"apiKeyId": id});
    let rotate = async |overlap: u32| {
        let made = act(&stack, "rotateApiKey", &with(&key, &json!({"overlapSeconds": overlap}))).await;
        if let Ok(made) = &made {
            Secrets::add_credential(made["apiKey"].as_str().unwrap());
        }
        made
    };
    let first = rotate(86_400).await.unwrap();
    assert_eq!(get(&stack, "apiKey", &id).await.unwrap()["expiresAt"], IN_AN_HOUR);
    // Another one, which ends it sooner, and one that would end it later.
    let second = rotate(60).await.unwrap();
    rotate(2_592_000).await.unwrap();
    assert_ne!(first["apiKeyId"], second["apiKeyId"]);
    assert_eq!(get(&stack, "apiKey", &id).await.unwrap()["expiresAt"], "2027-01-15T08:01:00.250Z");
    stack.clock.advance(59);
    assert!(is_good(&stack, &old).await);
    stack.clock.advance(1);
    assert!(!is_good(&stack, &old).await);
    let over = error("NotFound", "apiKeyId does not exist, or is revoked or expired");
    assert_eq!(rotate(60).await, over);
    for made in [first, second] {
        assert!(is_good(&stack, made["apiKey"].as_str().unwrap()).await);
        let key = json!({"apiKeyId": made["apiKeyId"]});
        act(&stack, "revokeApiKey", &key).await.unwrap();
        assert_eq!(act(&stack, "rotateApiKey", &key).await, over);
    }
    assert_eq!(act(&stack, "rotateApiKey", &json!({"apiKeyId": "0".repeat(24)})).await, over);
    let refused = rotate(2_592_001).await;
    assert_eq!(refused, error("InvalidRequest", "overlapSeconds must be a whole number from 0 to 2592000"));
}

/// What an expiry may be: the values, and what is wrong with them.
fn expiries() -> Vec<(Value, Option<&'static str>)> {
    let bounds = "expiresAt must be in the future and at most ten years from now";
    let form = "expiresAt must be an instant such as 2027-04-02T12:00:00Z";
    vec![
        (json!("2027-01-15T08:00:00.250Z"), Some(bounds)),
        (json!("2020-01-01T00:00:00Z"), Some(bounds)),
        (json!("2027-01-15T08:00:00.251Z"), None),
        (json!("2027-01-15T10:00:00+02:00"), Some(bounds)),
        (json!("2027-01-15T10:00:01+02:00"), None),
        (json!("2037-01-12T08:00:00.250Z"), None),
        (json!("2037-01-15T08:00:00.251Z"), Some(bounds)),
        (json!("9999-12-31T23:59:59Z"), Some(bounds)),
        (json!("2027-04-02"), Some(form)),
        (json!("2027-04-02T12:00:00"), Some(form)),
        (json!("2027-13-02T12:00:00Z"), Some(form)),
        (json!(""), Some(form)),
        (json!(1_900_000_000), Some("expiresAt must be a string")),
        (json!(null), None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_is_in_the_future_and_at_most_ten_years_away() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    for (expires_at, wrong) in expiries() {
        // Not `with`, which leaves out what is null.
        let mut action = json!({"action": "createApiKey", "organizationId": "acme"});
        action["expiresAt"] = expires_at.clone();
        let made = stack.try_provision(&action).await;
        let app_token = tenant.create_app_token(&stack, &json!({"expiresAt": expires_at})).await;
        if let Some(message) = wrong {
            assert_eq!(made, error("InvalidRequest", message), "{expires_at}");
            let refused = json!({"status": false, "error": {"code": 2001, "message": message}});
            app_token.assert(400, &refused);
            continue;
        }
        let made = made.unwrap();
        let key = made["apiKey"].as_str().unwrap();
        Secrets::add_credential(key);
        assert!(is_good(&stack, key).await && is_good(&stack, &bearer(&app_token)).await);
        let shown = get(&stack, "apiKey", &made["apiKeyId"]).await.unwrap();
        assert_eq!(shown["expiresAt"].is_null(), expires_at.is_null(), "{shown}");
        assert_eq!(shown["expiresAt"], app_token.json()["data"]["expiresAt"], "{expires_at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_refused_from_the_instant_of_its_expiry() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let (_, key) = new_key(&stack, &tenant.organization, &json!({"expiresAt": "2027-01-15T08:00:10.250Z"})).await;
    let token = app_bearer(&stack, &tenant, &json!({"expiresAt": "2027-01-15T08:00:10.250Z"})).await;
    for (milliseconds, good) in [(9_999, true), (10_000, false)] {
        let node = Node::start(&stack, TimeDelta::milliseconds(milliseconds));
        assert_eq!(node.accepts(&key).await, good);
        assert_eq!((is_accepted(&node, &key).await, is_accepted(&node, &token).await), (good, good));
    }
}

// ------------------------------------------------------------------------------------------------ app tokens

#[tokio::test(flavor = "multi_thread")]
async fn an_application_bounds_the_life_of_its_tokens() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let bound = json!({"applicationId": tenant.application, "maxAppTokenTtlSeconds": 3600});
    act(&stack, "updateApplication", &bound).await.unwrap();
    for (expires_at, expected) in [
        (json!(null), Some("2027-01-15T09:00:00.250Z")),
        (json!("2027-01-15T08:30:00Z"), Some("2027-01-15T08:30:00.000Z")),
        (json!("2027-01-15T09:00:00.250Z"), Some("2027-01-15T09:00:00.250Z")),
        (json!("2027-01-15T09:00:00.251Z"), None),
    ] {
        let answer = tenant.create_app_token(&stack, &json!({"expiresAt": expires_at})).await;
        match expected {
            Some(expected) => assert_eq!(answer.json()["data"]["expiresAt"], expected),
            None => answer.assert(
                400,
                &json!({"status": false, "error": {
                    "code": 2001,
                    "message": "expiresAt must not be later than the application's maxAppTokenTtlSeconds from now",
                }}),
            ),
        }
    }
    let token = app_bearer(&stack, &tenant, &json!({})).await;
    stack.clock.advance(3599);
    assert!(is_good(&stack, &token).await);
    stack.clock.advance(1);
    assert!(!is_good(&stack, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_bearer_and_its_application_are_read_in_one_round() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let token = app_bearer(&stack, &tenant, &json!({"scopes": ["sdk"]})).await;
    let node = Node::start(&stack, TimeDelta::zero());
    let introspect = ApiRequest::form("POST /oauth2/introspect", &[("token", &token)]).with_bearer(&tenant.key);
    // From now on the key is one that was lately good.
    assert_eq!(node.send(&introspect).await.body["active"], true);
    node.calls.reset();
    node.calls.answer_together("GetItem", 3);
    let answer = node.send(&introspect).await;
    let organization = &tenant.organization;
    assert_eq!(
        (&answer.body["organization"], &answer.body["application"]),
        (&json!(organization), &json!(tenant.application))
    );
    assert_eq!((node.calls.count(), node.calls.rounds()), (calls(&[("GetItem", 3)]), 1));
    let node = Node::start(&stack, TimeDelta::zero());
    node.calls.answer_together("GetItem", 2);
    let authorize = ApiRequest { function: "authorize", event: authorizer_event(&token) };
    let context = node.send(&authorize).await.body["context"].clone();
    assert_eq!(context["application"], json!(tenant.application));
    assert_eq!((node.calls.count(), node.calls.rounds()), (calls(&[("GetItem", 2)]), 1));

    // The id of another application in it makes it another bearer.
    let other = stack.application(&tenant.organization, "other").await;
    let path = app_tokens("acme", &other);
    let others = bearer(&stack.post(&path, &tenant.key, &json!({})).await);
    Secrets::add_credential(&others);
    let mixed = format!("{}{}", &others[..21], &token[21..]);
    assert!(is_good(&stack, &others).await && is_good(&stack, &token).await);
    assert!(!is_good(&stack, &mixed).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_another_secret_once_its_token_is_over() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let create = async |body: &Value| {
        let request = stack.json(&tenant.app_tokens(), body).bearer_auth(&tenant.key).header("idempotency-key", "key");
        let answer = stack.send(request).await;
        let token = bearer(&answer);
        Secrets::add_credential(&token);
        (token, answer.header("idempotency-replayed").is_some())
    };
    let application = json!({"applicationId": tenant.application});
    let mut seen = vec![];
    for round in 0..3 {
        let expiring = json!({"expiresAt": format!("2027-01-15T08:{round}0:10Z")});
        let (first, replayed) = create(&expiring).await;
        assert!(!replayed && is_good(&stack, &first).await, "{round}");
        assert_eq!(create(&expiring).await, (first.clone(), true));
        // Over by its expiry.
        stack.clock.advance(10);
        assert!(!is_good(&stack, &first).await);
        let (second, replayed) = create(&json!({})).await;
        assert!(!replayed && is_good(&stack, &second).await, "{round}");
        assert_eq!(create(&json!({})).await, (second.clone(), true));
        // Over with all others of its application.
        act(&stack, "revokeTokens", &application).await.unwrap();
        assert!(!is_good(&stack, &second).await);
        seen.extend([first, second]);
        let (third, replayed) = create(&json!({})).await;
        assert!(!replayed && is_good(&stack, &third).await);
        act(&stack, "revokeTokens", &application).await.unwrap();
        seen.push(third);
        stack.clock.advance(590);
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "each is another");
    for token in &seen {
        assert!(!is_good(&stack, token).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_app_tokens_have_what_is_active_once_each() {
    let stack = TestStack::start().await;
    let tenant = Tenant::new(&stack, "acme").await;
    let create = async |expires_at: Option<&str>| {
        let made = tenant.create_app_token(&stack, &json!({"expiresAt": expires_at})).await.json()["data"].clone();
        stack.clock.advance(1);
        made["id"].as_str().unwrap().to_owned()
    };
    let soon = Some("2027-01-15T08:10:00Z");
    // Of an older generation, some of them still with an expiry to come.
    for n in 0..4 {
        create(if n % 2 == 0 { None } else { Some("2030-01-01T00:00:00Z") }).await;
    }
    let revoke = json!({"applicationId": tenant.application});
    act(&stack, "revokeTokens", &revoke).await.unwrap();
    let mut live = vec![];
    for n in 0..6 {
        create(soon).await;
        live.push(create(if n % 2 == 0 { None } else { Some("2030-01-01T00:00:00Z") }).await);
        create(soon).await;
    }
    stack.clock.advance(600);
    for order in ["asc", "desc"] {
        for limit in [1, 2, 3, 4, 6, 7] {
            let mut seen = vec![];
            for page in 1.. {
                let query = format!("?page={page}&limit={limit}&sort=createdAt:{order}");
                let request = stack.http.get(stack.url(&format!("{}{query}", tenant.app_tokens())));
                let data = stack.send(with_bearer(request, &tenant.key)).await.json()["data"].clone();
                let items = data["items"].as_array().unwrap();
                seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
                assert_eq!(data["hasNextPage"], seen.len() < live.len(), "{query}");
                if seen.len() >= live.len() {
                    break;
                }
                assert_eq!(items.len(), limit, "{query}");
            }
            if order == "desc" {
                seen.reverse();
            }
            assert_eq!(seen, live, "{order} {limit}");
        }
    }
}

// ------------------------------------------------------------------------------------------------ withdrawn keys

impl Fixture {
    /// Fills a registration at `before`. At `after`, which does not trust the key of those tokens, it is empty.
    async fn assert_quota_is_free_after_withdrawal(&self, before: &Node, withdraw: impl AsyncFnOnce() -> Node) {
        const MAX: usize = 3;
        let registration = self.registration(MAX).await;
        let create = self.create_token(&registration);
        let once = create.clone().with_idempotency_key("once");
        let list = ApiRequest { function: "manage-tokens", ..create.clone() };
        let list = list.with_route("POST /api/v1/list-tokens", "");
        let token = |answer: &Outcome| {
            assert_eq!(answer.status, 201, "{answer:?}");
            let token = answer.body["token"]["accessToken"].as_str().unwrap().to_owned();
            Secrets::add_credential(&token);
            token
        };
        let mut old = vec![];
        for request in [&once, &create, &create] {
            old.push(token(&before.send(request).await));
        }
        assert_eq!(before.send(&create).await.status, 400, "the quota is full");
        let repeated = before.send(&once).await;
        assert!(repeated.replayed && token(&repeated) == old[0]);
        for token in &old {
            assert!(before.accepts(token).await);
        }

        let after = withdraw().await;
        for token in &old {
            assert!(!after.accepts(token).await);
        }
        let listed = after.send(&list).await;
        assert_eq!((&listed.body["tokens"], &listed.body["activeTokens"]), (&json!([]), &json!(0)), "{listed:?}");
        let mut new = vec![];
        for (active, request) in (1..).zip([&once, &create, &create]) {
            let answer = after.send(request).await;
            assert!(!answer.replayed);
            assert_eq!(answer.body["activeTokens"], active, "{answer:?}");
            new.push(token(&answer));
        }
        assert_eq!(after.send(&create).await.status, 400, "the quota is full");
        let repeated = after.send(&once).await;
        assert!(repeated.replayed && token(&repeated) == new[0]);
        for token in &new {
            assert!(after.accepts(token).await);
        }
        for token in &old {
            assert!(!after.accepts(token).await && !new.contains(token));
        }
        let listed = after.send(&list).await;
        assert_eq!((listed.body["tokens"].as_array().unwrap().len(), &listed.body["activeTokens"]), (MAX, &json!(MAX)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_of_the_table_frees_the_quota() {
    let fixture = Fixture::new(60, SigningMode::Envelope).await;
    let node = || Node::start_with(&fixture.stack, TimeDelta::zero(), &[("SIGNING_MODE", "envelope")]);
    // A new process, and the one that has signed the old tokens.
    for cold in [true, false] {
        let before = node();
        let after = node();
        after.send(&ApiRequest::key_set()).await;
        let withdraw = async || {
            fixture.stack.provision(&json!({"action": "rotateSigningKey", "withdrawPrevious": true})).await;
            fixture.stack.clock.advance(60);
            if cold { node() } else { after }
        };
        fixture.assert_quota_is_free_after_withdrawal(&before, withdraw).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_kms_that_is_no_longer_named_frees_the_quota() {
    let fixture = Fixture::new(60, SigningMode::Kms).await;
    let key = fixture.stack.kms("CreateKey", &json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})).await;
    let new_key = key["KeyMetadata"]["Arn"].as_str().unwrap();
    let old_key = fixture.stack.local.environment().variables["SIGNING_KEY_ID"].clone();
    let node = |previous: &str| {
        let changes = [("SIGNING_KEY_ID", new_key), ("PREVIOUS_SIGNING_KEY_IDS", previous)];
        Node::start_with(&fixture.stack, TimeDelta::zero(), &changes)
    };
    let before = Node::start(&fixture.stack, TimeDelta::zero());
    fixture.assert_quota_is_free_after_withdrawal(&before, async || node("")).await;
    // While it is named, it is only replaced.
    let registration = fixture.registration(1).await;
    let once = fixture.create_token(&registration).with_idempotency_key("once");
    assert_eq!(before.send(&once).await.status, 201);
    let replaced = node(&old_key);
    assert!(replaced.send(&once).await.replayed);
    assert_eq!(replaced.send(&fixture.create_token(&registration)).await.status, 400);
}
