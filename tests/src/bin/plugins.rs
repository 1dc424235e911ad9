//! `make bench-plugins` and `make chaos-plugins`; see `weir_tests::plugins`.

use clap::Parser;
use weir_tests::bench::Result;
use weir_tests::plugins::{cost, reloads, rogues, storm};

/// As in the gateway: calls allocate.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Long looks at plugins.
#[derive(Parser)]
enum Command {
    /// What a call costs, by batch, beside the same plugin over whole payloads.
    Cost,
    /// One event in a hundred traps: what the rest pays, and where each event ends.
    Storm(storm::Effort),
    /// Every rogue guest under load, beside good traffic.
    Rogues(rogues::Effort),
    /// Versions change under load.
    Reloads(reloads::Effort),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Cost => cost::run(),
        Command::Storm(effort) => storm::run(&effort),
        Command::Rogues(effort) => rogues::run(&effort),
        Command::Reloads(effort) => reloads::run(&effort),
    }
}
