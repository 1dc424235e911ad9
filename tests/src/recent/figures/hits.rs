//! The share of bounded lookups that Valkey answers alone: steadily, through a tenfold spike of writes, and while two
//! gateways are restarted one after the other.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::asks::{ByKey, Keys, Level, Writes};
use super::stage::{PATIENCE, Setup, Stage, caught_up, target};
use super::sums::{Latency, hit_rate, naive_hit_rate, of_stream};
use super::traffic::{Stream, Target, Traffic, span};
use super::{Figure, settle};
use crate::bench::Result;
use crate::bench::pin::on;
use crate::world::Weir;

/// The figure that these replace: lists filled on demand, keys forgotten at each write (`reference`: issue 4).
const BEFORE: f64 = 0.94;
const EVENTS_PER_KEY: usize = 20;
const EVENTS_PER_WRITE: usize = 10;
const SPIKE: u64 = 10;

/// How long and how much.
#[derive(Clone, Copy, Debug, clap::Args, Serialize)]
pub struct Effort {
    /// Seconds of the steady span.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Seconds of the spike.
    #[arg(long, default_value_t = 20)]
    pub spike_s: u64,
    /// Seconds after the spike and after the restarts that count as theirs.
    #[arg(long, default_value_t = 5)]
    pub after_s: u64,
    /// Lookups a second.
    #[arg(long, default_value_t = 1_000)]
    pub reads_per_s: u64,
    /// Events stored a second; ten times as many in the spike, which must be less than the machine can take.
    #[arg(long, default_value_t = 300)]
    pub writes_per_s: u64,
    /// Keys, each with 20 events at the start.
    #[arg(long, default_value_t = 2_000)]
    pub keys: usize,
}

#[derive(Serialize)]
struct Phase {
    name: &'static str,
    seconds: f64,
    hit_rate: f64,
    naive_hit_rate: f64,
    lookups: Latency,
    writes: Latency,
}

/// Measures, prints, and fails if a figure is missed.
pub fn run(effort: &Effort) -> Result<()> {
    let stage = Stage::start(&Setup::default())?;
    let weirs = [stage.gateway()?, stage.gateway()?];
    let keys = Keys::new(effort.keys, stage.partitions);
    stage.preload(&weirs[0], &keys, EVENTS_PER_KEY)?;
    let targets = weirs.iter().map(target).collect::<Result<Vec<_>>>()?;
    let lookups = Stream::new(ByKey::new(&keys, Level::Bounded, 20), effort.reads_per_s, 256);
    let requests_per_s = effort.writes_per_s / EVENTS_PER_WRITE as u64;
    let writes = Stream::new(Writes::new(&keys, EVENTS_PER_WRITE, 1_000_000_000), requests_per_s, 64);
    let rate = writes.rate.clone();
    let traffic = Traffic::start(targets.clone(), vec![lookups, writes], stage.seat);
    span(Duration::from_secs(3));
    let steady = span(Duration::from_secs(effort.seconds));
    rate.set(requests_per_s * SPIKE);
    let spike = span(Duration::from_secs(effort.spike_s));
    rate.set(requests_per_s);
    let spike = spike.start..span(Duration::from_secs(effort.after_s)).end;
    stage.runtime.block_on(caught_up(&weirs[0]));
    let restarts = Instant::now();
    for (weir, target) in weirs.iter().zip(&targets) {
        restart(&stage, weir, target)?;
    }
    let restarts = restarts..span(Duration::from_secs(effort.after_s)).end;
    let samples = traffic.end()?;
    let phase = |name, span: std::ops::Range<Instant>, writes_per_s| Phase {
        name,
        seconds: (span.end - span.start).as_secs_f64(),
        hit_rate: hit_rate(of_stream(&samples, 0, &span)),
        naive_hit_rate: naive_hit_rate(effort.reads_per_s, writes_per_s),
        lookups: Latency::of(of_stream(&samples, 0, &span)),
        writes: Latency::of(of_stream(&samples, 1, &span)),
    };
    let phases = [
        phase("steady", steady, effort.writes_per_s),
        phase("through a tenfold spike of writes", spike, effort.writes_per_s * SPIKE),
        phase("through a rolling restart", restarts, effort.writes_per_s),
    ];
    let mut figures = Vec::new();
    for (phase, least) in phases.iter().zip([0.99, 0.97, 0.97]) {
        figures.push(Figure::new(format!("{}: hit rate", phase.name), phase.hit_rate).at_least(least));
        figures.push(Figure::new("  a cache that forgets at each write, same load", phase.naive_hit_rate));
        figures.push(Figure::new("  lookups answered 200", phase.lookups.answered_well()));
        figures.push(Figure::new("  lookups: P99, ms", phase.lookups.p99_ms));
        figures.push(Figure::new("  writes stored", phase.writes.answered_well()));
    }
    figures.push(Figure::new("the hit rate that this replaces", BEFORE));
    settle("hits", effort, &figures, &json!({"phases": phases}))
}

/// SIGTERM, and up again. Nobody is told that it goes: the client finds out. That it is back, `/readyz` says.
fn restart(stage: &Stage, weir: &Weir, target: &Target) -> Result<()> {
    weir.sigterm();
    let code = stage.runtime.block_on(weir.wait(PATIENCE));
    if code != Some(0) {
        return Err(format!("a gateway ended with {code:?}").into());
    }
    target.ready.store(false, Ordering::Relaxed);
    on(&stage.cores.gateway, || {
        weir.process().restart();
        Ok(())
    })?;
    stage.runtime.block_on(weir.ready());
    target.ready.store(true, Ordering::Relaxed);
    Ok(())
}
