//! `make bench-overload`: a gateway whose Kafka takes only so much is offered more, and what becomes of it is held
//! against what was promised. Ends with 1 if anything was missed.

use std::time::Duration;

use clap::Parser;
use weir_tests::bench::Result;
use weir_tests::bench::overload::{Effort, run};
use weir_tests::bench::pin::{Cores, on};
use weir_tests::bench::process::Workbench;

/// Offers 0.8, 2, 10 and again 0.8 times the sustainable rate, and prints what was taken, how fast, and what was refused.
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
    /// Let the kernel place all processes.
    #[arg(long)]
    no_pin: bool,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let workbench = Workbench::find()?;
    let cores = Cores::split(!flags.no_pin)?;
    let effort = Effort {
        window: Duration::from_secs(flags.seconds),
        warm_up: Duration::from_secs(flags.warm_up),
        delay: Duration::from_millis(flags.delay_ms),
    };
    let report = on(&cores.load, || run(&workbench, &cores, effort))?;
    report.print();
    report.write(&workbench.output)?;
    if report.met() { Ok(()) } else { Err("under overload, not all was as promised".into()) }
}
