//! Routes whose records hold events in structured mode (CloudEvents 1.0.2, Kafka §3.3), and the read model on them.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use weir_tests::world::shared_kafka;

use super::{SCHEMAS, TRACE, headers, post};
use crate::spine::{Client, Route, read_answer, route};

const PATIENCE: Duration = Duration::from_secs(30);
const LINES: &str = "    kafka_content_mode: structured\n    key: data:/key";
const ENVELOPE: (&str, &str) = ("content-type", "application/cloudevents+json; charset=UTF-8");

async fn records(client: &Client) -> Vec<OwnedMessage> {
    shared_kafka().await.records(&client.route).await
}

fn value(record: &OwnedMessage) -> &str {
    std::str::from_utf8(record.payload().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_an_envelope_with_the_data_as_it_was_sent() {
    let client = route(1, SCHEMAS.as_ref(), LINES).await.start().await;
    let path = format!("/v1/events/{}", client.route);
    let json = r#"{ "key":"k-1", "n": 1.50, "big": 9007199254740993 }"#;
    let traced = [
        ("content-type", "application/json"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-traceparent", "00-its-own"),
        ("traceparent", TRACE),
    ];
    let dry = post(&client, &format!("{path}?dry_run=true"), &traced, json).await;
    let sent = [
        post(&client, &path, &traced, json).await,
        post(&client, &path, &[("content-type", "text/plain")], "a \"b\"\n").await,
        post(&client, &path, &[("content-type", "application/octet-stream")], "\u{ff}").await,
        post(&client, &path, &[], "").await,
        client.event(r#"{"key":"k-1"}"#).await,
    ];
    assert!(sent.iter().all(|answer| answer.status == 201), "{sent:?}");

    let records = records(&client).await;
    let head = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"t.made""#;
    let subject = r#""subject":"Euro €","datacontenttype":"application/json","traceparent":"00-its-own""#;
    assert_eq!(value(&records[0]), format!("{head},{subject},\"data\":{json}}}"));
    assert_eq!(value(&records[1]), format!(r#"{head},"datacontenttype":"text/plain","data":"a \"b\"\n"}}"#));
    let octets = r#""datacontenttype":"application/octet-stream","data_base64":"w78=""#;
    assert_eq!(value(&records[2]), format!("{head},{octets}}}"));
    assert_eq!(value(&records[3]), format!("{head}}}"));
    let plain: Value = serde_json::from_str(value(&records[4])).unwrap();
    assert_eq!((&plain["id"], &plain["data"]), (&sent[4].body["id"], &json!({"key": "k-1"})));

    let expected = [ENVELOPE, ("weir-route", &client.route), ("traceparent", TRACE)];
    assert_eq!(headers(&records[0]), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(records[0].key(), Some(&b"k-1"[..]));
    let shown = &dry.body["record"];
    assert_eq!(shown["value"], serde_json::from_str::<Value>(value(&records[0])).unwrap(), "{}", dry.body);
    assert_eq!((&shown["headers"]["content-type"], &shown["key"]), (&ENVELOPE.1.into(), &"k-1".into()));

    let look = client.look("?key=k-1&level=strong").await;
    let listed = look.body["events"].as_array().unwrap();
    assert_eq!(listed.iter().map(|event| &event["offset"]).collect::<Vec<_>>(), [4, 0], "{}", look.body);
    let fields = ["id", "source", "type", "content_type"].map(|name| listed[1][name].clone());
    assert_eq!(fields, ["1", "/shop", "t.made", "application/json"]);
    let url = client.weir.url(&format!("{path}/at/0/0"));
    let text = client.http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(&format!("\"data\":{json}")), "byte for byte: {text}");
    for (offset, content_type, data) in [
        (1, json!("text/plain"), "YSAiYiIK"),
        (2, json!("application/octet-stream"), "w78="),
        (3, Value::Null, ""),
    ] {
        let found = client.look(&format!("/at/0/{offset}")).await;
        let told = (&found.body["content_type"], &found.body["data_base64"]);
        assert_eq!(told, (&content_type, &data.into()), "{}", found.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_that_came_is_written_anew_and_an_event_within_one_is_always_in_one() {
    let modes = [LINES, "    key: data:/key"];
    for lines in modes {
        let client = route(1, SCHEMAS.as_ref(), lines).await.start().await;
        let path = format!("/v1/events/{}", client.route);
        let inner = r#"{"specversion":"1.0","id":"inner","source":"/s","type":"t"}"#;
        let nested = r#""datacontenttype":"application/cloudevents+json""#;
        let sent = format!(
            r#"{{"data": {inner}, "n":7, "type":"t", "source":"/shop", "id":"outer", "specversion":"1.0", {nested}}}"#
        );
        let answer = client.post(&path, "application/cloudevents+json", sent).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let records = records(&client).await;
        let written = format!(
            r#"{{"specversion":"1.0","id":"outer","source":"/shop","type":"t",{nested},"n":"7","data":{inner}}}"#
        );
        assert_eq!((value(&records[0]), headers(&records[0])[0].1.as_str()), (written.as_str(), ENVELOPE.1));
        let found = client.look("/outer?level=strong").await;
        assert_eq!((found.status, &found.body["data"]["id"]), (200, &json!("inner")), "{}", found.body);
    }
}

/// What a tail from the start shows: ids, in order.
async fn tailed(client: &Client, count: usize) -> Vec<String> {
    let url = client.weir.url(&format!("/v1/events/{}?from=start", client.route));
    let mut response = client.http.get(url).header("accept", "text/event-stream").send().await.unwrap();
    let mut text = String::new();
    let ids = |text: &str| {
        let blocks = text.split("\n\n").filter_map(|block| block.split_once("data: ")?.1.lines().next());
        let events = blocks.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        events.map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    while ids(&text).len() < count {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk()).await.expect("in time").unwrap();
        text.push_str(std::str::from_utf8(&chunk.expect("more")).unwrap());
    }
    ids(&text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_changes_its_mode_loses_nothing_of_what_it_had() {
    let route = route(1, SCHEMAS.as_ref(), "    key: data:/key").await;
    let structured = route.config.replace("    key: data:/key", LINES);
    let client = route.start().await;
    let go_over_to = async |config: &str| {
        client.weir.write_config(config);
        let reload = client.http.post(client.weir.admin_url("/admin/v1/reload"));
        let done = read_answer(reload.send().await.unwrap()).await;
        assert_eq!(done.status, 200, "{}", done.body);
    };
    let mut last = Value::Null;
    for (mode, config) in [("binary", &route.config), ("structured", &structured), ("back", &route.config)] {
        go_over_to(config).await;
        let event =
            json!({"specversion": "1.0", "id": mode, "source": "/shop", "type": "t", "data": {"key": "k"}});
        let path = format!("/v1/events/{}", client.route);
        last = client.post(&path, "application/cloudevents+json", event.to_string()).await.body;
        assert_eq!(last["outcome"], "stored", "{last}");
    }
    // Other producers' records, in structured mode and with nothing of Weir's.
    let producer: FutureProducer = shared_kafka().await.client_config().create().unwrap();
    for (value, content_type) in [
        (
            r#"{"specversion":"1.0","id":"foreign","source":"/shop","type":"t","data":{"key":"k"}}"#,
            "Application/CloudEvents+JSON",
        ),
        (r#"{"specversion":"1.0","id":"no envelope"}"#, "application/cloudevents+json"),
    ] {
        let header = Header { key: "content-type", value: Some(content_type) };
        let record = FutureRecord::to(&client.route).key("k").payload(value).partition(0);
        producer.send(record.headers(OwnedHeaders::new().insert(header)), PATIENCE).await.unwrap();
    }
    let modes: Vec<_> = records(&client).await.iter().map(|record| headers(record)[0].0.clone()).collect();
    assert_eq!(modes, ["ce_specversion", "content-type", "ce_specversion", "content-type", "content-type"]);

    go_over_to(&structured).await;
    let all = ["binary", "structured", "back", "foreign"];
    assert_eq!(tailed(&client, 4).await, all);
    let listed = async |query: &str| {
        let answer = client.look(&format!("?key=k&level=strong{query}")).await;
        let events = answer.body["events"].as_array().unwrap_or_else(|| panic!("{}", answer.body)).clone();
        events.iter().rev().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, all);
    for (offset, id) in all.iter().enumerate() {
        let (by_id, at) = (
            client.look(&format!("/{id}?level=strong")).await,
            client.look(&format!("/at/0/{offset}")).await,
        );
        assert_eq!((by_id.status, &by_id.body["offset"], &by_id.body), (200, &json!(offset), &at.body));
        assert_eq!(by_id.body["data"], json!({"key": "k"}));
    }
    assert_eq!(client.look("/at/0/4").await.status, 404, "what is no event is passed over");

    let erase = async |query: &str| {
        let url = client.weir.admin_url(&format!("/admin/v1/recent/{}?{query}&why=test", client.route));
        read_answer(client.http.delete(url).send().await.unwrap()).await
    };
    assert_eq!(erase("id=structured&source=%2Fshop").await.status, 200);
    assert_eq!(client.look("/structured").await.body["code"], "erased");
    assert_eq!(listed("").await, ["binary", "back", "foreign"]);
    assert_eq!(erase("key=k").await.status, 200);
    assert_eq!(listed("").await, [""; 0], "after {last}");
    assert_eq!(client.look("/at/0/3").await.body["code"], "erased");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_base64_makes_too_large_is_refused_before_kafka_is_asked() {
    let Route { name, config } = route(1, SCHEMAS.as_ref(), LINES).await;
    let client =
        Route { name, config: format!("limits: {{event_bytes_max: 262144}}\n{config}") }.start().await;
    let path = format!("/v1/events/{}", client.route);
    let (octets, json) = ("application/octet-stream", "application/json");
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    // In base64 4 bytes for 3, and 32 KiB for all else: 220 000 fit, 222 000 do not.
    let cases =
        [(octets, 220_000, 201, ""), (octets, 222_000, 413, "record-too-large"), (json, 262_144, 201, "")];
    for (content_type, length, status, code) in cases {
        for dry in ["", "?dry_run=true"] {
            let more = [("content-type", content_type)];
            let answer = post(&client, &format!("{path}{dry}"), &more, &text(length)).await;
            let status = if dry.is_empty() || status > 299 { status } else { 200 };
            let told = (answer.status, answer.body["code"].as_str().unwrap_or_default());
            assert_eq!(told, (status, code), "{content_type} {length}{dry}");
        }
    }
    let lengths: Vec<_> = records(&client).await.iter().map(|record| value(record).len()).collect();
    assert!(lengths.len() == 2 && lengths.iter().all(|length| *length < 262_144 + 32_768), "{lengths:?}");
}
