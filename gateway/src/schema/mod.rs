//! Whether an event is what its schema says: JSON Schemas by subject and version, compiled once, checked on the
//! tape. It holds no events and fetches nothing: every schema is a file below one directory.
//!
//! [`Schema::check`] decides on the workers. [`Schema::explain`] says why not, and is the only other reading of
//! an event here. Both count their steps, so that no event can make a schema expensive, and neither makes a tree.

mod compile;
mod email;
mod equality;
mod explain;
mod instance;
mod registry;
mod valid;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use compile::{Refusal, Schema};
pub use registry::{LoadError, Registry};
pub use valid::{Unmatched, ValidEvent};

/// Where the schemas are and what they may cost.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The directory that holds `<subject>/<version>.json`.
    pub directory: PathBuf,
    /// What schemas and checks may cost.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { directory: PathBuf::from("schemas"), limits: Limits::default() }
    }
}

/// What schemas and checks may cost.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How many schema files one directory may hold.
    pub schemas_max: usize,
    /// How large one schema file may be.
    pub schema_bytes_max: usize,
    /// How many JSON objects one schema file may hold.
    pub subschemas_max: usize,
    /// How large one compiled `pattern` may be.
    pub pattern_bytes_max: usize,
    /// How many members and elements of one event a check may look at, repeated looks counted.
    pub check_steps_max: u64,
    /// The same for an explanation, which looks more often.
    pub explain_steps_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            schemas_max: 10_000,
            schema_bytes_max: 1024 * 1024,
            subschemas_max: 10_000,
            pattern_bytes_max: 1024 * 1024,
            check_steps_max: 5_000_000,
            explain_steps_max: 200_000,
        }
    }
}

/// The registry in force. A reader keeps the one it took; a new one is published whole.
#[derive(Debug)]
pub struct Schemas {
    current: ArcSwap<Registry>,
}

impl Schemas {
    /// Puts a first registry in force.
    pub fn new(registry: Registry) -> Self {
        Schemas { current: ArcSwap::from_pointee(registry) }
    }

    /// The registry in force now.
    pub fn current(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Replaces the registry, at once for all that ask from now on.
    pub fn publish(&self, registry: Registry) {
        self.current.store(Arc::new(registry));
    }
}

#[cfg(test)]
mod tests;
