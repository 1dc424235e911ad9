//! Order under load: the events of one key that one connection sends stay in order, whatever of them is refused meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use rdkafka::Message as _;
use serde_json::{Value, json};
use weir_tests::world::shared_kafka;

use super::wire::Request;
use super::wire::http1::{Connection, written};
use crate::plugins::event;
use crate::spine::{Client, route};

const KEY: &str = "one";
/// Events in a request: more than a chunk.
const EVENTS: usize = 70;
/// More than may wait for a route's slow plugins.
const OTHERS: usize = 400;

fn numbered(number: usize, key: &str) -> Value {
    let mut event = event(number, true);
    event["key"] = key.into();
    event
}

/// The numbers of the events in this array that were stored. The others were refused for the load, and not begun with.
async fn stored(connection: &mut Connection, first: usize) -> Vec<usize> {
    let answer = connection.answer().await.unwrap();
    assert!(matches!(answer.status, 200 | 207 | 503), "{answer:?}");
    let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
    let stored = results.iter().enumerate().filter(|(_, result)| result["outcome"] == "stored");
    let refused = results.iter().filter(|result| result["outcome"] != "stored");
    for result in refused {
        let Value::Object(problem) = &result["problem"] else { panic!("{result}") };
        assert_eq!((&problem["code"], &problem["outcome"]), (&json!("overloaded"), &json!("not-stored")));
    }
    stored.map(|(index, _)| first + index).collect()
}

/// Others send as much as the route's plugins can do and more, from the moment on that these are too slow for the workers.
#[tokio::test(flavor = "multi_thread")]
async fn a_keys_events_of_one_connection_are_in_order_through_slow_plugins_and_shedding() {
    let lines = "    key: data:/key\n    plugins: [{plugin: rogue, config: {sin: crawl}}]\n";
    let mut route = route(3, Path::new("schemas"), lines).await;
    route.config.insert_str(0, "plugin_limits: {deadline_ms: 10000}\n");
    route.config = route.config.replace("schemas: \"schemas\"\n", "");
    let client = route.start().await;
    let address = client.weir.url("").replace("http://", "");
    let mut connection = Connection::open(&address).await.unwrap();
    let over = AtomicBool::new(false);
    let flood = async |client: &Client, number: usize| {
        let mut refused = 0;
        while !over.load(Ordering::Relaxed) {
            let answer = client.event(numbered(number, "other").to_string()).await;
            assert!(matches!(answer.status, 201 | 503), "{answer:?}");
            refused += usize::from(answer.status == 503);
        }
        refused
    };
    let ours = async {
        let (mut seen, mut first, mut whole_since) = (Vec::new(), 0, None);
        // Until some of it was refused, and some stored again after that.
        while whole_since.is_none_or(|since| seen.len() < since + 3 * EVENTS) {
            assert!(first < 400 * EVENTS, "nothing was refused");
            // Two at once, the second without waiting for the first.
            for begin in [first, first + EVENTS] {
                let events: Vec<_> = (begin..begin + EVENTS).map(|number| numbered(number, KEY)).collect();
                let body = serde_json::to_vec(&events).unwrap();
                connection.send(&written(&Request::event(&client.route, body))).await;
            }
            for begin in [first, first + EVENTS] {
                let stored = stored(&mut connection, begin).await;
                if stored.len() < EVENTS {
                    whole_since.get_or_insert(seen.len() + stored.len());
                }
                seen.extend(stored);
            }
            first += 2 * EVENTS;
        }
        over.store(true, Ordering::Relaxed);
        (seen, first)
    };
    let others = join_all((0..OTHERS).map(|number| flood(&client, number)));
    let ((seen, sent), refused) = tokio::join!(ours, others);
    println!(
        "{} of {sent} stored in order; of the others {} refused",
        seen.len(),
        refused.iter().sum::<usize>()
    );
    assert_eq!(client.metric("weir_route_aside", &client.route).await, 1.0, "the plugins ran aside");
    assert!(seen.len() < sent && refused.iter().sum::<usize>() > 0);

    let records = shared_kafka().await.records(&client.route).await;
    let of_key = records.iter().filter(|record| record.key() == Some(KEY.as_bytes()));
    let mut placed: Vec<_> = of_key
        .map(|record| {
            let data: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
            (record.offset(), usize::try_from(data["n"].as_u64().unwrap()).unwrap())
        })
        .collect();
    placed.sort_unstable();
    let numbers: Vec<_> = placed.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, seen, "in the order they were sent, what was stored and nothing else");
}
