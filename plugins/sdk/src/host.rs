//! What a plugin may ask of the host, as traits: in WebAssembly the gateway answers (`imports`), natively
//! memory does ([`testing::World`](crate::testing::World)). The rest of this crate knows only [`Host`], and so
//! the same plugin runs in both.

use crate::error::Error;
use crate::log::Level;

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::imports::Imports as Host;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::Memory as Host;

pub(crate) trait Log {
    fn enabled(level: Level) -> bool;
    fn write(level: Level, message: &str);
}

pub(crate) trait Metrics {
    fn counter(name: &str) -> u32;
    fn histogram(name: &str) -> u32;
    fn add(id: u32, delta: u64);
    fn observe(id: u32, value: f64);
}

/// Only what an [`Enricher`](crate::Enricher) runs through may call this: whatever calls it makes the
/// component import it.
pub(crate) trait Lookup {
    fn table(name: &str) -> Result<u32, Error>;
    fn get_many(table: u32, arena: &[u8], spans: &[u32]) -> Result<Hits, Error>;
}

/// As with [`Lookup`].
pub(crate) trait Clock {
    fn now_ns() -> u64;
    fn monotonic_ns() -> u64;
}

/// One span per key asked for, absent ones as in a batch.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    pub(crate) arena: Vec<u8>,
    pub(crate) spans: Vec<u32>,
}
