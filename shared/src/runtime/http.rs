//! HTTP endpoints behind an HTTP API of API Gateway (payload format 2.0).
//!
//! The event types are those of `lambda_http`. Its conversion into an `http::Request` is not used, because it panics if
//! the body is not the base64 that the event announces, or if a decoded path is not a valid URI.

use std::{collections::HashMap, fmt, future::Future, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
pub use lambda_http::http::{HeaderName, HeaderValue, StatusCode, header};
use lambda_http::{
    Body,
    aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    http::HeaderMap,
};
use serde::Serialize;

use crate::{
    error::{ApiError, Challenge, Constraint, InternalError, Outcome, ValidationError},
    input::{JsonObject, Parameters},
    runtime::function::Function,
    runtime::{Environment, Handled, SettingsError, telemetry},
};

/// The maximum size of a body, in bytes after base64 decoding.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

const FORM: &str = "application/x-www-form-urlencoded";

/// A function that answers HTTP requests.
pub trait Endpoint: Sized + Send + Sync + 'static {
    /// The name of the function and of its binary.
    const NAME: &'static str;

    /// Builds the function from its environment, once per cold start.
    fn load(environment: &Environment) -> Result<Self, SettingsError>;

    /// Opens the connections and fetches the keys that the first request would otherwise wait for. A failure is
    /// harmless.
    fn warm(&self) -> impl Future<Output = ()> + Send;

    /// Answers a request.
    fn respond(&self, request: Request) -> impl Future<Output = Result<Response, ApiError>> + Send;

    /// The response to a request of this route that failed, in the format of the route.
    fn error(route: &str, error: &ApiError) -> Response;
}

impl<E: Endpoint> Function for E {
    const NAME: &'static str = E::NAME;
    type Answer = ApiGatewayV2httpResponse;

    fn load(environment: &Environment) -> Result<Self, SettingsError> {
        Endpoint::load(environment)
    }

    fn warm(&self) -> impl Future<Output = ()> + Send {
        Endpoint::warm(self)
    }

    async fn handle(&self, event: &str) -> Handled<ApiGatewayV2httpResponse> {
        let Ok(event) = serde_json::from_str::<ApiGatewayV2httpRequest>(event) else {
            let malformed = ValidationError::new("event", "must be an API Gateway event of payload format 2.0");
            return Handled::of(Err(malformed.into()));
        };
        let request = Request::from(event);
        let (route, is_head) = (request.route.clone(), request.is_head);
        answered(self.respond(request).await.unwrap_or_else(|error| failed::<E>(&route, &error)), is_head)
    }

    fn late(event: &str, error: InternalError) -> Handled<ApiGatewayV2httpResponse> {
        match serde_json::from_str::<ApiGatewayV2httpRequest>(event).map(Request::from) {
            Ok(request) => answered(failed::<E>(&request.route, &error.into()), request.is_head),
            Err(_) => Handled::of(Err(error.into())),
        }
    }
}

/// The response to a request that failed. An internal error is logged, and only here.
fn failed<E: Endpoint>(route: &str, error: &ApiError) -> Response {
    if let ApiError::Internal(internal) = error {
        telemetry::log_internal_error(internal);
    }
    E::error(route, error)
}

fn answered(response: Response, is_head: bool) -> Handled<ApiGatewayV2httpResponse> {
    let (status, outcome) = (response.status, response.outcome);
    let length = response.body.len();
    let mut answer = ApiGatewayV2httpResponse::from(response);
    if is_head {
        answer.headers.insert(header::CONTENT_LENGTH, length.into());
        answer.body = None;
    }
    Handled { status: Some(status), outcome, result: Ok(answer) }
}

/// A request as API Gateway passes it on.
pub struct Request {
    /// The route that matched, such as `POST /api/v1/create-token`. A `HEAD` is answered as a `GET` (RFC 9110, 9.3.2).
    pub route: String,
    /// Whether the answer is to have no body.
    is_head: bool,
    /// Decoded.
    path_parameters: HashMap<String, String>,
    /// The query string, as it was sent.
    raw_query: String,
    /// The headers. API Gateway joins repeated headers with commas.
    pub headers: HeaderMap,
    /// The decoded body. `None` if it is not the base64 that the event announces.
    body: Option<Vec<u8>>,
}

impl Request {
    /// The parsed value of a header, if the caller sent it.
    pub fn header<T: FromStr<Err = Constraint>>(&self, name: &'static str) -> Result<Option<T>, ValidationError> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        // A value that is not ASCII breaks the same rule as an empty value.
        let parsed = value.to_str().unwrap_or("").parse();
        parsed.map(Some).map_err(|constraint: Constraint| constraint.of(name))
    }

    /// A parameter of the path. API Gateway gives every parameter of the route; a missing one breaks the same rule as
    /// an empty one.
    pub fn path_parameter<T: FromStr<Err = Constraint>>(&self, name: &'static str) -> Result<T, ValidationError> {
        let text = self.path_parameters.get(name).map_or("", String::as_str);
        text.parse().map_err(|constraint: Constraint| constraint.of(name))
    }

    /// The parameters of the query string.
    #[must_use]
    pub fn query(&self) -> Parameters {
        Parameters::from_query(&self.raw_query)
    }

    /// The fields of the body, which must be a JSON object of at most [`MAX_BODY_BYTES`] with the content type
    /// `application/json`.
    pub fn fields(&self) -> Result<JsonObject, ValidationError> {
        JsonObject::from_json(self.body_of_type("application/json", "must be application/json")?)
    }

    /// Whether it has a body that says that it is a form. One that is no base64 is: [`Self::form`] says so.
    #[must_use]
    pub fn has_form(&self) -> bool {
        self.media_type().eq_ignore_ascii_case(FORM) && self.body.as_ref().is_none_or(|body| !body.is_empty())
    }

    /// The parameters of the body, which must be a form of at most [`MAX_BODY_BYTES`] with the content type
    /// `application/x-www-form-urlencoded`.
    pub fn form(&self) -> Result<Parameters, ValidationError> {
        Parameters::from_form(self.body_of_type(FORM, "must be application/x-www-form-urlencoded")?)
    }

    /// The content type without its parameters.
    fn media_type(&self) -> &str {
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        content_type.split(';').next().unwrap_or("").trim()
    }

    fn body_of_type(&self, expected: &str, rule: &'static str) -> Result<&[u8], ValidationError> {
        if !self.media_type().eq_ignore_ascii_case(expected) {
            return Err(ValidationError::new("Content-Type", rule));
        }
        // Some clients begin with a byte order mark, which RFC 8259 (8.1) allows to ignore.
        let body = self.body.as_deref().map(|body| body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
        match body {
            None => Err(ValidationError::new("body", "is not valid base64")),
            Some([]) => Err(ValidationError::new("body", "must not be empty")),
            Some(body) if body.len() > MAX_BODY_BYTES => {
                Err(ValidationError::new("body", format!("must be at most {MAX_BODY_BYTES} bytes long")))
            }
            Some(body) => Ok(body),
        }
    }
}

impl From<ApiGatewayV2httpRequest> for Request {
    fn from(event: ApiGatewayV2httpRequest) -> Self {
        let body = event.body.unwrap_or_default();
        let route = event.route_key.unwrap_or_default();
        let (is_head, route) = match route.strip_prefix("HEAD ") {
            Some(path) => (true, format!("GET {path}")),
            None => (false, route),
        };
        Self {
            is_head,
            route,
            path_parameters: event.path_parameters,
            raw_query: event.raw_query_string.unwrap_or_default(),
            headers: event.headers,
            body: if event.is_base64_encoded { STANDARD.decode(body).ok() } else { Some(body.into_bytes()) },
        }
    }
}

/// Shows neither headers nor body, because they contain credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("route", &self.route).finish_non_exhaustive()
    }
}

/// A JSON response with the headers that every response has.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    outcome: Outcome,
    headers: HeaderMap,
    body: String,
}

impl Response {
    /// A response that must not be stored (RFC 9111, 5.2.2.5).
    pub fn new(status: StatusCode, outcome: Outcome, body: &impl Serialize) -> Self {
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ]);
        // Serialization never fails: only a map with keys that are not strings would.
        Self { status, outcome, headers, body: serde_json::to_string(body).unwrap_or_default() }
    }

    /// The response for an error. One that an endpoint answers with a 5xx is a failure, whatever it is.
    pub fn error(status: StatusCode, error: &ApiError, body: &impl Serialize) -> Self {
        Self::new(status, if status.is_server_error() { Outcome::Failed } else { error.outcome() }, body)
    }

    /// The same response, marked as the repetition of an earlier one.
    #[must_use]
    pub fn replayed(mut self) -> Self {
        self.outcome = Outcome::Replayed;
        self.with_header(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"))
    }

    /// The same response, with a challenge if there is one.
    #[must_use]
    pub fn with_challenge(self, challenge: impl Into<Option<Challenge>>) -> Self {
        match challenge.into() {
            Some(challenge) => self.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge.as_str())),
            None => self,
        }
    }

    /// The same response with a header set.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl From<Response> for ApiGatewayV2httpResponse {
    fn from(response: Response) -> Self {
        let mut answer = Self::default();
        answer.status_code = response.status.as_u16().into();
        answer.headers = response.headers;
        answer.body = Some(Body::Text(response.body));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use lambda_http::{Context, LambdaEvent};
    use serde_json::{json, value::to_raw_value};

    use super::*;
    use crate::runtime::{function::invoke, telemetry::tests::Lines};

    /// An endpoint that never answers.
    struct Hanging;

    impl Endpoint for Hanging {
        const NAME: &'static str = "hanging";

        fn load(_: &Environment) -> Result<Self, SettingsError> {
            Ok(Self)
        }

        async fn warm(&self) {}

        async fn respond(&self, _: Request) -> Result<Response, ApiError> {
            pending().await
        }

        fn error(route: &str, error: &ApiError) -> Response {
            Response::error(StatusCode::INTERNAL_SERVER_ERROR, error, &route)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_late_is_answered_for_its_route_and_logged_once() {
        let lines = Lines::default();
        let _guard = lines.guard();
        let event = json!({
            "version": "2.0", "routeKey": "GET /a", "rawPath": "/a", "rawQueryString": "", "headers": {},
            "requestContext": {"http": {"method": "GET", "path": "/a"}}, "isBase64Encoded": false,
        });
        let event = LambdaEvent::new(to_raw_value(&event).unwrap(), Context::default());
        let answer = invoke(&Hanging, event).await.unwrap();
        assert_eq!((answer.status_code, answer.body), (500, Some(Body::Text("\"GET /a\"".to_owned()))));
        let [failure, summary] = lines.json().try_into().unwrap();
        assert_eq!(failure["error"], "could not answer before the deadline: the AWS calls took too long");
        assert_eq!((&summary["outcome"], &summary["status"]), (&json!("failed"), &json!(500)));
    }

    #[test]
    fn an_error_that_is_answered_with_a_5xx_is_a_failure() {
        let outcome = |status| Response::error(status, &ApiError::BadCredential, &()).outcome;
        assert_eq!(outcome(StatusCode::BAD_REQUEST), Outcome::BadCredential);
        assert_eq!(outcome(StatusCode::INTERNAL_SERVER_ERROR), Outcome::Failed);
    }
}
