//! Starting, running and stopping: nothing acked is lost, nothing on the way in waits for Valkey, and a gateway
//! without Kafka says so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_tests::world::{Weir, WeirOptions, free_port, shared_kafka, until};

use crate::spine::{Client, orders};

fn order(number: usize) -> String {
    json!({
        "order_id": format!("o-{number}"), "customer": {"user_id": format!("u-{}", number % 50)},
        "items": [{"sku": "BK-30411", "quantity": 1, "price": 12.5}],
        "total": 12.5, "currency": "EUR", "placed_at": "2026-11-23T09:26:53Z",
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_that_was_acked() {
    let route = orders().await;
    let client = Arc::new(route.start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..32_usize)
        .map(|sender| {
            let (client, stop) = (Arc::clone(&client), Arc::clone(&stop));
            tokio::spawn(async move { send_until(&client, &stop, sender).await })
        })
        .collect();
    until("the load runs", Duration::from_secs(20), async || {
        (client.metric("weir_events_out_total", "stored").await > 500.0).then_some(())
    })
    .await;
    let signalled = Instant::now();
    client.weir.sigterm();
    assert_eq!(client.weir.wait(Duration::from_secs(25)).await, Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(25));
    stop.store(true, Ordering::Relaxed);
    let mut acked = BTreeSet::new();
    for sender in senders {
        acked.extend(sender.await.unwrap());
    }
    let records = shared_kafka().await.records(&client.route).await;
    let stored: BTreeSet<String> = records
        .iter()
        .map(|record| record.headers().unwrap().iter().find(|header| header.key == "ce_id").unwrap())
        .map(|header| String::from_utf8(header.value.unwrap().to_vec()).unwrap())
        .collect();
    assert_eq!(stored.len(), records.len(), "nothing twice");
    let lost: Vec<_> = acked.difference(&stored).collect();
    assert!(lost.is_empty(), "{} of {} acked events are not in Kafka", lost.len(), acked.len());
    assert!(acked.len() >= 500);
}

/// Posts one order after the other; gives the ids of those that were acked.
async fn send_until(client: &Client, stop: &AtomicBool, sender: usize) -> Vec<String> {
    let mut acked = Vec::new();
    let url = client.weir.url(&format!("/v1/events/{}", client.route));
    for number in (sender..).step_by(32) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let request = client.http.post(&url).header("content-type", "application/json").body(order(number));
        // Once the listener is closed there is nothing more to be acked.
        let Ok(response) = request.send().await else { break };
        if response.status() == 201 {
            let receipt: serde_json::Value = response.json().await.unwrap();
            acked.push(receipt["id"].as_str().unwrap().to_owned());
        }
    }
    acked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_take_its_event_along() {
    let mut route = orders().await;
    // Long enough to be gone by then.
    let unhurried = "kafka:\n  properties: {linger.ms: 3000}\n";
    route.config = route.config.replace("kafka:\n", unhurried);
    let client = route.start().await;
    let mut stream =
        tokio::net::TcpStream::connect(client.weir.url("").replace("http://", "")).await.unwrap();
    let (path, body) = (format!("/v1/events/{}", client.route), order(1));
    let head = format!("POST {path} HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let counted = async |name: &str| client.metric(name, &client.route).await;
    until("the event is in", Duration::from_secs(10), async || {
        (counted("weir_events_in_total").await > 0.0).then_some(())
    })
    .await;
    assert_eq!(counted("weir_events_out_total").await, 0.0, "it is still on its way");
    drop(stream);
    until("it has an ending", Duration::from_secs(10), async || {
        (counted("weir_events_out_total").await > 0.0).then_some(())
    })
    .await;
    assert_eq!(client.metric("weir_events_out_total", r#"outcome="stored""#).await, 1.0);
    assert_eq!(shared_kafka().await.records(&client.route).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_it_starts_is_not_ready_and_stores_nothing() {
    let route = orders().await;
    let nowhere = format!("\"127.0.0.1:{}\"", free_port());
    let (before, after) = route.config.split_once("brokers: [").unwrap();
    let (_, after) = after.split_once(']').unwrap();
    let config = format!("{before}brokers: [{nowhere}]{after}");
    let weir = Weir::launch(WeirOptions::serve(config));
    let client = Client { weir, route: route.name.clone(), http: reqwest::Client::new() };
    let answer = until("it listens", Duration::from_secs(20), async || {
        let url = client.weir.url(&format!("/v1/events/{}", client.route));
        let request = client.http.post(url).header("content-type", "application/json").body(order(1));
        request.send().await.ok()
    })
    .await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!((&body["code"], &body["outcome"]), (&json!("kafka-unavailable"), &json!("not-stored")));
    let ready = client.http.get(client.weir.admin_url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let live = client.http.get(client.weir.admin_url("/livez")).send().await.unwrap();
    assert_eq!(live.status(), 200);
    client.weir.sigterm();
    assert_eq!(client.weir.wait(Duration::from_secs(25)).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_valkey_events_go_in_and_lookups_say_that_they_are_off() {
    let route = orders().await;
    let (before, after) = route.config.split_once("valkey:").unwrap();
    let (_, after) = after.split_once("routes:").unwrap();
    let weir = Weir::start(WeirOptions::serve(format!("{before}routes:{after}"))).await;
    let client = Client { weir, route: route.name.clone(), http: reqwest::Client::new() };
    assert_eq!(client.event(order(1)).await.status, 201);
    let answer = client.look("?key=u-1").await;
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("recent-disabled")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_topic_ends_serve_with_64() {
    let route = orders().await;
    let weir = Weir::launch(WeirOptions::serve(
        route.config.replace("allow_weak_topics: true", "allow_weak_topics: false").replace(
            "replication_factor: 1, min_insync_replicas: 1",
            "replication_factor: 3, min_insync_replicas: 2",
        ),
    ));
    assert_eq!(weir.wait(Duration::from_secs(30)).await, Some(64));
    assert!(weir.process().log().contains(&route.name), "the log names the topic");
}

#[tokio::test(flavor = "multi_thread")]
async fn weir_dev_answers_what_it_prints() {
    let weir = Weir::start(WeirOptions::dev()).await;
    let client = Client { weir, route: "orders".to_owned(), http: reqwest::Client::new() };
    let receipt = client.event(order(7)).await;
    assert_eq!(receipt.status, 201, "{}", receipt.body);
    let found = until("the event is visible", Duration::from_secs(5), async || {
        let page = client.look("?key=u-7").await;
        (page.body["events"][0]["id"] == receipt.body["id"]).then_some(page)
    })
    .await;
    assert_eq!(found.body["events"][0]["data"]["order_id"], "o-7");
    let at = format!("/at/{}/{}", receipt.body["partition"], receipt.body["offset"]);
    assert_eq!(client.look(&at).await.body["id"], receipt.body["id"]);
    let refused = client
        .event(
            order(7)
                .replace("12.5,\"currency", "\"much\",\"currency")
                .replace("\"total\":12.5", "\"total\":\"much\""),
        )
        .await;
    assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (422, &json!("/total")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runbook_names_every_metric() {
    let mut route = orders().await;
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t.json");
    std::fs::write(&table, "{}").unwrap();
    route.config.insert_str(0, "limits: {other_tenants: {events_per_s: 1000}}\n");
    route.config.insert_str(0, "traces: {otlp_endpoint: \"http://127.0.0.1:1\"}\n");
    route.config.insert_str(0, &format!("tables: {{t: {{path: \"{}\"}}}}\n", table.display()));
    let client = route.start().await;
    assert_eq!(client.event(order(1)).await.status, 201);
    let text = client.http.get(client.weir.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let told: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let runbook = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/README.md");
    let runbook = std::fs::read_to_string(runbook).unwrap();
    let table: BTreeSet<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("| `weir_")?.split(['`', '{']).next()).collect();
    let table: BTreeSet<String> = table.iter().map(|name| format!("weir_{name}")).collect();
    assert_eq!(told.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), table);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_full_of_idle_connections_stops_in_time() {
    let route = orders().await;
    let full = format!("limits: {{connections_max: 2}}\n{}", route.config);
    let client = Client {
        weir: Weir::start(WeirOptions::serve(full)).await,
        route: route.name.clone(),
        http: reqwest::Client::new(),
    };
    let address = client.weir.url("").replace("http://", "");
    let mut idle = Vec::new();
    for _ in 0..2 {
        // A connection that has been answered once may be quiet for longer than a shutdown may take.
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: weir\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        idle.push(stream);
    }
    until("both connections are taken", Duration::from_secs(10), async || {
        let text = client.http.get(client.weir.admin_url("/metrics")).send().await.ok()?.text().await.ok()?;
        text.contains("weir_connections 2").then_some(())
    })
    .await;
    client.weir.sigterm();
    assert_eq!(client.weir.wait(Duration::from_secs(25)).await, Some(0));
    drop(idle);
}
