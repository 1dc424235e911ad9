//! CloudEvents over HTTP in every mode, and what of them is in Kafka.

mod structured;

use rdkafka::Message;
use rdkafka::message::{Headers as _, OwnedMessage};
use serde_json::{Value, json};
use weir_tests::world::{fresh_name, shared_kafka};

use crate::spine::{Answer, Client, read_answer, route};

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const WHOLE: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/shop"), ("ce-type", "t.made")];

async fn client(lines: &str) -> Client {
    route(1, SCHEMAS.as_ref(), lines).await.start().await
}

/// Posts with these headers; an empty value takes a header away that stands in `WHOLE`.
async fn post(client: &Client, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
    let mut request = client.http.post(client.weir.url(path)).body(body.to_owned());
    let whole =
        WHOLE.iter().filter(|(name, _)| !more.iter().any(|(other, value)| other == name && value.is_empty()));
    for (name, value) in whole.chain(more.iter().filter(|(_, value)| !value.is_empty())) {
        request = request.header(*name, *value);
    }
    read_answer(request.send().await.unwrap()).await
}

fn headers(record: &OwnedMessage) -> Vec<(String, String)> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or_default().to_vec()).unwrap();
    record.headers().unwrap().iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

fn event(id: &str, of_type: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": of_type, "data": {"n": 1}})
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_mode_carries_any_data_and_its_attributes_are_headers() {
    let client = client("").await;
    let path = format!("/v1/events/{}", client.route);
    let more = [
        ("content-type", "text/xml; charset=iso-8859-1"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-time", "2026-11-26T10:00:00Z"),
        ("ce-partitionkey", "\"a b\""),
        ("traceparent", TRACE),
        ("tracestate", "a=1"),
    ];
    let answer = post(&client, &path, &more, "<no json/>").await;
    assert_eq!((answer.status, &answer.body["id"]), (201, &json!("1")), "{}", answer.body);
    let bare = post(&client, &path, &[("ce-id", ""), ("ce-id", "2")], "").await;
    assert_eq!(bare.status, 201, "{}", bare.body);

    let records = shared_kafka().await.records(&client.route).await;
    assert_eq!(records[0].payload().unwrap(), b"<no json/>");
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", "1"),
        ("ce_source", "/shop"),
        ("ce_type", "t.made"),
        ("ce_subject", "Euro \u{20ac}"),
        ("ce_time", "2026-11-26T10:00:00Z"),
        ("ce_partitionkey", "a b"),
        ("content-type", "text/xml; charset=iso-8859-1"),
        ("weir-route", client.route.as_str()),
        ("traceparent", TRACE),
        ("tracestate", "a=1"),
    ];
    let expected: Vec<_> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(headers(&records[0]), expected);
    assert!(records[1].payload().is_some_and(<[u8]>::is_empty), "no data is no tombstone");
    assert!(!headers(&records[1]).iter().any(|(name, _)| name == "content-type"));

    let look = client.look("/1?level=strong").await;
    assert_eq!(look.body["content_type"], "text/xml; charset=iso-8859-1", "{}", look.body);
    let bare = client.look("/2?level=strong").await;
    assert_eq!((bare.status, &bare.body["content_type"]), (200, &Value::Null), "{}", bare.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cloud_event_is_refused_and_nothing_is_stored() {
    let client = client("").await;
    let path = format!("/v1/events/{}", client.route);
    type Case<'c> = (&'c [(&'c str, &'c str)], &'c str, u16, &'c str);
    let cases: [Case<'_>; 12] = [
        (&[("ce-specversion", "")], "", 400, "cloudevents-invalid"),
        (&[("ce-id", "")], "", 400, "cloudevents-invalid"),
        (&[("ce-source", "")], "", 400, "cloudevents-invalid"),
        (&[("ce-type", "")], "", 400, "cloudevents-invalid"),
        (&[("ce-specversion", ""), ("ce-specversion", "0.3")], "", 400, "cloudevents-invalid"),
        (&[("ce-id", "2")], "", 400, "cloudevents-invalid"),
        (&[("ce-datacontenttype", "text/plain")], "", 400, "cloudevents-invalid"),
        (&[("ce-subject", "%C0%A0")], "", 400, "cloudevents-invalid"),
        (&[("ce-subject", "a%0d%0ab")], "", 400, "invalid-attribute"),
        (&[("ce-time", "12:00")], "", 400, "cloudevents-invalid"),
        (&[("content-type", "application/json")], "{", 400, "invalid-json"),
        (&[("content-type", "application/cloudevents+xml")], "", 415, "unsupported-media-type"),
    ];
    for (more, body, status, code) in cases {
        let answer = post(&client, &path, more, body).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (status, Some(code)),
            "{more:?} {}",
            answer.body
        );
    }
    let batch = "application/cloudevents-batch+json";
    for (body, status) in [("{}", 400), ("[{}]", 400), ("[", 400), ("[]", 200)] {
        let answer = client.post(&path, batch, body).await;
        assert_eq!(answer.status, status, "{body} {}", answer.body);
    }
    let good = post(&client, &path, &[], "").await;
    assert_eq!((good.status, &good.body["offset"]), (201, &json!(0)), "nothing was stored before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_batch_find_their_routes_by_themselves() {
    let other = fresh_name("other");
    shared_kafka().await.create_topic(&other, 1, &[]).await;
    let lines = format!(
        "    match: {{type: 'a.*'}}
  - name: {other}
    topic: {other}
    match: {{type: 'b.*'}}
    recent: false
    topic_settings: {{partitions: 1, replication_factor: 1, min_insync_replicas: 1}}"
    );
    let client = client(&lines).await;
    let batch =
        json!([event("1", "a.x"), event("2", "b.x"), event("3", "c.x"), {"id": "4"}, event("5", "a.y")]);
    let answer = client.post("/v1/events", "application/cloudevents-batch+json", batch.to_string()).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    let results = answer.body["results"].as_array().unwrap();
    let told = |result: &Value| match &result["problem"] {
        Value::Null => format!("{} {}", result["route"].as_str().unwrap(), result["offset"]),
        problem => problem["code"].as_str().unwrap().to_owned(),
    };
    let expected = [
        format!("{} 0", client.route),
        format!("{other} 0"),
        "unknown-route".to_owned(),
        "cloudevents-invalid".to_owned(),
        format!("{} 1", client.route),
    ];
    assert_eq!(results.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(results[4]["id"], "5");
    let records = shared_kafka().await.records(&other).await;
    assert_eq!(records[0].payload().unwrap(), br#"{"n":1}"#);
    for (route, events) in [(client.route.as_str(), 2.0), (other.as_str(), 1.0), ("none", 2.0)] {
        let label = format!("route=\"{route}\"");
        assert_eq!(client.metric("weir_events_in_total", &label).await, events, "{route}");
        assert_eq!(client.metric("weir_events_out_total", &label).await, events, "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_says_what_may_be_posted_and_shakes_hands() {
    let client = client("").await;
    let ask = async |origin: Option<&str>| {
        let mut request = client.http.request(reqwest::Method::OPTIONS, client.weir.url("/v1/events"));
        if let Some(origin) = origin {
            request = request.header("webhook-request-origin", origin).header("webhook-request-rate", "120");
        }
        request.send().await.unwrap()
    };
    let plain = ask(None).await;
    assert_eq!(plain.status(), 204);
    assert!(plain.headers()["allow"].to_str().unwrap().contains("POST"));
    assert!(plain.headers()["accept-post"].to_str().unwrap().contains("application/cloudevents-batch+json"));
    let hands = ask(Some("eventemitter.example.com")).await;
    assert_eq!(hands.status(), 200);
    assert_eq!(
        (&hands.headers()["webhook-allowed-origin"], &hands.headers()["webhook-allowed-rate"]),
        (&"*".parse().unwrap(), &"*".parse().unwrap())
    );
}
