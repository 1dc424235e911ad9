//! The metrics of TLS, by listener.

use prometheus::{IntCounterVec, Opts, Registry};

use super::section;
use crate::http::doors::Listener;

/// What went wrong, for both listeners.
#[derive(Clone, Debug)]
pub struct Counters {
    refused: IntCounterVec,
    read_failures: IntCounterVec,
}

impl Counters {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["listener"])?;
            for listener in [Listener::Public, Listener::Admin] {
                counter.with_label_values(&[section(listener)]);
            }
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        Ok(Counters {
            refused: counter(
                "weir_tls_refused_total",
                "Connections without a handshake, refused or too slow.",
            )?,
            read_failures: counter(
                "weir_tls_read_failures_total",
                "Looks at a listener's certificate that failed; it stays as it was.",
            )?,
        })
    }

    pub(super) fn refused(&self, listener: Listener) {
        self.refused.with_label_values(&[section(listener)]).inc();
    }

    pub(super) fn read_failed(&self, listener: Listener) {
        self.read_failures.with_label_values(&[section(listener)]).inc();
    }
}
