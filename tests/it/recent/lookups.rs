//! Lookups against a real log: what was produced is found by key, kind, id and position, and nothing else is;
//! an answer that must include a position does, whatever state the store is in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::runtime::Handle;
use tokio::sync::watch;
use weir::kafka;
use weir::kafka::admin::{Admin, Wanted};
use weir::kafka::partitioner::murmur2_partition;
use weir::memory::Memory;
use weir::ports::RecentStore;
use weir::problem::{Code, Problem};
use weir::recent::{
    ById, ByKey, CONTROL_TOPIC, Event, Level, MinPosition, Mode, Page, Recent, Settings, Start, Topic,
};
use weir::valkey;
use weir_tests::world::{Kafka, fresh_name, shared_kafka, shared_valkey, until};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const PARTITIONS: i32 = 3;
pub(super) const ROUTE: &str = "orders";

/// A read model of one topic, and a way into its log.
pub(super) struct Model {
    pub(super) recent: Recent,
    pub(super) ready: watch::Receiver<bool>,
    producer: FutureProducer,
    topic: String,
}

impl Model {
    async fn start(kafka: &ClientConfig, topic: &str, store: Arc<dyn RecentStore>, mode: Mode) -> Model {
        Model::begin(kafka, topic, store, mode, 8).until_ready().await
    }

    /// The same without waiting.
    pub(super) fn begin(
        kafka: &ClientConfig,
        topic: &str,
        store: Arc<dyn RecentStore>,
        mode: Mode,
        per_key: usize,
    ) -> Model {
        let settings = Settings { per_key, ..Settings::default() };
        let topics = vec![Topic { route: ROUTE.into(), topic: topic.into(), settings }];
        let runtime = Handle::current();
        let start = Start { topics, store, kafka: kafka.clone(), mode, runtime, counts: Arc::default() };
        let (recent, ready) = Recent::start(start).unwrap();
        let producer = kafka.clone().set("linger.ms", "0").create().unwrap();
        Model { recent, ready, producer, topic: topic.to_owned() }
    }

    pub(super) async fn until_ready(mut self) -> Model {
        tokio::time::timeout(PATIENCE, self.ready.wait_for(|ready| *ready)).await.unwrap().unwrap();
        self
    }

    /// On real services, alone with a topic of its own.
    async fn real() -> Model {
        let topic = fresh_name("recent");
        let kafka = shared_kafka().await;
        kafka.create_topic(&topic, PARTITIONS, &[]).await;
        control_topic(kafka).await;
        let mode = Mode::Group(fresh_name("group").into());
        Model::start(&kafka.client_config(), &topic, valkey_store().await, mode).await
    }

    async fn produce(&self, event: &Produced<'_>) -> MinPosition {
        self.produce_to(murmur2_partition(event.key.as_bytes(), PARTITIONS), event).await
    }

    /// All at once, in this order.
    pub(super) async fn produce_all(&self, partition: i32, events: Vec<Produced<'_>>) {
        join_all(events.iter().map(|event| self.produce_to(partition, event))).await;
    }

    pub(super) async fn produce_to(&self, partition: i32, event: &Produced<'_>) -> MinPosition {
        let lookup_keys = format!(r#"[["order","{}"]]"#, event.order);
        let text = |key, value| Header { key, value: Some(value) };
        let mut headers = OwnedHeaders::new()
            .insert(text("ce_specversion", "1.0"))
            .insert(text("ce_id", event.id))
            .insert(text("ce_source", "/shop"))
            .insert(text("content-type", "application/json"))
            .insert(text("weir-schema", "order/2"))
            .insert(text("weir-lookup-keys", lookup_keys.as_str()));
        if let Some(type_) = event.type_ {
            headers = headers.insert(text("ce_type", type_));
        }
        let record = FutureRecord::to(&self.topic)
            .partition(partition)
            .key(event.key)
            .payload(event.data)
            .headers(headers);
        let delivered = self.producer.send(record, PATIENCE).await.unwrap();
        MinPosition { partition: delivered.partition, offset: delivered.offset }
    }

    async fn by_key(&self, ask: ByKey) -> Result<Page, Problem> {
        self.recent.by_key(ROUTE, &ask).await
    }

    fn gaps_closed(&self) -> u64 {
        self.recent.counts().gaps_closed.load(Ordering::Relaxed)
    }
}

/// As `weir serve` makes it.
pub(super) async fn control_topic(kafka: &Kafka) {
    let wanted = Wanted {
        topic: CONTROL_TOPIC.to_owned(),
        partitions: 1,
        replication_factor: 1,
        retention_ms: -1,
        window_ms: 0,
        min_insync_replicas: 1,
        max_message_bytes: 1 << 20,
        compacted: true,
    };
    let brokers = kafka.bootstrap().split(',').map(str::to_owned).collect();
    let settings = kafka::settings::Settings { brokers, ..kafka::settings::Settings::default() };
    Admin::new(&settings, PATIENCE).unwrap().create(&wanted).await.unwrap();
}

pub(super) async fn valkey_store() -> Arc<dyn RecentStore> {
    let nodes = shared_valkey().await.addresses();
    let settings = valkey::Settings { nodes, ..valkey::Settings::default() };
    Arc::new(valkey::Valkey::connect(&settings, Handle::current()).unwrap())
}

#[derive(Clone, Copy)]
pub(super) struct Produced<'a> {
    id: &'a str,
    key: &'a str,
    order: &'a str,
    type_: Option<&'a str>,
    data: &'a str,
}

impl<'a> Produced<'a> {
    pub(super) fn new(id: &'a str, key: &'a str) -> Self {
        Produced { id, key, order: "none", type_: Some("order.created"), data: r#"{"n": 1.50}"# }
    }
}

pub(super) fn key(key: &str) -> ByKey {
    ByKey { key: key.to_owned(), limit: 20, ..ByKey::default() }
}

pub(super) fn id(id: &str, source: Option<&str>, min_position: Option<MinPosition>) -> ById {
    let source = source.map(str::to_owned);
    ById { id: id.to_owned(), source, min_position, level: Level::Bounded }
}

pub(super) fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::id).collect()
}

fn json(event: &Event) -> serde_json::Value {
    serde_json::from_slice(&event.to_json()).unwrap()
}

async fn finds_what_was_produced(model: &Model) {
    let first = model.produce(&Produced { order: "o-1", ..Produced::new("e-1", "alice") }).await;
    model.produce(&Produced { order: "o-1", ..Produced::new("e-2", "bob") }).await;
    let last = model.produce(&Produced { type_: Some("order.paid"), ..Produced::new("e-3", "alice") }).await;
    let page = until("the event is visible by its key", PATIENCE, async || {
        Some(model.by_key(key("alice")).await.unwrap()).filter(|page| page.events.len() == 2)
    })
    .await;
    assert_eq!(ids(&page.events), ["e-3", "e-1"]);
    assert_eq!((page.as_of[0].partition, page.as_of[0].offset >= last.offset), (last.partition, true));
    assert_eq!((page.truncated, page.cursor), (false, None));

    let found = json(&model.recent.by_position(ROUTE, first.partition, first.offset).await.unwrap());
    let expected = serde_json::json!({
        "id": "e-1", "source": "/shop", "type": "order.created", "time": null, "topic": model.topic,
        "partition": first.partition, "offset": first.offset, "key": "alice",
        "content_type": "application/json", "schema": "order/2", "data": {"n": 1.5},
    });
    assert_eq!(found, expected);
    for source in [Some("/shop"), None] {
        let by_id = model.recent.by_id(ROUTE, &id("e-1", source, Some(first))).await.unwrap();
        assert_eq!((json(&by_id), by_id.data()), (expected.clone(), &br#"{"n": 1.50}"#[..]));
    }
    let typed = ByKey { type_: Some("order.created".to_owned()), ..key("alice") };
    assert_eq!(ids(&model.by_key(typed).await.unwrap().events), ["e-1"]);
    // bob's event and alice's have an order in common, over two partitions or one.
    let by_order = ByKey { kind: Some("order".to_owned()), ..key("o-1") };
    let page = until("both events are visible by their order", PATIENCE, async || {
        Some(model.by_key(by_order.clone()).await.unwrap()).filter(|page| page.events.len() == 2)
    })
    .await;
    assert_eq!((ids(&page.events), page.as_of.len()), (vec!["e-2", "e-1"], 3));
    assert_eq!(ids(&model.by_key(key("carol")).await.unwrap().events), Vec::<&str>::new());
}

async fn pages_and_says_what_was_cut(model: &Model) {
    let mut last = None;
    for n in 0..10 {
        last = Some(model.produce(&Produced::new(&format!("p-{n}"), "pages")).await);
    }
    let first = model.by_key(ByKey { limit: 3, min_position: last, ..key("pages") }).await.unwrap();
    assert_eq!(ids(&first.events), ["p-9", "p-8", "p-7"]);
    assert!(first.truncated && first.complete_since_ms > first.window_start_ms, "only 8 are listed");
    let second = model.by_key(ByKey { limit: 9, cursor: first.cursor, ..key("pages") }).await.unwrap();
    assert_eq!((ids(&second.events), second.cursor), (vec!["p-6", "p-5", "p-4", "p-3", "p-2"], None));
}

/// Without `min_position` an answer may be a second old; in fact it should be a matter of milliseconds.
async fn shows_soon_what_was_acked(model: &Model) {
    let mut delays = Vec::new();
    for n in 0..20 {
        let id = format!("s-{n}");
        let place = model.produce(&Produced::new(&id, "soon")).await;
        let acked = Instant::now();
        let page = loop {
            let page = model.by_key(ByKey { limit: 1, ..key("soon") }).await.unwrap();
            if page.as_of[0].offset >= place.offset {
                break page;
            }
            assert!(acked.elapsed() < Duration::from_secs(1), "not visible within a second");
            tokio::task::yield_now().await;
        };
        delays.push(acked.elapsed());
        assert_eq!(ids(&page.events), [id.as_str()]);
    }
    delays.sort_unstable();
    println!("from ack to visible: median {:?}, most {:?}", delays[10], delays[19]);
}

async fn strong_shows_at_once_what_was_acked(model: &Model) {
    for n in 0..20 {
        let id = format!("t-{n}");
        model.produce(&Produced { order: "o-t", ..Produced::new(&id, "strong") }).await;
        let strong = |ask: ByKey| ByKey { limit: 1, level: Level::Strong, ..ask };
        let page = model.by_key(strong(key("strong"))).await.unwrap();
        assert_eq!(ids(&page.events), [id.as_str()]);
        let by_order = ByKey { kind: Some("order".to_owned()), ..key("o-t") };
        assert_eq!(ids(&model.by_key(strong(by_order)).await.unwrap().events), [id.as_str()]);
        let by_id = ById { id: id.clone(), level: Level::Strong, ..ById::default() };
        assert_eq!(model.recent.by_id(ROUTE, &by_id).await.unwrap().id(), id);
    }
}

async fn refuses_by_name(model: &Model) {
    let code = async |ask: ByKey| model.by_key(ask).await.unwrap_err().code;
    let partition = murmur2_partition(b"alice", PARTITIONS);
    let at =
        |partition, offset| ByKey { min_position: Some(MinPosition { partition, offset }), ..key("alice") };
    assert_eq!(code(at((partition + 1) % PARTITIONS, 0)).await, Code::PositionElsewhere);
    assert_eq!(code(at(partition, 1_000_000)).await, Code::PositionUnknown);
    assert_eq!(code(at(PARTITIONS, 0)).await, Code::PositionUnknown);
    assert_eq!(code(ByKey { cursor: Some("x".to_owned()), ..key("alice") }).await, Code::BadQuery);
    let by_position = |partition, offset| model.recent.by_position(ROUTE, partition, offset);
    assert_eq!(by_position(partition, 1_000_000).await.unwrap_err().code, Code::PositionUnknown);
    let absent = model.recent.by_id(ROUTE, &id("no such", None, None)).await;
    assert_eq!(absent.unwrap_err().code, Code::NotInWindow);
    assert_eq!(
        model.recent.by_id("elsewhere", &id("e", None, None)).await.unwrap_err().code,
        Code::RecentDisabled
    );
}

async fn passes_over_what_is_no_event(model: &Model) {
    let foreign = model.produce(&Produced { type_: None, ..Produced::new("x-1", "mixed") }).await;
    let ours = model.produce(&Produced::new("x-2", "mixed")).await;
    let page = model.by_key(ByKey { min_position: Some(ours), ..key("mixed") }).await.unwrap();
    assert_eq!(ids(&page.events), ["x-2"]);
    let absent = model.recent.by_position(ROUTE, foreign.partition, foreign.offset).await;
    assert_eq!(absent.unwrap_err().code, Code::NotInWindow);
}

async fn closes_the_gap_once(model: &Model) {
    model.recent.stop().await;
    let mut last = None;
    for n in 0..5 {
        last =
            Some(model.produce(&Produced { order: "o-g", ..Produced::new(&format!("g-{n}"), "gap") }).await);
    }
    let before = model.gaps_closed();
    let ask = ByKey { min_position: last, ..key("gap") };
    let expected = ["g-4", "g-3", "g-2", "g-1", "g-0"];
    let page = model.by_key(ask.clone()).await.unwrap();
    assert_eq!((ids(&page.events), model.gaps_closed()), (expected.to_vec(), before + 1));
    assert!(page.from_log && page.as_of[0].offset >= last.unwrap().offset);
    // What closed the gap was handed on: the next reader needs no log.
    let page = model.by_key(ask).await.unwrap();
    assert_eq!((ids(&page.events), model.gaps_closed()), (expected.to_vec(), before + 1));
    assert!(!page.from_log);
    assert_eq!(model.recent.by_id(ROUTE, &id("g-2", None, last)).await.unwrap().id(), "g-2");
    // Nobody says any more that the other partitions are fresh: their ends are asked for.
    let by_order = ByKey { kind: Some("order".to_owned()), ..key("o-g") };
    let page = until("the bound has passed", PATIENCE, async || {
        let page = model.by_key(by_order.clone()).await.unwrap();
        (model.gaps_closed() > before + 1).then_some(page)
    })
    .await;
    assert_eq!(ids(&page.events), expected);
}

async fn all_of_it(model: &Model) {
    assert!(*model.ready.borrow());
    finds_what_was_produced(model).await;
    shows_soon_what_was_acked(model).await;
    strong_shows_at_once_what_was_acked(model).await;
    pages_and_says_what_was_cut(model).await;
    refuses_by_name(model).await;
    passes_over_what_is_no_event(model).await;
    closes_the_gap_once(model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_mock_cluster_and_in_memory() {
    let cluster = MockCluster::new(1).unwrap();
    let topic = fresh_name("recent");
    cluster.create_topic(&topic, PARTITIONS, 1).unwrap();
    cluster.create_topic(CONTROL_TOPIC, 1, 1).unwrap();
    let mut kafka = ClientConfig::new();
    kafka.set("bootstrap.servers", cluster.bootstrap_servers());
    all_of_it(&Model::start(&kafka, &topic, Arc::new(Memory::new()), Mode::Manual).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_kafka_and_valkey() {
    all_of_it(&Model::real().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_slot_is_built_anew_and_a_lost_body_read_from_the_log() {
    let model = Model::real().await;
    let place = model.produce(&Produced::new("l-1", "lost")).await;
    let ask = ByKey { min_position: Some(place), ..key("lost") };
    assert_eq!(ids(&model.by_key(ask.clone()).await.unwrap().events), ["l-1"]);

    let tag = format!("{{w3:{}:{}:{}}}", model.topic.len(), model.topic, place.partition);
    let node = shared_valkey().await.primary_of(&tag).await.unwrap();
    let generation = node.call(&["HGET", &format!("{tag}:w"), "g"]).await.unwrap().text();
    let body = format!("{tag}:b:{generation}:{}", place.offset);
    node.call(&["DEL", &body]).await.unwrap();
    assert_eq!(ids(&model.by_key(ask.clone()).await.unwrap().events), ["l-1"]);

    node.call(&["DEL", &format!("{tag}:w")]).await.unwrap();
    let page = until("the slot is built anew", PATIENCE, async || model.by_key(ask.clone()).await.ok()).await;
    assert_eq!(ids(&page.events), ["l-1"]);
    let next = node.call(&["HGET", &format!("{tag}:w"), "g"]).await.unwrap().text();
    assert_ne!(next, generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_goes_on_where_one_stopped() {
    let topic = fresh_name("recent");
    let kafka = shared_kafka().await;
    kafka.create_topic(&topic, PARTITIONS, &[]).await;
    control_topic(kafka).await;
    let mode = Mode::Group(fresh_name("group").into());
    let config = kafka.client_config();
    let first = Model::start(&config, &topic, valkey_store().await, mode.clone()).await;
    let place = first.produce(&Produced::new("n-1", "next")).await;
    first.recent.stop().await;
    let second = Model::start(&config, &topic, valkey_store().await, mode).await;
    assert_eq!(second.recent.counts().opened.load(Ordering::Relaxed), 0, "it begins at the watermark");
    let ask = ByKey { min_position: Some(place), ..key("next") };
    assert_eq!(ids(&second.by_key(ask).await.unwrap().events), ["n-1"]);
    second.recent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_brings_nothing_of_the_old_one_back() {
    let mut model = Model::real().await;
    let mut last = None;
    for n in 0..3 {
        last = Some(model.produce(&Produced::new(&format!("old-{n}"), "again")).await);
    }
    let page = model.by_key(ByKey { min_position: last, ..key("again") }).await.unwrap();
    assert_eq!(page.events.len(), 3);
    // It is remembered where they are: one will be gone, the other elsewhere.
    for old in ["old-0", "old-1"] {
        model.recent.by_id(ROUTE, &id(old, None, None)).await.unwrap();
    }
    let kafka = shared_kafka().await;
    let admin: AdminClient<DefaultClientContext> = kafka.client_config().create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    admin.delete_topics(&[&model.topic], &options).await.unwrap()[0].as_ref().unwrap();
    kafka.create_topic(&model.topic, PARTITIONS, &[]).await;
    model.producer = kafka.client_config().set("linger.ms", "0").create().unwrap();
    // More than there were: offsets alone do not tell the two apart.
    for n in 0..5 {
        last = Some(model.produce(&Produced::new(&format!("new-{n}"), "again")).await);
    }
    let elsewhere = (last.unwrap().partition + 1) % PARTITIONS;
    let elsewhere = model.produce_to(elsewhere, &Produced::new("old-1", "another")).await;
    let ask = ByKey { min_position: last, level: Level::Strong, ..key("again") };
    let page = until("the slot is of the new topic", PATIENCE, async || {
        let page = model.by_key(ask.clone()).await.ok()?;
        page.events.iter().all(|event| event.id().starts_with("new")).then_some(page)
    })
    .await;
    assert_eq!(ids(&page.events), ["new-4", "new-3", "new-2", "new-1", "new-0"]);
    assert_eq!(
        model.recent.by_id(ROUTE, &id("old-0", None, None)).await.unwrap_err().code,
        Code::NotInWindow
    );
    let moved = until("the other slot is of the new topic", PATIENCE, async || {
        model.recent.by_id(ROUTE, &id("old-1", None, Some(elsewhere))).await.ok()
    })
    .await;
    assert_eq!((moved.partition, moved.offset), (elsewhere.partition, elsewhere.offset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_moved_to_another_partition_is_found_in_both() {
    let mut model = Model::real().await;
    let more = 2 * PARTITIONS;
    let moved = |key: &String| {
        murmur2_partition(key.as_bytes(), more) != murmur2_partition(key.as_bytes(), PARTITIONS)
    };
    let name = (0..).map(|n| format!("moved-{n}")).find(moved).unwrap();
    let before = model.produce(&Produced::new("m-0", &name)).await;
    let ask = ByKey { min_position: Some(before), ..key(&name) };
    assert_eq!(ids(&model.by_key(ask).await.unwrap().events), ["m-0"]);
    let admin: AdminClient<DefaultClientContext> = shared_kafka().await.client_config().create().unwrap();
    let partitions = NewPartitions::new(&model.topic, usize::try_from(more).unwrap());
    admin.create_partitions([&partitions], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let partition = murmur2_partition(name.as_bytes(), more);
    // A producer that knew the topic before looks again only after minutes.
    model.producer = shared_kafka().await.client_config().set("linger.ms", "0").create().unwrap();
    let after = model.produce_to(partition, &Produced::new("m-1", &name)).await;
    let ask = ByKey { min_position: Some(after), ..key(&name) };
    let page = until("the model has noticed", PATIENCE, async || model.by_key(ask.clone()).await.ok()).await;
    assert_eq!((ids(&page.events), page.as_of.len()), (vec!["m-1", "m-0"], usize::try_from(more).unwrap()));
}
