//! One Kafka and one Valkey cluster per test process, started by whoever asks first and ended by the watchdog.
//! Each test keeps to a topic and a key prefix of its own; who kills or freezes starts a cluster of its own.

use tokio::sync::OnceCell;

use super::{Kafka, KafkaOptions, Valkey, ValkeyOptions};

/// The shared Kafka; `WEIR_TEST_KAFKA` (bootstrap addresses) names a running one instead.
pub async fn shared_kafka() -> &'static Kafka {
    static KAFKA: OnceCell<Kafka> = OnceCell::const_new();
    let start = async || match std::env::var("WEIR_TEST_KAFKA") {
        Ok(bootstrap) => Kafka::at(&bootstrap),
        Err(_) => Kafka::start(KafkaOptions::default()).await,
    };
    KAFKA.get_or_init(start).await
}

/// The shared Valkey cluster; `WEIR_TEST_VALKEY` (`host:port` of its nodes) names a running one instead.
pub async fn shared_valkey() -> &'static Valkey {
    static VALKEY: OnceCell<Valkey> = OnceCell::const_new();
    let start = async || match std::env::var("WEIR_TEST_VALKEY") {
        Ok(addresses) => Valkey::at(&addresses),
        Err(_) => Valkey::start(ValkeyOptions::default()).await,
    };
    VALKEY.get_or_init(start).await
}

/// `<what>-<unique>`: a topic, a group or a key prefix that no other test has.
pub fn fresh_name(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::now_v7().simple())
}
