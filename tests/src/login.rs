//! `/authorize`, the demo login service of the local stack.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Client, Response, redirect::Policy};
use serde_json::{Value, json};

use crate::harness::{
    ISSUER, Secrets, TestStack,
    exchange_token::{self, CLIENT, REDIRECT_URI, client, start},
    verified, with,
};

const VERIFIER: &str = "a-verifier-of-a-login-that-is-long-enough-to-be-one";

/// A browser that follows no redirect.
struct Browser {
    http: Client,
    origin: String,
    cookie: String,
}

/// A page, or where the browser is sent.
#[derive(Debug)]
struct Shown {
    status: u16,
    location: Option<String>,
    csp: String,
    text: String,
}

impl Browser {
    fn new(stack: &TestStack) -> Self {
        let http = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { http, origin: stack.url(""), cookie: String::new() }
    }

    async fn get(&mut self, query: &str) -> Shown {
        let request = self.http.get(format!("{}/authorize?{query}", self.origin)).header("cookie", &self.cookie);
        self.take(request.send().await.unwrap()).await
    }

    /// Opens the login with these changes of the parameters.
    async fn open(&mut self, changes: &Value) -> Shown {
        self.get(&query(&with(&parameters(), changes))).await
    }

    async fn post(&mut self, origin: &str, body: String) -> Shown {
        let request = self.http.post(format!("{}/authorize", self.origin)).header("cookie", &self.cookie);
        let request = request.header("origin", origin).header("content-type", "application/x-www-form-urlencoded");
        self.take(request.body(body).send().await.unwrap()).await
    }

    async fn answer(&mut self, page: &Shown, answer: &str) -> Shown {
        let (origin, ticket) = (self.origin.clone(), page.ticket());
        self.post(&origin, format!("ticket={ticket}&answer={answer}")).await
    }

    /// Opens the login and continues.
    async fn log_in(&mut self, changes: &Value) -> Shown {
        let page = self.open(changes).await;
        self.answer(&page, "continue").await
    }

    /// Keeps the cookie, and asserts the headers that every answer has.
    async fn take(&mut self, response: Response) -> Shown {
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("cache-control").as_deref(), Some("no-store"));
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
        assert_eq!(header("access-control-allow-origin"), None);
        let csp = header("content-security-policy").unwrap();
        assert!(csp.contains("default-src 'none'"), "{csp}");
        // A page that posts the answer may be in a frame.
        if !csp.contains("script-src") {
            assert_eq!(header("x-frame-options").as_deref(), Some("DENY"));
            assert_eq!(header("cross-origin-resource-policy").as_deref(), Some("same-origin"));
            assert!(csp.contains("frame-ancestors 'none'"), "{csp}");
        }
        if let Some(cookie) = header("set-cookie") {
            let (pair, attributes) = cookie.split_once("; ").unwrap();
            assert_eq!(attributes, "Path=/authorize; HttpOnly; SameSite=Lax");
            pair.clone_into(&mut self.cookie);
        }
        let (status, location) = (response.status().as_u16(), header("location"));
        Shown { status, location, csp, text: response.text().await.unwrap() }
    }
}

impl Shown {
    /// What binds the form to this browser.
    fn ticket(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"ticket\" value=\"").unwrap_or_else(|| panic!("no form: {self:?}"));
        rest.split('"').next().unwrap().to_owned()
    }

    /// The parameters with which the browser is sent to the redirect URI.
    #[track_caller]
    fn sent(&self) -> Value {
        self.sent_after('?')
    }

    /// As [`Self::sent`]; the separator is that of the query or of the fragment.
    #[track_caller]
    fn sent_after(&self, separator: char) -> Value {
        let location = self.location.as_deref().unwrap_or_else(|| panic!("not redirected: {self:?}"));
        let (uri, parameters) = location.split_once(separator).unwrap();
        assert_eq!((self.status, uri), (303, REDIRECT_URI));
        let url = reqwest::Url::parse(&format!("http://x/?{parameters}")).unwrap();
        let sent: serde_json::Map<_, _> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect();
        if let Some(code) = sent.get("code") {
            Secrets::add_credential(code.as_str().unwrap());
        }
        sent.into()
    }

    #[track_caller]
    fn assert_shown(&self, status: u16) {
        assert_eq!((self.status, &self.location), (status, &None), "{self:?}");
        assert!(self.csp.contains("form-action 'none'"), "{self:?}");
    }
}

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()))
}

/// The request that exchanges the code which the browser was sent.
fn exchange(sent: &Value) -> Value {
    json!({
        "client_id": CLIENT, "service": "email", "grant_type": "authorization_code", "redirect_uri": REDIRECT_URI,
        "code": sent["code"], "state": "a state & more", "nonce": "n-1", "code_verifier": VERIFIER,
    })
}

fn parameters() -> Value {
    json!({
        "response_type": "code", "client_id": CLIENT, "redirect_uri": REDIRECT_URI, "scope": "openid email",
        "state": "a state & more", "nonce": "n-1", "code_challenge": challenge(), "code_challenge_method": "S256",
    })
}

fn query(parameters: &Value) -> String {
    let mut url = reqwest::Url::parse("http://x/").unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    url.query_pairs_mut().extend_pairs(parameters.as_object().unwrap().iter().map(|(name, value)| (name, text(value))));
    url.query().unwrap().to_owned()
}

/// The number of items in the table: a code would be one.
async fn items(stack: &TestStack) -> Value {
    stack.dynamodb("Scan", json!({})).await["Count"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_ends_with_a_code_that_can_be_exchanged() {
    let stack = start().await;
    let mut browser = Browser::new(&stack);
    let page = browser.open(&json!({})).await;
    assert_eq!((page.status, &page.location), (200, &None));
    for shown in ["https://app.example.com", CLIENT, "Continue as Demo User", "Deny", "<code>openid</code>"] {
        assert!(page.text.contains(shown), "{shown}");
    }
    assert!(!page.text.contains("<code>profile</code>") && !page.text.contains("<script"), "{}", page.text);
    assert!(page.csp.contains("form-action 'self' https://app.example.com;"), "{}", page.csp);

    let sent = browser.answer(&page, "continue").await.sent();
    let expected = json!({"code": sent["code"], "state": "a state & more", "iss": ISSUER});
    assert_eq!(sent, expected);

    let body = exchange(&sent);
    let wrong = with(&body, &json!({"code_verifier": VERIFIER.replace('a', "b")}));
    assert_eq!(exchange_token::post(&stack, &wrong).await.status, 400);
    let answer = exchange_token::post(&stack, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let tokens = answer.json()["items"][0].clone();
    let (_, id_token) = verified(&stack, tokens["idToken"].as_str().unwrap(), CLIENT).await;
    assert_eq!(
        (&id_token["sub"], &id_token["email"], &id_token["nonce"]),
        (&"demo-user".into(), &"user@example.com".into(), &"n-1".into())
    );
    assert_eq!(id_token["auth_time"], stack.clock.seconds());
    assert_eq!(id_token["name"], Value::Null, "the scope profile was not asked for");
}

/// While client and redirect URI are not known to be right, the answer goes to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_redirected_to_a_uri_that_is_not_registered() {
    let stack = start().await;
    let mut browser = Browser::new(&stack);
    for changes in [
        json!({"client_id": null}),
        json!({"client_id": ""}),
        json!({"client_id": "not-a-uuid"}),
        json!({"client_id": "22222222-2222-2222-2222-222222222222"}),
        json!({"redirect_uri": null}),
        json!({"redirect_uri": ""}),
        json!({"redirect_uri": "https://app.example.com/callback/"}),
        json!({"redirect_uri": "https://app.example.com/callback?x=1"}),
        json!({"redirect_uri": "https://app.example.com/callback#x"}),
        json!({"redirect_uri": "https://app.example.com/"}),
        json!({"redirect_uri": "https://APP.example.com/callback"}),
        json!({"redirect_uri": "http://app.example.com/callback"}),
        json!({"redirect_uri": "https://app.example.com:443/callback"}),
        json!({"redirect_uri": "https://app.example.com/callback/../callback"}),
        json!({"redirect_uri": "https://app.example.com%2fcallback"}),
        json!({"redirect_uri": "https://app.example.com.evil.example/callback"}),
        json!({"redirect_uri": "https://evil.example/?https://app.example.com/callback"}),
        json!({"redirect_uri": "//evil.example"}),
        json!({"redirect_uri": "javascript:alert(1)"}),
        json!({"redirect_uri": "\"><script>alert(1)</script>"}),
    ] {
        // Whatever else is wrong.
        for more in [json!({}), json!({"response_type": "token"}), json!({"prompt": "none"})] {
            let page = browser.open(&with(&changes, &more)).await;
            page.assert_shown(400);
            assert!(!page.text.contains("evil") && !page.text.contains("alert("), "{}", page.text);
        }
    }
    for (name, value) in
        [("client_id", CLIENT), ("redirect_uri", REDIRECT_URI), ("redirect_uri", "https://evil.example/")]
    {
        browser.get(&format!("{}&{name}={value}", query(&parameters()))).await.assert_shown(400);
    }
    browser.get("").await.assert_shown(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_told_about_every_other_error() {
    let stack = start().await;
    let mut browser = Browser::new(&stack);
    let long = "x".repeat(4097);
    for (changes, error) in [
        (json!({"response_type": null}), "invalid_request"),
        (json!({"response_type": "token"}), "unsupported_response_type"),
        (json!({"response_type": "code id_token"}), "unsupported_response_type"),
        (json!({"response_mode": "jwt"}), "invalid_request"),
        (json!({"scope": null}), "invalid_scope"),
        (json!({"scope": " "}), "invalid_scope"),
        (json!({"scope": "openid admin"}), "invalid_scope"),
        (json!({"code_challenge": null}), "invalid_request"),
        (json!({"code_challenge_method": null}), "invalid_request"),
        (json!({"code_challenge_method": "plain"}), "invalid_request"),
        (json!({"code_challenge_method": "s256"}), "invalid_request"),
        (json!({"code_challenge": "short"}), "invalid_request"),
        (json!({"code_challenge": "=".repeat(43)}), "invalid_request"),
        (json!({"service": "fax"}), "invalid_request"),
        (json!({"nonce": long}), "invalid_request"),
        (json!({"prompt": "none login"}), "invalid_request"),
        (json!({"max_age": "soon"}), "invalid_request"),
        (json!({"max_age": "-1"}), "invalid_request"),
        (json!({"request": "eyJ"}), "request_not_supported"),
        (json!({"request_uri": "https://evil.example/"}), "request_uri_not_supported"),
        (json!({"prompt": "none"}), "login_required"),
    ] {
        let sent = browser.open(&changes).await.sent();
        let expected = json!({
            "error": error, "error_description": sent["error_description"], "state": "a state & more", "iss": ISSUER,
        });
        assert_eq!(sent, expected, "{changes}");
        assert!(!sent["error_description"].as_str().unwrap().is_empty());
    }
    let sent = browser.get(&format!("{}&scope=openid", query(&parameters()))).await.sent();
    assert_eq!(sent["error"], "invalid_request");
    // Without a state there is none in the answer.
    let sent = browser.open(&json!({"state": null, "scope": null})).await.sent();
    assert_eq!((&sent["state"], &sent["error"]), (&Value::Null, &"invalid_scope".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_can_deny() {
    let stack = start().await;
    let mut browser = Browser::new(&stack);
    let before = items(&stack).await;
    let page = browser.open(&json!({})).await;
    let sent = browser.answer(&page, "deny").await.sent();
    assert_eq!(
        (&sent["error"], &sent["state"], &sent["iss"], &sent["code"]),
        (&"access_denied".into(), &"a state & more".into(), &ISSUER.into(), &Value::Null)
    );
    assert_eq!(items(&stack).await, before);
    assert_eq!(browser.open(&json!({"prompt": "none"})).await.sent()["error"], "login_required");
}

/// Another page cannot answer for the user, and an answer counts once.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_form_that_this_browser_was_given_is_accepted() {
    let stack = start().await;
    let (mut browser, mut other) = (Browser::new(&stack), Browser::new(&stack));
    let page = browser.open(&json!({})).await;
    let theirs = other.open(&json!({})).await;
    let before = items(&stack).await;
    let own_origin = stack.url("");
    let body = |ticket: &str, answer: &str| format!("ticket={ticket}&answer={answer}");

    other.answer(&page, "continue").await.assert_shown(400);
    browser.answer(&theirs, "continue").await.assert_shown(400);
    let mut stranger = Browser::new(&stack);
    stranger.answer(&page, "continue").await.assert_shown(400);
    browser.post(&own_origin, body("", "continue")).await.assert_shown(400);
    browser.post(&own_origin, body(&"0".repeat(32), "continue")).await.assert_shown(400);
    browser.post(&own_origin, body(&page.ticket(), "perhaps")).await.assert_shown(400);
    browser.post(&own_origin, format!("ticket={}", page.ticket())).await.assert_shown(400);
    browser.post(&own_origin, "x".repeat(5000)).await.assert_shown(413);
    for origin in ["https://app.example.com", "null", "http://127.0.0.1:1"] {
        let request =
            browser.http.post(stack.url("/authorize")).header("cookie", &browser.cookie).header("origin", origin);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(body(&page.ticket(), "continue")).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{origin}");
    }
    let request = || browser.http.post(stack.url("/authorize")).header("cookie", &browser.cookie);
    let form = ("content-type", "application/x-www-form-urlencoded");
    for request in
        [request().header(form.0, form.1), request().header("origin", &own_origin).header(form.0, "text/plain")]
    {
        assert_eq!(request.body(body(&page.ticket(), "continue")).send().await.unwrap().status(), 403);
    }
    assert_eq!(items(&stack).await, before);

    assert!(browser.answer(&page, "continue").await.sent()["code"].is_string());
    browser.answer(&page, "continue").await.assert_shown(400);
    let late = other.open(&json!({})).await;
    stack.clock.advance(600);
    other.answer(&late, "continue").await.assert_shown(400);
}

/// An id from before the login is worth nothing after it, and its other windows go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_changes_the_cookie() {
    let stack = start().await;
    let mut browser = Browser::new(&stack);
    // An id that somebody else may have put there is not taken.
    "tokenmint_demo_login=known-to-somebody".clone_into(&mut browser.cookie);
    let (first, second) = (browser.open(&json!({})).await, browser.open(&json!({})).await);
    let before = browser.cookie.clone();
    assert!(!before.contains("known-to-somebody"));
    assert!(browser.answer(&first, "continue").await.sent()["code"].is_string());
    assert_ne!(browser.cookie, before);
    assert!(browser.answer(&second, "continue").await.sent()["code"].is_string());
    let mut old = Browser::new(&stack);
    old.cookie = before;
    assert_eq!(old.open(&json!({"prompt": "none"})).await.sent()["error"], "login_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_login_needs_an_earlier_one_with_these_scopes() {
    let stack = start().await;
    let other = client(&stack, &json!({"clientId": null})).await;
    let mut browser = Browser::new(&stack);
    let silent = |changes: Value| with(&json!({"prompt": "none"}), &changes);
    assert_eq!(browser.open(&silent(json!({}))).await.sent()["error"], "login_required");
    browser.log_in(&json!({})).await.sent();
    let logged_in_at = stack.clock.seconds();
    stack.clock.advance(100);

    let sent = browser.open(&silent(json!({}))).await.sent();
    let body = exchange(&sent);
    let answer = exchange_token::post(&stack, &body).await.json();
    let (_, id_token) = verified(&stack, answer["items"][0]["idToken"].as_str().unwrap(), CLIENT).await;
    assert_eq!(id_token["auth_time"], logged_in_at, "the time of the login, not of the silent one");

    for (changes, error) in [
        (json!({"scope": "openid profile"}), "consent_required"),
        (json!({"client_id": other}), "consent_required"),
        (json!({"service": "sms"}), "consent_required"),
        (json!({"max_age": "99"}), "login_required"),
    ] {
        assert_eq!(browser.open(&silent(changes.clone())).await.sent()["error"], error, "{changes}");
    }
    for changes in [json!({"max_age": "100"}), json!({"scope": "email"})] {
        assert!(browser.open(&silent(changes.clone())).await.sent()["code"].is_string(), "{changes}");
    }
    // A login adds to what was allowed.
    browser.log_in(&json!({"scope": "profile"})).await.sent();
    assert!(browser.open(&silent(json!({"scope": "openid profile"}))).await.sent()["code"].is_string());
    let mut stranger = Browser::new(&stack);
    assert_eq!(stranger.open(&silent(json!({}))).await.sent()["error"], "login_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_may_leave_the_challenge_out() {
    let stack = start().await;
    let confidential = client(&stack, &json!({"clientId": null, "confidential": true})).await;
    let changes = json!({"client_id": confidential, "code_challenge": null, "code_challenge_method": null});
    assert!(Browser::new(&stack).log_in(&changes).await.sent()["code"].is_string());
    let plain = json!({"client_id": confidential, "code_challenge_method": "plain"});
    assert_eq!(Browser::new(&stack).open(&plain).await.sent()["error"], "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_the_one_of_the_query_or_the_first() {
    let stack = start().await;
    for (changes, service) in [(json!({}), "email"), (json!({"service": "sms"}), "sms")] {
        let sent = Browser::new(&stack).log_in(&changes).await.sent();
        let body = with(&exchange(&sent), &json!({"service": service}));
        assert_eq!(exchange_token::post(&stack, &body).await.status, 201, "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_uri_keeps_its_query() {
    let stack = TestStack::start().await;
    let uri = "com.example.app:/callback?tenant=1";
    client(&stack, &json!({"redirectUris": [uri]})).await;
    let answer = Browser::new(&stack).log_in(&json!({"redirect_uri": uri})).await;
    let location = answer.location.unwrap();
    assert!(location.starts_with("com.example.app:/callback?tenant=1&code=tmc_"), "{location}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_can_be_in_the_fragment() {
    let stack = start().await;
    let mut browser = Browser::new(&stack);
    let fragment = json!({"response_mode": "fragment"});
    let sent = browser.log_in(&fragment).await.sent_after('#');
    let expected = json!({"code": sent["code"], "state": "a state & more", "iss": ISSUER});
    assert_eq!(sent, expected);
    assert_eq!(exchange_token::post(&stack, &exchange(&sent)).await.status, 201);
    let refused = browser.open(&with(&fragment, &json!({"scope": "admin"}))).await.sent_after('#');
    assert_eq!(refused["error"], "invalid_scope");
    // Without a valid mode it is in the query.
    let twice = browser.get(&format!("{}&response_mode=fragment&response_mode=fragment", query(&parameters()))).await;
    assert_eq!(twice.sent()["error"], "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_post_the_answer() {
    let stack = start().await;
    let mut browser = Browser::new(&stack);
    let form_post = json!({"response_mode": "form_post", "state": "\"><b>&'"});
    for (changes, answer, parameter) in
        [(json!({}), "continue", "code"), (json!({}), "deny", "error"), (json!({"scope": "admin"}), "", "error")]
    {
        let shown = browser.open(&with(&form_post, &changes)).await;
        let shown = if answer.is_empty() { shown } else { browser.answer(&shown, answer).await };
        assert_eq!((shown.status, &shown.location), (200, &None));
        let text = &shown.text;
        assert!(text.contains(&format!("<form method=\"post\" action=\"{REDIRECT_URI}\">")), "{text}");
        assert!(text.contains("name=\"state\" value=\"&quot;&gt;&lt;b&gt;&amp;&#39;\""), "{text}");
        assert!(text.contains(&format!("name=\"iss\" value=\"{ISSUER}\"")), "{text}");
        let (_, value) = text.split_once(&format!("name=\"{parameter}\" value=\"")).unwrap();
        if parameter == "code" {
            let code = json!({"code": value.split('"').next().unwrap(), "state": form_post["state"]});
            Secrets::add_credential(code["code"].as_str().unwrap());
            assert_eq!(exchange_token::post(&stack, &with(&exchange(&code), &code)).await.status, 201);
        }
        let (_, script) = text.split_once("<script>").unwrap();
        let script = script.split("</script>").next().unwrap();
        let hash = base64::engine::general_purpose::STANDARD.encode(digest::digest(&digest::SHA256, script.as_bytes()));
        assert!(shown.csp.contains(&format!("script-src 'sha256-{hash}'")), "{}", shown.csp);
        for rule in ["form-action", "frame-ancestors", "sandbox", "upgrade-insecure-requests"] {
            assert!(!shown.csp.contains(rule), "{}", shown.csp);
        }
    }

    // An app is not reached by a form.
    let app = "com.example.app:/callback";
    stack.provision(&json!({"action": "updateClient", "clientId": CLIENT, "redirectUris": [app]})).await;
    let refused = browser.open(&with(&form_post, &json!({"redirect_uri": app}))).await.location.unwrap();
    assert!(refused.starts_with(&format!("{app}?error=invalid_request&")), "{refused}");
}

/// Clients link to it; everything else of another origin is refused.
#[tokio::test(flavor = "multi_thread")]
async fn other_origins_can_only_link_to_the_login() {
    let stack = start().await;
    let http = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let url = format!("{}?{}", stack.url("/authorize"), query(&parameters()));
    let status = async |headers: &[(&str, &str)]| {
        let request = headers.iter().fold(http.get(&url), |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    let site = |site, mode| [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
    assert_eq!(status(&site("cross-site", "navigate")).await, 200);
    assert_eq!(status(&site("same-origin", "cors")).await, 200);
    assert_eq!(status(&site("cross-site", "cors")).await, 403);
    assert_eq!(status(&site("same-site", "no-cors")).await, 403);
    assert_eq!(status(&[("origin", "https://app.example.com")]).await, 403);
    assert_eq!(status(&[("host", "login.example.com")]).await, 403);
    assert_eq!(http.put(stack.url("/authorize")).send().await.unwrap().status(), 405);
}
