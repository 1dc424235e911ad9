//! The proof beside the figures: every event that was acked is in the topic, once.
//! It is given what was sent and what a reader of the topic found; it asks the gateway nothing.

use std::fmt;

use rdkafka::message::{Message, OwnedMessage};
use serde::{Deserialize, Serialize};

use super::Result;
use super::load::{Plan, Tally, run};
use super::payload::{Shape, sequence_of};

/// What was sent and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Events sent.
    pub sent: u64,
    /// Events answered 200 or 201.
    pub acked: u64,
    /// Records in the topic.
    pub records: usize,
    /// Acked events that are not in the topic.
    pub lost: u64,
    /// Records beyond the first of an event.
    pub duplicated: u64,
    /// Records that carry no event of ours.
    pub foreign: u64,
}

impl Count {
    /// Nothing lost, nothing twice, nothing else.
    pub fn clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.foreign == 0 && self.acked > 0
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { sent, acked, records, lost, duplicated, foreign } = self;
        write!(
            f,
            "real Kafka: {sent} events sent, {acked} acked, {records} records read back: \
             {lost} lost, {duplicated} duplicated, {foreign} foreign"
        )
    }
}

/// Sends arrays, then singles at a tenth of the rate, through the gateway at `plan.target`.
pub fn send(plan: &Plan) -> Result<[(Shape, Tally); 2]> {
    let arrays = run(&Plan { shape: Shape::Array, ..*plan }, |_| Ok(()))?;
    let singles = Plan {
        shape: Shape::Single,
        events_per_s: plan.events_per_s.map(|rate| rate / 10),
        first_event: arrays.next_event,
        ..*plan
    };
    Ok([(Shape::Array, arrays), (Shape::Single, run(&singles, |_| Ok(()))?)])
}

/// Finds every event that was sent among the topic's records; events are numbered from 0.
pub fn count(sent: &[(Shape, Tally)], records: &[OwnedMessage]) -> Result<Count> {
    let events = sent.iter().map(|(_, tally)| tally.next_event).max().unwrap_or(0);
    let mut seen = vec![0_u32; usize::try_from(events)?];
    let mut count = Count { sent: events, records: records.len(), ..Count::default() };
    for record in records {
        match sequence(record).and_then(|sequence| seen.get_mut(usize::try_from(sequence).ok()?)) {
            Some(times) => *times += 1,
            None => count.foreign += 1,
        }
    }
    count.duplicated = seen.iter().map(|&times| u64::from(times.saturating_sub(1))).sum();
    for sequence in sent.iter().flat_map(|(shape, tally)| acked(tally, *shape)) {
        count.acked += 1;
        count.lost += u64::from(seen[usize::try_from(sequence)?] == 0);
    }
    Ok(count)
}

fn acked(tally: &Tally, shape: Shape) -> impl Iterator<Item = u64> {
    tally.acked_first.iter().flat_map(move |&first| first..first + shape.events())
}

/// Only what is counted by.
#[derive(Deserialize)]
struct Order<'a> {
    order_id: &'a str,
}

/// The event's number, if the record carries an event of this bench.
pub fn sequence(record: &OwnedMessage) -> Option<u64> {
    let order: Order<'_> = serde_json::from_slice(record.payload()?).ok()?;
    sequence_of(order.order_id)
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;

    use super::*;

    fn record(order_id: &str) -> OwnedMessage {
        let payload = format!(r#"{{"order_id":"{order_id}"}}"#).into_bytes();
        OwnedMessage::new(Some(payload), None, "orders".into(), Timestamp::NotAvailable, 0, 0, None)
    }

    #[test]
    fn lost_duplicated_and_foreign_are_told_apart() {
        let mut tally = Tally::new(0).expect("a histogram");
        tally.next_event = 4;
        tally.acked_first = vec![0, 1, 2];
        // 0 is there, 1 is there twice, 2 is lost, 3 was stored without an ack, and one is not ours.
        let ids = ["o-000000000000", "o-000000000001", "o-000000000001", "o-000000000003", "o-1"];
        let found = count(&[(Shape::Single, tally)], &ids.map(record)).expect("small numbers");
        let wanted = Count { sent: 4, acked: 3, records: 5, lost: 1, duplicated: 1, foreign: 1 };
        assert_eq!(found, wanted);
        assert!(!found.clean());
    }
}
