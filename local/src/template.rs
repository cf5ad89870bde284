//! Reads routes, CORS configuration and table from `template.yaml`, so that the local stack is what is deployed.

use axum::http::Method;
use percent_encoding::percent_decode_str;
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Map, Value, json};

const TEMPLATE: &str = include_str!("../../template.yaml");

/// The parts of the template that the local stack follows.
#[derive(Debug)]
pub struct Template {
    /// The whole template as JSON, with intrinsic functions in their long form.
    pub document: Value,
    pub routes: Vec<Route>,
    /// The API's `CorsConfiguration` as JSON, as it is if there are allowed origins.
    pub cors: Value,
    /// The table's `Properties` as JSON.
    pub table: Value,
}

/// A route of the API and the function behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    pub method: Method,
    /// Whether it is also a route for `HEAD`, as every one for `GET` must be.
    pub answers_head: bool,
    /// The path, with parameters in braces.
    pub path: String,
    /// The name of the binary.
    pub function: String,
}

impl Template {
    /// Reads the template that this crate was built with.
    ///
    /// # Errors
    /// The part of it that is not as expected.
    pub fn read() -> Result<Self, String> {
        let template = yaml(TEMPLATE).map_err(|error| format!("template.yaml: {error}"))?;
        let resources = template["Resources"].as_object().ok_or("template.yaml has no resources")?;
        let mut routes = Vec::new();
        for (name, function) in resources {
            let Some(function_name) = function["Metadata"]["BuildProperties"]["Binary"].as_str() else { continue };
            for event in function["Properties"]["Events"].as_object().into_iter().flat_map(|events| events.values()) {
                let property =
                    |key| event["Properties"][key].as_str().ok_or(format!("template.yaml: {name}: no {key}"));
                let method = property("Method")?.parse();
                routes.push(Route {
                    method: method.map_err(|_| format!("template.yaml: {name}: no HTTP method"))?,
                    answers_head: false,
                    path: property("Path")?.to_owned(),
                    function: function_name.to_owned(),
                });
            }
        }
        let (heads, mut routes): (Vec<_>, Vec<_>) = routes.into_iter().partition(|route| route.method == Method::HEAD);
        for route in routes.iter_mut().filter(|route| route.method == Method::GET) {
            let is_its_head = |head: &Route| head.path == route.path && head.function == route.function;
            route.answers_head = heads.iter().any(is_its_head);
        }
        Ok(Self {
            routes,
            cors: template["Resources"]["HttpApi"]["Properties"]["CorsConfiguration"]["Fn::If"][1].clone(),
            table: template["Resources"]["Table"]["Properties"].clone(),
            document: template,
        })
    }
}

impl Route {
    /// The decoded path parameters, if the request takes this route.
    #[must_use]
    pub fn parameters(&self, method: &Method, path: &str) -> Option<Map<String, Value>> {
        if self.method != *method && !(self.answers_head && *method == Method::HEAD) {
            return None;
        }
        let (mut template, mut path) = (self.path.split('/'), path.split('/'));
        let mut parameters = Map::new();
        loop {
            match (template.next(), path.next()) {
                (None, None) => return Some(parameters),
                (Some(expected), Some(segment)) => {
                    match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                        Some(name) if !segment.is_empty() => {
                            let value = percent_decode_str(segment).decode_utf8_lossy().into_owned();
                            parameters.insert(name.to_owned(), value.into());
                        }
                        None if segment == expected => {}
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
    }
}

/// Reads YAML as JSON. A tag becomes the long form of the intrinsic function, such as `{"Fn::If": […]}`.
///
/// # Errors
/// If it is not YAML, or empty.
pub fn yaml(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    documents.first().map(to_json).ok_or("it is empty".to_owned())
}

fn to_json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Tagged(tag, inner) => intrinsic_function(&tag.suffix, &to_json(inner)),
        Yaml::Sequence(entries) => entries.iter().map(to_json).collect(),
        Yaml::Mapping(entries) => {
            entries.iter().map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), to_json(value))).collect()
        }
        scalar => match (scalar.as_bool(), scalar.as_integer(), scalar.as_str()) {
            (Some(truth), _, _) => truth.into(),
            (_, Some(number), _) => number.into(),
            (_, _, Some(text)) => text.into(),
            _ => Value::Null,
        },
    }
}

fn intrinsic_function(name: &str, argument: &Value) -> Value {
    match (name, argument.as_str().and_then(|text| text.split_once('.'))) {
        ("Ref" | "Condition", _) => json!({name: argument}),
        ("GetAtt", Some((resource, attribute))) => json!({"Fn::GetAtt": [resource, attribute]}),
        _ => json!({format!("Fn::{name}"): argument}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_short_form_of_an_intrinsic_function() {
        let text = "[!Ref A, !If [B, !GetAtt C.D.E, !Sub 'f'], !Condition G, !GetAtt [H, I]]";
        let expected = json!([
            {"Ref": "A"},
            {"Fn::If": ["B", {"Fn::GetAtt": ["C", "D.E"]}, {"Fn::Sub": "f"}]},
            {"Condition": "G"},
            {"Fn::GetAtt": ["H", "I"]},
        ]);
        assert_eq!(yaml(text), Ok(expected));
    }

    #[test]
    fn paths_match_segment_by_segment() {
        let path = "/api/v1/apps/{clientId}/keys".to_owned();
        let route = Route { method: Method::GET, answers_head: true, path, function: String::new() };
        let matched = |path| route.parameters(&Method::GET, path).map(|found| found["clientId"].clone());
        assert_eq!(matched("/api/v1/apps/a%20b/keys"), Some("a b".into()));
        assert_eq!(route.parameters(&Method::POST, "/api/v1/apps/a/keys"), None);
        assert!(route.parameters(&Method::HEAD, "/api/v1/apps/a/keys").is_some());
        for other in [
            "/api/v1/apps//keys",
            "/api/v1/apps/a/b/keys",
            "/api/v1/apps/a/keys/",
            "/api/v1/apps/a",
            "/API/v1/apps/a/keys",
        ] {
            assert_eq!(matched(other), None, "{other}");
        }
    }
}
