//! Lookups that are never wrong, under faults: real services are killed, frozen, emptied and moved while events come in
//! and lookups are answered, and then each answer is checked against the log. A naive cache runs beside it as a control.

pub mod answer;
pub mod chance;
pub mod checker;
#[cfg(test)]
mod checker_tests;
pub mod control;
pub mod event;
pub mod faults;
pub mod journal;
pub mod log;
pub mod moves;
pub mod reader;
pub mod report;
pub mod stage;
pub mod writer;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

pub use answer::Level;
use chance::Chance;
use checker::{Acked, Checker};
use control::Control;
pub use faults::{Fault, Kind};
use journal::{Journal, Told};
use log::Log;
use reader::Gathered;
pub use report::Report;
use report::{Sums, line};
use stage::Stage;
use writer::{WRITERS, Writing};

use crate::bench::Result;
use crate::world::inputs;

const PROGRESS: Duration = Duration::from_secs(30);
/// A run that has not had its faults by then goes on without end.
const OVERTIME_MAX: u32 = 3;

/// How long and how much.
#[derive(Clone, Debug, clap::Args)]
pub struct Effort {
    /// Minutes of faults.
    #[arg(long, default_value_t = 10.0)]
    pub minutes: f64,
    /// Says which faults are drawn, where they strike, and what is asked.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// So many faults, at least; the run goes on until they have been.
    #[arg(long, default_value_t = 30)]
    pub faults_min: usize,
    /// Only these kinds of faults; otherwise all there are.
    #[arg(long, value_delimiter = ',')]
    pub kinds: Vec<Kind>,
    /// Lookups begun a second, at all levels.
    #[arg(long, default_value_t = 900)]
    pub lookups_per_s: u32,
    /// Events sent a second.
    #[arg(long, default_value_t = 500)]
    pub events_per_s: u32,
    /// Partition keys; a few of them have most events.
    #[arg(long, default_value_t = 4_000)]
    pub keys: u32,
}

/// Runs, prints, leaves `target/chaos/recent.json`, and fails if something is not as promised.
pub fn run(effort: &Effort) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let of = if effort.kinds.is_empty() { Kind::ALL.to_vec() } else { effort.kinds.clone() };
    let kinds = Kind::draw(&of, effort.faults_min, &mut Chance::new(effort.seed, 0));
    let report = runtime.block_on(look(effort, &kinds))?;
    report.print();
    let folder = inputs::target().join("chaos");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("recent.json");
    let broken = report.broken_promises(&of, effort.faults_min);
    let json = serde_json::json!({"minutes": effort.minutes, "broken_promises": broken, "report": report});
    std::fs::write(&path, serde_json::to_vec_pretty(&json)?)?;
    println!("every figure: {}", path.display());
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}

/// The run itself, with these faults, spread over its time.
pub async fn look(effort: &Effort, kinds: &[Kind]) -> Result<Report> {
    let stage = Arc::new(Stage::set().await);
    let (journal, gathered, done) =
        (Journal::default(), Arc::new(Gathered::default()), AtomicBool::new(false));
    let control = Control::start(&stage.valkey.addresses(), stage.clock).await;
    let chance = |stream| Chance::new(effort.seed, stream);
    let writing = Writing {
        stage: &stage,
        journal: &journal,
        control: &control,
        keys: effort.keys,
        events_per_s: effort.events_per_s,
        next: AtomicU64::new(0),
        done: &done,
    };
    let begun_us = stage.clock.us();
    let writers = join_all((0..WRITERS).map(|writer| writing.write(writer, chance(100 + u64::from(writer)))));
    let controls =
        join_all((0..control::READERS).map(|reader| control.read(&journal, chance(200 + reader), &done)));
    let how = (effort.keys, effort.lookups_per_s);
    let readers = reader::read(&stage, &journal, &gathered, how, chance(300), &done);
    let faulting = async {
        let faults = inflict_all(effort, &stage, kinds, chance(1)).await;
        done.store(true, Ordering::Relaxed);
        faults
    };
    let progress = tell(&stage, &journal, &gathered, &control, &done);
    let (faults, ..) = Box::pin(async { tokio::join!(faulting, progress, writers, readers, controls) }).await;
    let run_s = (stage.clock.us() - begun_us) as f64 / 1e6;
    let records = stage.kafka.records(stage.topic()).await;
    let log = Log::read(&records, stage::PARTITIONS)?;
    drop(records);
    let told = journal.take();
    let acked = Acked::of(&log, &told.receipts);
    let (per_key, window_ms) = (stage::PER_KEY, stage::WINDOW_MS);
    let checker = Checker { log: &log, acked, clock: stage.clock, per_key, window_ms };
    let mut sums = Sums::new(&log, &faults);
    for answer in gathered.take() {
        sums.add(&answer, &checker.judge(&answer), checker.is_whole(&answer));
    }
    let (levels, offenders) = sums.end();
    let mut report = Report { seed: effort.seed, run_s, levels, offenders, ..settle(&told, &log) };
    report.control = control.figures();
    report.held_back = gathered.held_back.load(Ordering::Relaxed);
    report.cut_by_second = gathered.cut_by_second.load(Ordering::Relaxed);
    for fault in &faults {
        *report.faults_by_kind.entry(fault.kind).or_default() += 1;
    }
    report.faults = faults;
    Ok(report)
}

/// One fault after the other, each when it is due and all is well after the one before; then more of them, or just
/// time, until the run is over.
async fn inflict_all(effort: &Effort, stage: &Stage, kinds: &[Kind], mut chance: Chance) -> Vec<Fault> {
    let length = Duration::from_secs_f64(effort.minutes * 60.0);
    let begun = Instant::now();
    let mut faults = Vec::new();
    // Room before the first and after the last.
    let spacing = length / u32::try_from(kinds.len() + 1).expect("a few");
    for (number, kind) in (1_u32..).zip(kinds) {
        sleep_until(begun + spacing * number).await;
        if begun.elapsed() > length * OVERTIME_MAX {
            break;
        }
        let fault = faults::inflict(stage, *kind, &mut chance).await;
        eprintln!("{}", line(faults.len() + 1, &fault));
        faults.push(fault);
    }
    sleep_until(begun + length).await;
    faults
}

async fn tell(stage: &Stage, journal: &Journal, gathered: &Gathered, control: &Control, done: &AtomicBool) {
    const LOOK: Duration = Duration::from_millis(500);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Instant::now();
    while !done.load(Ordering::Relaxed) {
        ticks.tick().await;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let control::Figures { reads, stale, .. } = control.figures();
            eprintln!(
                "{:7.1} s  {} events stored, {} lookups, {} held back; control: {reads} reads, {stale} stale",
                stage.clock.us() as f64 / 1e6,
                journal.stored(),
                gathered.count(),
                gathered.held_back.load(Ordering::Relaxed),
            );
        }
    }
}

/// What writers were told, held against the log.
fn settle(told: &Told, log: &Log) -> Report {
    let there = |number: &&u64| log.find(**number).is_some();
    let as_said = |receipt: &&journal::Receipt| {
        log.find(receipt.event.number).is_some_and(|at| {
            at.partition == receipt.partition && receipt.offset.is_none_or(|offset| offset == at.offset)
        })
    };
    let stored: HashSet<u64> = told.receipts.iter().map(|receipt| receipt.event.number).collect();
    let count = |it: usize| it as u64;
    Report {
        events: log.records(),
        lost: count(told.receipts.len() - told.receipts.iter().filter(as_said).count()),
        refused_but_stored: count(told.refused.iter().filter(there).count()),
        unknown: count(told.unknown.len()),
        unknown_but_stored: count(told.unknown.iter().filter(there).count()),
        stored_twice: count(log.twice.iter().filter(|number| stored.contains(number)).count()),
        ..Report::default()
    }
}
