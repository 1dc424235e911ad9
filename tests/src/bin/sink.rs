//! librdkafka's mock cluster in a process of its own, so that its cost is nobody else's.
//! A sink for throughput and CPU; it keeps only the last few MiB per partition, so events are counted on real Kafka.

use std::io::{Read, Write};
use std::time::Duration;

use clap::Parser;
use rdkafka::mocking::MockCluster;

/// Prints its bootstrap address on one line and lives until its stdin closes.
#[derive(Parser)]
struct Flags {
    /// A topic to create, and its dead-letter topic.
    #[arg(long, default_value = "orders")]
    topic: Vec<String>,
    /// Its number of partitions.
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// What each answer takes, in milliseconds; those of one connection do not wait for each other.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let cluster = MockCluster::new(1)?;
    for topic in &flags.topic {
        cluster.create_topic(topic, flags.partitions, 1)?;
        cluster.create_topic(&format!("{topic}.dead-letter"), flags.partitions, 1)?;
    }
    cluster.broker_round_trip_time(1, Duration::from_millis(flags.delay_ms))?;
    println!("{}", cluster.bootstrap_servers());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
