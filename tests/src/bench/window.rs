//! One measured window: load on one gateway, and what the gateway's process spent on it.
//! A window says itself what makes it doubtful; it never drops a figure silently.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Result;
use super::cpu::{Sample, Spent, machine};
use super::load::{Moment, Plan, Tally, run};

/// Why a window's figures are not what they seem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The offered rate was not reached, because the gateway had no more CPU: latency is the queue's.
    GatewayFull,
    /// The generator and the sink were the limit, not the gateway.
    GeneratorBehind,
    /// Other programs used more than a tenth of the machine.
    Disturbed,
    /// The hypervisor took more than 2 % of the machine.
    Stolen,
    /// Some answers were neither 200 nor 201.
    NotAllStored,
}

impl Mark {
    /// The word for it in tables.
    pub fn name(self) -> &'static str {
        match self {
            Mark::GatewayFull => "gateway full",
            Mark::GeneratorBehind => "generator behind",
            Mark::Disturbed => "disturbed",
            Mark::Stolen => "stolen",
            Mark::NotAllStored => "not all stored",
        }
    }
}

/// The processes beside the generator's own.
#[derive(Clone, Copy)]
pub struct Pids {
    /// Under measurement.
    pub gateway: u32,
    /// Shares its core with the generator; an echo has none.
    pub sink: Option<u32>,
}

/// One window's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Window {
    /// Events acked in the window.
    pub acked_events: u64,
    /// Events acked per second.
    pub acked_per_s: f64,
    /// CPU-seconds of the gateway's process per million acked events.
    pub cpu_s_per_million: f64,
    /// The same, in user space only.
    pub user_s_per_million: f64,
    /// The same, in the kernel only.
    pub system_s_per_million: f64,
    /// The same by kind of thread.
    pub threads_s_per_million: BTreeMap<String, f64>,
    /// The share of one core the gateway used.
    pub gateway_cores: f64,
    /// The share of one core the generator and the sink used.
    pub load_cores: f64,
    /// Milliseconds from the due time to the answer.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// Answers by status, warm-up included.
    pub statuses: BTreeMap<u16, u64>,
    /// What makes it doubtful.
    pub marks: Vec<Mark>,
}

struct Readings {
    gateway: Sample,
    sink: Option<Sample>,
    generator: Sample,
    machine: (f64, f64),
}

impl Readings {
    fn take(pids: Pids) -> Result<Readings> {
        Ok(Readings {
            gateway: Sample::take(pids.gateway)?,
            sink: pids.sink.map(Sample::take).transpose()?,
            generator: Sample::take(std::process::id())?,
            machine: machine()?,
        })
    }
}

/// Runs one window; the tally beside it is for whoever counts events.
pub fn measure(plan: &Plan, pids: Pids) -> Result<(Window, Tally)> {
    let mut readings = Vec::with_capacity(2);
    let tally = run(plan, |moment| {
        debug_assert!(matches!(moment, Moment::Begin) == readings.is_empty());
        readings.push(Readings::take(pids)?);
        Ok(())
    })?;
    let [begin, end] = &readings[..] else { return Err("a window has two moments".into()) };
    let spent = end.gateway.since(&begin.gateway);
    let sink_s = end.sink.iter().zip(&begin.sink).map(|(end, begin)| end.since(begin).cpu_s).sum::<f64>();
    let load_s = sink_s + end.generator.since(&begin.generator).cpu_s;
    let marks = marks(
        &tally,
        plan,
        &spent,
        load_s,
        (end.machine.0 - begin.machine.0, end.machine.1 - begin.machine.1),
    );
    let millions = tally.acked_events as f64 / 1e6;
    let window = Window {
        acked_events: tally.acked_events,
        acked_per_s: tally.acked_events as f64 / spent.wall_s,
        cpu_s_per_million: spent.cpu_s / millions,
        user_s_per_million: spent.user_s / millions,
        system_s_per_million: spent.system_s / millions,
        threads_s_per_million: spent.threads.iter().map(|(kind, s)| (kind.clone(), s / millions)).collect(),
        gateway_cores: spent.cpu_s / spent.wall_s,
        load_cores: load_s / spent.wall_s,
        p50_ms: tally.latency_us.value_at_quantile(0.5) as f64 / 1e3,
        p99_ms: tally.latency_us.value_at_quantile(0.99) as f64 / 1e3,
        statuses: tally.statuses.clone(),
        marks,
    };
    Ok((window, tally))
}

fn marks(
    tally: &Tally,
    plan: &Plan,
    gateway: &Spent,
    load_s: f64,
    (busy_s, stolen_s): (f64, f64),
) -> Vec<Mark> {
    let wall_s = gateway.wall_s;
    let gateway_full = gateway.cpu_s > 0.9 * wall_s;
    let due = plan.events_per_s.map(|rate| rate as f64 * wall_s / plan.shape.events() as f64);
    let behind = due.is_none_or(|due| tally.backlog_requests as f64 > 0.01 * due);
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    let others_s = busy_s - gateway.cpu_s - load_s;
    [
        (Mark::GatewayFull, due.is_some() && behind && gateway_full),
        (Mark::GeneratorBehind, behind && !gateway_full),
        (Mark::Disturbed, others_s > 0.1 * wall_s * cores),
        (Mark::Stolen, stolen_s > 0.02 * wall_s * cores),
        (Mark::NotAllStored, tally.statuses.keys().any(|status| !matches!(*status, 200 | 201))),
    ]
    .into_iter()
    .filter_map(|(mark, holds)| holds.then_some(mark))
    .collect()
}
