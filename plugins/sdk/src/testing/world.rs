//! What is around a plugin in a test, and the ways to run one in it.

use std::cell::RefCell;

use super::case::{Batch, Case};
use super::ending::{Ending, endings};
use super::memory::{self, State};
use crate::bound::{Bound, Knowing, Pure};
use crate::enricher::Enricher;
use crate::error::Error;
use crate::log::Level;
use crate::plugin::Plugin;

/// What is around a plugin in a test: the host's tables and clock, and what the plugin said and counted there.
///
/// ```
/// use weir_plugin::{log, log::Level, testing::{Case, World}};
///
/// weir_plugin::enricher! {
///     fields: ["data:/country"],
///     rows: [("regions", |event| event.entity(0))],
///     enrich: |_, known, patch| match known.row(0) {
///         Some(region) => patch.set_header("x-region", region),
///         None => log::info("a country without a region"),
///     },
/// }
///
/// let world = World::new().table("regions", &[("CZ", "eu")]);
/// world.enrich::<TheEnricher>("{}", &[Case::new().text("data:/country", "XX")]);
/// assert_eq!(world.lines(), [(Level::Info, "a country without a region".to_owned())]);
/// ```
#[derive(Debug, Default)]
pub struct World {
    state: RefCell<State>,
}

impl World {
    /// A world with nothing in it, at the beginning of 1970.
    pub fn new() -> Self {
        World::default()
    }

    /// A table of the host, with its keys and rows.
    pub fn table(self, name: &str, rows: &[(&str, &str)]) -> Self {
        let rows = rows.iter().map(|(key, row)| (key.as_bytes().to_vec(), row.as_bytes().to_vec()));
        self.state.borrow_mut().tables.push((name.to_owned(), rows.collect()));
        self
    }

    /// What both clocks of the host say, in nanoseconds.
    pub fn now_ns(self, now_ns: u64) -> Self {
        self.state.borrow_mut().now_ns = now_ns;
        self
    }

    /// Lets a plugin with this config (JSON) judge the events, as one batch.
    ///
    /// # Panics
    /// If the plugin refuses the config.
    pub fn run<P: Plugin>(&self, config_json: &str, cases: &[Case]) -> Vec<Ending> {
        self.judge::<Pure<P>>(config_json, cases)
    }

    /// Lets an enricher with this config (JSON) judge the events, as one batch.
    ///
    /// # Panics
    /// If the enricher refuses the config, or this world lacks a table that it wants.
    pub fn enrich<E: Enricher>(&self, config_json: &str, cases: &[Case]) -> Vec<Ending> {
        self.judge::<Knowing<E>>(config_json, cases)
    }

    /// Starts an enricher in this world as the host would, for tests of what fails then.
    ///
    /// # Errors
    /// If it refuses the config, lacks a table or is not healthy.
    pub fn start<E: Enricher>(&self, config_json: &str) -> Result<(), Error> {
        self.within(|| start::<Knowing<E>>(config_json)?.health())
    }

    /// The lines written so far, in order.
    pub fn lines(&self) -> Vec<(Level, String)> {
        self.state.borrow().lines.clone()
    }

    /// What a counter stands at; 0 if it was never heard of.
    pub fn counter(&self, name: &str) -> u64 {
        self.state.borrow().counters.get(name).copied().unwrap_or(0)
    }

    /// What a histogram observed, in order.
    pub fn observations(&self, name: &str) -> Vec<f64> {
        self.state.borrow().observations.get(name).cloned().unwrap_or_default()
    }

    /// How often a table was looked into: once per table and batch.
    pub fn lookups(&self) -> usize {
        self.state.borrow().lookups
    }

    #[expect(clippy::panic, reason = "tests call this; `run` and `enrich` say so")]
    fn judge<B: Bound>(&self, config_json: &str, cases: &[Case]) -> Vec<Ending> {
        let judged = self.within(|| {
            let bound: B = start(config_json)?;
            let batch = Batch::of(cases, &bound);
            let answer = bound.judge(batch.columns())?;
            Ok(endings(&answer, &batch.arena))
        });
        judged.unwrap_or_else(|error: Error| panic!("the plugin does not run: {error}"))
    }

    /// Makes this world the one that the host's functions speak of.
    fn within<T>(&self, run: impl FnOnce() -> T) -> T {
        let outside = memory::replace(self.state.take());
        let result = run();
        self.state.replace(memory::replace(outside));
        result
    }
}

fn start<B: Bound>(config_json: &str) -> Result<B, Error> {
    let mut bound = B::configured(config_json)?;
    bound.open()?;
    Ok(bound)
}
