//! CloudEvents' own SDKs: what they make is taken as it is, and comes out the other end.

use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde_json::{Value, json};
use weir_tests::world::{inputs, shared_kafka};

use crate::spine::{Client, route};

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");

async fn client() -> Client {
    client_of("").await
}

async fn client_of(lines: &str) -> Client {
    route(1, SCHEMAS.as_ref(), lines).await.start().await
}

/// The answers to what a script sends.
fn run(command: &mut Command) -> Vec<Value> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("api").join(name)
}

/// Of each record: its id, subject and content type, and the data.
async fn stored(client: &Client) -> Vec<([String; 3], Vec<u8>)> {
    let records = shared_kafka().await.records(&client.route).await;
    let told = |record: &rdkafka::message::OwnedMessage| {
        let header = |name| {
            let headers = record.headers().unwrap();
            let value = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
            String::from_utf8(value.unwrap_or_default().to_vec()).unwrap()
        };
        let named = ["ce_id", "ce_subject", "content-type"].map(header);
        assert_eq!(header("ce_partitionkey"), "k 1");
        (named, record.payload().unwrap().to_vec())
    };
    records.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_events_arrive_whole_in_both_modes() {
    let client = client().await;
    let url = client.weir.url(&format!("/v1/events/{}", client.route));
    let answers = run(Command::new(inputs::python()).arg(script("sdk.py")).arg(url));
    assert!(answers.len() == 4 && answers.iter().all(|answer| answer["status"] == 201), "{answers:?}");
    let subject = "Euro \u{20ac} \"quoted\" 100%";
    for (index, (named, data)) in stored(&client).await.into_iter().enumerate() {
        if index < 2 {
            assert_eq!(named, ["py-1", subject, "application/json"]);
            let data: Value = serde_json::from_slice(&data).unwrap();
            assert_eq!(data, json!({"n": 9_007_199_254_740_993_u64, "s": "\u{20ac}"}));
        } else {
            assert_eq!(
                (named, data),
                (["py-2", subject, "application/octet-stream"].map(str::to_owned), vec![0, 255])
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn javascripts_events_arrive_whole_in_both_modes() {
    let client = client().await;
    let url = client.weir.url(&format!("/v1/events/{}", client.route));
    let mut node = Command::new(inputs::node());
    let answers = run(node.arg(script("sdk.mjs")).arg(inputs::cloudevents_js()).arg(url));
    assert!(answers.len() == 3 && answers.iter().all(|answer| answer["status"] == 201), "{answers:?}");
    let stored = stored(&client).await;
    for (named, data) in &stored[..2] {
        assert_eq!(named[..2], ["js-1", "plain"]);
        assert!(named[2].starts_with("application/json"), "{named:?}");
        assert_eq!(serde_json::from_slice::<Value>(data).unwrap(), json!({"n": 1, "s": "\u{20ac}"}));
    }
    assert_eq!(stored[2].1, [0, 255]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_sdk_reads_our_records_in_structured_mode() {
    let client = client_of("    kafka_content_mode: structured").await;
    let url = client.weir.url(&format!("/v1/events/{}", client.route));
    run(Command::new(inputs::python()).arg(script("sdk.py")).arg(url));
    let lines = shared_kafka().await.records(&client.route).await.into_iter().map(|record| {
        let headers: Vec<_> = (record.headers().unwrap().iter())
            .map(|header| (header.key, String::from_utf8(header.value.unwrap().to_vec()).unwrap()))
            .collect();
        let value = STANDARD.encode(record.payload().unwrap());
        format!("{}\n", json!({"headers": headers, "value": value}))
    });
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(lines.collect::<String>().as_bytes()).unwrap();
    file.rewind().unwrap();
    let read = run(Command::new(inputs::python()).arg(script("sdk_kafka.py")).stdin(file));
    let subject = "Euro \u{20ac} \"quoted\" 100%";
    for (index, event) in read.iter().enumerate() {
        let attributes = ["id", "subject", "partitionkey"].map(|name| event["attributes"][name].clone());
        assert_eq!(attributes, [if index < 2 { "py-1" } else { "py-2" }, subject, "k 1"]);
        let data = if index < 2 {
            json!({"n": 9_007_199_254_740_993_u64, "s": "\u{20ac}"})
        } else {
            json!([0, 255])
        };
        assert_eq!(event["data"], data);
    }
    assert_eq!(read.len(), 4);
}
