//! The pages of the local stack: what they may load, who may load them, and that the reference is `openapi.yaml`.

use std::{fs, path::Path};

use serde_json::json;

use crate::harness::{Answer, TestStack, api};

const PAGES: [&str; 3] = ["/", "/page/callback", "/docs"];

/// The paths that a page names in `src`, `href` and `import`.
fn parts(text: &str) -> Vec<String> {
    let quoted = |before: &'static str| text.split(before).skip(1).filter_map(|rest| rest.split('"').next());
    let attributes = quoted("src=\"")
        .chain(quoted("href=\""))
        .filter(|path| path.starts_with("/page/") || path.starts_with("/docs/"));
    let imports = quoted("from \"./").map(|file| format!("/page/{file}"));
    attributes.map(str::to_owned).chain(imports).collect()
}

#[track_caller]
fn assert_protected(answer: &Answer) {
    let csp = answer.header("content-security-policy").unwrap();
    assert!(csp.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{csp}");
    assert!(
        csp.contains("frame-ancestors 'none'") && csp.contains("base-uri 'none'") && !csp.contains("unsafe"),
        "{csp}"
    );
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_and_all_its_parts_are_in_the_binary() {
    let stack = TestStack::start().await;
    let mut open: Vec<String> = PAGES.map(str::to_owned).into();
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        if seen.contains(&path) {
            continue;
        }
        let answer = stack.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_protected(&answer);
        let ours = !path.starts_with("/docs/swagger-ui");
        if ours {
            // The policy would stop these.
            for inline in ["<style", " style=", "<script>", "onclick=", "innerHTML", "eval("] {
                assert!(!answer.text.contains(inline), "{path} has {inline}");
            }
            let elsewhere = answer.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{path} names another host");
            open.extend(parts(&answer.text));
        }
        seen.push(path);
    }
    // As many as there are files, or this test no longer finds them.
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../local/page")).unwrap().count();
    assert_eq!(seen.len(), files + "/callback swagger-ui.css swagger-ui-bundle.js".split(' ').count(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_stacks_own_origin_can_load_a_page() {
    let stack = TestStack::start().await;
    let own_origin = stack.url("");
    let paths = ["/", "/page/callback", "/docs", "/page/main.js", "/page/settings.json", "/docs/openapi.yaml"];
    for path in paths {
        let send = async |headers: &[(&str, &str)]| {
            let request = stack.http.get(stack.url(path));
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            stack.send(request).await
        };
        for refused in [
            &[("host", "evil.example")][..],
            &[("host", "localhost.evil.example")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
            &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
        ] {
            let answer = send(refused).await;
            assert_eq!(answer.status, 403, "{path} {refused:?}");
            assert!(answer.json()["message"].as_str().unwrap().starts_with("Forbidden: "), "{answer:?}");
            assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{answer:?}");
        }
        for allowed in [
            &[][..],
            &[("origin", own_origin.as_str())],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")],
            &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
            // A link in another page.
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        ] {
            assert_eq!(send(allowed).await.status, 200, "{path} {allowed:?}");
        }
        let preflight = stack.http.request(reqwest::Method::OPTIONS, stack.url(path));
        let preflight =
            preflight.header("origin", "https://evil.example").header("access-control-request-method", "GET");
        assert_eq!(stack.send(preflight).await.status, 403, "{path}");
        assert_eq!(stack.send(stack.http.put(stack.url(path))).await.status, 405, "{path}");
        let head = stack.send(stack.http.head(stack.url(path))).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
    }
    // What is no page is the API's.
    for path in ["/docs/", "/page/", "/page/../Cargo.toml", "/index.html"] {
        assert_eq!(stack.get(path).await.json(), json!({"message": "Not Found"}), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_is_the_document_with_this_stack_as_its_server() {
    let stack = TestStack::start().await;
    let mut served = local::yaml(&stack.get("/docs/openapi.yaml").await.text).unwrap();
    let servers = served["servers"].as_array_mut().unwrap();
    assert_eq!(servers.remove(0), json!({"url": "/", "description": "this stack"}));
    assert_eq!(served, api().document);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_knows_the_demo_that_the_stack_provisions() {
    let stack = TestStack::start().await;
    stack.local.provision_demo().await.unwrap();
    let settings = stack.get("/page/settings.json").await.json();
    let setting = |name: &str| settings[name].as_str().unwrap();
    let list = json!({"registrationId": setting("registration")});
    assert_eq!(stack.post("/api/v1/list-tokens", setting("apiKey"), &list).await.status, 200);
    let path = format!("/v1/organizations/{}/apps/{}/tokens", setting("organization"), setting("application"));
    let request = stack.http.get(stack.url(&path)).bearer_auth(setting("apiKey"));
    assert_eq!(stack.send(request).await.status, 200);
    assert_eq!(settings["signingMode"], "kms");

    // The demo's client may return to the page, and to where it could before.
    let client = stack.store().load_client(setting("client").parse().unwrap()).await.unwrap().unwrap();
    for page in [&stack.url("/page/callback"), "http://localhost:1/page/callback", "https://app.example.com/callback"] {
        assert!(client.redirect_uri(page).is_some(), "{page}");
    }
    assert_eq!(settings["scopes"], json!(client.scopes));
}
