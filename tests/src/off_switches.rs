//! Random histories of everything that begins, ends, disables and suspends, done by several processes and compared with
//! a model after each step: for every credential that was ever made, use as a bearer, introspection, the authorizer,
//! lists and quota agree with it. What is over stays so; what was only disabled or suspended is good again.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat};
use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use shared::keys::SigningMode;

use crate::harness::{
    ApiRequest, ISSUER, Node, Outcome, Secrets, TestStack, authorizer_event,
    exchange_token::{self, code_body},
    oauth2::refresh_form,
    runner, scale, unverified_claims, with,
};

const NODES: usize = 3;
const MAX_ALLOWED: usize = 3;
const TOKEN_TTL: i64 = 300;
const APP_TOKEN_TTL: i64 = 150;
const ACCESS_TOKEN_TTL: i64 = 200;
const GRANT_TTL: i64 = 500;
const CODE_TTL: i64 = 120;
const OVERLAP: i64 = 100;
/// How long a process may go on with the signing keys that it knows.
const KEYS_ARE_KNOWN: i64 = 61;

/// What issues things, and ends them all at once. There are two of each kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct OwnerId(OwnerKind, usize);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OwnerKind {
    Registration,
    Application,
    Client,
}

const OWNERS: [OwnerId; 6] = [
    OwnerId(OwnerKind::Registration, 0),
    OwnerId(OwnerKind::Registration, 1),
    OwnerId(OwnerKind::Application, 0),
    OwnerId(OwnerKind::Application, 1),
    OwnerId(OwnerKind::Client, 0),
    OwnerId(OwnerKind::Client, 1),
];

#[derive(Clone, Debug)]
enum Step {
    /// With one of two idempotency keys, or without.
    CreateToken(usize, Option<usize>),
    CreateAppToken {
        application: usize,
        expires: bool,
    },
    Login(usize),
    /// A code that was issued before, counted from the latest.
    Exchange(usize),
    /// The current refresh token of a grant, counted from the latest.
    Refresh(usize),
    /// One of the credentials of this kind, counted from the latest: by whoever manages them.
    Revoke(Kind, usize),
    /// One of all credentials, counted from the latest: by whoever holds it.
    RevokeByHolder(usize),
    RevokeAll(OwnerId),
    RevokeAllTokensByCaller(usize),
    EndSessions(usize),
    Enable(OwnerId, bool),
    Suspend(bool),
    Delete(OwnerId),
    RotateApiKey(usize),
    RevokeApiKey(usize),
    Pass(i64),
    RotateSigningKey {
        withdraw: bool,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    ApiKey,
    Token,
    AppToken,
    UserToken,
    RefreshToken,
}

// ------------------------------------------------------------------------------------------------ the model

#[derive(Debug)]
struct ModelOwner {
    exists: bool,
    enabled: bool,
    generation: u64,
}

#[derive(Debug)]
struct Credential {
    kind: Kind,
    text: String,
    id: String,
    owner: Option<OwnerId>,
    generation: u64,
    expires_at: Option<i64>,
    revoked: bool,
    /// How often the signing keys had been withdrawn.
    withdrawals: u64,
    /// Of a user's tokens.
    grant: Option<usize>,
    idempotency: Option<usize>,
}

#[derive(Debug)]
struct Grant {
    owner: OwnerId,
    generation: u64,
    code: String,
    sid: String,
    code_expires_at: i64,
    /// When it ends, once its code was exchanged.
    ends_at: Option<i64>,
    ended: bool,
    refresh_token: String,
}

#[derive(Debug, Default)]
struct Model {
    now: i64,
    suspended: bool,
    withdrawals: u64,
    owners: Vec<ModelOwner>,
    credentials: Vec<Credential>,
    grants: Vec<Grant>,
}

impl Model {
    fn owner(&self, id: OwnerId) -> &ModelOwner {
        &self.owners[OWNERS.iter().position(|owner| *owner == id).unwrap()]
    }

    fn owner_mut(&mut self, id: OwnerId) -> &mut ModelOwner {
        &mut self.owners[OWNERS.iter().position(|owner| *owner == id).unwrap()]
    }

    /// Whether an owner issues anything, and what it issued is accepted.
    fn is_on(&self, id: OwnerId) -> bool {
        let owner = self.owner(id);
        owner.exists && owner.enabled && !self.suspended
    }

    fn grant_is_over(&self, grant: &Grant) -> bool {
        let owner = self.owner(grant.owner);
        let until = grant.ends_at.unwrap_or(grant.code_expires_at);
        grant.ended || until <= self.now || !owner.exists || grant.generation < owner.generation
    }

    /// Whether it is over for good.
    fn is_over(&self, credential: &Credential) -> bool {
        let is_signed = matches!(credential.kind, Kind::Token | Kind::UserToken);
        let grant = credential.grant.map(|grant| &self.grants[grant]);
        credential.revoked
            || credential.expires_at.is_some_and(|at| at <= self.now)
            || is_signed && credential.withdrawals < self.withdrawals
            || credential.owner.is_some_and(|id| {
                let owner = self.owner(id);
                !owner.exists || credential.generation < owner.generation
            })
            || grant.is_some_and(|grant| {
                let rotated = credential.kind == Kind::RefreshToken && grant.refresh_token != credential.text;
                rotated || self.grant_is_over(grant)
            })
    }

    fn is_active(&self, credential: &Credential) -> bool {
        !self.is_over(credential) && !self.suspended && credential.owner.is_none_or(|owner| self.is_on(owner))
    }

    /// The active credentials of an owner.
    fn active(&self, id: OwnerId) -> impl Iterator<Item = &Credential> {
        self.credentials.iter().filter(move |credential| credential.owner == Some(id) && self.is_active(credential))
    }

    fn back(&self, back: usize, is_meant: impl Fn(&Credential) -> bool) -> Option<usize> {
        let meant = (0..self.credentials.len()).rev().filter(|n| is_meant(&self.credentials[*n]));
        let meant: Vec<_> = meant.collect();
        (!meant.is_empty()).then(|| meant[back % meant.len()])
    }
}

// ------------------------------------------------------------------------------------------------ the history

struct History {
    stack: TestStack,
    nodes: Vec<Node>,
    organization: String,
    /// Never rotated or revoked.
    key: String,
    ids: Vec<String>,
    model: Model,
}

const SLUGS: [&str; 2] = ["app-0", "app-1"];
const CLIENTS: [&str; 2] = ["11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"];
const REGISTRATIONS: [&str; 2] = ["registration-0", "registration-1"];

fn creation(OwnerId(kind, n): OwnerId) -> Value {
    match kind {
        OwnerKind::Registration => json!({
            "action": "createRegistration", "registrationId": REGISTRATIONS[n], "name": "test",
            "maxAllowed": MAX_ALLOWED, "tokenTtlSeconds": TOKEN_TTL,
        }),
        OwnerKind::Application => json!({"action": "createApplication", "slug": SLUGS[n]}),
        OwnerKind::Client => json!({
            "action": "createClient", "clientId": CLIENTS[n], "redirectUris": [exchange_token::REDIRECT_URI],
            "services": ["email"], "scopes": ["openid", "profile", "email"], "refreshReuseSeconds": 0,
            "accessTokenTtlSeconds": ACCESS_TOKEN_TTL, "grantTtlSeconds": GRANT_TTL,
        }),
    }
}

impl History {
    async fn new() -> Self {
        let stack = TestStack::start_with(|options| options.signing_mode = SigningMode::Envelope).await;
        stack.provision(&json!({"action": "rotateSigningKey"})).await;
        let organization = stack.organization("acme").await;
        let key = stack.api_key(&organization).await;
        let mut ids = vec![];
        for owner in OWNERS {
            let made = stack.provision(&with(&creation(owner), &json!({"organizationId": organization}))).await;
            ids.push(made.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned());
        }
        let nodes = (0..NODES).map(|_| Node::start_patient(&stack, std::time::Duration::from_mins(1))).collect();
        let owners = OWNERS.map(|_| ModelOwner { exists: true, enabled: true, generation: 0 }).into();
        let model = Model { now: stack.clock.seconds(), owners, ..Model::default() };
        let mut history = Self { stack, nodes, organization, key, ids, model };
        history.create_api_key(0).await;
        history
    }

    fn id(&self, id: OwnerId) -> &str {
        &self.ids[OWNERS.iter().position(|owner| *owner == id).unwrap()]
    }

    /// The owner, as an action names it.
    fn named(&self, owner: OwnerId) -> Value {
        let field = match owner.0 {
            OwnerKind::Registration => "registrationId",
            OwnerKind::Application => "applicationId",
            OwnerKind::Client => "clientId",
        };
        json!({field: self.id(owner)})
    }

    async fn provision(&self, node: usize, action: &Value, more: &Value) -> Outcome {
        self.nodes[node].send(&ApiRequest::provision(with(action, more))).await
    }

    async fn create_api_key(&mut self, node: usize) {
        let action = json!({"action": "createApiKey", "organizationId": self.organization});
        let made = self.provision(node, &action, &json!({})).await;
        self.add_api_key(&made.body);
    }

    fn add_api_key(&mut self, made: &Value) {
        self.add(Kind::ApiKey, (&made["apiKey"], &made["apiKeyId"]), None);
    }

    fn add(&mut self, kind: Kind, (text, id): (&Value, &Value), owner: Option<OwnerId>) -> &mut Credential {
        let (text, id) = (text.as_str().unwrap().to_owned(), id.as_str().unwrap().to_owned());
        Secrets::add_credential(&text);
        let generation = owner.map_or(0, |owner| self.model.owner(owner).generation);
        let withdrawals = self.model.withdrawals;
        self.model.credentials.push(Credential {
            kind,
            text,
            id,
            owner,
            generation,
            expires_at: None,
            revoked: false,
            withdrawals,
            grant: None,
            idempotency: None,
        });
        self.model.credentials.last_mut().unwrap()
    }

    /// A request that manages tokens.
    fn manage(&self, owner: OwnerId, route: &str, more: &Value) -> ApiRequest {
        if owner.0 == OwnerKind::Registration {
            let body = with(&self.named(owner), more);
            return ApiRequest::new("manage-tokens", &json!({}), &self.key, &body).with_route(route, "");
        }
        let path = json!({"organizationId": self.organization, "applicationId": self.id(owner)});
        ApiRequest::new("manage-tokens", &with(&path, more), &self.key, &json!({})).with_route(route, "")
    }

    /// What a caller with the API key gets from an owner, if it is not `otherwise`.
    fn status(&self, owner: OwnerId, otherwise: u64) -> u64 {
        if self.model.suspended {
            401
        } else if self.model.is_on(owner) {
            otherwise
        } else {
            404
        }
    }

    async fn perform(&mut self, node: usize, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::CreateToken(n, key) => self.create_token(node, *n, *key).await,
            Step::CreateAppToken { application, expires } => self.create_app_token(node, *application, *expires).await,
            Step::Login(n) => self.login(node, *n).await,
            Step::Exchange(back) => self.exchange(node, *back).await,
            Step::Refresh(back) => self.refresh(node, *back).await,
            Step::Revoke(kind, back) => self.revoke(node, *kind, *back).await,
            Step::RevokeByHolder(back) => self.revoke_by_holder(node, *back).await,
            Step::RevokeAll(owner) => self.revoke_all(node, *owner).await,
            Step::RevokeAllTokensByCaller(n) => self.revoke_all_by_caller(node, *n).await,
            Step::EndSessions(n) => self.end_sessions(node, *n).await,
            Step::Enable(owner, enabled) => self.enable(node, *owner, *enabled).await,
            Step::Suspend(suspend) => self.suspend(node, *suspend).await,
            Step::Delete(owner) => self.delete(node, *owner).await,
            Step::RotateApiKey(back) => self.rotate_api_key(node, *back).await,
            Step::RevokeApiKey(back) => self.revoke_api_key(node, *back).await,
            Step::Pass(seconds) => {
                self.pass(*seconds);
                Ok(())
            }
            Step::RotateSigningKey { withdraw } => self.rotate_signing_key(node, *withdraw).await,
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.stack.clock.advance(seconds);
        self.model.now += seconds;
    }

    async fn create_token(&mut self, node: usize, n: usize, key: Option<usize>) -> Result<(), TestCaseError> {
        let owner = OwnerId(OwnerKind::Registration, n);
        let request = ApiRequest::new("create-token", &json!({}), &self.key, &self.named(owner));
        let request = key.map_or(request.clone(), |key| request.with_idempotency_key(&format!("key-{key}")));
        let outcome = self.nodes[node].send(&request).await;
        let repeated = self.model.active(owner).find(|token| key.is_some() && token.idempotency == key);
        let repeated = repeated.map(|token| token.id.clone());
        let active = self.model.active(owner).count();
        let is_full = repeated.is_none() && active >= MAX_ALLOWED;
        let status = self.status(owner, if is_full { 400 } else { 201 });
        prop_assert_eq!(outcome.status, status, "{:?}", outcome);
        if status != 201 {
            return Ok(());
        }
        let token = outcome.body["token"].clone();
        prop_assert_eq!(outcome.replayed, repeated.is_some());
        prop_assert_eq!(&outcome.body["activeTokens"], &json!(active + usize::from(repeated.is_none())));
        let now = self.model.now;
        if let Some(id) = repeated {
            prop_assert_eq!(&token["id"], &json!(id));
            Secrets::add_credential(token["accessToken"].as_str().unwrap());
            return Ok(());
        }
        prop_assert!(self.model.credentials.iter().all(|known| token["id"] != known.id), "an id came twice");
        let made = self.add(Kind::Token, (&token["accessToken"], &token["id"]), Some(owner));
        made.expires_at = Some(now + TOKEN_TTL);
        made.idempotency = key;
        Ok(())
    }

    async fn create_app_token(&mut self, node: usize, n: usize, expires: bool) -> Result<(), TestCaseError> {
        let owner = OwnerId(OwnerKind::Application, n);
        let path = json!({"organizationId": self.organization, "applicationId": SLUGS[n]});
        let expires_at = self.model.now + APP_TOKEN_TTL;
        let text = DateTime::from_timestamp(expires_at, 0).unwrap().to_rfc3339_opts(SecondsFormat::Secs, true);
        let body = if expires { json!({"expiresAt": text}) } else { json!({}) };
        let outcome = self.nodes[node].send(&ApiRequest::new("create-app-token", &path, &self.key, &body)).await;
        prop_assert_eq!(outcome.status, self.status(owner, 200), "{:?}", outcome);
        if outcome.status == 200 {
            let made =
                self.add(Kind::AppToken, (&outcome.body["data"]["bearer"], &outcome.body["data"]["id"]), Some(owner));
            made.expires_at = expires.then_some(expires_at);
        }
        Ok(())
    }

    async fn login(&mut self, node: usize, n: usize) -> Result<(), TestCaseError> {
        let owner = OwnerId(OwnerKind::Client, n);
        let event = with(&exchange_token::login(), &json!({"clientId": CLIENTS[n]}));
        let outcome = self.nodes[node].send(&ApiRequest { function: "issue-code", event }).await;
        prop_assert_eq!(outcome.status == 200, self.model.is_on(owner), "{:?}", outcome);
        if outcome.status == 200 {
            let code = outcome.body["code"].as_str().unwrap().to_owned();
            Secrets::add_credential(&code);
            self.model.grants.push(Grant {
                owner,
                generation: self.model.owner(owner).generation,
                sid: exchange_token::session(&code),
                code,
                code_expires_at: self.model.now + CODE_TTL,
                ends_at: None,
                ended: false,
                refresh_token: String::new(),
            });
        }
        Ok(())
    }

    async fn exchange(&mut self, node: usize, back: usize) -> Result<(), TestCaseError> {
        let codes: Vec<_> =
            (0..self.model.grants.len()).rev().filter(|n| self.model.grants[*n].ends_at.is_none()).collect();
        if codes.is_empty() {
            return Ok(());
        }
        let n = codes[back % codes.len()];
        let grant = &self.model.grants[n];
        let body = with(&code_body(&grant.code), &json!({"client_id": self.id(grant.owner)}));
        self.redeem(node, n, exchange_token::request(&body), (201, 400)).await
    }

    async fn refresh(&mut self, node: usize, back: usize) -> Result<(), TestCaseError> {
        let exchanged = (0..self.model.grants.len()).rev().filter(|n| self.model.grants[*n].ends_at.is_some());
        let exchanged: Vec<_> = exchanged.collect();
        if exchanged.is_empty() {
            return Ok(());
        }
        let n = exchanged[back % exchanged.len()];
        // In the other format, so that there are tokens of both.
        let grant = &self.model.grants[n];
        let (owner, form) =
            (grant.owner, [&refresh_form(&grant.refresh_token)[..], &[("client_id", self.id(grant.owner))]]);
        let request = ApiRequest::form("POST /oauth2/token", &form.concat());
        let refused = if self.model.is_on(owner) { 400 } else { 401 };
        self.redeem(node, n, request, (200, refused)).await
    }

    async fn redeem(
        &mut self,
        node: usize,
        n: usize,
        request: ApiRequest,
        (success, refused): (u64, u64),
    ) -> Result<(), TestCaseError> {
        let grant = &self.model.grants[n];
        let (owner, generation) = (grant.owner, grant.generation);
        let is_good = !self.model.grant_is_over(grant) && self.model.is_on(owner);
        let outcome = self.nodes[node].send(&request).await;
        prop_assert_eq!(outcome.status, if is_good { success } else { refused }, "{:?}", outcome);
        if is_good {
            let item = outcome.body.pointer("/items/0").unwrap_or(&outcome.body);
            let token = |one: &str, other: &str| item.get(one).or(item.get(other)).unwrap().clone();
            let (access_token, refresh_token) =
                (token("accessToken", "access_token"), token("refreshToken", "refresh_token"));
            let now = self.model.now;
            let grant = &mut self.model.grants[n];
            let ends_at = *grant.ends_at.get_or_insert(now + GRANT_TTL);
            refresh_token.as_str().unwrap().clone_into(&mut grant.refresh_token);
            let claims = unverified_claims(access_token.as_str().unwrap());
            let made = self.add(Kind::UserToken, (&access_token, &claims["jti"]), Some(owner));
            (made.generation, made.grant, made.expires_at) = (generation, Some(n), Some(now + ACCESS_TOKEN_TTL));
            let made = self.add(Kind::RefreshToken, (&refresh_token, &claims["sid"]), Some(owner));
            (made.generation, made.grant, made.expires_at) = (generation, Some(n), Some(ends_at));
        }
        Ok(())
    }

    async fn revoke(&mut self, node: usize, kind: Kind, back: usize) -> Result<(), TestCaseError> {
        let Some(n) = self.model.back(back, |credential| credential.kind == kind) else { return Ok(()) };
        let credential = &self.model.credentials[n];
        let owner = credential.owner.unwrap();
        let (route, id) = match kind {
            Kind::Token => ("POST /api/v1/revoke-token", json!({"tokenId": credential.id})),
            _ => (
                "DELETE /v1/organizations/{organizationId}/apps/{applicationId}/tokens/{tokenId}",
                json!({"tokenId": credential.id}),
            ),
        };
        let is_active = self.model.is_active(credential);
        let outcome = self.nodes[node].send(&self.manage(owner, route, &id)).await;
        prop_assert_eq!(outcome.status, self.status(owner, if is_active { 200 } else { 404 }), "{:?}", outcome);
        if is_active {
            self.model.credentials[n].revoked = true;
            if kind == Kind::Token {
                let active = self.model.active(owner).count();
                prop_assert_eq!(&outcome.body["activeTokens"], &json!(active));
            }
        }
        Ok(())
    }

    /// Whoever holds a credential may end it, also while what issued it is disabled or suspended.
    async fn revoke_by_holder(&mut self, node: usize, back: usize) -> Result<(), TestCaseError> {
        // A refresh token that was rotated away long ago ends nothing; the one before may.
        let is_meant = |credential: &Credential| {
            let grant = credential.grant.map(|grant| &self.model.grants[grant]);
            credential.kind != Kind::RefreshToken || grant.is_some_and(|grant| grant.refresh_token == credential.text)
        };
        let Some(n) = self.model.back(back, is_meant) else { return Ok(()) };
        let request = ApiRequest::form("POST /oauth2/revoke", &[("token", &self.model.credentials[n].text)]);
        let outcome = self.nodes[node].send(&request).await;
        prop_assert_eq!((outcome.status, &outcome.body), (200, &json!({})));
        let is_over = self.model.is_over(&self.model.credentials[n]);
        let credential = &mut self.model.credentials[n];
        match credential.grant {
            Some(grant) if !is_over => self.model.grants[grant].ended = true,
            Some(_) => {}
            None => credential.revoked = true,
        }
        Ok(())
    }

    fn end_generation(&mut self, owner: OwnerId) {
        self.model.owner_mut(owner).generation += 1;
    }

    async fn revoke_all(&mut self, node: usize, owner: OwnerId) -> Result<(), TestCaseError> {
        let outcome = self.provision(node, &json!({"action": "revokeTokens"}), &self.named(owner)).await;
        prop_assert_eq!(outcome.status == 200, self.model.owner(owner).exists, "{:?}", outcome);
        self.end_generation(owner);
        Ok(())
    }

    async fn revoke_all_by_caller(&mut self, node: usize, n: usize) -> Result<(), TestCaseError> {
        let owner = OwnerId(OwnerKind::Registration, n);
        let outcome = self.nodes[node].send(&self.manage(owner, "POST /api/v1/revoke-tokens", &json!({}))).await;
        prop_assert_eq!(outcome.status, self.status(owner, 200), "{:?}", outcome);
        if outcome.status == 200 {
            prop_assert_eq!(&outcome.body["activeTokens"], &json!(0));
            self.end_generation(owner);
        }
        Ok(())
    }

    async fn end_sessions(&mut self, node: usize, n: usize) -> Result<(), TestCaseError> {
        let owner = OwnerId(OwnerKind::Client, n);
        let action = json!({"action": "endSessions", "subject": "user-1", "clientId": CLIENTS[n]});
        let outcome = self.provision(node, &action, &json!({})).await;
        prop_assert_eq!(outcome.status == 200, self.model.owner(owner).exists, "{:?}", outcome);
        if outcome.status == 200 {
            for grant in self.model.grants.iter_mut().filter(|grant| grant.owner == owner) {
                grant.ended = true;
            }
        }
        Ok(())
    }

    async fn enable(&mut self, node: usize, owner: OwnerId, enabled: bool) -> Result<(), TestCaseError> {
        let action = match owner.0 {
            OwnerKind::Registration => "updateRegistration",
            OwnerKind::Application => "updateApplication",
            OwnerKind::Client => "updateClient",
        };
        let outcome = self.provision(node, &json!({"action": action, "enabled": enabled}), &self.named(owner)).await;
        prop_assert_eq!(outcome.status == 200, self.model.owner(owner).exists, "{:?}", outcome);
        self.model.owner_mut(owner).enabled = enabled;
        Ok(())
    }

    async fn suspend(&mut self, node: usize, suspend: bool) -> Result<(), TestCaseError> {
        let (name, count) =
            if suspend { ("suspendOrganization", "suspended") } else { ("resumeOrganization", "resumed") };
        let action = json!({"action": name, "organizationId": "acme"});
        let outcome = self.provision(node, &action, &json!({})).await;
        prop_assert_eq!(outcome.status, 200, "{:?}", outcome);
        // The key that is never revoked is among them.
        prop_assert_eq!(outcome.body[count].as_u64() > Some(0), self.model.suspended != suspend, "{:?}", outcome);
        self.model.suspended = suspend;
        Ok(())
    }

    async fn delete(&mut self, node: usize, owner: OwnerId) -> Result<(), TestCaseError> {
        let kind = match owner.0 {
            OwnerKind::Registration => "registration",
            OwnerKind::Application => "application",
            OwnerKind::Client => "client",
        };
        let action = json!({"action": "delete", "kind": kind, "id": self.id(owner)});
        let outcome = self.provision(node, &action, &json!({})).await;
        prop_assert_eq!(outcome.status == 200, self.model.owner(owner).exists, "{:?}", outcome);
        self.model.owner_mut(owner).exists = false;
        // Its id and its slug stay taken.
        let again = self.provision(node, &creation(owner), &json!({"organizationId": self.organization})).await;
        let error = if self.model.suspended { "InvalidRequest" } else { "Taken" };
        prop_assert_eq!(&again.body["errorType"], error, "{:?}", again);
        Ok(())
    }

    async fn rotate_api_key(&mut self, node: usize, back: usize) -> Result<(), TestCaseError> {
        let Some(n) = self.model.back(back, |credential| credential.kind == Kind::ApiKey) else { return Ok(()) };
        let action = json!({
            "action": "rotateApiKey", "apiKeyId": self.model.credentials[n].id, "overlapSeconds": OVERLAP,
        });
        let outcome = self.provision(node, &action, &json!({})).await;
        let is_over = self.model.is_over(&self.model.credentials[n]);
        prop_assert_eq!(outcome.status == 200, !is_over && !self.model.suspended, "{:?}", outcome);
        if outcome.status == 200 {
            // The clock is a quarter of a second after the whole one.
            let end = self.model.now + OVERLAP + 1;
            let expires_at = &mut self.model.credentials[n].expires_at;
            *expires_at = Some(expires_at.map_or(end, |at| at.min(end)));
            self.add_api_key(&outcome.body);
        } else {
            let error = if is_over { "NotFound" } else { "InvalidRequest" };
            prop_assert_eq!(&outcome.body["errorType"], error, "{:?}", outcome);
        }
        Ok(())
    }

    async fn revoke_api_key(&mut self, node: usize, back: usize) -> Result<(), TestCaseError> {
        let Some(n) = self.model.back(back, |credential| credential.kind == Kind::ApiKey) else { return Ok(()) };
        let action = json!({"action": "revokeApiKey", "apiKeyId": self.model.credentials[n].id});
        let outcome = self.provision(node, &action, &json!({})).await;
        prop_assert_eq!(outcome.status == 200, !self.model.credentials[n].revoked, "{:?}", outcome);
        self.model.credentials[n].revoked = true;
        // So that there is always one to rotate.
        if !self.model.suspended && self.model.back(0, |key| key.kind == Kind::ApiKey && !key.revoked).is_none() {
            self.create_api_key(node).await;
        }
        Ok(())
    }

    async fn rotate_signing_key(&mut self, node: usize, withdraw: bool) -> Result<(), TestCaseError> {
        let action = json!({"action": "rotateSigningKey", "withdrawPrevious": withdraw});
        let outcome = self.provision(node, &action, &json!({})).await;
        prop_assert_eq!(outcome.status, 200, "{:?}", outcome);
        if withdraw {
            self.model.withdrawals += 1;
            self.pass(KEYS_ARE_KNOWN);
        } else {
            // A process looks for unknown keys once a second.
            self.pass(1);
        }
        Ok(())
    }

    // -------------------------------------------------------------------------------------------- the comparison

    async fn compare(&self) -> Result<(), TestCaseError> {
        let credentials = self.model.credentials.iter().enumerate();
        for compared in join_all(credentials.map(|(n, credential)| self.compare_credential(n, credential))).await {
            compared?;
        }
        for compared in join_all(OWNERS.map(|owner| self.compare_list(owner))).await {
            compared?;
        }
        Ok(())
    }

    async fn compare_credential(&self, n: usize, credential: &Credential) -> Result<(), TestCaseError> {
        let is_active = self.model.is_active(credential);
        // Each node has each of them in turn.
        let node = |more: usize| &self.nodes[(n + more + self.model.credentials.len()) % NODES];
        let asked = ApiRequest::form("POST /oauth2/introspect", &[("token", &credential.text)]);
        let asked = node(0).send(&asked.with_bearer(&self.key)).await;
        if self.model.suspended {
            prop_assert_eq!(asked.status, 401, "{:?}", credential);
        } else {
            prop_assert_eq!(&asked.body["active"], &json!(is_active), "introspection of {:?}", credential);
        }
        if credential.kind == Kind::RefreshToken {
            return Ok(());
        }
        let request = ApiRequest { function: "authorize", event: authorizer_event(&credential.text) };
        let decision = node(1).send(&request).await;
        prop_assert_eq!(&decision.body["isAuthorized"], &json!(is_active), "the authorizer on {:?}", credential);
        match credential.kind {
            Kind::ApiKey | Kind::Token => {
                prop_assert_eq!(node(2).accepts(&credential.text).await, is_active, "{:?}", credential);
            }
            // Only the tokens of one format are for the user's information.
            Kind::UserToken if unverified_claims(&credential.text)["aud"] == ISSUER => {
                let request = ApiRequest::new("oauth2", &json!({}), &credential.text, &json!({}));
                let outcome = node(2).send(&request.with_route("GET /oauth2/userinfo", "")).await;
                prop_assert_eq!(outcome.status, if is_active { 200 } else { 401 }, "{:?}", credential);
            }
            Kind::UserToken | Kind::AppToken | Kind::RefreshToken => {}
        }
        Ok(())
    }

    async fn compare_list(&self, owner: OwnerId) -> Result<(), TestCaseError> {
        let ids = |items: &Value| -> BTreeSet<String> {
            items.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
        };
        let node = &self.nodes[self.model.credentials.len() % NODES];
        let active: BTreeSet<_> = self.model.active(owner).map(|credential| credential.id.clone()).collect();
        let (route, items) = match owner.0 {
            OwnerKind::Registration => ("POST /api/v1/list-tokens", "/tokens"),
            OwnerKind::Application => {
                ("GET /v1/organizations/{organizationId}/apps/{applicationId}/tokens", "/data/items")
            }
            OwnerKind::Client => return self.compare_sessions(node, owner).await,
        };
        let outcome = node.send(&self.manage(owner, route, &json!({}))).await;
        prop_assert_eq!(outcome.status, self.status(owner, 200), "{:?}", outcome);
        if outcome.status == 200 {
            prop_assert_eq!(ids(outcome.body.pointer(items).unwrap()), active.clone(), "the list of {:?}", owner);
            if owner.0 == OwnerKind::Registration {
                prop_assert_eq!(&outcome.body["activeTokens"], &json!(active.len()));
            }
        }
        Ok(())
    }

    async fn compare_sessions(&self, node: &Node, owner: OwnerId) -> Result<(), TestCaseError> {
        let action = json!({"action": "listSessions", "subject": "user-1", "clientId": self.id(owner)});
        let outcome = node.send(&ApiRequest::provision(action)).await;
        prop_assert_eq!(outcome.status == 200, self.model.owner(owner).exists, "{:?}", outcome);
        if outcome.status == 200 {
            let listed = outcome.body["items"].as_array().unwrap().iter();
            let listed: BTreeSet<_> = listed.map(|item| item["sid"].as_str().unwrap()).collect();
            let grants = self.model.grants.iter().filter(|grant| grant.owner == owner && grant.ends_at.is_some());
            let grants = grants.filter(|grant| !self.model.grant_is_over(grant) && self.model.is_on(owner));
            prop_assert_eq!(listed, grants.map(|grant| grant.sid.as_str()).collect(), "the sessions of {:?}", owner);
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let n = || 0..2_usize;
    let back = || 0..5_usize;
    let owner = || (0..OWNERS.len()).prop_map(|n| OWNERS[n]);
    prop_oneof![
        6 => (n(), prop_oneof![Just(None), (0..2_usize).prop_map(Some)]).prop_map(|(n, key)| Step::CreateToken(n, key)),
        4 => (n(), any::<bool>()).prop_map(|(application, expires)| Step::CreateAppToken { application, expires }),
        4 => n().prop_map(Step::Login),
        5 => back().prop_map(Step::Exchange),
        3 => back().prop_map(Step::Refresh),
        2 => (prop_oneof![Just(Kind::Token), Just(Kind::AppToken)], back()).prop_map(|(kind, n)| Step::Revoke(kind, n)),
        2 => back().prop_map(Step::RevokeByHolder),
        2 => owner().prop_map(Step::RevokeAll),
        1 => n().prop_map(Step::RevokeAllTokensByCaller),
        1 => n().prop_map(Step::EndSessions),
        4 => (owner(), prop_oneof![1 => Just(false), 2 => Just(true)]).prop_map(|(owner, on)| Step::Enable(owner, on)),
        3 => prop_oneof![1 => Just(true), 2 => Just(false)].prop_map(Step::Suspend),
        1 => owner().prop_map(Step::Delete),
        2 => back().prop_map(Step::RotateApiKey),
        1 => back().prop_map(Step::RevokeApiKey),
        3 => prop_oneof![Just(1_i64), Just(50), Just(101)].prop_map(Step::Pass),
        1 => any::<bool>().prop_map(|withdraw| Step::RotateSigningKey { withdraw }),
    ]
}

#[test]
fn everything_agrees_with_the_model_after_each_step() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let histories = vec((steps(), 0..NODES), 30..60);
    let cases = 3 * u32::try_from(scale()).unwrap();
    let result = runner(cases).run(&histories, |steps| {
        runtime.block_on(async {
            let mut history = History::new().await;
            for (n, (step, node)) in steps.iter().enumerate() {
                let in_step = |error: TestCaseError| match error {
                    TestCaseError::Fail(why) => TestCaseError::fail(format!("step {n}, {step:?}: {why}")),
                    rejected @ TestCaseError::Reject(_) => rejected,
                };
                history.perform(*node, step).await.map_err(in_step)?;
                history.compare().await.map_err(in_step)?;
            }
            Ok(())
        })
    });
    result.unwrap();
}
