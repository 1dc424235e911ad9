//! `make bench-recent` and `make chaos-recent`; see `weir_tests::recent`.

use clap::Parser;
use weir_tests::bench::Result;
use weir_tests::recent::chaos;
use weir_tests::recent::figures::{away, cold, failover, hits, load};

/// Long looks at recent-event lookups.
#[derive(Parser)]
enum Command {
    /// How many lookups Valkey answers alone: steadily, through a spike of writes, through a rolling restart.
    Hits(hits::Effort),
    /// The highest rate that keeps its P99, latency at 70 % of it, and from ack to visible.
    Load(load::Effort),
    /// What lookups of the other shards notice of a dead primary.
    Failover(failover::Effort),
    /// What ingest notices of a Valkey that is away.
    Away(away::Effort),
    /// A full window and an empty Valkey: what a gateway answers from its first second on.
    Cold(cold::Effort),
    /// Lookups under faults, each answer checked against the log.
    Chaos(chaos::Effort),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Hits(effort) => hits::run(&effort),
        Command::Load(effort) => load::run(&effort),
        Command::Failover(effort) => failover::run(&effort),
        Command::Away(effort) => away::run(&effort),
        Command::Cold(effort) => cold::run(&effort),
        Command::Chaos(effort) => chaos::run(&effort),
    }
}
