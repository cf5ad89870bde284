//! The one port: API Gateway's HTTP API with its routes and CORS, and beside it the AWS APIs (Lambda's Invoke, and
//! DynamoDB and KMS by `X-Amz-Target`), the demo login and the pages.

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
    },
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use serde_json::{Value, json};
use shared::clock::Clock;
use tokio::net::TcpListener;

use crate::{
    allowed_hosts::{self, AllowedHosts, NotAllowed},
    database::DynamoDb,
    http_event,
    kms::Kms,
    lambda::Functions,
    login::Login,
    pages::Pages,
    protected, request_log,
    target::Target,
    template::{Route, Template},
};

/// The limit of API Gateway and of Lambda.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

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
    let label = target.label(&gateway.template, &request);
    let answer = async {
        match (target, allowed) {
            // The API is open to pages of any origin. With the rest, any page would have an operator's rights.
            (Target::HttpApi, _) => gateway.http_api(request).await,
            (_, Err(reason)) => forbidden(reason),
            (Target::DynamoDb(operation), Ok(())) => {
                aws_json(request, "application/x-amz-json-1.0", |body| gateway.dynamodb.answer(&operation, body)).await
            }
            (Target::Kms(operation), Ok(())) => {
                aws_json(request, "application/x-amz-json-1.1", |body| gateway.kms.answer(&operation, body)).await
            }
            (Target::Invoke(name), Ok(())) => gateway.invoke(&name, request).await,
            (Target::Login, Ok(())) => gateway.login.answer(&gateway.functions, request).await,
            (Target::Page(asset), Ok(())) => gateway.pages.answer(asset, request).await,
        }
    };
    request_log::observe(label, answer).await
}

impl Gateway {
    /// Lambda's Invoke, with the event as the body.
    async fn invoke(&self, name: &str, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        if parts.headers.get("x-amz-invocation-type").is_some_and(|value| value != "RequestResponse") {
            let message = "The local stack supports the invocation type RequestResponse only";
            return aws_error(StatusCode::BAD_REQUEST, "InvalidParameterValueException", message);
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
                ([json, unhandled], json!(diagnostic).to_string()).into_response()
            }
            None => {
                let names = Functions::names().collect::<Vec<_>>().join(", ");
                let message = format!("Function not found: {name}. The functions are {names}");
                aws_error(StatusCode::NOT_FOUND, "ResourceNotFoundException", &message)
            }
        }
    }

    /// The routes of the API, with its CORS answers.
    async fn http_api(&self, request: Request) -> Response {
        let cors = self.cors(request.headers());
        let preflight = request.method() == Method::OPTIONS && request.headers().contains_key(ORIGIN);
        let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { self.route(request).await };
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

    async fn route(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let now = self.clock.now();
        if parts.method == Method::GET && parts.uri.path() == protected::PATH {
            return protected::answer(&self.functions, &parts, now).await;
        }
        let matching = |route| Some((route, Route::parameters(route, &parts.method, parts.uri.path())?));
        let Some((route, parameters)) = self.template.routes.iter().find_map(matching) else {
            return http_event::error(StatusCode::NOT_FOUND, "Not Found");
        };
        let Ok(body) = read_body(body).await else {
            return http_event::error(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        };
        let route_key = format!("{} {}", parts.method, route.path);
        let event = http_event::event(&route_key, parameters, &parts, &body, now);
        let answer = self.functions.call(&route.function, &event).await;
        answer
            .ok()
            .and_then(http_event::response)
            .unwrap_or_else(|| http_event::error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"))
    }
}

/// Answers a request of one of the AWS JSON protocols.
async fn aws_json<A: ToString>(
    request: Request,
    content_type: &'static str,
    operate: impl FnOnce(&[u8]) -> (StatusCode, A),
) -> Response {
    match read_body(request.into_body()).await {
        Ok(body) => {
            let (status, answer) = operate(&body);
            (status, [(CONTENT_TYPE, content_type)], answer.to_string()).into_response()
        }
        Err(response) => response,
    }
}

async fn read_body(body: Body) -> Result<Bytes, Response> {
    to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        let message = "The body is larger than 10 MiB or was cut off";
        aws_error(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", message)
    })
}

fn forbidden(reason: NotAllowed) -> Response {
    let message = format!("Forbidden: {reason}. Other callers can reach the routes of the API only");
    aws_error(StatusCode::FORBIDDEN, "AccessDeniedException", &message)
}

/// An error in the form that the AWS SDKs read: `__type` and `message` of the JSON protocols, `Type` and `Message` of
/// Lambda.
fn aws_error(status: StatusCode, error_type: &'static str, message: &str) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (HeaderName::from_static("x-amzn-errortype"), error_type)];
    let body = json!({"__type": error_type, "message": message, "Type": "User", "Message": message});
    (status, headers, body.to_string()).into_response()
}
