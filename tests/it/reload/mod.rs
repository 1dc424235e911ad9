//! Another config while the gateway runs: all of it holds from one moment on, or none of it; what was let in before
//! that is answered as it was promised.

mod connections;
mod lookups;
mod refused;
mod rules;
mod tails;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_tests::world::{Answer, Weir, WeirOptions, inputs, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// A config for `weir dev` with these routes, each to its own topic, and this before them.
fn config(before: &str, routes: &[&str]) -> String {
    let route = |name: &&str| format!("  - {{name: {name}, topic: {name}, topic_settings: {SMALL}}}\n");
    format!("{before}routes:\n{}", routes.iter().map(route).collect::<String>())
}

const SMALL: &str = "{partitions: 1, replication_factor: 1, min_insync_replicas: 1}";

async fn start(config: String) -> Weir {
    Weir::start(WeirOptions::dev_with(config)).await
}

async fn post(weir: &Weir, route: &str) -> Answer {
    let request = reqwest::Client::new().post(weir.url(&format!("/v1/events/{route}")));
    Answer::to(request.header("content-type", "application/json").body(r#"{"a":1}"#)).await
}

async fn reload(weir: &Weir) -> Answer {
    Answer::to(reqwest::Client::new().post(weir.admin_url("/admin/v1/reload"))).await
}

/// Writes another config and orders that it be read: the keys that changed. The gateway looks at the file by itself, too: if
/// it did so in between, the order rightly found nothing new, and the log has both, what the look found and the order's nothing.
async fn rewrite(weir: &Weir, config: &str) -> Vec<String> {
    let told = weir.process().log().len();
    weir.write_config(config);
    let done = reload(weir).await;
    assert_eq!(done.status, 200, "{done:?}");
    let changed: Vec<String> = serde_json::from_value(done.json()["changed"].clone()).unwrap();
    let log = weir.process().log();
    let since = log.get(told..).expect("a log only grows");
    let lines = since.lines().filter(|line| line.contains("was read again"));
    let list = |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        serde_json::from_str(line["changed"].as_str().unwrap()).unwrap()
    };
    let read: Vec<Vec<String>> = lines.map(list).collect();
    match &read[..] {
        [look, order] if order.is_empty() && changed.is_empty() => look.clone(),
        _ => {
            assert_eq!(read, [&changed[..]], "{log}");
            changed
        }
    }
}

async fn metric(weir: &Weir, series: &str) -> Option<f64> {
    let text = reqwest::get(weir.admin_url("/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
    line.map(|value| value.parse().unwrap())
}

/// The status of `/readyz`.
async fn ready(weir: &Weir) -> u16 {
    reqwest::get(weir.admin_url("/readyz")).await.unwrap().status().as_u16()
}

const USABLE: &str = "weir_config_last_reload_successful";

#[tokio::test]
async fn an_order_puts_routes_and_limits_in_force_before_it_is_answered() {
    let weir = start(config("", &["orders", "visits"])).await;
    assert_eq!(post(&weir, "parcels").await.code(), "unknown-route");
    let first = post(&weir, "orders").await;
    assert_eq!(first.status, 201, "{first:?}");
    let same = reload(&weir).await;
    assert_eq!((same.status, same.json()), (200, json!({"changed": []})));

    let changed = rewrite(&weir, &config("limits: {nodes_max: 1}\n", &["orders", "parcels"])).await;
    assert_eq!(changed, ["limits", "routes"]);
    assert_eq!(post(&weir, "visits").await.code(), "unknown-route");
    for route in ["orders", "parcels"] {
        assert_eq!(post(&weir, route).await.code(), "too-many-nodes");
    }

    weir.write_config(&config("", &["orders", "parcels"]));
    let admin = weir.admin_url("");
    let ordered = Command::new(inputs::weir()).args(["reload", "--admin", &admin]).output().unwrap();
    let said = String::from_utf8_lossy(&ordered.stdout).into_owned();
    assert_eq!(said, "the config is in force; changed: limits\n", "{ordered:?}");
    for route in ["orders", "parcels"] {
        let stored = post(&weir, route).await;
        assert_eq!(stored.status, 201, "{stored:?}");
        let id = stored.json()["id"].as_str().unwrap().to_owned();
        let position = format!("0:{}", stored.json()["offset"]);
        let found = weir.url(&format!("/v1/events/{route}/{id}?min_position={position}"));
        let found = Answer::to(reqwest::Client::new().get(found)).await;
        assert_eq!(found.status, 200, "{route}: {found:?}");
    }
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let before = Answer::to(reqwest::Client::new().get(weir.url(&format!("/v1/events/orders/{id}")))).await;
    assert_eq!(before.status, 200, "what was looked up before is looked up still: {before:?}");
}

#[tokio::test]
async fn a_signal_and_a_changed_file_do_the_same() {
    let weir = start(config("", &["orders"])).await;
    weir.write_config(&config("", &["orders", "visits"]));
    weir.process().hang_up();
    let stored = async |route: &str| (post(&weir, route).await.status == 201).then_some(());
    until("the signal is heard", PATIENCE, async || stored("visits").await).await;
    weir.write_config(&config("", &["orders", "parcels"]));
    until("the change is seen", PATIENCE, async || stored("parcels").await).await;
    assert_eq!(post(&weir, "visits").await.code(), "unknown-route");
    assert_eq!(metric(&weir, USABLE).await, Some(1.0));
}

/// A request that was let in to a route ends in it, even if the route is gone by then.
#[tokio::test]
async fn a_request_ends_in_the_config_that_it_began_in() {
    let weir = start(config("", &["orders", "visits"])).await;
    let address = weir.url("").strip_prefix("http://").unwrap().to_owned();
    let mut slow = TcpStream::connect(&address).await.unwrap();
    let head = "POST /v1/events/visits HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\n\
                content-length: 7\r\nexpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 25];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n", "it was let in");

    weir.write_config(&config("", &["orders"]));
    assert_eq!(reload(&weir).await.status, 200);
    assert_eq!(post(&weir, "visits").await.code(), "unknown-route");
    slow.write_all(br#"{"a":1}"#).await.unwrap();
    let mut status = [0; 12];
    slow.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 201", "{}", String::from_utf8_lossy(&status));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_a_reload_who_sends_all_the_while() {
    let texts = [config("", &["orders", "visits"]), config("limits: {nodes_max: 9}\n", &["orders"])];
    let weir = start(texts[0].clone()).await;
    let http = reqwest::Client::new();
    let over = Arc::new(AtomicBool::new(false));
    let sending = |worker: u32| {
        let (http, url, over) = (http.clone(), weir.url("/v1/events/orders"), Arc::clone(&over));
        tokio::spawn(async move {
            let mut offsets = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let request = http.post(&url).header("content-type", "application/json");
                let answer = Answer::to(request.body(format!(r#"{{"a":{worker}}}"#))).await;
                assert_eq!(answer.status, 201, "{answer:?}");
                offsets.push(answer.json()["offset"].as_u64().unwrap());
            }
            offsets
        })
    };
    let senders: Vec<_> = (0..4).map(sending).collect();
    for text in [&texts[1], &texts[0], &texts[1], &texts[0]] {
        weir.write_config(text);
        let done = reload(&weir).await;
        assert_eq!(done.status, 200, "{done:?}");
    }
    over.store(true, Ordering::Relaxed);
    let mut offsets = Vec::new();
    for sender in senders {
        let own = sender.await.unwrap();
        assert!(own.is_sorted(), "one client's events in their order: {own:?}");
        offsets.extend(own);
    }
    offsets.sort_unstable();
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "each is in the log once");
}

/// Plugins and schemas come with a route; a plugin that stays as it is keeps its version.
#[tokio::test]
async fn a_route_brings_its_plugins_and_schemas() {
    let plugin = inputs::target().join("wasm32-unknown-unknown/plugin/entity_key.wasm");
    let plugins = format!("plugins: {{entity-key: {{path: \"{}\"}}}}\n", plugin.display());
    let chain = |route: &str| {
        format!(
            "  - name: {route}\n    topic: {route}\n    topic_settings: {SMALL}\n    plugins:\n      - plugin: entity-key\n        \
             config: {{keys: [{{kind: user, pointer: /a}}]}}\n"
        )
    };
    let weir = start(config("", &["orders"])).await;
    let with = |before: &str| format!("{plugins}{}{}", config(before, &["orders"]), chain("visits"));
    assert_eq!(rewrite(&weir, &with("")).await, ["plugins", "routes"]);
    let seen = post(&weir, "visits").await;
    assert!(seen.text.contains(r#""name":"entity-key""#), "{seen:?}");
    let versions = async || {
        let list = reqwest::get(weir.admin_url("/admin/v1/plugins")).await.unwrap();
        list.json::<Value>().await.unwrap()["plugins"]["entity-key"].clone()
    };
    let before = versions().await;
    assert_eq!(rewrite(&weir, &with("limits: {nodes_max: 9}\n")).await, ["limits"]);
    assert_eq!(versions().await, before);
    assert_eq!(post(&weir, "visits").await.status, 201);
}
