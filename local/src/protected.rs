//! `GET /demo/whoami`: a route that the Lambda authorizer protects. It shows how a route of your own API behaves, except that no
//! decision is cached. Only the local stack has it.

use axum::{
    http::{
        StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use crate::gateway::{Gateway, message};

pub(crate) const PATH: &str = "/demo/whoami";
const ROUTE: &str = "GET /demo/whoami";

impl Gateway {
    /// Does what API Gateway does with a simple response of an authorizer. What the authorizer says of the caller is the answer.
    pub(crate) async fn whoami(&self, parts: &Parts) -> Response {
        let identity_source = parts.headers.get(AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        // Without its identity source API Gateway does not ask the authorizer.
        let Some(identity_source) = identity_source.filter(|source| !source.is_empty()) else {
            return message(StatusCode::UNAUTHORIZED, "Unauthorized");
        };
        let mut event = self.event(ROUTE, Map::new(), parts, &[]);
        event["type"] = "REQUEST".into();
        event["routeArn"] = "arn:aws:execute-api:local:000000000000:local/$default/GET/demo/whoami".into();
        event["identitySource"] = [identity_source].into_iter().collect();
        let answer = self.functions.invoke("authorize", event.to_string().into()).await.and_then(Result::ok);
        let answer = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer).ok());
        match answer {
            None => message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            Some(answer) if answer["isAuthorized"] == true => {
                ([(CONTENT_TYPE, "application/json")], answer["context"].to_string()).into_response()
            }
            Some(_) => message(StatusCode::FORBIDDEN, "Forbidden"),
        }
    }
}
