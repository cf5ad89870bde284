//! What the user sees. Nothing from the request is written unescaped, and only one page has a script.

use std::fmt::Write as _;

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use shared::encoding::sha256;

use super::request::AuthorizationRequest;
use crate::{
    demo::{EMAIL, NAME},
    pages::protect,
};

pub(super) fn ask(ticket: &str, request: &AuthorizationRequest) -> Response {
    let redirect_uri = &request.target.redirect_uri;
    let mut scopes = String::new();
    for scope in &request.scopes {
        let meaning = match scope.as_str() {
            "openid" => "know who you are, by an id",
            "profile" => "see your name",
            "email" => "see your e-mail address",
            _ => "use this permission",
        };
        let _ = write!(scopes, "<li><span>{meaning}</span> <code>{}</code></li>", escape(scope));
    }
    let body = format!(
        r#"<h1>Log in</h1>
<p class="lead">The application at <strong>{origin}</strong> wants to</p>
<ul class="scopes">{scopes}</ul>
<div class="person"><span class="avatar" aria-hidden="true">DU</span>
<div><strong>{NAME}</strong><span>{EMAIL}</span></div></div>
<form method="post" action="/authorize">
<input type="hidden" name="ticket" value="{ticket}">
<button class="primary" name="answer" value="continue">Continue as {NAME}</button>
<button name="answer" value="deny">Deny</button>
</form>
<dl class="facts"><dt>Client</dt><dd><code>{client}</code></dd><dt>Service</dt><dd>{service}</dd>
<dt>Goes back to</dt><dd><code>{redirect_uri}</code></dd></dl>"#,
        origin = escape(&origin(redirect_uri)),
        client = request.client_id,
        service = escape(&request.service),
        redirect_uri = escape(redirect_uri),
    );
    // Browsers apply `form-action` also to where the answer to the form redirects.
    page(StatusCode::OK, "Log in", &body, &format!("'self' {}", csp_source(redirect_uri)))
}

/// Shows a problem to the user, who is redirected nowhere.
pub(super) fn error(status: StatusCode, problem: &str) -> Response {
    let body = format!(
        r#"<h1>This login cannot go on</h1>
<p class="notice error" role="alert">{}</p>
<p><a href="/">To the start page</a></p>"#,
        escape(problem)
    );
    page(status, "This login cannot go on", &body, "'none'")
}

/// Posts the answer to the redirect URI: by itself, or by its button where scripts are off. It has no rule that a
/// frame, or a client that redirects, would break.
pub(super) fn form_post(redirect_uri: &str, parameters: &[(&str, &str)]) -> Response {
    const SCRIPT: &str = "document.forms[0].submit()";
    let mut inputs = String::new();
    for (name, value) in parameters {
        let _ = writeln!(inputs, r#"<input type="hidden" name="{name}" value="{}">"#, escape(value));
    }
    let body = format!(
        r#"<h1>Back to the application</h1>
<form method="post" action="{}">
{inputs}<button class="primary">Back to the application</button>
</form>
<script>{SCRIPT}</script>"#,
        escape(redirect_uri)
    );
    let csp = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'self'; img-src 'self'; base-uri 'none'",
        STANDARD.encode(sha256(SCRIPT))
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, &csp),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, document("Back to the application", &body)).into_response()
}

fn page(status: StatusCode, title: &str, body: &str, form_action: &str) -> Response {
    let csp = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action {form_action}; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let html = document(title, body);
    let mut response = (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    let fallback = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    protect(response.headers_mut(), HeaderValue::try_from(csp).unwrap_or(fallback));
    response
}

fn document(title: &str, body: &str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · tokenmint</title>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/page/style.css">
</head>
<body class="login-page">
<main>
<p class="wordmark"><img src="/page/icon.svg" alt="" width="28" height="28"> tokenmint <span>demo login</span></p>
<section class="card">
{body}
</section>
<p class="quiet">This login service belongs to the local stack. It has one user and asks for no password.</p>
</main>
</body>
</html>
"#
    )
}

/// Where a redirect URI leads: its origin, or its scheme.
fn origin(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return scheme_of(uri).to_owned() };
    // A browser takes a backslash for a slash, and what is before an at sign for a user.
    let authority = rest.split(['/', '?', '\\']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}")
}

fn scheme_of(uri: &str) -> &str {
    uri.split_inclusive(':').next().unwrap_or(uri)
}

/// A source expression (CSP 3, 2.3.1) that the redirect URI matches. With another character than these, its scheme.
fn csp_source(uri: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b':' | b'/');
    let source = origin(uri);
    let is_web = source.starts_with("http://") || source.starts_with("https://");
    if is_web && source.bytes().all(plain) { source } else { scheme_of(uri).to_owned() }
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_judges_the_origin() {
        for (uri, expected) in [
            ("https://app.example.com/callback", "https://app.example.com"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("https://app.example.com?x=https://evil.example", "https://app.example.com"),
            ("https://good.example@evil.example/callback", "https://evil.example"),
            ("https://evil.example\\@good.example/", "https://evil.example"),
            ("com.example.app:/callback", "com.example.app:"),
        ] {
            assert_eq!(origin(uri), expected);
        }
    }

    #[test]
    fn a_redirect_uri_adds_no_directive_to_the_policy() {
        for (uri, expected) in [
            ("https://app.example.com/callback", "https://app.example.com"),
            ("com.example.app:/callback", "com.example.app:"),
            ("https://a;script-src/*", "https:"),
            ("https://[::1]:8080/", "https:"),
            ("https://'none'/", "https:"),
        ] {
            assert_eq!(csp_source(uri), expected);
        }
    }

    #[test]
    fn nothing_is_written_unescaped() {
        assert_eq!(escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
