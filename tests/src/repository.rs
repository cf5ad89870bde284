//! What the repository's files promise, held to the code.

use std::{collections::BTreeSet, fs, path::Path};

use local::Template;
use serde_json::{Value, json};
use shared::{settings::SigningMode, store::Organization};

use crate::harness::{Gate, World, command};

pub(crate) fn events() -> Vec<(String, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|file| !file.ends_with("env.json"))
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap())
        })
        .collect()
}

pub(crate) fn event(name: &str) -> Value {
    events().into_iter().find(|(event, _)| event == name).unwrap().1
}

/// An event file is `<function>.<case>.json`, and its case begins with `success` or `refusal`. They work as they are
/// on the demo's data.
#[tokio::test(flavor = "multi_thread")]
async fn every_function_has_events_of_both_kinds_and_they_answer_so() {
    let world = World::start().await;
    let mut seen = BTreeSet::new();
    world.stack.provision_demo().await.unwrap();
    for (name, event) in events() {
        let (function, case) = name.split_once('.').unwrap();
        let answer = world.stack.invoke(function, &event).await;
        let success = case.starts_with("success");
        match answer {
            Ok(answer) if answer.get("statusCode").is_some() => {
                let status = answer["statusCode"].as_u64().unwrap();
                assert_eq!(success, status < 300, "{name}: {answer}");
                assert!(success || (400..500).contains(&status), "{name}: {answer}");
            }
            Ok(_) => assert!(success, "{name}"),
            Err(error) => assert!(!success && error["errorType"] != "InternalError", "{name}: {error}"),
        }
        seen.insert((function.to_owned(), success));
    }
    for function in ["create-app-token", "create-token", "exchange-token", "issue-code", "provision", "publish-keys"] {
        for success in [true, false] {
            assert!(seen.contains(&(function.to_owned(), success)), "{function} has no event with success: {success}");
        }
    }
}

/// A function of the template by the name of its binary, with its properties where tokens are signed so.
fn deployed(mode: SigningMode) -> Vec<(String, Value)> {
    let document = resolved(&Template::read().unwrap().document, mode).unwrap();
    let resources = document["Resources"].as_object().unwrap().values();
    let functions = resources.filter(|resource| resource["Type"] == "AWS::Serverless::Function");
    let named = functions.map(|function| {
        let name = function["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap().to_owned();
        let mut properties = function["Properties"].clone();
        let shared = document["Globals"]["Function"]["Environment"]["Variables"].as_object().unwrap().clone();
        match properties["Environment"]["Variables"].as_object_mut() {
            Some(variables) => variables.extend(shared),
            None => properties["Environment"] = json!({"Variables": shared}),
        }
        (name, properties)
    });
    named.collect()
}

/// The template with its conditions decided; tags are not read, so that `!If [condition, one, other]` is a list.
fn resolved(value: &Value, mode: SigningMode) -> Option<Value> {
    let holds = |condition: &str| match condition {
        "HasAlarmTopic" | "HasPreviousSigningKeys" => Some(true),
        "HasWrappingKey" => Some(mode != SigningMode::Kms),
        "SignsInFunctions" => Some(mode == SigningMode::Envelope),
        _ => None,
    };
    match value {
        Value::String(text) if text == "AWS::NoValue" => None,
        Value::Array(entries) => match (entries.as_slice(), entries.first().and_then(Value::as_str).and_then(holds)) {
            ([_, one, other], Some(holds)) => resolved(if holds { one } else { other }, mode),
            _ => Some(entries.iter().filter_map(|entry| resolved(entry, mode)).collect()),
        },
        Value::Object(fields) => {
            let fields = fields.iter().filter_map(|(name, value)| Some((name.clone(), resolved(value, mode)?)));
            Some(Value::Object(fields.collect()))
        }
        other => Some(other.clone()),
    }
}

/// The variables that our own settings read.
fn own_variables(properties: &Value) -> BTreeSet<String> {
    let names = properties["Environment"]["Variables"].as_object().unwrap().keys();
    names.filter(|name| !name.starts_with("AWS_") && *name != "SSL_CERT_FILE").cloned().collect()
}

/// A function that reads a variable refuses to start with a malformed one, and one that does not read it does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn each_function_has_the_variables_that_it_reads_and_no_other() {
    let world = World::start().await;
    let deployed = deployed(SigningMode::Kms);
    let known: BTreeSet<String> = deployed.iter().flat_map(|(_, properties)| own_variables(properties)).collect();
    for (function, properties) in deployed {
        let set = own_variables(&properties);
        for variable in &known {
            let mut command = command(&world, &function);
            // Where it starts, it asks a Runtime API that is not there for its first event, and ends by that.
            let output = command.env(variable, "not valid").output().unwrap();
            let refused = String::from_utf8(output.stdout).unwrap().contains("refusing to start");
            assert_eq!(refused, set.contains(variable), "{function} {variable}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_function_may_do_what_it_does_and_nothing_else() {
    for mode in [SigningMode::Kms, SigningMode::Transition, SigningMode::Envelope] {
        let world = World::start_with(|options| options.signing_mode = mode).await;
        world.stack.provision_demo().await.unwrap();
        let demo = "demo".parse().unwrap();
        for (function, properties) in deployed(mode) {
            let mut allowed = BTreeSet::new();
            for statement in properties["Policies"][0]["Statement"].as_array().unwrap() {
                assert_eq!(statement["Effect"], "Allow");
                let action = statement["Action"].as_str().unwrap();
                assert!(!action.contains('*') && statement["Resource"] != "*", "{function}: {statement}");
                if action.starts_with("dynamodb:") {
                    let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
                    let keys = keys.as_array().unwrap();
                    assert!(!keys.is_empty() && !keys.contains(&json!("*")), "{function}");
                    allowed.extend(keys.iter().map(|key| format!("{action} {}", key.as_str().unwrap())));
                } else {
                    allowed.insert(action.to_owned());
                }
            }
            let process = Gate::start(&world, &function).await;
            let named = |name: &str| name.split('.').next() == Some(&function);
            let mut events: Vec<Value> =
                events().into_iter().filter(|(name, _)| named(name)).map(|(_, event)| event).collect();
            if function == "create-app-token" {
                // An OAuth access token is a bearer too.
                let token = world.stack.invoke("create-token", &event("create-token.success")).await.unwrap();
                let token: Value = serde_json::from_str(token["body"].as_str().unwrap()).unwrap();
                let token = token["token"]["accessToken"].as_str().unwrap();
                let mut with_token = event("create-app-token.success");
                with_token["headers"]["authorization"] = format!("Bearer {token}").into();
                events.push(with_token);
            }
            if function == "provision" {
                events.push(json!({"action": "createApiKey", "organizationId": Organization::id(&demo)}));
                events.push(json!({"action": "rotateSigningKey"}));
            }
            for event in events {
                let _ = process.lambda.invoke(event).await;
            }
            let done = process.rights();
            assert_eq!(done, allowed, "{function} with {mode:?}");
        }
    }
}

#[test]
fn what_must_outlive_a_stack_does() {
    let resources = Template::read().unwrap().document["Resources"].clone();
    for name in ["Table", "SigningKey", "MacKey", "WrappingKey"] {
        for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
            assert_eq!(resources[name][policy], "Retain", "{name}");
        }
    }
}

/// Without it every new process spends 24 ms of CPU on entropy from CPU jitter, 150 ms on a small Lambda.
#[test]
fn the_build_leaves_cpu_jitter_out() {
    assert_eq!(option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"), Some("1"), "see .cargo/config.toml");
}
