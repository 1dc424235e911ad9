//! The metrics of access. Labels are codes and words of ours, nothing of a request.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use crate::problem::Code;

/// What is read again and again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Keys,
    Jwks,
}

impl Source {
    const ALL: [Source; 2] = [Source::Keys, Source::Jwks];

    fn name(self) -> &'static str {
        match self {
            Source::Keys => "keys",
            Source::Jwks => "jwks",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Counters {
    refused: IntCounterVec,
    keys: IntGauge,
    read_failures: IntCounterVec,
}

impl Counters {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let keys = IntGauge::new("weir_access_keys", "API keys in force.")?;
        registry.register(Box::new(keys.clone()))?;
        let counters = Counters {
            refused: counter("weir_access_refused_total", "Requests turned away, by code.", "code")?,
            keys,
            read_failures: counter(
                "weir_access_read_failures_total",
                "Looks at what says who may do what that failed; it stays as it was.",
                "what",
            )?,
        };
        for code in [
            Code::Unauthorized,
            Code::NotPermitted,
            Code::CredentialMismatch,
            Code::UnknownRoute,
            Code::BadSignature,
        ] {
            counters.refused.with_label_values(&[code.name()]);
        }
        for source in Source::ALL {
            counters.read_failures.with_label_values(&[source.name()]);
        }
        Ok(counters)
    }

    pub(super) fn refused(&self, code: Code) {
        self.refused.with_label_values(&[code.name()]).inc();
    }

    pub(super) fn keys(&self, count: usize) {
        self.keys.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn read_failed(&self, source: Source) {
        self.read_failures.with_label_values(&[source.name()]).inc();
    }
}
