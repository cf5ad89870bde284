//! What the repository's files promise, held to the code.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::harness::World;

pub(crate) fn events() -> Vec<(String, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files
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
