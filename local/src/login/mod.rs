//! A demo login service, which only the local stack has: the authorization endpoint of OAuth 2.0 (RFC 6749, 4.1) and
//! OpenID Connect. tokenmint exchanges codes for tokens; who the user is, and whether they agree, is for a login
//! service to find out. Start your own from this one.
//!
//! 1. `GET /authorize`: [`request`] checks the parameters. While client and redirect URI are not known to be right, an
//!    error is shown here and nobody is sent anywhere. After that it is sent to the client.
//! 2. The user sees who asks for what ([`html`]), and answers. A real service would ask for a password or a passkey
//!    first.
//! 3. `POST /authorize`: [`sessions`] knows the request that this browser was asked about, and remembers the login.
//! 4. The Lambda `issue-code` is invoked with what was agreed, and the browser goes back to the client with the code,
//!    or with the user's refusal. `iss` says who answered (RFC 9207).
//!
//! What a demo lacks: users and their credentials, several languages, sessions that outlive the process, a log out.

mod html;
mod request;
mod sessions;

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{ALLOW, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    error::InternalError,
    random::Random,
    runtime::{Environment, SettingsError},
    store::Store,
};

use self::{
    request::{AuthorizationRequest, Checked, ErrorCode, Prompt, ResponseMode},
    sessions::{Answered, Sessions},
};
use crate::{demo, lambda::Functions, pages::protect};

/// Recognizes a browser. Cookies ignore ports: another server on this host gets it too, if it is asked for /authorize.
const COOKIE_NAME: &str = "tokenmint_demo_login";
const MAX_FORM_BYTES: usize = 4096;

#[derive(Debug)]
pub(crate) struct Login {
    issuer: String,
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    sessions: Mutex<Sessions>,
}

impl Login {
    pub(crate) fn new(environment: &Environment) -> Result<Self, SettingsError> {
        let variable = |name: &str| environment.variables.get(name).cloned();
        Ok(Self {
            issuer: variable("OIDC_ISSUER").or_else(|| variable("ISSUER")).unwrap_or_default(),
            // For the clients only: they are read where tokenmint has them. Your service may keep a list of its own.
            store: Store::from_environment(environment)?,
            clock: Arc::clone(&environment.clock),
            random: Arc::clone(&environment.random),
            sessions: Mutex::default(),
        })
    }

    pub(crate) async fn answer(&self, functions: &Functions, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let answer = match parts.method {
            Method::GET => self.ask(functions, &parts).await,
            Method::POST => self.answered(functions, &parts, body).await,
            _ => Ok((StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, POST")]).into_response()),
        };
        answer.unwrap_or_else(|error| {
            tracing::error!(error = error.chain(), "the login failed");
            html::error(StatusCode::INTERNAL_SERVER_ERROR, "The login service failed. Please try again.")
        })
    }

    /// `GET`: checks the request and asks the user.
    async fn ask(&self, functions: &Functions, parts: &Parts) -> Result<Response, InternalError> {
        let query = parts.uri.query().unwrap_or_default();
        let client = match request::client_id(query) {
            Ok(id) => self.store.load_client(id).await?.map(|client| (id, client)),
            Err(problem) => return Ok(html::error(StatusCode::BAD_REQUEST, problem)),
        };
        let Some((client_id, client)) = client else {
            return Ok(html::error(StatusCode::BAD_REQUEST, "client_id is not the id of a client."));
        };
        let valid = match request::check(query, client_id, &client) {
            Checked::Show(problem) => return Ok(html::error(StatusCode::BAD_REQUEST, problem)),
            Checked::Send(target, code, problem) => return Ok(self.send_error(&target, code, problem)),
            Checked::Valid(request) => *request,
        };
        let now = self.clock.now();
        let browser = cookie(&parts.headers);
        if valid.prompt == Prompt::None {
            let agreed = self.sessions().agreed(browser.as_deref(), &valid, now);
            return match agreed {
                Ok(auth_time) => self.issue(functions, &valid, auth_time).await,
                Err((code, problem)) => Ok(self.send_error(&valid.target, code, problem)),
            };
        }
        let (ticket, new_browser) = (self.random_id()?, self.random_id()?);
        let browser = self.sessions().ask(browser, new_browser, ticket.clone(), &valid, now);
        let mut response = html::ask(&ticket, &valid);
        response.headers_mut().extend(set_cookie(&browser));
        Ok(response)
    }

    /// `POST`: the user's answer. The browser must be the one that was asked, and the form the one that it was given,
    /// so no other page can answer for the user.
    async fn answered(&self, functions: &Functions, parts: &Parts, body: Body) -> Result<Response, InternalError> {
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_form = content_type
            .split(';')
            .next()
            .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        // A wrong `Origin` has been refused before; a browser always sends one with a form.
        if !is_form || !parts.headers.contains_key(ORIGIN) {
            return Ok(html::error(StatusCode::FORBIDDEN, "Only the form of this page is accepted here."));
        }
        let Ok(body) = to_bytes(body, MAX_FORM_BYTES).await else {
            return Ok(html::error(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large."));
        };
        let field = |name: &str| form_urlencoded::parse(&body).find(|(key, _)| key == name).map(|(_, value)| value);
        let (ticket, answer) = (field("ticket").unwrap_or_default(), field("answer").unwrap_or_default());
        let now = self.clock.now();
        let allowed = match answer.as_ref() {
            "continue" => true,
            "deny" => false,
            _ => return Ok(html::error(StatusCode::BAD_REQUEST, "The form has no answer.")),
        };
        let new_browser = self.random_id()?;
        let browser = cookie(&parts.headers);
        let answered = self.sessions().answer(browser.as_deref(), &ticket, allowed.then(|| new_browser.clone()), now);
        match answered {
            Answered::Unknown => Ok(html::error(
                StatusCode::BAD_REQUEST,
                "This login was answered already or is too old. Start again from the application.",
            )),
            Answered::Denied(request) => {
                Ok(self.send_error(&request.target, ErrorCode::AccessDenied, "the user denied the request"))
            }
            Answered::Allowed(request) => {
                let mut response = self.issue(functions, &request, now).await?;
                response.headers_mut().extend(set_cookie(&new_browser));
                Ok(response)
            }
        }
    }

    /// Has a code issued and sends it to the client.
    async fn issue(
        &self,
        functions: &Functions,
        request: &AuthorizationRequest,
        auth_time: DateTime<Utc>,
    ) -> Result<Response, InternalError> {
        let mut event = json!({
            "clientId": request.client_id.to_string(),
            "service": request.service,
            "redirectUri": request.target.redirect_uri,
            "subject": demo::SUBJECT,
            "scope": request.scopes.join(" "),
            "authTime": auth_time.timestamp(),
            "claims": demo::claims(),
        });
        for (name, value) in
            [("state", &request.target.state), ("nonce", &request.nonce), ("codeChallenge", &request.code_challenge)]
        {
            if let (Some(value), Some(event)) = (value, event.as_object_mut()) {
                event.insert(name.to_owned(), value.as_str().into());
            }
        }
        // On AWS: `aws lambda invoke`, with a role that may invoke this function and no other.
        let answer = functions.call("issue-code", &event).await.unwrap_or(Value::Null);
        Ok(match answer["code"].as_str() {
            Some(code) => self.send(&request.target, &[("code", code)]),
            None => self.send_error(&request.target, ErrorCode::ServerError, "no code could be issued"),
        })
    }

    fn send_error(&self, target: &request::Target, code: ErrorCode, problem: &str) -> Response {
        self.send(target, &[("error", code.as_str()), ("error_description", problem)])
    }

    /// Sends the browser to the client. 303, so that it does not send the form there (RFC 9700, 4.12).
    fn send(&self, target: &request::Target, answer: &[(&str, &str)]) -> Response {
        let state = target.state.iter().map(|state| ("state", state.as_str()));
        let parameters: Vec<_> = answer.iter().copied().chain(state).chain([("iss", self.issuer.as_str())]).collect();
        let separator = match target.response_mode {
            ResponseMode::FormPost => return html::form_post(&target.redirect_uri, &parameters),
            ResponseMode::Fragment => '#',
            ResponseMode::Query if target.redirect_uri.contains('?') => '&',
            ResponseMode::Query => '?',
        };
        let parameters = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let location = format!("{}{separator}{parameters}", target.redirect_uri);
        let Ok(location) = HeaderValue::try_from(location) else {
            return html::error(StatusCode::BAD_REQUEST, "redirect_uri cannot be redirected to.");
        };
        let mut response = StatusCode::SEE_OTHER.into_response();
        protect(response.headers_mut(), HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
        response.headers_mut().insert(LOCATION, location);
        response
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 128 random bits, in a form for cookies and forms.
    fn random_id(&self) -> Result<String, InternalError> {
        Ok(self.random.uuid()?.simple().to_string())
    }
}

/// The browser's id, if it sent exactly one.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = cookies
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
    let browser = found.next()?.to_owned();
    found.next().is_none().then_some(browser)
}

/// Not `Secure`, because the local stack has no TLS. In yours, set `Secure` and the prefix `__Host-` (with `Path=/`).
fn set_cookie(browser: &str) -> Option<(HeaderName, HeaderValue)> {
    let value = format!("{COOKIE_NAME}={browser}; Path=/authorize; HttpOnly; SameSite=Lax");
    Some((SET_COOKIE, HeaderValue::try_from(value).ok()?))
}
