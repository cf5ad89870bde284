//! `POST /api/v1/list-tokens`, `POST /api/v1/revoke-token`, and `GET` and `DELETE` of an application's tokens.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::auth::Permission;

use crate::harness::{
    Answer, Node, Secrets, Tenant, TestStack, app_tokens, calls, current_key, items, with, with_bearer,
};

const LIST: &str = "/api/v1/list-tokens";
const REVOKE: &str = "/api/v1/revoke-token";
/// 2027-01-15T08:00:00Z, when the test clock begins, and an hour.
const IN_AN_HOUR: &str = "2027-01-15T09:00:00.000Z";

/// A tenant whose registration has all permissions and room for three tokens of an hour.
async fn tenant(stack: &TestStack, slug: &str) -> Tenant {
    let settings = json!({"maxAllowed": 3, "tokenTtlSeconds": 3600, "scopes": all_permissions()});
    Tenant::with_registration(stack, slug, &settings).await
}

impl Tenant {
    /// An OAuth access token: its id, and the token as a bearer.
    async fn token(&self, stack: &TestStack, email: Option<&str>) -> (String, String) {
        let body = json!({"registrationId": self.registration, "email": email});
        let answer = stack.post("/api/v1/create-token", &self.key, &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let token = answer.json()["token"].clone();
        (token["id"].as_str().unwrap().to_owned(), token["accessToken"].as_str().unwrap().to_owned())
    }

    async fn list(&self, stack: &TestStack, bearer: &str) -> Answer {
        stack.post(LIST, bearer, &json!({"registrationId": self.registration})).await
    }

    async fn revoke(&self, stack: &TestStack, bearer: &str, token: &str) -> Answer {
        stack.post(REVOKE, bearer, &json!({"registrationId": self.registration, "tokenId": token})).await
    }

    /// The path of the application's tokens, by ids.
    fn app_path(&self) -> String {
        app_tokens(&self.organization, &self.application)
    }

    /// The id of a new app token.
    async fn app_token(&self, stack: &TestStack, body: &Value) -> String {
        let answer = self.create_app_token(stack, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"]["id"].as_str().unwrap().to_owned()
    }

    async fn list_apps(&self, stack: &TestStack, query: &str) -> Answer {
        get(stack, &format!("{}{query}", self.app_path()), &self.key).await
    }

    async fn revoke_app(&self, stack: &TestStack, token: &str) -> Answer {
        delete(stack, &format!("{}/{token}", self.app_path()), &self.key).await
    }
}

fn all_permissions() -> Vec<&'static str> {
    Permission::ALL.map(Permission::as_str).to_vec()
}

async fn get(stack: &TestStack, path: &str, bearer: &str) -> Answer {
    stack.send(with_bearer(stack.http.get(stack.url(path)), bearer)).await
}

async fn delete(stack: &TestStack, path: &str, bearer: &str) -> Answer {
    stack.send(with_bearer(stack.http.delete(stack.url(path)), bearer)).await
}

fn app_error(code: u16, message: &str) -> Value {
    json!({"status": false, "error": {"code": code, "message": message}})
}

// ------------------------------------------------------------------------------------------------ OAuth access tokens

#[tokio::test(flavor = "multi_thread")]
async fn active_tokens_are_listed_by_expiry_then_id() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let empty = json!({"message": "Tokens retrieved successfully", "tokens": [], "activeTokens": 0, "maxAllowed": 3});
    tenant.list(&stack, &tenant.key).await.assert(200, &empty);

    let (expired, _) = tenant.token(&stack, None).await;
    stack.clock.advance(3600);
    let mut same_time = [tenant.token(&stack, None).await.0, tenant.token(&stack, None).await.0];
    same_time.sort();
    stack.clock.advance(1);
    let (last, _) = tenant.token(&stack, Some("user@example.com")).await;
    let at = |second: u8| format!("2027-01-15T10:00:0{second}.000Z");
    let expected = json!([
        {"id": same_time[0], "expiresAt": at(0)},
        {"id": same_time[1], "expiresAt": at(0)},
        {"id": last, "email": "user@example.com", "expiresAt": at(1)},
    ]);
    let answer = tenant.list(&stack, &tenant.key).await;
    let message = "Tokens retrieved successfully";
    answer.assert(200, &json!({"message": message, "tokens": expected, "activeTokens": 3, "maxAllowed": 3}));
    assert!(!answer.text.contains(&expired));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tokens_are_listed_in_two_reads() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let key_of_tokens = current_key(&stack).await;
    let mut tokens = serde_json::Map::new();
    for n in 0..1000 {
        let email = json!({"S": "user@example.com"});
        let entry = json!({"M": {"exp": {"N": "1800003600"}, "key": key_of_tokens, "email": email}});
        tokens.insert(format!("00000000-0000-4000-8000-{n:012}"), entry);
    }
    let values = json!({":tokens": {"M": tokens}, ":max": {"N": "1000"}});
    let key = items::registration_key(&tenant.registration);
    stack.update_item(&key, "SET tokens = :tokens, maxAllowed = :max", values).await;
    tenant.list(&stack, &tenant.key).await;
    stack.calls.reset();
    let answer = tenant.list(&stack, &tenant.key).await;
    assert_eq!((stack.calls.count(), stack.calls.rounds()), (calls(&[("GetItem", 2)]), 1));
    let body = answer.json();
    assert_eq!(body["activeTokens"], 1000);
    let first = json!({
        "id": "00000000-0000-4000-8000-000000000000", "email": "user@example.com", "expiresAt": IN_AN_HOUR,
    });
    assert_eq!((body["tokens"].as_array().unwrap().len(), &body["tokens"][0]), (1000, &first));
    println!("1,000 tokens are {} bytes", answer.text.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_by_every_function_and_its_place_is_free() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let (id, bearer) = tenant.token(&stack, None).await;
    for _ in 0..2 {
        tenant.token(&stack, None).await;
    }
    let accepted = async |bearer: &str| {
        [
            stack.post("/api/v1/create-token", bearer, &json!({})).await.status,
            stack.post(&tenant.app_path(), bearer, &json!({"scopes": 1})).await.status,
            stack.post(LIST, bearer, &json!({})).await.status,
            stack.post(REVOKE, bearer, &json!({})).await.status,
            get(&stack, &format!("{}?limit=0", tenant.app_path()), bearer).await.status,
            delete(&stack, &format!("{}/x", tenant.app_path()), bearer).await.status,
        ]
    };
    assert_eq!(accepted(&bearer).await, [400; 6]);
    tenant.list(&stack, &tenant.key).await;
    stack.calls.reset();
    let revoked = json!({"message": "Token revoked successfully", "activeTokens": 2, "maxAllowed": 3});
    tenant.revoke(&stack, &tenant.key, &id.to_uppercase()).await.assert(200, &revoked);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("UpdateItem", 1)]));
    assert_eq!(stack.calls.rounds(), 2);
    assert_eq!(accepted(&bearer).await, [401; 6]);
    tenant.revoke(&stack, &tenant.key, &id).await.assert(404, &json!({"message": "Token not found"}));
    tenant.token(&stack, None).await;
    let full = stack.post("/api/v1/create-token", &tenant.key, &json!({"registrationId": tenant.registration})).await;
    full.assert(400, &json!({"message": "Active token quota exceeded or registration not found"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_list_and_revoke_itself() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let (id, bearer) = tenant.token(&stack, None).await;
    assert_eq!(tenant.list(&stack, &bearer).await.json()["tokens"][0]["id"], id);
    assert_eq!(tenant.revoke(&stack, &bearer, &id).await.status, 200);
    tenant.revoke(&stack, &bearer, &id).await.assert(401, &json!({"message": "Unauthorized"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_no_token() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let (id, _) = tenant.token(&stack, None).await;
    stack.clock.advance(3600);
    tenant.revoke(&stack, &tenant.key, &id).await.assert(404, &json!({"message": "Token not found"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_in_the_order_of_the_checks() {
    let stack = TestStack::start().await;
    let (acme, other) = (tenant(&stack, "acme").await, tenant(&stack, "other").await);
    let (id, _) = acme.token(&stack, None).await;
    let good = json!({"registrationId": acme.registration, "tokenId": id});
    let mistyped = acme.key.replacen("tmk_", "tmk_0", 1);
    let invalid = json!({"registrationId": "a b", "tokenId": "x"});
    for (path, permission) in [(LIST, "oauth.token.list"), (REVOKE, "oauth.token.revoke")] {
        let others: Vec<_> = all_permissions().into_iter().filter(|other| *other != permission).collect();
        let weak = stack.api_key_that_may(&acme.organization, &others).await;
        let only = stack.api_key_that_may(&other.organization, &[permission]).await;
        for body in [&good, &invalid] {
            let missing = stack.post(path, "", body).await;
            missing.assert(401, &json!({"message": "Unauthorized"}));
            assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"tokenmint\""));
            let wrong = stack.post(path, &mistyped, body).await;
            wrong.assert(401, &json!({"message": "Unauthorized"}));
            assert_eq!(wrong.header("www-authenticate"), Some("Bearer realm=\"tokenmint\", error=\"invalid_token\""));
        }
        for bearer in [&acme.key, &weak, &other.key] {
            let rule = json!({"message": "registrationId must match ^[A-Za-z0-9_-]{1,64}$"});
            stack.post(path, bearer, &invalid).await.assert(400, &rule);
            stack.post(path, bearer, &json!({})).await.assert(400, &json!({"message": "registrationId is required"}));
        }
        stack.post(path, &weak, &good).await.assert(403, &json!({"message": "Forbidden"}));
        let unknown = json!({"registrationId": "unknown", "tokenId": id});
        stack.post(path, &weak, &unknown).await.assert(403, &json!({"message": "Forbidden"}));
        let none = json!({"message": "OAuth registration not found"});
        stack.post(path, &only, &good).await.assert(404, &none);
        stack.post(path, &only, &unknown).await.assert(404, &none);
    }
    for token in ["x", "", "00000000000040008000000000000000", "{00000000-0000-4000-8000-000000000000}"] {
        let rule = json!({"message": "tokenId must be a UUID"});
        acme.revoke(&stack, &acme.key, token).await.assert(400, &rule);
    }
    let without_token = json!({"registrationId": acme.registration});
    stack.post(REVOKE, &acme.key, &without_token).await.assert(400, &json!({"message": "tokenId is required"}));
    let unknown = "00000000-0000-4000-8000-000000000000";
    acme.revoke(&stack, &acme.key, unknown).await.assert(404, &json!({"message": "Token not found"}));
    let untyped = stack.http.post(stack.url(LIST)).bearer_auth(&acme.key).body(good.to_string());
    stack.send(untyped).await.assert(400, &json!({"message": "Content-Type must be application/json"}));
    assert!(stack.holds(&acme.registration, &id).await);
}

/// Whoever is nobody costs one small read.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_costs_one_small_read() {
    let (stack, elsewhere) = (TestStack::start().await, TestStack::start().await);
    let tenant = tenant(&stack, "acme").await;
    let unknown = elsewhere.api_key(&elsewhere.organization("acme").await).await;
    stack.calls.reset();
    assert_eq!(tenant.list(&stack, &unknown).await.status, 401);
    assert_eq!(tenant.revoke(&stack, &unknown, "00000000-0000-4000-8000-000000000000").await.status, 401);
    assert_eq!(get(&stack, &tenant.app_path(), &unknown).await.status, 401);
    assert_eq!(delete(&stack, &format!("{}/{}", tenant.app_path(), "0".repeat(24)), &unknown).await.status, 401);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_api_key_is_refused_by_every_route() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let action = json!({"action": "createApiKey", "organizationId": tenant.organization});
    let made = stack.provision(&action).await;
    let key = made["apiKey"].as_str().unwrap();
    Secrets::add_credential(key);
    assert_eq!(tenant.list(&stack, key).await.status, 200);
    stack.provision(&json!({"action": "revokeApiKey", "apiKeyId": made["apiKeyId"]})).await;
    let token = "00000000-0000-4000-8000-000000000000";
    let answers = [
        tenant.list(&stack, key).await,
        tenant.revoke(&stack, key, token).await,
        get(&stack, &tenant.app_path(), key).await,
        delete(&stack, &format!("{}/{}", tenant.app_path(), "0".repeat(24)), key).await,
        stack.post("/api/v1/create-token", key, &json!({"registrationId": tenant.registration})).await,
        stack.post(&tenant.app_path(), key, &json!({})).await,
    ];
    assert_eq!(answers.map(|answer| answer.status), [401; 6]);
}

// ------------------------------------------------------------------------------------------------ app tokens

#[tokio::test(flavor = "multi_thread")]
async fn app_tokens_are_listed_in_pages_in_either_order() {
    let stack = TestStack::start().await;
    let (tenant, other) = (tenant(&stack, "acme").await, tenant(&stack, "other").await);
    let empty = json!({"status": true, "data": {"items": [], "page": 1, "limit": 50, "hasNextPage": false}});
    tenant.list_apps(&stack, "").await.assert(200, &empty);
    let mut created: Vec<(i64, String)> = vec![];
    for n in 0..7 {
        let body = if n == 0 { json!({}) } else { json!({"description": format!("number {n}"), "scopes": ["sdk"]}) };
        created.push((stack.clock.seconds(), tenant.app_token(&stack, &body).await));
        other.app_token(&stack, &json!({})).await;
        // Each pair has the same time.
        stack.clock.advance(n % 2);
    }
    let first = json!({
        "id": created[0].1, "organization": tenant.organization, "application": tenant.application, "scopes": [],
        "createdAt": "2027-01-15T08:00:00.250Z",
    });
    let described = tenant.list_apps(&stack, "?limit=1").await.json()["data"]["items"][0].clone();
    assert_eq!((&described["description"], &described["scopes"]), (&json!("number 6"), &json!(["sdk"])));
    let oldest: Vec<Value> = {
        let items = tenant.list_apps(&stack, "?sort=createdAt:asc").await.json()["data"]["items"].clone();
        items.as_array().unwrap().clone()
    };
    assert!(oldest.contains(&first), "{oldest:?}");
    created.sort();
    let ids = |items: &[Value]| items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let ascending: Vec<_> = created.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids(&oldest), ascending);
    let descending: Vec<_> = ascending.iter().rev().cloned().collect();
    for (sort, expected) in [("asc", &ascending), ("desc", &descending)] {
        for limit in 1..=8 {
            let mut seen = vec![];
            for page in 1.. {
                let query = format!("?page={page}&limit={limit}&sort=createdAt%3A{sort}");
                let data = tenant.list_apps(&stack, &query).await.json()["data"].clone();
                assert_eq!((&data["page"], &data["limit"]), (&json!(page), &json!(limit)));
                seen.extend(ids(data["items"].as_array().unwrap()));
                assert_eq!(data["hasNextPage"], seen.len() < expected.len(), "{query}");
                if seen.len() >= expected.len() {
                    break;
                }
            }
            assert_eq!(&seen, expected, "{sort} {limit}");
        }
    }
    let beyond = json!({"status": true, "data": {"items": [], "page": 100, "limit": 100, "hasNextPage": false}});
    tenant.list_apps(&stack, "?page=100&limit=100").await.assert(200, &beyond);
    // Either name will do, and unknown parameters are ignored.
    let by_slug = get(&stack, "/v1/organizations/acme/apps/my-app/tokens?x=1&x=2&page=1", &tenant.key).await;
    assert_eq!(ids(by_slug.json()["data"]["items"].as_array().unwrap()), descending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_string_is_read_strictly() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let page = "page must be a whole number from 1 to 10000";
    let limit = "limit must be a whole number from 1 to 100";
    let sort = "sort must be createdAt:asc or createdAt:desc";
    for (query, message) in [
        ("page=0", page),
        ("page=-1", page),
        ("page=1.0", page),
        ("page=01", page),
        ("page=%2B1", page),
        ("page=", page),
        ("page", page),
        ("page=%ff", page),
        ("page=10001", page),
        ("page=99999999999999999999999", page),
        ("limit=0", limit),
        ("limit=101", limit),
        ("limit=ten", limit),
        ("sort=", sort),
        ("sort=createdAt", sort),
        ("sort=createdAt:ASC", sort),
        ("sort=id:asc", sort),
        ("page=1&page=1", "page must be given once"),
        ("limit=1&x=1&%6Cimit=2", "limit must be given once"),
        ("sort=createdAt:asc&sort=createdAt:asc", "sort must be given once"),
        ("page=201", "page must be at most 10000 divided by limit"),
        ("page=101&limit=100", "page must be at most 10000 divided by limit"),
    ] {
        tenant.list_apps(&stack, &format!("?{query}")).await.assert(400, &app_error(2001, message));
    }
    for good in ["page=200", "page=10000&limit=1", "", "&&=", "Page=0", "sort=createdAt:asc"] {
        assert_eq!(tenant.list_apps(&stack, &format!("?{good}")).await.status, 200, "{good}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_app_token_leaves_the_list() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let ids = [tenant.app_token(&stack, &json!({})).await, tenant.app_token(&stack, &json!({})).await];
    tenant.list_apps(&stack, "").await;
    stack.calls.reset();
    let deleted = json!({"status": true, "data": {"delete": "OK"}});
    tenant.revoke_app(&stack, &ids[0].to_uppercase()).await.assert(200, &deleted);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 3), ("UpdateItem", 1)]));
    assert_eq!(stack.calls.rounds(), 2);
    stack.calls.reset();
    let items = tenant.list_apps(&stack, "").await.json()["data"]["items"].clone();
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Query", 1)]));
    assert_eq!(stack.calls.rounds(), 2);
    assert_eq!((items.as_array().unwrap().len(), &items[0]["id"]), (1, &json!(ids[1])));
    tenant.revoke_app(&stack, &ids[0]).await.assert(404, &app_error(3001, "Entity not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_in_the_order_of_the_checks_for_app_tokens() {
    let stack = TestStack::start().await;
    let (acme, other) = (tenant(&stack, "acme").await, tenant(&stack, "other").await);
    let second = stack.application(&acme.organization, "second").await;
    let id = acme.app_token(&stack, &json!({})).await;
    let path = |organization: &str, application: &str, token: &str| {
        format!("/v1/organizations/{organization}/apps/{application}/tokens{token}")
    };
    let mistyped = acme.key.replacen("tmk_", "tmk_0", 1);
    for (method, permission, token) in [
        ("GET", "mad.application.token.list", String::new()),
        ("DELETE", "mad.application.token.remove", format!("/{id}")),
    ] {
        let others: Vec<_> = all_permissions().into_iter().filter(|other| *other != permission).collect();
        let weak = stack.api_key_that_may(&acme.organization, &others).await;
        let send = async |path: &str, bearer: &str| match method {
            "GET" => get(&stack, path, bearer).await,
            _ => delete(&stack, path, bearer).await,
        };
        for path in [path("acme", "my-app", &token), path("x", "my-app", &token), path("acme", "unknown", &token)] {
            let missing = send(&path, "").await;
            missing.assert(401, &app_error(4002, "No auth token"));
            assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"tokenmint\""));
            send(&path, &mistyped).await.assert(401, &app_error(4004, "Invalid Token"));
        }
        let rule = "must match ^(([a-fA-F0-9]{24})|([a-zA-Z0-9\\-]{3,}))$ and have at most 128 characters";
        for bearer in [&acme.key, &weak] {
            let organization = app_error(2001, &format!("organizationId {rule}"));
            send(&path("x", "my-app", &token), bearer).await.assert(400, &organization);
            let application = app_error(2001, &format!("applicationId {rule}"));
            send(&path("acme", "a_b", &token), bearer).await.assert(400, &application);
        }
        for path in [path("acme", "my-app", &token), path("acme", "unknown", &token), path("other", "my-app", &token)] {
            send(&path, &weak).await.assert(403, &app_error(4003, "Permission denied"));
        }
        let none = app_error(3001, "Entity not found");
        for (path, key) in [
            (path("acme", "my-app", &token), &other.key),
            (path("other", "my-app", &token), &acme.key),
            (path("acme", "unknown", &token), &acme.key),
            (path(&acme.organization, &other.application, &token), &acme.key),
            (path("unknown", "my-app", &token), &acme.key),
        ] {
            send(&path, key).await.assert(404, &none);
        }
    }
    // Another application's token, and what is no id.
    let none = app_error(3001, "Entity not found");
    delete(&stack, &path("acme", &second, &format!("/{id}")), &acme.key).await.assert(404, &none);
    delete(&stack, &path("acme", "my-app", &format!("/{}", "0".repeat(24))), &acme.key).await.assert(404, &none);
    for wrong in ["x", &id[1..], &format!("{id}0"), "00000000-0000-4000-8000-000000000000", "gggggggggggggggggggggggg"]
    {
        let rule = app_error(2001, "tokenId must be 24 hexadecimal digits");
        delete(&stack, &path("acme", "my-app", &format!("/{wrong}")), &acme.key).await.assert(400, &rule);
    }
    assert_eq!(acme.revoke_app(&stack, &id).await.status, 200);
}

const TOKENS: usize = 10_001;

/// Writes that many app tokens to the table, a millisecond apart.
async fn write_app_tokens(stack: &TestStack, tenant: &Tenant, owner: &str) {
    let started = stack.clock.seconds() * 1000;
    for batch in (0..TOKENS).collect::<Vec<_>>().chunks(25) {
        let puts = batch.iter().map(|n| {
            let id = format!("{n:024x}");
            let at = chrono::DateTime::from_timestamp_millis(started + i64::try_from(*n).unwrap()).unwrap();
            let created_at = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            json!({"PutRequest": {"Item": {
                "pk": {"S": items::app_token_key(&id)}, "sk": {"S": "ITEM"}, "owner": {"S": owner},
                "createdAt": {"S": format!("{created_at}#{id}")}, "appTokenId": {"S": id},
                "hash": {"S": "x".repeat(43)}, "organizationId": {"S": tenant.organization},
                "applicationId": {"S": tenant.application}, "description": {"S": "CI of the mobile app"},
                "scopes": {"L": [{"S": "sdk"}, {"S": "content.read"}]}, "generation": {"N": "0"},
            }}})
        });
        let request = json!({"RequestItems": {"tokenmint": puts.collect::<Vec<_>>()}});
        stack.dynamodb("BatchWriteItem", request).await;
    }
}

/// The capacity units that a query consumes, and how many items it found. The request then goes on where that ended.
async fn units_and_count(stack: &TestStack, request: &mut Value, more: &Value) -> (f64, u64) {
    let answer = stack.dynamodb("Query", with(request, more)).await;
    request["ExclusiveStartKey"] = answer["LastEvaluatedKey"].clone();
    let units = answer["ConsumedCapacity"]["CapacityUnits"].as_f64().unwrap();
    (units, answer["Count"].as_u64().unwrap())
}

/// The units that the first page costs depend on the page, and not on the 10,000 tokens.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_ten_thousand_app_tokens_costs_what_the_page_holds() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let owner = format!("APP_TOKENS#{}", tenant.application);
    write_app_tokens(&stack, &tenant, &owner).await;
    let query = json!({
        "IndexName": "byOwner", "KeyConditionExpression": "#owner = :owner", "ScanIndexForward": false,
        "ExpressionAttributeNames": {"#owner": "owner"}, "ExpressionAttributeValues": {":owner": {"S": owner}},
        "ReturnConsumedCapacity": "TOTAL",
    });
    for limit in [50, 100] {
        let (first_page, _) = units_and_count(&stack, &mut query.clone(), &json!({"Limit": limit + 1})).await;
        let (mut last, mut skipped, mut queries, mut left) = (query.clone(), 0.0, 0, TOKENS - limit);
        while left > 0 {
            let (units, count) = units_and_count(&stack, &mut last, &json!({"Limit": left, "Select": "COUNT"})).await;
            skipped += units;
            queries += 1;
            left -= usize::try_from(count).unwrap();
        }
        let report = format!(
            "limit {limit}: page 1 costs {first_page} units in 1 query, the last page {skipped} more in {queries} more"
        );
        println!("{report}");
        assert!(first_page <= 5.0, "{report}");
    }

    tenant.list_apps(&stack, "").await;
    stack.calls.reset();
    let newest = tenant.list_apps(&stack, "?limit=100").await.json()["data"].clone();
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Query", 1)]));
    let id = |n: usize| json!(format!("{n:024x}"));
    assert_eq!((&newest["items"][0]["id"], &newest["hasNextPage"]), (&id(10_000), &json!(true)));
    // The oldest one is on a page that would be refused.
    let last = tenant.list_apps(&stack, "?limit=100&page=100").await.json()["data"].clone();
    assert_eq!((&last["items"][99]["id"], &last["hasNextPage"]), (&id(1), &json!(false)));
}

// ------------------------------------------------------------------------------------------------ races

/// Whoever revokes one token does not wait for those who revoke others. The next create forgets the revocations.
#[tokio::test(flavor = "multi_thread")]
async fn revocations_of_different_tokens_do_not_meet() {
    let stack = TestStack::start().await;
    let mut tenant = tenant(&stack, "acme").await;
    tenant.registration = stack.registration(&tenant.organization, &json!({"maxAllowed": 1000})).await;
    let tokens = join_all((0..60).map(|_| tenant.token(&stack, None))).await;
    stack.calls.reset();
    let revoked = join_all(tokens.iter().map(|(id, _)| tenant.revoke(&stack, &tenant.key, id))).await;
    assert!(revoked.iter().all(|answer| answer.status == 200), "{revoked:?}");
    assert_eq!(stack.calls.count()["UpdateItem"], 60, "each at its first try");
    let remembered = async || {
        let item = stack.registration_item(&tenant.registration).await;
        (item["tokens"]["M"].as_object().unwrap().len(), item["revoked"]["M"].as_object().unwrap().len())
    };
    assert_eq!(remembered().await, (0, 60));
    tenant.token(&stack, None).await;
    assert_eq!(remembered().await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_revocations_one_succeeds() {
    let stack = TestStack::start().await;
    let tenant = tenant(&stack, "acme").await;
    let nodes: Vec<_> = (0..3).map(|_| Node::start(&stack, TimeDelta::zero())).collect();
    let (token, _) = tenant.token(&stack, None).await;
    let app_token = tenant.app_token(&stack, &json!({})).await;
    for request in [tenant.revoke_token_request(&token), tenant.revoke_app_token_request(&app_token)] {
        let answers = join_all((0..50).map(async |n| nodes[n % nodes.len()].send(&request).await.status)).await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert_eq!(answers.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([200, 404]));
    }
}
