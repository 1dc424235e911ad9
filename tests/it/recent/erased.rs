//! What was erased or invalidated is in no answer again: not after the store was lost, not through another gateway, not
//! from the log.

use std::process::Command;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use weir_tests::world::{inputs, shared_kafka, shared_valkey, until};

use super::http::order;
use crate::spine::{Client, orders};

const PATIENCE: Duration = Duration::from_secs(30);

/// An order to the admin listener: the status and the answer.
async fn delete(client: &Client, query: &str) -> (u16, Value) {
    let url = client.weir.admin_url(&format!("/admin/v1/recent/{}?{query}", client.route));
    let answer = client.http.delete(url).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

fn place(receipt: &Value) -> String {
    format!("{}:{}", receipt["partition"], receipt["offset"])
}

fn path(receipt: &Value) -> String {
    format!("/at/{}/{}", receipt["partition"], receipt["offset"])
}

/// The offsets a key's lookup lists, certain of everything up to the receipt.
async fn listed(client: &Client, query: &str, upto: &Value) -> Vec<Value> {
    let answer = client.look(&format!("?{query}&min_position={}", place(upto))).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body["events"].as_array().unwrap().iter().map(|event| event["offset"].clone()).collect()
}

async fn code(client: &Client, rest: &str) -> (u16, Value) {
    let answer = client.look(rest).await;
    (answer.status, answer.body["code"].clone())
}

fn erased() -> (u16, Value) {
    (410, json!("erased"))
}

/// The store forgets the slot of a receipt.
async fn lose_slot(client: &Client, receipt: &Value) {
    let tag = format!("{{w3:{}:{}:{}}}", client.route.len(), client.route, receipt["partition"]);
    let node = shared_valkey().await.primary_of(&tag).await.unwrap();
    node.call(&["DEL", &format!("{tag}:w")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_key_stays_erased_whatever_the_store_forgets() {
    let route = orders().await;
    let client = route.start().await;
    let mut receipts = Vec::new();
    for (number, user) in [(1, "u-1"), (2, "u-1"), (3, "u-2")] {
        receipts.push(client.event(order(number, user)).await.body);
    }
    let [first, last, other] = &receipts[..] else { unreachable!() };
    assert_eq!(listed(&client, "key=u-1", last).await, [last["offset"].clone(), first["offset"].clone()]);
    assert_eq!(listed(&client, "key=u-2", other).await, [other["offset"].clone()]);
    let tag = client.look("?key=u-1").await.headers["etag"].clone();

    let (status, done) = delete(&client, "key=u-1&why=request%2012").await;
    assert_eq!((status, &done["freed"]), (200, &json!(2)), "{done}");
    let new = client.event(order(4, "u-1")).await.body;
    let holds = async |client: &Client, when: &str| {
        let now = listed(client, "key=u-1", &new).await;
        assert_eq!(now, [new["offset"].clone()], "{when}: what came later is no part of it");
        let by_order = client.look("?kind=order&key=o-1&level=strong").await.body;
        assert_eq!(by_order["events"], json!([]), "{when}: by its other key");
        let id = first["id"].as_str().unwrap();
        assert_eq!(code(client, &format!("/{id}")).await, erased(), "{when}: by id");
        assert_eq!(code(client, &path(first)).await, erased(), "{when}: by position");
        assert_eq!(listed(client, "key=u-2", other).await, [other["offset"].clone()], "{when}: another's");
    };
    holds(&client, "at once").await;
    assert_ne!(client.look("?key=u-1").await.headers["etag"], tag);
    lose_slot(&client, first).await;
    until("the slot is built anew", PATIENCE, async || {
        let answer = client.look(&format!("?key=u-1&min_position={}", place(&new))).await;
        (answer.status == 200).then_some(())
    })
    .await;
    holds(&client, "after the store was lost").await;
    let second = route.start().await;
    holds(&second, "through another gateway").await;

    let url = second.weir.admin_url(&format!("/admin/v1/recent/{}", second.route));
    let record: Value =
        serde_json::from_slice(&second.http.get(url).send().await.unwrap().bytes().await.unwrap()).unwrap();
    let fact = &record["invalidations"][0];
    assert_eq!((&fact["id"], &fact["fact"]["why"]), (&done["id"], &json!("request 12")));
    assert!(!record.to_string().contains("u-1"), "the record does not keep what it erases");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_event_may_be_sent_again() {
    let client = orders().await.start().await;
    let event = |id: &str| {
        let order: Value = serde_json::from_str(&order(1, "u-1")).unwrap();
        json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "orders.created", "data": order})
            .to_string()
    };
    let structured = "application/cloudevents+json";
    let path_in = "/v1/events";
    let one = client.post(&format!("{path_in}/{}", client.route), structured, event("e-1")).await.body;
    let two = client.post(&format!("{path_in}/{}", client.route), structured, event("e-2")).await.body;
    assert_eq!(listed(&client, "key=u-1", &two).await.len(), 2, "{one} {two}");
    let (status, done) = delete(&client, "id=e-1&source=%2Fshop").await;
    assert_eq!((status, &done["freed"]), (200, &json!(1)), "{done}");
    assert_eq!(code(&client, "/e-1?source=%2Fshop").await, erased());
    assert_eq!(code(&client, "/e-1").await, erased());
    assert_eq!(code(&client, &path(&one)).await, erased());
    assert_eq!(listed(&client, "key=u-1", &two).await, [two["offset"].clone()]);
    assert_eq!(client.look("/e-2").await.status, 200);

    let again = client.post(&format!("{path_in}/{}", client.route), structured, event("e-1")).await.body;
    assert_eq!(listed(&client, "key=u-1", &again).await, [again["offset"].clone(), two["offset"].clone()]);
    let found = client.look(&format!("/e-1?min_position={}", place(&again))).await;
    assert_eq!((found.status, &found.body["offset"]), (200, &again["offset"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_plugins_and_schemas_are_invalidated_up_to_now() {
    let client = orders().await.start().await;
    let mut number = 0;
    for target in ["partition", "plugin=entity-key", "schema=orders.created", "schema=orders.created/1"] {
        number += 1;
        let before = client.event(order(number, "u-1")).await.body;
        let seen = listed(&client, "key=u-1", &before).await;
        assert_eq!(seen, [before["offset"].clone()], "{target}: all before are hidden, and nothing else");
        let target = match target {
            "partition" => format!("partition={}", before["partition"]),
            other => other.to_owned(),
        };
        let (status, done) = delete(&client, &target).await;
        assert_eq!(status, 200, "{target}: {done}");
        assert_eq!(listed(&client, "key=u-1", &before).await, Vec::<Value>::new(), "{target}");
        assert_eq!(code(&client, &path(&before)).await, erased(), "{target}");
        assert_eq!(code(&client, &format!("/{}", before["id"].as_str().unwrap())).await.0, 410, "{target}");
    }
    let after = client.event(order(9, "u-1")).await.body;
    let later = format!("plugin=entity-key&from={}:{}", after["partition"], after["offset"]);
    let one_more = client.event(order(10, "u-1")).await.body;
    assert_eq!(listed(&client, "key=u-1", &one_more).await.len(), 2);
    assert_eq!(delete(&client, "plugin=other").await.0, 200);
    assert_eq!(listed(&client, "key=u-1", &one_more).await.len(), 2, "another plugin's");
    assert_eq!(delete(&client, &later).await.0, 200);
    assert_eq!(listed(&client, "key=u-1", &one_more).await, Vec::<Value>::new(), "from a position on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_in_the_log_erases_its_key() {
    let client = orders().await.start().await;
    let first = client.event(order(1, "u-1")).await.body;
    assert_eq!(listed(&client, "key=u-1", &first).await.len(), 1);
    let producer: FutureProducer = shared_kafka().await.client_config().create().unwrap();
    let partition = i32::try_from(first["partition"].as_i64().unwrap()).unwrap();
    let erasure = FutureRecord::<str, [u8]>::to(&client.route)
        .partition(partition)
        .key("u-1")
        .headers(OwnedHeaders::new().insert(Header { key: "weir-erase", value: Some("1") }));
    let placed = producer.send(erasure, PATIENCE).await.unwrap();
    let erasure = json!({"partition": placed.partition, "offset": placed.offset});
    assert_eq!(listed(&client, "key=u-1", &erasure).await, Vec::<Value>::new(), "as soon as it is covered");
    assert_eq!(code(&client, &path(&first)).await, erased());
    let new = client.event(order(2, "u-1")).await.body;
    assert_eq!(listed(&client, "key=u-1", &new).await, [new["offset"].clone()]);
    lose_slot(&client, &first).await;
    until("the slot is built anew", PATIENCE, async || {
        let answer = client.look(&format!("?key=u-1&min_position={}", place(&new))).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(listed(&client, "key=u-1", &new).await, [new["offset"].clone()]);
}

/// Whatever id an event can have, it can be looked up and erased by it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_the_longest_id_is_erased_like_any() {
    let client = orders().await.start().await;
    let id = "i".repeat(1024);
    let event = json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "orders.created",
        "data": serde_json::from_str::<Value>(&order(1, "u-1")).unwrap()});
    let path = format!("/v1/events/{}", client.route);
    let stored = client.post(&path, "application/cloudevents+json", event.to_string()).await;
    assert_eq!(stored.status, 201, "{}", stored.body);
    let found = client.look(&format!("/{id}?min_position={}", place(&stored.body))).await;
    assert_eq!((found.status, &found.body["offset"]), (200, &stored.body["offset"]), "{}", found.body);
    let (status, done) = delete(&client, &format!("id={id}")).await;
    assert_eq!((status, &done["freed"]), (200, &json!(1)), "{done}");
    assert_eq!(code(&client, &format!("/{id}")).await, erased());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_refused_by_name() {
    let client = orders().await.start().await;
    let (key, id) = (format!("key={}", "k".repeat(513)), format!("id={}", "i".repeat(1025)));
    let queries = ["", "key=u&id=e", "key=u&from=0:1", "partition=9", "plugin=p&from=7:1", "colour=red"];
    for query in queries.into_iter().chain([&*key, &*id]) {
        let (status, answer) = delete(&client, query).await;
        assert_eq!((status, &answer["code"]), (400, &json!("bad-query")), "{query}: {answer}");
    }
    let url = client.weir.admin_url(&format!("/admin/v1/recent/{}?key=u", client.route));
    let page = client.http.delete(url).header("origin", "http://example.com").send().await.unwrap();
    assert_eq!(page.status().as_u16(), 403);
    let elsewhere = client.weir.admin_url("/admin/v1/recent/nowhere?key=u");
    assert_eq!(client.http.delete(elsewhere).send().await.unwrap().status().as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_and_orders() {
    let client = orders().await.start().await;
    let first = client.event(order(1, "u-1")).await.body;
    assert_eq!(listed(&client, "key=u-1", &first).await.len(), 1);
    let admin = client.weir.admin_url("").replace("http://", "");
    let weir = |args: &[&str]| {
        let output =
            Command::new(inputs::weir()).arg("recent").args(args).args(["--admin", &admin]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = weir(&["status"]);
    assert!(code == Some(0) && said.matches(&client.route).count() == 3, "{said}");
    let (code, said) = weir(&["invalidate", &client.route, "--key", "u-1", "--why", "request 7"]);
    assert!(code == Some(0) && said.contains("Valkey let go of 1 events"), "{said}");
    assert_eq!(listed(&client, "key=u-1", &first).await, Vec::<Value>::new());
    let (code, said) = weir(&["invalidations", &client.route]);
    assert!(code == Some(0) && said.contains("request 7"), "{said}");
    let (code, said) = weir(&["rebuild", &client.route, "-o", "json"]);
    assert_eq!((code, said.trim()), (Some(0), "{\n  \"partitions\": 3\n}"));
    let (code, said) = weir(&["invalidate", "nowhere", "--id", "e", "--why", "x"]);
    assert!(code == Some(1) && said.contains("recent-disabled"), "{said}");
    let (code, said) = weir(&["invalidate", &client.route, "--why", "x"]);
    assert!(code == Some(64) && said.contains("--key"), "{said}");
}
