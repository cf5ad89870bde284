//! What the endpoint reads and writes: `{"kind": "tokens", …}` and `{"errors": [{"validation": "error", …}]}`.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::{
    credential::{GrantCredential, GrantId},
    fault::Fault,
    field::{Fields, Invalid, Rule, ScopeList, required},
    function::Outcome,
    http::{Request, Response, StatusCode},
    id::ClientId,
    oidc::Language,
    telemetry::log_fault,
};

/// A valid request.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    pub(crate) client_id: ClientId,
    pub(crate) service: String,
    pub(crate) redirect_uri: String,
    pub(crate) nonce: Option<String>,
    /// What is asked for, at most what was granted. `None` asks for that.
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) language: Option<String>,
    pub(crate) credential: Presented,
}

/// What is exchanged.
#[derive(Debug)]
pub(crate) enum Presented {
    /// An authorization code (RFC 6749, 4.1.3), and what proves that the bearer asked for it.
    Code { code: GrantCredential, state: Option<String>, code_verifier: Option<String> },
    /// A refresh token (RFC 6749, 6).
    RefreshToken(GrantCredential),
}

impl Presented {
    pub(crate) fn grant(&self) -> &GrantId {
        match self {
            Self::Code { code: credential, .. } | Self::RefreshToken(credential) => credential.grant(),
        }
    }
}

impl TokenRequest {
    pub(crate) fn read(request: &Request) -> Result<Self, Refusal> {
        let mut body = NonEmpty(request.fields()?);
        let grant_type = required("grant_type", body.parsed::<GrantType>("grant_type")?)?;
        let (code, refresh_token) = (body.text("code")?, body.text("refresh_token")?);
        let (state, nonce, prompt) = (body.text("state")?, body.text("nonce")?, body.text("prompt")?);
        let code_verifier = body.parsed::<CodeVerifier>("code_verifier")?;
        let _: Option<AuthTime> = body.parsed("auth_time")?;
        let client_id = required("client_id", body.parsed("client_id")?)?;
        let service = required("service", body.text("service")?)?;
        let redirect_uri = required("redirect_uri", body.text("redirect_uri")?)?;
        let scopes = body.parsed("scope")?.map(ScopeList::into_inner);
        let language = body.parsed("language")?.map(Language::into_inner);

        // A published browser client refreshes silently with the grant type of a code exchange.
        let silent = prompt.is_some_and(|prompt| prompt == "none") && refresh_token.is_some();
        // A malformed credential is answered as an unknown one.
        let credential = if grant_type == GrantType::RefreshToken || silent {
            let token = GrantCredential::parse_refresh_token(&required("refresh_token", refresh_token)?);
            Presented::RefreshToken(token.ok_or(Refusal::BadCredential)?)
        } else {
            let code = GrantCredential::parse_code(&required("code", code)?).ok_or(Refusal::BadCredential)?;
            Presented::Code { code, state, code_verifier: code_verifier.map(|CodeVerifier(verifier)| verifier) }
        };
        Ok(Self { client_id, service, redirect_uri, nonce, scopes, language, credential })
    }
}

/// The body's fields, where an empty string counts as absent.
struct NonEmpty(Fields);

impl NonEmpty {
    fn text(&mut self, name: &'static str) -> Result<Option<String>, Invalid> {
        Ok(self.0.string(name)?.filter(|text| !text.is_empty()))
    }

    fn parsed<T: FromStr<Err = Rule>>(&mut self, name: &'static str) -> Result<Option<T>, Invalid> {
        self.text(name)?.map(|text| text.parse().map_err(|Rule(rule)| Invalid::new(name, rule))).transpose()
    }
}

#[derive(PartialEq)]
enum GrantType {
    AuthorizationCode,
    RefreshToken,
}

impl FromStr for GrantType {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        match text {
            "authorization_code" => Ok(Self::AuthorizationCode),
            "refresh_token" => Ok(Self::RefreshToken),
            _ => Err(Rule("must be authorization_code or refresh_token")),
        }
    }
}

/// Only its form is looked at: the claim comes from the code's record.
struct AuthTime;

impl FromStr for AuthTime {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let form = (1..=12).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        if form { Ok(Self) } else { Err(Rule("must be seconds since the epoch, in decimal digits")) }
    }
}

/// RFC 7636, 4.1.
struct CodeVerifier(String);

impl FromStr for CodeVerifier {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let form = (43..=128).contains(&text.len());
        if form && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~".contains(&c)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Rule("must be 43 to 128 of A-Z a-z 0-9 - . _ ~"))
        }
    }
}

/// The tokens, made and recorded.
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) id_token: String,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) redirect_uri: String,
    pub(crate) refresh_token: GrantCredential,
}

impl From<Tokens> for Response {
    fn from(tokens: Tokens) -> Self {
        let item = json!({
            "accessToken": tokens.access_token,
            "idToken": tokens.id_token,
            "expiresIn": tokens.expires_at.timestamp().to_string(),
            "tokenType": "Bearer",
            "redirectUri": tokens.redirect_uri,
            "refreshToken": tokens.refresh_token.expose(),
        });
        let body = json!({"kind": "tokens", "totalItems": 1, "itemsLength": 1, "items": [item]});
        Self::new(StatusCode::CREATED, Outcome::Issued, &body)
    }
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("bad code or refresh token")]
    BadCredential,
    #[error("code or refresh token used again")]
    Replay,
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// One text for all the ways in which a code or refresh token can be bad, so that the answer is no oracle.
const BAD_CREDENTIAL: &str = "code or refresh_token is not valid for this request";

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let answer = |status, outcome, code: &str, message: &str| {
            let error = json!({"validation": "error", "code": code, "message": message});
            Self::new(status, outcome, &json!({"errors": [error]}))
        };
        let bad_request = |outcome, what: &str| {
            answer(StatusCode::BAD_REQUEST, outcome, "[E4000]", &format!("Bad Request / validation error: {what}"))
        };
        match refusal {
            Refusal::Invalid(invalid) => bad_request(Outcome::Refused("invalid request"), &invalid.to_string()),
            Refusal::BadCredential => bad_request(Outcome::Refused("bad credential"), BAD_CREDENTIAL),
            Refusal::Replay => bad_request(Outcome::ReplayDetected, BAD_CREDENTIAL),
            Refusal::Fault(fault) => {
                log_fault(&fault);
                answer(StatusCode::INTERNAL_SERVER_ERROR, Outcome::Failed, "[E0000]", "Internal Server Error")
            }
        }
    }
}
