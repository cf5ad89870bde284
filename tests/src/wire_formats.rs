//! Every error in the wire format of every route.

use create_app_token::CreateAppToken;
use create_token::CreateToken;
use exchange_token::ExchangeToken;
use lambda_http::{Body, aws_lambda_events::apigw::ApiGatewayV2httpResponse};
use manage_tokens::ManageTokens;
use oauth2::Oauth2;
use publish_keys::PublishKeys;
use serde_json::{Value, json};
use shared::{
    error::{ApiError, Challenge, InternalError, OauthError, Unauthenticated, ValidationError},
    runtime::http::{Endpoint, Response},
};

use crate::harness::{Answer, api};

const SECRET: &str = "what only the log may show";

/// One of each.
fn errors() -> Vec<ApiError> {
    vec![
        Unauthenticated::Missing.into(),
        Unauthenticated::InvalidToken.into(),
        ValidationError::new("body", "must not be empty").into(),
        ApiError::Forbidden,
        ApiError::NotFound,
        ApiError::TokenNotFound,
        ApiError::IdempotencyKeyReused,
        ApiError::QuotaExceeded,
        ApiError::BadCredential,
        ApiError::Replay,
        OauthError::InvalidClient(None).into(),
        OauthError::InvalidClient(Some(Challenge::Basic)).into(),
        OauthError::UnauthorizedClient.into(),
        OauthError::UnsupportedGrantType.into(),
        OauthError::InvalidScope.into(),
        OauthError::InvalidTarget.into(),
        InternalError::new("load", SECRET).into(),
    ]
}

/// The endpoints for tokens of registrations, for app tokens, `/api/v1/tokens`, `/oauth2`, and those that publish keys.
#[derive(Clone, Copy, Debug)]
enum Format {
    RegistrationTokens,
    AppTokens,
    ExchangeToken,
    Oauth2,
    PublishKeys,
}

/// The status in each format, in the order above: 500 if no request there causes the error.
const fn statuses(error: &ApiError) -> [u16; 5] {
    match error {
        ApiError::Unauthenticated(_) => [401, 401, 500, 401, 500],
        ApiError::Invalid(_) => [400, 400, 400, 400, 500],
        ApiError::Forbidden => [403, 403, 500, 403, 500],
        ApiError::NotFound => [404, 404, 500, 404, 404],
        ApiError::TokenNotFound => [404, 404, 500, 500, 500],
        ApiError::IdempotencyKeyReused => [422, 422, 500, 500, 500],
        ApiError::QuotaExceeded => [400, 500, 500, 500, 500],
        ApiError::BadCredential | ApiError::Replay | ApiError::Oauth(OauthError::InvalidScope) => {
            [500, 500, 400, 400, 500]
        }
        ApiError::Oauth(OauthError::InvalidClient(_)) => [500, 500, 500, 401, 500],
        ApiError::Oauth(
            OauthError::UnauthorizedClient | OauthError::UnsupportedGrantType | OauthError::InvalidTarget,
        ) => [500, 500, 500, 400, 500],
        ApiError::Internal(_) => [500; 5],
    }
}

impl Format {
    fn of(route: &str) -> Self {
        match route {
            route if route.contains("/oauth2/") => Self::Oauth2,
            route if route.ends_with("/keys") || route.contains("/.well-known/") => Self::PublishKeys,
            route if route.contains(" /v1/") => Self::AppTokens,
            "POST /api/v1/tokens" => Self::ExchangeToken,
            _ => Self::RegistrationTokens,
        }
    }

    /// A body with the texts of this one.
    fn body(self, body: &Value) -> Value {
        match self {
            Self::RegistrationTokens | Self::PublishKeys => json!({"message": text(&body["message"])}),
            Self::AppTokens => {
                let (code, message) = (body["error"]["code"].as_u64(), text(&body["error"]["message"]));
                json!({"status": false, "error": {"code": code, "message": message}})
            }
            Self::ExchangeToken => {
                let (code, message) = (text(&body["errors"][0]["code"]), text(&body["errors"][0]["message"]));
                json!({"errors": [{"validation": "error", "code": code, "message": message}]})
            }
            Self::Oauth2 => {
                json!({"error": text(&body["error"]), "error_description": text(&body["error_description"])})
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().filter(|text| !text.is_empty()).unwrap()
}

fn answer(response: Response) -> Answer {
    let response = ApiGatewayV2httpResponse::from(response);
    let Some(Body::Text(text)) = response.body else { panic!("no text") };
    Answer { status: response.status_code.try_into().unwrap(), headers: response.headers, text }
}

type ToResponse = fn(&str, &ApiError) -> Response;

#[test]
fn every_error_has_an_answer_in_every_format() {
    let endpoints: [(&str, ToResponse); 6] = [
        (CreateToken::NAME, CreateToken::error),
        (CreateAppToken::NAME, CreateAppToken::error),
        (ExchangeToken::NAME, ExchangeToken::error),
        (ManageTokens::NAME, ManageTokens::error),
        (Oauth2::NAME, Oauth2::error),
        (PublishKeys::NAME, PublishKeys::error),
    ];
    let routes = endpoints.iter().flat_map(|(name, error)| api().routes_of(name).map(move |route| (route, error)));
    let routes: Vec<_> = routes.collect();
    assert_eq!(routes.len(), api().operations().len(), "add the new endpoint to this list");
    for (route, error_response) in routes {
        let route = format!("{} {}", route.method, route.path);
        let format = Format::of(&route);
        for error in errors() {
            let answer = answer(error_response(&route, &error));
            let what = format!("{route}: {error:?}: {answer:?}");
            assert_eq!(answer.status, statuses(&error)[format as usize], "{what}");
            assert_eq!(answer.json(), format.body(&answer.json()), "{what}");
            assert!(!format!("{answer:?}").contains(SECRET), "{what}");
            let may_be_cached = matches!(format, Format::PublishKeys) && answer.status == 404;
            answer.assert_headers(if may_be_cached { "public, max-age=300" } else { "no-store" });
        }
    }
}

#[test]
fn a_challenge_is_a_header() {
    let bearer = "Bearer realm=\"tokenmint\"";
    for (error, name, value) in [
        (Unauthenticated::Missing.into(), "www-authenticate", Some(bearer.to_owned())),
        (Unauthenticated::InvalidToken.into(), "www-authenticate", Some(format!("{bearer}, error=\"invalid_token\""))),
        (ApiError::Forbidden, "www-authenticate", Some(format!("{bearer}, error=\"insufficient_scope\""))),
        (OauthError::InvalidClient(None).into(), "www-authenticate", None),
        (
            OauthError::InvalidClient(Some(Challenge::Basic)).into(),
            "www-authenticate",
            Some("Basic realm=\"tokenmint\"".to_owned()),
        ),
    ] {
        let answer = answer(Oauth2::error("POST /oauth2/token", &error));
        assert_eq!(answer.header(name), value.as_deref(), "{error:?}");
        assert_eq!(answer.header("pragma"), Some("no-cache"));
    }
}
