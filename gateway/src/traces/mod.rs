//! Traces over OTLP: a span for each request that is traced, and one below it for each stage of its events. A span is made
//! when it ends, and goes into a bounded queue for a thread of its own (`export`): nothing waits for a collector. Names
//! are those of OpenTelemetry's semantic conventions; none of the values is an event's.

mod export;
mod settings;
mod span;

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prometheus::Registry;
use uuid::Uuid;

use self::export::Outlet;
pub use self::settings::Settings;
pub use self::span::{Span, Work};
use crate::event::trace::Parent;

/// Which requests are traced, and where their spans go; by default none and nowhere.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Tracer>>);

#[derive(Debug)]
struct Tracer {
    sample_ratio: f64,
    outlet: Outlet,
}

/// Traces cannot be sent as the config says.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A header's value cannot be read.
    #[error("traces: {0}")]
    Secret(#[from] crate::secret::SecretError),
    /// The metric cannot be registered.
    #[error("traces: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The machine refused a thread.
    #[error("traces: {0}")]
    Thread(#[from] std::io::Error),
}

impl Traces {
    /// Begins to send, to where the settings say.
    pub fn start(settings: Settings, registry: &Registry) -> Result<Self, TracesError> {
        let sample_ratio = settings.sample_ratio;
        Ok(Traces(Some(Arc::new(Tracer { sample_ratio, outlet: Outlet::start(settings, registry)? }))))
    }

    /// The span of a request that begins now, if it is traced; `traceparent` is what it brought along.
    pub fn begin(&self, traceparent: Option<&str>) -> Option<Arc<Span>> {
        let tracer = self.0.as_ref()?;
        let parent = traceparent.and_then(Parent::of);
        let fresh = Uuid::new_v4().as_u128();
        is_traced(parent, tracer.sample_ratio, fresh)
            .then(|| Arc::new(Span::begin(Arc::clone(tracer), parent, fresh, SystemTime::now())))
    }

    /// Sends what is left, if the collector takes it in a moment. Blocks.
    pub fn stop(&self) {
        if let Some(tracer) = &self.0 {
            tracer.outlet.stop();
        }
    }
}

/// As the trace says that it is part of (Trace Context §3.2.3, `sampled`). One that begins here is traced by chance: its
/// id is, in the 56 bits that others may go by, too.
fn is_traced(parent: Option<Parent<'_>>, sample_ratio: f64, fresh: u128) -> bool {
    const BITS: u32 = 56;
    match parent {
        Some(parent) => parent.sampled,
        None => ((fresh & ((1 << BITS) - 1)) as f64) < sample_ratio * 2_f64.powi(BITS.cast_signed()),
    }
}

/// A fact about a span, in a word or a text of ours.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// The same in a number.
pub fn number(key: &str, value: usize) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_traced_as_its_trace_says_and_else_by_chance() {
        let parent = |flags: &str| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        for (flags, traced) in [("01", true), ("00", false), ("03", true), ("02", false)] {
            let parent = parent(flags);
            for sample_ratio in [0.0, 1.0] {
                assert_eq!(is_traced(Parent::of(&parent), sample_ratio, 1), traced, "{flags}");
            }
        }
        let of_a_thousand = |sample_ratio| {
            (0..1000).filter(|_| is_traced(None, sample_ratio, Uuid::new_v4().as_u128())).count()
        };
        assert_eq!((of_a_thousand(0.0), of_a_thousand(1.0)), (0, 1000));
        assert!((50..200).contains(&of_a_thousand(0.1)));
        assert!(!is_traced(None, 0.5, u128::MAX) && is_traced(None, 0.5, u128::MAX << 56));
    }

    #[test]
    fn without_a_section_nothing_is_traced() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(Traces::default().begin(Some(parent)).is_none());
    }
}
