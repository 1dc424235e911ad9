//! Keys: one answer to every bad one, rotation without a gap, revocation within seconds, nothing in the log.

use std::fs;
use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use weir_tests::world::until;

use super::{Answer, Stage, key, secret};
use crate::grpc::{self, PUBLISH};

const SECONDS: Duration = Duration::from_secs(5);

#[tokio::test]
async fn whatever_is_wrong_with_a_key_the_answer_is_one() {
    let (good, stanza) = key("good", "shop", "roles: [write]");
    let (expired, ended) = key("ended", "shop", "roles: [write], expires: 2026-01-01T00:00:00Z");
    let (unknown, _) = key("unknown", "shop", "roles: [write]");
    let stage = Stage::start(&format!("access:\n  keys:\n  {stanza}  {ended}")).await;
    let wrong = format!("weir_good_{}", secret(&unknown));
    let long = format!("{good}{}", "0".repeat(4000));
    let bad: [(&str, &str); 10] = [
        ("authorization", &format!("Bearer {unknown}")),
        ("authorization", &format!("Bearer {wrong}")),
        ("authorization", &format!("Bearer {expired}")),
        ("authorization", &format!("Bearer {long}")),
        ("authorization", "Bearer weir_good_"),
        ("authorization", "Bearer \u{fc}\u{fd}"),
        ("authorization", &format!("Basic {good}")),
        ("authorization", &good),
        ("x-api-key", &wrong),
        ("x-tenant", "shop"),
    ];
    let url = stage.weir.url("/v1/events/orders");
    let post = || stage.http.post(&url).header("content-type", "application/json").body(r#"{"key":"k"}"#);
    let first = Answer::to(post()).await;
    assert_eq!((first.status, first.code().as_str()), (401, "unauthorized"));
    for (name, value) in bad {
        let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let mut refused = Answer::to(post().header(name, value)).await;
        let mut like = first.headers.clone();
        for headers in [&mut refused.headers, &mut like] {
            headers.remove("date");
        }
        assert_eq!((refused.status, &refused.text, &refused.headers), (401, &first.text, &like), "{name}");
    }
    let http = grpc::by_hand();
    for (name, value) in bad.iter().filter(|(_, value)| value.is_ascii()) {
        let call = grpc::publish(&http, stage.weir.url(PUBLISH), &[(name, value)], "orders").await;
        assert_eq!(call, Some((Code::Unauthenticated, "unauthorized".to_owned())), "{name}, over gRPC");
    }
    assert_eq!(stage.publish(Some(&good)).await, None);
    for (name, value) in [("authorization", format!("bEaReR {good}")), ("x-api-key", good.clone())] {
        let taken = Answer::to(post().header(name, value)).await;
        assert_eq!(taken.status, 201, "{taken:?}");
    }
    stage.never_logged(&[secret(&good), secret(&unknown), secret(&expired)]);
}

#[tokio::test]
async fn a_refused_event_is_not_stored_and_counts_nowhere_but_at_the_gate() {
    let (good, stanza) = key("good", "shop", "roles: [write, read], routes: [orders]");
    let (scraper, scrapes) = key("scraper", "default", "roles: [metrics]");
    let stage = Stage::start(&format!("access:\n  keys:\n  {stanza}  {scrapes}")).await;
    for path in ["/v1/events/orders", "/v1/events/nothing", "/v1/events"] {
        assert_eq!(stage.post(path, None).await.status, 401);
    }
    assert_eq!(stage.post("/v1/events/visits", Some(&good)).await.status, 404);
    let stored = stage.post("/v1/events/orders", Some(&good)).await;
    assert_eq!((stored.status, &stored.json()["offset"]), (201, &0.into()), "{stored:?}");
    let metrics = stage.get(stage.weir.admin_url("/metrics"), Some(&scraper)).await.text;
    for line in [
        "weir_access_refused_total{code=\"unauthorized\"} 3",
        "weir_access_refused_total{code=\"unknown-route\"} 1",
        "weir_events_in_total{route=\"orders\"} 1",
        "weir_access_keys 2",
    ] {
        assert!(metrics.contains(line), "{line} not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_tail_is_only_for_readers_of_its_tenant() {
    let (reader, reads) = key("reader", "shop", "roles: [read]");
    let (stranger, looks) = key("stranger", "other", "roles: [read]");
    let stage = Stage::start(&format!("access:\n  keys:\n  {reads}  {looks}")).await;
    let tail = |key: Option<&str>| {
        let request =
            stage.http.get(stage.weir.url("/v1/events/orders")).header("accept", "text/event-stream");
        key.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth).send()
    };
    assert_eq!(tail(None).await.unwrap().status(), 401);
    assert_eq!(tail(Some(&stranger)).await.unwrap().status(), 404);
    let followed = tail(Some(&reader)).await.unwrap();
    assert_eq!(
        (followed.status().as_u16(), &followed.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
}

#[tokio::test]
async fn keys_overlap_for_rotation_and_a_revoked_one_is_refused_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    let (old, old_stanza) = key("shop-1", "shop", "roles: [write]");
    let (new, new_stanza) = key("shop-2", "shop", "roles: [write]");
    let (admin, operates) = key("ops", "default", "roles: [admin]");
    fs::write(&file, &old_stanza).unwrap();
    let stage =
        Stage::start(&format!("access:\n  keys_file: {}\n  keys:\n  {operates}", file.display())).await;
    let status = async |key: &str| stage.post("/v1/events/orders", Some(key)).await.status;
    assert_eq!((status(&old).await, status(&new).await), (201, 401));

    fs::write(&file, format!("{old_stanza}{new_stanza}")).unwrap();
    until("the new key is known", SECONDS, async || (status(&new).await == 201).then_some(())).await;
    assert_eq!(status(&old).await, 201, "both hold");

    fs::write(&file, format!("{new_stanza}{}", old_stanza.replace('}', ""))).unwrap();
    let failures = async || {
        let metrics = stage.get(stage.weir.admin_url("/metrics"), Some(&admin)).await.text;
        metrics.contains("weir_access_read_failures_total{what=\"keys\"} 0").then_some(())
    };
    until("the broken file is seen", SECONDS, async || failures().await.is_none().then_some(())).await;
    assert_eq!((status(&old).await, status(&new).await), (201, 201), "a broken file changes nothing");
    assert!(stage.weir.process().log().contains("the keys stay as they were"));

    let revoked = Instant::now();
    fs::write(&file, &new_stanza).unwrap();
    until("the old key is refused", SECONDS, async || (status(&old).await == 401).then_some(())).await;
    assert!(revoked.elapsed() < SECONDS);
    assert_eq!(status(&new).await, 201);
    let unknown = stage.post("/v1/events/orders", Some(&super::key("x", "shop", "").0)).await;
    assert_eq!(stage.post("/v1/events/orders", Some(&old)).await.text, unknown.text);

    fs::remove_file(&file).unwrap();
    until("the absent file is seen", SECONDS, async || {
        stage.weir.process().log().contains("No such file").then_some(())
    })
    .await;
    assert_eq!(status(&new).await, 201, "an absent file changes nothing");
    stage.never_logged(&[secret(&old), secret(&new), secret(&admin)]);
}

#[tokio::test]
async fn control_characters_in_a_key_do_not_reach_the_log() {
    let (good, stanza) = key("good", "shop", "roles: [write]");
    let stage = Stage::start(&format!("access:\n  keys:\n  {stanza}")).await;
    let lines = || stage.weir.process().log().lines().count();
    let before = lines();
    for evil in [
        "weir_\u{1b}[31mcanary_x",
        "weir_canary\u{7f}_x",
        "weir_canary\rx",
        "weir_canary\tx",
        "weir_canary\u{85}x",
    ] {
        let mut stream =
            tokio::net::TcpStream::connect(stage.weir.url("").replace("http://", "")).await.unwrap();
        let head = format!(
            "POST /v1/events/orders HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\nauthorization: Bearer \
             {evil}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let status = String::from_utf8_lossy(&answer).chars().skip(9).take(3).collect::<String>();
        assert!(["400", "401"].contains(&status.as_str()), "{evil:?}: {status}");
    }
    let logged = stage.weir.process().log();
    assert!(!logged.contains("canary") && !logged.contains('\u{1b}'), "{logged}");
    assert!(lines() - before <= 5, "{logged}");
    assert!(
        logged
            .lines()
            .all(|line| !line.starts_with('{') || serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
    assert_eq!(stage.post("/v1/events/orders", Some(&good)).await.status, 201);
}

#[tokio::test]
async fn the_admin_listener_asks_all_but_the_probes() {
    let (admin, operates) = key("ops", "default", "roles: [admin]");
    let stage = Stage::start(&format!("access:\n  keys:\n  {operates}")).await;
    for (path, nobody) in [("/livez", 200), ("/readyz", 200), ("/metrics", 401), ("/admin/v1/plugins", 401)] {
        assert_eq!(stage.get(stage.weir.admin_url(path), None).await.status, nobody, "{path}");
        assert_eq!(stage.get(stage.weir.admin_url(path), Some(&admin)).await.status, 200, "{path}");
    }
    let command = |key: Option<&str>| {
        let address = stage.weir.admin_url("").replace("http://", "");
        let mut command = std::process::Command::new(weir_tests::world::inputs::weir());
        command.args(["recent", "--admin", &address, "status"]).env_remove("WEIR_ADMIN_KEY");
        command.envs(key.map(|key| ("WEIR_ADMIN_KEY", key))).output().unwrap()
    };
    let refused = command(None);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unauthorized"));
    let told = command(Some(&admin));
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
}

#[tokio::test]
async fn without_access_nobody_is_asked() {
    let stage = Stage::start("").await;
    assert_eq!(stage.post("/v1/events/orders", Some("weir_any_thing")).await.status, 201);
    assert_eq!(stage.post("/v1/events/visits", None).await.status, 201);
    assert_eq!(stage.get(stage.weir.url("/v1/events/orders?key=k"), None).await.status, 200);
    let listed = stage.ask(Method::GET, stage.weir.admin_url("/admin/v1/plugins"), None, "").await;
    assert_eq!(listed.status, 200);
}
