//! Hostile input: forged bearers, and randomly broken requests and events. None may cause a panic, a 5xx or an undocumented
//! answer, or be repeated in the answer.
//!
//! `PROPTEST_CASES=4000 cargo test --workspace hostile::no_` is the long version.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};
use reqwest::header::HeaderValue;
use serde_json::{Value, json, value::RawValue};

use crate::harness::{
    Answer, Api, CREATE_TOKEN, ISSUER, START, Tenant, TestStack, api, calls, current_kid, events, items, with,
};

const APP_TOKENS: &str = "/v1/organizations/acme/apps/my-app/tokens";

// ------------------------------------------------------------------------------------------------ bearers

/// A deployment with a valid access token, and what a forger can know about it.
struct Target {
    stack: TestStack,
    token: String,
    /// The parts of the token.
    header: String,
    payload: String,
    signature: String,
    kid: String,
}

impl Target {
    async fn new() -> Self {
        let stack = TestStack::start().await;
        let scopes = json!({"scopes": ["oauth.token.create", "mad.application.token.create"]});
        let tenant = Tenant::with_registration(&stack, "acme", &scopes).await;
        let made = tenant.create_token(&stack).await.json();
        let token = made["token"]["accessToken"].as_str().unwrap().to_owned();
        let parts: Vec<_> = token["oauth2_".len()..].split('.').map(str::to_owned).collect();
        let [header, payload, signature] = parts.try_into().unwrap();
        let kid = current_kid(&stack).await;
        Self { stack, token, header, payload, signature, kid }
    }

    fn header(&self, changes: &Value) -> Value {
        with(&json!({"alg": "RS256", "typ": "at+jwt", "kid": self.kid}), changes)
    }

    fn claims(&self, changes: &Value) -> Value {
        with(&serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&self.payload).unwrap()).unwrap(), changes)
    }

    /// A bearer with any header and payload, and a valid signature by this key of the deployment's KMS.
    async fn signed_by(&self, key: &str, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, input.as_bytes());
        let request = json!({
            "KeyId": key, "Message": STANDARD.encode(digest), "MessageType": "DIGEST",
            "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256",
        });
        let made = self.stack.kms("Sign", &request).await;
        let signature = STANDARD.decode(made["Signature"].as_str().unwrap()).unwrap();
        format!("oauth2_{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token signed by the deployment's signing key, so only header or claims can be wrong.
    async fn signed(&self, header: &Value, claims: &Value) -> String {
        self.signed_by(&self.kid, header.to_string().as_bytes(), claims.to_string().as_bytes()).await
    }

    /// The answers of the two endpoints that take bearers.
    async fn present(&self, bearer: &[u8]) -> [Answer; 2] {
        let value = HeaderValue::from_bytes(&[b"Bearer ", bearer].concat()).unwrap();
        let send = async |path: &str| {
            let request = self.stack.http.post(self.stack.url(path)).header("authorization", value.clone());
            self.stack.send(request.header("content-type", "application/json").body("{}")).await
        };
        [send(CREATE_TOKEN).await, send(APP_TOKENS).await]
    }

    /// Asserts that both endpoints refuse a bearer, with the same answer whatever is wrong.
    async fn refuses(&self, what: &str, bearer: impl AsRef<[u8]>) {
        let what = what.chars().take(200).collect::<String>();
        let [token, app_token] = self.present(bearer.as_ref()).await;
        assert_eq!((token.status, token.json()), (401, json!({"message": "Unauthorized"})), "{what}");
        let invalid = json!({"status": false, "error": {"code": 4004, "message": "Invalid Token"}});
        assert_eq!((app_token.status, app_token.json()), (401, invalid), "{what}");
        for answer in [token, app_token] {
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer realm=\"tokenmint\", error=\"invalid_token\""),
                "{what}"
            );
        }
    }
}

/// The forge makes valid tokens, too. Otherwise the refusals below would prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_forge_makes_valid_tokens_of_valid_claims() {
    let target = Target::new().await;
    let same = target.signed(&target.header(&json!({})), &target.claims(&json!({}))).await;
    assert_eq!(same, target.token);
    // An additional claim, as a later version may have, is accepted.
    let [token, app_token] = target
        .present(target.signed(&target.header(&json!({})), &target.claims(&json!({"x": 1}))).await.as_bytes())
        .await;
    assert_eq!((token.status, app_token.status), (400, 200), "authenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_not_ours_is_refused_however_well_it_is_signed() {
    let target = Target::new().await;
    let jwk = target.stack.get("/.well-known/jwks.json").await.json()["keys"][0].clone();
    let another = target.stack.kms("CreateKey", &json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})).await;
    let another = another["KeyMetadata"]["KeyId"].as_str().unwrap();
    let arn = format!("arn:aws:kms:local:000000000000:key/{}", target.kid);
    target.present(target.token.as_bytes()).await;
    target.stack.calls.reset();
    for change in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "HS256"}),
        json!({"alg": "RS384"}),
        json!({"alg": "PS256"}),
        json!({"alg": "rs256"}),
        json!({"alg": ["RS256"]}),
        json!({"alg": null}),
        json!({"typ": "JWT"}),
        json!({"typ": "AT+JWT"}),
        json!({"typ": "application/at+jwt"}),
        json!({"typ": null}),
        json!({"kid": null}),
        json!({"kid": 1}),
        json!({"kid": ""}),
        json!({"kid": [target.kid]}),
        json!({"kid": another}),
        json!({"kid": arn}),
        json!({"kid": format!("../{}", target.kid)}),
        json!({"kid": format!("{}\u{0}", target.kid)}),
        json!({"kid": format!(" {}", target.kid)}),
        json!({"kid": "alias/tokens"}),
        json!({"kid": "https://evil.example.com/jwks.json"}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"b64": false}),
        json!({"jwk": jwk}),
        json!({"jku": "https://evil.example.com/jwks.json"}),
        json!({"x5u": "https://evil.example.com/cert.pem"}),
        json!({"x5c": ["MIIB"]}),
        json!({"zip": "DEF"}),
        json!({"cty": "JWT"}),
    ] {
        target
            .refuses(&change.to_string(), target.signed(&target.header(&change), &target.claims(&json!({}))).await)
            .await;
    }
    let (kid, payload) = (&target.kid, target.claims(&json!({})).to_string());
    let deep = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    for header in [
        format!(r#"{{"alg":"none","alg":"RS256","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{another}","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{kid}"}}x"#),
        format!("\u{feff}{}", target.header(&json!({}))),
        deep,
        "[]".to_owned(),
        "null".to_owned(),
        String::new(),
    ] {
        target.refuses(&header, target.signed_by(kid, header.as_bytes(), payload.as_bytes()).await).await;
    }
    let invalid_utf8 = [b"{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"\xff\"}".as_slice(), b"\xff\xfe"];
    for header in invalid_utf8 {
        target.refuses("invalid UTF-8", target.signed_by(kid, header, payload.as_bytes()).await).await;
    }
    let header = target.header(&json!({})).to_string();
    let by_another = target.signed_by(another, header.as_bytes(), payload.as_bytes()).await;
    target.refuses("another key with the right kid", by_another).await;
    assert!(target.stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_not_this_deployments_are_refused_however_well_they_are_signed() {
    let target = Target::new().await;
    target.present(target.token.as_bytes()).await;
    target.stack.calls.reset();
    for change in [
        json!({"iss": "https://other.example.com"}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": null}),
        json!({"iss": [ISSUER]}),
        json!({"aud": "https://other.example.com"}),
        json!({"aud": "11111111-1111-1111-1111-111111111111"}),
        json!({"aud": [ISSUER]}),
        json!({"aud": null}),
        json!({"exp": START}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": i64::MIN}),
        json!({"exp": u64::MAX}),
        json!({"exp": 1e300}),
        json!({"exp": 4_000_000_000.5}),
        json!({"exp": "4000000000"}),
        json!({"exp": null}),
        json!({"sub": "../x"}),
        json!({"sub": "é"}),
        json!({"sub": null}),
        json!({"jti": "not-a-uuid"}),
        json!({"jti": null}),
        json!({"scope": ["oauth.token.create"]}),
        // The claims of `exchange-token`, as ID and as access token.
        json!({"aud": "11111111-1111-1111-1111-111111111111", "client_id": null, "scope": ["openid"], "lng": "en"}),
    ] {
        target
            .refuses(&change.to_string(), target.signed(&target.header(&json!({})), &target.claims(&change)).await)
            .await;
    }
    let (header, claims) = (target.header(&json!({})).to_string(), target.claims(&json!({})).to_string());
    let deep = claims.replacen('{', &format!(r#"{{"scope":{}{},"#, "[".repeat(3000), "]".repeat(3000)), 1);
    for payload in [
        claims.replacen('{', r#"{"exp":1,"#, 1),
        claims.replacen('{', r#"{"iss":"https://other.example.com","#, 1),
        claims.replace("\"exp\":", "\"exp\":1e999,\"x\":"),
        format!("{claims}{claims}"),
        deep,
        "{}".to_owned(),
        "null".to_owned(),
        String::new(),
    ] {
        target.refuses(&payload, target.signed_by(&target.kid, header.as_bytes(), payload.as_bytes()).await).await;
    }
    assert!(target.stack.calls.count().is_empty());

    // These are well-formed, so the table is read, and does not have them.
    for change in [json!({"jti": "00000000-0000-4000-8000-000000000000"}), json!({"sub": "unknown"})] {
        target
            .refuses(&change.to_string(), target.signed(&target.header(&json!({})), &target.claims(&change)).await)
            .await;
    }
    assert_eq!(target.stack.calls.count(), calls(&[("GetItem", 6)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_by_another_key_is_refused() {
    let target = Target::new().await;
    let client = json!({"action": "createClient", "redirectUris": ["https://a.example/"], "services": ["email"], "scopes": ["a"]});
    let client = target.stack.provision(&client).await["clientId"].as_str().unwrap().to_owned();
    let pem = target.stack.get(&format!("/api/v1/apps/{client}/keys")).await.json()["items"][0]["value"].clone();
    let pem = pem.as_str().unwrap();
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let modulus = target.stack.get("/.well-known/jwks.json").await.json()["keys"][0]["n"].as_str().unwrap().to_owned();
    target.present(target.token.as_bytes()).await;
    target.stack.calls.reset();

    let Target { header, payload, signature, .. } = &target;
    let encoded = |changes: &Value| URL_SAFE_NO_PAD.encode(target.header(changes).to_string());
    // The public key as the secret of an HMAC (RFC 8725, 2.1), in each of its forms.
    for (form, secret) in [
        ("PEM", pem.as_bytes()),
        ("PEM without the last line break", pem.trim_end().as_bytes()),
        ("DER", &der),
        ("modulus", &URL_SAFE_NO_PAD.decode(&modulus).unwrap()),
        ("n", modulus.as_bytes()),
        ("nothing", b""),
    ] {
        for algorithm in ["HS256", "RS256"] {
            let input = format!("{}.{payload}", encoded(&json!({"alg": algorithm})));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
            target.refuses(form, format!("oauth2_{input}.{}", URL_SAFE_NO_PAD.encode(mac))).await;
        }
    }
    let stranger = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut by_stranger = vec![0; stranger.public_modulus_len()];
    let input = format!("{header}.{payload}");
    stranger.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut by_stranger).unwrap();
    let claims = target.claims(&json!({"scope": "everything"})).to_string();
    for (what, parts) in [
        ("another RSA key", format!("{input}.{}", URL_SAFE_NO_PAD.encode(by_stranger))),
        ("none", format!("{}.{payload}.", encoded(&json!({"alg": "none"})))),
        ("none with the old signature", format!("{}.{payload}.{signature}", encoded(&json!({"alg": "none"})))),
        ("no signature", format!("{input}.")),
        ("zeros", format!("{input}.{}", URL_SAFE_NO_PAD.encode([0; 256]))),
        ("ones", format!("{input}.{}", URL_SAFE_NO_PAD.encode([0xff; 256]))),
        ("a short signature", format!("{input}.{}", &signature[..signature.len() - 4])),
        ("a long signature", format!("{input}.{signature}AAAA")),
        ("other claims", format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims))),
    ] {
        target.refuses(what, format!("oauth2_{parts}")).await;
    }
    assert!(target.stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_exactly_the_token_is_refused() {
    let target = Target::new().await;
    target.present(target.token.as_bytes()).await;
    target.stack.calls.reset();
    let Target { token, header, payload, signature, .. } = &target;
    let jwt = format!("{header}.{payload}.{signature}");
    let standard = jwt.replace('-', "+").replace('_', "/");
    assert_ne!(standard, jwt);
    // The last of 342 characters holds two bits of the signature, and four that must be zero.
    let last = jwt.chars().last().unwrap();
    let unused_bits = format!("{}{}", &jwt[..jwt.len() - 1], char::from(last as u8 + 1));
    for (what, forged) in [
        ("no prefix", jwt.clone()),
        ("the prefix twice", format!("oauth2_{token}")),
        ("the prefix in capitals", format!("OAUTH2_{jwt}")),
        ("another prefix", format!("tmk_{jwt}")),
        ("nothing", "oauth2_".to_owned()),
        ("dots", "oauth2_..".to_owned()),
        ("a trailing dot", format!("{token}.")),
        ("a leading dot", format!("oauth2_.{jwt}")),
        ("no signature", format!("oauth2_{header}.{payload}")),
        ("no payload", format!("oauth2_{header}..{signature}")),
        ("no header", format!("oauth2_.{payload}.{signature}")),
        ("swapped parts", format!("oauth2_{payload}.{header}.{signature}")),
        ("five parts", format!("oauth2_{header}.{payload}.{payload}.{payload}.{signature}")),
        ("padding", format!("{token}=")),
        ("padding in the header", format!("oauth2_{header}=.{payload}.{signature}")),
        ("the standard alphabet", format!("oauth2_{standard}")),
        ("bits that nothing uses", format!("oauth2_{unused_bits}")),
        ("a space inside", token.replacen('.', " .", 1)),
        ("a tab inside", token.replacen('.', "\t.", 1)),
        ("a comma and another", format!("{token},{token}")),
        ("percent-encoded", token.replace('.', "%2E")),
        ("quoted", format!("\"{token}\"")),
        ("half of it", token[..token.len() / 2].to_owned()),
        ("not ASCII", token.replacen('.', "é", 1)),
        ("full-width", token.replacen('.', "．", 1)),
        ("11 KiB of signature", format!("{token}{}", "A".repeat(11 * 1024))),
        ("100 KiB", format!("oauth2_{}", "A".repeat(100 * 1024))),
        ("10,000 dots", format!("oauth2_{}", ".".repeat(10_000))),
    ] {
        target.refuses(what, forged).await;
    }
    target.refuses("invalid UTF-8", [token.as_bytes(), b"\xff\xfe"].concat()).await;
    // Longer than API Gateway accepts, and otherwise valid.
    let claims = target.claims(&json!({"x": "x".repeat(8 * 1024)}));
    target.refuses("huge and signed", target.signed(&target.header(&json!({})), &claims).await).await;
    assert!(target.stack.calls.count().is_empty());
}

// ------------------------------------------------------------------------------------------------ requests

/// A text in hostile values that no refusal may repeat.
const MARKER: &str = "hostileMarker";

/// JSON texts, and some that are not JSON.
const FIXED: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "-0.0",
    "1e400",
    "1E-400",
    "18446744073709551616",
    "-9223372036854775809",
    "\"\"",
    "[]",
    "{}",
    "[null]",
    "[[]]",
    "NaN",
    "Infinity",
    "'x'",
    "01",
    "+1",
    ".5",
    "",
    "\"",
    "[",
    "{\"",
    ",",
    "\\",
    "/**/1",
    "\u{feff}1",
    "\"hostileMarker\"",
    "\"\\u0000hostileMarker\"",
    "\"\\ud800hostileMarker\"",
    "\"\\udc00\\ud800hostileMarker\"",
    "\"hostileMarker\\ud83d\\ude00\"",
    "\"\u{202e}hostileMarker\"",
    "[\"hostileMarker\"]",
    "[\"hostileMarker\",\"hostileMarker\"]",
    "{\"x\":\"hostileMarker\"}",
    "\"hostileMarker@example.com\"",
    "\"hostileMarker\u{0}\"",
    "\"hostileMarker\u{1f}\"",
];

/// A text in place of a JSON value.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(FIXED).prop_map(str::to_owned),
        2 => any::<String>().prop_map(|text| json!(format!("{MARKER}{text}")).to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        1 => any::<i128>().prop_map(|number| number.to_string()),
        1 => (1..3000_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        1 => (1..300_usize).prop_map(|depth| "{\"x\":".repeat(depth) + "1" + &"}".repeat(depth)),
        1 => (0..20_000_usize).prop_map(|length| format!("\"{MARKER}{}\"", "x".repeat(length))),
        1 => vec(Just(format!("\"{MARKER}\"")), 0..60).prop_map(|entries| format!("[{}]", entries.join(","))),
    ]
}

/// A change to the members of a valid request, which are pairs of name and JSON text.
#[derive(Clone, Debug)]
enum Change {
    Value(Index, String),
    Repeat(Index, String),
    Unknown(String),
    Remove(Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), fragment()).prop_map(|(at, value)| Change::Value(at, value)),
        1 => (any::<Index>(), fragment()).prop_map(|(at, value)| Change::Repeat(at, value)),
        1 => fragment().prop_map(Change::Unknown),
        1 => any::<Index>().prop_map(Change::Remove),
    ];
    vec(change, 0..4)
}

/// A change to the bytes of a text.
#[derive(Clone, Debug)]
enum Edit {
    Truncate(Index),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Replace(Vec<u8>),
    Prefix(Vec<u8>),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        any::<Index>().prop_map(Edit::Truncate),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (any::<Index>(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        vec(any::<u8>(), 0..200).prop_map(Edit::Replace),
        prop_oneof![Just("\u{feff}".into()), Just(b"\xff".to_vec()), Just(vec![0]), Just(b" \n".to_vec())]
            .prop_map(Edit::Prefix),
    ];
    prop_oneof![2 => Just(vec![]), 1 => vec(edit, 1..3)]
}

/// A form, changed and then edited. The JSON text of a value takes the place of a parameter's.
fn broken_form(object: &Value, changes: Vec<Change>, edits: Vec<Edit>) -> Vec<u8> {
    let members = object.as_object().unwrap().iter();
    let mut pairs: Vec<(String, String)> =
        members.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    for change in changes {
        let at = |at: &Index| at.index(pairs.len());
        match change {
            Change::Unknown(value) => pairs.push(("unknown".to_owned(), value)),
            _ if pairs.is_empty() => {}
            Change::Value(index, value) => {
                let at = at(&index);
                pairs[at].1 = value;
            }
            Change::Repeat(index, value) => pairs.push((pairs[at(&index)].0.clone(), value)),
            Change::Remove(index) => drop(pairs.remove(at(&index))),
        }
    }
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    edited(body.into_bytes(), edits)
}

/// A JSON object, changed and then edited.
fn broken(object: &Value, changes: Vec<Change>, edits: Vec<Edit>) -> Vec<u8> {
    let mut members: Vec<(String, String)> =
        object.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    for change in changes {
        let of = |at: &Index| at.index(members.len());
        match change {
            Change::Unknown(value) => members.push(("unknown".to_owned(), value)),
            _ if members.is_empty() => {}
            Change::Value(at, value) => {
                let at = of(&at);
                members[at].1 = value;
            }
            Change::Repeat(at, value) => members.push((members[of(&at)].0.clone(), value)),
            Change::Remove(at) => drop(members.remove(of(&at))),
        }
    }
    let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    edited(format!("{{{}}}", members.join(",")).into_bytes(), edits)
}

fn edited(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        match edit {
            Edit::Replace(other) => bytes = other,
            Edit::Prefix(prefix) => drop(bytes.splice(..0, prefix)),
            _ if bytes.is_empty() => {}
            Edit::Truncate(at) => bytes.truncate(at.index(bytes.len())),
            Edit::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Edit::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more);
            }
        }
    }
    bytes
}

/// A header value of any bytes that HTTP allows.
fn header_value() -> impl Strategy<Value = HeaderValue> {
    let texts = prop_oneof![
        2 => any::<String>().prop_map(|text| format!("{MARKER}{text}").into_bytes()),
        1 => vec(any::<u8>(), 0..100),
        1 => "(Bearer|bearer|Basic|) *(tmk_|tma_|oauth2_|)[ -~]{0,60}".prop_map(|text| format!("{text}{MARKER}").into_bytes()),
        1 => "application/json *;?[ -~]{0,20}".prop_map(String::into_bytes),
        1 => (0..9000_usize).prop_map(|length| format!("Bearer oauth2_{}", MARKER.repeat(length / 13)).into_bytes()),
    ];
    texts.prop_filter_map("a header", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

/// A percent-encoded path segment of any bytes.
fn segment() -> impl Strategy<Value = String> {
    let encode = |bytes: Vec<u8>| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02X}");
            text
        })
    };
    prop_oneof![
        vec(any::<u8>(), 1..40).prop_map(encode),
        "[a-zA-Z0-9._~!$&'()*+,;=:@%-]{1,140}".prop_map(|text| format!("{MARKER}{text}")),
    ]
}

#[derive(Clone, Debug)]
struct Hostile {
    operation: Index,
    segments: Option<[String; 2]>,
    query: String,
    headers: Vec<(&'static str, HeaderValue)>,
    changes: Vec<Change>,
    edits: Vec<Edit>,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    const NAMES: &[&str] =
        &["authorization", "content-type", "idempotency-key", "x-forwarded-for", "accept", "origin", "cookie"];
    let header = (proptest::sample::select(NAMES), header_value());
    let segments = proptest::option::weighted(0.3, [segment(), segment()]);
    let query = "((page|limit|sort)=[ -~]{0,8}&?){0,3}[ -~]{0,30}";
    (any::<Index>(), segments, query, vec(header, 0..3), changes(), edits()).prop_map(
        |(operation, segments, query, headers, changes, edits)| Hostile {
            operation,
            segments,
            query,
            headers,
            changes,
            edits,
        },
    )
}

/// Runs proptest's default number of cases, or `PROPTEST_CASES`.
fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })
}

/// A result and how long it took. Only a hanging request fails the test: the machine's speed is not tested.
async fn timed<T>(coming: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let come = tokio::time::timeout(Duration::from_secs(20), coming).await.expect("it hangs");
    (come, started.elapsed())
}

#[test]
fn no_request_gets_an_answer_that_is_not_documented() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stack, key) = runtime.block_on(async {
        let stack = TestStack::start().await;
        let lines = stack.local.provision_demo().await.unwrap();
        // Tokens expire at once, so that valid requests do not meet the quota.
        let demo = items::registration_key("demo");
        stack.update_item(&demo, "SET tokenTtlSeconds = :one", json!({":one": {"N": "1"}})).await;
        (stack, lines.split("Bearer ").nth(1).unwrap().split('\'').next().unwrap().to_owned())
    });
    let operations = api().operations();
    let slowest = Cell::new(Duration::ZERO);
    let statuses = RefCell::new(BTreeMap::<_, usize>::new());
    let result = runner().run(&hostile(), |hostile| {
        stack.clock.advance(1);
        let (route, operation) = hostile.operation.get(&operations);
        let (method, path) = route.split_once(' ').unwrap();
        let mut url = stack.url(path);
        let parameters = operation["parameters"].as_array().unwrap().iter();
        for (at, parameter) in parameters.filter(|parameter| parameter["in"] == "path").enumerate() {
            let example = parameter["example"].as_str().unwrap();
            let segment =
                hostile.segments.as_ref().and_then(|segments| segments.get(at)).map_or(example, String::as_str);
            url = url.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), segment);
        }
        let url = format!("{url}?{}", hostile.query);
        let mut request = stack.http.request(method.parse().unwrap(), url);
        // The clients of forms have their credentials in the body.
        let media_type = Api::body_of(operation).map_or("application/json", |(media_type, _)| media_type);
        let takes_bearer = operation["security"][0].get("bearerAuth").is_some();
        request = if takes_bearer { request.bearer_auth(&key) } else { request };
        request = request.header("content-type", media_type);
        for (name, value) in hostile.headers {
            // Half of them replace the valid header, half are sent in addition to it.
            let replace = value.len() % 2 == 0;
            request = if replace {
                request.headers([(name.parse().unwrap(), value)].into_iter().collect())
            } else {
                request.header(name, value)
            };
        }
        if let Some((media_type, body)) = Api::body_of(operation) {
            let example = &body["examples"].as_object().unwrap().values().next().unwrap()["value"];
            request = request.body(match media_type {
                "application/json" => broken(example, hostile.changes, hostile.edits),
                _ => broken_form(example, hostile.changes, hostile.edits),
            });
        }
        let (answer, took) = runtime.block_on(timed(stack.send(request)));
        slowest.set(slowest.get().max(took));
        *statuses.borrow_mut().entry((route.clone(), answer.status)).or_default() += 1;
        prop_assert!(answer.status < 500, "{:?}", answer);
        prop_assert!(answer.status < 300 || !answer.text.contains(MARKER), "{:?}", answer);
        Ok(())
    });
    println!("{:#?}, the slowest in {:?}", statuses.borrow(), slowest.get());
    result.unwrap();
}

// ------------------------------------------------------------------------------------------------ events

/// The JSON pointers to all values of an event.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    for (name, member) in value.as_object().into_iter().flatten() {
        pointers(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
    }
    for (index, entry) in value.as_array().into_iter().flatten().enumerate() {
        pointers(entry, &format!("{at}/{index}"), found);
    }
}

#[derive(Clone, Debug)]
struct HostileEvent {
    event: Index,
    places: Vec<(Index, Value)>,
    body: Option<(Vec<Change>, Vec<Edit>, bool)>,
    changes: Vec<Change>,
    edits: Vec<Edit>,
}

fn hostile_event() -> impl Strategy<Value = HostileEvent> {
    let json = fragment().prop_filter_map("JSON", |text| serde_json::from_str(&text).ok());
    let places = prop_oneof![1 => Just(vec![]), 2 => vec((any::<Index>(), json), 1..3)];
    let body = proptest::option::of((changes(), edits(), any::<bool>()));
    // Most stay valid events, so that the functions see them.
    let outside = prop_oneof![3 => Just((vec![], vec![])), 1 => (changes(), edits())];
    (any::<Index>(), places, body, outside).prop_map(|(event, places, body, (changes, edits))| HostileEvent {
        event,
        places,
        body,
        changes,
        edits,
    })
}

/// Sent through Lambda's Invoke, which accepts any text as an event.
#[test]
fn no_event_causes_more_than_a_function_error() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stack = runtime.block_on(async {
        let stack = TestStack::start().await;
        stack.local.provision_demo().await.unwrap();
        stack
    });
    let events = events();
    let slowest = Cell::new(Duration::ZERO);
    let outcomes = RefCell::new(BTreeMap::<_, usize>::new());
    let result = runner().run(&hostile_event(), |hostile| {
        let (name, event) = hostile.event.get(&events);
        let function = name.split('.').next().unwrap();
        let mut event = event.clone();
        if let (Some((changes, edits, encoded)), Some(body)) = (hostile.body, event["body"].as_str()) {
            let body = serde_json::from_str(body).unwrap_or(json!({}));
            let body = broken(&body, changes, edits);
            event["body"] = String::from_utf8_lossy(&body).into();
            if encoded {
                event["isBase64Encoded"] = true.into();
                if !body.len().is_multiple_of(4) {
                    event["body"] = STANDARD.encode(body).into();
                }
            }
        }
        for (place, value) in hostile.places {
            let mut places = vec![];
            pointers(&event, "", &mut places);
            *event.pointer_mut(&places[place.index(places.len())]).unwrap() = value;
        }
        let text =
            if event.is_object() { broken(&event, hostile.changes, hostile.edits) } else { event.to_string().into() };
        let is_json = text.is_empty() || serde_json::from_slice::<Box<RawValue>>(&text).is_ok();
        let url = stack.url(&format!("/2015-03-31/functions/{function}/invocations"));
        let request = stack.http.post(url).body(text);
        let (answer, took) = runtime.block_on(timed(stack.send(request)));
        slowest.set(slowest.get().max(took));
        prop_assert_eq!(answer.status, 200);
        let (result, failed) = (answer.json(), answer.header("x-amz-function-error").is_some());
        let (outcome, refused) = match (failed, result["statusCode"].as_u64()) {
            (true, _) => {
                let kind = result["errorType"].as_str().unwrap();
                let known: &[_] =
                    if is_json { &["InvalidRequest", "NotFound", "Taken"] } else { &["Runtime.UnmarshalError"] };
                prop_assert!(known.contains(&kind), "{}", result);
                (kind.to_owned(), true)
            }
            (false, Some(status)) => {
                let http = http_answer(&result);
                prop_assert!(status < 500, "{}", result);
                let documented = api().routes_of(function).any(|route| api().check(route, &http).is_ok());
                prop_assert!(documented, "{}", result);
                (status.to_string(), status >= 300)
            }
            (false, None) => ("done".to_owned(), false),
        };
        prop_assert!(!refused || !answer.text.contains(MARKER), "{}", result);
        *outcomes.borrow_mut().entry((function.to_owned(), outcome)).or_default() += 1;
        Ok(())
    });
    println!("{:#?}, the slowest in {:?}", outcomes.borrow(), slowest.get());
    result.unwrap();
}

/// The HTTP response that API Gateway makes from a function's answer.
fn http_answer(answer: &Value) -> Answer {
    let headers = answer["headers"].as_object().unwrap().iter();
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.as_str().unwrap().parse().unwrap()));
    let status = answer["statusCode"].as_u64().unwrap().try_into().unwrap();
    Answer { status, headers: headers.collect(), text: answer["body"].as_str().unwrap().to_owned() }
}

/// A member name that `serde_json` itself gives a meaning to: it would let any value pass for a string, and nest without
/// end.
#[tokio::test(flavor = "multi_thread")]
async fn no_member_name_is_special() {
    let stack = TestStack::start().await;
    let organization = stack.organization("acme").await;
    let key = stack.api_key(&organization).await;
    let registration = stack.registration(&organization, &json!({})).await;
    let token = "$serde_json::private::RawValue";
    let registration = json!({"registrationId": {token: format!("\"{registration}\"")}});
    let answer = stack.post("/api/v1/create-token", &key, &registration).await;
    answer.assert(400, &json!({"message": "registrationId must be a string"}));

    let mut nested = "1".to_owned();
    while nested.len() < 7000 {
        let deeper = format!("{}{nested}{}", "[".repeat(100), "]".repeat(100));
        nested = json!({token: deeper}).to_string();
    }
    let body = format!("{{\"unknown\":{nested}}}");
    let request = stack.http.post(stack.url("/api/v1/tokens")).header("content-type", "application/json").body(body);
    assert_eq!(stack.send(request).await.status, 400);
}
