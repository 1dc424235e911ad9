//! User plugins: WebAssembly components that judge and patch events, one call per plugin and batch, on
//! instances that belong to one worker. What a patch does to an event is the pipeline's business, not ours.

mod artifact;
mod breaker;
mod cache;
mod chain;
mod compile;
mod counters;
mod engine;
mod follow;
mod guest;
mod host;
mod input;
mod instance;
mod load;
mod loaded;
mod output;
mod pace;
mod shadow;
mod tables;
mod trusted;
mod verdict;
mod version;
mod versions;

use std::path::PathBuf;
use std::time::Duration;

pub use self::artifact::{Artifact, ArtifactError, Description};
pub use self::chain::{Chain, Chains, SeenBy, WorkerChains};
pub use self::compile::{CompileError, Compiler, compile_plugin};
pub use self::counters::Counters;
pub use self::guest::Overrun;
pub use self::instance::{CallError, Instance};
pub use self::load::{Host, LoadError, StartError, Use, read_bounded};
pub use self::loaded::Plugin;
pub use self::output::OutputError;
pub use self::pace::{Lap, Pace};
pub use self::shadow::{Difference, Report as ShadowReport, Shadow};
pub use self::tables::{ReadHash, Rows, TABLE_BYTES_MAX, TableError, TableSettings, Tables};
pub use self::verdict::{Op, Verdict, Verdicts};
pub use self::version::{Description as VersionDescription, Stage, VersionError};
pub use self::versions::{Place, Versions};

use crate::event::{Selected, Selector};

/// The events of one call, however they are kept.
pub trait Source {
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What a selector finds in an event.
    fn select(&self, event: usize, selector: &Selector) -> Option<Selected<'_>>;
    /// The bytes of an event's data.
    fn payload(&self, event: usize) -> &[u8];
    /// When it was received, in nanoseconds since 1970.
    fn time_ns(&self, event: usize) -> u64;
}

/// What plugins may cost. Each is a limit per instance, or per call where it says so.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where compiled plugins are kept; nobody else may write there. In the config: `plugin_cache`.
    #[serde(skip)]
    pub cache: PathBuf,
    /// Instances that stand ready when a version is put in force: one for each worker.
    #[serde(skip)]
    pub spares: usize,
    /// Thread CPU time of one call.
    pub deadline_ms: u64,
    /// Thread CPU time to start an instance, or to describe it.
    pub start_deadline_ms: u64,
    /// Linear memory, all memories together.
    pub memory_bytes_max: usize,
    /// Elements of all tables together.
    pub table_elements_max: usize,
    /// Calls of one instance, and its age; then a new one takes its place between two calls.
    pub instance_calls_max: u64,
    /// See `instance_calls_max`.
    pub instance_age_s_max: u64,
    /// A `.wasm` file.
    pub artifact_bytes_max: usize,
    /// Events of one call; the plugin may want fewer.
    pub batch_events_max: usize,
    /// Ops on one event.
    pub ops_per_event_max: usize,
    /// Log lines of one call; the rest are counted and dropped.
    pub log_lines_max: usize,
    /// Log lines of a plugin in a second, over all its instances; the rest are counted and dropped.
    pub log_lines_per_s_max: usize,
    /// Bytes of one log line; the rest are cut off.
    pub log_line_bytes_max: usize,
    /// Names of counters and histograms of a plugin.
    pub metric_names_max: usize,
    /// Address space of the process that compiles a plugin.
    pub compile_memory_bytes_max: u64,
    /// CPU time of the process that compiles a plugin.
    pub compile_cpu_s_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            cache: PathBuf::from(".weir-cache"),
            deadline_ms: 5,
            start_deadline_ms: 1_000,
            memory_bytes_max: 32 << 20,
            table_elements_max: 20_000,
            spares: 1,
            instance_calls_max: 10_000_000,
            instance_age_s_max: 3_600,
            artifact_bytes_max: 32 << 20,
            batch_events_max: 64,
            ops_per_event_max: 64,
            log_lines_max: 16,
            log_lines_per_s_max: 100,
            log_line_bytes_max: 1 << 10,
            metric_names_max: 32,
            compile_memory_bytes_max: 2 << 30,
            compile_cpu_s_max: 60,
        }
    }
}

impl Settings {
    fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    fn start_deadline(&self) -> Duration {
        Duration::from_millis(self.start_deadline_ms)
    }
}

#[cfg(test)]
mod tests;
