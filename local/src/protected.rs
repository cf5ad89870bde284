//! `GET /demo/whoami`: a route that the Lambda authorizer protects. It shows how a route of your own API behaves,
//! except that no decision is cached. Only the local stack has it.

use axum::{
    http::{
        StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::{http_event, lambda::Functions};

pub(crate) const PATH: &str = "/demo/whoami";
const ROUTE: &str = "GET /demo/whoami";

/// Does what API Gateway does with a simple response of an authorizer. The answer is the context from the authorizer.
pub(crate) async fn answer(functions: &Functions, parts: &Parts, now: DateTime<Utc>) -> Response {
    let identity_source = parts.headers.get(AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    // Without its identity source API Gateway does not ask the authorizer.
    let Some(identity_source) = identity_source.filter(|source| !source.is_empty()) else {
        return http_event::error(StatusCode::UNAUTHORIZED, "Unauthorized");
    };
    let mut event = http_event::event(ROUTE, Map::new(), parts, &[], now);
    event["type"] = "REQUEST".into();
    event["routeArn"] = "arn:aws:execute-api:local:000000000000:local/$default/GET/demo/whoami".into();
    event["identitySource"] = [identity_source].into_iter().collect();
    match functions.call::<Value>("authorize", &event).await {
        Err(_) => http_event::error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        Ok(decision) if decision["isAuthorized"] == true => {
            ([(CONTENT_TYPE, "application/json")], decision["context"].to_string()).into_response()
        }
        Ok(_) => http_event::error(StatusCode::FORBIDDEN, "Forbidden"),
    }
}
