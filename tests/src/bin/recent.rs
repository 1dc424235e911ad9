//! `make chaos-recent`; see `weir_tests::recent`.

use clap::Parser;
use weir_tests::bench::Result;
use weir_tests::recent::chaos;

/// Long looks at recent-event lookups.
#[derive(Parser)]
enum Command {
    /// Lookups under faults, each answer checked against the log.
    Chaos(chaos::Effort),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Chaos(effort) => chaos::run(&effort),
    }
}
