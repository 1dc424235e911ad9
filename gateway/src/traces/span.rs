//! A request that is traced, and its events' way. What is not known before the end is told then.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, Status};
use uuid::Uuid;

use super::{Tracer, number, text};
use crate::event::trace::Parent;
use crate::metrics::Stage;

/// Bits of OTLP's flags: it is sampled; it is known whether the parent is another process's; it is.
const SAMPLED: u32 = 0x1;
const PARENT_KNOWN: u32 = 0x100;
const PARENT_REMOTE: u32 = 0x200;

/// A request that is traced.
pub struct Span {
    tracer: Arc<Tracer>,
    trace_id: u128,
    id: u64,
    /// The caller's span.
    parent: Option<u64>,
    begun: SystemTime,
    traceparent: Box<str>,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.traceparent).finish()
    }
}

/// What is known of a span at its end.
struct Ended {
    id: u64,
    parent: Option<u64>,
    flags: u32,
    name: String,
    kind: SpanKind,
    begun: SystemTime,
    took: Duration,
    attributes: Vec<KeyValue>,
    failed: bool,
}

impl Span {
    /// A span within its caller's trace, or one that begins a trace with the id `fresh`.
    pub(super) fn begin(
        tracer: Arc<Tracer>,
        parent: Option<Parent<'_>>,
        fresh: u128,
        begun: SystemTime,
    ) -> Self {
        let (trace_id, id) = (parent.map_or(fresh, |parent| parent.trace_id()), span_id());
        let traceparent = format!("00-{trace_id:032x}-{id:016x}-01").into();
        Span { tracer, trace_id, id, parent: parent.map(|parent| parent.span_id()), begun, traceparent }
    }

    /// It as the parent of others (Trace Context §3.2).
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// It is answered, `took` after it began.
    pub fn end(&self, name: String, took: Duration, attributes: Vec<KeyValue>, failed: bool) {
        let (parent, begun) = (self.parent, self.begun);
        let flags = SAMPLED | PARENT_KNOWN | parent.map_or(0, |_| PARENT_REMOTE);
        let kind = SpanKind::Server;
        self.send(Ended { id: self.id, parent, flags, name, kind, begun, took, attributes, failed });
    }

    /// Something in it is over.
    fn child(
        &self,
        (name, kind): (String, SpanKind),
        (begun, took): (SystemTime, Duration),
        attributes: Vec<KeyValue>,
        failed: bool,
    ) {
        let (id, parent, flags) = (span_id(), Some(self.id), SAMPLED | PARENT_KNOWN);
        self.send(Ended { id, parent, flags, name, kind, begun, took, attributes, failed });
    }

    fn send(&self, ended: Ended) {
        let failed = Status { message: String::new(), code: StatusCode::Error.into() };
        self.tracer.outlet.send(otlp::Span {
            trace_id: self.trace_id.to_be_bytes().to_vec(),
            span_id: ended.id.to_be_bytes().to_vec(),
            parent_span_id: ended.parent.map_or(Vec::new(), |id| id.to_be_bytes().to_vec()),
            flags: ended.flags,
            name: ended.name,
            kind: ended.kind.into(),
            start_time_unix_nano: unix_ns(ended.begun),
            end_time_unix_nano: unix_ns(ended.begun + ended.took),
            attributes: ended.attributes,
            status: ended.failed.then_some(failed),
            ..otlp::Span::default()
        });
    }
}

/// By chance, and never 0: so is the format of UUIDs.
fn span_id() -> u64 {
    Uuid::new_v4().as_u64_pair().1
}

fn unix_ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// When a stage began, and how long it took over all chunks.
type Lap = Option<(SystemTime, Duration)>;

/// One route's part in a request that is traced.
#[derive(Debug)]
pub struct Work {
    span: Arc<Span>,
    /// Of check and plugin.
    laps: Mutex<[Lap; 2]>,
}

impl Work {
    /// Part of this request.
    pub fn of(span: Arc<Span>) -> Arc<Self> {
        Arc::new(Work { span, laps: Mutex::default() })
    }

    /// The request's span, as the parent of records.
    pub fn traceparent(&self) -> &str {
        self.span.traceparent()
    }

    /// A stage of a chunk is over, which took so long.
    pub fn took(&self, stage: Stage, time: Duration) {
        let place = match stage {
            Stage::Check => 0,
            Stage::Plugin => 1,
            Stage::Body | Stage::Kafka => return,
        };
        // A lap is whole whatever happened to a thread that held it.
        let mut laps = self.laps.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, total) = laps[place].unwrap_or_else(|| (SystemTime::now() - time, Duration::ZERO));
        laps[place] = Some((begun, total + time));
    }

    /// Its events have ended: so many records went to `topic`, which Kafka was waited for so long; `settled`: it has
    /// told of all of them.
    pub fn end(&self, route: &str, (topic, records): (&str, usize), waited: Duration, settled: bool) {
        let laps = *self.laps.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, lap) in ["check", "plugin"].into_iter().zip(laps) {
            if let Some(lap) = lap {
                let attributes = vec![text("weir.route", route)];
                self.span.child((name.to_owned(), SpanKind::Internal), lap, attributes, false);
            }
        }
        if records > 0 {
            let attributes = vec![
                text("messaging.system", "kafka"),
                text("messaging.operation.name", "send"),
                text("messaging.operation.type", "send"),
                text("messaging.destination.name", topic),
                number("messaging.batch.message_count", records),
                text("weir.route", route),
            ];
            let lap = (SystemTime::now() - waited, waited);
            self.span.child((format!("send {topic}"), SpanKind::Producer), lap, attributes, !settled);
        }
    }
}
