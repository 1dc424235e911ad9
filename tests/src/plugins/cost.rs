//! What a call costs: CPU time of the host's side and the guest's together, over fields that cost nothing to find.

use std::collections::BTreeMap;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use weir::event::{Selected, Selector};
use weir::metrics::Metrics;
use weir::plugin::{Compiler, Counters, Host, Instance, Settings, Source, Use};

use super::leave;
use crate::bench::Result;
use crate::bench::compare::median;
use crate::world::inputs;

/// As in the bench, with its marks filled in.
const ORDER: &[u8] = br#"{"order_id":"o-000000000017","customer":{"user_id":"u-12345","email":"customer12345@example.com","device_fingerprint":"9f86d081884c7d65"},"items":[{"sku":"BK-30411","quantity":2,"price":49.95},{"sku":"PN-00772","quantity":1,"price":29.95}],"total":129.85,"currency":"EUR","channel":"web","placed_at":"2026-03-14T09:26:53.589Z","note":"leave it with the neighbour on the second floor, thank you very much"}"#;

/// `entity-key` with three keys a call, for what an op costs.
const KEYS: &str = r#"{"keys": [{"kind": "user", "pointer": "/customer/user_id"}, {"kind": "order", "pointer": "/order_id"}]}"#;
/// So many events in one measurement, and so many measurements; the medians count.
const EVENTS: usize = 400_000;
const ROUNDS: usize = 11;

/// So many of the same event, its fields at hand.
struct Orders(usize);

impl Source for Orders {
    fn len(&self) -> usize {
        self.0
    }

    fn select(&self, _: usize, selector: &Selector) -> Option<Selected<'_>> {
        match selector {
            // `/customer/user_id` is the longer one.
            Selector::Data(pointer) if pointer.as_str().len() < 16 => Some(Selected::Text("o-000000000017")),
            _ => Some(Selected::Text("u-12345")),
        }
    }

    fn payload(&self, _: usize) -> &[u8] {
        ORDER
    }

    fn time_ns(&self, _: usize) -> u64 {
        1
    }
}

/// One figure and what it may be.
#[derive(Serialize)]
struct Figure {
    value: f64,
    at_most: Option<f64>,
}

/// Measures, prints, and fails if a figure is over what it may be.
pub fn run() -> Result<()> {
    let cache = tempfile::tempdir()?;
    let host = host(cache.path())?;
    let mut by_field = instance(&host, "field_key", "{}")?;
    let mut three_ops = instance(&host, "entity_key", KEYS)?;
    let mut by_payload = instance(&host, "payload_key", "{}")?;
    let mut chain = (0..3).map(|_| instance(&host, "field_key", "{}")).collect::<Result<Vec<_>>>()?;
    let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut sample = |name, ns: f64| samples.entry(name).or_default().push(ns);
        let one = per_event_ns(slice::from_mut(&mut by_field), 64)?;
        let three = per_event_ns(&mut chain, 64)?;
        sample("fields, batch 64: ns an event", one);
        sample("fields, batch 8: ns an event", per_event_ns(slice::from_mut(&mut by_field), 8)?);
        sample("fields, batch 1: ns a call", per_event_ns(slice::from_mut(&mut by_field), 1)?);
        sample("fields, 3 ops, batch 64: ns an event", per_event_ns(slice::from_mut(&mut three_ops), 64)?);
        sample("payloads, batch 64: ns an event", per_event_ns(slice::from_mut(&mut by_payload), 64)?);
        sample("payloads, batch 1: ns a call", per_event_ns(slice::from_mut(&mut by_payload), 1)?);
        sample("a new instance and its first call: ns", fresh_ns(&by_field)?);
        sample("three in a chain, over one", three / one);
    }
    let at_most = |name: &str| match name {
        "fields, batch 64: ns an event" => Some(40.0),
        "fields, batch 1: ns a call" => Some(1200.0),
        "three in a chain, over one" => Some(3.3),
        _ => None,
    };
    let figures: BTreeMap<_, _> = samples
        .into_iter()
        .map(|(name, values)| (name, Figure { value: median(values), at_most: at_most(name) }))
        .collect();
    println!("a key extractor over 2 fields; medians of {ROUNDS} rounds, in turn");
    for (name, Figure { value, at_most }) in &figures {
        let bound = at_most.map_or_else(String::new, |most| format!("   at most {most}"));
        println!("{name:<38} {value:>8.1}{bound}");
    }
    println!("every figure: {}", leave("cost", &figures)?.display());
    let over = |figure: &Figure| figure.at_most.is_some_and(|most| figure.value > most);
    if figures.values().any(over) { Err("a figure is over what it may be".into()) } else { Ok(()) }
}

/// CPU nanoseconds of one event in all of these plugins, one after the other.
fn per_event_ns(instances: &mut [Instance], batch: usize) -> Result<f64> {
    let calls = EVENTS / batch / if batch == 1 { 4 } else { 1 };
    let begun = cpu_time();
    for _ in 0..calls {
        for instance in &mut *instances {
            std::hint::black_box(instance.call(&Orders(batch))?.len());
        }
    }
    Ok((cpu_time() - begun).as_nanos() as f64 / (calls * batch) as f64)
}

/// CPU nanoseconds until a new instance has judged its first event, and the one before it is gone.
fn fresh_ns(instance: &Instance) -> Result<f64> {
    const TIMES: u32 = 2_000;
    let begun = cpu_time();
    for _ in 0..TIMES {
        std::hint::black_box(Instance::new(Arc::clone(instance.plugin())).call(&Orders(1))?.len());
    }
    Ok((cpu_time() - begun).as_nanos() as f64 / f64::from(TIMES))
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn host(cache: &Path) -> Result<Host> {
    let counters = Counters::new(Metrics::new()?.registry())?;
    let settings = Settings { cache: cache.to_owned(), ..Settings::default() };
    Ok(Host::new(settings, Compiler::Here, counters, Arc::default())?)
}

fn instance(host: &Host, name: &str, config_json: &str) -> Result<Instance> {
    let plugin = host.load(&inputs::plugin(name), &Use { name, config_json, topics_allowed: &[] })?;
    let mut instance = Instance::new(plugin);
    instance.warm()?;
    Ok(instance)
}
