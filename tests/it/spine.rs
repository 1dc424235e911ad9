//! What the tests of the whole path share: a gateway over the shared services with one route of its own, and a
//! client's view of its answers.

use std::path::Path;

use reqwest::header::HeaderMap;
use serde_json::Value;
use weir_tests::world::{Weir, WeirOptions, canaries, fresh_name, inputs, shared_kafka, shared_valkey};

/// A route on a topic of its own.
pub(crate) struct Route {
    /// Its name, path and topic.
    pub(crate) name: String,
    /// The text of `weir.yaml`.
    pub(crate) config: String,
}

/// Makes a topic and the config of a gateway with one route to it. `lines` are the route's, indented by four.
pub(crate) async fn route(partitions: i32, schemas: &Path, lines: &str) -> Route {
    let name = fresh_name("route");
    let (kafka, valkey) = (shared_kafka().await, shared_valkey().await);
    for topic in [&name, &format!("{name}.dead-letter")] {
        kafka.create_topic(topic, partitions, &[]).await;
    }
    let config = format!(
        r#"listen: {{listen}}
admin: {{admin}}
schemas: "{schemas}"
plugins: {{{plugins}}}
kafka:
  brokers: [{brokers}]
  allow_weak_topics: true
valkey:
  nodes: [{nodes}]
routes:
  - name: {name}
    topic: {name}
    topic_settings: {{partitions: {partitions}, replication_factor: 1, min_insync_replicas: 1}}
{lines}
"#,
        schemas = schemas.display(),
        plugins = plugins(lines),
        brokers = quoted(kafka.bootstrap().split(',')),
        nodes = quoted(valkey.addresses().iter().map(String::as_str)),
    );
    Route { name, config }
}

/// Where the plugins are that these lines use.
fn plugins(lines: &str) -> String {
    let all =
        ["entity-key", "field-key", "geo", "redact", "rogue"].map(|name| (name, name.replace('-', "_")));
    let used = all.into_iter().filter(|(name, _)| lines.contains(&format!("plugin: {name}")));
    let place =
        |(name, file): (&str, String)| format!("{name}: {{path: \"{}\"}}", inputs::plugin(&file).display());
    used.map(place).collect::<Vec<_>>().join(", ")
}

fn quoted<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
}

/// The route of orders that `weir dev` has, on real services.
pub(crate) async fn orders() -> Route {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    route(
        3,
        &schemas,
        r"    match: {type: 'orders.*'}
    type: const:orders.created
    subject: orders.created
    plugins:
      - plugin: entity-key
        config: {keys: [{kind: user, pointer: /customer/user_id}, {kind: order, pointer: /order_id}]}",
    )
    .await
}

impl Route {
    /// Starts a gateway with this route and waits until it is ready.
    pub(crate) async fn start(&self) -> Client {
        Client {
            weir: Weir::start(WeirOptions::serve(&self.config)).await,
            route: self.name.clone(),
            http: reqwest::Client::new(),
        }
    }
}

/// A gateway and a client of it.
pub(crate) struct Client {
    /// The process.
    pub(crate) weir: Weir,
    /// The one route.
    pub(crate) route: String,
    /// Keep-alive connections.
    pub(crate) http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body, `null` if it is not JSON.
    pub(crate) body: Value,
}

impl Client {
    /// Posts a body to a path.
    pub(crate) async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.http.post(self.weir.url(path)).header("content-type", content_type).body(body);
        read_answer(request.send().await.unwrap()).await
    }

    /// Posts JSON to the route.
    pub(crate) async fn event(&self, body: impl Into<reqwest::Body>) -> Answer {
        self.post(&format!("/v1/events/{}", self.route), "application/json", body).await
    }

    /// Looks something up below the route: `?key=…`, `/id`, `/at/0/1`.
    pub(crate) async fn look(&self, rest: &str) -> Answer {
        let url = self.weir.url(&format!("/v1/events/{}{rest}", self.route));
        read_answer(self.http.get(url).send().await.unwrap()).await
    }

    /// The sum of all samples of a metric whose labels contain `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.http.get(self.weir.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
        canaries().told(&text);
        let samples =
            text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(labels));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

pub(crate) async fn read_answer(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    if status >= 400 {
        canaries().told(&String::from_utf8_lossy(&bytes));
    }
    Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
}

/// Java's murmur2 as the Kafka client uses it, written from its description and not from the gateway's.
pub(crate) fn java_partition(key: &[u8], partitions: i32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(key.len()).unwrap();
    let (words, rest) = key.as_chunks();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    i32::try_from(hash & 0x7fff_ffff).unwrap() % partitions
}
