//! Sends events at a steady rate and files what it was told. It sends nothing twice: what became of an event without
//! an answer is read from the log at the end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::chance::Chance;
use super::control::Control;
use super::event::{Event, number_of};
use super::journal::{Journal, Receipt};
use super::stage::Stage;

pub const WRITERS: u32 = 8;
const BATCH: u32 = 10;
/// In 100 requests, to the gateway that comes and goes.
const TO_SECOND: u64 = 25;

/// What all writers share.
pub struct Writing<'a> {
    pub stage: &'a Stage,
    pub journal: &'a Journal,
    pub control: &'a Control,
    /// Keys, over all writers.
    pub keys: u32,
    pub events_per_s: u32,
    pub next: AtomicU64,
    pub done: &'a AtomicBool,
}

impl Writing<'_> {
    /// One writer: it alone sends the events of its keys, and waits for each answer.
    pub async fn write(&self, writer: u32, mut chance: Chance) {
        let mut sequences: HashMap<u32, u32> = HashMap::new();
        let mut ticks = interval(Duration::from_secs(1) * WRITERS * BATCH / self.events_per_s);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.done.load(Ordering::Relaxed) {
            ticks.tick().await;
            let events: Vec<Event> = (0..BATCH)
                .map(|_| {
                    let own = chance.skewed(u64::from(self.keys / WRITERS));
                    let key = u32::try_from(own).expect("below a u32") * WRITERS + writer;
                    let sequence = sequences.entry(key).or_default();
                    *sequence += 1;
                    let number = self.next.fetch_add(1, Ordering::Relaxed);
                    Event { number, key, sequence: *sequence }
                })
                .collect();
            let second = self.stage.second.is_up() && chance.percent(TO_SECOND);
            self.send(&events, second).await;
        }
    }

    async fn send(&self, events: &[Event], second: bool) {
        let body: Vec<String> = events.iter().map(|event| event.to_json()).collect();
        let url = self.stage.gateway(second).weir.url(&format!("/v1/events/{}", self.stage.topic()));
        let request = self.stage.http.post(url).header("content-type", "application/json");
        let answer = match request.body(format!("[{}]", body.join(","))).send().await {
            Ok(answer) => answer.bytes().await.unwrap_or_default(),
            Err(_) => Default::default(),
        };
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let told = read(&answer, events, self.stage.clock.us());
        self.journal.file(&told.receipts, &told.refused, &told.unknown);
        self.control.forget(&told.receipts).await;
    }
}

#[derive(Default)]
struct Sorted {
    receipts: Vec<Receipt>,
    refused: Vec<u64>,
    unknown: Vec<u64>,
}

/// Sorts the events by what the answer says of each, or of all of them.
fn read(answer: &Value, events: &[Event], acked_us: u64) -> Sorted {
    let mut sorted = Sorted::default();
    for (place, event) in events.iter().enumerate() {
        let one = if answer["results"].is_array() { &answer["results"][place] } else { answer };
        let problem = if one["problem"].is_object() { &one["problem"] } else { one };
        let offset = one["offset"].as_i64();
        let partition = one["partition"].as_i64().and_then(|partition| i32::try_from(partition).ok());
        let own = one["id"].as_str().and_then(number_of) == Some(event.number);
        match (one["outcome"].as_str(), partition, problem["outcome"].as_str()) {
            (Some("stored"), Some(partition), _) if own => {
                sorted.receipts.push(Receipt { event: *event, partition, offset, acked_us });
            }
            (_, _, Some("not-stored" | "refused")) => sorted.refused.push(event.number),
            _ => sorted.unknown.push(event.number),
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_event_is_sorted_by_its_own_outcome() {
        let events: Vec<_> = (0..4).map(|number| Event { number, key: 0, sequence: 1 }).collect();
        let answer = json!({"results": [
            {"id": "e-0", "partition": 3, "offset": 7, "outcome": "stored"},
            {"problem": {"outcome": "not-stored"}},
            {"problem": {"outcome": "unknown"}},
            {"id": "e-9", "partition": 3, "offset": 8, "outcome": "stored"},
        ]});
        let sorted = read(&answer, &events, 5);
        assert_eq!(
            sorted.receipts.iter().map(|it| (it.event.number, it.offset)).collect::<Vec<_>>(),
            [(0, Some(7))]
        );
        assert_eq!((sorted.refused, sorted.unknown), (vec![1], vec![2, 3]));
        let shed = read(&json!({"outcome": "not-stored"}), &events, 5);
        assert_eq!(shed.refused.len(), 4);
        assert_eq!(read(&Value::Null, &events, 5).unknown.len(), 4);
    }
}
