//! The way of spans to a collector: OTLP over HTTP, in protobuf, from a thread of its own. A collector that is away, or
//! slower than spans come, costs their number in a metric and a line in the log.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use prost::Message as _;

use super::{Settings, TracesError, text};
use crate::secret::Secret;

/// Spans that may wait; more are lost.
const QUEUE_MAX: usize = 8192;
/// Spans of one post.
const BATCH_MAX: usize = 512;
/// Between two looks into the queue. To be woken for a span would cost a worker more than the span.
const PAUSE: Duration = Duration::from_millis(500);
const POST_TIMEOUT: Duration = Duration::from_secs(5);
/// What is left when the gateway stops has so long.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Where ended spans are put.
#[derive(Debug)]
pub(super) struct Outlet {
    queue: SyncSender<Span>,
    full: IntCounter,
    /// To tell the thread to end, and to hear that it has.
    stop: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
}

impl Outlet {
    pub(super) fn start(settings: Settings, registry: &Registry) -> Result<Self, TracesError> {
        let spans = Opts::new("weir_trace_spans_total", "Spans of traced requests, by how they ended.");
        let spans = IntCounterVec::new(spans, &["ending"])?;
        registry.register(Box::new(spans.clone()))?;
        let ending = |ending: &str| spans.with_label_values(&[ending]);
        let collector = Collector::new(settings)?;
        let counters =
            Counters { sent: ending("sent"), rejected: ending("rejected"), not_taken: ending("not-taken") };
        let (queue, spans) = sync_channel(QUEUE_MAX);
        let ((stop, stopped), (ended, end)) = (sync_channel(1), sync_channel(1));
        let run = move || {
            run(&spans, &stopped, &collector, &counters);
            drop(ended);
        };
        std::thread::Builder::new().name("traces".to_owned()).spawn(run)?;
        Ok(Outlet { queue, full: ending("queue-full"), stop: Mutex::new(Some((stop, end))) })
    }

    /// Puts a span into the queue, or counts it.
    pub(super) fn send(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.full.inc();
        }
    }

    pub(super) fn stop(&self) {
        if let Some((stop, end)) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(stop);
            // It never sends: this ends with it, or with the time.
            end.recv_timeout(STOP_TIMEOUT).ok();
        }
    }
}

struct Counters {
    sent: IntCounter,
    rejected: IntCounter,
    not_taken: IntCounter,
}

/// Looks into the queue until the gateway stops, and once more then.
fn run(spans: &Receiver<Span>, stop: &Receiver<()>, collector: &Collector, counters: &Counters) {
    let (mut told, mut last) = (None, false);
    while !last {
        last = !matches!(stop.recv_timeout(PAUSE), Err(RecvTimeoutError::Timeout));
        let begun = Instant::now();
        loop {
            let batch: Vec<Span> = spans.try_iter().take(BATCH_MAX).collect();
            if batch.is_empty() {
                break;
            }
            let count = batch.len() as u64;
            let failed = collector.take(batch).map_or_else(
                |why| {
                    counters.not_taken.inc_by(count);
                    Some(why)
                },
                |rejected| {
                    counters.rejected.inc_by(rejected.min(count));
                    counters.sent.inc_by(count.saturating_sub(rejected));
                    None
                },
            );
            if let Some(why) = &failed
                && told != failed
            {
                tracing::warn!(%why, "spans are lost: the collector does not take them");
            }
            told = failed;
            if last && begun.elapsed() > STOP_TIMEOUT {
                break;
            }
        }
    }
}

/// A collector that takes OTLP.
struct Collector {
    agent: ureq::Agent,
    url: String,
    headers: BTreeMap<String, Secret>,
    resource: Resource,
}

impl Collector {
    /// Reads each secret once, to see that it is there.
    fn new(settings: Settings) -> Result<Self, TracesError> {
        settings.headers.values().try_for_each(|secret| secret.reveal().map(drop))?;
        let config =
            ureq::Agent::config_builder().timeout_global(Some(POST_TIMEOUT)).max_redirects(0).proxy(None);
        let attributes = vec![
            text("service.name", settings.service_name.as_str()),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", uuid::Uuid::new_v4().to_string()),
        ];
        Ok(Collector {
            agent: config.build().into(),
            url: settings.url(),
            headers: settings.headers,
            resource: Resource { attributes, ..Resource::default() },
        })
    }

    /// Posts a batch; gives how many of it were rejected, or why all were. Nothing is sent twice.
    fn take(&self, spans: Vec<Span>) -> Result<u64, String> {
        let mut post = self.agent.post(&self.url).content_type("application/x-protobuf");
        for (name, secret) in &self.headers {
            post = post.header(name, secret.reveal().map_err(|error| error.to_string())?.as_str());
        }
        let mut response = post.send(self.message(spans)).map_err(|error| without_values(&error))?;
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let answer = answer.map_err(|error| without_values(&error))?;
        let answer = ExportTraceServiceResponse::decode(answer.as_slice()).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or_default())
    }

    fn message(&self, spans: Vec<Span>) -> Vec<u8> {
        let scope = InstrumentationScope { name: "weir".to_owned(), ..InstrumentationScope::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }
}

/// An error without what it says of a request: that has secrets in its headers.
fn without_values(error: &ureq::Error) -> String {
    match error {
        ureq::Error::StatusCode(status) => format!("it answered {status}"),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "it took too long".to_owned(),
        ureq::Error::ConnectionFailed => "there is no connection".to_owned(),
        ureq::Error::HostNotFound => "its name is not known".to_owned(),
        ureq::Error::Http(_) => "a header's value is not usable".to_owned(),
        _ => "it was not understood, or is not a collector".to_owned(),
    }
}
