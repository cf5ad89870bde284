//! `openapi.yaml`, and whether it describes an answer.

use std::{collections::BTreeMap, sync::OnceLock};

use jsonschema::{Draft, Validator};
use local::{Route, Template};
use reqwest::Method;
use serde_json::{Value, json};

use super::Answer;

const DOCUMENT: &str = include_str!("../../../openapi.yaml");

pub(crate) struct Api {
    pub(crate) document: Value,
    routes: Vec<Route>,
    responses: BTreeMap<(String, u16), Response>,
}

struct Response {
    body: Validator,
    /// By name: whether it is required, and the schema of its value.
    headers: BTreeMap<String, (bool, Validator)>,
}

/// The description, read once.
pub(crate) fn api() -> &'static Api {
    static API: OnceLock<Api> = OnceLock::new();
    API.get_or_init(|| {
        let document = local::yaml(DOCUMENT).unwrap();
        let mut api = Api { document, routes: Template::read().unwrap().routes, responses: BTreeMap::new() };
        for (route, operation) in api.operations() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = api.resolve(response);
                let headers = response["headers"].as_object().unwrap().iter().map(|(name, header)| {
                    let header = api.resolve(header);
                    (name.to_lowercase(), (header["required"] == true, api.validator(&header["schema"])))
                });
                let body = api.validator(&response["content"]["application/json"]["schema"]);
                let response = Response { body, headers: headers.collect() };
                api.responses.insert((route.clone(), status.parse().unwrap()), response);
            }
        }
        api
    })
}

/// The text of an example: JSON, or a form of the strings in it.
pub(crate) fn encoded(media_type: &str, example: &Value) -> String {
    if media_type == "application/json" {
        return example.to_string();
    }
    let fields = example.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap()));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

impl Api {
    /// Its operations by route, such as `POST /api/v1/tokens`.
    pub(crate) fn operations(&self) -> Vec<(String, Value)> {
        let mut operations = vec![];
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
                let mut operation = operation.clone();
                let parameters =
                    [&item["parameters"], &operation["parameters"]].into_iter().filter_map(Value::as_array);
                let parameters = parameters.flatten().map(|parameter| self.resolve(parameter).clone());
                operation["parameters"] = parameters.collect();
                operations.push((format!("{} {path}", method.to_uppercase()), operation));
            }
        }
        operations
    }
    pub(crate) fn operation(&self, id: &str) -> Value {
        self.operations().into_iter().find(|(_, operation)| operation["operationId"] == id).unwrap().1
    }

    /// The content of the body of an operation: its media type, schema and examples. `None` if it has no body.
    pub(crate) fn body_of(operation: &Value) -> Option<(&str, &Value)> {
        let content = operation["requestBody"]["content"].as_object()?;
        content.iter().next().map(|(media_type, content)| (media_type.as_str(), content))
    }

    /// The target of a `$ref`, or the node itself.
    pub(crate) fn resolve<'a>(&'a self, node: &'a Value) -> &'a Value {
        match node["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
            None => node,
        }
    }

    /// A validator for a schema of the document.
    pub(crate) fn validator(&self, schema: &Value) -> Validator {
        assert!(schema.is_object(), "{schema}");
        // References begin at the document's root.
        let schema = json!({"allOf": [schema], "components": self.document["components"]});
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        options.build(&schema).unwrap()
    }

    /// The route that a request takes.
    pub(crate) fn route(&self, method: &Method, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.parameters(method, path).is_some())
    }
    pub(crate) fn routes_of(&self, function: &str) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| route.function == function)
    }

    /// Checks that the document describes this answer of the route. The error says what is wrong.
    pub(crate) fn check(&self, route: &Route, answer: &Answer) -> Result<(), String> {
        let response = self.responses.get(&(format!("{} {}", route.method, route.path), answer.status));
        let response = response.ok_or("the status is not documented")?;
        if answer.header("content-type") != Some("application/json") {
            return Err("the content type is another".to_owned());
        }
        let body = serde_json::from_str(&answer.text).map_err(|error| error.to_string())?;
        response.body.validate(&body).map_err(|error| format!("body{}: {error}", error.instance_path()))?;
        for (name, (required, value)) in &response.headers {
            match answer.header(name) {
                None if *required => return Err(format!("{name} is missing")),
                Some(text) if !value.is_valid(&text.into()) => return Err(format!("{name} is another")),
                _ => {}
            }
        }
        // Headers that only some answers have must be documented.
        let rare = ["idempotency-replayed", "www-authenticate"].into_iter();
        match rare.filter(|name| !response.headers.contains_key(*name)).find(|name| answer.header(name).is_some()) {
            Some(name) => Err(format!("{name} is not documented")),
            None => Ok(()),
        }
    }
}
