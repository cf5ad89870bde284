//! What `template.yaml` says of the service: its routes, its CORS answer and its table. The local stack is built from
//! the definition that is deployed, so neither can drift from the other.

use axum::http::Method;
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;

const TEMPLATE: &str = include_str!("../../template.yaml");

/// The parts of the template that the local stack follows.
#[derive(Debug)]
pub struct Template {
    /// The whole of it, in JSON, without the tags of intrinsic functions.
    pub document: Value,
    /// The API's routes.
    pub routes: Vec<Route>,
    /// `CorsConfiguration` of the API, in JSON.
    pub cors: Value,
    /// `Properties` of the table, in JSON.
    pub table: Value,
}

/// A route of the API and the function behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: String,
    /// The name of the binary.
    pub function: String,
}

impl Template {
    /// Reads the template that this crate was built with.
    ///
    /// # Errors
    /// Which part of it is not as expected.
    pub fn read() -> Result<Self, String> {
        let documents = Yaml::load_from_str(TEMPLATE).map_err(|error| format!("template.yaml: {error}"))?;
        let template = json(documents.first().ok_or("template.yaml is empty")?);
        let resources = template["Resources"].as_object().ok_or("template.yaml has no resources")?;
        let mut routes = Vec::new();
        for (name, function) in resources {
            let Some(function_name) = function["Metadata"]["BuildProperties"]["Binary"].as_str() else { continue };
            for event in function["Properties"]["Events"].as_object().into_iter().flat_map(|events| events.values()) {
                let property =
                    |key| event["Properties"][key].as_str().ok_or(format!("template.yaml: {name}: no {key}"));
                routes.push(Route {
                    method: property("Method")?
                        .parse()
                        .map_err(|_| format!("template.yaml: {name}: no HTTP method"))?,
                    path: property("Path")?.to_owned(),
                    function: function_name.to_owned(),
                });
            }
        }
        Ok(Self {
            routes,
            cors: template["Resources"]["HttpApi"]["Properties"]["CorsConfiguration"].clone(),
            table: template["Resources"]["Table"]["Properties"].clone(),
            document: template,
        })
    }
}

/// YAML as JSON, without the tags of intrinsic functions.
fn json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Tagged(_, inner) => json(inner),
        Yaml::Sequence(entries) => entries.iter().map(json).collect(),
        Yaml::Mapping(entries) => {
            entries.iter().map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), json(value))).collect()
        }
        scalar => match (scalar.as_bool(), scalar.as_integer(), scalar.as_str()) {
            (Some(truth), _, _) => truth.into(),
            (_, Some(number), _) => number.into(),
            (_, _, Some(text)) => text.into(),
            _ => Value::Null,
        },
    }
}
