//! A primary dies under load: what lookups notice whose partitions live on the other shards.

use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::asks::{ByKey, Keys, Level, Writes};
use super::stage::{PATIENCE, ROUTE, Setup, Stage, target};
use super::sums::{Latency, of_stream, ratio};
use super::traffic::{Sample, Stream, Traffic, span};
use super::{Figure, settle};
use crate::bench::Result;
use crate::bench::compare::median;
use crate::world::{Weir, until};

const EVENTS_PER_KEY: usize = 20;
/// More partitions than elsewhere, so that each shard has some.
const PARTITIONS: i32 = 12;
/// A lookup of a dead shard may hold its connection for seconds; the others must not wait for one.
const CONNECTIONS: usize = 1_000;

const TENTH: Duration = Duration::from_millis(100);

/// How often and how much.
#[derive(Clone, Copy, Debug, clap::Args, Serialize)]
pub struct Effort {
    /// Primaries killed, one after the other.
    #[arg(long, default_value_t = 5)]
    pub failovers: usize,
    /// Seconds of the quiet window before each.
    #[arg(long, default_value_t = 3)]
    pub quiet_s: u64,
    /// Lookups a second, half of them bounded, half with an old position.
    #[arg(long, default_value_t = 600)]
    pub reads_per_s: u64,
    /// Events stored a second.
    #[arg(long, default_value_t = 100)]
    pub writes_per_s: u64,
    /// Keys, each with 20 events at the start.
    #[arg(long, default_value_t = 1_200)]
    pub keys: usize,
}

/// One failover, as it went.
struct Took {
    victim: String,
    dead: HashSet<i32>,
    quiet: Range<Instant>,
    /// From the kill until another node says that the slot is its own.
    failing: Range<Instant>,
    /// From the kill until lookups of the dead shard's keys are answered again.
    recovered: Duration,
}

#[derive(Serialize)]
struct Row {
    victim: String,
    dead_partitions: usize,
    takeover_ms: u128,
    recovered_ms: u128,
    /// Of the other shards, before and meanwhile.
    quiet: Latency,
    failing: Latency,
    p99_ratio: f64,
    /// The same by level: bounded, token.
    p99_ratio_by_level: [f64; 2],
    errors: u64,
    /// Of the shard that died, meanwhile.
    dead: Latency,
    /// Of the other shards, each tenth of a second from the kill on.
    tenths: Vec<Latency>,
}

/// Measures, prints, and fails if a figure is missed.
pub fn run(effort: &Effort) -> Result<()> {
    let stage = Stage::start(&Setup { partitions: PARTITIONS, ..Setup::default() })?;
    let weir = stage.gateway()?;
    let keys = Keys::new(effort.keys, PARTITIONS);
    stage.preload(&weir, &keys, EVENTS_PER_KEY)?;
    let half = effort.reads_per_s / 2;
    let streams = vec![
        Stream::new(ByKey::new(&keys, Level::Bounded, 5), half, CONNECTIONS),
        Stream::new(ByKey::new(&keys, Level::OldToken, 5), half, CONNECTIONS),
        Stream::new(Writes::new(&keys, 1, 1_000_000_000), effort.writes_per_s, 64),
    ];
    let traffic = Traffic::start(vec![target(&weir)?], streams, stage.seat);
    span(Duration::from_secs(1));
    let mut all = Vec::new();
    for number in 0..effort.failovers.max(1) {
        let took = stage.runtime.block_on(fail(effort, &stage, &weir, &keys, number))?;
        eprintln!("{}: taken over after {:?}", took.victim, took.failing.end - took.failing.start);
        all.push(took);
    }
    let samples = traffic.end()?;
    let rows: Vec<Row> = all.iter().map(|took| row(took, &keys, &samples)).collect();
    let middle = |figure: fn(&Row) -> f64| median(rows.iter().map(figure).collect());
    let asked: u64 = rows.iter().map(|row| row.failing.requests).sum();
    let errors = rows.iter().map(|row| row.errors).sum();
    let figures = [
        Figure::new("failovers", rows.len() as f64).at_least(5.0),
        Figure::new("other shards, P99 meanwhile over before (median)", middle(|row| row.p99_ratio))
            .at_most(1.5),
        Figure::new("  bounded alone", middle(|row| row.p99_ratio_by_level[0])),
        Figure::new("  token alone", middle(|row| row.p99_ratio_by_level[1])),
        Figure::new("other shards, error rate", ratio(errors, asked)).at_most(0.0),
        Figure::new("other shards, lookups meanwhile", asked as f64),
        Figure::new("other shards, P99 before, ms (median)", middle(|row| row.quiet.p99_ms)),
        Figure::new("other shards, P99 meanwhile, ms (median)", middle(|row| row.failing.p99_ms)),
        Figure::new("dead shard, answered 200 meanwhile (median)", middle(|row| row.dead.answered_well())),
        Figure::new("kill to takeover, ms (median)", middle(|row| row.takeover_ms as f64)),
        Figure::new("kill to lookups of the dead shard, ms (median)", middle(|row| row.recovered_ms as f64)),
    ];
    settle("failover", effort, &figures, &json!({"failovers": rows}))
}

/// Kills the primary of one partition, waits until all is well again, and starts it anew as a replica.
async fn fail(effort: &Effort, stage: &Stage, weir: &Weir, keys: &Keys, number: usize) -> Result<Took> {
    let place = i32::try_from(number)? % PARTITIONS;
    let victim = stage.primary_of(place).await.ok_or("nobody serves a slot")?;
    let mut dead = HashSet::new();
    for partition in 0..PARTITIONS {
        let primary = stage.primary_of(partition).await.ok_or("nobody serves a slot")?;
        if primary.address() == victim.address() {
            dead.insert(partition);
        }
    }
    if dead.len() == usize::try_from(PARTITIONS)? {
        return Err("all partitions are on one shard".into());
    }
    let quiet = span(Duration::from_secs(effort.quiet_s));
    victim.process().kill();
    let killed = Instant::now();
    until("another node takes over", PATIENCE, async || {
        stage.primary_of(place).await.filter(|node| node.address() != victim.address())
    })
    .await;
    let failing = killed..Instant::now();
    let http = reqwest::Client::new();
    for partition in &dead {
        let key = (0..keys.len()).find(|key| keys.partition(*key) == *partition).ok_or("no key is there")?;
        let url = weir.url(&format!("/v1/events/{ROUTE}?limit=1&key={}", keys.text(key)));
        until("the dead shard's keys are answered again", PATIENCE, async || {
            http.get(&url).send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
    }
    let recovered = killed.elapsed();
    victim.process().restart();
    stage.valkey.ready().await;
    Ok(Took { victim: victim.address().to_owned(), dead, quiet, failing, recovered })
}

fn row(took: &Took, keys: &Keys, samples: &[Sample]) -> Row {
    let is_dead = |sample: &Sample| took.dead.contains(&keys.partition(sample.tag as usize));
    let others = |stream, span: &Range<Instant>| {
        let all: Vec<Sample> = of_stream(samples, stream, span).copied().collect();
        all.into_iter().filter(|sample| !is_dead(sample))
    };
    let both = |span: &Range<Instant>| -> Vec<Sample> { others(0, span).chain(others(1, span)).collect() };
    let of_both = |span: &Range<Instant>| Latency::of(both(span).iter());
    let (quiet, failing) = (of_both(&took.quiet), of_both(&took.failing));
    let by_level = [0, 1].map(|stream| {
        let p99 = |span| Latency::of(others(stream, span).collect::<Vec<_>>().iter()).p99_ms;
        p99(&took.failing) / p99(&took.quiet)
    });
    let tenth = |number: u32| {
        let begin = took.failing.start + TENTH * number;
        of_both(&(begin..begin + TENTH))
    };
    let tenths = (took.failing.end - took.failing.start).as_millis().div_ceil(TENTH.as_millis());
    let errors = |latency: &Latency| latency.requests - latency.statuses.get(&200).copied().unwrap_or(0);
    let of_dead = [0, 1].into_iter().flat_map(|stream| of_stream(samples, stream, &took.failing));
    Row {
        victim: took.victim.clone(),
        dead_partitions: took.dead.len(),
        takeover_ms: (took.failing.end - took.failing.start).as_millis(),
        recovered_ms: took.recovered.as_millis(),
        p99_ratio: failing.p99_ms / quiet.p99_ms,
        p99_ratio_by_level: by_level,
        errors: errors(&quiet) + errors(&failing),
        quiet,
        failing,
        tenths: (0..u32::try_from(tenths).unwrap_or(0)).map(tenth).collect(),
        dead: Latency::of(of_dead.filter(|sample| is_dead(sample))),
    }
}
