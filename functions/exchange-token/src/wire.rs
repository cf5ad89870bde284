//! The wire format of the endpoint: `{"kind": "tokens", …}` and `{"errors": [{"validation": "error", …}]}`.

use std::str::FromStr;

use serde::Serialize;
use serde_json::json;
use shared::{
    credential::GrantCredential,
    error::{ApiError, Constraint, OauthError, Outcome, ValidationError},
    id::ClientId,
    input::{CodeVerifier, JsonObject, Language, required},
    runtime::http::{Request, Response, StatusCode},
    tokens::grants::{Binding, Exchanged, GrantRequest, PresentedGrant, RequestClient},
};

pub(crate) struct TokenRequest {
    pub(crate) grant: GrantRequest,
    pub(crate) redirect_uri: String,
    pub(crate) nonce: Option<String>,
    pub(crate) language: Option<Language>,
}

impl TokenRequest {
    pub(crate) fn parse(request: &Request) -> Result<Self, ApiError> {
        let mut body = NonEmpty(request.fields()?);
        let grant_type = required("grant_type", body.parsed::<GrantType>("grant_type")?)?;
        let (code, refresh_token) = (body.text("code")?, body.text("refresh_token")?);
        let (state, nonce, prompt) = (body.text("state")?, body.text("nonce")?, body.text("prompt")?);
        let code_verifier = body.parsed::<CodeVerifier>("code_verifier")?;
        let _: Option<AuthTime> = body.parsed("auth_time")?;
        let UuidClientId(client_id) = required("client_id", body.parsed("client_id")?)?;
        let service = required("service", body.text("service")?)?;
        let redirect_uri = required("redirect_uri", body.text("redirect_uri")?)?;
        let scopes = body.parsed("scope")?;
        let language = body.parsed("language")?;

        // A published browser client refreshes silently with the grant type of a code exchange.
        let silent = prompt.is_some_and(|prompt| prompt == "none") && refresh_token.is_some();
        // A malformed credential gets the same answer as an unknown one.
        let credential = if grant_type == GrantType::RefreshToken || silent {
            let token = GrantCredential::parse_refresh_token(&required("refresh_token", refresh_token)?);
            PresentedGrant::RefreshToken(token.ok_or(ApiError::BadCredential)?)
        } else {
            let code = GrantCredential::parse_code(&required("code", code)?).ok_or(ApiError::BadCredential)?;
            PresentedGrant::Code { code, code_verifier }
        };
        let client = RequestClient::IdOnly(client_id.ok_or(ApiError::BadCredential)?);
        let binding = Binding::ApiV1 { service, redirect_uri: redirect_uri.clone(), state, nonce: nonce.clone() };
        let grant = GrantRequest { client, binding, scopes, targets: None, malformed: None, presented: credential };
        Ok(Self { grant, redirect_uri, nonce, language })
    }
}

/// The fields of the body. An empty string counts as absent.
struct NonEmpty(JsonObject);

impl NonEmpty {
    fn text(&mut self, name: &'static str) -> Result<Option<String>, ValidationError> {
        Ok(self.0.string(name)?.filter(|text| !text.is_empty()))
    }

    fn parsed<T: FromStr<Err = Constraint>>(&mut self, name: &'static str) -> Result<Option<T>, ValidationError> {
        self.text(name)?.map(|text| text.parse().map_err(|constraint: Constraint| constraint.of(name))).transpose()
    }
}

/// The id of a client. `None` if it is a UUID that is not in lower case, which is no client's.
struct UuidClientId(Option<ClientId>);

impl FromStr for UuidClientId {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: Constraint = Constraint::new("must be a UUID");
        let lowercase: ClientId = text.to_ascii_lowercase().parse().map_err(|_: Constraint| RULE)?;
        Ok(Self(Some(lowercase).filter(|id| id.to_string() == text)))
    }
}

shared::named! {
    enum GrantType {
        AuthorizationCode = "authorization_code",
        RefreshToken = "refresh_token",
    }
}

/// Only its format is checked: the claim in the tokens is that of the grant.
struct AuthTime;

impl FromStr for AuthTime {
    type Err = Constraint;

    fn from_str(text: &str) -> Result<Self, Constraint> {
        const RULE: &str = "must be seconds since the epoch, in decimal digits";
        Constraint::check(text, 1..=12, |c| c.is_ascii_digit(), RULE).map(|()| Self)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    access_token: String,
    id_token: String,
    expires_in: String,
    token_type: &'static str,
    redirect_uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

/// The answer: the access token and the ID token that were signed, and the refresh token if there is one.
pub(crate) fn tokens(exchanged: Exchanged<(String, String)>, redirect_uri: &str) -> Response {
    let (access_token, id_token) = exchanged.signed;
    let item = Item {
        access_token,
        id_token,
        expires_in: exchanged.expires_at.timestamp().to_string(),
        token_type: "Bearer",
        redirect_uri,
        refresh_token: exchanged.refresh_token.as_ref().map(GrantCredential::expose),
    };
    let body = json!({"kind": "tokens", "totalItems": 1, "itemsLength": 1, "items": [item]});
    Response::new(StatusCode::CREATED, Outcome::Issued, &body)
}

/// One message for every reason why a code or refresh token is invalid, so that the answer reveals nothing about it.
const BAD_CREDENTIAL: &str = "code or refresh_token is not valid for this request";

pub(crate) fn error(error: &ApiError) -> Response {
    let answer = |status, code: &str, message: &str| {
        let body = json!({"errors": [{"validation": "error", "code": code, "message": message}]});
        Response::error(status, error, &body)
    };
    let bad_request =
        |what: &str| answer(StatusCode::BAD_REQUEST, "[E4000]", &format!("Bad Request / validation error: {what}"));
    match error {
        ApiError::Invalid(invalid) => bad_request(&invalid.to_string()),
        ApiError::BadCredential | ApiError::Replay | ApiError::Oauth(OauthError::InvalidScope) => {
            bad_request(BAD_CREDENTIAL)
        }
        // An internal error. No request to this endpoint causes another.
        _ => answer(StatusCode::INTERNAL_SERVER_ERROR, "[E0000]", "Internal Server Error"),
    }
}
