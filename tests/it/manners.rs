//! How a client would like to be answered: briefly, whole or not at all, without anything being stored, line by line.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use rdkafka::Message as _;
use rdkafka::message::Headers as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use weir_tests::world::{fresh_name, shared_kafka, until};

use crate::spine::{Answer, Client, Route, orders, read_answer, route};

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
const PATIENCE: Duration = Duration::from_secs(30);
const BATCH: &str = "application/cloudevents-batch+json";

fn order(number: usize) -> Value {
    json!({
        "order_id": format!("o-{number}"), "customer": {"user_id": "u-1"},
        "items": [{"sku": "BK-30411", "quantity": 1, "price": 12.5}],
        "total": 12.5, "currency": "EUR", "placed_at": "2026-11-23T09:26:53Z",
    })
}

fn bad_order() -> Value {
    let mut bad = order(9);
    bad["total"] = "none".into();
    bad
}

async fn post(client: &Client, query: &str, prefer: &str, body: &Value) -> Answer {
    let url = client.weir.url(&format!("/v1/events/{}{query}", client.route));
    let request = client.http.post(url).header("content-type", "application/json").header("prefer", prefer);
    read_answer(request.body(body.to_string()).send().await.unwrap()).await
}

async fn stored(client: &Client) -> usize {
    shared_kafka().await.records(&client.route).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_left_out_for_those_who_do_not_want_them_unless_something_is_wrong() {
    let client = orders().await.start().await;
    for body in [order(1), json!([order(2), order(3)])] {
        let answer = post(&client, "", "return=minimal", &body).await;
        assert_eq!((answer.status, &answer.body), (204, &Value::Null));
        assert_eq!(answer.headers["preference-applied"], "return=minimal");
    }
    let mixed = post(&client, "", "return=minimal", &json!([order(4), bad_order()])).await;
    assert_eq!((mixed.status, mixed.body["results"].as_array().map(Vec::len)), (207, Some(2)));
    assert_eq!(stored(&client).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_batch_is_taken_whole_or_not_at_all() {
    let client = orders().await.start().await;
    let body = json!([order(1), bad_order(), order(2)]);
    let answer = post(&client, "", "handling=strict", &body).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    let codes: Vec<_> =
        answer.body["results"].as_array().unwrap().iter().map(|one| one["problem"]["code"].clone()).collect();
    assert_eq!(codes, ["batch-refused", "schema-violation", "batch-refused"]);
    assert_eq!(answer.body["results"][1]["problem"]["errors"][0]["pointer"], "/total");
    assert_eq!(stored(&client).await, 0);
    let many: Vec<_> = (0..200).map(order).collect();
    let answer = post(&client, "", "handling=strict", &json!(many)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let large = format!("[{}]", vec![order(1).to_string(); 8_000].join(","));
    let url = client.weir.url(&format!("/v1/events/{}", client.route));
    let request =
        client.http.post(url).header("content-type", "application/json").header("prefer", "handling=strict");
    let answer = read_answer(request.body(large).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (413, Some("body-too-large")));
    assert_eq!(stored(&client).await, 200);
    let (label, n) = (format!("route=\"{}\"", client.route), 3.0 + 200.0 + 8_000.0);
    assert_eq!(client.metric("weir_events_in_total", &label).await, n);
    assert_eq!(client.metric("weir_events_out_total", &label).await, n);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_record_and_stores_nothing() {
    let client = orders().await.start().await;
    let answer = post(&client, "?dry_run=true", "", &order(1)).await;
    assert_eq!((answer.status, &answer.body["outcome"]), (200, &json!("stored")), "{}", answer.body);
    let record = &answer.body["record"];
    assert_eq!((&record["topic"], &record["key"]), (&json!(client.route), &json!("u-1")));
    assert_eq!(
        (&record["headers"]["weir-schema"], &record["value"]),
        (&json!("orders.created/1"), &order(1))
    );
    let bad = post(&client, "?dry_run=true", "", &bad_order()).await;
    assert_eq!((bad.status, bad.body["code"].as_str()), (422, Some("schema-violation")));
    let both = post(&client, "?dry_run=true", "", &json!([order(1), bad_order()])).await;
    assert_eq!((both.status, &both.body["results"][1]["problem"]["code"]), (207, &json!("schema-violation")));
    let typo = post(&client, "?dryrun=true", "", &order(1)).await;
    assert_eq!((typo.status, typo.body["code"].as_str()), (400, Some("bad-query")));
    assert_eq!(stored(&client).await, 0);
    assert_eq!(client.metric("weir_events_in_total", &format!("route=\"{}\"", client.route)).await, 0.0);
}

/// What a plugin decides in a strict batch: what it drops is taken, what it fails on is not.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_strict_batch_a_dropped_event_is_well_and_a_dead_letter_is_not() {
    let cases = [
        ("long-reason", 200, ["stored", "dropped", "stored"], 2),
        ("panic", 422, ["batch-refused", "plugin-failed", "batch-refused"], 0),
    ];
    let case = async |(sin, status, expected, kept): (&str, u16, [&str; 3], usize)| {
        let lines = format!("    plugins: [{{plugin: rogue, config: {{sin: {sin}}}}}]");
        let client = route(1, SCHEMAS.as_ref(), &lines).await.start().await;
        let body = json!([{"n": 1}, {"sin": true}, {"n": 2}]);
        // A machine that is busy enough makes plugins slow: then the gateway asks to send it again.
        let answer = until("the route has time for it", PATIENCE, async || {
            let answer = post(&client, "", "handling=strict", &body).await;
            (answer.status != 503).then_some(answer)
        })
        .await;
        assert_eq!(answer.status, status, "{sin}: {}", answer.body);
        let told = |one: &Value| {
            let code = one["problem"]["code"].as_str().or(one["outcome"].as_str());
            code.unwrap_or_default().to_owned()
        };
        let told: Vec<_> = answer.body["results"].as_array().unwrap().iter().map(told).collect();
        assert_eq!((told, stored(&client).await), (expected.map(str::to_owned).to_vec(), kept));
        let dead_letters = shared_kafka().await.records(&format!("{}.dead-letter", client.route)).await;
        assert_eq!(dead_letters.len(), 0, "{sin}");
    };
    join_all(cases.map(case)).await;
}

/// A route for `a.*`, and one more for `b.*`.
async fn two_routes() -> (Client, String) {
    let other = fresh_name("other");
    shared_kafka().await.create_topic(&other, 1, &[]).await;
    let lines = format!(
        "    match: {{type: 'a.*'}}
  - {{name: {other}, topic: {other}, match: {{type: 'b.*'}}, recent: false, topic_settings: {{partitions: 1}}}}"
    );
    (route(1, SCHEMAS.as_ref(), &lines).await.start().await, other)
}

fn event(id: &str, of_type: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": of_type, "data": {"n": 1}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_several_routes_is_rehearsed_on_each_and_never_taken_whole() {
    let (client, other) = two_routes().await;
    let batch = json!([event("1", "a.x"), event("2", "b.x"), event("3", "c.x"), event("4", "a.y")]);
    let dry = client.post("/v1/events?dry_run=true", BATCH, batch.to_string()).await;
    let told = |one: &Value| match &one["problem"] {
        Value::Null => format!("{} {}", one["record"]["headers"]["ce_id"], one["record"]["topic"]),
        problem => problem["code"].to_string(),
    };
    let told: Vec<_> =
        dry.body["results"].as_array().unwrap_or_else(|| panic!("{}", dry.body)).iter().map(told).collect();
    let (own, others) = (json!(client.route), json!(other));
    let expected = [
        format!("\"1\" {own}"),
        format!("\"2\" {others}"),
        "\"unknown-route\"".to_owned(),
        format!("\"4\" {own}"),
    ];
    assert_eq!((dry.status, told), (207, expected.to_vec()));
    let empty = client.post("/v1/events?dry_run=true", BATCH, "[]").await;
    assert_eq!((empty.status, &empty.body["results"]), (200, &json!([])), "{}", empty.body);

    let two = json!([event("1", "a.x"), event("2", "b.x")]).to_string();
    let request = client.http.post(client.weir.url("/v1/events")).header("content-type", BATCH);
    let strict =
        read_answer(request.header("prefer", "handling=strict").body(two).send().await.unwrap()).await;
    assert_eq!((strict.status, &strict.body["code"]), (422, &json!("batch-refused")), "{}", strict.body);
    assert_eq!((stored(&client).await, shared_kafka().await.records(&other).await.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_state_goes_on_unless_it_is_longer_than_others_must_carry() {
    let client = route(1, SCHEMAS.as_ref(), "").await.start().await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for length in [512, 513] {
        let request = client.http.post(client.weir.url(&format!("/v1/events/{}", client.route)));
        let request = request.header("content-type", "application/json").header("traceparent", parent);
        let state = format!("a={}", "x".repeat(length - 2));
        let answer = read_answer(request.header("tracestate", state).body("{}").send().await.unwrap()).await;
        assert_eq!(answer.status, 201, "no error, whatever it is: {}", answer.body);
    }
    let records = shared_kafka().await.records(&client.route).await;
    let traced = |record: &rdkafka::message::OwnedMessage| {
        let has = |name| record.headers().unwrap().iter().any(|header| header.key == name);
        (has("traceparent"), has("tracestate"))
    };
    assert_eq!(records.iter().map(traced).collect::<Vec<_>>(), [(true, true), (true, false)]);
}

/// Where lines go in, and where their answers come out.
type Conversation = (tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>, Answers);

/// Sends a first line and waits for the head of the answer.
async fn converse(client: &Client, first: &Value) -> Conversation {
    let (lines, body) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let body = stream::unfold(body, |mut body| async move { body.recv().await.map(|piece| (piece, body)) });
    let url = client.weir.url(&format!("/v1/events/{}", client.route));
    let request = client
        .http
        .post(url)
        .header("content-type", "application/x-ndjson")
        .header("accept", "application/x-ndjson");
    let sending = request.body(reqwest::Body::wrap_stream(body)).send();
    lines.send(Ok(Bytes::from(format!("{first}\n")))).await.unwrap();
    let response = sending.await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/x-ndjson".parse().unwrap())
    );
    (lines, Answers { stream: response.bytes_stream().boxed(), held: Vec::new() })
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_answered_while_more_are_still_to_come() {
    let client = orders().await.start().await;
    let (lines, mut answers) = converse(&client, &order(0)).await;
    assert_eq!(answers.next().await.unwrap()["offset"], 0);
    // An event may come in pieces, and several at once.
    let text = order(1).to_string();
    let (head, tail) = text.split_at(20);
    lines.send(Ok(Bytes::copy_from_slice(head.as_bytes()))).await.unwrap();
    lines.send(Ok(Bytes::from(format!("{tail}\n\n{}\n{}", bad_order(), order(2))))).await.unwrap();
    assert_eq!(answers.next().await.unwrap()["id"].as_str().map(str::len), Some(36));
    assert_eq!(answers.next().await.unwrap()["problem"]["code"], "schema-violation");
    drop(lines);
    assert_eq!(answers.next().await.unwrap()["outcome"], "stored", "the last line needs no end");
    assert_eq!(answers.next().await, None);
    assert_eq!(stored(&client).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_gateway_stops_what_came_is_answered_and_the_answer_ends() {
    let client = orders().await.start().await;
    let (lines, mut answers) = converse(&client, &order(0)).await;
    assert_eq!(answers.next().await.unwrap()["outcome"], "stored");
    client.weir.sigterm();
    assert_eq!(tokio::time::timeout(PATIENCE, answers.next()).await.unwrap(), None, "it is whole");
    assert_eq!(client.weir.wait(PATIENCE).await, Some(0), "a client that says no more does not hold it up");
    drop(lines);
    assert_eq!(stored(&client).await, 1);
}

/// A route of orders on a gateway that is quick to lose its patience.
async fn impatient() -> Client {
    let Route { name, config } = orders().await;
    Route { name, config: format!("limits: {{idle_timeout_ms: 500}}\n{config}") }.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_silent_is_told_so_and_its_answer_ends() {
    let client = impatient().await;
    let (lines, mut answers) = converse(&client, &order(0)).await;
    assert_eq!(answers.next().await.unwrap()["outcome"], "stored");
    // The last one has no end, so it is none.
    lines.send(Ok(Bytes::from(format!("\n{}\n{}", order(1), order(2))))).await.unwrap();
    assert_eq!(answers.next().await.unwrap()["outcome"], "stored");
    let last = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap();
    assert_eq!(last["problem"]["code"], "body-timeout", "{last}");
    assert!(last["problem"]["detail"].as_str().unwrap().contains("every 500 ms"), "{last}");
    assert_eq!(tokio::time::timeout(PATIENCE, answers.next()).await.unwrap(), None);
    assert_eq!(stored(&client).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answers_is_cut_and_nothing_is_lost_count_of() {
    let client = impatient().await;
    let mut stream = TcpStream::connect(client.weir.url("").replace("http://", "")).await.unwrap();
    let head = format!(
        "POST /v1/events/{} HTTP/1.1\r\nhost: weir\r\ncontent-type: application/x-ndjson\r\naccept: \
         application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
        client.route
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let lines = format!("{}\n", order(0)).repeat(100);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    let cut = async { while stream.write_all(chunk.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, cut).await.expect("its connection ends");
    let label = format!("route=\"{}\"", client.route);
    until("all that came in has ended", PATIENCE, async || {
        let came = client.metric("weir_events_in_total", &label).await;
        (came > 0.0 && came == client.metric("weir_events_out_total", &label).await).then_some(())
    })
    .await;
    assert_eq!(client.metric("weir_events_out_total", "outcome=\"lost\"").await, 0.0);
    assert_eq!(client.event(order(1).to_string()).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lines_are_answered_in_order_and_a_line_without_end_ends_the_answer() {
    let client = orders().await.start().await;
    let id = fresh_name("id");
    let many: String = (0..20_000).map(|number| format!("{}\n", order(number))).collect();
    let ask = async |body: String| {
        let url = client.weir.url(&format!("/v1/events/{}", client.route));
        let request = client.http.post(url).header("content-type", "application/x-ndjson");
        request
            .header("accept", "application/x-ndjson")
            .header("x-request-id", &id)
            .body(body)
            .send()
            .await
            .unwrap()
    };
    let text = ask(many).await.text().await.unwrap();
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 20_000);
    // One key, and so one partition: its offsets are the order.
    assert!(answers.iter().enumerate().all(|(index, answer)| answer["offset"] == json!(index)));
    let endless = ask("x".repeat(2 << 20)).await.text().await.unwrap();
    let last: Value = serde_json::from_str(endless.lines().last().unwrap()).unwrap();
    assert_eq!(last["problem"]["code"], "event-too-large");
}

/// The lines of an answer, one by one.
struct Answers {
    stream: stream::BoxStream<'static, reqwest::Result<Bytes>>,
    held: Vec<u8>,
}

impl Answers {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let piece = self.stream.next().await?;
            self.held.extend_from_slice(&piece.unwrap());
        }
    }
}
