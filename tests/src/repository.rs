//! What the repository's files promise, held to the code.

use std::{collections::BTreeSet, fs, path::Path};

use local::Template;
use serde_json::{Value, json};

use crate::harness::{World, command};

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

/// A function of the template by the name of its binary, with its properties.
fn deployed() -> Vec<(String, Value)> {
    let document = Template::read().unwrap().document;
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

/// The variables that our own settings read.
fn own_variables(properties: &Value) -> BTreeSet<String> {
    let names = properties["Environment"]["Variables"].as_object().unwrap().keys();
    names.filter(|name| !name.starts_with("AWS_") && *name != "SSL_CERT_FILE").cloned().collect()
}

/// A function that reads a variable refuses to start with a malformed one, and one that does not read it does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn each_function_has_the_variables_that_it_reads_and_no_other() {
    let world = World::start().await;
    let known: BTreeSet<String> = deployed().iter().flat_map(|(_, properties)| own_variables(properties)).collect();
    for (function, properties) in deployed() {
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
    let world = World::start().await;
    world.stack.provision_demo().await.unwrap();
    for (function, properties) in deployed() {
        let mut allowed = BTreeSet::new();
        for statement in properties["Policies"][0]["Statement"].as_array().unwrap() {
            // `!If [HasPreviousSigningKeys, statement, nothing]` is a list.
            let statement = statement.get(1).unwrap_or(statement);
            assert_eq!(statement["Effect"], "Allow");
            let action = statement["Action"].as_str().unwrap();
            assert!(!action.contains('*') && statement["Resource"] != "*", "{function}: {statement}");
            if action.starts_with("dynamodb:") {
                let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
                assert!(
                    keys.as_array().is_some_and(|keys| !keys.is_empty() && !keys.contains(&json!("*"))),
                    "{function}"
                );
            }
            allowed.insert(action.split(':').nth(1).unwrap().to_owned());
        }
        world.calls.reset();
        for (_, event) in events().into_iter().filter(|(name, _)| name.split('.').next() == Some(&function)) {
            let _ = world.stack.invoke(&function, &event).await;
        }
        let mut done: BTreeSet<String> = world.calls.count().into_keys().collect();
        if own_variables(&properties).contains("SIGNING_KEY_ID") {
            // At a cold start, to open the connection and to know the key.
            done.insert("GetPublicKey".to_owned());
        }
        assert_eq!(allowed, done, "{function}");
    }
}

#[test]
fn what_must_outlive_a_stack_does() {
    let resources = Template::read().unwrap().document["Resources"].clone();
    for name in ["Table", "SigningKey", "MacKey"] {
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
