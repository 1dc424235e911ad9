//! What an answer means, at the edge: receipts, batches, refusals, and what of it is in Kafka afterwards.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde_json::{Value, json};
use weir_tests::world::{shared_kafka, until};

use crate::spine::{Answer, Client, java_partition, orders, route};

fn order(number: usize) -> Value {
    json!({
        "order_id": format!("o-{number}"),
        "customer": {"user_id": format!("u-{}", number % 7), "device_fingerprint": "9f86d081884c7d65"},
        "items": [{"sku": "BK-30411", "quantity": 1, "price": 12.5}],
        "total": 12.5, "currency": "EUR", "placed_at": "2026-11-23T09:26:53Z",
    })
}

fn bad_order() -> Value {
    let mut bad = order(1);
    bad["total"] = "secret-value".into();
    bad
}

fn code(answer: &Answer) -> &str {
    answer.body["code"].as_str().unwrap_or("(no code)")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_where_the_event_is_and_the_record_says_what_it_was() {
    let route = orders().await;
    let client = route.start().await;
    let sent = order(3).to_string();
    let answer = client.event(sent.clone()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let receipt = &answer.body;
    for (name, expected) in [
        ("source", format!("/v1/events/{}", client.route).into()),
        ("type", "orders.created".into()),
        ("route", client.route.as_str().into()),
        ("topic", client.route.as_str().into()),
        ("partition", java_partition(b"u-3", 3).into()),
        ("offset", 0.into()),
        ("key", "u-3".into()),
        ("schema", json!({"subject": "orders.created", "version": 1})),
        ("outcome", "stored".into()),
        ("duplicate", false.into()),
    ] {
        assert_eq!(receipt[name], expected, "{name}");
    }
    assert_eq!(receipt["plugins"][0]["name"], "entity-key");

    let records = shared_kafka().await.records(&client.route).await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record.payload().unwrap(), sent.as_bytes());
    assert_eq!(record.key().unwrap(), b"u-3");
    let headers: Vec<(String, String)> = record
        .headers()
        .unwrap()
        .iter()
        .map(|header| (header.key.to_owned(), String::from_utf8(header.value.unwrap().to_vec()).unwrap()))
        .collect();
    let plugin = &receipt["plugins"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let expected = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", text(&receipt["id"])),
        ("ce_source", text(&receipt["source"])),
        ("ce_type", "orders.created".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("weir-route", client.route.clone()),
        ("weir-schema", "orders.created/1".to_owned()),
        ("weir-plugins", format!("entity-key@{}+{}", text(&plugin["version"]), text(&plugin["digest"]))),
        ("weir-lookup-keys", r#"[["user","u-3"],["order","o-3"]]"#.to_owned()),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value)));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_answer_each_event_in_order() {
    let route = orders().await;
    let client = route.start().await;
    let all_well: Vec<_> = (0..150).map(order).collect();
    let answer = client.event(json!(all_well).to_string()).await;
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!((answer.status, results.len()), (200, 150));
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result["key"], format!("u-{}", number % 7));
    }
    let mixed = client.event(json!([order(1), bad_order(), order(2)]).to_string()).await;
    assert_eq!(mixed.status, 207);
    let problem = &mixed.body["results"][1]["problem"];
    assert_eq!(
        problem["errors"],
        json!([{"pointer": "/total", "keyword": "type", "detail": problem["errors"][0]["detail"]}])
    );
    assert_eq!(client.event("[]").await.status, 200);
    assert_eq!(client.event(json!([bad_order(), 7]).to_string()).await.status, 422);

    let path = format!("/v1/events/{}", client.route);
    let lines = format!("{}\n\n{}\r\n{{\n", order(4), order(5));
    let ndjson = client.post(&path, "application/x-ndjson", lines).await;
    let codes: Vec<_> =
        ndjson.body["results"].as_array().unwrap().iter().map(|it| &it["problem"]["code"]).collect();
    assert_eq!((ndjson.status, codes), (207, vec![&Value::Null, &Value::Null, &json!("invalid-json")]));
    let stored = shared_kafka().await.records(&client.route).await.len();
    assert_eq!(stored, 150 + 2 + 2);
}

/// The values of large requests are not copied: Kafka's client reads them out of the bodies, to the last ack.
#[tokio::test(flavor = "multi_thread")]
async fn large_requests_at_once_reach_kafka_byte_for_byte() {
    let route = orders().await;
    let client = route.start().await;
    let sent: Vec<String> = (0..3_200).map(|number| order(number).to_string()).collect();
    let bodies = sent.chunks(400).map(|orders| format!("[{}]", orders.join(" ,\n")));
    let bodies: Vec<_> = bodies.inspect(|body| assert!(body.len() > 64 << 10)).collect();
    let answers = join_all(bodies.into_iter().map(|body| client.event(body))).await;
    let receipts = answers.iter().flat_map(|answer| answer.body["results"].as_array().unwrap());
    let records = shared_kafka().await.records(&client.route).await;
    let log: HashMap<_, _> = records
        .iter()
        .map(|record| ((record.partition().into(), record.offset()), record.payload().unwrap()))
        .collect();
    let stored = receipts.map(|receipt| {
        let position: (i64, _) =
            (receipt["partition"].as_i64().unwrap(), receipt["offset"].as_i64().unwrap());
        log[&position]
    });
    assert!(stored.eq(sent.iter().map(String::as_bytes)));
    assert_eq!(records.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloudevent_finds_its_route_by_its_type() {
    let route = orders().await;
    let client = route.start().await;
    let mut event = json!({
        "specversion": "1.0", "id": "e-1", "source": "/shop", "type": "orders.placed", "subject": "cart",
        "time": "2026-11-23T09:26:53.5Z", "tenant": "t-1", "data": order(8),
    });
    let structured = "application/cloudevents+json; charset=utf-8";
    let answer = client.post("/v1/events", structured, event.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(
        (&answer.body["id"], &answer.body["source"], &answer.body["type"]),
        (&json!("e-1"), &json!("/shop"), &json!("orders.placed"))
    );
    let records = shared_kafka().await.records(&client.route).await;
    let header = |name: &str| {
        let found = records[0].headers().unwrap().iter().find(|header| header.key == name)?;
        Some(String::from_utf8(found.value?.to_vec()).unwrap())
    };
    assert_eq!(serde_json::from_slice::<Value>(records[0].payload().unwrap()).unwrap(), order(8));
    assert_eq!(header("ce_subject").as_deref(), Some("cart"));
    assert_eq!(header("ce_time").as_deref(), Some("2026-11-23T09:26:53.5Z"));
    assert_eq!(header("ce_tenant").as_deref(), Some("t-1"));

    event["type"] = "nobody.takes.this".into();
    assert_eq!(code(&client.post("/v1/events", structured, event.to_string()).await), "unknown-route");
    event["specversion"] = "0.3".into();
    assert_eq!(code(&client.post("/v1/events", structured, event.to_string()).await), "cloudevents-invalid");
    assert_eq!(client.post("/v1/events", "application/json", order(1).to_string()).await.status, 415);
}

/// Each gets its own problem, is not stored, and leaves the gateway as it was.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_by_name_and_leaves_the_process_up() {
    let route = orders().await;
    let client = route.start().await;
    let path = format!("/v1/events/{}", client.route);
    let padded = |bytes: usize| format!("{{\"order_id\":\"{}\"}}", "x".repeat(bytes));
    let twice = order(1).to_string().replacen('{', r#"{"order_id":"o-2","#, 1);
    let json = "application/json";
    let cases: Vec<(&str, &str, String, u16, &str)> = vec![
        (&path, json, String::new(), 400, "invalid-json"),
        (&path, json, "{\"order_id\":".into(), 400, "invalid-json"),
        (&path, json, "{} {}".into(), 400, "invalid-json"),
        (&path, json, "[".repeat(100_000), 400, "too-deep"),
        (&path, json, format!("{{\"a\":{}", "[".repeat(100_000)), 400, "too-deep"),
        (&path, json, twice, 400, "duplicate-key"),
        (&path, json, "{\"a\":123456789012345678901234567890}".into(), 400, "number-out-of-range"),
        (&path, json, padded(2 << 20), 413, "event-too-large"),
        (&path, json, padded(10 << 20), 413, "body-too-large"),
        (&path, json, format!("[{}1]", "1,".repeat(20_000)), 413, "batch-too-large"),
        (&path, json, format!("{{\"a\":[{}1]}}", "1,".repeat(60_000)), 413, "too-many-nodes"),
        (&path, "application/x-www-form-urlencoded", order(1).to_string(), 415, "unsupported-media-type"),
        ("/v1/events/nobody", json, order(1).to_string(), 404, "unknown-route"),
        (&path, json, bad_order().to_string(), 422, "schema-violation"),
    ];
    for (path, content_type, body, status, expected) in cases {
        let answer = client.post(path, content_type, body).await;
        assert_eq!((answer.status, code(&answer)), (status, expected), "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["outcome"], "refused");
        assert!(!answer.body.to_string().contains("secret-value"), "values are not echoed: {}", answer.body);
    }
    assert_eq!(client.event(order(1).to_string()).await.status, 201);
    assert_eq!(shared_kafka().await.records(&client.route).await.len(), 1, "nothing else was stored");
    let (events_in, out) =
        (client.metric("weir_events_in_total", "").await, client.metric("weir_events_out_total", "").await);
    assert_eq!(events_in, out, "events in = sum of outcomes");
    assert!(events_in > 9.0);
    assert_eq!(client.metric("weir_events_out_total", "outcome=\"lost\"").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acked_event_is_visible_at_once_with_min_position_and_soon_without() {
    let route = orders().await;
    let client = route.start().await;
    for number in 0..20 {
        let receipt = client.event(order(number).to_string()).await.body;
        let (key, id) = (receipt["key"].as_str().unwrap(), &receipt["id"]);
        let acked = Instant::now();
        let position = format!("{}:{}", receipt["partition"], receipt["offset"]);
        let page = client.look(&format!("?key={key}&min_position={position}")).await;
        assert_eq!(page.status, 200, "{}", page.body);
        assert_eq!(&page.body["events"][0]["id"], id, "the newest of its key, at once");
        assert!(page.body["as_of"]["offset"].as_i64() >= receipt["offset"].as_i64());
        until("the event is visible by key", Duration::from_secs(1), async || {
            let page = client.look(&format!("?key={key}")).await;
            (page.status == 200 && &page.body["events"][0]["id"] == id).then_some(())
        })
        .await;
        assert!(acked.elapsed() < Duration::from_secs(1));
    }
    check_positions(&client).await;
}

async fn check_positions(client: &Client) {
    let partition = java_partition(b"u-1", 3);
    let elsewhere = client.look(&format!("?key=u-1&min_position={}:0", (partition + 1) % 3)).await;
    assert_eq!((elsewhere.status, code(&elsewhere)), (400, "position-elsewhere"));
    let ahead = client.look(&format!("?key=u-1&min_position={partition}:1000000")).await;
    assert_eq!((ahead.status, code(&ahead)), (410, "position-unknown"));
    let by_order = client.look("?kind=order&key=o-13").await;
    assert_eq!(by_order.body["events"].as_array().unwrap().len(), 1, "{}", by_order.body);
    let nobody = client.look("?key=nobody").await;
    assert_eq!((nobody.status, &nobody.body["events"]), (200, &json!([])));
    assert_eq!(client.look("/no-such-id").await.status, 404);
    assert_eq!(client.look("?key=u-1&limit=none").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_subject_nobody_registered_is_refused() {
    let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let route = route(1, &schemas, "    type: data:/kind\n    subject: orders.{type}").await;
    let client = route.start().await;
    let answer = client.event(r#"{"kind":"unheard-of"}"#).await;
    assert_eq!((answer.status, code(&answer)), (422, "unknown-schema"), "{}", answer.body);
    let untyped = client.event("{}").await;
    assert_eq!((untyped.status, code(&untyped)), (400, "invalid-attribute"), "{}", untyped.body);
    let known = client.event(r#"{"kind":"created"}"#).await;
    assert_eq!((known.status, code(&known)), (422, "schema-violation"), "it is the subject that counts");
    assert!(shared_kafka().await.records(&client.route).await.is_empty());
}
