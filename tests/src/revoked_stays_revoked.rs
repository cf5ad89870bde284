//! No id, `jti` or secret that has expired or was revoked is ever valid again, whatever is created, repeated, revoked
//! and delivered late around it. And no active token is lost.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use futures_util::future::{join, join_all};
use proptest::{collection::vec, prelude::*};
use serde_json::json;
use shared::credential::{Credential, CredentialKind};

use crate::harness::{
    ApiRequest, InjectedFault, Node, Outcome, Secrets, Tenant, TestStack,
    exchange_token::{self, code_body, refresh_body},
    runner, scale,
};

const MAX_ALLOWED: usize = 3;
const TTL_SECONDS: i64 = 100;
const NODES: usize = 3;

/// A stack and several processes of each function.
struct Scene {
    stack: TestStack,
    nodes: Vec<Node>,
    tenant: Tenant,
}

impl Scene {
    async fn new() -> Self {
        let stack = TestStack::start().await;
        let settings = json!({"maxAllowed": MAX_ALLOWED, "tokenTtlSeconds": TTL_SECONDS});
        let tenant = Tenant::with_registration(&stack, "acme", &settings).await;
        let nodes = (0..NODES).map(|_| Node::start(&stack, TimeDelta::zero())).collect();
        Self { stack, nodes, tenant }
    }

    fn create_token(&self, key: Option<usize>) -> ApiRequest {
        let request = self.tenant.create_token_request();
        key.map_or(request.clone(), |key| request.with_idempotency_key(&format!("key-{key}")))
    }

    fn create_app_token(&self, key: usize) -> ApiRequest {
        self.tenant.create_app_token_request().with_idempotency_key(&format!("key-{key}"))
    }

    /// Revokes an OAuth access token at a process; whether it was active.
    async fn revoke(&self, node: usize, token: &str) -> bool {
        self.revoked(node, &self.tenant.revoke_token_request(token)).await
    }

    /// Revokes an app token at a process; whether it was not yet revoked.
    async fn revoke_app_token(&self, node: usize, token: &str) -> bool {
        self.revoked(node, &self.tenant.revoke_app_token_request(token)).await
    }

    async fn revoked(&self, node: usize, request: &ApiRequest) -> bool {
        match self.nodes[node].send(request).await.status {
            200 => true,
            404 => false,
            other => panic!("{other}"),
        }
    }
}

// ------------------------------------------------------------------------------------------------ OAuth access tokens

/// What a process does in the property test.
#[derive(Clone, Debug)]
enum Act {
    Create,
    /// With one of a few idempotency keys.
    CreateWithKey(usize),
    /// A token that was issued before, counted from the latest.
    Revoke(usize),
}

/// The result of an [`Act`].
enum Done {
    Created(Outcome),
    /// The token with this id, which was active.
    Revoked(String),
    Nothing,
}

#[derive(Clone, Debug)]
struct Token {
    id: String,
    bearer: String,
    expires_at: i64,
    revoked: bool,
}

#[test]
fn no_token_comes_back_and_none_is_lost() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let act = prop_oneof![
        3 => Just(Act::Create),
        5 => (0..3_usize).prop_map(Act::CreateWithKey),
        3 => (0..4_usize).prop_map(Act::Revoke),
    ];
    // Multiples of half a lifetime pass between two rounds, so that tokens expire at the instant of a round.
    let rounds = vec((0..3_i64, vec((act, 0..NODES), 1..10)), 3..10);
    let cases = 24 * u32::try_from(scale()).unwrap();
    let result = runner(cases).run(&rounds, |rounds| runtime.block_on(tokens_over_time(rounds)));
    result.unwrap();
}

async fn tokens_over_time(rounds: Vec<(i64, Vec<(Act, usize)>)>) -> Result<(), TestCaseError> {
    let scene = Scene::new().await;
    let mut tokens: BTreeMap<String, Token> = BTreeMap::new();
    let mut issued: Vec<String> = Vec::new();
    for (halves, acts) in rounds {
        scene.stack.clock.advance(halves * TTL_SECONDS / 2);
        let now = scene.stack.clock.seconds();
        let latest = |back: usize| issued.len().checked_sub(1 + back).map(|at| issued[at].clone());
        let done = join_all(acts.iter().map(async |(act, node)| match act {
            Act::Create => Done::Created(scene.nodes[*node].send(&scene.create_token(None)).await),
            Act::CreateWithKey(key) => Done::Created(scene.nodes[*node].send(&scene.create_token(Some(*key))).await),
            Act::Revoke(back) => match latest(*back) {
                Some(id) if scene.revoke(*node, &id).await => Done::Revoked(id),
                _ => Done::Nothing,
            },
        }));
        let done = done.await;
        let (mut replayed, mut revoked) = (Vec::new(), Vec::new());
        for done in done {
            let outcome = match done {
                Done::Created(outcome) => outcome,
                Done::Revoked(id) => {
                    revoked.push(id);
                    continue;
                }
                Done::Nothing => continue,
            };
            prop_assert!([201, 400].contains(&outcome.status), "{:?}", outcome);
            if outcome.status == 201 {
                let token = token(&outcome);
                if outcome.replayed {
                    replayed.push(token);
                } else {
                    prop_assert!(tokens.insert(token.id.clone(), token.clone()).is_none(), "an id came twice");
                    issued.push(token.id);
                }
            }
        }
        for token in replayed {
            let first = tokens.get(&token.id);
            prop_assert!(first.is_some_and(|first| first.bearer == token.bearer), "{:?}", token);
            prop_assert!(!tokens[&token.id].revoked && token.expires_at > now, "a dead token was repeated");
        }
        for id in revoked {
            let token = tokens.get_mut(&id).unwrap();
            prop_assert!(!token.revoked && token.expires_at > now, "a token was revoked twice");
            token.revoked = true;
        }
        let mut live = 0;
        for (n, token) in tokens.values().enumerate() {
            let lives = !token.revoked && token.expires_at > now;
            prop_assert_eq!(scene.nodes[n % NODES].accepts(&token.bearer).await, lives, "{:?} at {}", token, now);
            live += usize::from(lives);
        }
        prop_assert!(live <= MAX_ALLOWED, "{live} of {MAX_ALLOWED} are live");
    }
    Ok(())
}

fn token(outcome: &Outcome) -> Token {
    let token = &outcome.body["token"];
    let bearer = token["accessToken"].as_str().unwrap().to_owned();
    Secrets::add_credential(&bearer);
    let expires_at = chrono::DateTime::parse_from_rfc3339(token["expiresAt"].as_str().unwrap()).unwrap().timestamp();
    Token { id: token["id"].as_str().unwrap().to_owned(), bearer, expires_at, revoked: false }
}

/// Two creates find the same expired token. One takes its slot; the other must not remove the new token.
#[tokio::test(flavor = "multi_thread")]
async fn a_racing_create_does_not_remove_a_live_token() {
    let scene = Scene::new().await;
    for round in 0..16 {
        let first = token(&scene.nodes[0].send(&scene.create_token(Some(round))).await);
        scene.stack.clock.advance(TTL_SECONDS);
        let requests = [scene.create_token(Some(round)), scene.create_token(None), scene.create_token(None)];
        let made = join_all(requests.iter().zip(&scene.nodes).map(async |(request, node)| node.send(request).await));
        for outcome in made.await {
            assert_eq!(outcome.status, 201);
            assert!(scene.nodes[0].accepts(&token(&outcome).bearer).await, "round {round}");
        }
        assert_eq!(scene.nodes[0].send(&scene.create_token(None)).await.status, 400, "three of three are live");
        assert!(!scene.nodes[0].accepts(&first.bearer).await);
        scene.stack.clock.advance(TTL_SECONDS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_token_was_revoked_makes_another_one() {
    let scene = Scene::new().await;
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let made = token(&scene.nodes[0].send(&scene.create_token(Some(0))).await);
        assert!(seen.insert(made.bearer.clone()));
        assert!(scene.nodes[1].accepts(&made.bearer).await);
        assert!(scene.stack.revoke_token(&scene.tenant.registration, &made.id).await);
        scene.nodes[2].send(&scene.create_token(Some(0))).await;
        assert!(!scene.nodes[1].accepts(&made.bearer).await, "its slot has another token");
        let next = token(&scene.nodes[0].send(&scene.create_token(Some(0))).await);
        assert!(scene.stack.revoke_token(&scene.tenant.registration, &next.id).await);
        assert!(seen.insert(next.bearer));
    }
}

/// The first attempt of a create arrives after the second was answered and its token revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_arrives_late_brings_nothing_back() {
    let scene = Scene::new().await;
    for key in [None, Some(0)] {
        let node = Node::start(&scene.stack, TimeDelta::zero());
        node.calls.fail("UpdateItem", &[InjectedFault::Overtaken]);
        let made = token(&node.send(&scene.create_token(key)).await);
        assert!(node.calls.all_failed() && scene.nodes[0].accepts(&made.bearer).await);
        assert!(scene.stack.revoke_token(&scene.tenant.registration, &made.id).await);
        node.calls.deliver().await;
        assert!(!scene.nodes[0].accepts(&made.bearer).await, "with key {key:?}");
        assert!(!scene.stack.holds(&scene.tenant.registration, &made.id).await);
    }
    let node = Node::start(&scene.stack, TimeDelta::zero());
    node.calls.fail("PutItem", &[InjectedFault::Overtaken]);
    let secret = app_secret(&node.send(&scene.create_app_token(0)).await);
    assert!(scene.stack.revoke_app_token(&secret.id().to_string()).await);
    node.calls.deliver().await;
    assert!(!is_live(&scene.stack, &secret).await);
}

/// The first attempt of a create is applied, its answer is lost, and the token is revoked before the next attempt. That
/// one must not record the revoked token again.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_sent_again_does_not_bring_back_what_was_revoked_meanwhile() {
    let scene = Scene::new().await;
    for key in [None, Some(0)] {
        let node = Node::start(&scene.stack, TimeDelta::zero());
        // The second attempt stalls, which leaves time to revoke.
        node.calls.fail("UpdateItem", &[InjectedFault::AnswerLost, InjectedFault::Stalled]);
        let registration = scene.tenant.registration.parse().unwrap();
        let revoke = async {
            loop {
                let found = scene.stack.store().load_registration(&registration).await.unwrap().unwrap();
                let recorded = found.tokens.iter().map(|(slot, token)| token.id(*slot).to_string()).next();
                if let Some(id) = recorded {
                    assert!(scene.stack.revoke_token(&scene.tenant.registration, &id).await);
                    return id;
                }
                tokio::task::yield_now().await;
            }
        };
        let request = scene.create_token(key);
        let (outcome, revoked) = join(node.send(&request), revoke).await;
        assert!(node.calls.all_failed());
        let made = token(&outcome);
        assert_ne!(made.id, revoked, "with key {key:?}");
        assert!(
            scene.nodes[0].accepts(&made.bearer).await
                && !scene.stack.holds(&scene.tenant.registration, &revoked).await
        );
        assert!(scene.stack.revoke_token(&scene.tenant.registration, &made.id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_revocations_one_succeeds_and_one_place_is_free() {
    let scene = Scene::new().await;
    let mut made = Vec::new();
    for key in [None, Some(0), None] {
        made.push(token(&scene.nodes[0].send(&scene.create_token(key)).await));
    }
    for victim in &made[..2] {
        let revoked = join_all((0..50).map(|n| scene.revoke(n % NODES, &victim.id))).await;
        assert_eq!(revoked.into_iter().filter(|revoked| *revoked).count(), 1);
        let creates = join_all((0..6).map(async |n| {
            let request = scene.create_token(None);
            scene.nodes[n % NODES].send(&request).await
        }))
        .await;
        assert_eq!(creates.iter().filter(|outcome| outcome.status == 201).count(), 1);
    }
    assert!(scene.nodes[0].accepts(&made[2].bearer).await);
}

// ------------------------------------------------------------------------------------------------ app tokens, API keys

fn app_secret(outcome: &Outcome) -> Credential {
    let bearer = outcome.body["data"]["bearer"].as_str().unwrap_or_else(|| panic!("{outcome:?}"));
    Secrets::add_credential(bearer);
    Credential::parse(CredentialKind::AppToken, bearer).unwrap()
}

async fn is_live(stack: &TestStack, secret: &Credential) -> bool {
    let found = stack.store().load_app_token(secret.id()).await.unwrap();
    found.is_some_and(|token| token.hash == secret.hash() && token.revoked_at.is_none())
}

#[test]
fn no_app_token_comes_back_and_none_is_lost() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let act = prop_oneof![
        3 => (0..2_usize).prop_map(Act::CreateWithKey),
        2 => (0..2_usize).prop_map(Act::Revoke),
    ];
    let rounds = vec(vec((act, 0..NODES), 1..8), 3..12);
    let cases = 16 * u32::try_from(scale()).unwrap();
    let result = runner(cases).run(&rounds, |rounds| {
        runtime.block_on(async {
            let scene = Scene::new().await;
            let mut made: Vec<Credential> = Vec::new();
            let mut revoked = BTreeSet::new();
            for acts in rounds {
                let done = join_all(acts.iter().map(async |(act, node)| match act {
                    Act::Revoke(back) => {
                        let Some(at) = made.len().checked_sub(1 + back) else { return Done::Nothing };
                        let id = made[at].id().to_string();
                        if scene.revoke_app_token(*node, &id).await { Done::Revoked(id) } else { Done::Nothing }
                    }
                    Act::Create => Done::Nothing,
                    Act::CreateWithKey(key) => {
                        Done::Created(scene.nodes[*node].send(&scene.create_app_token(*key)).await)
                    }
                }));
                let revoked_before = revoked.clone();
                for done in done.await {
                    match done {
                        Done::Created(outcome) => {
                            prop_assert_eq!(outcome.status, 200);
                            let secret = app_secret(&outcome);
                            if made.contains(&secret) {
                                let id = secret.id().to_string();
                                prop_assert!(!revoked_before.contains(&id), "a revoked secret was given out again");
                            } else {
                                made.push(secret);
                            }
                        }
                        Done::Revoked(id) => prop_assert!(revoked.insert(id), "revoked twice"),
                        Done::Nothing => {}
                    }
                }
                for secret in &made {
                    let lives = !revoked.contains(&secret.id().to_string());
                    prop_assert_eq!(is_live(&scene.stack, secret).await, lives);
                }
                // One live token per key at most.
                prop_assert!(made.len() - revoked.len() <= 2);
            }
            Ok(())
        })
    });
    result.unwrap();
}

// ------------------------------------------------------------------------------------------------ grants

/// An exchange of a code or, if it `refreshes`, of a refresh token. So many attempts of its updates arrive only when
/// the node delivers them, so it ended with a 500.
async fn unanswered_exchange(stack: &TestStack, refreshes: bool, attempts: usize) -> (ApiRequest, Node) {
    let code = exchange_token::issue(stack, &json!({})).await;
    let mut body = code_body(&code);
    if refreshes {
        body = refresh_body(&exchange_token::exchange(stack, &code).await.refresh_token());
    }
    let request = exchange_token::request(&body);
    let node = Node::start(stack, TimeDelta::zero());
    node.calls.fail("UpdateItem", &vec![InjectedFault::Overtaken; attempts]);
    assert_eq!(node.send(&request).await.status, 500);
    assert!(node.calls.all_failed());
    (request, node)
}

/// A commit and the write that settles it both arrive late, in either order, after the client has repeated its request.
/// Neither may change anything.
#[tokio::test(flavor = "multi_thread")]
async fn two_late_deliveries_do_not_undo_a_repeat() {
    let stack = TestStack::start().await;
    exchange_token::client(&stack, &json!({"refreshReuseSeconds": 0})).await;
    for refreshes in [false, true] {
        // Three attempts of the commit, three of the write that settles it.
        let (request, node) = unanswered_exchange(&stack, refreshes, 6).await;
        let repeated = Node::start(&stack, TimeDelta::zero()).send(&request).await;
        let token = repeated.refresh_token();
        node.calls.deliver().await;
        let next = exchange_token::request(&refresh_body(&token));
        let next = Node::start(&stack, TimeDelta::zero()).send(&next).await;
        assert_eq!(next.status, 201, "refreshes: {refreshes}, {next:?}");
        next.refresh_token();
    }
}

/// A commit arrives after the write that settles it, before the client repeats its request.
#[tokio::test(flavor = "multi_thread")]
async fn a_settled_commit_that_arrives_late_uses_nothing_up() {
    let stack = TestStack::start().await;
    exchange_token::client(&stack, &json!({"refreshReuseSeconds": 0})).await;
    for refreshes in [false, true] {
        let (request, node) = unanswered_exchange(&stack, refreshes, 3).await;
        node.calls.deliver().await;
        let repeated = Node::start(&stack, TimeDelta::zero()).send(&request).await;
        assert_eq!(repeated.status, 201, "refreshes: {refreshes}, {repeated:?}");
        repeated.refresh_token();
    }
}
