//! Forged bearers.

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::harness::{
    Answer, CREATE_TOKEN, ISSUER, START, Tenant, TestStack, calls, current_kid, unverified_claims, with,
};

const APP_TOKENS: &str = "/v1/organizations/acme/apps/my-app/tokens";

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
        let token = tenant.create_token(&stack).await.access_token();
        let parts: Vec<_> = token["oauth2_".len()..].split('.').map(str::to_owned).collect();
        let [header, payload, signature] = parts.try_into().unwrap();
        let kid = current_kid(&stack).await;
        Self { stack, token, header, payload, signature, kid }
    }

    /// Counts the AWS calls from now on. The token was presented, so the functions have the public key.
    async fn count_calls(&self) {
        self.present(self.token.as_bytes()).await;
        self.stack.calls.reset();
    }

    fn header(&self, changes: &Value) -> Value {
        with(&json!({"alg": "RS256", "typ": "at+jwt", "kid": self.kid}), changes)
    }

    fn claims(&self, changes: &Value) -> Value {
        with(&unverified_claims(&self.token), changes)
    }

    /// A bearer with any header and payload, and a valid signature by this key of the deployment's KMS.
    async fn signed_by(&self, key: &str, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let digest = digest::digest(&digest::SHA256, input.as_bytes());
        let request = json!({
            "KeyId": key, "Message": STANDARD.encode(digest), "MessageType": "DIGEST",
            "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256",
        });
        let made = self.stack.kms("Sign", &request).await;
        let signature = STANDARD.decode(made["Signature"].as_str().unwrap()).unwrap();
        format!("oauth2_{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The id of a key of the same KMS that is not the deployment's.
    async fn another_key(&self) -> String {
        let made = self.stack.kms("CreateKey", &json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})).await;
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
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
    let another = target.another_key().await;
    let arn = format!("arn:aws:kms:local:000000000000:key/{}", target.kid);
    target.count_calls().await;
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
    assert!(target.stack.calls.count().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_not_one_json_object_is_refused_however_well_it_is_signed() {
    let target = Target::new().await;
    let another = &target.another_key().await;
    target.count_calls().await;
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
    target.count_calls().await;
    for change in [
        json!({"iss": "https://other.example.com"}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": null}),
        json!({"iss": [ISSUER]}),
        json!({"aud": "https://other.example.com"}),
        json!({"aud": "11111111-1111-1111-1111-111111111111"}),
        json!({"aud": []}),
        json!({"aud": ["https://other.example.com", format!("{ISSUER}/")]}),
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

    // These are well-formed, so both endpoints read the registration of each, and nothing that the request names.
    let unknown = "00000000-0000-4000-8000-000000000000";
    for change in [json!({"jti": unknown}), json!({"jti": unknown, "sub": "unknown"})] {
        target
            .refuses(&change.to_string(), target.signed(&target.header(&json!({})), &target.claims(&change)).await)
            .await;
    }
    assert_eq!(target.stack.calls.count(), calls(&[("GetItem", 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_by_another_key_is_refused() {
    let target = Target::new().await;
    let client = json!({
        "action": "createClient", "redirectUris": ["https://a.example/"], "services": ["email"], "scopes": ["a"],
    });
    let client = target.stack.provision(&client).await["clientId"].as_str().unwrap().to_owned();
    let pem = target.stack.get(&format!("/api/v1/apps/{client}/keys")).await.json()["items"][0]["value"].clone();
    let pem = pem.as_str().unwrap();
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let modulus = target.stack.get("/.well-known/jwks.json").await.json()["keys"][0]["n"].as_str().unwrap().to_owned();
    target.count_calls().await;

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
    target.count_calls().await;
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
    // Longer than a body may be, and otherwise valid.
    let claims = target.claims(&json!({"x": "x".repeat(16 * 1024)}));
    target.refuses("huge and signed", target.signed(&target.header(&json!({})), &claims).await).await;
    assert!(target.stack.calls.count().is_empty());
}
