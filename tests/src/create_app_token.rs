//! `POST /v1/organizations/{organizationId}/apps/{applicationId}/tokens`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{InjectedFault, Secrets, Tenant, TestStack, app_tokens, calls, items};

fn error(code: u16, message: &str) -> Value {
    json!({"status": false, "error": {"code": code, "message": message}})
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_slugs_may_be_mixed_and_the_answer_has_ids() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    stack.introduce(&caller.app_tokens(), &caller.key).await;
    let mut bearers = BTreeSet::new();
    for organization in [caller.organization.clone(), caller.organization.to_uppercase(), "acme".to_owned()] {
        for application in [caller.application.clone(), caller.application.to_uppercase(), "my-app".to_owned()] {
            stack.calls.reset();
            let body = json!({"description": "string", "scopes": ["sdk"], "unknown": 1});
            let answer = stack.post(&app_tokens(&organization, &application), &caller.key, &body).await;
            let data = answer.json()["data"].clone();
            let expected = json!({
                "id": data["id"], "organization": caller.organization, "application": caller.application,
                "description": "string", "bearer": data["bearer"], "scopes": ["sdk"],
            });
            answer.assert(200, &json!({"status": true, "data": expected}));
            assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("PutItem", 1)]));
            assert_eq!(stack.calls.rounds(), 2);
            let id = data["id"].as_str().unwrap();
            assert!(id.len() == 24 && id.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)), "{id}");
            bearers.insert(data["bearer"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(bearers.len(), 9);
    let dump = stack.dump().await;
    for bearer in &bearers {
        assert!(bearer.len() <= 128 && !dump.contains(bearer));
        assert!(has_checksum(bearer), "{bearer}");
    }
    assert!(!dump.contains("tma_") && !dump.contains("tmk_"));
}

/// Checks the base-62 CRC-32, computed bit by bit, unlike in `shared`.
fn has_checksum(bearer: &str) -> bool {
    let (body, checksum) = bearer.split_at(bearer.len() - 6);
    let crc = !body.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    });
    let value = checksum.bytes().fold(0_u64, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            _ => digit - b'a' + 36,
        };
        value * 62 + u64::from(digit)
    });
    bearer.starts_with("tma_") && bearer.len() == 70 && value == u64::from(crc)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_body_is_optional() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    for (body, description) in [
        (json!({}), None),
        (json!({"description": null, "scopes": null}), None),
        (json!({"description": "", "scopes": []}), Some("")),
    ] {
        let data = caller.create_app_token(&stack, &body).await.json()["data"].clone();
        assert_eq!(data.get("description").map(|text| text.as_str().unwrap()), description, "{body}");
        assert_eq!(data["scopes"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_with_the_scope_is_accepted() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let scopes = json!({"scopes": ["mad.application.token.create"]});
    let registration = stack.registration(&caller.organization, &scopes).await;
    let token = stack.post("/api/v1/create-token", &caller.key, &json!({"registrationId": registration})).await;
    let token = token.access_token();
    assert_eq!(stack.post(&caller.app_tokens(), &token, &json!({})).await.status, 200);
    stack.calls.reset();
    assert_eq!(stack.post(&caller.app_tokens(), &token, &json!({})).await.status, 200);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("PutItem", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unauthenticated_request_is_401_whatever_else_is_wrong() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let mistyped = caller.key.replacen("tmk_", "tmk_0", 1);
    stack.calls.reset();
    for path in [caller.app_tokens(), app_tokens("no", "x"), app_tokens("unknown", "unknown")] {
        for body in [json!({}), json!({"scopes": 1})] {
            let missing = stack.post(&path, "", &body).await;
            missing.assert(401, &error(4002, "No auth token"));
            assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"tokenmint\""));
            let invalid = stack.post(&path, &mistyped, &body).await;
            invalid.assert(401, &error(4004, "Invalid Token"));
            assert_eq!(invalid.header("www-authenticate"), Some("Bearer realm=\"tokenmint\", error=\"invalid_token\""));
            let basic = stack.http.post(stack.url(&path)).header("authorization", "Basic eDp5").body("{}");
            stack.send(basic).await.assert(401, &error(4004, "Invalid Token"));
        }
    }
    assert!(stack.calls.count().is_empty());
    let elsewhere = TestStack::start().await;
    let unknown = elsewhere.api_key(&elsewhere.organization("acme").await).await;
    stack.post(&caller.app_tokens(), &unknown, &json!({})).await.assert(401, &error(4004, "Invalid Token"));
    assert!(!stack.calls.count().contains_key("PutItem"));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_app_token_without_permission_is_403() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let weak = stack.api_key_that_may(&caller.organization, &["oauth.token.create"]).await;
    stack.calls.reset();
    for path in [caller.app_tokens(), app_tokens("acme", "unknown"), app_tokens("unknown", "unknown")] {
        stack.post(&path, &weak, &json!({})).await.assert(403, &error(4003, "Permission denied"));
    }
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 6)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_of_another_organization_look_unknown() {
    let stack = TestStack::start().await;
    let (caller, other) = (Tenant::new(&stack, "acme").await, Tenant::new(&stack, "other").await);
    let extra = stack.application(&other.organization, "only-theirs").await;
    let unknown = "f".repeat(24);
    let mut answers = vec![];
    for (organization, application) in [
        ("other", "my-app"),
        (&other.organization, &other.application),
        ("unknown", "my-app"),
        (&unknown, &unknown),
        ("acme", "only-theirs"),
        ("acme", &extra),
        ("acme", &other.application),
        (&other.organization, &caller.application),
        ("acme", "unknown"),
        ("ACME", "my-app"),
        ("acme", &"x".repeat(128)),
    ] {
        let answer = stack.post(&app_tokens(organization, application), &caller.key, &json!({})).await;
        answer.assert(404, &error(3001, "Entity not found"));
        answers.push(answer.text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(stack.count_items(items::APP_TOKEN).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_is_counted_in_code_points() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    for character in ["x", "é", "😀", "\u{0}"] {
        let longest = character.repeat(1000);
        let answer = caller.create_app_token(&stack, &json!({"description": longest})).await;
        assert_eq!((answer.status, answer.json()["data"]["description"].as_str()), (200, Some(longest.as_str())));
        let refused = caller.create_app_token(&stack, &json!({"description": character.repeat(1001)})).await;
        refused.assert(400, &error(2001, "description must have at most 1000 characters"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_is_400_with_field_and_rule() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let scopes = |count: usize| (0..count).map(|n| format!("scope-{n}")).collect::<Vec<_>>();
    let fifty = caller.create_app_token(&stack, &json!({"scopes": scopes(50)})).await;
    assert_eq!((fifty.status, &fifty.json()["data"]["scopes"]), (200, &json!(scopes(50))));
    assert_eq!(caller.create_app_token(&stack, &json!({"scopes": ["x".repeat(256)]})).await.status, 200);
    let form = "scopes entries must be 1 to 256 printable ASCII characters without space, quote and backslash";
    let strings = "scopes must be an array of strings";
    stack.calls.reset();
    for (body, message) in [
        (json!({"scopes": scopes(51)}), "scopes must have at most 50 entries"),
        (json!({"scopes": ["sdk", "sdk"]}), "scopes must not contain the same entry twice"),
        (json!({"scopes": [""]}), form),
        (json!({"scopes": ["a b"]}), form),
        (json!({"scopes": ["é"]}), form),
        (json!({"scopes": ["a\"b"]}), form),
        (json!({"scopes": ["x".repeat(257)]}), form),
        (json!({"scopes": [1]}), strings),
        (json!({"scopes": [null]}), strings),
        (json!({"scopes": "sdk"}), strings),
        (json!({"scopes": {}}), strings),
        (json!({"description": 1}), "description must be a string"),
        (json!([]), "body must be a JSON object"),
    ] {
        caller.create_app_token(&stack, &body).await.assert(400, &error(2001, message));
    }
    let reference = "must match ^(([a-fA-F0-9]{24})|([a-zA-Z0-9\\-]{3,}))$ and have at most 128 characters";
    let long = "x".repeat(129);
    for wrong in ["ab", "a_b", "a%20b", "a.b", "%C3%A9%C3%A9%C3%A9", "abc%2Fdef", &long] {
        let answer = stack.post(&app_tokens(wrong, "my-app"), &caller.key, &json!({})).await;
        answer.assert(400, &error(2001, &format!("organizationId {reference}")));
        let answer = stack.post(&app_tokens("acme", wrong), &caller.key, &json!({})).await;
        answer.assert(400, &error(2001, &format!("applicationId {reference}")));
    }
    let request = stack.http.post(stack.url(&caller.app_tokens())).bearer_auth(&caller.key).body("{}");
    stack.send(request).await.assert(400, &error(2001, "Content-Type must be application/json"));
    let count = stack.calls.count();
    assert_eq!(count.keys().collect::<Vec<_>>(), ["GetItem"], "no write, no KMS");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_500_and_a_lost_answer_is_not() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    stack.introduce(&caller.app_tokens(), &caller.key).await;
    for operation in ["GetItem", "PutItem"] {
        stack.calls.fail(operation, &[InjectedFault::NotSent; 6][..if operation == "GetItem" { 6 } else { 3 }]);
        caller.create_app_token(&stack, &json!({})).await.assert(500, &error(1001, "Internal server error"));
        assert!(stack.calls.all_failed());
    }
    assert_eq!(stack.count_items(items::APP_TOKEN).await, 0);
    stack.calls.fail("PutItem", &[InjectedFault::AnswerLost]);
    assert_eq!(caller.create_app_token(&stack, &json!({})).await.status, 200);
    assert!(stack.calls.all_failed());
    assert_eq!(stack.count_items(items::APP_TOKEN).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_the_caller_lacks_cannot_be_passed_on() {
    let stack = TestStack::start().await;
    let caller = Tenant::new(&stack, "acme").await;
    let only = stack.api_key_that_may(&caller.organization, &["mad.application.token.create"]).await;
    let create =
        async |key: &str, scopes: Value| stack.post(&caller.app_tokens(), key, &json!({"scopes": scopes})).await;
    create(&only, json!(["sdk", "oauth.token.revoke"])).await.assert(403, &error(4003, "Permission denied"));
    assert_eq!(stack.count_items(items::APP_TOKEN).await, 0);
    for (key, scopes) in [
        (&only, json!(["sdk", "mad.application.token.create", "oauth.token.other"])),
        (&caller.key, json!(["oauth.token.create"])),
    ] {
        let answer = create(key, scopes).await;
        assert_eq!(answer.status, 200);
        Secrets::add_credential(answer.json()["data"]["bearer"].as_str().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_an_application_can_be_listed_in_order() {
    let stack = TestStack::start().await;
    let (caller, other) = (Tenant::new(&stack, "acme").await, Tenant::new(&stack, "other").await);
    let mut ids = vec![];
    for n in 0..5 {
        let data = caller.create_app_token(&stack, &json!({"description": format!("number {n}")})).await.json()["data"]
            .clone();
        ids.push(data["id"].clone());
        other.create_app_token(&stack, &json!({})).await;
        stack.clock.advance(1);
    }
    let query = json!({
        "IndexName": "byOwner", "KeyConditionExpression": "#owner = :owner",
        "ExpressionAttributeNames": {"#owner": "owner"},
        "ExpressionAttributeValues": {":owner": {"S": format!("APP_TOKENS#{}", caller.application)}},
    });
    let listed = stack.dynamodb("Query", query).await;
    let listed: Vec<Value> = listed["Items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["pk"]["S"].as_str().unwrap()["APP_TOKEN#".len()..].into())
        .collect();
    assert_eq!(listed, ids);
}
