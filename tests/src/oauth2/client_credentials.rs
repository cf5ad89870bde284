//! `grant_type=client_credentials`: machine tokens, which are recorded nowhere.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use shared::{
    credential::{Credential, CredentialKind},
    id::TokenId,
    keys::SigningMode,
    random::SystemRandom,
};

use super::{
    INVALID_CLIENT, INVALID_CLIENT_IN_BASIC, INVALID_SCOPE, api_key_id, client_credentials, is_active, refusal, revoke,
    start,
};
use crate::harness::{
    ApiRequest, CREATE_TOKEN, ISSUER, InjectedFault, Node, START, Secrets, Tenant, TestStack, authorizer_event, calls,
    items, lock,
    oauth2::{INTROSPECT, TOKEN},
    scale, unverified_claims, verified, with,
};

/// How many revoked machine tokens a registration remembers.
const REMEMBERED: usize = 200;

async fn token(stack: &TestStack, registration: &str, secret: &str) -> String {
    let answer = client_credentials(stack, registration, secret, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    Secrets::add_credential(&token);
    token
}

/// A registration with a secret of its own, and the secret.
async fn confidential(stack: &TestStack, organization: &str, more: &Value) -> (String, String) {
    let action = json!({
        "action": "createRegistration", "organizationId": organization, "name": "test", "confidential": true,
    });
    let made = stack.provision(&with(&action, more)).await;
    let secret = made["clientSecret"].as_str().unwrap().to_owned();
    Secrets::add_credential(&secret);
    (made["registrationId"].as_str().unwrap().to_owned(), secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_gets_a_token_of_its_own() {
    let (stack, tenant) = start().await;
    let settings = json!({
        "scopes": ["oauth.token.create", "read:things"], "clientCredentialsTtlSeconds": 500, "maxAllowed": 1,
        "claims": {"tier": "gold", "limits": {"a": 1}, "email": "x", "n": null},
    });
    let registration = stack.registration(&tenant.organization, &settings).await;
    client_credentials(&stack, &registration, &tenant.key, &[]).await;
    stack.calls.reset();
    let answer = client_credentials(&stack, &registration, &tenant.key, &[]).await;
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 1)]));
    assert_eq!(stack.calls.rounds(), 2);
    answer.assert_oauth_headers();
    let body = answer.json();
    let token = body["access_token"].as_str().unwrap();
    let expected = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 500, "scope": "oauth.token.create read:things",
    });
    assert_eq!(body, expected);
    let without_scopes = stack.registration(&tenant.organization, &json!({"scopes": []})).await;
    let empty = client_credentials(&stack, &without_scopes, &tenant.key, &[]).await.json();
    assert_eq!((empty.get("scope"), &empty["expires_in"]), (None, &json!(3600)));
    let (_, claims) = verified(&stack, empty["access_token"].as_str().unwrap(), ISSUER).await;
    assert_eq!(claims.get("scope"), None);
    let (_, claims) = verified(&stack, token, ISSUER).await;
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": registration, "aud": ISSUER, "client_id": registration, "jti": claims["jti"],
            "iat": START, "exp": START + 500, "scope": "oauth.token.create read:things", "gen": 0,
            "organization": tenant.organization, "tier": "gold", "limits": {"a": 1}, "email": "x", "n": null,
        })
    );
    for (scope, granted) in [("read:things", "read:things"), ("  read:things  read:things ", "read:things")] {
        let narrowed = client_credentials(&stack, &registration, &tenant.key, &[("scope", scope)]).await;
        assert_eq!(narrowed.json()["scope"], granted);
    }
    for scope in ["write:things", "read:things write:things", "é", " "] {
        let answer = client_credentials(&stack, &registration, &tenant.key, &[("scope", scope)]).await;
        answer.assert_error(INVALID_SCOPE);
    }

    // With the prefix it is a bearer of the other endpoints, until it is revoked. The quota is free for them.
    let body = json!({"registrationId": registration});
    let bearer = format!("oauth2_{token}");
    assert_eq!(stack.post("/api/v1/revoke-tokens", &bearer, &body).await.status, 403);
    assert_eq!(stack.post(CREATE_TOKEN, &bearer, &body).await.status, 201);
    assert_eq!(stack.post(CREATE_TOKEN, token, &body).await.status, 401);
    revoke(&stack, token).await;
    assert_eq!(stack.post(CREATE_TOKEN, &bearer, &body).await.status, 401);
}

/// Whatever the quota is, nothing is written and nothing is in a list.
#[tokio::test(flavor = "multi_thread")]
async fn it_takes_no_place_in_the_quota_and_writes_nothing() {
    for (mode, expected, rounds) in [
        (SigningMode::Kms, calls(&[("GetItem", 2), ("Sign", 1)]), 2),
        (SigningMode::Envelope, calls(&[("GetItem", 2)]), 1),
    ] {
        let stack = TestStack::start_with(|options| options.signing_mode = mode).await;
        if mode == SigningMode::Envelope {
            stack.provision(&json!({"action": "rotateSigningKey"})).await;
        }
        let tenant = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 1})).await;
        tenant.create_token(&stack).await.access_token();
        token(&stack, &tenant.registration, &tenant.key).await;
        let before = stack.dynamodb("Scan", json!({})).await;
        for _ in 0..50 {
            stack.calls.reset();
            token(&stack, &tenant.registration, &tenant.key).await;
            assert_eq!((stack.calls.count(), stack.calls.rounds()), (expected.clone(), rounds));
        }
        assert_eq!(stack.dynamodb("Scan", json!({})).await, before);
        // So it is with a secret of its own.
        let (registration, secret) = confidential(&stack, &tenant.organization, &json!({})).await;
        token(&stack, &registration, &secret).await;
        stack.calls.reset();
        token(&stack, &registration, &secret).await;
        assert_eq!((stack.calls.count(), stack.calls.rounds()), (expected, rounds));
        // The header means nothing here.
        let request = stack.form(TOKEN, &[("grant_type", "client_credentials")]).header("idempotency-key", "a,b");
        let answer = stack.send(request.basic_auth(&registration, Some(&secret))).await;
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_registration_may_be_an_api_key_of_its_organization() {
    let (stack, tenant) = start().await;
    let other = Tenant::new(&stack, "other").await;
    let invalid = client_credentials(&stack, &tenant.registration, &other.key, &[]).await;
    invalid.assert_error(INVALID_CLIENT_IN_BASIC);
    client_credentials(&stack, "unknown", &tenant.key, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
    let weak = stack.api_key_that_may(&tenant.organization, &["oauth.token.list"]).await;
    let unauthorized = refusal(400, "unauthorized_client", None);
    for more in [&[][..], &[("scope", "é")], &[("resource", "x")]] {
        client_credentials(&stack, &tenant.registration, &weak, more).await.assert_error(unauthorized);
    }

    // A caller cannot pass on what it lacks, but a narrower scope without it.
    let scopes = json!({"scopes": ["oauth.token.revoke", "read:things"]});
    let registration = stack.registration(&tenant.organization, &scopes).await;
    let creator = stack.api_key_that_may(&tenant.organization, &["oauth.token.create"]).await;
    client_credentials(&stack, &registration, &creator, &[]).await.assert_error(INVALID_SCOPE);
    let narrow = client_credentials(&stack, &registration, &creator, &[("scope", "read:things")]).await;
    assert_eq!(narrow.json()["scope"], "read:things");
    let action = json!({"action": "revokeApiKey", "apiKeyId": api_key_id(&creator)});
    stack.provision(&action).await;
    client_credentials(&stack, &registration, &creator, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_may_have_a_secret_of_its_own() {
    let (stack, tenant) = start().await;
    let scopes = json!({"scopes": ["oauth.token.revoke", "read:things"]});
    let (registration, secret) = confidential(&stack, &tenant.organization, &scopes).await;
    assert!(secret.starts_with("tms_") && !stack.dump().await.contains(&secret));
    // It holds all of the registration's scopes. An API key goes on working.
    let answer = client_credentials(&stack, &registration, &secret, &[]).await;
    assert_eq!(answer.json()["scope"], "oauth.token.revoke read:things");
    assert_eq!(client_credentials(&stack, &registration, &tenant.key, &[]).await.status, 200);
    let in_body = [("grant_type", "client_credentials"), ("client_id", &registration), ("client_secret", &secret)];
    assert_eq!(stack.post_form(TOKEN, &in_body).await.status, 200);
    let wrong = Credential::generate(CredentialKind::ClientSecret, &SystemRandom).unwrap();
    client_credentials(&stack, &registration, wrong.expose(), &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
    client_credentials(&stack, &tenant.registration, &secret, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
    let without = [("grant_type", "client_credentials"), ("client_id", registration.as_str())];
    stack.post_form(TOKEN, &without).await.assert_error(INVALID_CLIENT);

    // Rotated, the one before is good for the overlap.
    let rotation = json!({"action": "rotateSecret", "registrationId": registration, "overlapSeconds": 60});
    let rotated = stack.provision(&rotation).await;
    assert_eq!(rotated["registrationId"], registration.as_str());
    let next = rotated["clientSecret"].as_str().unwrap().to_owned();
    Secrets::add_credential(&next);
    for good in [&secret, &next] {
        assert_eq!(client_credentials(&stack, &registration, good, &[]).await.status, 200);
    }
    stack.clock.advance(60);
    client_credentials(&stack, &registration, &secret, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
    assert_eq!(client_credentials(&stack, &registration, &next, &[]).await.status, 200);

    let chosen = "a-secret-of-another-service-01234567";
    let more = json!({"clientSecret": chosen});
    let action = json!({
        "action": "createRegistration", "organizationId": tenant.organization, "name": "n", "confidential": true,
    });
    let made = stack.provision(&with(&action, &more)).await;
    assert_eq!(made.get("clientSecret"), None);
    let brought = made["registrationId"].as_str().unwrap();
    assert_eq!(client_credentials(&stack, brought, chosen, &[]).await.status, 200);
    for (changes, message) in [
        (json!({"confidential": null, "clientSecret": chosen}), "must not be given unless confidential is true"),
        (json!({"clientSecret": tenant.key}), "must not have the form of an API key"),
    ] {
        let refused = stack.try_provision(&with(&action, &changes)).await.unwrap_err();
        assert_eq!(refused["errorMessage"], format!("clientSecret {message}"));
    }
    // As a client_id it would be that of a client.
    let uuid = json!({"registrationId": "33333333-3333-3333-3333-333333333333"});
    let refused = stack.try_provision(&with(&action, &uuid)).await.unwrap_err();
    assert!(refused["errorMessage"].as_str().unwrap().starts_with("confidential must not be true"), "{refused}");
    let public = json!({"action": "rotateSecret", "registrationId": tenant.registration});
    let refused = stack.try_provision(&public).await.unwrap_err();
    assert_eq!(refused["errorType"], "InvalidRequest");
    stack.provision(&json!({"action": "updateRegistration", "registrationId": brought, "enabled": false})).await;
    client_credentials(&stack, brought, chosen, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
}

/// A caller who is nobody costs one small read: the registration is read only after the key was found to be good.
#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_key_costs_one_small_read() {
    let (stack, tenant) = start().await;
    let made_up = Credential::generate(CredentialKind::ApiKey, &SystemRandom).unwrap();
    stack.calls.reset();
    let answer = client_credentials(&stack, &tenant.registration, made_up.expose(), &[]).await;
    answer.assert_error(INVALID_CLIENT_IN_BASIC);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
    stack.calls.reset();
    let request = stack.form(INTROSPECT, &[("token", &tenant.key)]).bearer_auth(made_up.expose());
    assert_eq!(stack.send(request).await.status, 401);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
    // Its own secrets are beside the registration. With a right one, it is read too.
    let (registration, secret) = confidential(&stack, &tenant.organization, &json!({})).await;
    for id in [&tenant.registration, &registration] {
        for wrong in ["tmk_x", "wrong", &tenant.key.replace("tmk_", "tma_")] {
            stack.calls.reset();
            client_credentials(&stack, id, wrong, &[]).await.assert_error(INVALID_CLIENT_IN_BASIC);
            assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
        }
    }
    stack.calls.reset();
    token(&stack, &registration, &secret).await;
    assert_eq!(stack.calls.count()["GetItem"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn possession_revokes_one_token() {
    let (stack, tenant) = start().await;
    let one = token(&stack, &tenant.registration, &tenant.key).await;
    let other = token(&stack, &tenant.registration, &tenant.key).await;
    let created = tenant.create_token(&stack).await.access_token();
    // From now on the function has the public key.
    assert!(is_active(&stack, &tenant.key, &one).await);
    stack.calls.reset();
    revoke(&stack, &format!("  Bearer   oauth2_{one} ")).await;
    assert_eq!((stack.calls.count(), stack.calls.rounds()), (calls(&[("GetItem", 1), ("UpdateItem", 1)]), 2));
    for (token, active) in [(&one, false), (&other, true), (&created, true)] {
        assert_eq!(is_active(&stack, &tenant.key, token).await, active);
    }
    // Again, it is the same. It is nowhere to be listed.
    stack.calls.reset();
    revoke(&stack, &one).await;
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 1)]));
    let listed = stack.post("/api/v1/list-tokens", &tenant.key, &json!({"registrationId": tenant.registration})).await;
    assert_eq!(listed.json()["activeTokens"], 1);
    // What is disabled can be ended.
    let update = json!({"action": "updateRegistration", "registrationId": tenant.registration});
    stack.provision(&with(&update, &json!({"enabled": false}))).await;
    assert!(!is_active(&stack, &tenant.key, &other).await);
    revoke(&stack, &other).await;
    stack.provision(&with(&update, &json!({"enabled": true}))).await;
    assert!(!is_active(&stack, &tenant.key, &other).await && is_active(&stack, &tenant.key, &created).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_a_registration_end_at_once() {
    let (stack, tenant) = start().await;
    for end in ["operator", "owner"] {
        let ended = token(&stack, &tenant.registration, &tenant.key).await;
        if end == "operator" {
            let action = json!({"action": "revokeTokens", "registrationId": tenant.registration});
            stack.provision(&action).await;
        } else {
            let body = json!({"registrationId": tenant.registration});
            assert_eq!(stack.post("/api/v1/revoke-tokens", &tenant.key, &body).await.status, 200);
        }
        assert!(!is_active(&stack, &tenant.key, &ended).await, "{end}");
        let next = token(&stack, &tenant.registration, &tenant.key).await;
        assert!(is_active(&stack, &tenant.key, &next).await, "{end}");
    }
}

/// The registration remembers 200 of them. Another one moves it on, and recorded tokens stay.
#[tokio::test(flavor = "multi_thread")]
async fn the_two_hundred_and_first_revocation_ends_them_all() {
    let (stack, tenant) = start().await;
    let get = async || token(&stack, &tenant.registration, &tenant.key).await;
    let (kept, created) = (get().await, tenant.create_token(&stack).await.access_token());
    for _ in 0..REMEMBERED / 10 {
        let tokens = join_all((0..10).map(|_| get())).await;
        join_all(tokens.iter().map(|token| revoke(&stack, token))).await;
    }
    assert!(is_active(&stack, &tenant.key, &kept).await);
    let last = get().await;
    revoke(&stack, &last).await;
    assert!(!is_active(&stack, &tenant.key, &kept).await && is_active(&stack, &tenant.key, &created).await);
    let next = get().await;
    assert!(is_active(&stack, &tenant.key, &next).await && !is_active(&stack, &tenant.key, &last).await);
}

/// Lets a registration remember as many revocations as it can.
async fn remember(stack: &TestStack, registration: &str) {
    let expires_at = json!({"N": (START + 86_400).to_string()});
    let revoked: Map<_, _> =
        (0..REMEMBERED).map(|_| (TokenId::random(&SystemRandom).unwrap().to_string(), expires_at.clone())).collect();
    let key = items::registration_key(registration);
    stack.update_item(&key, "SET revokedMachineTokens = :revoked", json!({":revoked": {"M": revoked}})).await;
}

/// All have read the same registration before any of them writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_of_everything_loses_to_no_other() {
    let (stack, tenant) = start().await;
    let body = json!({"registrationId": tenant.registration});
    let action = json!({"action": "revokeTokens", "registrationId": tenant.registration});
    // From now on the function reads both at once.
    assert_eq!(stack.post("/api/v1/list-tokens", &tenant.key, &body).await.status, 200);
    for round in 0..6 {
        let created = tenant.create_token(&stack).await.access_token();
        let tokens = join_all((0..4).map(|_| token(&stack, &tenant.registration, &tenant.key))).await;
        remember(&stack, &tenant.registration).await;
        let revoke_all = async {
            if round % 2 == 0 {
                stack.provision(&action).await;
            } else {
                assert_eq!(stack.post("/api/v1/revoke-tokens", &tenant.key, &body).await.status, 200);
            }
        };
        let (kept, revoked) = tokens.split_first().unwrap();
        stack.calls.answer_together("GetItem", revoked.len() + if round % 2 == 0 { 1 } else { 2 });
        tokio::join!(revoke_all, join_all(revoked.iter().map(|token| revoke(&stack, token))));
        stack.calls.answer_together("GetItem", 1);
        for token in [&created, kept, &revoked[0]] {
            assert!(!is_active(&stack, &tenant.key, token).await, "in round {round}");
        }
    }
}

/// A registration that has no room for another revocation ends all its machine tokens.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_registration_can_revoke() {
    let (stack, tenant) = start().await;
    let [kept, revoked] = [
        token(&stack, &tenant.registration, &tenant.key).await,
        token(&stack, &tenant.registration, &tenant.key).await,
    ];
    let key = items::registration_key(&tenant.registration);
    let claims = json!({"a": "x".repeat(408_000)}).to_string();
    stack.update_item(&key, "SET tokenClaims = :claims", json!({":claims": {"S": claims}})).await;
    revoke(&stack, &revoked).await;
    assert!(!is_active(&stack, &tenant.key, &revoked).await && !is_active(&stack, &tenant.key, &kept).await);
}

/// A claim with this name has any form, unlike the address of a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_may_be_called_email() {
    let (stack, tenant) = start().await;
    let claims = json!({"claims": {"email": {"verified": ["a@example.com"]}}});
    let registration = stack.registration(&tenant.organization, &claims).await;
    let body = json!({"registrationId": registration});
    let created = stack.post(CREATE_TOKEN, &tenant.key, &body).await.json()["token"]["accessToken"].clone();
    let created = created.as_str().unwrap().to_owned();
    for token in [token(&stack, &registration, &tenant.key).await, created] {
        assert_eq!(unverified_claims(&token)["email"], claims["claims"]["email"]);
        assert!(is_active(&stack, &tenant.key, &token).await);
        revoke(&stack, &token).await;
        assert!(!is_active(&stack, &tenant.key, &token).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_revocations_are_forgotten() {
    let (stack, tenant) = start().await;
    let get = async || token(&stack, &tenant.registration, &tenant.key).await;
    for _ in 0..REMEMBERED / 10 {
        let tokens = join_all((0..10).map(|_| get())).await;
        join_all(tokens.iter().map(|token| revoke(&stack, token))).await;
    }
    let remembered = async || {
        let registration = stack.registration_item(&tenant.registration).await;
        registration["revokedMachineTokens"]["M"].as_object().unwrap().len()
    };
    assert_eq!(remembered().await, REMEMBERED);
    // Five minutes after they have expired, for clocks that are wrong. Each revocation forgets up to 50.
    stack.clock.advance(3600 + 300);
    let (kept, revoked) = (get().await, get().await);
    revoke(&stack, &revoked).await;
    assert_eq!(remembered().await, REMEMBERED - 50 + 1);
    revoke(&stack, &get().await).await;
    assert_eq!(remembered().await, REMEMBERED - 100 + 2);
    assert!(is_active(&stack, &tenant.key, &kept).await && !is_active(&stack, &tenant.key, &revoked).await);
}

/// Whatever becomes of the answer, of others or of the registration: what was revoked stays so.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_lost_late_or_raced_is_a_success() {
    let (stack, tenant) = start().await;
    let get = async || token(&stack, &tenant.registration, &tenant.key).await;
    for fault in [InjectedFault::AnswerLost, InjectedFault::Late] {
        let node = Node::start(&stack, TimeDelta::zero());
        let revoked = get().await;
        node.calls.fail("UpdateItem", &[fault]);
        let request = ApiRequest::form("POST /oauth2/revoke", &[("token", &revoked)]);
        assert_eq!(node.send(&request).await.status, 200);
        assert!(!is_active(&stack, &tenant.key, &revoked).await);
    }
    let raced = get().await;
    join_all((0..50).map(|_| revoke(&stack, &raced))).await;
    assert!(!is_active(&stack, &tenant.key, &raced).await);
    let deleted = get().await;
    stack.provision(&json!({"action": "delete", "kind": "registration", "id": tenant.registration})).await;
    assert!(!is_active(&stack, &tenant.key, &deleted).await);
    revoke(&stack, &deleted).await;
}

/// While tokens are issued by functions whose clocks are five seconds apart, operators end all of them, again and
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_of_an_older_generation_is_accepted() {
    const REVOCATIONS: usize = 4;
    let (stack, tenant) = start().await;
    let nodes = [-5, 0, 5].map(|seconds| Node::start(&stack, TimeDelta::seconds(seconds)));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", tenant.registration.as_str()),
        ("client_secret", tenant.key.as_str()),
    ];
    let request = ApiRequest::form("POST /oauth2/token", &form);
    let revocation = ApiRequest::provision(json!({"action": "revokeTokens", "registrationId": tenant.registration}));
    let accepted = async |node: &Node, token: &str| {
        let event = authorizer_event(token);
        node.send(&ApiRequest { function: "authorize", event }).await.body["isAuthorized"] == true
    };
    for _ in 0..scale() * 3 {
        let (issued, done) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let issue = async |node: &Node| {
            while !done.load(Relaxed) {
                let answer = node.send(&request).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let token = answer.body["access_token"].as_str().unwrap().to_owned();
                Secrets::add_credential(&token);
                lock(&issued).push(token);
            }
        };
        let end = async {
            for n in 0..REVOCATIONS {
                let node = &nodes[n % nodes.len()];
                while lock(&issued).len() < 20 * (n + 1) {
                    tokio::task::yield_now().await;
                }
                let before = lock(&issued).clone();
                assert!(node.send(&revocation).await.body["registrationId"].is_string());
                for token in before.iter().rev().take(5) {
                    for node in &nodes {
                        assert!(!accepted(node, token).await, "it was issued before all were ended");
                    }
                }
            }
            done.store(true, Relaxed);
        };
        let issuers = nodes.iter().chain(&nodes).map(issue);
        tokio::join!(join_all(issuers), end);
        let item = stack.registration_item(&tenant.registration).await;
        let generation: u64 = item["machineGeneration"]["N"].as_str().unwrap().parse().unwrap();
        for token in &issued.into_inner().unwrap() {
            let own = unverified_claims(token)["gen"].as_u64().unwrap();
            for node in &nodes {
                assert_eq!(accepted(node, token).await, own == generation, "{own} of {generation}");
            }
        }
    }
}
