//! How a client would like to be answered: briefly, whole or not at all, without anything being stored, line by line.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use weir_tests::world::{fresh_name, shared_kafka};

use crate::spine::{Answer, Client, orders, read_answer};

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

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_answered_while_more_are_still_to_come() {
    let client = orders().await.start().await;
    let (lines, body) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let body = stream::unfold(body, |mut body| async move { body.recv().await.map(|piece| (piece, body)) });
    let url = client.weir.url(&format!("/v1/events/{}", client.route));
    let request = client
        .http
        .post(url)
        .header("content-type", "application/x-ndjson")
        .header("accept", "application/x-ndjson");
    let sending = request.body(reqwest::Body::wrap_stream(body)).send();
    let line = |value: &Value| Ok(Bytes::from(format!("{value}\n")));
    lines.send(line(&order(0))).await.unwrap();
    let response = sending.await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/x-ndjson".parse().unwrap())
    );
    let mut answers = Answers { stream: response.bytes_stream().boxed(), held: Vec::new() };
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
