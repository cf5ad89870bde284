//! Compares `openapi.yaml` with the code. In addition, [`TestStack::send`] checks every answer in the test suite
//! against it.

mod bounds;
mod statuses;

use std::collections::BTreeSet;

use local::Template;
use reqwest::Method;
use serde_json::Value;

use crate::harness::{Api, TestStack, api, encoded, oauth2, with_bearer};

#[test]
fn its_routes_are_those_of_the_template() {
    let routes = Template::read().unwrap().routes;
    assert!(routes.iter().all(|route| route.answers_head == (route.method == Method::GET)));
    let routes = routes.into_iter().map(|route| format!("{} {}", route.method, route.path));
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
    let (stack, key) = TestStack::with_demo().await;
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
        let request = || with_bearer(stack.http.request(method.parse().unwrap(), stack.url(&path)), &bearer);
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
