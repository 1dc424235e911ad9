//! A request that is under way, and what is known of its events before Kafka's reports.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::chunk::{Job, Out};
use super::outcome::{Common, Receipt};
use super::{Ending, Shape};
use crate::event::Headers;
use crate::event::frame::Framing;
use crate::event::trace::Trace;
use crate::kafka::delivery::Delivery;
use crate::kafka::producer::Producer;
use crate::metrics::RouteMetrics;
use crate::route::{Reason, Route, Template};
use crate::schema::{Registry, Schema};
use crate::traces::Work;

/// A request that is under way: what its chunks have in common, whichever thread works on them. Its records leave
/// through the producer of the worker that began it, and so in order.
pub(super) struct Accepted {
    pub(super) route: Arc<Route>,
    pub(super) registry: Arc<Registry>,
    pub(super) shape: Shape,
    pub(super) framing: Framing,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
    pub(super) time: SystemTime,
    /// Until when its client waits.
    pub(super) deadline: Option<Instant>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) producer: Arc<Producer>,
    pub(super) metrics: Arc<RouteMetrics>,
    /// If its request is traced.
    pub(super) traced: Option<Arc<Work>>,
}

impl Accepted {
    pub(super) fn job(&self) -> Job<'_> {
        let Accepted { route, registry, .. } = self;
        let subject = route.subject.as_ref().and_then(Template::constant);
        Job {
            route,
            registry,
            schema: subject.and_then(|subject| registry.subject(subject)),
            shape: self.shape,
            headers: &self.headers,
            trace: Trace::of(&self.headers).within(self.traced.as_deref().map(Work::traceparent)),
            time: self.time,
            metrics: &self.metrics,
            traced: self.traced.as_deref(),
        }
    }

    pub(super) fn out(&self) -> Out<'_> {
        Out { delivery: &self.delivery, producer: &self.producer, deadline: self.deadline }
    }
}

/// A request's events before Kafka's reports, in order.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    pub(super) list: Vec<Draft>,
    pub(super) common: Common,
}

/// How far an event came before Kafka's report.
#[derive(Debug)]
pub(super) enum Draft {
    /// Handed over; the receipt lacks its offset. With a reason it is a dead letter.
    Sent(Receipt, Option<Box<Reason>>),
    /// Does not match its schema; why is found out off the worker.
    Violation(Arc<Schema>, Box<[u8]>),
    /// Ended.
    Ended(Ending),
}
