//! The functions' binaries as Lambda runs them: real cold starts, the environment's variables, events from the
//! Runtime API.

use std::process::Output;

use serde_json::Value;

use crate::{
    harness::{Lambda, World, command},
    repository::events,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_binary_answers_its_events_as_the_local_stack_does() {
    let (world, twin) = (World::start().await, World::start().await);
    for world in [&world, &twin] {
        // The processes' clock is the system's.
        world.clock.advance(shared::clock::Clock::now(&shared::clock::SystemClock).timestamp() - crate::harness::START);
        world.stack.provision_demo().await.unwrap();
    }
    let mut events = events();
    events.sort_by(|(one, _), (two, _)| one.cmp(two));
    for events in events.chunk_by(|(one, _), (two, _)| one.split('.').next() == two.split('.').next()) {
        let function = events[0].0.split('.').next().unwrap();
        let lambda = Lambda::start(&world, function).await;
        for (name, event) in events {
            let answer = lambda.invoke(event.clone()).await;
            let expected = twin.stack.invoke(function, event).await;
            match (&answer, &expected) {
                (Ok(answer), Ok(expected)) => assert_eq!(answer["statusCode"], expected["statusCode"], "{name}"),
                (Err(error), Err(expected)) => {
                    assert_eq!(error["errorType"], expected["errorType"], "{name}");
                    assert_eq!(error["errorMessage"], expected["errorMessage"], "{name}");
                }
                _ => panic!("{name}: {answer:?} is not as {expected:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_refuses_to_start_and_says_which_variable() {
    let world = World::start().await;
    for (function, variable) in [
        ("create-token", "TABLE_NAME"),
        ("create-token", "ISSUER"),
        ("create-token", "SIGNING_KEY_ID"),
        ("create-app-token", "MAC_KEY_ID"),
        ("exchange-token", "ISSUER"),
        ("issue-code", "TABLE_NAME"),
        ("provision", "TABLE_NAME"),
        ("publish-keys", "SIGNING_KEY_ID"),
    ] {
        for (value, rule) in [(None, "is not set"), (Some("not valid"), "must be")] {
            let mut command = command(&world, function);
            match value {
                None => command.env_remove(variable),
                Some(value) => command.env(variable, value),
            };
            let Output { status, stdout, .. } = command.output().unwrap();
            assert_eq!(status.code(), Some(1), "{function} {variable}");
            let line: Value = serde_json::from_slice(&stdout).unwrap();
            let error = line["error"].as_str().unwrap();
            assert!(error.starts_with(&format!("environment variable {variable} {rule}")), "{error}");
        }
    }
}
