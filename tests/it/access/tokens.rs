//! Tokens: one that the issuer signed for us lets its holder in; every known way to make another is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair,
};
use ring::{hmac, rand};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::Code;
use weir_tests::world::{canaries, until};

use super::{Stage, key};

const PATIENCE: Duration = Duration::from_secs(15);

/// An identity provider with a key of each kind.
struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    fn new() -> Self {
        let random = rand::SystemRandom::new();
        // Only tests know this key.
        let rsa = include_str!("rsa.b64").replace('\n', "");
        let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Issuer {
            rsa: RsaKeyPair::from_pkcs8(&STANDARD.decode(rsa).unwrap()).unwrap(),
            p256: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, p256.as_ref(), &random).unwrap(),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            random,
        }
    }

    fn modulus(&self) -> Vec<u8> {
        PublicKeyComponents::<Vec<u8>>::from(self.rsa.public()).n
    }

    fn jwks(&self) -> String {
        let point = self.p256.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "r", "use": "sig", "n": text(self.modulus()), "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "kid": "p", "x": text(&point[1..33]), "y": text(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": text(self.ed25519.public_key())},
            {"kty": "oct", "kid": "o", "k": text("shared")},
        ]})
        .to_string()
    }

    /// Signs what stands there, as `alg` says.
    fn sign(&self, alg: &str, signed: &str) -> Vec<u8> {
        let rsa = |padding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(padding, &self.random, signed.as_bytes(), &mut signature).unwrap();
            signature
        };
        match alg {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "ES256" => self.p256.sign(&self.random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(signed.as_bytes()).as_ref().to_vec(),
            _ => Vec::new(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        let signature = text(self.sign(header["alg"].as_str().unwrap_or_default(), &signed));
        canaries().note(&signature);
        format!("{signed}.{signature}")
    }

    /// The same with these claims in place of the good ones; `null` takes one away.
    fn with(&self, changes: Value) -> String {
        let mut claims = good();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        self.token(&json!({"alg": "RS256", "kid": "r"}), &claims)
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn good() -> Value {
    json!({"iss": "https://idp.example", "aud": "weir", "sub": "u-1", "exp": now() + 600, "org": "shop", "roles": ["write", "other"]})
}

fn access(keys: &str) -> String {
    format!(
        "access:\n  jwt:\n    issuer: https://idp.example\n    audiences: [weir, other]\n    algorithms: [RS256, ES256, EdDSA]\n    \
         tenant_claim: org\n    jwks_refresh_s: 1\n    {keys}\n"
    )
}

async fn stage(issuer: &Issuer, folder: &std::path::Path) -> Stage {
    let file = folder.join("jwks.json");
    std::fs::write(&file, issuer.jwks()).unwrap();
    Stage::start(&access(&format!("jwks_file: {}", file.display()))).await
}

async fn status(stage: &Stage, token: &str) -> u16 {
    stage.post("/v1/events/orders", Some(token)).await.status
}

#[tokio::test]
async fn a_token_of_the_issuer_lets_its_holder_in_as_far_as_it_says() {
    let (issuer, folder) = (Issuer::new(), tempfile::tempdir().unwrap());
    let stage = stage(&issuer, folder.path()).await;
    for (alg, kid) in [("RS256", "r"), ("ES256", "p"), ("EdDSA", "e")] {
        let header =
            json!({"alg": alg, "kid": kid, "typ": "JWT", "jku": "http://127.0.0.1:1/", "x5u": "file:///x"});
        let token = issuer.token(&header, &good());
        assert_eq!(
            (status(&stage, &token).await, status(&stage, &token).await),
            (201, 201),
            "{alg}, and again"
        );
        let unnamed = issuer.token(&json!({"alg": alg}), &good());
        assert_eq!(status(&stage, &unnamed).await, 201, "{alg}: no choice");
    }
    for (changes, expected) in [
        (json!({"aud": ["x", "other"]}), 201),
        (json!({"nbf": now() + 10}), 201),
        (json!({"exp": now() - 10}), 201),
        (json!({"exp": 4e9}), 201),
        (json!({"roles": "read write"}), 201),
        (json!({"roles": ["read"]}), 403),
        (json!({"roles": {"write": true}}), 403),
        (json!({"roles": null}), 403),
        (json!({"org": "other"}), 404),
        (json!({"org": null}), 401),
        (json!({"org": ["shop"]}), 401),
    ] {
        assert_eq!(status(&stage, &issuer.with(changes.clone())).await, expected, "{changes}");
    }
}

/// Row 45 of the table of bad inputs, and its relatives.
#[tokio::test]
async fn every_known_trick_is_refused_with_the_one_answer() {
    let (issuer, folder) = (Issuer::new(), tempfile::tempdir().unwrap());
    let stage = stage(&issuer, folder.path()).await;
    let (fine, claims) = (issuer.with(json!({})), good());
    let (header, payload, signature) = {
        let mut parts = fine.split('.');
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
    };
    let headed = |header: Value| issuer.token(&header, &claims);
    let raw = |header: &str| {
        let signed = format!("{}.{payload}", text(header));
        format!("{signed}.{}", text(issuer.sign("RS256", &signed)))
    };
    let shared = |kid: &str, secret: &[u8]| {
        let signed = format!("{}.{payload}", text(json!({"alg": "HS256", "kid": kid}).to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}.{}", text(tag))
    };
    let more = text(good().to_string().replace("write", "admin"));
    let mut bad = vec![
        ("none", headed(json!({"alg": "none"}))),
        ("nOnE", headed(json!({"alg": "nOnE", "kid": "r"}))),
        ("none with a signature", raw(r#"{"alg":"none","kid":"r"}"#)),
        ("no alg", raw(r#"{"kid":"r"}"#)),
        ("two algs", raw(r#"{"alg":"RS256","alg":"none","kid":"r"}"#)),
        ("HMAC under the modulus", shared("r", &issuer.modulus())),
        ("HMAC under the public key", shared("r", issuer.rsa.public().as_ref())),
        ("HMAC under the set", shared("r", issuer.jwks().as_bytes())),
        ("HMAC under the set's secret", shared("o", b"shared")),
        ("an algorithm that is not allowed", headed(json!({"alg": "RS512", "kid": "r"}))),
        ("another kind of key", headed(json!({"alg": "ES256", "kid": "r"}))),
        ("another key of the set", headed(json!({"alg": "RS256", "kid": "e"}))),
        ("an unknown key", headed(json!({"alg": "RS256", "kid": "x"}))),
        ("a path", headed(json!({"alg": "RS256", "kid": "../../../../dev/null"}))),
        ("a query", headed(json!({"alg": "RS256", "kid": "r' OR '1'='1"}))),
        ("no text as kid", headed(json!({"alg": "RS256", "kid": 1}))),
        ("an unknown extension", headed(json!({"alg": "RS256", "kid": "r", "crit": ["x"], "x": 1}))),
        ("b64", headed(json!({"alg": "RS256", "kid": "r", "crit": ["b64"], "b64": false}))),
        ("crit of nothing", headed(json!({"alg": "RS256", "kid": "r", "crit": null}))),
        ("another kind of token", headed(json!({"alg": "RS256", "kid": "r", "typ": "logout+jwt"}))),
        ("no signature", format!("{header}.{payload}.")),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{fine}.{signature}")),
        ("another payload", format!("{header}.{more}.{signature}")),
        ("padding", format!("{header}.{payload}.{signature}==")),
        ("a dot more", format!(".{fine}")),
        ("a signature that is too short", format!("{header}.{payload}.{}", signature.split_at(300).0)),
        ("encrypted", format!("{header}.{payload}.{signature}.{payload}.{signature}")),
        ("JSON as it is", claims.to_string()),
    ];
    let other = Issuer { random: SystemRandom::new(), ..Issuer::new() };
    let own = json!({"kty": "OKP", "crv": "Ed25519", "x": text(other.ed25519.public_key())});
    bad.push(("a key of its own", other.token(&json!({"alg": "EdDSA", "kid": "e", "jwk": own}), &claims)));
    for (what, changes) in [
        ("begins later", json!({"nbf": now() + 600})),
        ("begins as text", json!({"nbf": "9999"})),
        ("begins as text long ago", json!({"nbf": "0"})),
        ("ends as text", json!({"exp": (now() + 600).to_string()})),
        ("ended", json!({"exp": now() - 600})),
        ("ended at once", json!({"exp": 0})),
        ("ends never", json!({"exp": null})),
        ("ends truly", json!({"exp": true})),
        ("for another", json!({"aud": "else"})),
        ("for others", json!({"aud": ["else", "WEIR"]})),
        ("for nobody", json!({"aud": []})),
        ("for anybody", json!({"aud": null})),
        ("by another", json!({"iss": "https://idp.example/"})),
        ("by nobody", json!({"iss": null})),
        ("by many", json!({"iss": ["https://idp.example"]})),
        ("long", json!({"x": "y".repeat(9_000)})),
    ] {
        bad.push((what, issuer.with(changes)));
    }
    let nobody = stage.post("/v1/events/orders", None).await.text;
    for (what, token) in &bad {
        let refused = stage.post("/v1/events/orders", Some(token)).await;
        assert_eq!((refused.status, &refused.text), (401, &nobody), "{what}");
        let call = stage.publish(Some(token)).await;
        assert_eq!(call, Some((Code::Unauthenticated, "unauthorized".to_owned())), "{what}, over gRPC");
        assert_eq!(status(&stage, &fine).await, 201, "a good one after {what}");
    }
    let huge = stage.post("/v1/events/orders", Some(&issuer.with(json!({"x": "y".repeat(64 << 10)})))).await;
    assert!([401, 431].contains(&huge.status), "{}", huge.status);
    assert_eq!((status(&stage, &fine).await, stage.publish(Some(&fine)).await), (201, None));
    let first = stage.post("/v1/events/orders", Some(&fine)).await.json();
    assert_eq!(first["offset"], bad.len() + 2, "nothing else was stored");
    stage.never_logged(&[signature, payload]);
}

/// Answers each request of keys with what `answer` gives then; counts them.
async fn serve(listener: TcpListener, asked: Arc<AtomicUsize>, answer: impl Fn(usize) -> Vec<u8>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let mut request = [0; 4096];
        if !stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
            continue;
        }
        stream.write_all(&answer(asked.fetch_add(1, Ordering::Relaxed))).await.ok();
        stream.shutdown().await.ok();
    }
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: /other\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_keys_come_in_the_background_and_the_last_good_ones_stay() {
    let (issuer, asked) = (Issuer::new(), Arc::new(AtomicUsize::new(0)));
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let (admin, operates) = key("ops", "default", "roles: [admin]");
    let config = access(&format!("jwks_url: http://{address}/keys")) + &format!("  keys:\n  {operates}");
    let stage = Stage::start(&config).await;
    let token = issuer.with(json!({}));
    assert_eq!(status(&stage, &token).await, 401, "there are no keys yet");
    let failures = async || {
        let metrics = stage.get(stage.weir.admin_url("/metrics"), Some(&admin)).await.text;
        let line =
            metrics.lines().find(|line| line.starts_with("weir_access_read_failures_total{what=\"jwks\"}"));
        line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    until("it was told", PATIENCE, async || (failures().await > 0.0).then_some(())).await;

    let jwks = issuer.jwks();
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 4 << 20]].concat();
    let answers = move |number: usize| match number {
        0 => http("200 OK", &jwks),
        1 => http("500 Internal Server Error", ""),
        2 => http("302 Found", &jwks),
        3 => http("200 OK", "<html>"),
        4 => http("200 OK", r#"{"keys": []}"#),
        5 => endless.clone(),
        6 => b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_vec(),
        _ => http("200 OK", r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "n", "x": "AQAB"}]}"#),
    };
    let listener = TcpListener::bind(address).await.unwrap();
    let serving = tokio::spawn(serve(listener, Arc::clone(&asked), answers));
    until("the keys have come", PATIENCE, async || (status(&stage, &token).await == 201).then_some(())).await;
    for number in 2..=7 {
        until("it was asked again", PATIENCE, async || {
            (asked.load(Ordering::Relaxed) >= number).then_some(())
        })
        .await;
        assert_eq!(status(&stage, &token).await, 201, "after bad answer {}", number - 1);
    }
    assert!(failures().await >= 6.0);
    until("the keys have changed", PATIENCE, async || (status(&stage, &token).await == 401).then_some(()))
        .await;
    assert_eq!(stage.get(stage.weir.admin_url("/metrics"), Some(&admin)).await.status, 200);
    serving.abort();
}

#[test]
fn settings_that_let_in_more_than_meant_are_refused() {
    let good = access("jwks_file: jwks.json");
    for (from, to, said) in [
        ("RS256,", "HS256,", "unknown"),
        ("RS256,", "none,", "unknown"),
        ("[RS256, ES256, EdDSA]", "[]", "`algorithms` is empty"),
        ("[weir, other]", "[]", "neither may be empty"),
        ("jwks_file: jwks.json", "jwks_url: http://idp.example/keys", "keys that come without TLS"),
        ("    jwks_file: jwks.json\n", "", "either at a `jwks_url` or in a `jwks_file`"),
    ] {
        let config = good.replace(from, to);
        let folder = super::starting::folder(&config);
        let output = super::starting::weir(folder.path(), &super::starting::VALIDATE);
        let told = super::starting::said(&output);
        assert_eq!((output.status.code(), told.contains(said)), (Some(64), true), "{to}: {told}");
    }
}
