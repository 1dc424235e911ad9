//! Numbers in the gateway's metrics, under the plugin's name. Natively they are kept in
//! [`testing::World`](crate::testing::World).
//!
//! A name is `[a-z][a-z0-9_]*`, at most 64 bytes; the host keeps 32 of them per plugin and takes the numbers
//! of a call over only if it ends well. Resolving a name is a call of the host: do it once.
//!
//! ```
//! use std::sync::LazyLock;
//! use weir_plugin::metrics::Counter;
//!
//! static UNKNOWN: LazyLock<Counter> = LazyLock::new(|| Counter::new("unknown_countries"));
//!
//! UNKNOWN.add(1);
//! ```

use crate::host::{Host, Metrics as _};

/// A counter, resolved once.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    id: u32,
}

impl Counter {
    /// The counter of this name. One name too many counts nowhere.
    pub fn new(name: &str) -> Self {
        Counter { id: Host::counter(name) }
    }

    /// Counts.
    pub fn add(self, delta: u64) {
        Host::add(self.id, delta);
    }
}

/// A histogram, resolved once.
#[derive(Clone, Copy, Debug)]
pub struct Histogram {
    id: u32,
}

impl Histogram {
    /// The histogram of this name. One name too many counts nowhere.
    pub fn new(name: &str) -> Self {
        Histogram { id: Host::histogram(name) }
    }

    /// Observes a value, in the unit that the name ends with.
    pub fn observe(self, value: f64) {
        Host::observe(self.id, value);
    }
}
