//! The template as it is deployed: with parameters, conditions and intrinsic functions evaluated.

use std::collections::{BTreeMap, BTreeSet};

use local::Template;
use serde_json::{Map, Value, json};
use shared::keys::SigningMode;

/// A stack of the template.
pub(crate) struct Deployment {
    template: Value,
    parameters: BTreeMap<String, String>,
    /// Ids or ARNs of resources, by their names in the template.
    ids: BTreeMap<String, String>,
}

impl Deployment {
    /// A stack with these parameters, and the defaults of the others.
    pub(crate) fn new(parameters: &[(&str, &str)]) -> Self {
        let mut template = Template::read().unwrap().document;
        let defaults = template["Parameters"].as_object().unwrap().iter().filter_map(|(name, parameter)| {
            let default = &parameter["Default"];
            Some((name.clone(), default.as_str().map(str::to_owned).or_else(|| Some(default.as_i64()?.to_string()))?))
        });
        let mut all: BTreeMap<String, String> = defaults.collect();
        all.insert("Issuer".to_owned(), super::ISSUER.to_owned());
        all.extend(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        expand(template["Resources"].as_object_mut().unwrap(), &all);
        Self { template, parameters: all, ids: BTreeMap::new() }
    }

    /// Sets the id or ARN of a resource. Without one, it is the resource's name in the template.
    pub(crate) fn with_id(mut self, resource: &str, id: &str) -> Self {
        self.ids.insert(resource.to_owned(), id.to_owned());
        self
    }

    /// The resources that exist.
    pub(crate) fn resources(&self) -> BTreeMap<String, Value> {
        let existing = self.template["Resources"].as_object().unwrap().iter().filter(|(name, _)| self.exists(name));
        existing.map(|(name, resource)| (name.clone(), self.evaluated(resource).unwrap())).collect()
    }

    /// The values of the outputs that exist.
    pub(crate) fn outputs(&self) -> BTreeMap<String, Value> {
        let outputs = self.template["Outputs"].as_object().unwrap().iter();
        let existing = outputs.filter(|(_, output)| self.has(output));
        existing.map(|(name, output)| (name.clone(), self.evaluated(&output["Value"]).unwrap())).collect()
    }

    /// The properties of the functions, including the global ones, by the names of their binaries. The template's
    /// managed policies are replaced by their documents.
    pub(crate) fn functions(&self) -> BTreeMap<String, Value> {
        let of_all = self.evaluated(&self.template["Globals"]["Function"]).unwrap();
        let resources = self.resources();
        let functions = resources.values().filter(|resource| resource["Type"] == "AWS::Serverless::Function");
        let named = functions.map(|function| {
            let name = function["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap().to_owned();
            let mut properties = of_all.clone();
            merge(&mut properties, &function["Properties"]);
            for policy in properties["Policies"].as_array_mut().unwrap() {
                if let Some(managed) = policy.as_str() {
                    *policy = resources[managed]["Properties"]["PolicyDocument"].clone();
                }
            }
            (name, properties)
        });
        named.collect()
    }

    fn exists(&self, resource: &str) -> bool {
        let resource = &self.template["Resources"][resource];
        assert!(resource.is_object(), "there is no such resource");
        self.has(resource)
    }

    fn has(&self, entry: &Value) -> bool {
        entry.get("Condition").is_none_or(|name| self.holds(&json!({"Condition": name})))
    }

    fn holds(&self, condition: &Value) -> bool {
        let (function, argument) = function(condition).unwrap_or_else(|| panic!("no condition: {condition}"));
        let mut all = argument.as_array().into_iter().flatten();
        match function {
            "Condition" => self.holds(&self.template["Conditions"][argument.as_str().unwrap()]),
            "Fn::And" => all.all(|condition| self.holds(condition)),
            "Fn::Or" => all.any(|condition| self.holds(condition)),
            "Fn::Not" => !self.holds(&argument[0]),
            "Fn::Equals" => {
                // Parameters are strings, so they are compared as strings.
                let text = |value: &Value| self.evaluated(value).map(|value| value.to_string().replace('"', ""));
                text(&argument[0]) == text(&argument[1])
            }
            other => panic!("no condition: {other}"),
        }
    }

    /// A value, or `None` for `AWS::NoValue`.
    fn evaluated(&self, value: &Value) -> Option<Value> {
        let text = |value: &Value| self.evaluated(value).unwrap().as_str().unwrap().to_owned();
        match (function(value), value) {
            (Some(("Ref", name)), _) => self.reference(&text(name), None),
            (Some(("Fn::GetAtt", path)), _) => self.reference(path[0].as_str().unwrap(), path[1].as_str()),
            (Some(("Fn::If", choice)), _) => {
                let holds = self.holds(&json!({"Condition": choice[0]}));
                self.evaluated(&choice[if holds { 1 } else { 2 }])
            }
            (Some(("Fn::Join", join)), _) => {
                // A parameter that is a list is a text with commas.
                let parts = match &join[1] {
                    Value::Array(entries) => entries.iter().map(text).collect::<Vec<_>>(),
                    list => text(list).split(',').map(str::to_owned).collect(),
                };
                Some(parts.join(join[0].as_str().unwrap()).into())
            }
            (Some(("Fn::FindInMap", path)), _) => {
                let [map, key, name] = [0, 1, 2].map(|index| text(&path[index]));
                Some(self.template["Mappings"][map][key][name].clone())
            }
            (Some(("Fn::Split", split)), _) => {
                Some(text(&split[1]).split(split[0].as_str().unwrap()).map(Value::from).collect())
            }
            (Some(("Fn::Sub", pattern)), _) => Some(self.substituted(pattern.as_str().unwrap()).into()),
            (Some((other, _)), _) if other.starts_with("Fn::") => panic!("unknown intrinsic function: {other}"),
            (_, Value::Array(entries)) => Some(entries.iter().filter_map(|entry| self.evaluated(entry)).collect()),
            (_, Value::Object(fields)) => {
                let fields = fields.iter().filter_map(|(name, value)| Some((name.clone(), self.evaluated(value)?)));
                Some(Value::Object(fields.collect()))
            }
            (_, other) => Some(other.clone()),
        }
    }

    fn substituted(&self, pattern: &str) -> String {
        let mut parts = pattern.split("${");
        let mut text = parts.next().unwrap().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap();
            let (name, attribute) = name.split_once('.').map_or((name, None), |(name, rest)| (name, Some(rest)));
            text += self.reference(name, attribute).unwrap().as_str().unwrap();
            text += rest;
        }
        text
    }

    fn reference(&self, name: &str, attribute: Option<&str>) -> Option<Value> {
        if name == "AWS::NoValue" {
            return None;
        }
        if let Some(value) = self.parameters.get(name) {
            return Some(value.as_str().into());
        }
        assert!(name.starts_with("AWS::") || self.exists(name), "{name} does not exist with {:?}", self.parameters);
        let id = self.ids.get(name).map_or(name, String::as_str);
        Some(match attribute {
            None => id.rsplit('/').next().unwrap().into(),
            Some("Arn") if id.starts_with("arn:") => id.into(),
            Some(attribute) => format!("{id}.{attribute}").into(),
        })
    }
}

/// The statements of a function's policies.
pub(crate) fn statements(function: &Value) -> impl Iterator<Item = &Value> {
    let policies = function["Policies"].as_array().unwrap().iter();
    policies.flat_map(|policy| policy["Statement"].as_array().unwrap())
}

/// The variables that our own settings read.
pub(crate) fn own_variables(properties: &Value) -> BTreeSet<String> {
    let names = properties["Environment"]["Variables"].as_object().unwrap().keys();
    names.filter(|name| !name.starts_with("AWS_") && *name != "SSL_CERT_FILE").cloned().collect()
}

/// Expands each `Fn::ForEach`, over a list or over a parameter that is one.
fn expand(resources: &mut Map<String, Value>, parameters: &BTreeMap<String, String>) {
    let loops: Vec<String> = resources.keys().filter(|name| name.starts_with("Fn::ForEach::")).cloned().collect();
    for name in loops {
        let each = resources.remove(&name).unwrap();
        let identifier = each[0].as_str().unwrap();
        let (placeholder, reference) = (format!("${{{identifier}}}"), json!({"Ref": identifier}).to_string());
        let entries: Vec<&str> = match each[1]["Ref"].as_str() {
            Some(parameter) => parameters[parameter].split(',').collect(),
            None => each[1].as_array().unwrap().iter().map(|entry| entry.as_str().unwrap()).collect(),
        };
        for entry in entries {
            let body = each[2].to_string().replace(&placeholder, entry).replace(&reference, &json!(entry).to_string());
            let made: Map<String, Value> = serde_json::from_str(&body).unwrap();
            for (name, resource) in &made {
                let first = resource.as_object().unwrap().keys().next().unwrap();
                assert_eq!(
                    first, "Type",
                    "{name}: CloudFormation refuses a resource in a loop whose condition comes first"
                );
            }
            resources.extend(made);
        }
    }
}

/// The name and the argument of an intrinsic function.
fn function(value: &Value) -> Option<(&str, &Value)> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    let (name, argument) = fields.iter().next()?;
    (name.starts_with("Fn::") || ["Condition", "Ref"].contains(&name.as_str())).then_some((name.as_str(), argument))
}

/// Adds the fields of `more` to `base`, as SAM adds a function's settings to the global ones.
fn merge(base: &mut Value, more: &Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (name, value) in more {
                merge(base.entry(name.as_str()).or_insert(Value::Object(Map::new())), value);
            }
        }
        (base, more) => base.clone_from(more),
    }
}

pub(crate) const PREVIOUS_KEYS: [&str; 2] =
    ["arn:aws:kms:eu-west-1:111122223333:key/one", "arn:aws:kms:eu-west-1:111122223333:key/two"];

/// The properties of the functions, with all optional parts of the template.
pub(crate) fn deployed_functions(mode: SigningMode) -> BTreeMap<String, Value> {
    let previous = PREVIOUS_KEYS.join(",");
    let parameters =
        [("SigningMode", mode.as_str()), ("SigningKeys", "BA"), ("PreviousSigningKeyArns", previous.as_str())];
    Deployment::new(&parameters).functions()
}
