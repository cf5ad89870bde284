//! The replacement of KMS's signing key, in the steps of SECURITY.md. Each function has the variables that the template
//! gives it, and in each step the functions of the step before are still running.

use std::{collections::BTreeMap, process::Command};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

use crate::harness::{Deployment, Lambda, TestStack, command, event, items, oauth2::VERIFIER, own_variables};

/// The functions that sign or verify, with the variables of one deployment.
struct Functions(BTreeMap<String, Lambda>);

/// The keys that KMS has for the stack, by their names in the template.
#[derive(Default)]
struct Keys(BTreeMap<&'static str, String>);

impl Keys {
    /// Deploys the stack: creates the keys that are new in it. KMS keeps those that left it.
    async fn deploy(&mut self, stack: &TestStack, signing_keys: &str, previous: &[String]) -> Functions {
        let parameters = [("SigningKeys", signing_keys), ("PreviousSigningKeyArns", &previous.join(","))];
        let resources = Deployment::new(&parameters).resources();
        self.0.retain(|name, _| resources.contains_key(*name));
        let mut deployment = Deployment::new(&parameters)
            .with_id("MacKey", &stack.local.environment().variables["MAC_KEY_ID"])
            .with_id("Table", local::TABLE);
        for name in ["SigningKeyA", "SigningKeyB"] {
            if let Some(resource) = resources.get(name) {
                if !self.0.contains_key(name) {
                    let key = stack.kms("CreateKey", &resource["Properties"]).await;
                    self.0.insert(name, key["KeyMetadata"]["Arn"].as_str().unwrap().to_owned());
                }
                deployment = deployment.with_id(name, &self.0[name]);
            }
        }
        let mut functions = BTreeMap::new();
        for (name, properties) in deployment.functions() {
            if own_variables(&properties).contains("SIGNING_KEY_ID") {
                let command = deployed(stack, &name, &properties);
                functions.insert(name, Lambda::start_with(command).await);
            }
        }
        Functions(functions)
    }
}

/// A function's command with the variables that the template gives it, and none of the local stack's.
fn deployed(stack: &TestStack, function: &str, properties: &Value) -> Command {
    let mut command = command(stack, function);
    for variable in stack.local.environment().variables.keys() {
        command.env_remove(variable);
    }
    for variable in own_variables(properties) {
        command.env(&variable, properties["Environment"]["Variables"][&variable].as_str().unwrap());
    }
    command
}

impl Functions {
    /// Sends an event with another bearer, if there is one.
    async fn send(&self, function: &str, mut event: Value, bearer: Option<&str>) -> (u64, Value) {
        if let Some(bearer) = bearer {
            event["headers"]["authorization"] = format!("Bearer {bearer}").into();
        }
        let answer = self.0[function].invoke(event).await.unwrap();
        (answer["statusCode"].as_u64().unwrap(), serde_json::from_str(answer["body"].as_str().unwrap()).unwrap())
    }

    async fn key_set(&self) -> JwkSet {
        serde_json::from_value(self.send("publish-keys", event("publish-keys.success"), None).await.1).unwrap()
    }

    async fn access_token(&self) -> String {
        let (status, body) = self.send("create-token", event("create-token.success"), None).await;
        assert_eq!(status, 201, "{body}");
        body["token"]["accessToken"].as_str().unwrap().to_owned()
    }

    async fn id_token(&self, stack: &TestStack) -> String {
        let login = event("issue-code.success");
        let code = stack.local.invoke("issue-code", &login).await.unwrap()["code"].clone();
        let request = json!({
            "client_id": login["clientId"], "service": login["service"], "redirect_uri": login["redirectUri"],
            "grant_type": "authorization_code", "code": code, "state": login["state"], "nonce": login["nonce"],
            "code_verifier": VERIFIER,
        });
        let mut event = event("exchange-token.success-code");
        event["body"] = request.to_string().into();
        let (status, body) = self.send("exchange-token", event, None).await;
        assert_eq!(status, 201, "{body}");
        body["items"][0]["idToken"].as_str().unwrap().to_owned()
    }

    async fn accepts(&self, token: &str) -> bool {
        let (created, _) = self.send("create-token", event("create-token.success"), Some(token)).await;
        let (app, _) = self.send("create-app-token", event("create-app-token.success"), Some(token)).await;
        (created, app) == (201, 200)
    }
}

fn kid(token: &str) -> String {
    decode_header(token.trim_start_matches("oauth2_")).unwrap().kid.unwrap()
}

fn verifies(keys: &JwkSet, token: &str) -> bool {
    let token = token.trim_start_matches("oauth2_");
    let Some(key) = keys.find(&kid(token)) else { return false };
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_aud = false;
    decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_refused_while_the_signing_key_is_replaced_twice() {
    let stack = TestStack::start().await;
    stack.clock.meet_the_systems();
    stack.local.provision_demo().await.unwrap();
    let demo = items::registration_key("demo");
    stack.update_item(&demo, "SET maxAllowed = :n", json!({":n": {"N": "1000"}})).await;

    let mut keys = Keys::default();
    let mut before = keys.deploy(&stack, "A", &[]).await;
    let (mut left, mut tokens, mut signers) = (vec![], vec![], vec![]);
    for signing_keys in ["AB", "BA", "B", "BA", "AB", "A"] {
        // A key that leaves the stack is named in the same deployment.
        let leaving = |name: &str| (!signing_keys.contains(&name[10..])).then(|| keys.0.get(name).cloned()).flatten();
        left.extend(["SigningKeyA", "SigningKeyB"].into_iter().filter_map(leaving));
        let now = keys.deploy(&stack, signing_keys, &left).await;
        for functions in [&before, &now] {
            tokens.push(functions.access_token().await);
            let id_token = functions.id_token(&stack).await;
            // Verifiers may have a copy of the set that is 300 s old, which is when the step before ended.
            for keys in [before.key_set().await, now.key_set().await] {
                assert!(verifies(&keys, &id_token), "an ID token at {signing_keys}");
                assert!(tokens.iter().all(|token| verifies(&keys, token)), "an access token at {signing_keys}");
            }
        }
        for token in &tokens {
            assert!(before.accepts(token).await, "the functions before {signing_keys} refuse a token");
            assert!(now.accepts(token).await, "the functions of {signing_keys} refuse a token");
        }
        signers.push(kid(tokens.last().unwrap()));
        before = now;
    }
    signers.dedup();
    assert_eq!(signers.len(), 3, "A, B, and a new A: {signers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_signs_before_it_is_published_is_refused() {
    let stack = TestStack::start().await;
    stack.clock.meet_the_systems();
    stack.local.provision_demo().await.unwrap();
    let mut keys = Keys::default();
    let before = keys.deploy(&stack, "A", &[]).await;
    let now = keys.deploy(&stack, "BA", &[]).await;
    let token = now.access_token().await;
    assert!(now.accepts(&token).await && !before.accepts(&token).await);
    assert!(verifies(&now.key_set().await, &token) && !verifies(&before.key_set().await, &token));
}
