//! `weir plugin check`: what a gateway would hold against a plugin, found out over events that are made up from the
//! route's schema, or over its author's.
//!
//! Each event is judged three times: in batches, in the same batches again, and alone in another order on an
//! instance that has met nothing. A pure plugin cannot tell these apart.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bumpalo::Bump;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::event::Written;
use super::generated::generate;
use super::stand::{Stand, cpu_time};
use super::{Failure, Given, Output, print, run as lines};
use crate::event::Event;
use crate::plugin::Instance;

/// How many complaints are printed for people.
const SHOWN_MAX: usize = 20;

const AFTER_HELP: &str = "\
Example:
  weir plugin check my-keys --schema schemas/orders/1.json
  weir plugin check my-keys --events orders.ndjson

Exit codes: 0 nothing found; 1 an event broke the plugin down or was judged in two ways.";

/// Flags of `weir plugin check`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, group(clap::ArgGroup::new("over").required(true).args(["schema", "events"])))]
pub struct CheckArgs {
    #[command(flatten)]
    pub given: Given,
    /// The route's schema, `<subject>/<version>.json`: events are made up that match it.
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// How many events to make up.
    #[arg(long, value_name = "N", default_value_t = 1_000, conflicts_with = "events")]
    pub count: usize,
    /// Where chance begins: the same number makes the same events up.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "events")]
    pub seed: u64,
    /// Events as plain JSON, a line each.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// The lines are CloudEvents in structured mode.
    #[arg(long, requires = "events")]
    pub cloudevents: bool,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// The events of a check.
struct Events {
    /// Each with its place, from 1: the line in its file, or the number of those made up.
    written: Vec<(usize, Written)>,
    /// The data of those made up, by place: nobody can look them up in a file.
    made_up: Vec<String>,
    /// How many more were made up, and did not match the schema.
    missed: usize,
}

/// What is wrong with an event, by its place.
#[derive(Debug, serde::Serialize)]
struct Complaint {
    line: usize,
    /// `impure`, or how the plugin broke down.
    what: &'static str,
    detail: String,
    /// What was made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// What a check found.
#[derive(Debug, serde::Serialize)]
struct Found {
    events: usize,
    missed: usize,
    complaints: Vec<Complaint>,
    slowest_us: u128,
    memory_bytes: [usize; 2],
}

/// `weir plugin check`.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let stand = Stand::new(&args.given, "error")?;
    let plugin = stand.load()?;
    let Events { written, made_up, missed } = events(args)?;
    let arena = Bump::new();
    let read = written.iter().map(|(line, written)| {
        written.read(&arena).map_err(|why| Failure::Config(format!("event {line}: {why}")))
    });
    let events = read.collect::<Result<Vec<_>, _>>()?;
    let mut instance = Stand::instance(&plugin)?;
    let memory_bytes = instance.memory_bytes();
    let passes = [batched(&mut instance, &events), batched(&mut instance, &events)];
    let (alone, slowest) = alone(&mut Stand::instance(&plugin)?, &events);
    let [first, second] = passes;
    let complaints = written.iter().enumerate().filter_map(|(index, (line, _))| {
        let found = complaint(*line, [&first[index], &second[index], &alone[index]])?;
        Some(Complaint { data: made_up.get(index).cloned(), ..found })
    });
    let found = Found {
        events: events.len(),
        missed,
        complaints: complaints.collect(),
        slowest_us: slowest.as_micros(),
        memory_bytes: [memory_bytes, instance.memory_bytes()],
    };
    conclude(args.output, &found)
}

fn events(args: &CheckArgs) -> Result<Events, Failure> {
    match (&args.schema, &args.events) {
        (Some(schema), _) => {
            let generated = generate(schema, args.count, args.seed)?;
            let (made_up, written): (Vec<_>, Vec<_>) = generated.events.into_iter().unzip();
            Ok(Events { written: (1..).zip(written).collect(), made_up, missed: generated.missed })
        }
        (None, file) => from_file(file.as_deref().unwrap_or(Path::new("")), args.cloudevents),
    }
}

fn from_file(file: &Path, cloudevents: bool) -> Result<Events, Failure> {
    let unreadable = |error| Failure::Config(format!("{} cannot be read: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let written = lines.map(|(line, text)| {
        let written = lines::written(text.as_bytes(), cloudevents);
        let no_event = |why| Failure::Config(format!("{}:{line}: {why}", file.display()));
        written.map(|written| (line, written)).map_err(no_event)
    });
    let written = written.collect::<Result<Vec<_>, _>>()?;
    if written.is_empty() {
        return Err(Failure::Config(format!("{} has no events", file.display())));
    }
    Ok(Events { written, made_up: Vec::new(), missed: 0 })
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
        return Some(Complaint { line, what, detail, data: None });
    }
    let (other, how) = if first == second { (alone, "alone") } else { (second, "again") };
    let told = |answer: &Answer| Value::from(answer.to_json()).to_string();
    let detail = || format!("first {}, {how} {}", told(first), told(other));
    (first != other).then(|| Complaint { line, what: "impure", detail: detail(), data: None })
}

fn conclude(output: Output, found: &Found) -> Result<ExitCode, Failure> {
    print(&match output {
        Output::Text => text(found),
        Output::Json => format!("{:#}\n", json!(found)),
    })?;
    Ok(if found.complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(found: &Found) -> String {
    let mut text = String::new();
    for Complaint { line, what, detail, data } in found.complaints.iter().take(SHOWN_MAX) {
        writeln!(text, "✗ event {line}: {what}: {detail}").expect("a String takes everything");
        if let Some(data) = data {
            writeln!(text, "    {data}").expect("a String takes everything");
        }
    }
    let complaints = found.complaints.len();
    if complaints > SHOWN_MAX {
        writeln!(text, "… and {} more", complaints - SHOWN_MAX).expect("a String takes everything");
    }
    if found.missed > 0 {
        let missed = found.missed;
        writeln!(text, "{missed} more were made up and left out: they do not match the schema")
            .expect("a String takes everything");
    }
    let [before, after] = found.memory_bytes.map(|bytes| bytes >> 10);
    let (events, slowest_us) = (found.events, found.slowest_us);
    writeln!(
        text,
        "{events} events, {complaints} complaints, {slowest_us} µs for the slowest event, memory {before} KiB before and {after} KiB after"
    )
    .expect("a String takes everything");
    text
}
