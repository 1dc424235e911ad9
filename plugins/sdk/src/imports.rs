//! The host's side of [`host`](crate::host), in WebAssembly.

use crate::bindings::weir::plugin::{log, metrics};
use crate::error::Error;
use crate::host::{Clock, Hits, Log, Lookup, Metrics};
use crate::log::Level;

use self::enricher::weir::plugin::{clock, lookup};

/// What an enricher imports beyond the rest. Every plugin's file names these beside its own world, and the
/// encoder leaves out what its code does not call.
mod enricher {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package weir:sdk;
            world enricher {
                import weir:plugin/lookup@0.1.0;
                import weir:plugin/clock@0.1.0;
            }
        ",
        with: { "weir:plugin/types@0.1.0": crate::bindings::weir::plugin::types },
        generate_all,
    });
}

pub(crate) struct Imports;

impl Log for Imports {
    fn enabled(level: Level) -> bool {
        log::enabled(level.into())
    }

    fn write(level: Level, message: &str) {
        log::write(level.into(), message);
    }
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        }
    }
}

impl Metrics for Imports {
    fn counter(name: &str) -> u32 {
        metrics::counter(name)
    }

    fn histogram(name: &str) -> u32 {
        metrics::histogram(name)
    }

    fn add(id: u32, delta: u64) {
        metrics::add(id, delta);
    }

    fn observe(id: u32, value: f64) {
        metrics::observe(id, value);
    }
}

impl Lookup for Imports {
    fn table(name: &str) -> Result<u32, Error> {
        Ok(lookup::table(name)?)
    }

    fn get_many(table: u32, arena: &[u8], spans: &[u32]) -> Result<Hits, Error> {
        let lookup::Hits { arena, spans } = lookup::get_many(table, arena, spans)?;
        Ok(Hits { arena, spans })
    }
}

impl Clock for Imports {
    fn now_ns() -> u64 {
        clock::now()
    }

    fn monotonic_ns() -> u64 {
        clock::monotonic()
    }
}

impl From<lookup::Error> for Error {
    fn from(error: lookup::Error) -> Self {
        Error { code: error.code, message: error.message, retryable: error.retryable }
    }
}
