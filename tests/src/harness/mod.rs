//! The stack under test, with a clock that tests set, seeded randomness, and AWS calls that tests count and fail.

mod aws_proxy;
mod calls;
mod cases;
mod cloudformation;
mod events;
pub(crate) mod exchange_token;
mod fixture;
pub(crate) mod items;
mod jwt;
mod lambda;
mod log;
mod node;
pub(crate) mod oauth2;
mod openapi;
mod random;
mod tenant;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use chrono::{DateTime, Utc};
use local::{Options, Stack};
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use shared::{
    auth::Permission,
    clock::{Clock, SystemClock},
    id::TokenSlot,
    keys::SigningMode,
    store::{RegistrationToken, Store, Update},
};

pub(crate) use self::aws_proxy::{AwsProxy, Moment};
pub(crate) use self::calls::{Calls, InjectedFault};
pub(crate) use self::cases::{CASES, Case, CaseName, Repeat};
pub(crate) use self::cloudformation::{Deployment, PREVIOUS_KEYS, deployed_functions, own_variables, statements};
pub(crate) use self::events::{authorizer_event, authorizer_event_of, event, events};
pub(crate) use self::fixture::{Fixture, Held, Subject};
pub(crate) use self::jwt::{current_key, current_kid, unverified_claims, verified};
pub(crate) use self::lambda::{Lambda, binaries, command};
pub(crate) use self::log::Secrets;
pub(crate) use self::node::{ApiRequest, Node, Outcome};
pub(crate) use self::openapi::{Api, api, encoded};
pub(crate) use self::random::SeededRandom;
pub(crate) use self::tenant::{CREATE_TOKEN, Tenant, app_tokens};

/// Where the test clock begins: 2027-01-15T08:00:00Z.
pub(crate) const START: i64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://tokens.example.com";

/// A clock that moves only when a test moves it.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Relaxed);
    }

    pub(crate) fn seconds(&self) -> i64 {
        self.0.load(Relaxed)
    }

    /// Sets it to the system's time, which the functions' processes use.
    pub(crate) fn meet_the_systems(&self) {
        self.0.store(SystemClock.now().timestamp(), Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0.load(Relaxed), 250_000_000).unwrap()
    }
}
pub(crate) struct TestStack {
    pub(crate) local: Stack,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) http: reqwest::Client,
    /// The SDK's connections.
    connector: SharedHttpClient,
}

/// An answer, read to its end.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts status and body, and the headers that every answer of an endpoint has.
    #[track_caller]
    pub(crate) fn assert(&self, status: u16, body: &Value) {
        assert_eq!((self.status, &self.json()), (status, body));
        self.assert_headers("no-store");
    }

    #[track_caller]
    pub(crate) fn assert_headers(&self, cache_control: &str) {
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some(cache_control));
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
    }
}

impl TestStack {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A stack with the demo, and the demo's API key.
    pub(crate) async fn with_demo() -> (Self, String) {
        let stack = Self::start().await;
        let lines = stack.local.provision_demo().await.unwrap();
        let key = lines.split("Bearer ").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        (stack, key)
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        log::guard();
        let clock = Arc::new(TestClock(AtomicI64::new(START)));
        let calls = Arc::new(Calls::default());
        let connector = shared::runtime::aws::http_client();
        let mut options = options(&clock, calls::client(connector.clone(), &calls));
        change(&mut options);
        let local = Box::pin(Stack::start(options)).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { local, clock, calls, http, connector }
    }

    /// Why a stack with these options does not start.
    pub(crate) async fn refused(change: impl FnOnce(&mut Options)) -> String {
        let clock = Arc::new(TestClock(AtomicI64::new(START)));
        let mut options = options(&clock, shared::runtime::aws::http_client());
        change(&mut options);
        Box::pin(Stack::start(options)).await.unwrap_err().to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.local.base_url())
    }

    /// Sends a request. If it takes a route, `openapi.yaml` must describe the answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let (http, request) = request.build_split();
        let request = request.unwrap();
        let (method, url) = (request.method().clone(), request.url().clone());
        let response = http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Answer { status, headers, text: response.text().await.unwrap() };
        // The document leaves out `HEAD`, which is as `GET`.
        if let Some(route) = api().route(&method, url.path()).filter(|_| method != Method::HEAD) {
            api().check(route, &answer).unwrap_or_else(|wrong| panic!("{method} {}: {wrong}: {answer:?}", url.path()));
        }
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    /// Posts JSON, with a bearer unless it is empty.
    pub(crate) async fn post(&self, path: &str, bearer: &str, body: &Value) -> Answer {
        self.send(with_bearer(self.json(path, body), bearer)).await
    }
    pub(crate) fn json(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(path)).header("content-type", "application/json").body(body.to_string())
    }

    /// Sends a bearer to the function of this path once. From then on the function reads the caller in parallel with
    /// the rest.
    pub(crate) async fn introduce(&self, path: &str, bearer: &str) {
        let without_body = self.http.post(self.url(path)).bearer_auth(bearer);
        assert_eq!(self.send(without_body).await.status, 400);
    }
    pub(crate) async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(self.form(path, form)).await
    }
    pub(crate) fn form(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(self.url(path)).header("content-type", "application/x-www-form-urlencoded");
        request.body(body)
    }

    pub(crate) async fn provision(&self, action: &Value) -> Value {
        self.try_provision(action).await.unwrap()
    }

    pub(crate) async fn try_provision(&self, action: &Value) -> Result<Value, Value> {
        self.local.invoke("provision", action).await
    }

    pub(crate) async fn organization(&self, slug: &str) -> String {
        let answer = self.provision(&json!({"action": "createOrganization", "slug": slug})).await;
        answer["organizationId"].as_str().unwrap().to_owned()
    }

    /// An API key with all permissions.
    pub(crate) async fn api_key(&self, organization: &str) -> String {
        self.api_key_that_may(organization, &Permission::ALL.map(Permission::as_str)).await
    }

    pub(crate) async fn api_key_that_may(&self, organization: &str, permissions: &[&str]) -> String {
        let action = json!({"action": "createApiKey", "organizationId": organization, "permissions": permissions});
        let key = self.provision(&action).await["apiKey"].as_str().unwrap().to_owned();
        Secrets::add_credential(&key);
        key
    }

    /// A registration; `more` are further fields of the action.
    pub(crate) async fn registration(&self, organization: &str, more: &Value) -> String {
        let mut action = json!({"action": "createRegistration", "organizationId": organization, "name": "test"});
        action.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.provision(&action).await["registrationId"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn application(&self, organization: &str, slug: &str) -> String {
        let action = json!({"action": "createApplication", "organizationId": organization, "slug": slug});
        self.provision(&action).await["applicationId"].as_str().unwrap().to_owned()
    }

    /// Sends a request to the embedded DynamoDB, for what no endpoint does.
    pub(crate) async fn dynamodb(&self, operation: &str, mut request: Value) -> Value {
        request["TableName"] = local::TABLE.into();
        let signature =
            "AWS4-HMAC-SHA256 Credential=local/20270115/local/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
        let request = self
            .http
            .post(self.url("/"))
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-date", "20270115T080000Z")
            .header("authorization", signature)
            .body(request.to_string());
        let answer = self.send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Sends a request to the embedded KMS.
    pub(crate) async fn kms(&self, operation: &str, request: &Value) -> Value {
        let call = self.http.post(self.url("/")).header("x-amz-target", format!("TrentService.{operation}"));
        let answer = self.send(call.body(request.to_string())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The whole table, as text.
    pub(crate) async fn dump(&self) -> String {
        self.dynamodb("Scan", json!({})).await.to_string()
    }

    /// The table, for what no endpoint does.
    pub(crate) fn store(&self) -> Store {
        Store::from_environment(self.local.environment()).unwrap()
    }

    /// Whether a registration holds the token with this id.
    pub(crate) async fn holds(&self, registration: &str, token: &str) -> bool {
        let registration = self.store().load_registration(&registration.parse().unwrap()).await.unwrap().unwrap();
        registration.tokens.iter().any(|(slot, held)| held.id(*slot).to_string() == token)
    }

    /// Revokes an OAuth access token. Returns whether it was active.
    pub(crate) async fn revoke_token(&self, registration: &str, token: &str) -> bool {
        let (store, id) = (self.store(), registration.parse().unwrap());
        let token = token.parse().unwrap();
        loop {
            let registration = store.load_registration(&id).await.unwrap().unwrap();
            let mut recorded = registration.tokens.iter();
            let is_active = |(slot, held): &(&TokenSlot, &RegistrationToken)| {
                held.id(**slot) == token && self.clock.now() < held.expires_at
            };
            let Some((slot, _)) = recorded.find(is_active) else { return false };
            let update = store.revoke_token(&id, *slot, token).await.unwrap();
            if let Update::Applied(_) = update {
                return true;
            }
        }
    }

    /// Revokes an app token. Returns whether it was active.
    pub(crate) async fn revoke_app_token(&self, id: &str) -> bool {
        let (id, now) = (id.parse().unwrap(), self.clock.now());
        matches!(self.store().revoke_app_token(id, now).await.unwrap(), Update::Applied(()))
    }
}

fn options(clock: &Arc<TestClock>, http_client: SharedHttpClient) -> Options {
    Options {
        host: [127, 0, 0, 1].into(),
        port: 0,
        issuer: Some(ISSUER.to_owned()),
        oidc_issuer: None,
        allow_hosts: vec![],
        allow_origins: vec!["*".to_owned()],
        data_dir: None,
        signing_mode: SigningMode::Kms,
        settings: HashMap::new(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        random: Arc::new(SeededRandom::of_this_test()),
        aws: shared::runtime::aws::config().http_client(http_client).timeout_config(patient()),
    }
}

/// Long timeouts: two hundred requests at once on a busy machine must not look like an outage.
fn patient() -> TimeoutConfig {
    let minute = Duration::from_mins(1);
    TimeoutConfig::builder().operation_attempt_timeout(minute).operation_timeout(minute).build()
}

/// A request with a bearer, unless that is empty.
pub(crate) fn with_bearer(request: RequestBuilder, bearer: &str) -> RequestBuilder {
    if bearer.is_empty() { request } else { request.bearer_auth(bearer) }
}

/// `base` with the fields of `changes`. A `null` removes a field.
pub(crate) fn with(base: &Value, changes: &Value) -> Value {
    let mut fields = base.as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    fields.into()
}

/// The expected result of [`Calls::count`].
pub(crate) fn calls(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(operation, count)| ((*operation).to_owned(), *count)).collect()
}

/// Runs this many cases of a property.
pub(crate) fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
}

/// The factor by which random tests are longer than usual: `TEST_SCALE`, or 1.
pub(crate) fn scale() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "there is no environment around a test run")]
    std::env::var("TEST_SCALE").map_or(1, |scale| scale.parse().expect("TEST_SCALE is a number"))
}

/// A lock that a failed test does not poison.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
