//! What is measured: functions, each with requests that succeed. A test checks that every function has a row.

use std::{fs, path::Path};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::{Result, aws::Stack};

/// The number of tokens that a registration gets. It is small, because writing an item with hundreds of tokens takes
/// longer.
const TOKENS_PER_REGISTRATION: usize = 5;

/// A row of the tables.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) function: &'static str,
    /// Environment variables in addition to those that all functions have.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Creates what this number of events of one process needs.
    pub(crate) prepare: fn(&Stack, usize) -> Result<Events>,
}

/// Makes the next event from the last answer.
pub(crate) type Events = Box<dyn FnMut(&Value) -> Result<Value>>;

/// Functions that do nothing, to compare the others with. The second opens a TLS connection during init.
pub(crate) const HELLO: &str = "hello";
pub(crate) const HELLO_TLS: &str = "hello-tls";

pub(crate) const VARIANTS: [Variant; 34] = [
    variant("hello world", HELLO, |_, _| always("publish-keys.success")),
    variant("hello world, TLS", HELLO_TLS, |_, _| always("publish-keys.success")),
    variant("create-token", "create-token", create_tokens),
    variant("create-token, OAuth bearer", "create-token", |stack, count| {
        let mut event = sample("create-token.success")?;
        event["body"] = json!({"registrationId": registration(stack)?}).to_string().into();
        let answer = body(&stack.invoke("create-token", &event)?)?;
        let bearer = format!("Bearer {}", text(&answer["token"]["accessToken"])?);
        let mut create = create_tokens(stack, count)?;
        Ok(Box::new(move |last| {
            let mut event = create(last)?;
            event["headers"]["authorization"] = bearer.as_str().into();
            Ok(event)
        }))
    }),
    variant("create-token, repeated", "create-token", |stack, _| repeated(stack, "create-token")),
    variant("create-app-token", "create-app-token", |_, _| always("create-app-token.success")),
    variant("create-app-token, repeated", "create-app-token", |stack, _| repeated(stack, "create-app-token")),
    variant("exchange-token, code", "exchange-token", exchange_codes),
    variant("exchange-token, refresh", "exchange-token", refresh),
    variant("exchange-token, refresh repeated", "exchange-token", repeated_refresh),
    variant("create-token, envelope", "create-token", create_tokens).with_envelope_signing(),
    variant("exchange-token, code, envelope", "exchange-token", exchange_codes).with_envelope_signing(),
    variant("exchange-token, refresh, envelope", "exchange-token", refresh).with_envelope_signing(),
    variant("manage-tokens, list", "manage-tokens", |_, _| always("manage-tokens.success-list-tokens")),
    variant("manage-tokens, list app tokens", "manage-tokens", |_, _| always("manage-tokens.success-list-app-tokens")),
    variant("manage-tokens, revoke", "manage-tokens", revoke_tokens),
    variant("oauth2, code", "oauth2", standard_codes),
    variant("oauth2, code, envelope", "oauth2", standard_codes).with_envelope_signing(),
    variant("oauth2, refresh", "oauth2", standard_refresh),
    variant("oauth2, refresh, envelope", "oauth2", standard_refresh).with_envelope_signing(),
    variant("oauth2, client credentials", "oauth2", |_, _| always("oauth2.success-client-credentials")),
    variant("oauth2, client credentials, envelope", "oauth2", |_, _| always("oauth2.success-client-credentials"))
        .with_envelope_signing(),
    variant("oauth2, introspection", "oauth2", |_, _| always("oauth2.success-introspect")),
    variant("oauth2, introspection of a machine token", "oauth2", |stack, _| {
        introspection(&text(&machine_token(stack)?)?)
    }),
    variant("oauth2, introspection of a user's token", "oauth2", |stack, _| {
        introspection(&text(&standard_tokens(stack)?["access_token"])?)
    }),
    variant("oauth2, userinfo", "oauth2", userinfo),
    variant("oauth2, revocation", "oauth2", |_, _| always("oauth2.success-revoke")),
    variant("authorize, API key", "authorize", |_, _| always("authorize.success-api-key")),
    variant("authorize, machine token", "authorize", |stack, _| authorization(&text(&machine_token(stack)?)?)),
    variant("authorize, user's token", "authorize", |stack, _| {
        authorization(&text(&standard_tokens(stack)?["access_token"])?)
    }),
    variant("publish-keys, JWK set", "publish-keys", |_, _| always("publish-keys.success")),
    variant("publish-keys, app keys", "publish-keys", |_, _| always("publish-keys.success-app-keys")),
    variant("issue-code", "issue-code", |_, _| always("issue-code.success")),
    variant("provision", "provision", |_, _| always("provision.success")),
];

const fn variant(name: &'static str, function: &'static str, prepare: fn(&Stack, usize) -> Result<Events>) -> Variant {
    Variant { name, function, environment: &[], prepare }
}

impl Variant {
    /// Whether it does nothing.
    pub(crate) fn is_hello(&self) -> bool {
        [HELLO, HELLO_TLS].contains(&self.function)
    }

    const fn with_envelope_signing(mut self) -> Self {
        self.environment = &[("SIGNING_MODE", "envelope")];
        self
    }
}

/// A file of `events/`.
pub(crate) fn sample(name: &str) -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../events/{name}.json"));
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn always(name: &str) -> Result<Events> {
    let event = sample(name)?;
    Ok(Box::new(move |_| Ok(event.clone())))
}

/// The registrations of that many tokens. They take turns, so that their items grow together.
fn registrations(stack: &Stack, count: usize) -> Result<impl Iterator<Item = String> + use<>> {
    let registrations = (0..count.div_ceil(TOKENS_PER_REGISTRATION)).map(|_| registration(stack));
    let registrations = registrations.collect::<Result<Vec<_>>>()?;
    Ok((0..TOKENS_PER_REGISTRATION).flat_map(move |_| registrations.clone()))
}

/// The id of the stack's KMS key that signs, which is the `kid` of its tokens.
pub(crate) fn signing_key_id(stack: &Stack) -> Result<String> {
    text(&body(&stack.invoke("publish-keys", &sample("publish-keys.success")?)?)?["keys"][0]["kid"])
}

/// The access token of a machine.
fn machine_token(stack: &Stack) -> Result<Value> {
    Ok(body(&stack.invoke("oauth2", &sample("oauth2.success-client-credentials")?)?)?["access_token"].clone())
}

fn introspection(token: &str) -> Result<Events> {
    let mut event = sample("oauth2.success-introspect")?;
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("token", token).finish();
    (event["body"], event["isBase64Encoded"]) = (STANDARD.encode(form).into(), true.into());
    Ok(Box::new(move |_| Ok(event.clone())))
}

fn authorization(token: &str) -> Result<Events> {
    let mut event = sample("authorize.success-api-key")?;
    let header = format!("Bearer {token}");
    (event["headers"]["authorization"], event["identitySource"]) = (header.as_str().into(), json!([header]));
    Ok(Box::new(move |_| Ok(event.clone())))
}

fn standard_codes(stack: &Stack, count: usize) -> Result<Events> {
    // Of the challenge in the sample (RFC 7636, appendix B).
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let login = sample("issue-code.success")?;
    let codes = (0..count).map(|_| text(&stack.invoke("issue-code", &login)?["code"])).collect::<Result<Vec<_>>>()?;
    let mut codes = codes.into_iter();
    let (client, redirect_uri) = (text(&login["clientId"])?, text(&login["redirectUri"])?);
    Ok(Box::new(move |_| {
        let code = codes.next().ok_or("no code is left")?;
        token_event(&[
            ("grant_type", "authorization_code"),
            ("client_id", &client),
            ("code", &code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", VERIFIER),
        ])
    }))
}

fn standard_refresh(stack: &Stack, _: usize) -> Result<Events> {
    let mut last = standard_tokens(stack)?;
    let client = text(&sample("issue-code.success")?["clientId"])?;
    Ok(Box::new(move |answer| {
        if !answer.is_null() {
            last = body(answer)?;
        }
        let token = text(&last["refresh_token"])?;
        token_event(&[("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", &token)])
    }))
}

fn userinfo(stack: &Stack, _: usize) -> Result<Events> {
    let mut event = sample("oauth2.refusal-userinfo")?;
    let token = text(&standard_tokens(stack)?["access_token"])?;
    event["headers"]["authorization"] = format!("Bearer {token}").into();
    Ok(Box::new(move |_| Ok(event.clone())))
}

/// The answer to a code at the standard token endpoint.
fn standard_tokens(stack: &Stack) -> Result<Value> {
    body(&stack.invoke("oauth2", &standard_codes(stack, 1)?(&Value::Null)?)?)
}

/// A request to the standard token endpoint.
fn token_event(form: &[(&str, &str)]) -> Result<Value> {
    let mut event = sample("oauth2.success-refresh")?;
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    event["body"] = STANDARD.encode(body).into();
    Ok(event)
}

fn create_tokens(stack: &Stack, count: usize) -> Result<Events> {
    let mut next = registrations(stack, count)?;
    let event = sample("create-token.success")?;
    Ok(Box::new(move |_| with_field(&event, "registrationId", &next.next().ok_or("every registration is full")?)))
}

fn exchange_codes(stack: &Stack, count: usize) -> Result<Events> {
    let codes = (0..count).map(|_| code(stack)).collect::<Result<Vec<_>>>()?;
    let event = sample("exchange-token.success-code")?;
    let mut codes = codes.into_iter();
    Ok(Box::new(move |_| with_field(&event, "code", &codes.next().ok_or("no code is left")?)))
}

fn refresh(stack: &Stack, _: usize) -> Result<Events> {
    let exchange = with_field(&sample("exchange-token.success-code")?, "code", &code(stack)?)?;
    let mut last = stack.invoke("exchange-token", &exchange)?;
    let event = sample("exchange-token.success-refresh")?;
    Ok(Box::new(move |answer| {
        if !answer.is_null() {
            last = answer.clone();
        }
        with_field(&event, "refresh_token", &text(&body(&last)?["items"][0]["refreshToken"])?)
    }))
}

/// The refresh token that was rotated away last, again and again: within the reuse window the answer is the same, and
/// nothing is written.
fn repeated_refresh(stack: &Stack, _: usize) -> Result<Events> {
    let mut rotate = refresh(stack, 1)?;
    let event = rotate(&Value::Null)?;
    stack.invoke("exchange-token", &event)?;
    Ok(Box::new(move |_| Ok(event.clone())))
}

fn revoke_tokens(stack: &Stack, count: usize) -> Result<Events> {
    let mut create = create_tokens(stack, count)?;
    let event = sample("manage-tokens.success-revoke-token")?;
    let revoke = |_| {
        let create = create(&Value::Null)?;
        let token = body(&stack.invoke("create-token", &create)?)?;
        let revoke = with_field(&event, "registrationId", &text(&body(&create)?["registrationId"])?)?;
        with_field(&revoke, "tokenId", &token_id(&text(&token["token"]["accessToken"])?)?)
    };
    let mut events = (0..count).map(revoke).collect::<Result<Vec<_>>>()?.into_iter();
    Ok(Box::new(move |_| events.next().ok_or("every token is revoked".into())))
}

/// The `jti` of an access token.
fn token_id(token: &str) -> Result<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap_or_default())?;
    text(&serde_json::from_slice::<Value>(&payload)?["jti"])
}

/// The same request again and again, with an idempotency key that was used before.
fn repeated(stack: &Stack, function: &str) -> Result<Events> {
    let name = format!("{function}.success-idempotent");
    stack.invoke(function, &sample(&name)?)?;
    always(&name)
}

fn registration(stack: &Stack) -> Result<String> {
    text(&stack.invoke("provision", &sample("provision.success")?)?["registrationId"])
}

fn code(stack: &Stack) -> Result<String> {
    let mut event = sample("issue-code.success")?;
    if let Some(event) = event.as_object_mut() {
        // The exchange event sends no code verifier.
        event.remove("codeChallenge");
    }
    text(&stack.invoke("issue-code", &event)?["code"])
}

/// The event with a field of its body changed.
fn with_field(event: &Value, field: &str, value: &str) -> Result<Value> {
    let (mut event, mut body) = (event.clone(), body(event)?);
    body[field] = value.into();
    event["body"] = body.to_string().into();
    Ok(event)
}

/// The body of an event or of an answer.
fn body(message: &Value) -> Result<Value> {
    Ok(serde_json::from_str(message["body"].as_str().ok_or("an event or answer has no body")?)?)
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "an answer lacks a field".into())
}
