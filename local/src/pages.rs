//! The pages of the local stack: `/` to try everything in a browser, and `/docs`, the reference. All their parts are in
//! this binary, and a browser is told to load nothing else.

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{
            ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use serde_json::json;
use shared::runtime::Environment;
use swagger_ui_dist::{ApiDefinition, OpenApiSource, generate_routes};
use tower::ServiceExt as _;

use crate::demo;

/// The scripts use no `innerHTML` and the like, which `require-trusted-types-for` makes sure of.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                   form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
                   require-trusted-types-for 'script'; trusted-types 'none'";
/// Swagger UI writes HTML that it has sanitized itself, and has its icons in its style sheet.
const DOCS_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                        connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// What the server has at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asset {
    path: &'static str,
    content: Content,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Text(&'static str, &'static str),
    /// The ids and the key of the demo.
    Settings,
    Reference,
    SwaggerUi,
}

macro_rules! page {
    ($file:literal) => {
        include_str!(concat!("../page/", $file))
    };
}

const ASSETS: &[Asset] = &[
    Asset::text("/", HTML, page!("index.html")),
    // Where the login returns to.
    Asset::text("/page/callback", HTML, page!("index.html")),
    Asset::text("/page/style.css", CSS, page!("style.css")),
    Asset::text("/page/icon.svg", "image/svg+xml", page!("icon.svg")),
    Asset::text("/page/main.js", JS, page!("main.js")),
    Asset::text("/page/api.js", JS, page!("api.js")),
    Asset::text("/page/ui.js", JS, page!("ui.js")),
    Asset::text("/page/jwt.js", JS, page!("jwt.js")),
    Asset::text("/page/tokens.js", JS, page!("tokens.js")),
    Asset::text("/page/app-tokens.js", JS, page!("app-tokens.js")),
    Asset::text("/page/login.js", JS, page!("login.js")),
    Asset::text("/page/keys.js", JS, page!("keys.js")),
    Asset { path: "/page/settings.json", content: Content::Settings },
    Asset::text("/docs", HTML, page!("docs.html")),
    Asset::text("/docs/docs.css", CSS, page!("docs.css")),
    Asset::text("/docs/docs.js", JS, page!("docs.js")),
    Asset { path: "/docs/openapi.yaml", content: Content::Reference },
    Asset { path: "/docs/swagger-ui.css", content: Content::SwaggerUi },
    Asset { path: "/docs/swagger-ui-bundle.js", content: Content::SwaggerUi },
];

impl Asset {
    const fn text(path: &'static str, content_type: &'static str, text: &'static str) -> Self {
        Self { path, content: Content::Text(content_type, text) }
    }

    pub(crate) fn at(path: &str) -> Option<Self> {
        ASSETS.iter().find(|asset| asset.path == path).copied()
    }

    pub(crate) fn path(self) -> &'static str {
        self.path
    }

    /// Whether a page loads it, rather than a person.
    pub(crate) fn is_part_of_a_page(self) -> bool {
        !matches!(self.content, Content::Text(HTML, _))
    }
}

#[derive(Debug)]
pub(crate) struct Pages {
    settings: String,
    swagger_ui: Router,
}

impl Pages {
    pub(crate) fn new(environment: &Environment) -> Self {
        let variable = |name: &str| environment.variables.get(name).cloned();
        let settings = json!({
            "apiKey": demo::API_KEY,
            "organization": demo::ORGANIZATION,
            "registration": demo::REGISTRATION,
            "application": demo::APPLICATION,
            "client": demo::CLIENT,
            "scopes": demo::SCOPES,
            "signingMode": variable("SIGNING_MODE"),
            "issuer": variable("ISSUER"),
            "audience": variable("AUDIENCE"),
        });
        // The index of Swagger UI has a script in the page, which the policy refuses. Only its files are served.
        let api_definition = OpenApiSource::Inline("");
        let swagger_ui = generate_routes(ApiDefinition { uri_prefix: "/docs", api_definition, title: None });
        Self { settings: settings.to_string(), swagger_ui }
    }

    pub(crate) async fn answer(&self, asset: Asset, request: Request) -> Response {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
        }
        let mut response = match asset.content {
            Content::Text(content_type, text) => ([(CONTENT_TYPE, content_type)], text).into_response(),
            Content::Settings => ([(CONTENT_TYPE, "application/json")], self.settings.clone()).into_response(),
            Content::Reference => ([(CONTENT_TYPE, "application/yaml")], reference()).into_response(),
            Content::SwaggerUi => self.swagger_ui(asset).await,
        };
        let csp = if asset.path.starts_with("/docs") { DOCS_CSP } else { CSP };
        protect(response.headers_mut(), HeaderValue::from_static(csp));
        response
    }

    async fn swagger_ui(&self, asset: Asset) -> Response {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static(asset.path);
        let Ok(response) = self.swagger_ui.clone().oneshot(request).await;
        response
    }
}

/// `openapi.yaml`, with the server that serves it as the first one: "try it" calls that.
fn reference() -> String {
    const SERVERS: &str = "\nservers:\n";
    let text = include_str!("../../openapi.yaml");
    text.replacen(SERVERS, &format!("{SERVERS}  - url: /\n    description: this stack\n"), 1)
}

/// Sets the headers of every page: it may do what `csp` says, and no page of another origin can frame or read it.
pub(crate) fn protect(headers: &mut HeaderMap, csp: HeaderValue) {
    headers.insert(CONTENT_SECURITY_POLICY, csp);
    for (name, value) in [
        (CACHE_CONTROL.as_str(), "no-store"),
        (X_CONTENT_TYPE_OPTIONS.as_str(), "nosniff"),
        (REFERRER_POLICY.as_str(), "same-origin"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
