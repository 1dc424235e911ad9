//! How the events of one request ended, counted exactly once each. Who is dropped with events unsettled has
//! lost them, and says so: that is a defect of ours and an alert.

use std::sync::Arc;

use super::Ending;
use crate::event::Attributes;
use crate::kafka::delivery::Report;
use crate::metrics::RouteMetrics;
use crate::problem::{Code, Outcome, Problem};
use crate::route::{Reason, Record};
use crate::schema::{Schema, ValidEvent};

/// What a client gets for an event that is in Kafka, beside what all events of its request share.
#[derive(Debug)]
pub struct Receipt {
    /// Where its id, source, type and record key are in the request's [`Common`] text, each up to the next.
    bounds: [usize; 5],
    topic: usize,
    /// Absent on a route without a subject.
    schema: Option<usize>,
    plugins: usize,
    /// Where in the topic.
    pub partition: i32,
    /// Where in the partition; `None` when Kafka did not tell (a de-duplicated resend).
    pub offset: Option<i64>,
}

/// What a request's receipts share: their texts one after the other, in one allocation, and the topics and
/// schemas, which are nearly always one. A count that all workers touch for each event would be a brake.
#[derive(Debug, Default)]
pub struct Common {
    text: String,
    topics: Vec<Arc<str>>,
    schemas: Vec<Arc<Schema>>,
    plugins: Vec<Arc<str>>,
}

impl Receipt {
    /// The receipt of a record that is on its way to this partition. `plugins`, which saw it, is a JSON array.
    pub fn new(
        common: &mut Common,
        record: &Record<'_>,
        event: &ValidEvent<'_>,
        plugins: &Arc<str>,
        partition: i32,
    ) -> Self {
        let Attributes { id, source, event_type, .. } = event.event().attributes();
        let mut bounds = [common.text.len(); 5];
        for (text, end) in [id, source, event_type, record.partition_key.unwrap_or_default()]
            .into_iter()
            .zip(&mut bounds[1..])
        {
            common.text.push_str(text);
            *end = common.text.len();
        }
        let topic = place(&mut common.topics, record.topic);
        let schema = event.schema().map(|schema| place(&mut common.schemas, schema));
        let plugins = place(&mut common.plugins, plugins);
        Receipt { bounds, topic, schema, plugins, partition, offset: None }
    }

    /// The event's id, source and type.
    pub fn attributes<'c>(&self, common: &'c Common) -> [&'c str; 3] {
        [0, 1, 2].map(|place| self.text(common, place))
    }

    /// The record key, which is never empty.
    pub fn partition_key<'c>(&self, common: &'c Common) -> Option<&'c str> {
        Some(self.text(common, 3)).filter(|key| !key.is_empty())
    }

    /// The topic that the record is in.
    pub fn topic<'c>(&self, common: &'c Common) -> &'c str {
        &common.topics[self.topic]
    }

    /// The schema that the event matches.
    pub fn schema<'c>(&self, common: &'c Common) -> Option<&'c Schema> {
        self.schema.map(|place| &*common.schemas[place])
    }

    /// The plugins that saw the event: a JSON array.
    pub fn plugins<'c>(&self, common: &'c Common) -> &'c str {
        &common.plugins[self.plugins]
    }

    fn text<'c>(&self, common: &'c Common, place: usize) -> &'c str {
        common.text.get(self.bounds[place]..self.bounds[place + 1]).unwrap_or_default()
    }
}

/// Where an item is in the list: at its end, if need be by adding it.
fn place<T: ?Sized>(list: &mut Vec<Arc<T>>, item: &Arc<T>) -> usize {
    if list.last().is_none_or(|last| !Arc::ptr_eq(last, item)) {
        list.push(Arc::clone(item));
    }
    list.len() - 1
}

/// An event that a plugin decided not to store.
#[derive(Debug)]
pub struct Dropped {
    /// The event's id.
    pub id: Box<str>,
    /// Which plugin.
    pub plugin: Arc<str>,
    /// In the plugin's words.
    pub reason: Option<Box<str>>,
}

/// The events of one request that have no outcome yet.
#[derive(Debug)]
pub struct InFlight {
    metrics: Arc<RouteMetrics>,
    unsettled: u64,
}

impl InFlight {
    /// So many events came in.
    pub fn new(metrics: Arc<RouteMetrics>, events: usize) -> Self {
        metrics.events_in(events as u64);
        InFlight { metrics, unsettled: events as u64 }
    }

    /// The metrics of the route they are counted under.
    pub fn metrics(&self) -> &Arc<RouteMetrics> {
        &self.metrics
    }

    /// Counts how they ended.
    pub fn settle(mut self, endings: &[Ending]) {
        let stored = endings.iter().filter(|ending| matches!(ending, Ending::Stored(_))).count() as u64;
        let dropped = endings.iter().filter(|ending| matches!(ending, Ending::Dropped(_))).count() as u64;
        let aside = endings.iter().filter(|ending| matches!(ending, Ending::DeadLettered(..))).count() as u64;
        let refused = endings.iter().filter_map(|ending| match ending {
            Ending::Refused(problem) => Some(problem.code),
            Ending::Stored(_) | Ending::Dropped(_) | Ending::DeadLettered(..) => None,
        });
        refused.for_each(|code| self.metrics.ended_with(code));
        let well = [(Outcome::Stored, stored), (Outcome::Dropped, dropped), (Outcome::DeadLettered, aside)];
        for (outcome, events) in well {
            if events > 0 {
                self.metrics.ended(outcome, events);
            }
        }
        self.unsettled = self.unsettled.saturating_sub(endings.len() as u64);
    }

    /// Counts all of them under one code, for a request that failed as a whole.
    pub fn refuse(mut self, problem: Problem) -> Problem {
        (0..self.unsettled).for_each(|_| self.metrics.ended_with(problem.code));
        self.unsettled = 0;
        problem
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.unsettled > 0 {
            tracing::error!(events = self.unsettled, "events ended without an outcome");
            self.metrics.ended(Outcome::Lost, self.unsettled);
        }
    }
}

/// The answer for a record by what Kafka reported; it was kept aside if there is a reason.
pub fn by_report(receipt: Receipt, reason: Option<Box<Reason>>, report: Report) -> Ending {
    match report {
        Report::Stored(offset) => {
            let receipt = Receipt { offset, ..receipt };
            match reason {
                None => Ending::Stored(receipt),
                Some(reason) => Ending::DeadLettered(receipt, reason),
            }
        }
        Report::NotStored(code) => Ending::Refused(Problem::new(code, advice(code))),
        Report::Unknown => {
            Ending::Refused(Problem::new(Code::DeliveryUnknown, advice(Code::DeliveryUnknown)))
        }
    }
}

/// What to do about a record that Kafka did not take.
pub fn advice(code: Code) -> &'static str {
    match code {
        Code::TopicMissing => "the operator creates it with `weir topics create`",
        Code::RecordTooLarge => "raise the topic's max.message.bytes or send smaller events",
        Code::DeliveryUnknown => "send it again with the same source and id",
        _ => "send it again in a moment",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn an_event_without_an_ending_is_lost_and_counted() {
        let metrics = Metrics::new().expect("registers");
        let in_flight = InFlight::new(metrics.route("r"), 2);
        in_flight.settle(&[Ending::Refused(Problem::new(Code::InvalidJson, ""))]);
        let text = String::from_utf8(metrics.render(None)).expect("text");
        assert!(text.contains(r#"weir_events_out_total{code="",outcome="lost",route="r"} 1"#), "{text}");
        assert!(
            text.contains(r#"weir_events_out_total{code="invalid-json",outcome="refused",route="r"} 1"#),
            "{text}"
        );
    }
}
