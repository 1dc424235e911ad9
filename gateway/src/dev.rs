//! The role for the first minutes: one process, nothing else installed. Kafka is librdkafka's mock cluster,
//! the read model is in memory, and both are gone when the process ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rdkafka::mocking::MockCluster;

use crate::config::{self, Config};
use crate::kafka;
use crate::memory::Memory;
use crate::recent::Mode;
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

/// Runs `config` on a Kafka of its own until a signal.
pub fn run(mut config: Config) -> Result<(), ServeError> {
    let cluster = MockCluster::new(1).map_err(|error| ServeError::Config(format!("the mock cluster: {error}")))?;
    for route in &config.routes {
        for topic in [&route.topic].into_iter().chain(&route.topics_allowed) {
            let created = cluster.create_topic(topic, route.topic_settings.partitions, 1);
            created.map_err(|error| ServeError::Config(format!("topic {topic}: {error}")))?;
        }
    }
    let bootstrap = cluster.bootstrap_servers();
    config.kafka = kafka::settings::Settings {
        brokers: bootstrap.split(',').map(str::to_owned).collect(),
        allow_weak_topics: true,
        ..kafka::settings::Settings::default()
    };
    config.valkey = None;
    let read_model = ReadModel { store: Arc::new(Memory::default()), mode: Mode::Manual };
    let welcome = {
        let routes = config.routes.iter().map(|route| route.name.clone()).collect::<Vec<_>>();
        move |addresses| welcome(addresses, &bootstrap, &routes)
    };
    serve::run(&config, Some(read_model), welcome)
}

/// An order as the example's schema wants it.
const ORDER: &str = r#"{"order_id":"o-1","status":"placed","channel":"web","currency":"EUR","total_cents":1250,"placed_at":"2026-11-23T09:26:53Z","customer":{"user_id":"u-7","device_fingerprint":"fp-1"},"items":[{"sku":"BK-30411","quantity":1,"unit_cents":1250}]}"#;

#[expect(clippy::print_stdout, reason = "what `weir dev` says to the person who started it")]
fn welcome(addresses: Addresses, bootstrap: &str, routes: &[String]) {
    let Addresses { listen, admin } = addresses;
    println!("Weir is up. Kafka is a mock inside this process: it keeps about the last 5 MiB of each partition,");
    println!("in memory, and forgets everything when it ends.\n");
    println!("  events and lookups   http://{listen}");
    println!("  health and metrics   http://{admin}/metrics");
    println!("  Kafka                {bootstrap}      (kcat -b {bootstrap} -C -t orders)");
    if !routes.iter().any(|route| route == "orders") {
        println!("  routes               {}", routes.join(", "));
        return;
    }
    println!("\nAn event in:\n");
    println!("curl -s http://{listen}/v1/events/orders -H 'content-type: application/json' -d '{ORDER}'\n");
    println!("The same event, looked up by its key:\n");
    println!("curl -s 'http://{listen}/v1/events/orders?key=u-7'\n");
    println!("An event that breaks its schema, and why:\n");
    println!(
        "curl -s http://{listen}/v1/events/orders -H 'content-type: application/json' -d '{}'\n",
        ORDER.replace("1250,\"placed_at\"", "\"much\",\"placed_at\"")
    );
}

/// Loads the config of `weir dev`, with the addresses of the command line.
pub fn config(path: &Path) -> Result<config::Loaded, config::Refused> {
    config::load(path, config::environment())
}
