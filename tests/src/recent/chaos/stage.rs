//! Where the run takes place: a Kafka, a Valkey cluster and two gateways of its own, which partition is kept by which
//! shard, and whether all is well again. Nothing is broken here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::Instant;
use weir::kafka::partitioner::murmur2_partition;

use super::event;
use super::journal::Clock;
use crate::world::{
    Kafka, KafkaOptions, Node, Shard, Valkey, ValkeyOptions, Weir, WeirOptions, inputs, until,
};

pub const PARTITIONS: i32 = 12;
/// What the config says, in the checker's words.
pub const WINDOW_MS: i64 = 3_600_000;
pub const PER_KEY: usize = 64;
pub const NODE_TIMEOUT: Duration = Duration::from_secs(1);
const TOPIC: &str = "orders";
/// The consumer group of the gateways.
const GROUP: &str = "weir-recent";
/// How long a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(15);
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two looks at whether all is well again.
const LOOK: Duration = Duration::from_millis(100);
/// So many keys are tried to find one of each partition.
const TRIED: u32 = 10_000;

/// A gateway, and whether clients are sent there.
pub struct Gateway {
    pub weir: Weir,
    pub up: AtomicBool,
}

impl Gateway {
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
}

/// All processes of the run.
pub struct Stage {
    pub clock: Clock,
    pub http: reqwest::Client,
    /// Never killed.
    pub stays: Gateway,
    /// Comes and goes.
    pub second: Gateway,
    pub kafka: Kafka,
    pub valkey: Valkey,
    /// A key of each partition.
    probes: Vec<String>,
}

impl Stage {
    /// Starts everything and waits until lookups are answered.
    pub async fn set() -> Self {
        let (kafka, valkey) = tokio::join!(
            Kafka::start(KafkaOptions::default()),
            Valkey::start(ValkeyOptions {
                node_timeout_ms: u32::try_from(NODE_TIMEOUT.as_millis()).expect("a second"),
                ..ValkeyOptions::default()
            })
        );
        for topic in [TOPIC, "orders.dead-letter"] {
            kafka.create_topic(topic, PARTITIONS, &[]).await;
        }
        let config = config(kafka.bootstrap(), &valkey.addresses());
        let start = || async {
            let options = WeirOptions { ready_timeout: START_TIMEOUT, ..WeirOptions::serve(&config) };
            Gateway { weir: Weir::start(options).await, up: AtomicBool::new(true) }
        };
        let (stays, second) = (start().await, start().await);
        let http = reqwest::Client::builder().timeout(CLIENT_TIMEOUT).build().expect("a plain client");
        let probe = |partition| {
            let mut keys = (0..TRIED).map(event::key);
            keys.find(|key| partition_of(key) == partition).expect("of ten thousand keys one is there")
        };
        let probes = (0..PARTITIONS).map(probe).collect();
        let stage = Self { clock: Clock::start(), http, stays, second, kafka, valkey, probes };
        stage.members(2).await;
        assert!(stage.recovered(START_TIMEOUT).await, "lookups are not answered by the store");
        stage
    }

    pub fn gateway(&self, second: bool) -> &Gateway {
        if second { &self.second } else { &self.stays }
    }

    /// The topic's name, and the route's.
    pub fn topic(&self) -> &'static str {
        TOPIC
    }

    /// Which partitions a shard keeps, as bits.
    pub fn kept_by(shard: &Shard<'_>) -> u64 {
        (0..PARTITIONS)
            .filter(|partition| shard.serves(hash_slot(*partition)))
            .fold(0, |bits, p| bits | 1 << p)
    }

    /// The shards, once the cluster is in order.
    pub async fn shards(&self) -> Vec<Shard<'_>> {
        until("the cluster is in order", START_TIMEOUT, async || self.valkey.settled().await).await
    }

    /// Waits until another node than this one serves a partition in the eyes of a node that can be asked.
    pub async fn replaced(&self, dead: &Node, partition: i32) {
        let witness = self.valkey.nodes().iter().filter(|node| node.address() != dead.address());
        let witness: Vec<&Node> = witness.collect();
        until("a replica has taken over", START_TIMEOUT, async || {
            for node in &witness {
                let shards = self.valkey.shards_seen_by(node).await.unwrap_or_default();
                let owner = shards.iter().find(|shard| shard.serves(hash_slot(partition)));
                if owner.is_none_or(|owner| owner.primary.address() == dead.address()) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Waits until so many gateways share the partitions out.
    pub async fn members(&self, count: usize) {
        until(&format!("{count} gateways share the partitions"), START_TIMEOUT, async || {
            (self.kafka.members(GROUP).await? == count).then_some(())
        })
        .await;
    }

    /// Waits until the cluster is in order, every gateway that is up answers for every partition out of the store alone and
    /// freshly, and all of the window is there: nothing is to be filled in any more. False if that takes too long.
    pub async fn recovered(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if self.valkey.settled().await.is_some() && self.answers().await && self.is_filled().await {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    async fn answers(&self) -> bool {
        for gateway in [&self.stays, &self.second] {
            if gateway.is_up() {
                let asked = self.probes.iter().map(|key| self.probe(gateway, key));
                if !futures_util::future::join_all(asked).await.into_iter().all(|well| well) {
                    return false;
                }
            }
        }
        true
    }

    async fn is_filled(&self) -> bool {
        let to_fill = async || {
            let answer = self.http.get(self.stays.weir.admin_url("/admin/v1/recent")).send().await.ok()?;
            let status: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
            status["partitions"].as_array()?.iter().map(|it| it["to_fill"].as_i64()).sum::<Option<i64>>()
        };
        to_fill().await == Some(0)
    }

    async fn probe(&self, gateway: &Gateway, key: &str) -> bool {
        let url = gateway.weir.url(&format!("/v1/events/{TOPIC}?key={key}&limit=1"));
        let answer = self.http.get(url).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK && is_hit(answer.headers()))
    }
}

/// Whether the store alone gave this answer.
pub fn is_hit(headers: &reqwest::header::HeaderMap) -> bool {
    headers.get("cache-status").is_some_and(|status| status.as_bytes().ends_with(b"; hit"))
}

/// The partition of a key.
pub fn partition_of(key: &str) -> i32 {
    murmur2_partition(key.as_bytes(), PARTITIONS)
}

/// The hash tag under which a partition is kept.
pub fn tag(partition: i32) -> String {
    format!("{{w3:{}:{TOPIC}:{partition}}}", TOPIC.len())
}

pub fn hash_slot(partition: i32) -> u16 {
    fred::util::redis_keyslot(tag(partition).as_bytes())
}

/// All partitions, as bits.
pub fn everywhere() -> u64 {
    (1 << PARTITIONS) - 1
}

/// The numbers of these bits.
pub fn partitions(bits: u64) -> BTreeSet<i32> {
    (0..PARTITIONS).filter(|partition| bits & (1 << partition) != 0).collect()
}

fn config(bootstrap: &str, valkey: &[String]) -> String {
    let nodes = valkey.iter().map(|node| format!("\"{node}\"")).collect::<Vec<_>>().join(", ");
    format!(
        r#"listen: {{listen}}
admin: {{admin}}
log: {{level: info}}
plugins: {{entity-key: {{path: "{plugin}"}}}}
kafka: {{brokers: ["{bootstrap}"], allow_weak_topics: true}}
valkey: {{nodes: [{nodes}]}}
routes:
  - name: {TOPIC}
    id: data:/id
    plugins:
      - plugin: entity-key
        config: {{keys: [{{kind: key, pointer: /key}}, {{kind: group, pointer: /group}}]}}
    topic: {TOPIC}
    topic_settings: {{partitions: {PARTITIONS}, replication_factor: 1, min_insync_replicas: 1}}
    recent: {{window_s: {window_s}, per_key: {PER_KEY}}}
"#,
        plugin = inputs::plugin("entity_key").display(),
        window_s = WINDOW_MS / 1_000,
    )
}
