//! `weir plugin check`: what a gateway would hold against a plugin, found out over events of its author's.
//!
//! Each event is judged three times: in batches, in the same batches again, and alone in another order on an
//! instance that has met nothing. A pure plugin cannot tell these apart.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bumpalo::Bump;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::stand::{Stand, cpu_time};
use super::{Failure, Given, Output, print, run as lines};
use crate::event::Event;
use crate::plugin::Instance;

/// How many complaints are printed for people.
const SHOWN_MAX: usize = 20;

const AFTER_HELP: &str = "\
Example:
  weir plugin check my-keys --events orders.ndjson

Exit codes: 0 nothing found; 1 an event broke the plugin down or was judged in two ways.";

/// Flags of `weir plugin check`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct CheckArgs {
    #[command(flatten)]
    pub given: Given,
    /// Events as plain JSON, a line each.
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// The lines are CloudEvents in structured mode.
    #[arg(long)]
    pub cloudevents: bool,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What is wrong with an event, by its line.
#[derive(Debug, serde::Serialize)]
struct Complaint {
    line: usize,
    /// `impure`, or how the plugin broke down.
    what: &'static str,
    detail: String,
}

/// `weir plugin check`.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let stand = Stand::new(&args.given, "error")?;
    let plugin = stand.load()?;
    let unreadable = |error| Failure::Config(format!("{} cannot be read: {error}", args.events.display()));
    let text = fs::read_to_string(&args.events).map_err(unreadable)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let no_event = |line: usize, why| Failure::Config(format!("{}:{line}: {why}", args.events.display()));
    let written = lines.map(|(line, text)| {
        let written = lines::written(text.as_bytes(), args.cloudevents);
        written.map(|written| (line, written)).map_err(|why| no_event(line, why))
    });
    let written = written.collect::<Result<Vec<_>, _>>()?;
    let arena = Bump::new();
    let events =
        written.iter().map(|(line, written)| written.read(&arena).map_err(|why| no_event(*line, why)));
    let events = events.collect::<Result<Vec<_>, _>>()?;
    if events.is_empty() {
        return Err(Failure::Config(format!("{} has no events", args.events.display())));
    }
    let mut instance = Stand::instance(&plugin)?;
    let passes = [batched(&mut instance, &events), batched(&mut instance, &events)];
    let (alone, slowest) = alone(&mut Stand::instance(&plugin)?, &events);
    let [first, second] = passes;
    let mut complaints = Vec::new();
    for (index, (line, _)) in written.iter().enumerate() {
        complaints.extend(complaint(*line, [&first[index], &second[index], &alone[index]]));
    }
    conclude(args.output, events.len(), slowest, &complaints)
}

fn batched(instance: &mut Instance, events: &[Event<'_>]) -> Vec<Answer> {
    let batches = instance.batches(events.len());
    batches.flat_map(|batch| answer::judge(instance, &events[batch])).collect()
}

/// Each event in a call of its own, the last one first; and the CPU time of the slowest.
fn alone(instance: &mut Instance, events: &[Event<'_>]) -> (Vec<Answer>, Duration) {
    let mut slowest = Duration::ZERO;
    let judged = events.iter().rev().flat_map(|event| {
        let begun = cpu_time();
        let answers = answer::judge(instance, std::slice::from_ref(event));
        slowest = slowest.max(cpu_time().saturating_sub(begun));
        answers
    });
    let mut answers: Vec<_> = judged.collect();
    answers.reverse();
    (answers, slowest)
}

fn complaint(line: usize, answers: [&Answer; 3]) -> Option<Complaint> {
    let [first, second, alone] = answers;
    if let Some((broken, what)) = answers.iter().find_map(|answer| Some((answer, answer.broke?))) {
        let detail = broken.member("reason").as_str().unwrap_or_default().to_owned();
        return Some(Complaint { line, what, detail });
    }
    let (other, how) = if first == second { (alone, "alone") } else { (second, "again") };
    let told = |answer: &Answer| Value::from(answer.to_json()).to_string();
    let detail = || format!("first {}, {how} {}", told(first), told(other));
    (first != other).then(|| Complaint { line, what: "impure", detail: detail() })
}

fn conclude(
    output: Output,
    events: usize,
    slowest: Duration,
    complaints: &[Complaint],
) -> Result<ExitCode, Failure> {
    let slowest_us = slowest.as_micros();
    print(&match output {
        Output::Text => {
            let mut text = String::new();
            for Complaint { line, what, detail } in complaints.iter().take(SHOWN_MAX) {
                writeln!(text, "✗ line {line}: {what}: {detail}").expect("a String takes everything");
            }
            let found = complaints.len();
            if found > SHOWN_MAX {
                writeln!(text, "… and {} more", found - SHOWN_MAX).expect("a String takes everything");
            }
            format!("{text}{events} events, {found} complaints, {slowest_us} µs for the slowest event\n")
        }
        Output::Json => {
            let all = json!({"events": events, "complaints": complaints, "slowest_us": slowest_us});
            format!("{all:#}\n")
        }
    })?;
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
