//! `weir plugin bench`: what an event costs, in CPU time of one worker and in bytes that cross the boundary.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bumpalo::Bump;
use serde_json::json;

use super::event::{Batch, Written};
use super::stand::{Stand, cpu_time};
use super::{Failure, Given, Output, print, run as lines};
use crate::event::Event;
use crate::plugin::Instance;

const BATCHES: [usize; 3] = [1, 8, 64];
const ROUNDS: usize = 9;
/// CPU time of one round.
const ROUND: Duration = Duration::from_millis(40);

const AFTER_HELP: &str = "\
Example:
  weir plugin bench my-keys --event order.json

The time is CPU time of the thread: the plugin, and the gateway's part on both sides of it. Medians of 9 rounds.";

/// Flags of `weir plugin bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct BenchArgs {
    #[command(flatten)]
    pub given: Given,
    /// An event as plain JSON; if not given, one that has a short text in every field the plugin reads.
    #[arg(long, value_name = "FILE")]
    pub event: Option<PathBuf>,
    /// The event is a CloudEvent in structured mode.
    #[arg(long, requires = "event")]
    pub cloudevents: bool,
    /// How to print the costs.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What one event costs in batches of this size.
#[derive(Debug, serde::Serialize)]
struct Cost {
    batch: usize,
    event_ns: f64,
    bytes_in: f64,
    bytes_out: f64,
}

/// `weir plugin bench`.
pub(super) fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let stand = Stand::new(&args.given, "warn")?;
    let plugin = stand.load()?;
    let written = match &args.event {
        Some(file) => {
            let unreadable = |error| Failure::Config(format!("{} cannot be read: {error}", file.display()));
            lines::written(&fs::read(file).map_err(unreadable)?, args.cloudevents)
        }
        None => Written::made_up(&plugin),
    };
    let arena = Bump::new();
    let no_event = |why| Failure::Config(format!("the event cannot be used: {why}"));
    let written = written.map_err(no_event)?;
    let event = written.read(&arena).map_err(no_event)?;
    let mut instance = Stand::instance(&plugin)?;
    let mut batches = BATCHES.map(|batch| batch.min(plugin.batch_events_max())).to_vec();
    batches.dedup();
    let costs = batches.into_iter().map(|batch| cost(&mut instance, &vec![event; batch]));
    let costs = costs.collect::<Result<Vec<_>, _>>()?;
    print(&match args.output {
        Output::Text => format!("{} {}, for each event\n{}", plugin.name, plugin.version, table(&costs)),
        Output::Json => {
            let costs = json!({"name": plugin.name, "version": plugin.version, "batches": costs});
            format!("{costs:#}\n")
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn cost(instance: &mut Instance, events: &[Event<'_>]) -> Result<Cost, Failure> {
    let mut calls = 1;
    // The first rounds find out how many calls fill one, and warm everything up.
    while round(instance, events, calls)? < ROUND {
        calls *= 2;
    }
    let mut rounds = [Duration::ZERO; ROUNDS];
    for time in &mut rounds {
        *time = round(instance, events, calls)?;
    }
    rounds.sort();
    let (bytes_in, bytes_out) = instance.bytes_crossed();
    let each = |all: f64| all / events.len() as f64;
    Ok(Cost {
        batch: events.len(),
        event_ns: each(rounds[ROUNDS / 2].as_nanos() as f64 / f64::from(calls)),
        bytes_in: each(bytes_in as f64),
        bytes_out: each(bytes_out as f64),
    })
}

fn round(instance: &mut Instance, events: &[Event<'_>], calls: u32) -> Result<Duration, Failure> {
    let batch = Batch::new(events);
    let begun = cpu_time();
    for _ in 0..calls {
        let judged = instance.call(&batch);
        let judged =
            judged.map_err(|error| Failure::Other(format!("the plugin failed on the event: {error}")))?;
        std::hint::black_box(judged.len());
    }
    Ok(cpu_time().saturating_sub(begun))
}

fn table(costs: &[Cost]) -> String {
    let mut text = format!("{:>8}{:>12}{:>12}{:>12}\n", "batch", "ns", "bytes in", "bytes out");
    for Cost { batch, event_ns, bytes_in, bytes_out } in costs {
        writeln!(text, "{batch:>8}{event_ns:>12.1}{bytes_in:>12.1}{bytes_out:>12.1}")
            .expect("a String takes everything");
    }
    text
}
