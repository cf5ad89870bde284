//! The functions' binaries as Lambda runs them: real cold starts, the environment's variables, events from the
//! Runtime API.

use std::{
    fs, panic,
    process::{Command, Output},
};

use serde_json::{Value, json};
use shared::{
    runtime::function::Function,
    runtime::{Environment, Handled, SettingsError},
};

use crate::harness::{Deployment, Lambda, TestStack, command, event, events, own_variables};

#[tokio::test(flavor = "multi_thread")]
async fn every_binary_answers_its_events_as_the_local_stack_does() {
    let (stack, twin) = (TestStack::start().await, TestStack::start().await);
    for stack in [&stack, &twin] {
        stack.clock.meet_the_systems();
        stack.local.provision_demo().await.unwrap();
    }
    for events in events().chunk_by(|(one, _), (two, _)| one.split('.').next() == two.split('.').next()) {
        let function = events[0].0.split('.').next().unwrap();
        let lambda = Lambda::start(&stack, function).await;
        for (name, event) in events {
            let answer = lambda.invoke(event.clone()).await;
            let expected = twin.local.invoke(function, event).await;
            match (&answer, &expected) {
                (Ok(answer), Ok(expected)) => {
                    assert_eq!(answer["statusCode"], expected["statusCode"], "{name}");
                    assert_eq!(answer["isAuthorized"], expected["isAuthorized"], "{name}");
                }
                (Err(error), Err(expected)) => {
                    assert_eq!(error["errorType"], expected["errorType"], "{name}");
                    assert_eq!(error["errorMessage"], expected["errorMessage"], "{name}");
                }
                _ => panic!("{name}: {answer:?} is not as {expected:?}"),
            }
        }
    }
}

/// After the signing key is replaced, the old one is still published and its tokens are still accepted.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_the_replacement_of_their_key() {
    let stack = TestStack::start().await;
    stack.local.provision_demo().await.unwrap();
    let key = stack.kms("CreateKey", &json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})).await;
    let new_key = key["KeyMetadata"]["Arn"].as_str().unwrap();
    let old_key = &stack.local.environment().variables["SIGNING_KEY_ID"];
    let with_new_key = async |function: &str| {
        let mut command = command(&stack, function);
        command.env("SIGNING_KEY_ID", new_key).env("PREVIOUS_SIGNING_KEY_IDS", old_key);
        Lambda::start_with(command).await
    };
    let body = |answer: &Value| serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap();

    let set = with_new_key("publish-keys").await.invoke(event("publish-keys.success")).await.unwrap();
    let kids: Vec<_> = body(&set)["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(kids, [key["KeyMetadata"]["KeyId"].clone(), old_key.clone().into()]);

    let create = event("create-token.success");
    let with_old_key = Lambda::start(&stack, "create-token").await;
    let old_token = body(&with_old_key.invoke(create.clone()).await.unwrap())["token"]["accessToken"].clone();
    let mut as_old_token = create.clone();
    as_old_token["headers"]["authorization"] = format!("Bearer {}", old_token.as_str().unwrap()).into();
    let with_new_key = with_new_key("create-token").await;
    let new_token = with_new_key.invoke(as_old_token).await.unwrap();
    assert_eq!(new_token["statusCode"], 201);

    // A function that does not know the new key refuses its tokens.
    let mut as_new_token = create;
    let new_token = body(&new_token)["token"]["accessToken"].clone();
    as_new_token["headers"]["authorization"] = format!("Bearer {}", new_token.as_str().unwrap()).into();
    assert_eq!(with_new_key.invoke(as_new_token.clone()).await.unwrap()["statusCode"], 201);
    assert_eq!(with_old_key.invoke(as_new_token).await.unwrap()["statusCode"], 401);
}

/// Variables that have a default.
const OPTIONAL: [&str; 17] = [
    "APPLICATION_IDS",
    "AUDIENCE",
    "AUDIENCES",
    "AUTHORIZATION_ENDPOINT",
    "AUTHORIZATION_RESPONSE_ISS",
    "CLIENT_IDS",
    "CREDENTIAL_KINDS",
    "END_SESSION_ENDPOINT",
    "KEY_PUBLICATION_SECONDS",
    "MAX_TOKEN_TTL_SECONDS",
    "OIDC_ISSUER",
    "ORGANIZATION_ID",
    "PREVIOUS_SIGNING_KEY_IDS",
    "REQUIRED_SCOPES",
    "SCOPES_SUPPORTED",
    "SIGNING_MODE",
    "WRAPPING_KEY_ID",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_function_refuses_to_start_and_says_which_variable() {
    let stack = TestStack::start().await;
    for (function, properties) in Deployment::new(&[]).functions() {
        let required = own_variables(&properties).into_iter().filter(|variable| !OPTIONAL.contains(&&**variable));
        for variable in required.collect::<Vec<_>>() {
            for (value, rule) in [(None, "is not set"), (Some("not valid"), "must be")] {
                let mut command = command(&stack, &function);
                match value {
                    None => command.env_remove(&variable),
                    Some(value) => command.env(&variable, value),
                };
                let Output { status, stdout, .. } = command.output().unwrap();
                assert_eq!(status.code(), Some(1), "{function} {variable}");
                let line: Value = serde_json::from_slice(&stdout).unwrap();
                let error = line["error"].as_str().unwrap();
                assert!(error.starts_with(&format!("environment variable {variable} {rule}")), "{error}");
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------ the log

/// Invokes the function that `command` runs with each event, and returns what it logged.
async fn logged(command: Command, events: &[Value]) -> Vec<Value> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let lambda = Lambda::start_logging_to(command, log.reopen().unwrap()).await;
    for event in events {
        lambda.invoke(event.clone()).await.unwrap_err();
    }
    let text = fs::read_to_string(log.path()).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_an_invoked_function_is_one_line() {
    let stack = TestStack::start().await;
    for (function, refused, outcomes) in [
        ("issue-code", vec![json!({}), event("issue-code.refusal-not-registered")], ["invalid request"; 2]),
        (
            "provision",
            vec![
                json!({"action": "x"}),
                json!({"action": "createApplication", "organizationId": "0".repeat(24), "slug": "app"}),
            ],
            ["invalid request", "not found"],
        ),
    ] {
        let lines = logged(command(&stack, function), &refused).await;
        let logged = lines.iter().map(|line| json!([line["level"], line["outcome"]]));
        assert_eq!(logged.collect::<Vec<_>>(), outcomes.map(|outcome| json!(["INFO", outcome])), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_an_invoked_function_is_its_causes_and_one_line() {
    let stack = TestStack::start().await;
    let mut command = command(&stack, "issue-code");
    command.env("TABLE_NAME", "missing");
    let lines = logged(command, &[event("issue-code.success")]).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0]["error"].as_str().unwrap().starts_with("could not "), "{lines:?}");
    assert_eq!(lines[1]["outcome"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_logged() {
    let stack = TestStack::start().await;
    let mut panicking = Command::new(std::env::current_exe().unwrap());
    panicking.args(["--exact", "functions::a_function_that_panics", "--ignored", "--nocapture"]);
    panicking.envs(command(&stack, "panicking").get_envs().filter_map(|(name, value)| Some((name, value?))));
    let lines = logged(panicking, &[json!({})]).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&json!("ERROR"), &json!("user handler panicked")));
}

/// The process of [`a_panic_is_logged`], since no real function panics.
#[tokio::test]
#[ignore = "serves until it is killed"]
async fn a_function_that_panics() {
    struct Panicking;

    impl Function for Panicking {
        const NAME: &'static str = "panicking";
        type Answer = Value;

        fn load(_: &Environment) -> Result<Self, SettingsError> {
            Ok(Self)
        }

        async fn warm(&self) {}

        async fn handle(&self, _: &str) -> Handled<Value> {
            panic!("as the test wants it")
        }
    }

    // Without a backtrace in the output of every test run.
    panic::set_hook(Box::new(|_| {}));
    shared::runtime::function::run::<Panicking>().await;
}
