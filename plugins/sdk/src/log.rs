//! Lines in the gateway's log, under the plugin's name. Natively they go to standard error and to
//! [`testing::World::lines`](crate::testing::World::lines).
//!
//! The host keeps the first 1 KiB of a line and 16 lines a call; of a call that fails only the errors. Lines
//! hold no values of events.
//!
//! ```
//! use weir_plugin::log::{self, Level};
//!
//! log::warn("the table is older than a day");
//! if log::enabled(Level::Debug) {
//!     log::debug(&format!("{} rows", 3));
//! }
//! ```

use crate::host::{Host, Log as _};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Every step.
    Trace,
    /// For finding a fault in the plugin.
    Debug,
    /// Rare and of interest to the operator.
    Info,
    /// Somebody should look at it some day.
    Warn,
    /// Somebody should look at it now.
    Error,
}

/// Whether a line of this level would be kept: ask before a costly line is put together.
pub fn enabled(level: Level) -> bool {
    Host::enabled(level)
}

/// Writes a line.
pub fn write(level: Level, message: &str) {
    Host::write(level, message);
}

/// Writes a line for finding a fault in the plugin.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Writes a line of interest to the operator.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Writes a line that somebody should look at some day.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Writes a line that somebody should look at now; it is kept even if the call fails.
pub fn error(message: &str) {
    write(Level::Error, message);
}
