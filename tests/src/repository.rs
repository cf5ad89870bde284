//! Compares the template and the sample events with the code.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::{keys::SigningMode, store::Organization};

use crate::harness::{
    ApiRequest, AwsProxy, Deployment, PREVIOUS_KEYS, TestStack, authorizer_event, command, deployed_functions, event,
    events, exchange_token, oauth2, own_variables, statements, with,
};

/// An event file is `<function>.<case>.json`, and its case begins with `success` or `refusal`. It works on the demo's
/// data.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_answered_as_its_name_says() {
    let stack = TestStack::start().await;
    stack.local.provision_demo().await.unwrap();
    for (name, event) in events() {
        let (function, case) = name.split_once('.').unwrap();
        let answer = stack.local.invoke(function, &event).await;
        let success = case.starts_with("success");
        match answer {
            Ok(answer) if answer.get("statusCode").is_some() => {
                let status = answer["statusCode"].as_u64().unwrap();
                assert_eq!(success, status < 300, "{name}: {answer}");
                assert!(success || (400..500).contains(&status), "{name}: {answer}");
            }
            Ok(answer) => assert_eq!(success, answer["isAuthorized"] != false, "{name}: {answer}"),
            Err(error) => assert!(!success && error["errorType"] != "InternalError", "{name}: {error}"),
        }
    }
}

/// A function that reads a variable refuses to start if it is malformed; a function that does not read it starts.
#[tokio::test(flavor = "multi_thread")]
async fn each_function_has_the_variables_that_it_reads_and_no_other() {
    let stack = TestStack::start().await;
    let functions = deployed_functions(SigningMode::Kms);
    let known: BTreeSet<String> = functions.values().flat_map(own_variables).collect();
    for (function, properties) in functions {
        let set = own_variables(&properties);
        for variable in &known {
            let mut command = command(&stack, &function);
            // If it starts, it asks a Runtime API that does not exist for its first event, and ends.
            let output = command.env(variable, "not válid").output().unwrap();
            let refused = String::from_utf8(output.stdout).unwrap().contains("refusing to start");
            assert_eq!(refused, set.contains(variable), "{function} {variable}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_function_may_do_what_it_does_and_nothing_else() {
    for mode in [SigningMode::Kms, SigningMode::Transition, SigningMode::Envelope] {
        let stack = TestStack::start_with(|options| options.signing_mode = mode).await;
        stack.local.provision_demo().await.unwrap();
        for (function, properties) in deployed_functions(mode) {
            let process = AwsProxy::start(&stack, &function).await;
            let named = |name: &str| name.split('.').next() == Some(&function);
            let samples = events().into_iter().filter(|(name, _)| named(name)).map(|(_, event)| event);
            for event in samples.chain(further_events(&stack, &function).await).collect::<Vec<_>>() {
                let _ = process.lambda.invoke(event).await;
            }
            assert_eq!(process.rights(), allowed(&function, &properties), "{function} with {mode:?}");
        }
    }
}

/// What the policies of a function allow, in the form of [`AwsProxy::rights`].
fn allowed(function: &str, properties: &Value) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for statement in statements(properties) {
        assert_eq!(statement["Effect"], "Allow");
        let actions: Vec<_> = match &statement["Action"] {
            Value::Array(actions) => actions.iter().map(|action| action.as_str().unwrap()).collect(),
            action => vec![action.as_str().unwrap()],
        };
        for action in actions {
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
    }
    allowed
}

/// Events that make a function do what the samples do not.
async fn further_events(stack: &TestStack, function: &str) -> Vec<Value> {
    let access_token = async || stack.invoke_sample("create-token.success").await["token"]["accessToken"].clone();
    // A bearer can also be an OAuth access token.
    let with_token = async |name: &str| {
        let mut event = event(name);
        event["headers"]["authorization"] = format!("Bearer {}", access_token().await.as_str().unwrap()).into();
        event
    };
    match function {
        "create-app-token" => {
            let event = with_token("create-app-token.success").await;
            // With an idempotency key whose token was revoked, the function reads the next generation.
            let first = stack.invoke_sample("create-app-token.success-idempotent").await;
            assert!(stack.revoke_app_token(first["data"]["id"].as_str().unwrap()).await);
            vec![event]
        }
        "manage-tokens" => vec![with_token("manage-tokens.success-list-tokens").await],
        // The tokens of registrations and of users.
        "authorize" => vec![
            authorizer_event(access_token().await.as_str().unwrap()),
            authorizer_event(&oauth2::user(stack).await.access_token),
        ],
        // Whoever holds a credential may end it. Of the samples, one ends an app token.
        "oauth2" => {
            let form = |token: &str| ApiRequest::form("POST /oauth2/revoke", &[("token", token)]).event;
            let token = stack.invoke_sample("oauth2.success-client-credentials").await["access_token"].clone();
            let organization = Organization::id(&"demo".parse().unwrap()).to_string();
            vec![form(token.as_str().unwrap()), form(&stack.api_key_that_may(&organization, &[]).await)]
        }
        "provision" => further_actions(),
        _ => vec![],
    }
}

fn further_actions() -> Vec<Value> {
    let organization = Organization::id(&"demo".parse().unwrap()).to_string();
    let client = json!({"clientId": exchange_token::CLIENT, "subject": "demo-user"});
    let list = |kind: &str| json!({"action": "list", "kind": kind, "organizationId": organization});
    vec![
        json!({"action": "createApiKey", "organizationId": organization}),
        json!({"action": "updateRegistration", "registrationId": "demo", "maxAllowed": 20}),
        json!({"action": "revokeApiKey", "apiKeyId": "0".repeat(24)}),
        list("apiKeys"),
        list("registrations"),
        list("applications"),
        list("clients"),
        with(&client, &json!({"action": "listSessions"})),
        with(&client, &json!({"action": "endSessions"})),
        json!({"action": "updateClient", "clientId": exchange_token::CLIENT, "scopes": ["openid"]}),
        json!({"action": "rotateSigningKey"}),
    ]
}

/// A deployment changes a function's role before its code, so the role must still allow signing with the other key.
#[test]
fn each_key_of_the_stack_may_sign_and_every_key_is_published() {
    let previous = PREVIOUS_KEYS.join(",");
    for keys in ["A", "AB", "BA", "B"] {
        let of_the_stack: Vec<String> = keys.chars().map(|key| format!("SigningKey{key}.Arn")).collect();
        let parameters = [("SigningKeys", keys), ("PreviousSigningKeyArns", previous.as_str())];
        let published = [of_the_stack.clone(), PREVIOUS_KEYS.map(str::to_owned).to_vec()].concat();
        for (function, properties) in Deployment::new(&parameters).functions() {
            let may = |action: &str| -> BTreeSet<String> {
                let resources = statements(&properties).filter(|statement| statement["Action"] == action);
                let resources = resources.flat_map(|statement| statement["Resource"].as_array().unwrap());
                resources.map(|resource| resource.as_str().unwrap().to_owned()).collect()
            };
            let variables = &properties["Environment"]["Variables"];
            let expected = if ["create-token", "exchange-token", "oauth2"].contains(&function.as_str()) {
                &*of_the_stack
            } else {
                &[]
            };
            assert_eq!(may("kms:Sign"), expected.iter().cloned().collect(), "{function} with {keys}");
            if let Some(ids) = variables["PREVIOUS_SIGNING_KEY_IDS"].as_str() {
                assert_eq!(variables["SIGNING_KEY_ID"], format!("SigningKey{}", &keys[..1]), "{function} with {keys}");
                assert_eq!(ids, published[1..].join(","), "{function} with {keys}");
                // `provision` only counts them.
                let read = if function == "provision" { &[] } else { &*published };
                assert_eq!(may("kms:GetPublicKey"), read.iter().cloned().collect(), "{function} with {keys}");
            }
        }
    }
}

/// With any parameters, every resource that the template refers to exists.
#[test]
fn every_combination_of_parameters_can_be_deployed() {
    for mode in ["kms", "transition", "envelope"] {
        for keys in ["A", "AB", "BA", "B"] {
            for previous in ["", PREVIOUS_KEYS[0]] {
                for more in [
                    [("AllowedOrigins", ""), ("AlarmTopicArn", "")],
                    [("AllowedOrigins", "*"), ("AlarmTopicArn", "arn:aws:sns:x")],
                ] {
                    let fixed = [("SigningMode", mode), ("SigningKeys", keys), ("PreviousSigningKeyArns", previous)];
                    let stack = Deployment::new(&[&fixed[..], &more[..]].concat());
                    assert!(stack.resources().contains_key("Table"));
                    assert_eq!(stack.outputs()["SigningKeyId"], format!("SigningKey{}", &keys[..1]));
                    assert!(stack.functions().len() > 5);
                }
            }
        }
    }
}

/// A process that crashes or cannot start logs nothing, so one alarm uses Lambda's own metrics.
#[test]
fn each_function_has_its_alarms() {
    let resources = Deployment::new(&[]).resources();
    let functions = resources.iter().filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function");
    for (function, _) in functions {
        let alarm = |name: &str| &resources[&format!("{function}{name}Alarm")]["Properties"];
        let watched =
            |metric: &Value| json!([metric["Namespace"], metric["MetricName"], metric["Dimensions"][0]["Value"]]);
        assert_eq!(watched(alarm("Failures")), json!(["tokenmint", "Failures", function]));
        assert_eq!(watched(alarm("Throttles")), json!(["AWS/Lambda", "Throttles", function]));
        let crashes = &alarm("Crashes")["Metrics"];
        assert_eq!(crashes[0]["Expression"], "FILL(errors, 0) - FILL(reported, 0)");
        for (index, id, expected) in [
            (1, "errors", json!(["AWS/Lambda", "Errors", function])),
            (2, "reported", json!(["tokenmint", "ReportedErrors", function])),
        ] {
            assert_eq!(crashes[index]["Id"], id);
            assert_eq!(watched(&crashes[index]["MetricStat"]["Metric"]), expected);
        }
    }
}

/// New accounts have so little concurrency that Lambda refuses any reservation.
#[test]
fn concurrency_is_reserved_only_if_asked_for() {
    for (parameter, expected) in [("0", Value::Null), ("100", "100".into())] {
        for (function, properties) in Deployment::new(&[("ReservedConcurrency", parameter)]).functions() {
            assert_eq!(properties["ReservedConcurrentExecutions"], expected, "{function}");
        }
    }
}

/// If a first deployment fails, its keys are deleted, because nothing uses them. Its table is kept, because deletion
/// protection would stop the rollback.
#[test]
fn keys_and_table_outlive_the_stack() {
    let resources = Deployment::new(&[("SigningKeys", "AB"), ("SigningMode", "envelope")]).resources();
    let kept = resources.iter().filter(|(_, resource)| resource["UpdateReplacePolicy"] == "Retain");
    let kept: Vec<_> =
        kept.map(|(name, resource)| (name.as_str(), resource["DeletionPolicy"].as_str().unwrap())).collect();
    let keys = ["MacKey", "SigningKeyA", "SigningKeyB"].map(|key| (key, "RetainExceptOnCreate"));
    assert_eq!(kept, [&keys[..], &[("Table", "Retain"), ("WrappingKey", "RetainExceptOnCreate")]].concat());
    assert_eq!(resources["Table"]["Properties"]["DeletionProtectionEnabled"], true);
}

/// Without a version a policy has the rules of 2008, which have no policy variables.
#[test]
fn each_policy_is_of_the_current_version() {
    let stack = Deployment::new(&[("SigningKeys", "AB"), ("SigningMode", "envelope")]);
    for (function, properties) in stack.functions() {
        for policy in properties["Policies"].as_array().unwrap() {
            assert_eq!(policy["Version"], "2012-10-17", "{function}");
        }
    }
    for (name, resource) in stack.resources().iter().filter(|(_, resource)| resource["Type"] == "AWS::KMS::Key") {
        let policy = &resource["Properties"]["KeyPolicy"];
        assert_eq!(policy["Version"], "2012-10-17", "{name}");
        // CloudFormation calls it for every key.
        let administer = policy["Statement"][0]["Action"].as_array().unwrap();
        assert!(administer.contains(&"kms:GetKeyRotationStatus".into()), "{name}");
    }
}

/// Without it every new process spends 24 ms of CPU on entropy from CPU jitter, 150 ms on a small Lambda.
#[test]
fn the_build_leaves_cpu_jitter_out() {
    assert_eq!(option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"), Some("1"), "see .cargo/config.toml");
}

/// Without it, signing in `envelope` mode takes two and a half times as long on x86-64.
#[test]
fn the_build_keeps_the_fast_rsa_and_elliptic_curves() {
    assert_eq!(option_env!("AWS_LC_SYS_SMALL"), Some("0"), "see .cargo/config.toml");
}
