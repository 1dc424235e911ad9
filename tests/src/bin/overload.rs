//! `make bench-overload`: a gateway whose Kafka takes only so much is offered more, and one is held by clients whose heads
//! do not get on; what becomes of either is held against what was promised. Ends with 1 if anything was missed.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use weir_tests::bench::overload::Effort;
use weir_tests::bench::pin::{Cores, on};
use weir_tests::bench::process::Workbench;
use weir_tests::bench::{Result, overload, slow_heads};

/// Offers 0.8, 2, 10 and again 0.8 times the sustainable rate, and prints what was taken, how fast, and what was refused;
/// then good traffic without slow heads and with them, in turns.
#[derive(Parser)]
struct Flags {
    /// Seconds of each measured window.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds of each load before its window.
    #[arg(long, default_value_t = 10)]
    warm_up: u64,
    /// What each answer of the sink takes, in milliseconds.
    #[arg(long, default_value_t = 10)]
    delay_ms: u64,
    /// Slow connections at once.
    #[arg(long, default_value_t = 10_000)]
    slow_heads: usize,
    /// Windows without slow heads, each followed by one with them.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds of each of these windows.
    #[arg(long, default_value_t = 15)]
    pair_seconds: u64,
    /// Good events a second meanwhile.
    #[arg(long, default_value_t = 2_000)]
    good_per_s: u64,
    /// One part alone.
    #[arg(long)]
    only: Option<Part>,
    /// Let the kernel place all processes.
    #[arg(long)]
    no_pin: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Loads,
    SlowHeads,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let workbench = Workbench::find()?;
    let cores = Cores::split(!flags.no_pin)?;
    let mut met = true;
    if flags.only != Some(Part::SlowHeads) {
        let effort = Effort {
            window: Duration::from_secs(flags.seconds),
            warm_up: Duration::from_secs(flags.warm_up),
            delay: Duration::from_millis(flags.delay_ms),
        };
        let report = on(&cores.load, || overload::run(&workbench, &cores, effort))?;
        report.print();
        report.write(&workbench.output)?;
        met &= report.met();
    }
    if flags.only != Some(Part::Loads) {
        let effort = slow_heads::Effort {
            connections: flags.slow_heads,
            pairs: flags.pairs,
            window_s: flags.pair_seconds,
            events_per_s: flags.good_per_s,
        };
        let report = on(&cores.load, || slow_heads::run(&workbench, &cores, effort))?;
        report.print();
        report.write(&workbench.output)?;
        met &= report.kept;
    }
    if met { Ok(()) } else { Err("under overload, not all was as promised".into()) }
}
