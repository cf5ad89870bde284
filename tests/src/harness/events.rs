//! The sample events, which work on the demo of the local stack.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::TestStack;

/// All of them, in the order of their names: some end what others use.
pub(crate) fn events() -> Vec<(String, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<_> = files.collect();
    files
        .into_iter()
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

impl TestStack {
    /// The body of the answer to a sample event.
    pub(crate) async fn invoke_sample(&self, name: &str) -> Value {
        let answer = self.local.invoke(name.split('.').next().unwrap(), &event(name)).await.unwrap();
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }
}

/// The event of API Gateway for a request with this bearer.
pub(crate) fn authorizer_event(bearer: &str) -> Value {
    authorizer_event_of(&format!("Bearer {bearer}"))
}

pub(crate) fn authorizer_event_of(header: &str) -> Value {
    let mut event = event("authorize.success-api-key");
    event["headers"]["authorization"] = header.into();
    event["identitySource"] = json!([header]);
    event
}
