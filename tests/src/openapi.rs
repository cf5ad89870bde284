//! Compares `openapi.yaml` with the code. In addition, [`TestStack::send`] checks every answer in the test suite against it.

use std::collections::BTreeSet;

use local::Template;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, InjectedFault, TestStack, api, encoded, exchange_token::CLIENT, oauth2};

const REVOKE: &str = "/oauth2/revoke";
const INTROSPECT: &str = "/oauth2/introspect";
const USERINFO: &str = "/oauth2/userinfo";
const APP_TOKENS: &str = "/v1/organizations/demo/apps/demo-app/tokens";
/// The answer to a well-formed exchange with an unknown credential.
const BAD_CREDENTIAL: &str = "code or refresh_token is not valid for this request";

/// A stack with the demo, which the document's examples use, and its API key.
async fn demo() -> (TestStack, String) {
    let stack = TestStack::start().await;
    let lines = stack.local.provision_demo().await.unwrap();
    let key = lines.split("Bearer ").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    (stack, key)
}

#[test]
fn its_routes_are_those_of_the_template() {
    let routes = Template::read().unwrap().routes.into_iter().map(|route| format!("{} {}", route.method, route.path));
    let operations = api().operations();
    assert_eq!(operations.iter().map(|(route, _)| route.clone()).collect::<BTreeSet<_>>(), routes.collect());
    let ids: BTreeSet<_> = operations.iter().map(|(_, operation)| operation["operationId"].to_string()).collect();
    assert_eq!(ids.len(), operations.len());
    for (route, operation) in operations {
        let segments = route.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let in_path = parameters.filter(|parameter| parameter["in"] == "path").map(|parameter| {
            assert_eq!(parameter["required"], true);
            parameter["name"].as_str().unwrap()
        });
        assert_eq!(in_path.collect::<Vec<_>>(), segments.collect::<Vec<_>>(), "{route}");
    }
}

#[test]
fn its_examples_fit_its_schemas() {
    let mut checked = 0;
    let mut fits = |schema: &Value, example: &Value| {
        api().validator(schema).validate(example).unwrap_or_else(|error| panic!("{example}: {error}"));
        checked += 1;
    };
    let of_content = |node: &Value| node["content"].as_object().unwrap().values().next().unwrap().clone();
    for (_, operation) in api().operations() {
        let responses =
            operation["responses"].as_object().unwrap().values().map(|response| of_content(api().resolve(response)));
        let bodies = operation.get("requestBody").map(of_content).into_iter().chain(responses);
        for body in bodies {
            for example in body["examples"].as_object().into_iter().flatten() {
                fits(&body["schema"], &example.1["value"]);
            }
        }
        for parameter in operation["parameters"].as_array().unwrap() {
            fits(&parameter["schema"], &parameter["example"]);
        }
    }
    for schema in api().document["components"]["schemas"].as_object().unwrap().values() {
        schema["examples"].as_array().into_iter().flatten().for_each(|example| fits(schema, example));
    }
    assert!(checked >= 20, "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_requests_work_on_the_demo() {
    let (stack, key) = demo().await;
    for (route, operation) in api().operations() {
        let (method, path) = route.split_once(' ').unwrap();
        let mut path = path.to_owned();
        for parameter in
            operation["parameters"].as_array().unwrap().iter().filter(|parameter| parameter["in"] == "path")
        {
            let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
            path = path.replace(&name, parameter["example"].as_str().unwrap());
        }
        let bearer = match operation["security"][0].as_object().and_then(|scheme| scheme.keys().next()) {
            Some(scheme) if scheme == "bearerAuth" => key.clone(),
            Some(scheme) if scheme == "userBearer" => oauth2::user(&stack).await.access_token,
            // The examples have the credentials of their clients in them.
            _ => String::new(),
        };
        let request = || {
            let request = stack.http.request(method.parse().unwrap(), stack.url(&path));
            if bearer.is_empty() { request } else { request.bearer_auth(&bearer) }
        };
        let Some((media_type, body)) = Api::body_of(&operation) else {
            assert_eq!(stack.send(request()).await.status, 200, "{route}");
            continue;
        };
        for (name, example) in body["examples"].as_object().unwrap() {
            let body = encoded(media_type, &example["value"]);
            let answer = stack.send(request().header("content-type", media_type).body(body)).await;
            assert!(answer.status < 300, "{route} {name}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_status_occurs() {
    let (stack, key) = demo().await;
    let organization = stack.organization("acme").await;
    let weak = stack.api_key_that_may(&organization, &[]).await;
    let mut seen = BTreeSet::new();
    let mut gives = |id: &'static str, answer: Answer| {
        seen.insert((id.to_owned(), answer.status.to_string()));
    };

    gives("getKeySet", {
        stack.calls.fail("GetPublicKey", &[InjectedFault::NotSent; 3]);
        stack.get("/.well-known/jwks.json").await
    });
    gives("getKeySet", stack.get("/.well-known/jwks.json").await);
    for client in [CLIENT, "unknown"] {
        gives("getAppKeys", stack.get(&format!("/api/v1/apps/{client}/keys")).await);
    }

    let create = json!({"registrationId": "demo"});
    for (id, path, body, malformed, unknown_path, unknown, other) in [
        (
            "createToken",
            "/api/v1/create-token",
            &create,
            json!({}),
            "/api/v1/create-token",
            json!({"registrationId": "unknown"}),
            json!({"registrationId": "demo", "email": "other@example.com"}),
        ),
        (
            "createAppToken",
            APP_TOKENS,
            &json!({}),
            json!({"scopes": 1}),
            "/v1/organizations/demo/apps/unknown/tokens",
            json!({}),
            json!({"description": "other"}),
        ),
    ] {
        gives(id, stack.post(path, "", body).await);
        gives(id, stack.post(path, &key, &malformed).await);
        gives(id, stack.post(path, &weak, body).await);
        gives(id, stack.post(unknown_path, &key, &unknown).await);
        for body in [body, &other] {
            let request = stack.http.post(stack.url(path)).bearer_auth(&key).header("idempotency-key", "one");
            gives(id, stack.send(json_body(request, body)).await);
        }
        stack.calls.fail("GetItem", &[InjectedFault::NotSent; 6]);
        gives(id, stack.post(path, &key, body).await);
    }

    let revocable = json!({"registrationId": "demo-events", "tokenId": "d3300000-0000-4000-8000-000000000001"});
    let unknown = json!({"registrationId": "unknown", "tokenId": "d3300000-0000-4000-8000-000000000001"});
    for (id, path) in [("listTokens", "/api/v1/list-tokens"), ("revokeToken", "/api/v1/revoke-token")] {
        gives(id, stack.post(path, "", &revocable).await);
        gives(id, stack.post(path, &key, &json!({})).await);
        gives(id, stack.post(path, &weak, &revocable).await);
        gives(id, stack.post(path, &key, &unknown).await);
        gives(id, stack.post(path, &key, &revocable).await);
        stack.calls.fail("GetItem", &[InjectedFault::NotSent; 6]);
        gives(id, stack.post(path, &key, &revocable).await);
    }
    let token = "/v1/organizations/demo/apps/demo-events/tokens/60211888521c001d5ffe618b".to_owned();
    let unknown = |path: &str| path.replace("/demo/", "/unknown/");
    for (id, method, path, malformed) in [
        ("listAppTokens", "GET", APP_TOKENS.to_owned(), format!("{APP_TOKENS}?page=0")),
        ("revokeAppToken", "DELETE", token.clone(), format!("{token}0")),
    ] {
        let send = async |path: &str, bearer: &str| {
            let request = stack.http.request(method.parse().unwrap(), stack.url(path));
            stack.send(if bearer.is_empty() { request } else { request.bearer_auth(bearer) }).await
        };
        gives(id, send(&path, "").await);
        gives(id, send(&malformed, &key).await);
        gives(id, send(&path, &weak).await);
        gives(id, send(&unknown(&path), &key).await);
        gives(id, send(&path, &key).await);
        stack.calls.fail("GetItem", &[InjectedFault::NotSent; 6]);
        gives(id, send(&path, &key).await);
    }

    let exchange = api().operation("exchangeToken");
    let exchange = &exchange["requestBody"]["content"]["application/json"]["examples"]["code"]["value"];
    stack.calls.fail("GetItem", &[InjectedFault::NotSent; 6]);
    for body in [exchange, exchange, &json!({})] {
        gives("exchangeToken", stack.post("/api/v1/tokens", "", body).await);
    }
    stack.calls.fail("GetItem", &[InjectedFault::NotSent; 3]);
    gives("getAppKeys", stack.get(&format!("/api/v1/apps/{CLIENT}/keys")).await);

    every_oauth2_status(&stack, &key, &weak, &mut gives).await;

    let mut documented = BTreeSet::new();
    for (_, operation) in api().operations() {
        for status in operation["responses"].as_object().unwrap().keys() {
            documented.insert((operation["operationId"].as_str().unwrap().to_owned(), status.clone()));
        }
    }
    assert_eq!(seen, documented);
}

/// Every status that `openapi.yaml` documents for these operations, once.
async fn every_oauth2_status(stack: &TestStack, key: &str, weak: &str, gives: &mut impl FnMut(&'static str, Answer)) {
    let demo = |more: &[(&str, &str)]| {
        let form = [&[("grant_type", "client_credentials")], more].concat();
        stack.form(oauth2::TOKEN, &form).basic_auth("demo", Some(key))
    };
    gives("oauthToken", stack.send(demo(&[])).await);
    gives("oauthToken", stack.send(demo(&[("scope", "\u{7}")])).await);
    gives("oauthToken", stack.post_form(oauth2::TOKEN, &[("grant_type", "client_credentials")]).await);
    for scope in ["", "oauth.token.list"] {
        gives("oauthToken", stack.send(demo(&[("scope", scope)]).header("idempotency-key", "oauth2")).await);
    }
    while {
        let answer = stack.send(demo(&[])).await;
        let full = answer.status == 429;
        gives("oauthToken", answer);
        !full
    } {}
    stack.calls.fail("GetItem", &[InjectedFault::NotSent; 6]);
    gives("oauthToken", stack.send(demo(&[])).await);

    let user = oauth2::user(stack).await;
    let narrow = [("grant_type", "refresh_token"), ("refresh_token", user.refresh_token.as_str()), ("scope", "email")];
    let narrow = stack.post_form(oauth2::TOKEN, &narrow).await.user(user.code.clone());
    for (id, method) in [("getUserinfo", "GET"), ("postUserinfo", "POST")] {
        let send = async |token: &str| {
            let request = stack.http.request(method.parse().unwrap(), stack.url(USERINFO));
            stack.send(request.bearer_auth(token)).await
        };
        for token in [&user.access_token, "x", &narrow.access_token] {
            gives(id, send(token).await);
        }
        stack.calls.fail("GetItem", &[InjectedFault::NotSent; 3]);
        gives(id, send(&user.access_token).await);
    }

    gives("oauthIntrospect", stack.post_form(INTROSPECT, &[("token", key)]).await);
    for (key, form) in [(key, &[("token", "x")][..]), (key, &[("x", "y")]), (weak, &[("token", "x")])] {
        gives("oauthIntrospect", stack.send(stack.form(INTROSPECT, form).bearer_auth(key)).await);
    }
    stack.calls.fail("GetItem", &[InjectedFault::NotSent; 6]);
    gives("oauthIntrospect", stack.send(stack.form(INTROSPECT, &[("token", "x")]).bearer_auth(key)).await);

    gives("oauthRevoke", stack.post_form(REVOKE, &[("token", "x")]).await);
    gives("oauthRevoke", stack.post_form(REVOKE, &[("x", "y")]).await);
    gives("oauthRevoke", stack.post_form(REVOKE, &[("token", "x"), ("client_id", "unknown")]).await);
    stack.calls.fail("GetItem", &[InjectedFault::NotSent; 3]);
    gives("oauthRevoke", stack.post_form(REVOKE, &[("token", &user.refresh_token)]).await);

    let without = TestStack::start_with(|options| options.issuer = Some("name".to_owned())).await;
    for stack in [stack, &without] {
        gives("getOpenidConfiguration", stack.get("/.well-known/openid-configuration").await);
        gives("getAuthorizationServerMetadata", stack.get("/.well-known/oauth-authorization-server").await);
    }
    for (id, path) in [
        ("oauthToken", oauth2::TOKEN),
        ("oauthRevoke", REVOKE),
        ("oauthIntrospect", INTROSPECT),
        ("postUserinfo", USERINFO),
    ] {
        gives(id, without.post_form(path, &[("token", "x")]).await);
    }
    gives("getUserinfo", without.get(USERINFO).await);
}

fn json_body(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

/// A place for a value in a request.
#[derive(Clone, Copy, Debug)]
enum Place {
    Body(&'static str),
    /// The only entry of this list.
    Entry(&'static str),
    Parameter(&'static str),
}

/// An operation, a place, the bounds if only the document's pattern has them, and a function that makes a value of a size.
type Bound<'a> = (&'a str, Place, Option<(usize, usize)>, &'a dyn Fn(usize) -> Value);

/// A value at a bound of the document is accepted, and one beyond it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn its_bounds_are_those_of_the_code() {
    let (stack, key) = demo().await;
    let text = |length: usize| json!("x".repeat(length));
    let distinct =
        |separator: &str, length: usize| (0..length).map(|n| format!("s{n}")).collect::<Vec<_>>().join(separator);
    let tag = |length: usize| json!(["en", &"-abcdefgh".repeat(length / 9 + 1)].concat()[..length]);
    let bounds: [Bound<'_>; 16] = [
        ("createToken", Place::Body("registrationId"), None, &text),
        ("createToken", Place::Body("email"), None, &|length| {
            let domain = "@".to_owned() + &"a.".repeat(100) + "example";
            json!("x".repeat(length - domain.len()) + &domain)
        }),
        ("createToken", Place::Parameter("Idempotency-Key"), None, &text),
        ("createAppToken", Place::Parameter("Idempotency-Key"), None, &text),
        ("createAppToken", Place::Parameter("organizationId"), None, &text),
        ("createAppToken", Place::Parameter("applicationId"), None, &text),
        ("createAppToken", Place::Body("description"), None, &|length| json!("😀".repeat(length))),
        ("createAppToken", Place::Body("scopes"), None, &|length| {
            (0..length).map(|n| json!(format!("s{n}"))).collect()
        }),
        ("createAppToken", Place::Entry("scopes"), None, &text),
        ("exchangeToken", Place::Body("service"), Some((1, usize::MAX)), &text),
        ("exchangeToken", Place::Body("redirect_uri"), Some((1, usize::MAX)), &text),
        ("exchangeToken", Place::Body("language"), None, &tag),
        ("exchangeToken", Place::Body("auth_time"), Some((0, 12)), &|length| json!("1".repeat(length))),
        ("exchangeToken", Place::Body("code_verifier"), Some((43, 128)), &text),
        ("exchangeToken", Place::Body("scope"), Some((0, 50)), &|length| json!(distinct(" ", length))),
        ("exchangeToken", Place::Body("client_id"), Some((36, 36)), &|length| json!(CLIENT.repeat(2)[..length])),
    ];
    for (id, place, in_pattern, make) in bounds {
        let operation = api().operation(id);
        let (schema, whole) = schema_of(&operation, place);
        let number = |keyword: &str| schema[keyword].as_u64().map(|number| usize::try_from(number).unwrap());
        let max = number("maxLength").or(number("maxItems")).or(in_pattern.map(|(_, max)| max)).unwrap();
        let min = number("minLength").or(in_pattern.map(|(min, _)| min)).unwrap_or(0);
        let validator = api().validator(&whole);
        let lower = [(min.wrapping_sub(1), false), (min, true)].into_iter().filter(|_| min > 0);
        let upper = [(max, true), (max.wrapping_add(1), false)].into_iter().filter(|_| max < usize::MAX);
        for (size, fits) in lower.chain(upper) {
            let value = make(size);
            assert_eq!(validator.is_valid(&value), fits, "{id} {place:?} {size}: the document");
            let answer = send(&stack, &key, id, place, &value).await;
            let refused = answer.status == 400 && !answer.text.contains(BAD_CREDENTIAL);
            assert_eq!(!refused, fits, "{id} {place:?} {size}: {answer:?}");
        }
    }
}

/// The schema with the numbers, and the one to check a value with.
fn schema_of(operation: &Value, place: Place) -> (Value, Value) {
    let body = api().resolve(&operation["requestBody"]["content"]["application/json"]["schema"]).clone();
    let schema = match place {
        Place::Body(field) => body["properties"][field].clone(),
        Place::Entry(field) => body["properties"][field]["items"].clone(),
        Place::Parameter(name) => {
            let parameters = operation["parameters"].as_array().unwrap();
            parameters.iter().find(|parameter| parameter["name"] == name).unwrap()["schema"].clone()
        }
    };
    (api().resolve(&schema).clone(), schema)
}

/// The demo's request of an operation with this value in it.
async fn send(stack: &TestStack, key: &str, id: &str, place: Place, value: &Value) -> Answer {
    let operation = api().operation(id);
    let examples = &operation["requestBody"]["content"]["application/json"]["examples"];
    let mut body = examples.as_object().unwrap().values().next().unwrap()["value"].clone();
    if id == "exchangeToken" {
        body["code"] = "unknown".into();
    }
    let mut path = api().operations().into_iter().find(|(_, other)| *other == operation).unwrap().0;
    path = path.split_once(' ').unwrap().1.replace("{organizationId}", "demo");
    match place {
        Place::Body(field) => body[field] = value.clone(),
        Place::Entry(field) => body[field] = json!([value]),
        Place::Parameter("organizationId") => path = path.replace("/demo/", &format!("/{}/", value.as_str().unwrap())),
        Place::Parameter("applicationId") => path = path.replace("{applicationId}", value.as_str().unwrap()),
        Place::Parameter(_) => {}
    }
    let mut request = stack.http.post(stack.url(&path.replace("{applicationId}", "demo-app")));
    if let Place::Parameter(name @ "Idempotency-Key") = place {
        request = request.header(name, value.as_str().unwrap());
    }
    if operation["security"] != json!([]) {
        request = request.bearer_auth(key);
    }
    stack.send(json_body(request, &body)).await
}
