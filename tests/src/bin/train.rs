//! Gives a gateway work of all kinds over real services, so that a compiler may see which of its code is used and how
//! (`deploy/dist.sh`). `WEIR_BIN` names the gateway. It measures nothing, and its events are not those of the bench: orders
//! of all sizes, and GitHub's webhooks.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use prost::Message as _;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use weir_tests::api::io::cloudevents::v1 as cloudevents;
use weir_tests::api::weir::v1 as api;
use weir_tests::bench::Result;
use weir_tests::github::{self, Example};
use weir_tests::world::{Kafka, KafkaOptions, Valkey, ValkeyOptions, Weir, WeirOptions, inputs};

const CUSTOMERS: u64 = 5_000;
const EVENTS_PER_ARRAY: usize = 100;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Gives the gateway of `WEIR_BIN` work of all kinds, and ends it.
#[derive(Parser)]
struct Flags {
    /// Seconds of each kind of work.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Clients, each with one request at a time.
    #[arg(long, default_value_t = 128)]
    clients: u64,
}

/// What clients do for a while.
#[derive(Clone, Copy, Debug)]
enum Work {
    Singles,
    Arrays,
    Lines,
    Envelopes,
    Compressed,
    Webhooks,
    Grpc,
    /// Arrays of ten beside nine lookups.
    Lookups,
}

/// Lookups come first, as long as no backlog keeps them waiting. Singles come twice, for most of the gateway's code runs
/// once a request.
const ALL: [Work; 9] = [
    Work::Lookups,
    Work::Singles,
    Work::Arrays,
    Work::Lines,
    Work::Envelopes,
    Work::Compressed,
    Work::Webhooks,
    Work::Grpc,
    Work::Singles,
];

fn main() -> Result<()> {
    let flags = Flags::parse();
    tokio::runtime::Runtime::new()?.block_on(async {
        let kafka = Kafka::start(KafkaOptions::default()).await;
        for topic in ["orders", "orders.dead-letter", "github", "github.dead-letter"] {
            kafka.create_topic(topic, 6, &[]).await;
        }
        let valkey = Valkey::start(ValkeyOptions::default()).await;
        let schemas = schemas()?;
        let weir = Weir::start(WeirOptions::serve(config(&kafka, &valkey, schemas.path()))).await;
        let trainer = Arc::new(Trainer {
            http: Client::new(),
            http2: Client::builder().http2_prior_knowledge().build()?,
            base: weir.url("/v1/events"),
            publish: weir.url("/weir.v1.Events/Publish"),
            webhooks: github::examples()?,
            next: AtomicU64::new(0),
        });
        for work in ALL {
            let statuses = all_clients(&trainer, work, &flags).await?;
            eprintln!("{work:?}: {statuses:?}");
            if !statuses.keys().any(|status| (200..300).contains(status)) {
                return Err(format!("{work:?}: the gateway did none of it").into());
            }
        }
        weir.sigterm();
        match weir.wait(DRAIN_TIMEOUT).await {
            Some(0) => Ok(()),
            other => Err(format!("the gateway ended with {other:?}").into()),
        }
    })
}

/// All clients at one kind of work, and how often each status came.
async fn all_clients(trainer: &Arc<Trainer>, work: Work, flags: &Flags) -> Result<BTreeMap<u16, u64>> {
    let until = Instant::now() + Duration::from_secs(flags.seconds);
    let clients = (0..flags.clients).map(|seed| tokio::spawn(trainer.clone().work(work, seed, until)));
    let mut statuses = BTreeMap::new();
    for client in join_all(clients).await {
        for (status, count) in client?? {
            *statuses.entry(status).or_insert(0) += count;
        }
    }
    Ok(statuses)
}

/// The example's schema, and one for each of GitHub's events.
fn schemas() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    github::write_schemas(folder.path())?;
    let subject = folder.path().join("orders.created");
    fs::create_dir(&subject)?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/orders.created/1.json");
    fs::copy(example, subject.join("1.json"))?;
    Ok(folder)
}

fn config(kafka: &Kafka, valkey: &Valkey, schemas: &Path) -> String {
    let quoted = |texts: Vec<&str>| format!("{texts:?}");
    let addresses = valkey.addresses();
    format!(
        r#"listen: {{listen}}
admin: {{admin}}
log: {{level: warn}}
schemas: "{schemas}"
plugins: {{entity-key: {{path: "{plugin}"}}}}
kafka: {{brokers: {brokers}, allow_weak_topics: true}}
valkey: {{nodes: {nodes}}}
routes:
  - name: orders
    match: {{type: "orders.*"}}
    type: const:orders.created
    subject: orders.created
    plugins:
      - plugin: entity-key
        config: {{keys: [{{kind: user, pointer: /customer/user_id}}, {{kind: order, pointer: /order_id}}]}}
    topic: orders
    topic_settings: {{partitions: 6, replication_factor: 1, min_insync_replicas: 1}}
  - name: github
    id: header:x-github-delivery
    type: header:x-github-event
    subject: github.{{type}}
    plugins:
      - plugin: entity-key
        config: {{keys: [{{kind: repository, pointer: /repository/id}}, {{kind: sender, pointer: /sender/id}}]}}
    topic: github
    topic_settings: {{partitions: 6, replication_factor: 1, min_insync_replicas: 1}}
"#,
        schemas = schemas.display(),
        plugin = inputs::plugin("entity_key").display(),
        brokers = quoted(kafka.bootstrap().split(',').collect()),
        nodes = quoted(addresses.iter().map(String::as_str).collect()),
    )
}

/// What all clients share.
struct Trainer {
    http: Client,
    http2: Client,
    base: String,
    publish: String,
    webhooks: Vec<Example>,
    /// The number of the next event.
    next: AtomicU64,
}

impl Trainer {
    /// One client's requests until then, and how often each status came.
    async fn work(self: Arc<Self>, work: Work, seed: u64, until: Instant) -> Result<BTreeMap<u16, u64>> {
        let mut statuses = BTreeMap::new();
        let mut turn = seed;
        while Instant::now() < until {
            let answer = self.request(work, turn).send().await?;
            *statuses.entry(answer.status().as_u16()).or_insert(0) += 1;
            answer.bytes().await?;
            turn += 1;
        }
        Ok(statuses)
    }

    fn request(&self, work: Work, turn: u64) -> RequestBuilder {
        let typed = |path: &str, content_type: &str| {
            self.http.post(format!("{}{path}", self.base)).header("content-type", content_type)
        };
        let json = || typed("/orders", "application/json");
        match work {
            Work::Singles => json().body(self.order()),
            Work::Arrays => json().body(self.array(EVENTS_PER_ARRAY)),
            Work::Lines => {
                typed("/orders", "application/x-ndjson").body(self.orders(EVENTS_PER_ARRAY).join("\n"))
            }
            Work::Envelopes => typed("", "application/cloudevents+json").body(self.envelope()),
            Work::Compressed => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(self.array(EVENTS_PER_ARRAY).as_bytes()).expect("memory takes all");
                json().header("content-encoding", "gzip").body(gzip.finish().expect("memory takes all"))
            }
            Work::Webhooks => {
                let number = self.number();
                let example = pick(&self.webhooks, number);
                let request = typed("/github", "application/json").header("x-github-event", &example.event);
                request.header("x-github-delivery", number.to_string()).body(example.payload.clone())
            }
            Work::Grpc => self
                .http2
                .post(&self.publish)
                .header("te", "trailers")
                .header("content-type", "application/grpc")
                .body(self.message()),
            Work::Lookups => self.lookup(turn, json()),
        }
    }

    fn lookup(&self, turn: u64, write: RequestBuilder) -> RequestBuilder {
        let user = turn.wrapping_mul(7_919) % CUSTOMERS;
        let look = |rest: String| self.http.get(format!("{}/orders{rest}", self.base));
        match turn % 10 {
            0 => write.body(self.array(10)),
            1 | 2 => look(format!("/at/{}/{}", turn % 6, turn % 1_000)),
            3 => look(format!("?key=u-{user}&level=strong")),
            4 => look(format!("?key=u-{user}&kind=user&limit=1")),
            5 => look(format!("?key=o-{}&kind=order", turn % 10_000)),
            _ => look(format!("?key=u-{user}")),
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Another order each time: of one item or several, with and without what may be absent.
    fn order(&self) -> String {
        let number = self.number();
        let user = number.wrapping_mul(2_654_435_761) % CUSTOMERS;
        let mut customer = json!({"user_id": format!("u-{user}")});
        if !number.is_multiple_of(3) {
            let name = pick(&["ada", "grace", "edsger"], user);
            customer["email"] = format!("{name}.{user}@mail.example.org").into();
        }
        if number.is_multiple_of(4) {
            customer["device_fingerprint"] =
                format!("{:016x}", user.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into();
        }
        let cents = u32::try_from(number % 5_000).expect("small");
        let item =
            |i| json!({"sku": format!("tea-{i}"), "quantity": i + 1, "price": f64::from(cents) / 100.0});
        let items: Vec<Value> = (0..=number % 5).map(item).collect();
        let mut order = json!({
            "order_id": format!("o-{number}"),
            "customer": customer,
            "items": items,
            "total": number % 300,
            "currency": pick(&["EUR", "USD", "GBP", "JPY"], number),
            "placed_at": format!("2026-11-{:02}T{:02}:{:02}:09Z", number % 28 + 1, number % 24, number % 60),
        });
        if number % 5 < 2 {
            order["note"] = "ring twice \u{1F514}, and \"mind\" the dog".into();
            order["channel"] = "shop".into();
        }
        order.to_string()
    }

    fn orders(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.order()).collect()
    }

    fn array(&self, count: usize) -> String {
        format!("[{}]", self.orders(count).join(","))
    }

    fn envelope(&self) -> String {
        let (id, data) = (self.number(), self.order());
        format!(
            r#"{{"specversion":"1.0","id":"e-{id}","source":"/shop/7","type":"orders.created","time":"2026-11-28T09:00:00Z","datacontenttype":"application/json","tenant":"north","data":{data}}}"#
        )
    }

    /// A `PublishRequest` of ten, framed as gRPC frames it.
    fn message(&self) -> Vec<u8> {
        let event = |data| cloudevents::CloudEvent {
            id: format!("g-{}", self.number()),
            source: "/shop/8".to_owned(),
            spec_version: "1.0".to_owned(),
            r#type: "orders.created".to_owned(),
            data: Some(cloudevents::cloud_event::Data::TextData(data)),
            ..cloudevents::CloudEvent::default()
        };
        let events = self.orders(10).into_iter().map(event).collect();
        let message = api::PublishRequest { events, route: "orders".to_owned() }.encode_to_vec();
        let length = u32::try_from(message.len()).expect("ten orders").to_be_bytes();
        [&[0], &length[..], &message].concat()
    }
}

/// One of these after the other.
fn pick<T>(from: &[T], number: u64) -> &T {
    &from[usize::try_from(number).expect("64 bits") % from.len()]
}
