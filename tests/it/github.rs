//! Real input: GitHub's 329 published webhook payloads through the whole path, stopped in the middle, and found
//! again by key, by id and by position, exactly as an independent validator and the log say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::{Headers as _, OwnedMessage};
use serde_json::Value;
use weir_tests::github::{self, Example, Verdict};
use weir_tests::world::{shared_kafka, until};

use crate::spine::{Answer, Client, Route, java_partition, route};

const PARTITIONS: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// Repository, else organization, else sender, as the issue wants the key.
fn key(payload: &Value) -> Option<String> {
    let ids = ["/repository/id", "/organization/id", "/sender/id"];
    ids.iter().find_map(|pointer| payload.pointer(pointer).filter(|id| !id.is_null())).map(Value::to_string)
}

fn delivery(number: usize) -> String {
    format!("delivery-{number}")
}

async fn send(client: &Client, number: usize, example: &Example) -> Answer {
    let url = client.weir.url(&format!("/v1/events/{}", client.route));
    let request = client.http.post(url).header("content-type", "application/json");
    let request =
        request.header("x-github-delivery", delivery(number)).header("x-github-event", &example.event);
    let response = request.body(example.payload.clone()).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: response.json().await.unwrap() }
}

fn check_verdict(answer: &Answer, verdict: &Verdict) {
    let name = format!("{} {}", verdict.event, verdict.index);
    if verdict.valid {
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
        return;
    }
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (422, &"schema-violation".into()),
        "{name}: {}",
        answer.body
    );
    let reference: BTreeSet<&str> = verdict.errors.iter().map(|place| place.pointer.as_str()).collect();
    let errors = answer.body["errors"].as_array().unwrap();
    assert!(!errors.is_empty(), "{name}: refused without saying where");
    for error in errors {
        let pointer = error["pointer"].as_str().unwrap();
        assert!(reference.contains(pointer), "{name}: the reference finds nothing at {pointer}");
    }
}

async fn github_route() -> (Route, tempfile::TempDir) {
    let schemas = tempfile::tempdir().unwrap();
    github::write_schemas(schemas.path()).unwrap();
    let lines = r"    id: header:x-github-delivery
    type: header:x-github-event
    source: https://github.com
    subject: github.{type}
    plugins:
      - plugin: entity-key
        config:
          keys:
            - {kind: repository, pointer: /repository/id}
            - {kind: organization, pointer: /organization/id}
            - {kind: sender, pointer: /sender/id}
    recent: {per_key: 400}";
    (route(PARTITIONS, schemas.path(), lines).await, schemas)
}

#[tokio::test(flavor = "multi_thread")]
async fn githubs_webhooks_go_the_whole_way_and_come_back() {
    let (examples, verdicts) = (github::examples().unwrap(), github::reference_verdicts().unwrap());
    assert_eq!((examples.len(), verdicts.len()), (329, 329));
    let (route, _schemas) = github_route().await;

    let mut acked = BTreeMap::new();
    let mut client = route.start().await;
    for (number, (example, verdict)) in examples.iter().zip(&verdicts).enumerate() {
        if number == examples.len() / 2 {
            client.weir.sigterm();
            assert_eq!(client.weir.wait(Duration::from_secs(25)).await, Some(0));
            client = route.start().await;
        }
        let answer = send(&client, number, example).await;
        check_verdict(&answer, verdict);
        if answer.status == 201 {
            assert_eq!(answer.body["id"], delivery(number));
            acked.insert(number, answer.body);
        }
    }
    assert_eq!(acked.len(), verdicts.iter().filter(|verdict| verdict.valid).count());

    let log = shared_kafka().await.records(&route.name).await;
    assert_eq!(log.len(), acked.len(), "what was acked is in the log once, across the restart");
    let by_key = check_log(&log, &acked, &examples);
    for (key, newest_first) in &by_key {
        check_lookup(&client, key, newest_first).await;
    }
    for (number, receipt) in &acked {
        check_single(&client, *number, receipt, &examples[*number]).await;
    }
}

/// Every acked payload is in the log byte for byte, where its receipt says and where Java would have put it.
/// Gives the ids of each key, newest first.
fn check_log(
    log: &[OwnedMessage],
    acked: &BTreeMap<usize, Value>,
    examples: &[Example],
) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let at: BTreeMap<_, _> =
        log.iter().map(|record| ((record.partition(), record.offset()), record)).collect();
    for (number, receipt) in acked {
        let position = |name: &str| receipt[name].as_i64().unwrap();
        let record = at[&(i32::try_from(position("partition")).unwrap(), position("offset"))];
        let example = &examples[*number];
        assert_eq!(
            record.payload().unwrap(),
            example.payload.as_bytes(),
            "{} {}",
            example.event,
            example.index
        );
        let key = key(&serde_json::from_str(&example.payload).unwrap());
        assert_eq!(record.key(), key.as_deref().map(str::as_bytes));
        assert_eq!(receipt["key"].as_str(), key.as_deref());
        if let Some(key) = &key {
            assert_eq!(record.partition(), java_partition(key.as_bytes(), PARTITIONS));
        }
        let header = |name: &str| {
            let found = record.headers().unwrap().iter().find(|header| header.key == name).unwrap();
            String::from_utf8(found.value.unwrap().to_vec()).unwrap()
        };
        assert_eq!((header("ce_id"), header("ce_type")), (delivery(*number), example.event.clone()));
        assert_eq!(header("weir-schema"), format!("github.{}/1", example.event));
    }
    for record in log.iter().rev() {
        let Some(key) = record.key() else { continue };
        let key = String::from_utf8(key.to_vec()).unwrap();
        let id =
            record.headers().unwrap().iter().find(|header| header.key == "ce_id").unwrap().value.unwrap();
        by_key.entry(key).or_default().push(String::from_utf8(id.to_vec()).unwrap());
    }
    by_key
}

/// A key's lookup, page by page, is exactly its part of the log, newest first.
async fn check_lookup(client: &Client, key: &str, newest_first: &[String]) {
    let found = until("the key's events are visible", PATIENCE, async || {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = client.look(&format!("?key={key}&limit=50{cursor}")).await;
            if page.status != 200 {
                return None;
            }
            let events = page.body["events"].as_array().unwrap();
            ids.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
            match page.body["cursor"]
                .as_str()
                .map(str::to_owned)
                .or(page.body["cursor"].as_i64().map(|at| at.to_string()))
            {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        (ids.len() >= newest_first.len()).then_some(ids)
    })
    .await;
    assert_eq!(found, newest_first, "key {key}");
}

/// The same event by its id and by its position, data as sent.
async fn check_single(client: &Client, number: usize, receipt: &Value, example: &Example) {
    let by_id = client.look(&format!("/{}", delivery(number))).await;
    let by_position = client.look(&format!("/at/{}/{}", receipt["partition"], receipt["offset"])).await;
    for found in [by_id, by_position] {
        assert_eq!(found.status, 200, "{number}: {}", found.body);
        assert_eq!(found.body["id"], delivery(number));
        assert_eq!(found.body["offset"], receipt["offset"]);
        assert_eq!(found.body["data"], serde_json::from_str::<Value>(&example.payload).unwrap());
    }
}
