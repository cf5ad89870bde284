//! What a request to the stack's port calls: the HTTP API, an AWS API, the demo login or a page.

use axum::{extract::Request, http::Method};

use crate::{lambda::Functions, pages::Asset, protected, template::Template};

/// Lambda's Invoke is `POST /2015-03-31/functions/{name}/invocations`.
const INVOKE: &str = "/2015-03-31/functions/";

#[derive(Debug)]
pub(crate) enum Target {
    HttpApi,
    /// The name of the operation.
    DynamoDb(String),
    /// The name of the operation.
    Kms(String),
    /// The name of the function, empty if the path has none.
    Invoke(String),
    Login,
    Page(Asset),
}

impl Target {
    pub(crate) fn of(request: &Request) -> Self {
        let operation = request.headers().get("x-amz-target").map(|target| target.to_str().unwrap_or_default());
        match (request.method(), request.uri().path(), operation) {
            (&Method::POST, "/", Some(operation)) => match operation.split_once('.') {
                Some(("TrentService", operation)) => Self::Kms(operation.to_owned()),
                Some((_, operation)) => Self::DynamoDb(operation.to_owned()),
                None => Self::DynamoDb(operation.to_owned()),
            },
            (_, "/authorize", _) => Self::Login,
            (&Method::POST, path, _) if path.starts_with(INVOKE) => {
                let name = path.strip_prefix(INVOKE).and_then(|path| path.strip_suffix("/invocations"));
                Self::Invoke(name.unwrap_or_default().to_owned())
            }
            (_, path, _) => Asset::at(path).map_or(Self::HttpApi, Self::Page),
        }
    }

    /// Method and route, for the log. The path itself could hold what must not be logged. `None` for the AWS calls of
    /// the functions and for what a page loads by itself.
    pub(crate) fn label(&self, template: &Template, request: &Request) -> Option<String> {
        let (method, path) = (format!("{:.8}", request.method().as_str()), request.uri().path());
        match self {
            Self::DynamoDb(_) | Self::Kms(_) => None,
            Self::Page(asset) => (!asset.is_part_of_a_page()).then(|| format!("{method} {}", asset.path())),
            Self::Login => Some(format!("{method} /authorize")),
            Self::Invoke(name) => {
                let known = Functions::names().find(|known| *known == name);
                Some(format!("Invoke {}", known.unwrap_or("(no such function)")))
            }
            Self::HttpApi if path == protected::PATH => Some(format!("{method} {path}")),
            Self::HttpApi => {
                let route = template.routes.iter().find(|route| route.parameters(request.method(), path).is_some());
                Some(format!("{method} {}", route.map_or("(no such route)", |route| &route.path)))
            }
        }
    }
}
