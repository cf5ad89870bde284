//! What a client may ask for (RFC 6749, 4.1.1; RFC 7636, 4.3; OpenID Connect Core, 3.1.2.1).

use std::{borrow::Cow, collections::HashSet};

use shared::{id::ClientId, input::Service, store::Client};

#[derive(Clone, Debug)]
pub(super) struct AuthorizationRequest {
    pub(super) client_id: ClientId,
    pub(super) target: Target,
    pub(super) service: String,
    pub(super) scopes: Vec<String>,
    pub(super) nonce: Option<String>,
    pub(super) code_challenge: Option<String>,
    pub(super) prompt: Prompt,
    /// The login may be at most this many seconds old.
    pub(super) max_age: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Registered for the client.
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) response_mode: ResponseMode,
}

/// How the answer gets to the redirect URI: in its query or fragment (OAuth 2.0 Multiple Response Types, 2.1), or in a
/// form that a page posts to it (OAuth 2.0 Form Post Response Mode).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ResponseMode {
    Query,
    Fragment,
    FormPost,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Prompt {
    /// Nothing may be shown.
    None,
    /// The user is asked. This service asks each time, which `login` and `consent` want too.
    Ask,
}

/// The errors that a client is told about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ErrorCode {
    AccessDenied,
    ConsentRequired,
    InvalidRequest,
    InvalidScope,
    LoginRequired,
    RequestNotSupported,
    RequestUriNotSupported,
    ServerError,
    UnsupportedResponseType,
}

impl ErrorCode {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::ConsentRequired => "consent_required",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::LoginRequired => "login_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::ServerError => "server_error",
            Self::UnsupportedResponseType => "unsupported_response_type",
        }
    }
}

#[derive(Debug)]
pub(super) enum Checked {
    /// Nobody may be redirected: the problem is shown.
    Show(&'static str),
    /// The client is told about the problem.
    Send(Target, ErrorCode, &'static str),
    Valid(Box<AuthorizationRequest>),
}

/// The parameters of a query. One without a value counts as left out (RFC 6749, 3.1).
struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn parse(query: &'a str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// The value, if the parameter is there once.
    fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        let value = values.next()?;
        (values.next().is_none() && !value.is_empty()).then_some(value)
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.only(name).map(str::to_owned)
    }

    fn has_duplicates(&self) -> bool {
        let mut seen = HashSet::new();
        !self.0.iter().all(|(key, _)| seen.insert(key))
    }
}

pub(super) fn client_id(query: &str) -> Result<ClientId, &'static str> {
    let parameters = Parameters::parse(query);
    let id = parameters.only("client_id").ok_or("client_id is missing or repeated.")?;
    id.parse().map_err(|_| "client_id is not the id of a client.")
}

pub(super) fn check(query: &str, client_id: ClientId, client: &Client) -> Checked {
    let parameters = Parameters::parse(query);
    // A prefix or a pattern would let others receive the code (RFC 9700, 4.1.3).
    let registered = |uri: &&str| client.redirect_uri(uri).is_some();
    let Some(redirect_uri) = parameters.only("redirect_uri").filter(registered) else {
        return Checked::Show("redirect_uri is missing, repeated, or not registered for this client.");
    };
    let response_mode = response_mode(&parameters, redirect_uri);
    let state = parameters.owned("state").filter(|state| is_opaque(state));
    let target = Target {
        redirect_uri: redirect_uri.to_owned(),
        state,
        // A mode that is refused is not used for saying so.
        response_mode: response_mode.unwrap_or(ResponseMode::Query),
    };
    match parse(&parameters, client_id, client, target.clone()) {
        Ok(request) => Checked::Valid(Box::new(request)),
        Err((code, problem)) => Checked::Send(target, code, problem),
    }
}

type Problem = (ErrorCode, &'static str);

fn ensure(condition: bool, code: ErrorCode, problem: &'static str) -> Result<(), Problem> {
    if condition { Ok(()) } else { Err((code, problem)) }
}

fn parse(
    parameters: &Parameters<'_>,
    client_id: ClientId,
    client: &Client,
    target: Target,
) -> Result<AuthorizationRequest, Problem> {
    use ErrorCode::InvalidRequest;
    ensure(!parameters.has_duplicates(), InvalidRequest, "a parameter is repeated")?;
    check_response(parameters)?;
    response_mode(parameters, &target.redirect_uri)?;
    let nonce = parameters.owned("nonce");
    for (value, problem) in [
        (parameters.only("state"), "state must have at most 4096 characters"),
        (nonce.as_deref(), "nonce must have at most 4096 characters"),
    ] {
        ensure(value.is_none_or(is_opaque), InvalidRequest, problem)?;
    }
    let scopes = scopes(parameters, client)?;
    let service = parameters.only("service").or(client.services.first().map(Service::as_str)).unwrap_or_default();
    let known = client.services.iter().any(|known| known.as_str() == service);
    ensure(known, InvalidRequest, "service is not registered for this client")?;
    let code_challenge = code_challenge(parameters, client)?;
    let prompt = match parameters.only("prompt").map(|prompt| prompt.split(' ').collect::<Vec<_>>()) {
        Some(values) if values == ["none"] => Prompt::None,
        Some(values) if values.contains(&"none") => {
            return Err((InvalidRequest, "prompt can be none or other values, not both"));
        }
        _ => Prompt::Ask,
    };
    let max_age = parameters.only("max_age").map(str::parse::<u32>).transpose();
    let max_age = max_age.map_err(|_| (InvalidRequest, "max_age must be a number of seconds"))?.map(i64::from);
    Ok(AuthorizationRequest {
        client_id,
        target,
        service: service.to_owned(),
        scopes,
        nonce,
        code_challenge,
        prompt,
        max_age,
    })
}

fn check_response(parameters: &Parameters<'_>) -> Result<(), Problem> {
    use ErrorCode::{InvalidRequest, RequestNotSupported, RequestUriNotSupported, UnsupportedResponseType};
    ensure(parameters.only("request").is_none(), RequestNotSupported, "request is not supported")?;
    ensure(parameters.only("request_uri").is_none(), RequestUriNotSupported, "request_uri is not supported")?;
    let response_type = parameters.only("response_type").ok_or((InvalidRequest, "response_type is required"))?;
    ensure(response_type == "code", UnsupportedResponseType, "response_type must be code")
}

fn response_mode(parameters: &Parameters<'_>, redirect_uri: &str) -> Result<ResponseMode, Problem> {
    let is_web = redirect_uri.starts_with("https:") || redirect_uri.starts_with("http:");
    match parameters.only("response_mode") {
        None | Some("query") => Ok(ResponseMode::Query),
        Some("fragment") => Ok(ResponseMode::Fragment),
        Some("form_post") if is_web => Ok(ResponseMode::FormPost),
        Some("form_post") => Err((ErrorCode::InvalidRequest, "no form can be posted to this redirect_uri")),
        Some(_) => Err((ErrorCode::InvalidRequest, "response_mode must be query, fragment or form_post")),
    }
}

/// Whether it is short enough to be passed through.
fn is_opaque(text: &str) -> bool {
    text.chars().count() <= 4096
}

fn scopes(parameters: &Parameters<'_>, client: &Client) -> Result<Vec<String>, Problem> {
    const REQUIRED: Problem = (ErrorCode::InvalidScope, "scope is required");
    let mut distinct: Vec<String> = Vec::new();
    for scope in parameters.only("scope").ok_or(REQUIRED)?.split(' ').filter(|scope| !scope.is_empty()) {
        ensure(client.scopes.contains(scope), ErrorCode::InvalidScope, "the client may not ask for this scope")?;
        if !distinct.iter().any(|known| known == scope) {
            distinct.push(scope.to_owned());
        }
    }
    if distinct.is_empty() { Err(REQUIRED) } else { Ok(distinct) }
}

/// Without a secret, only the challenge makes sure that the code is exchanged by who asked for it.
fn code_challenge(parameters: &Parameters<'_>, client: &Client) -> Result<Option<String>, Problem> {
    use ErrorCode::InvalidRequest;
    let Some(challenge) = parameters.owned("code_challenge") else {
        ensure(client.is_confidential(), InvalidRequest, "code_challenge is required")?;
        return Ok(None);
    };
    let s256 = parameters.only("code_challenge_method") == Some("S256");
    ensure(s256, InvalidRequest, "code_challenge_method must be S256")?;
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_digest = challenge.len() == 43 && challenge.bytes().all(base64url);
    ensure(is_digest, InvalidRequest, "code_challenge must be a SHA-256 digest in base64url")?;
    Ok(Some(challenge))
}
