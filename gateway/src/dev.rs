//! The role for the first minutes: one process, nothing else installed. Kafka is librdkafka's mock cluster,
//! the read model is in memory, and both are gone when the process ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::config::route_settings::RouteSettings;
use crate::config::{Config, Loaded};
use crate::memory::Memory;
use crate::recent::{CONTROL_TOPIC, Mode};
use crate::serve::{self, Addresses, ReadModel, ServeError, Source};

/// The example's config within a checkout.
const EXAMPLE: &str = "deploy/dev.yaml";

/// The config file of `weir dev` when none is given: the example of the checkout that the binary or the
/// caller stands in.
pub fn example() -> Result<PathBuf, ServeError> {
    let beside = std::env::current_exe().ok();
    let above = beside.iter().flat_map(|exe| exe.ancestors().skip(1)).map(Path::to_path_buf);
    let mut folders = [PathBuf::from(".")].into_iter().chain(above);
    folders.find(|folder| folder.join(EXAMPLE).is_file()).map(|folder| folder.join(EXAMPLE)).ok_or_else(|| {
        let hint = "run `weir dev` inside a checkout of Weir, or give a config of your own: weir dev --config weir.yaml";
        ServeError::Config(format!("there is no {EXAMPLE} here: {hint}"))
    })
}

/// The Kafka of `weir dev`.
pub struct Kafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
    topics: Mutex<BTreeSet<String>>,
}

impl Kafka {
    /// Starts it, on loopback ports of its own.
    pub fn start() -> Result<Kafka, ServeError> {
        let cluster = MockCluster::new(1);
        let cluster = cluster.map_err(|error| ServeError::Config(format!("the mock cluster: {error}")))?;
        Ok(Kafka { cluster, topics: Mutex::default() })
    }

    /// What it changes in any config, in the form of environment variables.
    /// Where it listens is for whoever starts it to say, by flags.
    pub fn overrides(&self) -> [(String, String); 4] {
        let brokers = format!("[\"{}\"]", self.cluster.bootstrap_servers().replace(',', "\",\""));
        [
            ("WEIR__KAFKA__BROKERS", brokers.as_str()),
            ("WEIR__KAFKA__ALLOW_WEAK_TOPICS", "true"),
            ("WEIR__LISTEN", "127.0.0.1:8080"),
            ("WEIR__ADMIN", "127.0.0.1:9090"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// Makes the topics of a config that are not there yet.
    fn make_topics(&self, config: &Config) -> Result<(), String> {
        let mut made = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let of_route = |route: &RouteSettings| {
            let partitions = route.topic_settings.partitions;
            route.topics().map(move |topic| (topic.into_owned(), partitions)).collect::<Vec<_>>()
        };
        let topics = config.routes.iter().flat_map(of_route).chain([(CONTROL_TOPIC.to_owned(), 1)]);
        for (topic, partitions) in topics {
            if !made.contains(&topic) {
                let created = self.cluster.create_topic(&topic, partitions, 1);
                created.map_err(|error| format!("topic {topic}: {error}"))?;
                made.insert(topic);
            }
        }
        Ok(())
    }
}

/// Runs a config on a Kafka of its own until a signal.
pub fn run(kafka: Kafka, loaded: Loaded, source: Source) -> Result<(), ServeError> {
    let config = &loaded.config;
    kafka.make_topics(config).map_err(ServeError::Config)?;
    let bootstrap = kafka.cluster.bootstrap_servers();
    let read_model = ReadModel { store: Arc::new(Memory::new()), mode: Mode::Manual };
    let welcome = {
        let routes = config.routes.iter().map(|route| route.name.clone()).collect::<Vec<_>>();
        let topic = config.routes.first().map_or_else(String::new, |route| route.topic.clone());
        let scheme = |tls: bool| if tls { "https" } else { "http" };
        let schemes = [scheme(config.tls.is_some()), scheme(config.admin_tls.is_some())];
        move |addresses| welcome(addresses, schemes, &bootstrap, &topic, &routes)
    };
    let prepare = move |config: &Config| kafka.make_topics(config);
    let source = Source { prepare: Box::new(prepare), ..source };
    serve::run(loaded, source, Some(read_model), welcome)
}

/// An order as the example's schema wants it.
const ORDER: &str = r#"{"order_id":"o-1","customer":{"user_id":"u-7","device_fingerprint":"9f86d081884c7d65"},"items":[{"sku":"BK-30411","quantity":1,"price":12.5}],"total":12.5,"currency":"EUR","placed_at":"2026-11-23T09:26:53Z"}"#;

#[expect(clippy::print_stdout, reason = "what `weir dev` says to the person who started it")]
fn welcome(addresses: Addresses, schemes: [&str; 2], bootstrap: &str, topic: &str, routes: &[String]) {
    let [listen, admin] =
        [format!("{}://{}", schemes[0], addresses.listen), format!("{}://{}", schemes[1], addresses.admin)];
    println!(
        "Weir is up. Kafka is a mock inside this process: it keeps about the last 5 MiB of each partition,"
    );
    println!("in memory, and forgets everything when it ends.\n");
    println!("  events and lookups   {listen}");
    println!("  health and metrics   {admin}/metrics");
    println!("  Kafka                {bootstrap}      (kcat -b {bootstrap} -C -t {topic})");
    if !routes.iter().any(|route| route == "orders") {
        println!("  routes               {}", routes.join(", "));
        return;
    }
    println!("\nAn event in:\n");
    println!("curl -s {listen}/v1/events/orders -H 'content-type: application/json' -d '{ORDER}'\n");
    println!("The same event, looked up by its key:\n");
    println!("curl -s '{listen}/v1/events/orders?key=u-7'\n");
    println!("An event that breaks its schema, and why:\n");
    println!(
        "curl -s {listen}/v1/events/orders -H 'content-type: application/json' -d '{}'\n",
        ORDER.replace("\"total\":12.5", "\"total\":\"much\"")
    );
}
