//! `POST /api/v1/tokens`.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Answer, ISSUER, InjectedFault, START, TestStack, calls, current_kid,
    exchange_token::{
        CLIENT, DAY, PATH, REDIRECT_URI, bad_credential, client, code_body, error, exchange, forge, issue, post,
        refresh, refresh_body, session, start,
    },
    items::grant_key,
    oauth2::{self, CHALLENGE, VERIFIER},
    verified, with,
};

impl Answer {
    async fn id_claims(&self, stack: &TestStack) -> Value {
        verified(stack, self.item()["idToken"].as_str().unwrap(), CLIENT).await.1
    }
}

fn internal_error() -> Value {
    json!({"errors": [{"validation": "error", "code": "[E0000]", "message": "Internal Server Error"}]})
}

// ------------------------------------------------------------------------------------------------ success

#[tokio::test(flavor = "multi_thread")]
async fn both_documented_bodies_give_the_documented_answer() {
    let stack = start().await;
    let bound = json!({"state": "state-from-authorize-step", "nonce": "nonce-value", "authTime": 1_735_689_600});
    let claims = json!({"claims": {"name": "Ada", "email": "ada@example.com", "email_verified": true, "gender": "x"}});
    let code = issue(&stack, &with(&bound, &claims)).await;
    let kid = current_kid(&stack).await;
    let mut token = String::new();
    for body in [code_body(&code), Value::Null] {
        stack.clock.advance(1);
        let now = 1 + if body.is_null() { START + 1 } else { START };
        let body = if body.is_null() { refresh_body(&token) } else { body };
        stack.calls.reset();
        let answer = post(&stack, &body).await;
        assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 2), ("UpdateItem", 1)]));
        assert_eq!(stack.calls.rounds(), 3);

        let item = answer.item();
        let expected = json!({
            "accessToken": item["accessToken"], "idToken": item["idToken"], "expiresIn": (now + 3600).to_string(),
            "tokenType": "Bearer", "redirectUri": REDIRECT_URI, "refreshToken": item["refreshToken"],
        });
        answer.assert(201, &json!({"kind": "tokens", "totalItems": 1, "itemsLength": 1, "items": [expected]}));
        token = answer.refresh_token();
        assert!(token.starts_with("tmr_") && token.len() == 75);

        let mut ids = BTreeSet::new();
        let about_the_user = json!({
            "nonce": "nonce-value", "name": "Ada", "gender": "x", "email": "ada@example.com", "email_verified": true,
        });
        for (name, more) in [("accessToken", json!({})), ("idToken", about_the_user)] {
            let (header, claims) = verified(&stack, item[name].as_str().unwrap(), CLIENT).await;
            assert_eq!(header, format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{kid}"}}"#));
            ids.insert(claims["jti"].as_str().unwrap().to_owned());
            let common = json!({
                "iss": ISSUER, "sub": "user-1", "aud": CLIENT, "jti": claims["jti"], "iat": now, "exp": now + 3600,
                "auth_time": 1_735_689_600, "lng": "en", "scope": ["openid", "profile", "email"], "sid": session(&code),
                "token_use": if name == "idToken" { "id" } else { "access" },
            });
            assert_eq!(claims, with(&common, &more));
        }
        assert_eq!(ids.len(), 2);
    }
    let dump = stack.dump().await;
    assert!(
        !dump.contains("tmc_") && !dump.contains("tmr_") && !dump.contains(&code[26..]) && !dump.contains(&token[26..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silent_refresh_of_a_browser_works() {
    let stack = start().await;
    let token = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let changes = json!({"grant_type": "authorization_code", "code": "", "state": "", "nonce": "fresh-nonce"});
    let answer = post(&stack, &with(&refresh_body(&token), &changes)).await;
    assert_eq!(answer.id_claims(&stack).await["nonce"], "fresh-nonce");
    // Without a refresh token, `prompt` does not make it a refresh.
    let without =
        post(&stack, &with(&refresh_body(""), &json!({"grant_type": "authorization_code", "code": ""}))).await;
    without.assert(400, &error("code is required"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_leaves_out_comes_from_the_code() {
    let stack = start().await;
    let minimal = json!({"state": null, "nonce": null, "auth_time": null, "scope": null});
    let login = json!({
        "scope": "openid email", "language": "pt-BR", "nonce": "bound",
        "claims": {"email": "a@b.example", "name": "A"},
    });
    let code = issue(&stack, &login).await;
    let answer = post(&stack, &with(&code_body(&code), &with(&minimal, &json!({"nonce": "bound"})))).await;
    let claims = answer.id_claims(&stack).await;
    assert_eq!(
        (&claims["lng"], &claims["nonce"], &claims["scope"]),
        (&json!("pt-BR"), &json!("bound"), &json!(["openid", "email"]))
    );
    assert_eq!(
        (&claims["email"], claims.get("name"), &claims["auth_time"]),
        (&json!("a@b.example"), None, &json!(START))
    );

    // On a refresh, too. Empty strings count as absent. A smaller scope is granted for this answer only.
    let empty = json!({"language": "", "scope": "", "prompt": "", "nonce": "other", "code_verifier": ""});
    let answer = post(&stack, &with(&refresh_body(&answer.refresh_token()), &empty)).await;
    let claims = answer.id_claims(&stack).await;
    assert_eq!(
        (&claims["lng"], &claims["nonce"], &claims["scope"]),
        (&json!("pt-BR"), &json!("bound"), &json!(["openid", "email"]))
    );
    let less = json!({"language": "de", "scope": "openid"});
    let answer = post(&stack, &with(&refresh_body(&answer.refresh_token()), &less)).await;
    let claims = answer.id_claims(&stack).await;
    assert_eq!((&claims["lng"], claims.get("email"), &claims["scope"]), (&json!("de"), None, &json!(["openid"])));
    let answer = post(&stack, &with(&refresh_body(&answer.refresh_token()), &minimal)).await;
    assert_eq!(answer.id_claims(&stack).await["scope"], json!(["openid", "email"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_decode_with_atob() {
    let stack = start().await;
    let claims =
        json!({"name": "Zoë >?~ 日本語 😀", "picture": "https://x.example/?a=~b>c", "address": {"locality": "Köln?"}});
    let answer = exchange(&stack, &issue(&stack, &json!({"claims": claims})).await).await;
    for name in ["accessToken", "idToken"] {
        let jwt = answer.item()[name].as_str().unwrap().to_owned();
        let (signed, _) = jwt.rsplit_once('.').unwrap();
        assert!(!signed.contains(['-', '_']), "{signed}");
    }
    assert_eq!(answer.id_claims(&stack).await["name"], claims["name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_must_answer_the_challenge() {
    let stack = start().await;
    let challenged = oauth2::code(&stack, &json!({})).await;
    let plain = issue(&stack, &json!({})).await;
    for (code, verifier) in [(&challenged, json!("")), (&challenged, json!(CHALLENGE)), (&plain, json!(VERIFIER))] {
        post(&stack, &with(&code_body(code), &json!({"code_verifier": verifier}))).await.assert(400, &bad_credential());
    }
    let right = json!({"code_verifier": VERIFIER});
    assert_eq!(post(&stack, &with(&code_body(&challenged), &right)).await.status, 201);
    assert_eq!(exchange(&stack, &plain).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_keeps_of_its_code_only_what_is_needed_later() {
    let stack = start().await;
    let bound = json!({"state": "state-from-authorize-step", "nonce": "nonce-value", "codeChallenge": CHALLENGE});
    let code = issue(&stack, &bound).await;
    let kept = async || {
        let item = stack.item(&grant_key(&code)).await;
        ["code", "nonce", "state", "codeChallenge"].map(|attribute| item[attribute].is_object())
    };
    assert_eq!(kept().await, [true, true, true, true]);
    let answer = post(&stack, &with(&code_body(&code), &json!({"code_verifier": VERIFIER}))).await;
    assert_eq!(kept().await, [true, true, false, false]);
    let answer = refresh(&stack, &answer.refresh_token()).await;
    assert_eq!(answer.id_claims(&stack).await["nonce"], "nonce-value");
    exchange(&stack, &code).await.assert(400, &bad_credential());
    refresh(&stack, &answer.refresh_token()).await.assert(400, &bad_credential());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_users_are_401_at_the_other_endpoints() {
    let stack = start().await;
    let item = exchange(&stack, &issue(&stack, &json!({})).await).await.item();
    for name in ["accessToken", "idToken", "refreshToken"] {
        let token = item[name].as_str().unwrap();
        for bearer in [token.to_owned(), format!("oauth2_{token}")] {
            let answer = stack.post("/api/v1/create-token", &bearer, &json!({"registrationId": "x"})).await;
            answer.assert(401, &json!({"message": "Unauthorized"}));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_allowed_origins_can_call_it() {
    let origins = vec!["https://app.example.com".to_owned()];
    let stack = TestStack::start_with(|options| options.allow_origins = origins).await;
    client(&stack, &json!({})).await;
    let preflight = async |origin: &str| {
        let request = stack.http.request(Method::OPTIONS, stack.url(PATH)).header("origin", origin);
        stack.send(request.header("access-control-request-method", "POST")).await
    };
    let allowed = preflight("https://app.example.com").await;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("content-type"));
    assert_eq!(preflight("https://evil.example.com").await.header("access-control-allow-origin"), None);

    let from = async |origin: &str| {
        let body = code_body(&issue(&stack, &json!({})).await).to_string();
        let request =
            stack.http.post(stack.url(PATH)).header("content-type", "application/json").header("origin", origin);
        // Clients are public, so client credentials in a header are ignored.
        stack.send(request.bearer_auth("nonsense").body(body)).await
    };
    let answer = from("https://app.example.com").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (201, Some("https://app.example.com")));
    assert_eq!(from("https://evil.example.com").await.header("access-control-allow-origin"), None);
    let any = start().await;
    let request = any.http.post(any.url(PATH)).header("origin", "https://anyone.example.com");
    assert_eq!(any.send(request).await.header("access-control-allow-origin"), Some("*"));
}

// ------------------------------------------------------------------------------------------------ refusals

/// A code and a refresh token that this stack does not know.
async fn of_another_stack() -> (String, String) {
    let stack = start().await;
    let code = issue(&stack, &json!({})).await;
    (code, exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_code_or_token_gets_the_same_answer_and_changes_nothing() {
    let stack = start().await;
    let other = "22222222-2222-2222-2222-222222222222";
    client(&stack, &json!({"clientId": other})).await;
    let bound = json!({"state": "s", "nonce": "n", "scope": "openid"});
    let code = issue(&stack, &bound).await;
    let right = with(&code_body(&code), &bound);
    let first_exchange = code_body(&issue(&stack, &json!({"scope": "openid"})).await);
    let token = post(&stack, &with(&first_exchange, &json!({"scope": "openid"}))).await.refresh_token();
    let right_refresh = with(&refresh_body(&token), &json!({"scope": "openid"}));
    let (unknown_code, unknown_token) = of_another_stack().await;
    let wrong_bindings = [
        json!({"client_id": other}),
        json!({"client_id": "33333333-3333-3333-3333-333333333333"}),
        json!({"redirect_uri": "https://app.example.com/other"}),
        json!({"redirect_uri": "https://evil.example.com/callback"}),
        json!({"redirect_uri": "https://app.example.com/callback/"}),
        json!({"service": "sms"}),
        json!({"service": "unknown"}),
        json!({"scope": "openid profile"}),
        json!({"scope": "everything"}),
    ];
    let wrong_codes = [
        json!({"state": "other"}),
        json!({"state": null}),
        json!({"nonce": "other"}),
        json!({"nonce": ""}),
        json!({"code": "code-from-authorize-step"}),
        json!({"code": START.to_string().repeat(10)}),
        json!({"code": unknown_code}),
        json!({"code": token}),
        json!({"code": format!("{code}0")}),
        json!({"code": "x".repeat(10_000)}),
        json!({"code": "é"}),
    ];
    let wrong_tokens = [
        json!({"refresh_token": "refresh-token-value"}),
        json!({"refresh_token": unknown_token}),
        json!({"refresh_token": code}),
        json!({"refresh_token": code.replacen("tmc_", "tmr_", 1)}),
    ];
    stack.calls.reset();
    let mut answers = BTreeSet::new();
    let wrong_exchanges = wrong_bindings.iter().chain(&wrong_codes).map(|wrong| with(&right, wrong));
    let wrong_refreshes = wrong_bindings.iter().chain(&wrong_tokens).map(|wrong| with(&right_refresh, wrong));
    for body in wrong_exchanges.chain(wrong_refreshes) {
        let answer = post(&stack, &body).await;
        answer.assert(400, &bad_credential());
        answers.insert(answer.text);
    }
    assert_eq!(answers.len(), 1);
    let count = stack.calls.count();
    assert_eq!(count.keys().collect::<Vec<_>>(), ["GetItem"], "no signature and no write");
    assert_eq!(post(&stack, &right).await.status, 201);
    assert_eq!(post(&stack, &right_refresh).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_is_400_with_field_and_rule() {
    let stack = start().await;
    let code = code_body("x");
    let refresh = refresh_body("x");
    let uuid = "client_id must be a UUID";
    let time = "auth_time must be seconds since the epoch, in decimal digits";
    let tag = "language must be 1 to 35 characters of A-Z a-z 0-9 _ -, such as en or pt-BR";
    let scope = "scope must be 1 to 50 scopes separated by spaces, each of at most 256 printable ASCII characters";
    let verifier = "code_verifier must be 43 to 128 of A-Z a-z 0-9 - . _ ~";
    stack.calls.reset();
    for (base, change, what) in [
        (&code, json!({"client_id": null}), "client_id is required"),
        (&code, json!({"client_id": ""}), "client_id is required"),
        (&code, json!({"client_id": "not-a-uuid"}), uuid),
        (&code, json!({"client_id": "11111111111111111111111111111111"}), uuid),
        (&code, json!({"client_id": 1}), "client_id must be a string"),
        (&code, json!({"service": ""}), "service is required"),
        (&code, json!({"redirect_uri": null}), "redirect_uri is required"),
        (&code, json!({"grant_type": null}), "grant_type is required"),
        (&code, json!({"grant_type": "password"}), "grant_type must be authorization_code or refresh_token"),
        (&code, json!({"grant_type": ["refresh_token"]}), "grant_type must be a string"),
        (&code, json!({"code": ""}), "code is required"),
        (&code, json!({"code": null}), "code is required"),
        (&code, json!({"code": true}), "code must be a string"),
        (&refresh, json!({"refresh_token": ""}), "refresh_token is required"),
        (&refresh, json!({"refresh_token": {}}), "refresh_token must be a string"),
        (&code, json!({"auth_time": "yesterday"}), time),
        (&code, json!({"auth_time": "-1"}), time),
        (&code, json!({"auth_time": "1.5"}), time),
        (&code, json!({"auth_time": 1_735_689_600}), "auth_time must be a string"),
        (&code, json!({"language": "en US"}), tag),
        (&refresh, json!({"language": "*"}), tag),
        (&code, json!({"scope": "a é"}), scope),
        (&code, json!({"scope": ["openid"]}), "scope must be a string"),
        (&code, json!({"code_verifier": "short"}), verifier),
        (&code, json!({"state": 1}), "state must be a string"),
        (&code, json!({"nonce": 1}), "nonce must be a string"),
        (&code, json!({"prompt": 1}), "prompt must be a string"),
    ] {
        post(&stack, &with(base, &change)).await.assert(400, &error(what));
    }
    post(&stack, &json!([])).await.assert(400, &error("body must be a JSON object"));
    let request = stack.http.post(stack.url(PATH)).header("content-type", "application/json");
    let twice = request.body(r#"{"grant_type":"refresh_token","grant_type":"refresh_token"}"#);
    stack.send(twice).await.assert(400, &error("grant_type must be given once"));
    let form =
        stack.http.post(stack.url(PATH)).header("content-type", "application/x-www-form-urlencoded").body("code=x");
    stack.send(form).await.assert(400, &error("Content-Type must be application/json"));
    assert!(stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_lives_for_120_seconds() {
    let stack = start().await;
    let (first, second) = (issue(&stack, &json!({})).await, issue(&stack, &json!({})).await);
    stack.clock.advance(119);
    assert_eq!(exchange(&stack, &first).await.status, 201);
    stack.clock.advance(1);
    stack.calls.reset();
    exchange(&stack, &second).await.assert(400, &bad_credential());
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2)]));
}

// --------------------------------------------------------------------------------------------- single use and rotation

#[tokio::test(flavor = "multi_thread")]
async fn a_second_use_of_a_code_revokes_what_the_first_gave() {
    let stack = start().await;
    let code = issue(&stack, &json!({})).await;
    let token = exchange(&stack, &code).await.refresh_token();
    let token = refresh(&stack, &token).await.refresh_token();
    // Also long after the code has expired, and if other fields are wrong.
    stack.clock.advance(DAY);
    stack.calls.reset();
    let unknown = json!({"service": "sms", "client_id": "33333333-3333-3333-3333-333333333333"});
    post(&stack, &with(&code_body(&code), &unknown)).await.assert(400, &bad_credential());
    // The client of the grant is read before somebody else's replay ends it.
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 3), ("UpdateItem", 1)]));
    stack.calls.reset();
    refresh(&stack, &token).await.assert(400, &bad_credential());
    exchange(&stack, &code).await.assert(400, &bad_credential());
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 4)]), "what is revoked is not written again");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_exchanges_of_a_code_at_once_give_one_set_and_then_none() {
    let stack = start().await;
    let code = issue(&stack, &json!({})).await;
    let answers = join_all((0..50).map(|_| exchange(&stack, &code))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (1, 49));
    for answer in refused {
        answer.assert(400, &bad_credential());
    }
    refresh(&stack, &made[0].refresh_token()).await.assert(400, &bad_credential());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_refreshes_at_once_both_succeed_and_share_one_refresh_token() {
    let stack = start().await;
    let token = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let (one, two) = join(refresh(&stack, &token), refresh(&stack, &token)).await;
    assert_ne!(one.item()["accessToken"], two.item()["accessToken"]);
    let (one, two) = (one.refresh_token(), two.refresh_token());
    assert_eq!(one, two);
    let next = refresh(&stack, &two).await.refresh_token();
    assert_eq!(refresh(&stack, &one).await.refresh_token(), next, "the other tab is a moment late again");
    assert_eq!(refresh(&stack, &next).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_at_once_share_one_refresh_token() {
    let stack = start().await;
    let token = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let answers = join_all((0..50).map(|_| refresh(&stack, &token))).await;
    let tokens: BTreeSet<String> = answers.iter().map(Answer::refresh_token).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(refresh(&stack, tokens.first().unwrap()).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_within_the_window_writes_nothing() {
    let stack = start().await;
    let token = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let successor = refresh(&stack, &token).await.refresh_token();
    stack.calls.reset();
    assert_eq!(refresh(&stack, &token).await.refresh_token(), successor);
    assert_eq!(stack.calls.count(), calls(&[("GetItem", 2), ("Sign", 2)]));
    assert_eq!(stack.calls.rounds(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_may_be_repeated_until_its_successor_is_used() {
    let stack = start().await;
    let first = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let second = refresh(&stack, &first).await.refresh_token();
    stack.clock.advance(60);
    assert_eq!(refresh(&stack, &first).await.refresh_token(), second);
    let third = refresh(&stack, &second).await.refresh_token();
    refresh(&stack, &first).await.assert(400, &bad_credential());
    for token in [first, second, third] {
        refresh(&stack, &token).await.assert(400, &bad_credential());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reuse_window_counts_from_the_rotation() {
    let stack = start().await;
    let first = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let second = refresh(&stack, &first).await.refresh_token();
    // A repeat does not start the window again.
    stack.clock.advance(60);
    refresh(&stack, &first).await.refresh_token();
    stack.clock.advance(1);
    refresh(&stack, &first).await.assert(400, &bad_credential());
    refresh(&stack, &second).await.assert(400, &bad_credential());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_zero_is_none() {
    let stack = TestStack::start().await;
    client(&stack, &json!({"refreshReuseSeconds": 0})).await;
    let first = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let second = refresh(&stack, &first).await.refresh_token();
    refresh(&stack, &first).await.assert(400, &bad_credential());
    refresh(&stack, &second).await.assert(400, &bad_credential());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_secret_of_a_grant_revokes_it() {
    let stack = start().await;
    let token = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    let forged = forge(&token);
    refresh(&stack, &forged).await.assert(400, &bad_credential());
    refresh(&stack, &token).await.assert(400, &bad_credential());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grant_ends_after_thirty_days_however_often_it_was_refreshed() {
    let stack = start().await;
    let mut token = exchange(&stack, &issue(&stack, &json!({})).await).await.refresh_token();
    for _ in 0..29 {
        stack.clock.advance(DAY);
        token = refresh(&stack, &token).await.refresh_token();
    }
    stack.clock.advance(DAY - 1);
    token = refresh(&stack, &token).await.refresh_token();
    stack.clock.advance(1);
    refresh(&stack, &token).await.assert(400, &bad_credential());
}

// ------------------------------------------------------------------------------------------------ faults

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_commit_costs_neither_code_nor_token() {
    let stack = start().await;
    let code = issue(&stack, &json!({})).await;
    let mut body = code_body(&code);
    for _ in 0..2 {
        // Three attempts of one call; reads and signatures are two calls each. One failed signature is enough.
        for (operation, faults) in [("GetItem", 6), ("GetItem", 3), ("Sign", 6), ("Sign", 3), ("UpdateItem", 3)] {
            stack.calls.fail(operation, &vec![InjectedFault::NotSent; faults]);
            let answer = post(&stack, &body).await;
            // Attempts of two calls at once may share three faults so that each call succeeds in the end.
            if answer.status == 201 {
                assert!(faults == 3 && operation != "UpdateItem");
                body = refresh_body(&answer.refresh_token());
            } else {
                answer.assert(500, &internal_error());
            }
            stack.calls.heal();
        }
        let answer = post(&stack, &body).await;
        body = refresh_body(&answer.refresh_token());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_recognizes_itself() {
    let stack = TestStack::start().await;
    // Without a window a repeated refresh would be a replay, so nothing but the recognition can save it.
    client(&stack, &json!({"refreshReuseSeconds": 0})).await;
    for lost in 1..=3 {
        let code = issue(&stack, &json!({})).await;
        stack.calls.fail("UpdateItem", &vec![InjectedFault::AnswerLost; lost]);
        let token = exchange(&stack, &code).await.refresh_token();
        stack.calls.fail("UpdateItem", &vec![InjectedFault::AnswerLost; lost]);
        let token = refresh(&stack, &token).await.refresh_token();
        assert!(stack.calls.all_failed());
        assert_eq!(refresh(&stack, &token).await.status, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_fails_is_500_and_is_made_up_for() {
    let stack = start().await;
    let code = issue(&stack, &json!({})).await;
    let token = exchange(&stack, &code).await.refresh_token();
    for fault in [InjectedFault::NotSent, InjectedFault::AnswerLost] {
        stack.calls.fail("UpdateItem", &[fault; 3]);
        exchange(&stack, &code).await.assert(500, &internal_error());
        assert!(stack.calls.all_failed());
    }
    exchange(&stack, &code).await.assert(400, &bad_credential());
    refresh(&stack, &token).await.assert(400, &bad_credential());
}

/// While a client is disabled its grants sleep: not even a replay in another client's name ends them.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_a_grant_of_a_disabled_client_by_a_replay() {
    let stack = start().await;
    let other = "99999999-9999-9999-9999-999999999999";
    client(&stack, &json!({"clientId": other})).await;
    let code = issue(&stack, &json!({})).await;
    let first = exchange(&stack, &code).await.refresh_token();
    let second = refresh(&stack, &first).await.refresh_token();
    let enable = async |enabled: bool| {
        stack.provision(&json!({"action": "updateClient", "clientId": CLIENT, "enabled": enabled})).await;
    };
    enable(false).await;
    for (body, client_id) in [(refresh_body(&first), CLIENT), (refresh_body(&first), other), (code_body(&code), other)]
    {
        let body = with(&body, &json!({"client_id": client_id}));
        post(&stack, &body).await.assert(400, &bad_credential());
    }
    enable(true).await;
    assert_eq!(refresh(&stack, &second).await.status, 201);
}
