//! The document's bounds are those of the code.

use serde_json::{Value, json};

use crate::harness::{Answer, TestStack, api, exchange_token::CLIENT};

/// The answer to a well-formed exchange with an unknown credential.
const BAD_CREDENTIAL: &str = "code or refresh_token is not valid for this request";

/// A place for a value in a request.
#[derive(Clone, Copy, Debug)]
enum Place {
    Body(&'static str),
    /// The only entry of this list.
    Entry(&'static str),
    Parameter(&'static str),
}

/// A value of an operation whose size is bounded.
struct Bounded {
    id: &'static str,
    place: Place,
    /// The bounds, if only the document's pattern has them.
    in_pattern: Option<(usize, usize)>,
    /// A value of this size.
    make: fn(usize) -> Value,
}

const BOUNDED: [Bounded; 16] = [
    Bounded { id: "createToken", place: Place::Body("registrationId"), in_pattern: None, make: letters },
    Bounded { id: "createToken", place: Place::Body("email"), in_pattern: None, make: email },
    Bounded { id: "createToken", place: Place::Parameter("Idempotency-Key"), in_pattern: None, make: letters },
    Bounded { id: "createAppToken", place: Place::Parameter("Idempotency-Key"), in_pattern: None, make: letters },
    Bounded { id: "createAppToken", place: Place::Parameter("organizationId"), in_pattern: None, make: letters },
    Bounded { id: "createAppToken", place: Place::Parameter("applicationId"), in_pattern: None, make: letters },
    Bounded { id: "createAppToken", place: Place::Body("description"), in_pattern: None, make: emoji },
    Bounded { id: "createAppToken", place: Place::Body("scopes"), in_pattern: None, make: |size| scopes(size).into() },
    Bounded { id: "createAppToken", place: Place::Entry("scopes"), in_pattern: None, make: letters },
    Bounded { id: "exchangeToken", place: Place::Body("service"), in_pattern: AT_LEAST_ONE, make: letters },
    Bounded { id: "exchangeToken", place: Place::Body("redirect_uri"), in_pattern: AT_LEAST_ONE, make: letters },
    Bounded { id: "exchangeToken", place: Place::Body("language"), in_pattern: None, make: language },
    Bounded { id: "exchangeToken", place: Place::Body("auth_time"), in_pattern: Some((0, 12)), make: digits },
    Bounded { id: "exchangeToken", place: Place::Body("code_verifier"), in_pattern: Some((43, 128)), make: letters },
    Bounded { id: "exchangeToken", place: Place::Body("scope"), in_pattern: Some((0, 50)), make: scope },
    Bounded { id: "exchangeToken", place: Place::Body("client_id"), in_pattern: Some((36, 36)), make: client_id },
];

const AT_LEAST_ONE: Option<(usize, usize)> = Some((1, usize::MAX));

fn letters(size: usize) -> Value {
    "x".repeat(size).into()
}

fn digits(size: usize) -> Value {
    "1".repeat(size).into()
}

fn emoji(size: usize) -> Value {
    "😀".repeat(size).into()
}

fn email(size: usize) -> Value {
    let domain = "@".to_owned() + &"a.".repeat(100) + "example";
    ("x".repeat(size - domain.len()) + &domain).into()
}

fn language(size: usize) -> Value {
    ["en", &"-abcdefgh".repeat(size / 9 + 1)].concat()[..size].into()
}

fn client_id(size: usize) -> Value {
    CLIENT.repeat(2)[..size].into()
}

fn scopes(size: usize) -> Vec<String> {
    (0..size).map(|n| format!("s{n}")).collect()
}

fn scope(size: usize) -> Value {
    scopes(size).join(" ").into()
}

/// A value at a bound of the document is accepted, and one beyond it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn its_bounds_are_those_of_the_code() {
    let (stack, key) = TestStack::with_demo().await;
    for Bounded { id, place, in_pattern, make } in BOUNDED {
        let operation = api().operation(id);
        let (schema, whole) = schema_of(&operation, place);
        let bound = |keyword: &str| schema[keyword].as_u64().map(|bound| usize::try_from(bound).unwrap());
        let max = bound("maxLength").or(bound("maxItems")).or(in_pattern.map(|(_, max)| max)).unwrap();
        let min = bound("minLength").or(in_pattern.map(|(min, _)| min)).unwrap_or(0);
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
    let mut request = stack.json(&path.replace("{applicationId}", "demo-app"), &body);
    if let Place::Parameter(name @ "Idempotency-Key") = place {
        request = request.header(name, value.as_str().unwrap());
    }
    if operation["security"] != json!([]) {
        request = request.bearer_auth(key);
    }
    stack.send(request).await
}
