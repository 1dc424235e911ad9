//! The role for the first minutes: one process, nothing else installed. Kafka is librdkafka's mock cluster,
//! the read model is in memory, and both are gone when the process ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::config::Config;
use crate::memory::Memory;
use crate::recent::{CONTROL_TOPIC, Mode};
use crate::serve::{self, Addresses, ReadModel, ServeError};

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
pub struct Kafka(MockCluster<'static, DefaultProducerContext>);

impl Kafka {
    /// Starts it, on loopback ports of its own.
    pub fn start() -> Result<Kafka, ServeError> {
        MockCluster::new(1)
            .map(Kafka)
            .map_err(|error| ServeError::Config(format!("the mock cluster: {error}")))
    }

    /// What it changes in any config, in the form of environment variables.
    /// Where it listens is for whoever starts it to say, by flags.
    pub fn overrides(&self) -> [(String, String); 4] {
        let brokers = format!("[\"{}\"]", self.0.bootstrap_servers().replace(',', "\",\""));
        [
            ("WEIR__KAFKA__BROKERS", brokers.as_str()),
            ("WEIR__KAFKA__ALLOW_WEAK_TOPICS", "true"),
            ("WEIR__LISTEN", "127.0.0.1:8080"),
            ("WEIR__ADMIN", "127.0.0.1:9090"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}

/// Runs `config` on a Kafka of its own until a signal.
pub fn run(kafka: &Kafka, config: &Config) -> Result<(), ServeError> {
    for route in &config.routes {
        for topic in route.topics() {
            let created = kafka.0.create_topic(&topic, route.topic_settings.partitions, 1);
            created.map_err(|error| ServeError::Config(format!("topic {topic}: {error}")))?;
        }
    }
    let created = kafka.0.create_topic(CONTROL_TOPIC, 1, 1);
    created.map_err(|error| ServeError::Config(format!("topic {CONTROL_TOPIC}: {error}")))?;
    let bootstrap = kafka.0.bootstrap_servers();
    let read_model = ReadModel { store: Arc::new(Memory::new()), mode: Mode::Manual };
    let welcome = {
        let routes = config.routes.iter().map(|route| route.name.clone()).collect::<Vec<_>>();
        let topic = config.routes.first().map_or_else(String::new, |route| route.topic.clone());
        let scheme = |tls: bool| if tls { "https" } else { "http" };
        let schemes = [scheme(config.tls.is_some()), scheme(config.admin_tls.is_some())];
        move |addresses| welcome(addresses, schemes, &bootstrap, &topic, &routes)
    };
    serve::run(config, Some(read_model), welcome)
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
