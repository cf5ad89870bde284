//! The `issue-code` function, which the login service invokes.

use std::{cell::Cell, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use serde_json::{Value, json, value::RawValue};

use crate::harness::{
    Answer, START, TestStack,
    exchange_token::{client, code_body, login},
    oauth2::{CHALLENGE, VERIFIER, code_form},
    with,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_is_not_registered_for_is_refused() {
    let stack = TestStack::start().await;
    let client = json!({
        "action": "createClient", "redirectUris": ["https://app.example.com/callback"], "services": ["email"],
        "scopes": ["openid", "email"],
    });
    let client = stack.provision(&client).await["clientId"].clone();
    let login = json!({
        "clientId": client, "service": "email", "redirectUri": "https://app.example.com/callback", "subject": "user-1",
        "scope": "openid",
    });
    let issue = async |field: &str, value: Value| {
        let mut login = login.clone();
        match value {
            Value::Null => login.as_object_mut().unwrap().remove(field),
            value => login.as_object_mut().unwrap().insert(field.to_owned(), value),
        };
        stack.local.invoke("issue-code", &login).await
    };
    stack.calls.reset();
    stack.calls.answer_together("PutItem", 2);
    let issued = issue("language", json!("en")).await.unwrap();
    assert_eq!(issued["expiresAt"], "2027-01-15T08:02:00.000Z");
    assert!(issued["code"].as_str().unwrap().starts_with("tmc_") && issued.as_object().unwrap().len() == 2);
    assert_eq!(stack.calls.rounds(), 2);

    let registered = "is not registered for this client";
    stack.calls.reset();
    for (field, value, message) in [
        ("service", json!("sms"), format!("service {registered}")),
        ("redirectUri", json!("https://app.example.com/"), format!("redirectUri {registered}")),
        ("scope", json!("openid profile"), format!("scope {registered}")),
        ("clientId", json!("22222222-2222-2222-2222-222222222222"), "clientId does not exist".to_owned()),
        ("clientId", json!("x"), "clientId must be a UUID in lower case".to_owned()),
        ("subject", Value::Null, "subject is required".to_owned()),
        ("subject", json!("é"), "subject must be 1 to 255 printable ASCII characters".to_owned()),
        ("subject", json!("x".repeat(256)), "subject must be 1 to 255 printable ASCII characters".to_owned()),
        ("state", json!(""), "state must be 1 to 4096 characters".to_owned()),
        ("nonce", json!(1), "nonce must be a string".to_owned()),
        ("codeChallenge", json!("plain"), "codeChallenge must be 43 characters of base64url (S256)".to_owned()),
        ("authTime", json!("1735689600"), format!("authTime must be a whole number from 0 to {}", START + 300)),
        ("authTime", json!(START + 301), format!("authTime must be a whole number from 0 to {}", START + 300)),
        (
            "language",
            json!("english language"),
            "language must be 1 to 35 characters of A-Z a-z 0-9 _ -, such as en or pt-BR".to_owned(),
        ),
        ("claims", json!([]), "claims must be an object".to_owned()),
        ("claims", json!({"sub": "x"}), "claims must contain only standard claims of OpenID Connect".to_owned()),
        ("claims", json!({"email_verified": "yes"}), "claims.email_verified must be true or false".to_owned()),
        ("lang", json!("en"), "lang is not a field of this request".to_owned()),
        ("acr", json!(""), "acr must be 1 to 255 printable ASCII characters".to_owned()),
        ("amr", json!(vec!["pwd"; 11]), "amr must have at most 10 entries".to_owned()),
        ("amr", json!("pwd"), "amr must be an array of strings".to_owned()),
        ("accessTokenClaims", json!(["a"]), "accessTokenClaims must be an object".to_owned()),
        ("idTokenClaims", json!({"a": "x".repeat(2041)}), "idTokenClaims must be at most 2048 bytes long".to_owned()),
    ] {
        let refused = issue(field, value).await.unwrap_err();
        assert_eq!(refused, json!({"errorType": "InvalidRequest", "errorMessage": message}));
    }
    assert!(!stack.calls.count().contains_key("PutItem"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_sets_itself_cannot_be_given() {
    let stack = TestStack::start().await;
    client(&stack, &json!({})).await;
    for name in [
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "client_id",
        "azp",
        "scope",
        "sid",
        "auth_time",
        "nonce",
        "at_hash",
        "cnf",
        "act",
        "organization",
        "gen",
        "token_use",
        "acr",
        "amr",
        "lng",
    ] {
        for field in ["accessTokenClaims", "idTokenClaims"] {
            let event = with(&login(), &json!({field: {"groups": [], name: "x"}}));
            let refused = stack.local.invoke("issue-code", &event).await.unwrap_err();
            let message = format!("{field}.{name} must not be given: the name is reserved");
            assert_eq!(refused, json!({"errorType": "InvalidRequest", "errorMessage": message}));
        }
    }
    // The longest of everything, and names that only look like those.
    let largest = json!({
        "state": "é".repeat(4096), "nonce": "n".repeat(4096), "acr": "x".repeat(255), "amr": ["pwd", "pwd"],
        "accessTokenClaims": {"a": "x".repeat(2040)}, "idTokenClaims": {"Sub": null, "https://example.com/iss": 1},
    });
    stack.local.invoke("issue-code", &with(&login(), &largest)).await.unwrap();
}

// ------------------------------------------------------------------------------------------------ claims

const INVOKE: &str = "/2015-03-31/functions/issue-code/invocations";
const SCOPES: &str = "openid profile address";

/// Issues a code with this JSON text as the claims.
async fn issue_with(stack: &TestStack, claims: &str) -> Answer {
    let mut event = with(&login(), &json!({"scope": SCOPES, "codeChallenge": CHALLENGE})).to_string();
    event.truncate(event.len() - 1);
    stack.send(stack.http.post(stack.url(INVOKE)).body(format!("{event},\"claims\":{claims}}}"))).await
}

/// The payload of the ID token that a code is exchanged for.
async fn id_token(stack: &TestStack, issued: &Answer) -> String {
    let proof = json!({"scope": SCOPES, "code_verifier": VERIFIER});
    let body = with(&code_body(issued.json()["code"].as_str().unwrap()), &proof);
    let answer = stack.post("/api/v1/tokens", "", &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = answer.json();
    payload(answer["items"][0]["idToken"].as_str().unwrap())
}

fn payload(jwt: &str) -> String {
    String::from_utf8(URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// Whether two JSON texts have the same meaning. Numbers are compared to the letter.
fn same(one: &str, other: &str) -> bool {
    let members = |text| serde_json::from_str::<BTreeMap<String, &RawValue>>(text).unwrap();
    let entries = |text| serde_json::from_str::<Vec<&RawValue>>(text).unwrap();
    let all = |pairs: Vec<(&RawValue, &RawValue)>| pairs.iter().all(|(one, other)| same(one.get(), other.get()));
    match (one.as_bytes()[0], other.as_bytes()[0]) {
        (b'{', b'{') => {
            let (one, other) = (members(one), members(other));
            one.keys().eq(other.keys()) && all(one.into_values().zip(other.into_values()).collect())
        }
        (b'[', b'[') => {
            let (one, other) = (entries(one), entries(other));
            one.len() == other.len() && all(one.into_iter().zip(other).collect())
        }
        (b'-' | b'0'..=b'9', _) => one == other,
        _ => serde_json::from_str::<Value>(one).unwrap() == serde_json::from_str::<Value>(other).unwrap(),
    }
}

async fn stack_with_a_client() -> TestStack {
    let stack = TestStack::start().await;
    client(&stack, &json!({"scopes": ["openid", "profile", "address"]})).await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_readers_would_disagree_about_are_refused() {
    let stack = stack_with_a_client().await;
    stack.calls.reset();
    let nested = |levels: usize| format!("{{\"address\":{}1{}}}", "{\"a\":".repeat(levels - 1), "}".repeat(levels - 1));
    for (claims, field) in [
        (r#"{"name":"A","name":"B"}"#, "claims.name"),
        (r#"{"address":{"country":"NO","country":"SE"}}"#, "claims.address"),
        (r#"{"address":{"country":"\ud800"}}"#, "claims.address"),
        (&nested(17), "claims.address"),
        (&nested(40), "claims.address"),
        (&nested(1000), "claims.address"),
    ] {
        let refused = issue_with(&stack, claims).await.json();
        assert_eq!(refused["errorType"], "InvalidRequest", "{claims}: {refused}");
        let message = refused["errorMessage"].as_str().unwrap();
        let rules = ["must ", "is nested too deeply "].map(|rule| format!("{field} {rule}"));
        assert!(rules.iter().any(|rule| message.starts_with(rule)), "{claims}: {refused}");
    }
    let twice = issue_with(&stack, r#"{"name":"A"},"claims":{"name":"B"}"#).await.json();
    assert_eq!(twice["errorMessage"], "claims must be given once");
    assert!(!stack.calls.count().contains_key("PutItem"));

    let issued = issue_with(&stack, &nested(16)).await;
    let payload = id_token(&stack, &issued).await;
    let address = serde_json::from_str::<BTreeMap<String, &RawValue>>(&payload).unwrap()["address"];
    assert!(same(&format!("{{\"address\":{address}}}"), &nested(16)), "{payload}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_kept_to_the_letter() {
    let stack = stack_with_a_client().await;
    let claims = [
        ("name", r#""\u00e9 \/ \\""#),
        ("updated_at", "-0.0"),
        ("updated_at", "1E+05"),
        ("updated_at", "12345678901234567890123"),
        ("updated_at", "0.1000000000000000055"),
        ("updated_at", "1e-131"),
        ("updated_at", "1e126"),
        ("updated_at", "1e400"),
        ("address", r#"{"a":[1e-400,1e99999999999999999999, null],"":{"$serde_json::private::RawValue":"x"}}"#),
    ];
    for (name, json) in claims {
        let issued = issue_with(&stack, &format!("{{ \"{name}\" :\t{json} }}")).await;
        let tokens = stack.post_form("/oauth2/token", &code_form(issued.json()["code"].as_str().unwrap())).await.json();
        let id_token = payload(tokens["id_token"].as_str().unwrap());
        let userinfo = stack.http.get(stack.url("/oauth2/userinfo"));
        // Not by the stack's `send`, which reads the answer and cannot hold every number.
        let userinfo = userinfo.bearer_auth(tokens["access_token"].as_str().unwrap()).send().await.unwrap();
        for members in [id_token, userinfo.text().await.unwrap()] {
            assert!(members.contains(&format!(",\"{name}\":{json}")), "{members}");
        }
    }
}

/// A JSON number in any notation.
fn number_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_filter("JSON", |number| number.is_finite()).prop_map(|number| format!("{number:e}")),
        (-1e9..1e9_f64).prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
    ]
}

/// A nested JSON text, in which names can occur twice.
fn value_text() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        4 => number_text(),
        1 => any::<String>().prop_map(|text| json!(text).to_string()),
        1 => select(vec!["true", "false", "null", "\"\"", "[]", "{}", "\"\\u00e9\\ud83d\\ude00\"", "\"\\ud83d\""])
            .prop_map(str::to_owned),
    ];
    scalar.prop_recursive(18, 24, 3, |inner| {
        let name =
            prop_oneof![1 => "[a-z]{1,8}", 2 => select(vec!["a", "\\u0061", "é", "", " "]).prop_map(str::to_owned)];
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|entries| format!("[{}]", entries.join(","))),
            vec((name, inner), 1..4).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

#[test]
fn accepted_claims_are_in_the_id_token_unchanged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stack = runtime.block_on(stack_with_a_client());
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let claims = (number_text(), value_text());
    let result = TestRunner::default().run(&claims, |(number, value)| {
        let claims = format!("{{\"updated_at\":{number},\"address\":{{\"a\": {value}}}}}");
        runtime.block_on(async {
            let issued = issue_with(&stack, &claims).await;
            if issued.header("x-amz-function-error").is_some() {
                refused.set(refused.get() + 1);
                let refused = issued.json();
                prop_assert_eq!(&refused["errorType"], "InvalidRequest", "{}", refused);
                prop_assert!(refused["errorMessage"].as_str().unwrap().starts_with("claims"), "{}", refused);
                return Ok(());
            }
            accepted.set(accepted.get() + 1);
            let payload = id_token(&stack, &issued).await;
            let kept = serde_json::from_str::<BTreeMap<String, &RawValue>>(&payload).unwrap();
            let kept = format!("{{\"updated_at\":{},\"address\":{}}}", kept["updated_at"], kept["address"]);
            prop_assert!(same(&claims, &kept), "{} became {}", claims, kept);
            Ok(())
        })
    });
    println!("{} accepted, {} refused", accepted.get(), refused.get());
    result.unwrap();
    assert!(accepted.get() > 20 && refused.get() > 5);
}
