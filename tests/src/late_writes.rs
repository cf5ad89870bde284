//! Writes whose answer is lost or late while other requests go on, and requests that faster ones overtake.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use futures_util::{
    StreamExt as _,
    future::{join, join_all},
    stream,
};
use serde_json::{Value, json};
use shared::{
    clock::Clock as _,
    credential::{Credential, CredentialKind},
    store::{EndedToken, TokenEnd, Update},
};

use crate::harness::{
    ApiRequest, InjectedFault, Node, Outcome, Secrets, Tenant, TestStack, authorizer_event,
    exchange_token::{self, CLIENT, code_body, refresh_body},
    items, oauth2, unverified_claims, with,
};

struct Scene {
    stack: TestStack,
    tenant: Tenant,
}

impl Scene {
    async fn new(settings: &Value) -> Self {
        let stack = TestStack::start().await;
        let tenant = Tenant::with_registration(&stack, "acme", settings).await;
        Self { stack, tenant }
    }

    fn node(&self) -> Node {
        Node::start(&self.stack, TimeDelta::zero())
    }

    fn create(&self) -> ApiRequest {
        self.tenant.create_token_request()
    }

    fn update(&self, changes: &Value) -> ApiRequest {
        let action = json!({"action": "updateRegistration", "registrationId": self.tenant.registration});
        ApiRequest::provision(with(&action, changes))
    }

    async fn max_allowed(&self) -> Value {
        self.stack.registration_item(&self.tenant.registration).await["maxAllowed"]["N"].clone()
    }
}

/// The id of a token, and the token as a bearer.
fn token(outcome: &Outcome) -> (String, String) {
    assert_eq!(outcome.status, 201, "{outcome:?}");
    let token = &outcome.body["token"];
    Secrets::add_credential(token["accessToken"].as_str().unwrap());
    (token["id"].as_str().unwrap().to_owned(), token["accessToken"].as_str().unwrap().to_owned())
}

/// While an attempt of another request stalls, which takes 600 ms.
async fn meanwhile() {
    tokio::time::sleep(Duration::from_millis(250)).await;
}

// ------------------------------------------------------------------------------------------------ tokens

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_sent_again_does_not_issue_the_token_that_was_revoked_meanwhile() {
    let scene = Scene::new(&json!({})).await;
    let (slow, fast) = (scene.node(), scene.node());
    let request = scene.create().with_idempotency_key("key");
    assert!(slow.accepts(&scene.tenant.key).await);
    slow.calls.fail("UpdateItem", &[InjectedFault::Late]);
    let revoked = async {
        meanwhile().await;
        let repeated = fast.send(&request).await;
        assert!(repeated.replayed, "{repeated:?}");
        let (id, bearer) = token(&repeated);
        assert!(fast.accepts(&bearer).await);
        assert!(scene.stack.revoke_token(&scene.tenant.registration, &id).await);
        bearer
    };
    let (first, revoked) = join(slow.send(&request), revoked).await;
    assert_ne!(token(&first).1, revoked);
    assert!(!fast.accepts(&revoked).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_knows_itself_while_others_revoke() {
    let scene = Scene::new(&json!({"maxAllowed": 1000})).await;
    let node = scene.node();
    for _ in 0..5 {
        let (one, two) = (token(&node.send(&scene.create()).await).0, token(&node.send(&scene.create()).await).0);
        scene.stack.calls.fail_nth("UpdateItem", 0, &[InjectedFault::AnswerLost, InjectedFault::NotSent]);
        let other = async {
            while scene.stack.holds(&scene.tenant.registration, &one).await {}
            scene.stack.revoke_token(&scene.tenant.registration, &two).await
        };
        let (first, second) = join(scene.stack.revoke_token(&scene.tenant.registration, &one), other).await;
        assert!(first && second);
        scene.stack.calls.heal();
    }
}

/// A registration remembers so many revocations and no more. Those that it has forgotten stay revoked.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_and_forgotten_does_not_come_back() {
    let scene = Scene::new(&json!({"maxAllowed": 100})).await;
    let (slow, node) = (scene.node(), scene.node());
    slow.calls.fail("UpdateItem", &[InjectedFault::Overtaken]);
    let (id, bearer) = token(&slow.send(&scene.create()).await);
    assert!(scene.stack.revoke_token(&scene.tenant.registration, &id).await);
    for _ in 0..45 {
        let other = token(&node.send(&scene.create()).await).0;
        assert!(scene.stack.revoke_token(&scene.tenant.registration, &other).await);
    }
    slow.calls.deliver().await;
    assert!(!node.accepts(&bearer).await && !scene.stack.holds(&scene.tenant.registration, &id).await);
    let item = scene.stack.registration_item(&scene.tenant.registration).await;
    assert!(item["revoked"]["M"].as_object().unwrap().len() <= 20);
}

/// The first attempt of a create is recorded and revoked, and forgotten, before its second one.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_and_forgotten_under_its_create_is_replaced() {
    let scene = Scene::new(&json!({"maxAllowed": 100})).await;
    let (slow, fast) = (scene.node(), scene.node());
    let mut others = vec![];
    for _ in 0..21 {
        others.push(token(&fast.send(&scene.create()).await).0);
    }
    slow.calls.fail("UpdateItem", &[InjectedFault::Late]);
    let revoke_all = async {
        meanwhile().await;
        let item = scene.stack.registration_item(&scene.tenant.registration).await;
        let recorded = item["tokens"]["M"].as_object().unwrap();
        let first = recorded.keys().find(|id| !others.contains(id)).unwrap().clone();
        for id in [&first].into_iter().chain(&others) {
            assert!(scene.stack.revoke_token(&scene.tenant.registration, id).await);
        }
        // A create forgets them.
        assert!(fast.accepts(&token(&fast.send(&scene.create()).await).1).await);
        let item = scene.stack.registration_item(&scene.tenant.registration).await;
        assert_eq!(item["revoked"]["M"], json!({}));
        first
    };
    let (created, first) = join(slow.send(&scene.create()), revoke_all).await;
    let (id, bearer) = token(&created);
    assert_ne!(id, first);
    assert!(fast.accepts(&bearer).await && !scene.stack.holds(&scene.tenant.registration, &first).await);
}

/// What was expired when it was read is another token by the time that it is removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_removal_of_expired_tokens_removes_no_live_one() {
    let scene = Scene::new(&json!({"maxAllowed": 2, "tokenTtlSeconds": 10})).await;
    let node = scene.node();
    let request = scene.create().with_idempotency_key("key");
    token(&node.send(&request).await);
    scene.stack.clock.advance(10);
    let (store, id) = (scene.stack.store(), scene.tenant.registration.parse().unwrap());
    let before = store.load_registration(&id).await.unwrap().unwrap();
    let expired: Vec<_> = before.tokens.keys().map(|slot| EndedToken { slot: *slot, end: TokenEnd::Expired }).collect();
    let (_, live) = token(&node.send(&request).await);
    let update = store.remove_ended_tokens(&id, &expired, scene.stack.clock.now()).await.unwrap();
    assert!(matches!(update, Update::Conflict(_)), "{update:?}");
    assert!(node.accepts(&live).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_do_not_make_creates_fail() {
    let scene = Scene::new(&json!({"maxAllowed": 1000})).await;
    // The stack's own function, which waits for AWS longer than a node does: this is about races and not about
    // timeouts.
    let create = async || scene.tenant.create_token(&scene.stack).await;
    let mut ids = Vec::new();
    for _ in 0..15 {
        for answer in join_all((0..20).map(async |_| create().await)).await {
            ids.push(answer.json()["token"]["id"].as_str().unwrap().to_owned());
        }
    }
    let revoke = stream::iter(&ids).for_each_concurrent(4, async |id| {
        assert!(scene.stack.revoke_token(&scene.tenant.registration, id).await);
    });
    let creates = join_all((0..40).map(async |_| create().await.status));
    let ((), statuses) = join(revoke, creates).await;
    assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lowered_quota_does_not_block_creates_when_nothing_is_active() {
    let scene = Scene::new(&json!({"maxAllowed": 170, "tokenTtlSeconds": 10})).await;
    let node = scene.node();
    for _ in 0..17 {
        let made = join_all((0..10).map(async |_| node.send(&scene.create()).await)).await;
        assert!(made.iter().all(|outcome| outcome.status == 201));
    }
    scene.stack.clock.advance(10);
    assert_eq!(node.send(&scene.update(&json!({"maxAllowed": 10}))).await.status, 200);
    let made = join_all((0..20).map(async |_| node.send(&scene.create()).await.status)).await;
    assert_eq!(made.iter().filter(|status| **status == 201).count(), 10, "{made:?}");
}

/// The quota is lowered, and the scopes are changed, between the signature of a token and its write.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_decided_again_if_the_settings_change_under_it() {
    for changes in [json!({"maxAllowed": 1}), json!({"scopes": ["read:things"]})] {
        let scene = Scene::new(&json!({"maxAllowed": 2})).await;
        let (slow, fast) = (scene.node(), scene.node());
        token(&fast.send(&scene.create()).await);
        slow.calls.fail("Sign", &[InjectedFault::Stalled]);
        let update = async {
            meanwhile().await;
            fast.send(&scene.update(&changes)).await
        };
        let request = scene.create().with_idempotency_key("key");
        let (created, updated) = join(slow.send(&request), update).await;
        assert!(slow.calls.all_failed() && updated.status == 200, "{updated:?}");
        if changes["maxAllowed"].is_null() {
            let repeated = fast.send(&request).await;
            assert_eq!((token(&created), repeated.replayed), (token(&repeated), true));
            assert_eq!(unverified_claims(&token(&created).1)["scope"], "read:things");
        } else {
            assert_eq!(created.status, 400, "{created:?}");
        }
    }
}

// ------------------------------------------------------------------------------------------------ settings

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_lost_a_race_writes_all_it_was_asked_for() {
    let scene = Scene::new(&json!({"maxAllowed": 10})).await;
    let (slow, fast) = (scene.node(), scene.node());
    let scopes = json!(["oauth.token.create", "read:things"]);
    slow.calls.fail("UpdateItem", &[InjectedFault::Stalled]);
    let faster = async {
        meanwhile().await;
        fast.send(&scene.update(&json!({"scopes": scopes}))).await
    };
    let both = scene.update(&json!({"scopes": scopes, "maxAllowed": 1}));
    let (one, two) = join(slow.send(&both), faster).await;
    assert_eq!((one.status, two.status), (200, 200), "{one:?} {two:?}");
    assert_eq!(scene.max_allowed().await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_arrives_late_does_not_undo_a_later_one() {
    let scene = Scene::new(&json!({"maxAllowed": 5})).await;
    let (slow, fast) = (scene.node(), scene.node());
    slow.calls.fail("UpdateItem", &[InjectedFault::Overtaken]);
    assert_eq!(slow.send(&scene.update(&json!({"maxAllowed": 1000}))).await.status, 200);
    assert_eq!(fast.send(&scene.update(&json!({"maxAllowed": 1}))).await.status, 200);
    slow.calls.deliver().await;
    assert_eq!(scene.max_allowed().await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slower_clock_still_repeats_a_token_that_expires_soon() {
    let scene = Scene::new(&json!({"tokenTtlSeconds": 100})).await;
    let (slow, fast) = (scene.node(), Node::start(&scene.stack, TimeDelta::seconds(5)));
    let request = scene.create().with_idempotency_key("key");
    let first = token(&slow.send(&request).await);
    assert_eq!(fast.send(&scene.update(&json!({"scopes": ["a"]}))).await.status, 200);
    scene.stack.clock.advance(97);
    assert_eq!(fast.send(&scene.update(&json!({"scopes": ["b"]}))).await.status, 200);
    assert_eq!(token(&slow.send(&request).await), first);
}

// ------------------------------------------------------------------------------------------------ app tokens, API keys

#[tokio::test(flavor = "multi_thread")]
async fn an_app_token_that_was_revoked_meanwhile_is_not_handed_out() {
    let scene = Scene::new(&json!({})).await;
    let (slow, fast) = (scene.node(), scene.node());
    slow.calls.fail("PutItem", &[InjectedFault::Late]);
    let request = scene.tenant.create_app_token_request().with_idempotency_key("key");
    let revoked = async {
        meanwhile().await;
        let repeated = fast.send(&request).await;
        assert!(repeated.replayed);
        Secrets::add_credential(repeated.body["data"]["bearer"].as_str().unwrap());
        assert!(scene.stack.revoke_app_token(repeated.body["data"]["id"].as_str().unwrap()).await);
        repeated.body["data"]["id"].clone()
    };
    let (first, revoked) = join(slow.send(&request), revoked).await;
    Secrets::add_credential(first.body["data"]["bearer"].as_str().unwrap());
    assert_eq!(first.status, 200);
    assert_ne!(first.body["data"]["id"], revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_a_stranger_after_the_first_refusal() {
    let scene = Scene::new(&json!({})).await;
    let node = scene.node();
    token(&node.send(&scene.create()).await);
    let id = Credential::parse(CredentialKind::ApiKey, &scene.tenant.key).unwrap().id();
    let _ = scene.stack.store().revoke_api_key(id, scene.stack.clock.now()).await.unwrap();
    for reads in [2, 1, 1] {
        node.calls.reset();
        assert_eq!(node.send(&scene.create()).await.status, 401);
        assert_eq!(node.calls.count()["GetItem"], reads);
    }
}

/// A forged bearer names a key that KMS does not give, or that it does not answer for.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_bearer_does_not_make_kms_be_asked_again_and_again() {
    let scene = Scene::new(&json!({})).await;
    let missing = "11111111-2222-3333-4444-555555555555";
    let node = Node::start_with(&scene.stack, TimeDelta::zero(), &[("PREVIOUS_SIGNING_KEY_IDS", missing)]);
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "typ": "at+jwt", "kid": missing}).to_string());
    let forged = scene.create().with_bearer(&format!("oauth2_{header}.e30.AAAA"));
    node.calls.fail("GetPublicKey", &[InjectedFault::Error("KMSInternalException"); 3]);
    for (status, calls) in [(500, 3), (500, 0), (500, 0)] {
        node.calls.reset();
        assert_eq!(node.send(&forged).await.status, status);
        assert_eq!(node.calls.count().get("GetPublicKey").copied().unwrap_or(0), calls);
    }
    // Many at once, while it takes longer than a second not to answer.
    scene.stack.clock.advance(1);
    node.calls.reset();
    node.calls.fail("GetPublicKey", &[InjectedFault::Stalled; 3]);
    let passes = async {
        meanwhile().await;
        scene.stack.clock.advance(2);
    };
    let (outcomes, ()) = join(join_all((0..10).map(async |_| node.send(&forged).await)), passes).await;
    assert!(outcomes.iter().all(|outcome| outcome.status == 500), "{outcomes:?}");
    assert!(node.calls.all_failed(), "the first of them made three attempts");
    assert!(!node.calls.count().contains_key("GetPublicKey"), "the others made none");
    scene.stack.clock.advance(1);
    for calls in [1, 0, 0] {
        node.calls.reset();
        assert_eq!(node.send(&forged).await.status, 401);
        assert_eq!(node.calls.count().get("GetPublicKey").copied().unwrap_or(0), calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permission_comes_before_existence() {
    let scene = Scene::new(&json!({})).await;
    let key =
        scene.stack.api_key_that_may(&scene.stack.organization("other").await, &["mad.application.token.create"]).await;
    let path = json!({"organizationId": "other", "applicationId": "no-such-app"});
    let body = json!({"scopes": ["oauth.token.revoke"]});
    let answer = scene.node().send(&ApiRequest::new("create-app-token", &path, &key, &body)).await;
    assert_eq!(answer.status, 403, "{answer:?}");
}

// ------------------------------------------------------------------------------------------------ grants

/// A tab whose refresh takes long, because an answer is lost or a signature is slow, while another tab refreshes twice.
/// It is refused, and the user stays logged in.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_tab_is_not_a_thief() {
    let stack = TestStack::start().await;
    exchange_token::client(&stack, &json!({})).await;
    let send = async |node: &Node, body: &Value| node.send(&exchange_token::request(body)).await;
    for (operation, fault) in [("UpdateItem", InjectedFault::Late), ("Sign", InjectedFault::Stalled)] {
        let code = exchange_token::issue(&stack, &json!({})).await;
        let (slow, fast) = (Node::start(&stack, TimeDelta::zero()), Node::start(&stack, TimeDelta::zero()));
        let first = refresh_body(&send(&fast, &code_body(&code)).await.refresh_token());
        slow.calls.fail(operation, &[fault]);
        let other_tab = async {
            meanwhile().await;
            let second = send(&fast, &first).await.refresh_token();
            send(&fast, &refresh_body(&second)).await.refresh_token()
        };
        let (late, third) = join(send(&slow, &first), other_tab).await;
        assert_eq!(late.status, 400, "{late:?}");
        send(&fast, &refresh_body(&third)).await.refresh_token();
        // The same token a second time is no longer late.
        assert_eq!(send(&fast, &first).await.status, 400);
        assert_eq!(send(&fast, &refresh_body(&third)).await.status, 400, "{operation}: the grant is over");
    }
}

// ------------------------------------------------------------------------------------------------ endings

impl Scene {
    /// Sends an action of an operator, which must succeed.
    async fn provision(&self, node: &Node, action: Value) -> Value {
        let answer = node.send(&ApiRequest::provision(action.clone())).await;
        assert_eq!(answer.status, 200, "{action}: {answer:?}");
        answer.body
    }

    /// For each kind of owner, the member of an action that names it, and a new token that it has issued.
    async fn owners_and_tokens(&self) -> [(Value, String); 3] {
        let stack = &self.stack;
        let app_token = self.tenant.create_app_token(stack, &json!({})).await.json()["data"]["bearer"].clone();
        [
            (json!({"registrationId": self.tenant.registration}), self.tenant.create_token(stack).await.access_token()),
            (json!({"applicationId": self.tenant.application}), app_token.as_str().unwrap().to_owned()),
            (json!({"clientId": CLIENT}), oauth2::user(stack).await.access_token),
        ]
    }
}

async fn is_authorized(node: &Node, bearer: &str) -> bool {
    let request = ApiRequest { function: "authorize", event: authorizer_event(bearer) };
    node.send(&request).await.body["isAuthorized"] == true
}

/// Each write of a suspension arrives once more when the organization is resumed, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_that_arrives_late_suspends_nothing_again() {
    /// The organization, and three entities with their members.
    const WRITES: usize = 7;
    let scene = Scene::new(&json!({})).await;
    let fast = scene.node();
    let action = |name: &str| json!({"action": name, "organizationId": scene.tenant.organization});
    let (suspend, resume) = (action("suspendOrganization"), action("resumeOrganization"));
    for nth in 0..WRITES {
        for is_suspension in [true, false] {
            let slow = scene.node();
            slow.calls.fail_nth("UpdateItem", nth, &[InjectedFault::Overtaken]);
            let (first, second) = if is_suspension { (&suspend, &resume) } else { (&resume, &suspend) };
            if !is_suspension {
                scene.provision(&fast, suspend.clone()).await;
            }
            let done = scene.provision(&slow, first.clone()).await;
            assert_eq!(done, json!({if is_suspension { "suspended" } else { "resumed" }: 3}), "{nth}");
            assert!(slow.calls.all_failed(), "{nth}");
            scene.provision(&fast, second.clone()).await;
            slow.calls.deliver().await;
            for (owner, token) in [("apiKey", &scene.tenant.key)] {
                assert_eq!(is_authorized(&fast, token).await, is_suspension, "{owner} {nth}");
            }
            for key in [
                items::organization_key(&scene.tenant.organization),
                items::registration_key(&scene.tenant.registration),
                items::application_key(&scene.tenant.application),
            ] {
                let number = scene.stack.item(&key).await["suspension"]["N"].as_str().unwrap().parse::<u64>().unwrap();
                assert_eq!(number % 2 == 0, is_suspension, "{key} {nth}");
            }
            if !is_suspension {
                scene.provision(&fast, resume.clone()).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_end_of_all_tokens_ends_none_that_was_issued_since() {
    let scene = Scene::new(&json!({})).await;
    exchange_token::client(&scene.stack, &json!({"organizationId": scene.tenant.organization})).await;
    let fast = scene.node();
    let public =
        ApiRequest { function: "manage-tokens", ..scene.create() }.with_route("POST /api/v1/revoke-tokens", "");
    for (nth, public) in [(0, None), (1, None), (2, None), (0, Some(public))] {
        let slow = scene.node();
        let (owner, old) = scene.owners_and_tokens().await[nth].clone();
        assert!(is_authorized(&fast, &old).await, "{owner}");
        slow.calls.fail("UpdateItem", &[InjectedFault::Overtaken]);
        let revoke = ApiRequest::provision(with(&owner, &json!({"action": "revokeTokens"})));
        let ended = slow.send(&public.unwrap_or(revoke)).await;
        assert_eq!(ended.status, 200, "{ended:?}");
        assert!(slow.calls.all_failed() && !is_authorized(&fast, &old).await, "{owner}");
        let (_, new) = scene.owners_and_tokens().await[nth].clone();
        slow.calls.deliver().await;
        assert!(is_authorized(&fast, &new).await && !is_authorized(&fast, &old).await, "{owner}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_disabled_is_not_enabled_by_a_late_update() {
    let scene = Scene::new(&json!({})).await;
    exchange_token::client(&scene.stack, &json!({"organizationId": scene.tenant.organization})).await;
    let fast = scene.node();
    let actions = ["updateRegistration", "updateApplication", "updateClient"];
    for ((owner, token), action) in scene.owners_and_tokens().await.into_iter().zip(actions) {
        let slow = scene.node();
        let enabled = |enabled: bool| with(&owner, &json!({"action": action, "enabled": enabled}));
        slow.calls.fail("UpdateItem", &[InjectedFault::Overtaken]);
        scene.provision(&slow, enabled(true)).await;
        assert!(slow.calls.all_failed() && is_authorized(&fast, &token).await, "{action}");
        scene.provision(&fast, enabled(false)).await;
        slow.calls.deliver().await;
        assert!(!is_authorized(&fast, &token).await, "{action}");
        scene.provision(&fast, enabled(true)).await;
        assert!(is_authorized(&fast, &token).await, "{action}");
    }
}

/// All attempts of a creation arrive after the organization was deleted, or suspended.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_arrives_late_creates_nothing() {
    let scene = Scene::new(&json!({})).await;
    let fast = scene.node();
    for ending in [
        json!({"action": "delete", "kind": "organization", "id": "late"}),
        json!({"action": "suspendOrganization", "organizationId": "late"}),
    ] {
        let slug = format!("late-{}", ending["action"].as_str().unwrap());
        let organization = scene.stack.organization(&slug).await;
        let ending = if ending["kind"].is_null() {
            with(&ending, &json!({"organizationId": slug}))
        } else {
            with(&ending, &json!({"id": slug}))
        };
        let ids = json!({"organizationId": organization});
        for create in [
            json!({"action": "createApiKey"}),
            json!({"action": "createRegistration", "name": "late", "registrationId": format!("{slug}-1")}),
            json!({"action": "createApplication", "slug": "late"}),
            json!({"action": "createClient", "redirectUris": ["https://a.example/"], "scopes": ["openid"]}),
        ] {
            let slow = scene.node();
            slow.calls.fail("TransactWriteItems", &[InjectedFault::Overtaken; 3]);
            let lost = slow.send(&ApiRequest::provision(with(&ids, &create))).await;
            assert_eq!(lost.status, 500, "{lost:?}");
            assert!(slow.calls.all_failed());
            // Of the first one only: later ones find it ended, and their request is refused before the write.
            scene.provision(&fast, ending.clone()).await;
            let before = scene.stack.dynamodb("Scan", json!({})).await;
            slow.calls.deliver().await;
            assert_eq!(scene.stack.dynamodb("Scan", json!({})).await, before, "{create} after {ending}");
            if ending["kind"].is_null() {
                scene.provision(&fast, with(&ids, &json!({"action": "resumeOrganization"}))).await;
            } else {
                let refused = fast.send(&ApiRequest::provision(with(&ids, &create))).await;
                assert_eq!(refused.body["errorType"], "NotFound", "{refused:?}");
                break;
            }
        }
    }
}

/// All attempts of the deletion arrive after something was created in the organization.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_deletion_deletes_no_organization_that_has_something() {
    let scene = Scene::new(&json!({})).await;
    let organization = scene.stack.organization("late").await;
    let (slow, fast) = (scene.node(), scene.node());
    slow.calls.fail("PutItem", &[InjectedFault::Overtaken; 3]);
    let delete = json!({"action": "delete", "kind": "organization", "id": "late"});
    assert_eq!(slow.send(&ApiRequest::provision(delete.clone())).await.status, 500);
    assert!(slow.calls.all_failed());
    let create = json!({"action": "createApplication", "organizationId": organization, "slug": "app"});
    let application = scene.provision(&fast, create).await["applicationId"].clone();
    slow.calls.deliver().await;
    let get = json!({"action": "get", "kind": "organization", "id": "late"});
    scene.provision(&fast, get.clone()).await;
    scene.provision(&fast, json!({"action": "delete", "kind": "application", "id": application})).await;
    scene.provision(&fast, delete).await;
    assert_eq!(fast.send(&ApiRequest::provision(get)).await.body["errorType"], "NotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_repeat_of_a_deletion_or_a_creation_changes_nothing() {
    let scene = Scene::new(&json!({})).await;
    let (slow, fast) = (scene.node(), scene.node());
    let create = json!({
        "action": "createRegistration", "organizationId": "acme", "name": "late", "registrationId": "late",
    });
    slow.calls.fail("TransactWriteItems", &[InjectedFault::Overtaken]);
    scene.provision(&slow, create.clone()).await;
    slow.calls.fail("PutItem", &[InjectedFault::Overtaken]);
    scene.provision(&slow, json!({"action": "delete", "kind": "registration", "id": "late"})).await;
    assert!(slow.calls.all_failed());
    scene.stack.clock.advance(1);
    let before = scene.stack.dynamodb("Scan", json!({})).await;
    slow.calls.deliver().await;
    assert_eq!(scene.stack.dynamodb("Scan", json!({})).await, before);
    let refused = fast.send(&ApiRequest::provision(create)).await;
    assert_eq!(refused.body["errorMessage"], "registrationId is already taken");
}

/// DynamoDB says that an earlier attempt is under way, until the SDK gives up. That attempt has done the work.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_knows_its_earlier_attempt() {
    const IN_PROGRESS: InjectedFault = InjectedFault::Error("TransactionInProgressException");
    const CANCELED: InjectedFault = InjectedFault::Error("TransactionCanceledException");
    let scene = Scene::new(&json!({})).await;
    let key = Credential::parse(CredentialKind::ApiKey, &scene.tenant.key).unwrap().id();
    let ids = json!({"organizationId": scene.tenant.organization});
    for (nth, faults) in [
        vec![InjectedFault::AnswerLost],
        vec![CANCELED],
        vec![CANCELED, CANCELED],
        vec![InjectedFault::AnswerLost, CANCELED],
        vec![InjectedFault::AnswerLost, IN_PROGRESS, IN_PROGRESS],
    ]
    .into_iter()
    .enumerate()
    {
        for action in [
            with(
                &ids,
                &json!({"action": "createRegistration", "name": "test", "registrationId": format!("once-{nth}")}),
            ),
            with(&ids, &json!({"action": "createApplication", "slug": format!("once-{nth}")})),
            json!({"action": "rotateApiKey", "apiKeyId": key}),
        ] {
            let node = scene.node();
            node.calls.fail("TransactWriteItems", &faults);
            let items = scene.stack.count_items("").await;
            let made = scene.provision(&node, action.clone()).await;
            made["apiKey"].as_str().inspect(|secret| Secrets::add_credential(secret));
            assert!(node.calls.all_failed(), "{action}");
            assert_eq!(scene.stack.count_items("").await, items + 2, "the entity and its member: {action} {faults:?}");
        }
    }
}
