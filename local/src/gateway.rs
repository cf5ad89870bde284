//! API Gateway's HTTP API: turns HTTP requests into events of payload format 2.0, and the functions' answers into HTTP
//! responses. The same port serves the AWS APIs: Lambda's Invoke, and DynamoDB and KMS by `X-Amz-Target`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State, connect_info::Connected},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{self, CONTENT_TYPE, ORIGIN},
        request::Parts,
    },
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use shared::clock::Clock;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    allowed_hosts::{self, AllowedHosts, NotAllowed},
    database::DynamoDb,
    kms::Kms,
    lambda::Functions,
    login::Login,
    pages::{Asset, Pages},
    protected, request_log,
    template::{Route, Template},
};

/// The limit of API Gateway and of Lambda.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;
/// The prefix of Lambda's Invoke paths.
pub(crate) const INVOKE: &str = "/2015-03-31/functions/";

#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) template: Template,
    pub(crate) allowed_hosts: AllowedHosts,
    pub(crate) allow_origins: Vec<String>,
    pub(crate) functions: Functions,
    pub(crate) dynamodb: DynamoDb,
    pub(crate) kms: Kms,
    pub(crate) login: Login,
    pub(crate) pages: Pages,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The address of the stack that a connection was made to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalAddress(SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for LocalAddress {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        // A connection that is already closed has none, and gets no answer.
        Self(stream.io().local_addr().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)))
    }
}

/// What a request calls. The name is that of the operation.
pub(crate) enum Target {
    Api,
    DynamoDb(String),
    Kms(String),
    Invoke,
    Login,
    Page(Asset),
}

impl Target {
    fn of(request: &Request) -> Self {
        let operation = request.headers().get("x-amz-target").map(|target| target.to_str().unwrap_or_default());
        match (request.method(), request.uri().path(), operation) {
            (&Method::POST, "/", Some(operation)) => match operation.split_once('.') {
                Some(("TrentService", operation)) => Self::Kms(operation.to_owned()),
                Some((_, operation)) => Self::DynamoDb(operation.to_owned()),
                None => Self::DynamoDb(operation.to_owned()),
            },
            (&Method::POST, path, _) if path.starts_with(INVOKE) => Self::Invoke,
            (_, "/authorize", _) => Self::Login,
            (_, path, _) => Asset::at(path).map_or(Self::Api, Self::Page),
        }
    }
}

pub(crate) async fn answer(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(LocalAddress(socket)): ConnectInfo<LocalAddress>,
    request: Request,
) -> Response {
    let target = Target::of(&request);
    let mut allowed = gateway.allowed_hosts.check(request.uri(), request.headers(), socket);
    if let Target::Login | Target::Page(_) = target {
        allowed = allowed.and_then(|()| allowed_hosts::check_page(request.headers()));
    }
    let label = request_log::label(&gateway.template, &target, &request);
    let answer = async {
        match (target, allowed) {
            // The API is open to pages of any origin. With the rest, any page would have an operator's rights.
            (Target::Api, _) => gateway.route(request).await,
            (_, Err(reason)) => forbidden(reason),
            (Target::DynamoDb(operation), Ok(())) => gateway.dynamodb(&operation, request).await,
            (Target::Kms(operation), Ok(())) => gateway.kms(&operation, request).await,
            (Target::Invoke, Ok(())) => gateway.invoke(request).await,
            (Target::Login, Ok(())) => gateway.login.answer(&gateway.functions, request).await,
            (Target::Page(asset), Ok(())) => gateway.pages.answer(asset, request).await,
        }
    };
    request_log::observe(label, answer).await
}

impl Gateway {
    async fn dynamodb(&self, operation: &str, request: Request) -> Response {
        let body = match read_body(request.into_body()).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        let (status, answer) = self.dynamodb.answer(operation, &body);
        (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], answer).into_response()
    }

    async fn kms(&self, operation: &str, request: Request) -> Response {
        let body = match read_body(request.into_body()).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        let (status, answer) = self.kms.answer(operation, &body);
        (status, [(CONTENT_TYPE, "application/x-amz-json-1.1")], answer.to_string()).into_response()
    }

    /// Lambda's Invoke: `POST /2015-03-31/functions/{name}/invocations`, with the event as the body.
    async fn invoke(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let name = parts.uri.path().strip_prefix(INVOKE).and_then(|path| path.strip_suffix("/invocations"));
        let name = name.unwrap_or_default();
        let invocation_type =
            parts.headers.get("x-amz-invocation-type").map(|value| value.to_str().unwrap_or_default());
        if invocation_type.is_some_and(|invocation_type| invocation_type != "RequestResponse") {
            let text = "The local stack supports the invocation type RequestResponse only";
            return aws_error(StatusCode::BAD_REQUEST, "InvalidParameterValueException", text);
        }
        let event = match read_body(body).await {
            // As on Lambda, a missing event is an empty one.
            Ok(body) if body.is_empty() => Bytes::from_static(b"{}"),
            Ok(body) => body,
            Err(response) => return response,
        };
        let json = (CONTENT_TYPE, "application/json");
        match self.functions.invoke(name, event).await {
            Some(Ok(answer)) => ([json], answer).into_response(),
            Some(Err(diagnostic)) => {
                let unhandled = (HeaderName::from_static("x-amz-function-error"), "Unhandled");
                let body = json!({"errorType": diagnostic.error_type, "errorMessage": diagnostic.error_message});
                ([json, unhandled], body.to_string()).into_response()
            }
            None => {
                let names = Functions::names().collect::<Vec<_>>().join(", ");
                let text = format!("Function not found: {name}. The functions are {names}");
                aws_error(StatusCode::NOT_FOUND, "ResourceNotFoundException", &text)
            }
        }
    }

    /// The routes of the API, with its CORS answers.
    async fn route(&self, request: Request) -> Response {
        let cors = self.cors(request.headers());
        let preflight = request.method() == Method::OPTIONS && request.headers().contains_key(ORIGIN);
        let mut response =
            if preflight { StatusCode::NO_CONTENT.into_response() } else { self.dispatch(request).await };
        if preflight && !cors.is_empty() {
            let max_age = HeaderValue::try_from(self.template.cors["MaxAge"].to_string()).ok();
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, self.cors_list("AllowMethods")),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, self.cors_list("AllowHeaders")),
                (header::ACCESS_CONTROL_MAX_AGE, max_age),
            ] {
                response.headers_mut().extend(value.map(|value| (name, value)));
            }
        }
        response.headers_mut().extend(cors);
        response
    }

    /// The headers that let a page of the request's origin read the answer; none if the origin is not allowed.
    fn cors(&self, headers: &HeaderMap) -> HeaderMap {
        let Some(origin) = headers.get(ORIGIN) else { return HeaderMap::new() };
        let any = self.allow_origins.iter().any(|allowed| allowed == "*");
        if !any && !self.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
            return HeaderMap::new();
        }
        let mut answer = HeaderMap::new();
        if any {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(exposed) = self.cors_list("ExposeHeaders") {
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        answer
    }

    /// A list of the template's `CorsConfiguration`, as the value of a header.
    fn cors_list(&self, key: &str) -> Option<HeaderValue> {
        let entries = self.template.cors[key].as_array()?.iter().filter_map(Value::as_str);
        HeaderValue::try_from(entries.collect::<Vec<_>>().join(",")).ok()
    }

    async fn dispatch(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        if parts.method == Method::GET && parts.uri.path() == protected::PATH {
            return self.whoami(&parts).await;
        }
        let matching = |route| Some((route, Route::parameters(route, &parts.method, parts.uri.path())?));
        let route = self.template.routes.iter().find_map(matching);
        let Some((route, parameters)) = route else { return message(StatusCode::NOT_FOUND, "Not Found") };
        let Ok(body) = read_body(body).await else {
            return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        };
        let event = self.event(&format!("{} {}", route.method, route.path), parameters, &parts, &body);
        let answer = self.functions.invoke(&route.function, event.to_string().into()).await;
        let answer = answer.and_then(Result::ok).and_then(|answer| serde_json::from_slice(&answer).ok());
        answer
            .and_then(http_response)
            .unwrap_or_else(|| message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"))
    }

    /// An event of payload format 2.0.
    pub(crate) fn event(
        &self,
        route_key: &str,
        path_parameters: Map<String, Value>,
        parts: &Parts,
        body: &[u8],
    ) -> Value {
        let now = self.clock.now();
        let mut headers = Map::new();
        for name in parts.headers.keys() {
            let values = parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            headers.insert(name.to_string(), values.collect::<Vec<_>>().join(",").into());
        }
        let user_agent = headers.get("user-agent").cloned();
        let domain = headers.get("host").cloned();
        let text = is_text(parts.headers.get(CONTENT_TYPE)).then(|| std::str::from_utf8(body).ok()).flatten();
        let mut event = json!({
            "version": "2.0",
            "routeKey": route_key,
            "rawPath": percent_decode_str(parts.uri.path()).decode_utf8_lossy(),
            "rawQueryString": parts.uri.query().unwrap_or_default(),
            "headers": headers,
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "local",
                "domainName": domain,
                "domainPrefix": "local",
                "http": {
                    "method": parts.method.as_str(),
                    "path": parts.uri.path(),
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": user_agent,
                },
                "requestId": Uuid::new_v4().to_string(),
                "routeKey": route_key,
                "stage": "$default",
                "time": now.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
                "timeEpoch": now.timestamp_millis(),
            },
            "isBase64Encoded": text.is_none(),
        });
        if !path_parameters.is_empty() {
            event["pathParameters"] = path_parameters.into();
        }
        if !body.is_empty() {
            event["body"] = text.map_or_else(|| STANDARD.encode(body), str::to_owned).into();
        }
        event
    }
}

/// The content types whose bodies API Gateway passes on as text.
fn is_text(content_type: Option<&HeaderValue>) -> bool {
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"].contains(&media_type)
}

fn http_response(answer: ApiGatewayV2httpResponse) -> Option<Response> {
    let mut response = Response::builder().status(u16::try_from(answer.status_code).ok()?);
    response.headers_mut()?.extend(answer.headers);
    response.body(Body::from(answer.body.unwrap_or_default().to_vec())).ok()
}

/// Reads a body to its end.
async fn read_body(body: Body) -> Result<Bytes, Response> {
    to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        let text = "The body is larger than 10 MiB or was cut off";
        aws_error(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", text)
    })
}

fn forbidden(reason: NotAllowed) -> Response {
    let text = format!("Forbidden: {reason}. Other callers can reach the routes of the API only");
    aws_error(StatusCode::FORBIDDEN, "AccessDeniedException", &text)
}

/// An error in the form that the AWS SDKs read: `__type` and `message` of the JSON protocols, `Type` and `Message` of Lambda.
fn aws_error(status: StatusCode, error_type: &'static str, text: &str) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (HeaderName::from_static("x-amzn-errortype"), error_type)];
    let body = json!({"__type": error_type, "message": text, "Type": "User", "Message": text});
    (status, headers, body.to_string()).into_response()
}

/// An answer of API Gateway's own.
pub(crate) fn message(status: StatusCode, text: &str) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], json!({"message": text}).to_string()).into_response()
}
