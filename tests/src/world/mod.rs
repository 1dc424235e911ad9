//! The world a gateway lives in: real Kafka, a real Valkey cluster and the real `weir` binary, started on free
//! loopback ports, each in a folder of its own, and gone afterwards however the test process ends.
//! Knows nothing of the gateway's insides; what a test asserts is the test's affair.

mod answer;
mod broker;
mod canary;
mod folder;
pub mod inputs;
mod kafka;
mod ports;
mod process;
mod resp;
mod shared;
mod tls;
mod valkey;
mod wait;
mod watchdog;
mod weir;

pub use self::answer::Answer;
pub use self::canary::{Canaries, canaries};
pub use self::kafka::{Kafka, KafkaOptions, SaslAccess};
pub use self::ports::free_port;
pub use self::process::{Launch, Process};
pub use self::resp::{Reply, Resp};
pub use self::shared::{fresh_name, shared_kafka, shared_valkey};
pub use self::valkey::{Node, Shard, Valkey, ValkeyOptions};
pub use self::wait::until;
pub use self::weir::{Weir, WeirOptions};
