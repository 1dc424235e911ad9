//! Signed webhooks: a body is taken if it was sent by whoever knows the secret, as it was sent, and lately.

use std::sync::LazyLock;

use ring::hmac;
use tonic::Code;
use weir_tests::world::{Weir, WeirOptions, canaries};

use super::{Answer, Stage, key};
use crate::grpc::{self, Data, PUBLISH, api, event, framed};

static GITHUB: LazyLock<String> = LazyLock::new(|| canaries().secret("github"));
static OLD: LazyLock<String> = LazyLock::new(|| canaries().secret("old"));
static NEW: LazyLock<String> = LazyLock::new(|| canaries().secret("new"));

fn secrets() -> [(&'static str, &'static str); 3] {
    [("GITHUB_SECRET", &GITHUB), ("STRIPE_OLD", &OLD), ("STRIPE_NEW", &NEW)]
}

const SIGNED: &str = r#"
  - name: github
    tenant: shop
    topic: github
    signature: {scheme: github, secrets: [{env: GITHUB_SECRET}]}
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
  - name: stripe
    tenant: shop
    match: {type: "stripe.*"}
    topic: stripe
    signature: {scheme: stripe, secrets: [{env: STRIPE_NEW}, {env: STRIPE_OLD}], tolerance_s: 60}
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
  - name: own
    topic: own
    signature: {scheme: header, secrets: [{env: GITHUB_SECRET}], header: X-Our-Signature, encoding: hex, prefix: "v1="}
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
"#;

async fn stage(access: &str) -> Stage {
    let WeirOptions { config, .. } = super::options(access);
    let env = secrets().map(|(name, secret)| (name.to_owned(), secret.to_owned())).to_vec();
    let options = WeirOptions { config: config + SIGNED, env, ..super::options(access) };
    Stage { weir: Weir::start(options).await, http: reqwest::Client::new() }
}

pub(crate) fn sign(secret: &str, text: &str) -> String {
    sign_bytes(secret, text.as_bytes())
}

fn sign_bytes(secret: &str, bytes: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), bytes);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn send(stage: &Stage, route: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let request = stage.http.post(stage.weir.url(&format!("/v1/events/{route}")));
    let request = request.header("content-type", "application/json").body(body.to_owned());
    Answer::to(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[track_caller]
fn is_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (401, "bad-signature"), "{answer:?}");
    assert_eq!(answer.json()["outcome"], "refused");
    assert!(answer.headers.contains_key("www-authenticate"));
}

#[tokio::test]
async fn a_github_webhook_is_taken_as_it_was_signed_and_not_otherwise() {
    let stage = stage("").await;
    let body = r#"{ "zen": "Keep it logically awesome.",  "hook_id": 1 }"#;
    let good = format!("sha256={}", sign(&GITHUB, body));
    let signed = [("x-hub-signature-256", good.as_str()), ("x-github-event", "ping")];
    let elsewhere = format!("sha256={}", sign(&OLD, body));
    is_refused(&send(&stage, "github", &[], body).await);
    is_refused(&send(&stage, "github", &[("x-hub-signature-256", &elsewhere)], body).await);
    is_refused(&send(&stage, "github", &[("x-hub-signature", &good)], body).await);
    is_refused(&send(&stage, "github", &signed, &body.replace("  ", " ")).await);
    is_refused(&send(&stage, "github", &[signed[0], signed[0]], body).await);
    // Not even looked at: it would be `invalid-json`.
    is_refused(&send(&stage, "github", &[("x-hub-signature-256", &elsewhere)], "{").await);
    let broken = format!("sha256={}", sign(&GITHUB, "{"));
    assert_eq!(send(&stage, "github", &[("x-hub-signature-256", &broken)], "{").await.code(), "invalid-json");

    let stored = send(&stage, "github", &signed, body).await;
    assert_eq!((stored.status, &stored.json()["offset"]), (201, &0.into()), "nothing was stored before it");
    let metrics = stage.get(stage.weir.admin_url("/metrics"), None).await.text;
    assert!(metrics.contains("weir_access_refused_total{code=\"bad-signature\"} 6"), "{metrics}");
    stage.never_logged(&secrets().map(|(_, secret)| secret));
    stage.never_logged(&[good.trim_start_matches("sha256=")]);
}

#[tokio::test]
async fn what_is_signed_is_the_bytes_as_sent_and_all_of_them() {
    let stage = stage("").await;
    // gzip of `{"key":"k"}`.
    let gzip = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0xca, 0x4e, 0xad, 0x54, 0xb2,
        0x52, 0xca, 0x56, 0xaa, 0x05, 0x00, 0x27, 0x9f, 0xab, 0xa4, 0x0b, 0x00, 0x00, 0x00,
    ];
    let post = |signature: String, body: Vec<u8>, headers: [(&'static str, &'static str); 2]| {
        let request =
            stage.http.post(stage.weir.url("/v1/events/github")).header("x-hub-signature-256", signature);
        Answer::to(
            headers.iter().fold(request.body(body), |request, (name, value)| request.header(*name, *value)),
        )
    };
    let compressed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let over = |body: &[u8]| format!("sha256={}", sign_bytes(&GITHUB, body));
    is_refused(&post(over(br#"{"key":"k"}"#), gzip.to_vec(), compressed).await);
    let stored = post(over(&gzip), gzip.to_vec(), compressed).await;
    assert_eq!(stored.status, 201, "{stored:?}");

    // Lines that would be answered one by one wait for the end, too.
    let lines = [("content-type", "application/x-ndjson"), ("accept", "application/x-ndjson")];
    let body = b"{\"key\":\"a\"}\n{\"key\":\"b\"}\n".to_vec();
    is_refused(&post(over(b"{\"key\":\"a\"}\n"), body.clone(), lines).await);
    let stored = post(over(&body), body, lines).await;
    assert_eq!((stored.status, &stored.json()["results"][1]["offset"]), (200, &2.into()), "{stored:?}");
}

#[tokio::test]
async fn stripes_signature_holds_for_a_while_under_either_secret() {
    let stage = stage("").await;
    let body = r#"{"id": "evt_1", "object": "event"}"#;
    let now = jiff::Timestamp::now().as_second();
    let header = |at: i64, secret: &str| format!("t={at},v1={}", sign(secret, &format!("{at}.{body}")));
    for secret in [OLD.as_str(), NEW.as_str()] {
        let stored = send(&stage, "stripe", &[("stripe-signature", &header(now, secret))], body).await;
        assert_eq!(stored.status, 201, "{stored:?}");
    }
    let two = format!("{},v1={}", header(now, "another"), sign(&NEW, &format!("{now}.{body}")));
    assert_eq!(send(&stage, "stripe", &[("stripe-signature", &two)], body).await.status, 201);
    for wrong in [header(now - 3600, &NEW), header(now + 3600, &NEW), header(now, "another")] {
        is_refused(&send(&stage, "stripe", &[("stripe-signature", &wrong)], body).await);
    }
    let moved = header(now - 3600, &NEW).replace(&(now - 3600).to_string(), &now.to_string());
    is_refused(&send(&stage, "stripe", &[("stripe-signature", &moved)], body).await);
}

#[tokio::test]
async fn a_signature_stands_for_a_key_and_no_key_for_a_signature() {
    let (writer, writes) = key("writer", "shop", "roles: [write, read]");
    let stage = stage(&format!("access:\n  keys:\n  {writes}")).await;
    let bearer = format!("Bearer {writer}");
    let body = r#"{"key":"k"}"#;
    let good = format!("v1={}", sign(&GITHUB, body));
    assert_eq!(send(&stage, "own", &[("x-our-signature", &good)], body).await.status, 201);
    is_refused(&send(&stage, "own", &[("authorization", &bearer)], body).await);
    is_refused(&send(&stage, "github", &[("authorization", &bearer)], body).await);
    let elsewhere = send(&stage, "orders", &[("x-our-signature", &good)], body).await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (401, "unauthorized"));
    assert_eq!(
        stage.get(stage.weir.url("/v1/events/github?key=k"), None).await.status,
        401,
        "reading needs a key"
    );
    assert_eq!(stage.get(stage.weir.url("/v1/events/github?key=k"), Some(&writer)).await.status, 200);

    let event = r#"{"specversion":"1.0","id":"i","source":"s","type":"stripe.x","data":{"key":"k"}}"#;
    let around = stage.http.post(stage.weir.url("/v1/events")).bearer_auth(&writer).body(event);
    let around = Answer::to(around.header("content-type", "application/cloudevents+json")).await;
    assert_eq!(
        (around.status, around.code().as_str()),
        (404, "unknown-route"),
        "no way around the signature"
    );
    assert_eq!(send(&stage, "orders", &[("authorization", &bearer)], body).await.status, 201);
}

#[tokio::test]
async fn over_grpc_a_message_is_signed() {
    let stage = stage("").await;
    let http = grpc::by_hand();
    let call = async |route: &str, id: &str, signature: Option<String>| {
        let events = vec![event(id, "stripe.x", Data::TextData(r#"{"key":"k"}"#.to_owned()))];
        let message = framed(&api::PublishRequest { events, route: route.to_owned() });
        // What is signed is the message, not the five bytes before it.
        let signature = signature.unwrap_or_else(|| format!("sha256={}", sign_bytes(&GITHUB, &message[5..])));
        let headers = [("x-hub-signature-256", signature.as_str())];
        let answer = grpc::raw(&http, stage.weir.url(PUBLISH), &headers, message).await;
        answer.status.is_some().then(|| answer.told())
    };
    let bad = || Some((Code::Unauthenticated, "bad-signature".to_owned()));
    for wrong in [String::new(), format!("sha256={}", sign(&GITHUB, "another")), "sha256=".to_owned()] {
        assert_eq!(call("github", "a", Some(wrong)).await, bad());
    }
    assert_eq!(grpc::publish(&http, stage.weir.url(PUBLISH), &[], "github").await, bad());
    let around = call("", "a", None).await;
    assert_eq!(around, Some((Code::NotFound, "unknown-route".to_owned())), "no way around the signature");
    assert_eq!(call("github", "a", None).await, None);
    let good = format!("sha256={}", sign(&GITHUB, "{}"));
    let next = send(&stage, "github", &[("x-hub-signature-256", &good)], "{}").await;
    assert_eq!(next.json()["offset"], 1, "the signed one, and no other");
}

#[tokio::test]
async fn a_secret_that_is_not_there_ends_the_start_by_name() {
    let WeirOptions { config, .. } = super::options("");
    let weir = Weir::launch(WeirOptions { config: config + SIGNED, ..super::options("") });
    assert_eq!(weir.wait(std::time::Duration::from_secs(30)).await, Some(64));
    let log = weir.process().log();
    assert!(log.contains("route github: the environment variable GITHUB_SECRET is not set"), "{log}");
}

#[tokio::test]
async fn all_of_githubs_payloads_are_taken_as_github_signs_and_sends_them() {
    let stage = stage("").await;
    let examples = weir_tests::github::examples().unwrap();
    assert!(examples.len() > 300, "{}", examples.len());
    for (number, example) in examples.iter().enumerate() {
        let signature = format!("sha256={}", sign(&GITHUB, &example.payload));
        let delivery = format!("72d3162e-cc78-11e3-81ab-{number:012}");
        // As in GitHub's documentation of webhooks, "Delivery headers".
        let headers = [
            ("accept", "*/*"),
            ("user-agent", "GitHub-Hookshot/044aadd"),
            ("x-github-delivery", delivery.as_str()),
            ("x-github-event", example.event.as_str()),
            ("x-github-hook-id", "292430182"),
            ("x-github-hook-installation-target-id", "79929171"),
            ("x-github-hook-installation-target-type", "repository"),
            ("x-hub-signature-256", signature.as_str()),
        ];
        let taken = send(&stage, "github", &headers, &example.payload).await;
        assert_eq!(
            (taken.status, &taken.json()["offset"]),
            (201, &number.into()),
            "{}: {taken:?}",
            example.event
        );
    }
}
