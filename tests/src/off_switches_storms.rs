//! Storms of requests around what ends or suspends things: whatever the order, nothing that is over is accepted, and
//! nothing is half on and half off.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use futures_util::future::{join, join_all, join3};
use serde_json::{Value, json};

use crate::harness::{
    ApiRequest, InjectedFault, Node, Outcome, Secrets, Tenant, TestStack, authorizer_event,
    exchange_token::{self, CLIENT, code_body},
    lock, unverified_claims, with,
};

const NODES: usize = 3;

/// A stack with a tenant and a client of its organization, and several processes.
struct Scene {
    stack: TestStack,
    nodes: Vec<Node>,
    tenant: Tenant,
}

/// What ends all that it issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Owner {
    Registration,
    Application,
    Client,
}

const OWNERS: [Owner; 3] = [Owner::Registration, Owner::Application, Owner::Client];

impl Scene {
    async fn new() -> Self {
        let stack = TestStack::start().await;
        let tenant = Tenant::with_registration(&stack, "acme", &json!({"maxAllowed": 1000})).await;
        exchange_token::client(&stack, &json!({"organizationId": tenant.organization})).await;
        let nodes = (0..NODES).map(|_| Node::start_patient(&stack, Duration::from_mins(1))).collect();
        Self { stack, nodes, tenant }
    }

    /// Sends a request to one of the processes.
    async fn send(&self, n: usize, request: &ApiRequest) -> Outcome {
        self.nodes[n % NODES].send(request).await
    }

    async fn provision(&self, n: usize, action: Value) -> Outcome {
        self.send(n, &ApiRequest::provision(action)).await
    }

    fn owner(&self, owner: Owner) -> (&'static str, &'static str, &str) {
        match owner {
            Owner::Registration => ("registration", "registrationId", &self.tenant.registration),
            Owner::Application => ("application", "applicationId", &self.tenant.application),
            Owner::Client => ("client", "clientId", CLIENT),
        }
    }

    /// Makes the owner issue something, if it still does.
    async fn create(&self, owner: Owner, n: usize) -> Outcome {
        let login = ApiRequest { function: "issue-code", event: exchange_token::login() };
        let request = match owner {
            Owner::Registration => self.tenant.create_token_request(),
            Owner::Application => self.tenant.create_app_token_request(),
            Owner::Client => {
                let issued = self.send(n, &login).await;
                let Some(code) = issued.body["code"].as_str() else { return issued };
                Secrets::add_credential(code);
                exchange_token::request(&code_body(code))
            }
        };
        self.send(n, &request).await
    }

    async fn is_accepted(&self, n: usize, bearer: &str) -> bool {
        let request = ApiRequest { function: "authorize", event: authorizer_event(bearer) };
        self.send(n, &request).await.body["isAuthorized"] == true
    }

    /// The ids of those that are accepted, which all processes must agree on.
    async fn accepted(&self, issued: &[(String, String)]) -> BTreeSet<String> {
        let accepted = join_all(issued.iter().enumerate().map(async |(n, (id, bearer))| {
            let one = self.is_accepted(n, bearer).await;
            assert_eq!(one, self.is_accepted(n + 1, bearer).await);
            one.then(|| id.clone())
        }));
        accepted.await.into_iter().flatten().collect()
    }

    /// The ids in the list of what the owner issued. The status if there is none.
    async fn listed(&self, owner: Owner) -> Result<BTreeSet<String>, u64> {
        let Tenant { key, slug, registration, .. } = &self.tenant;
        let (answer, items, id) = match owner {
            Owner::Registration => {
                let body = json!({"registrationId": registration});
                let request = ApiRequest::new("manage-tokens", &json!({}), key, &body);
                (self.send(0, &request.with_route("POST /api/v1/list-tokens", "")).await, "/tokens", "id")
            }
            Owner::Application => {
                let path = json!({"organizationId": slug, "applicationId": "my-app"});
                let request = ApiRequest::new("manage-tokens", &path, key, &json!({}));
                let route = "GET /v1/organizations/{organizationId}/apps/{applicationId}/tokens";
                let mut ids = BTreeSet::new();
                for page in 1.. {
                    let query = format!("page={page}&limit=100");
                    let answer = self.send(0, &request.clone().with_route(route, &query)).await;
                    if answer.status != 200 {
                        return Err(answer.status);
                    }
                    let items = answer.body["data"]["items"].as_array().unwrap();
                    ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
                    if answer.body["data"]["hasNextPage"] != true {
                        break;
                    }
                }
                return Ok(ids);
            }
            Owner::Client => {
                let list = json!({"action": "listSessions", "subject": "user-1", "clientId": CLIENT, "limit": 100});
                (self.provision(0, list).await, "/items", "sid")
            }
        };
        if answer.status != 200 {
            return Err(answer.status);
        }
        let items = answer.body.pointer(items).unwrap().as_array().unwrap();
        Ok(items.iter().map(|item| item[id].as_str().unwrap().to_owned()).collect())
    }
}

/// The id and the bearer of what was issued, `None` if it was refused.
fn issued(outcome: &Outcome) -> Option<(String, String)> {
    let body = &outcome.body;
    let (id, bearer) = if let Some(token) = body.get("token") {
        (token["id"].clone(), token["accessToken"].clone())
    } else if let Some(data) = body.get("data") {
        (data["id"].clone(), data["bearer"].clone())
    } else if let Some(item) = body.pointer("/items/0") {
        Secrets::add_credential(item["refreshToken"].as_str().unwrap());
        let claims = unverified_claims(item["accessToken"].as_str().unwrap());
        (claims["sid"].clone(), item["accessToken"].clone())
    } else {
        return None;
    };
    let (id, bearer) = (id.as_str().unwrap().to_owned(), bearer.as_str().unwrap().to_owned());
    Secrets::add_credential(&bearer);
    Some((id, bearer))
}

// ------------------------------------------------------------------------------------------------ tokens of an owner

/// What was answered before a revocation began is over. Of the rest, what is accepted is what is listed.
#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_are_revoked_among_creations() {
    for (owner, count) in [(Owner::Registration, 200), (Owner::Application, 200), (Owner::Client, 80)] {
        let scene = Scene::new().await;
        let (_, field, id) = scene.owner(owner);
        let answered = Mutex::new(vec![]);
        let create = async |n: usize| {
            let outcome = scene.create(owner, n).await;
            match issued(&outcome) {
                Some(made) => lock(&answered).push(made),
                // The code was issued before a revocation.
                None => assert!(owner == Owner::Client && outcome.status == 400, "{owner:?}: {outcome:?}"),
            }
        };
        let revoke = async {
            let mut over = vec![];
            for n in 0..4 {
                while lock(&answered).len() < (n + 1) * count / 8 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                over.clone_from(&lock(&answered));
                let action = json!({"action": "revokeTokens", field: id});
                let (mut request, mut expected) = (ApiRequest::provision(action), json!({field: id}));
                if owner == Owner::Registration && n % 2 == 1 {
                    let body = json!({"registrationId": id});
                    request = ApiRequest::new("manage-tokens", &json!({}), &scene.tenant.key, &body);
                    request = request.with_route("POST /api/v1/revoke-tokens", "");
                    let message = "Tokens revoked successfully";
                    expected = json!({"message": message, "activeTokens": 0, "maxAllowed": 1000});
                }
                let outcome = scene.send(n, &request).await;
                assert_eq!((outcome.status, &outcome.body), (200, &expected));
            }
            over
        };
        let (_, over) = join(storm(count, create), revoke).await;
        let answered = answered.into_inner().unwrap();
        let accepted = scene.accepted(&answered).await;
        println!("{owner:?}: {} of {} are left", accepted.len(), answered.len());
        assert!(over.len() >= count / 2 && over.iter().all(|(id, _)| !accepted.contains(id)), "{owner:?}");
        assert_eq!(scene.listed(owner).await, Ok(accepted), "{owner:?}");
        // It goes on as before.
        let (id, bearer) = issued(&scene.create(owner, 0).await).unwrap();
        assert!(scene.is_accepted(1, &bearer).await && scene.listed(owner).await.unwrap().contains(&id));
    }
}

/// Does something this many times: many at once, but not all, so that others come in between.
async fn storm<T>(count: usize, act: impl AsyncFn(usize) -> T) -> Vec<T> {
    const AT_ONCE: usize = 20;
    let act = &act;
    let workers = (0..AT_ONCE).map(async |worker| {
        let mut done = vec![];
        for n in (worker..count).step_by(AT_ONCE) {
            done.push(act(n).await);
        }
        done
    });
    join_all(workers).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_among_creations_leaves_nothing() {
    for owner in OWNERS {
        const COUNT: usize = 100;
        let scene = Scene::new().await;
        let (kind, _, id) = scene.owner(owner);
        let answered = Mutex::new(0);
        let create = async |n: usize| {
            let outcome = scene.create(owner, n).await;
            *lock(&answered) += 1;
            let made = issued(&outcome);
            assert!(made.is_some() || [400, 404].contains(&outcome.status), "{owner:?}: {outcome:?}");
            made
        };
        let delete = async {
            while *lock(&answered) < COUNT / 4 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let action = json!({"action": "delete", "kind": kind, "id": id});
            join_all((0..3).map(|n| scene.provision(n, action.clone()))).await
        };
        let (made, deleted) = join(storm(COUNT, create), delete).await;
        let made: Vec<_> = made.into_iter().flatten().collect();
        assert_eq!(deleted.iter().filter(|outcome| outcome.status == 200).count(), 1, "{deleted:?}");
        let mut refused = deleted.iter().filter(|outcome| outcome.status != 200);
        assert!(refused.all(|outcome| outcome.body["errorType"] == "NotFound"), "{deleted:?}");
        println!("{owner:?}: {} of {COUNT} were made", made.len());
        assert!(made.len() >= COUNT / 4 && made.len() < COUNT);
        assert_eq!(scene.accepted(&made).await, BTreeSet::new(), "{owner:?}");
        assert!(scene.listed(owner).await.is_err(), "{owner:?}");
        let late = scene.create(owner, 0).await;
        assert!(issued(&late).is_none() && late.status >= 400, "{owner:?}: {late:?}");
    }
}

// ------------------------------------------------------------------------------------------------ organizations

/// The events that create one of each kind in an organization.
fn creations(organization: &str, n: usize) -> [Value; 4] {
    let ids = json!({"organizationId": organization});
    [
        json!({"action": "createApiKey"}),
        json!({"action": "createRegistration", "name": "new"}),
        json!({"action": "createApplication", "slug": format!("app-{n}")}),
        json!({"action": "createClient", "redirectUris": ["https://a.example/"], "scopes": ["openid"]}),
    ]
    .map(|action| with(&action, &ids))
}

/// The kind and the id of what a creation has made, and the key if it is one. `None` if it was refused.
fn made(outcome: &Outcome) -> Option<(&'static str, String, Option<String>)> {
    if outcome.status != 200 {
        return None;
    }
    let key = outcome.body["apiKey"].as_str().map(str::to_owned);
    if let Some(key) = &key {
        Secrets::add_credential(key);
    }
    let ids = [
        ("apiKey", "apiKeyId"),
        ("registration", "registrationId"),
        ("application", "applicationId"),
        ("client", "clientId"),
    ];
    let (kind, id) = ids.into_iter().find(|(_, id)| outcome.body[id].is_string()).unwrap();
    Some((kind, outcome.body[id].as_str().unwrap().to_owned(), key))
}

impl Scene {
    /// Whether all entities are suspended. It panics if some are and some are not.
    async fn is_suspended(&self, entities: &[(&'static str, String, Option<String>)]) -> bool {
        let states = join_all(entities.iter().enumerate().map(async |(n, (kind, id, key))| {
            let shown = self.provision(n, json!({"action": "get", "kind": kind, "id": id})).await;
            let suspended = shown.body["suspended"].as_bool().unwrap_or_else(|| panic!("{kind} {id}: {shown:?}"));
            if let Some(key) = key {
                assert_eq!(self.nodes[n % NODES].accepts(key).await, !suspended, "{kind} {id}");
            }
            suspended
        }));
        let states = states.await.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(states.len(), 1, "one state");
        states.contains(&true)
    }

    async fn switch(&self, n: usize, name: &str) -> u64 {
        let (action, count) = match name {
            "suspend" => ("suspendOrganization", "suspended"),
            _ => ("resumeOrganization", "resumed"),
        };
        let outcome = self.provision(n, json!({"action": action, "organizationId": self.tenant.organization})).await;
        outcome.body[count].as_u64().unwrap_or_else(|| panic!("{outcome:?}"))
    }

    /// The tenant's own entities.
    fn own(&self) -> Vec<(&'static str, String, Option<String>)> {
        let owners = OWNERS.map(|owner| self.owner(owner));
        owners.into_iter().map(|(kind, _, id)| (kind, id.to_owned(), None)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_while_an_organization_is_suspended_is_suspended_or_refused() {
    let scene = Scene::new().await;
    for round in 0..3 {
        let actions: Vec<_> = (0..20).flat_map(|n| creations(&scene.tenant.organization, round * 20 + n)).collect();
        let answered = Mutex::new(0);
        let create = async |n: usize| {
            let outcome = scene.provision(n, actions[n].clone()).await;
            *lock(&answered) += 1;
            let made = made(&outcome);
            let rule = "must not be that of a suspended organization";
            assert!(made.is_some() || outcome.body["errorMessage"].as_str().unwrap().contains(rule), "{outcome:?}");
            made
        };
        let suspend = async {
            while *lock(&answered) < 4 + round * 16 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let suspended: u64 = join_all((0..3).map(|n| scene.switch(n, "suspend"))).await.into_iter().sum();
            (suspended, scene.switch(0, "suspend").await)
        };
        let (made, (suspended, again)) = join(storm(actions.len(), create), suspend).await;
        let mut entities: Vec<_> = made.into_iter().flatten().collect();
        println!("{} of {} were created, {suspended} suspended", entities.len(), actions.len());
        assert!(entities.len() >= 4 && entities.len() < actions.len() && again == 0);
        entities.extend(scene.own());
        assert!(scene.is_suspended(&entities).await);
        assert!(!scene.nodes[0].accepts(&scene.tenant.key).await);
        for action in creations_refused(&scene, round).await {
            assert!(made_nothing(&action), "{action:?}");
        }
        assert!(scene.switch(0, "resume").await >= entities.len() as u64);
        assert!(!scene.is_suspended(&entities).await);
        assert!(scene.nodes[0].accepts(&scene.tenant.key).await);
    }
}

/// The answers to creations in a suspended organization.
async fn creations_refused(scene: &Scene, round: usize) -> Vec<Outcome> {
    let actions = creations(&scene.tenant.organization, 1000 + round);
    join_all(actions.into_iter().enumerate().map(|(n, action)| scene.provision(n, action))).await
}

fn made_nothing(outcome: &Outcome) -> bool {
    outcome.status == 400 && outcome.body["errorType"] == "InvalidRequest"
}

#[tokio::test(flavor = "multi_thread")]
async fn suspending_and_resuming_at_once_ends_in_one_state() {
    let scene = Scene::new().await;
    let mut entities = scene.own();
    for n in 0..5 {
        for action in creations(&scene.tenant.organization, n) {
            entities.push(made(&scene.provision(n, action).await).unwrap());
        }
    }
    for round in 0..8 {
        let calls = (0..6).map(|n| scene.switch(n, if (n + round) % 2 == 0 { "suspend" } else { "resume" }));
        join_all(calls).await;
        let last = if round % 4 < 2 { "suspend" } else { "resume" };
        scene.switch(round, last).await;
        assert_eq!(scene.is_suspended(&entities).await, last == "suspend", "round {round}");
        assert_eq!(scene.switch(round, last).await, 0, "round {round}");
    }
}

/// An organization that is deleted has nothing, and never will.
#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_deleted_or_has_something() {
    let scene = Scene::new().await;
    let (mut deleted_first, mut created_first) = (0, 0);
    for round in 0..24_usize {
        let slug = format!("short-lived-{round}");
        let organization = scene.stack.organization(&slug).await;
        let delete = json!({"action": "delete", "kind": "organization", "id": organization});
        // Either may be first, by up to some milliseconds.
        let pause = async |milliseconds: usize| {
            tokio::time::sleep(Duration::from_millis(milliseconds.try_into().unwrap())).await;
        };
        let lead = round % 8;
        let deletion = async {
            pause(if lead < 4 { 0 } else { 3 * (lead - 3) }).await;
            join_all((0..2).map(|n| scene.provision(n, delete.clone()))).await
        };
        let creation = async {
            pause(if lead < 4 { 3 * (3 - lead) } else { 0 }).await;
            let actions = creations(&organization, round).into_iter().enumerate();
            join_all(actions.map(|(n, action)| scene.provision(n, action))).await
        };
        let (deletions, creations) = join(deletion, creation).await;
        let is_deleted = deletions.iter().any(|outcome| outcome.status == 200);
        let made: Vec<_> = creations.iter().filter_map(made).collect();
        let got = scene.provision(0, json!({"action": "get", "kind": "organization", "id": organization})).await;
        assert_eq!(got.status == 200, !is_deleted, "{got:?}");
        if is_deleted {
            deleted_first += 1;
            assert!(made.is_empty(), "{creations:?}");
            assert!(creations.iter().all(|outcome| outcome.body["errorType"] == "NotFound"), "{creations:?}");
        } else {
            created_first += 1;
            assert_eq!(made.len(), 4, "{creations:?}");
            assert!(!scene.is_suspended(&made).await);
            // Once all of it is over, it can be deleted, and its slug stays taken.
            for (kind, id, _) in &made {
                assert!(scene.provision(1, delete.clone()).await.body["errorType"] == "InvalidRequest");
                let end = match *kind {
                    "apiKey" => json!({"action": "revokeApiKey", "apiKeyId": id}),
                    _ => json!({"action": "delete", "kind": kind, "id": id}),
                };
                assert_eq!(scene.provision(0, end).await.status, 200);
            }
            assert_eq!(scene.provision(0, delete.clone()).await.status, 200);
        }
        let again = scene.provision(0, json!({"action": "createOrganization", "slug": slug})).await;
        assert_eq!(again.body["errorType"], "Taken", "{again:?}");
    }
    println!("{deleted_first} were deleted first, {created_first} created");
    assert!(deleted_first > 0 && created_first > 0, "{deleted_first} {created_first}");
}

/// A creation that was under way arrives after its organization was suspended or deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_arrives_late_makes_nothing() {
    let scene = Scene::new().await;
    for (round, end) in ["suspend", "delete"].into_iter().enumerate() {
        let organization = scene.stack.organization(&format!("acme-{end}")).await;
        for (n, action) in creations(&organization, round).into_iter().enumerate() {
            let node = Node::start(&scene.stack, chrono::TimeDelta::zero());
            node.calls.fail("TransactWriteItems", &[InjectedFault::Overtaken; 3]);
            let outcome = node.send(&ApiRequest::provision(action)).await;
            assert_eq!(outcome.status, 500, "{outcome:?}");
            assert!(node.calls.all_failed());
            let ended = match end {
                "suspend" => json!({"action": "suspendOrganization", "organizationId": organization}),
                _ => json!({"action": "delete", "kind": "organization", "id": organization}),
            };
            let ended = scene.provision(0, ended).await;
            // It is deleted once.
            assert!(ended.status == 200 || n > 0, "{ended:?}");
            let before = scene.stack.dump().await.matches("createdBy").count();
            node.calls.deliver().await;
            assert_eq!(scene.stack.dump().await.matches("createdBy").count(), before, "{end} {n}");
            if end == "suspend" {
                scene.provision(0, json!({"action": "resumeOrganization", "organizationId": organization})).await;
            } else {
                break;
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------ API keys

#[tokio::test(flavor = "multi_thread")]
async fn ten_operators_rotate_an_api_key_at_once() {
    const OVERLAP: i64 = 3600;
    let scene = Scene::new().await;
    let create = json!({"action": "createApiKey", "organizationId": scene.tenant.organization, "permissions": ["oauth.token.list"]});
    for overlap in [OVERLAP, 0] {
        let (_, old_id, old) = made(&scene.provision(0, create.clone()).await).unwrap();
        let old = old.unwrap();
        let rotate = json!({"action": "rotateApiKey", "apiKeyId": old_id, "overlapSeconds": overlap});
        let answers = join_all((0..10).map(|n| scene.provision(n, rotate.clone()))).await;
        let new: Vec<_> = answers.iter().filter_map(made).collect();
        let refused = answers.iter().filter(|outcome| outcome.status != 200);
        assert!(refused.into_iter().all(|outcome| outcome.body["errorType"] == "NotFound"), "{answers:?}");
        // Without an overlap the first one ends it.
        assert_eq!(new.len(), if overlap == 0 { 1 } else { 10 }, "{answers:?}");
        let ids: BTreeSet<_> = new.iter().map(|(_, id, _)| id).collect();
        assert!(ids.len() == new.len() && !ids.contains(&old_id));
        let are_good = async |expected: (bool, bool)| {
            for (n, (_, id, key)) in new.iter().enumerate() {
                assert_eq!(scene.nodes[n % NODES].accepts(key.as_ref().unwrap()).await, expected.1, "{id}");
            }
            for node in &scene.nodes {
                assert_eq!(node.accepts(&old).await, expected.0);
            }
        };
        are_good((overlap > 0, true)).await;
        let shown = scene.provision(0, json!({"action": "get", "kind": "apiKey", "id": new[0].1})).await.body;
        assert_eq!((&shown["permissions"], &shown["expiresAt"]), (&json!(["oauth.token.list"]), &Value::Null));
        scene.stack.clock.advance((overlap - 1).max(0));
        are_good((overlap > 0, true)).await;
        // Its last second is over. A rotation never makes it later.
        scene.stack.clock.advance(1);
        are_good((false, true)).await;
        assert_eq!(scene.provision(0, rotate).await.body["errorType"], "NotFound");
    }
}

/// A key that is revoked among rotations is over, whatever overlap they gave it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_among_rotations_is_over() {
    let scene = Scene::new().await;
    let create = json!({"action": "createApiKey", "organizationId": scene.tenant.organization});
    for round in 0..6_u64 {
        let (_, id, old) = made(&scene.provision(0, create.clone()).await).unwrap();
        let rotate = json!({"action": "rotateApiKey", "apiKeyId": id});
        let rotate = || join_all((0..4).map(|n| scene.provision(n, rotate.clone())));
        let revoke = async {
            tokio::time::sleep(Duration::from_millis(2 * round)).await;
            scene.provision(0, json!({"action": "revokeApiKey", "apiKeyId": id})).await
        };
        let (one, revoked, two) = join3(rotate(), revoke, rotate()).await;
        assert_eq!(revoked.status, 200, "{revoked:?}");
        for node in &scene.nodes {
            assert!(!node.accepts(old.as_ref().unwrap()).await);
        }
        for outcome in one.iter().chain(&two) {
            match made(outcome) {
                Some((_, _, new)) => assert!(scene.nodes[1].accepts(&new.unwrap()).await),
                None => assert_eq!(outcome.body["errorType"], "NotFound", "{outcome:?}"),
            }
        }
        assert!(rotate().await.iter().all(|outcome| outcome.body["errorType"] == "NotFound"));
    }
}
