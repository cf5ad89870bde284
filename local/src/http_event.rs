//! Payload format 2.0 of API Gateway's HTTP APIs: the event of a request, and the response of an answer.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(crate) fn event(
    route_key: &str,
    path_parameters: Map<String, Value>,
    parts: &Parts,
    body: &[u8],
    now: DateTime<Utc>,
) -> Value {
    let mut headers = Map::new();
    for name in parts.headers.keys() {
        let values = parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        headers.insert(name.to_string(), values.collect::<Vec<_>>().join(",").into());
    }
    let user_agent = headers.get("user-agent").cloned();
    let domain = headers.get("host").cloned();
    let text_body = is_text(parts.headers.get(CONTENT_TYPE)).then(|| std::str::from_utf8(body).ok()).flatten();
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
        "isBase64Encoded": text_body.is_none(),
    });
    if !path_parameters.is_empty() {
        event["pathParameters"] = path_parameters.into();
    }
    if !body.is_empty() {
        event["body"] = text_body.map_or_else(|| STANDARD.encode(body), str::to_owned).into();
    }
    event
}

/// The content types whose bodies API Gateway passes on as text.
fn is_text(content_type: Option<&HeaderValue>) -> bool {
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"].contains(&media_type)
}

pub(crate) fn response(answer: ApiGatewayV2httpResponse) -> Option<Response> {
    let mut response = Response::builder().status(u16::try_from(answer.status_code).ok()?);
    response.headers_mut()?.extend(answer.headers);
    response.body(Body::from(answer.body.unwrap_or_default().to_vec())).ok()
}

/// An error that API Gateway answers without a function.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], json!({"message": message}).to_string()).into_response()
}
