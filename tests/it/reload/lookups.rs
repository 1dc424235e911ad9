//! Lookups that change while gateways of one group run, on Kafka and Valkey: the read model that goes and the one that
//! comes meet in the group and in the store, and every event that was acked is found all the while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use weir_tests::world::{Answer, Weir, WeirOptions, fresh_name, shared_kafka, shared_valkey};

use super::{PATIENCE, metric, ready, rewrite};

const PARTITIONS: i32 = 3;

/// A topic of three partitions.
async fn topic() -> String {
    let topic = fresh_name("reload");
    shared_kafka().await.create_topic(&topic, PARTITIONS, &[]).await;
    topic
}

/// A config with a route to each of these topics.
async fn config(topics: &[&str], rest: &str) -> String {
    let (kafka, valkey) = (shared_kafka().await, shared_valkey().await);
    let settings = format!("{{partitions: {PARTITIONS}, replication_factor: 1, min_insync_replicas: 1}}");
    let route = |topic: &&str| {
        format!("  - {{name: {topic}, topic: {topic}, key: 'data:/key', topic_settings: {settings}{rest}}}\n")
    };
    format!(
        "listen: {{listen}}\nadmin: {{admin}}\nkafka: {{brokers: [\"{}\"], allow_weak_topics: true}}\n\
         valkey: {{nodes: [\"{}\"]}}\nroutes:\n{}",
        kafka.bootstrap(),
        valkey.addresses().join("\", \""),
        topics.iter().map(route).collect::<String>()
    )
}

/// A client of one gateway.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    base: String,
}

/// An event that was acked.
#[derive(Clone, Debug)]
struct Stored {
    route: String,
    key: String,
    id: String,
    /// Its position, as a lookup is asked to reach it.
    place: String,
}

impl Client {
    fn of(weir: &Weir) -> Self {
        Client { http: reqwest::Client::new(), base: weir.url("/v1/events") }
    }

    async fn store(&self, route: &str, key: &str) -> Stored {
        let request = self.http.post(format!("{}/{route}", self.base)).body(format!(r#"{{"key":"{key}"}}"#));
        let answer = Answer::to(request.header("content-type", "application/json")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let receipt = answer.json();
        Stored {
            route: route.to_owned(),
            key: key.to_owned(),
            id: receipt["id"].as_str().unwrap().to_owned(),
            place: format!("{}:{}", receipt["partition"], receipt["offset"]),
        }
    }

    /// What is answered once the gateway has caught up: on a busy machine it may say first that it has not.
    async fn look(&self, event: &Stored, rest: &str) -> Answer {
        let Stored { route, place, .. } = event;
        let url = format!("{}/{route}{rest}min_position={place}", self.base);
        let begun = Instant::now();
        loop {
            let answer = Answer::to(self.http.get(&url)).await;
            if answer.status != 503 || answer.code() != "behind" || begun.elapsed() > PATIENCE {
                return answer;
            }
        }
    }

    /// The ids of the events of this one's key, up to this one at least.
    async fn ids(&self, event: &Stored) -> Vec<String> {
        let page = self.look(event, &format!("?key={}&limit=64&", event.key)).await;
        assert_eq!(page.status, 200, "{event:?}: {page:?}");
        let page = page.json();
        let events = page["events"].as_array().unwrap().iter();
        events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Finds an event by its id, and as the newest of its key.
    async fn finds(&self, event: &Stored) {
        let found = self.look(event, &format!("/{}?", event.id)).await;
        assert_eq!((found.status, &found.json()["id"]), (200, &json!(event.id)), "{event:?}: {found:?}");
        assert_eq!(self.ids(event).await.first(), Some(&event.id), "{event:?}");
    }
}

/// Stores at one gateway what the other then finds, and the other way round, until it is over.
async fn store_and_find(
    clients: [Client; 2],
    route: String,
    writer: usize,
    over: Arc<AtomicBool>,
) -> Vec<Stored> {
    let mut stored = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let number = stored.len();
        let event = clients[number % 2].store(&route, &format!("{writer}-{}", number / 50)).await;
        clients[(number + 1) % 2].finds(&event).await;
        stored.push(event);
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_of_a_group_take_another_route_in_and_lose_no_event() {
    let (old, new) = (topic().await, topic().await);
    let (one, both) = (config(&[&old], "").await, config(&[&old, &new], "").await);
    let start = || Weir::start(WeirOptions::serve(one.clone()));
    let (first, second) = tokio::join!(start(), start());
    let clients = [Client::of(&first), Client::of(&second)];
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (clients, over) = (clients.clone(), Arc::clone(&over));
            tokio::spawn(store_and_find(clients, old.clone(), writer, over))
        })
        .collect();
    let mut stored = Vec::new();
    for (weir, client) in [&first, &second].into_iter().zip(&clients) {
        assert_eq!(rewrite(weir, &both).await, ["routes"]);
        assert_eq!(ready(weir).await, 200);
        for number in 0..10 {
            let event = client.store(&new, &format!("new-{number}")).await;
            client.finds(&event).await;
            stored.push(event);
        }
    }
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        stored.extend(writer.await.unwrap());
    }
    // Newest first, as they are listed.
    let mut by_key: BTreeMap<_, Vec<&Stored>> = BTreeMap::new();
    for event in stored.iter().rev() {
        by_key.entry((&event.route, &event.key)).or_default().push(event);
    }
    for client in &clients {
        for events in by_key.values() {
            let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
            assert_eq!(client.ids(events[0]).await, ids, "{:?}", events[0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_go_and_come_back_to_what_is_kept() {
    let route = topic().await;
    let (with, without) = (config(&[&route], "").await, config(&[&route], ", recent: false").await);
    let weir = Weir::start(WeirOptions::serve(with.clone())).await;
    let client = Client::of(&weir);
    let before = client.store(&route, "k").await;
    client.finds(&before).await;
    let begun = metric(&weir, r#"weir_recent_total{what="opened"}"#).await;
    assert_eq!(begun, Some(f64::from(PARTITIONS)));

    assert_eq!(rewrite(&weir, &without).await, ["routes"]);
    assert_eq!(client.look(&before, &format!("/{}?", before.id)).await.code(), "recent-disabled");
    let meanwhile = client.store(&route, "k").await;
    assert_eq!(ready(&weir).await, 200);

    assert_eq!(rewrite(&weir, &with).await, ["routes"]);
    client.finds(&meanwhile).await;
    assert_eq!(client.ids(&meanwhile).await, [&*meanwhile.id, &*before.id]);
    let now = metric(&weir, r#"weir_recent_total{what="opened"}"#).await;
    assert_eq!(now, begun, "it goes on from where it was");
}
