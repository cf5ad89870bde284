//! Clocks that are wrong by up to five seconds, each function's differently. Decisions that are further than that from
//! a deadline are the same as with right clocks.

use chrono::TimeDelta;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use crate::harness::{
    ApiRequest, Node, Outcome, Secrets, Tenant, TestStack,
    exchange_token::{self, code_body, refresh_body},
    runner, scale,
};

const MAX_SKEW_MILLISECONDS: i64 = 5000;
const NODES: usize = 3;
const CASES: u32 = 16;
/// Events are whole steps apart, and every deadline is further from a step than two clocks can be from each other.
const STEP_SECONDS: i64 = 50;
const TOKEN_TTL_SECONDS: i64 = 1025;
const REFRESH_REUSE_SECONDS: i64 = 75;

#[derive(Clone, Copy, Debug)]
enum Event {
    Pass(i64),
    CreateToken,
    /// With one of a few idempotency keys.
    CreateTokenOnce(usize),
    /// An OAuth access token as a bearer, counted from the latest.
    CreateAppToken(usize),
    IssueCode,
    /// Of a code, counted from the latest.
    Exchange(usize),
    /// With a refresh token, counted from the latest.
    Refresh(usize),
}

/// A stack, its functions, and what they issued.
struct Side {
    stack: TestStack,
    nodes: Vec<Node>,
    tenant: Tenant,
    access_tokens: Vec<String>,
    codes: Vec<String>,
    refresh_tokens: Vec<String>,
}

impl Side {
    async fn start(skews: &[i64]) -> Self {
        let stack = TestStack::start().await;
        let scopes = ["oauth.token.create", "mad.application.token.create"];
        let registration = json!({"maxAllowed": 3, "tokenTtlSeconds": TOKEN_TTL_SECONDS, "scopes": scopes});
        let tenant = Tenant::with_registration(&stack, "acme", &registration).await;
        exchange_token::client(&stack, &json!({"refreshReuseSeconds": REFRESH_REUSE_SECONDS})).await;
        let nodes = skews.iter().map(|skew| Node::start(&stack, TimeDelta::milliseconds(*skew))).collect();
        let (access_tokens, codes, refresh_tokens) = (Vec::new(), Vec::new(), Vec::new());
        Self { stack, nodes, tenant, access_tokens, codes, refresh_tokens }
    }

    /// A function's answer, or `None` if the event is not a request.
    async fn take(&mut self, event: Event, node: usize) -> Option<Outcome> {
        let create = self.tenant.create_token_request();
        let request = match event {
            Event::Pass(steps) => {
                self.stack.clock.advance(steps * STEP_SECONDS);
                return None;
            }
            Event::CreateToken => create,
            Event::CreateTokenOnce(key) => create.with_idempotency_key(&format!("key-{key}")),
            Event::CreateAppToken(back) => {
                self.tenant.create_app_token_request().with_bearer(latest(&self.access_tokens, back)?)
            }
            Event::IssueCode => ApiRequest { function: "issue-code", event: exchange_token::login() },
            Event::Exchange(back) => exchange_token::request(&code_body(latest(&self.codes, back)?)),
            Event::Refresh(back) => exchange_token::request(&refresh_body(latest(&self.refresh_tokens, back)?)),
        };
        let outcome = self.nodes[node % self.nodes.len()].send(&request).await;
        for (pointer, given) in [
            ("/token/accessToken", &mut self.access_tokens),
            ("/code", &mut self.codes),
            ("/items/0/refreshToken", &mut self.refresh_tokens),
        ] {
            if let Some(secret) = outcome.body.pointer(pointer).and_then(Value::as_str) {
                Secrets::add_credential(secret);
                given.push(secret.to_owned());
            }
        }
        Some(outcome)
    }
}

fn latest(given: &[String], back: usize) -> Option<&str> {
    given.iter().rev().nth(back).map(String::as_str)
}

#[test]
fn wrong_clocks_decide_as_right_ones_do() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let event = prop_oneof![
        4 => prop_oneof![4 => 1..3_i64, 1 => Just(21)].prop_map(Event::Pass),
        2 => Just(Event::CreateToken),
        2 => (0..3_usize).prop_map(Event::CreateTokenOnce),
        2 => (0..3_usize).prop_map(Event::CreateAppToken),
        3 => Just(Event::IssueCode),
        3 => (0..2_usize).prop_map(Event::Exchange),
        6 => (0..3_usize).prop_map(Event::Refresh),
    ];
    let skews = vec(-MAX_SKEW_MILLISECONDS..=MAX_SKEW_MILLISECONDS, NODES);
    let runs = (skews, vec((event, 0..NODES), 10..40));
    let scale = u32::try_from(scale()).unwrap();
    let result = runner(CASES * scale).run(&runs, |(skews, events)| {
        runtime.block_on(async {
            let (mut skewed, mut right) = (Side::start(&skews).await, Side::start(&[0]).await);
            for (event, node) in events {
                let (one, two) = (skewed.take(event, node).await, right.take(event, node).await);
                let decided =
                    |outcome: &Outcome| (outcome.status, outcome.replayed, outcome.body["activeTokens"].clone());
                prop_assert_eq!(one.as_ref().map(decided), two.as_ref().map(decided), "{:?}: {:?}", event, one);
            }
            Ok(())
        })
    });
    result.unwrap();
}

/// Near a deadline, wrong clocks can do more than cause a refusal in only this case.
#[tokio::test(flavor = "multi_thread")]
async fn a_reuse_window_shorter_than_the_skew_is_the_operators_risk() {
    let side = async |reuse: i64| {
        let mut side = Side::start(&[-MAX_SKEW_MILLISECONDS, MAX_SKEW_MILLISECONDS]).await;
        let client = "22222222-2222-2222-2222-222222222222";
        exchange_token::client(&side.stack, &json!({"clientId": client, "refreshReuseSeconds": reuse})).await;
        let code = exchange_token::issue(&side.stack, &json!({"clientId": client})).await;
        let mut body = code_body(&code);
        body["client_id"] = client.into();
        let first = side.nodes[0].send(&exchange_token::request(&body)).await;
        side.refresh_tokens.push(first.body["items"][0]["refreshToken"].as_str().unwrap().to_owned());
        let mut body = refresh_body(&side.refresh_tokens[0]);
        body["client_id"] = client.into();
        let refresh = exchange_token::request(&body);
        // The answer of the slow clock's function is lost, and the client asks the fast one at once.
        assert_eq!(side.nodes[0].send(&refresh).await.status, 201);
        side.nodes[1].send(&refresh).await.status
    };
    assert_eq!(side(10).await, 201);
    assert_eq!(side(9).await, 400);
}
