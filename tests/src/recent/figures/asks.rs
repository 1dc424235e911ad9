//! What is asked: lookups by key, id and position, and events to be stored. An asker knows the keys and their newest
//! positions; when it asks is the traffic's business.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::Deserialize;
use weir::kafka::partitioner::murmur2_partition;

use super::stage::{ROUTE, Receipt};
use super::traffic::Asker;
use super::wire::Answer;

/// The data of one event.
const EVENT_BYTES: usize = 400;

/// One event as it is sent: about 400 B of JSON.
pub(super) struct Event<'a> {
    pub(super) number: u64,
    pub(super) key: &'a str,
}

impl Event<'_> {
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        let begin = into.len();
        put(into, format_args!(r#"{{"id":"e-{:012}","user":"{}","note":""#, self.number, self.key));
        let end = begin + EVENT_BYTES - r#""}"#.len();
        into.resize(end.max(into.len()), b'x');
        into.extend_from_slice(br#""}"#);
    }
}

/// Keys, and what is known of each.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    text: String,
    partition: i32,
    /// Offsets of the oldest and the newest event with a receipt; -1 before.
    oldest: AtomicI64,
    newest: AtomicI64,
}

impl Keys {
    pub(super) fn new(count: usize, partitions: i32) -> Arc<Keys> {
        let key = |number| {
            let text = format!("u-{number:06}");
            let partition = murmur2_partition(text.as_bytes(), partitions);
            Key { text, partition, oldest: AtomicI64::new(-1), newest: AtomicI64::new(-1) }
        };
        Arc::new(Keys((0..count).map(key).collect()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn text(&self, key: usize) -> &str {
        &self.0[key].text
    }

    pub(super) fn partition(&self, key: usize) -> i32 {
        self.0[key].partition
    }

    /// A receipt was given.
    pub(super) fn stored(&self, key: usize, partition: i32, offset: i64) {
        let of = &self.0[key];
        assert_eq!(partition, of.partition, "{} is where murmur2 says", of.text);
        of.oldest.compare_exchange(-1, offset, Ordering::Relaxed, Ordering::Relaxed).ok();
        of.newest.fetch_max(offset, Ordering::Relaxed);
    }

    pub(super) fn newest(&self, key: usize) -> i64 {
        self.0[key].newest.load(Ordering::Relaxed)
    }
}

/// Which position a lookup names, and how far its answer must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Bounded,
    /// The newest receipt of the key.
    Token,
    /// The oldest receipt of the key.
    OldToken,
    Strong,
}

/// A pseudo-random choice, the same in each run (xorshift64*).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        usize::try_from(drawn).expect("32 bits fit") % count
    }
}

/// Lookups by key, each of another key; the tag is the key's number.
pub(super) struct ByKey {
    pub(super) keys: Arc<Keys>,
    pub(super) level: Level,
    pub(super) limit: usize,
    pub(super) dice: Dice,
}

impl ByKey {
    pub(super) fn new(keys: &Arc<Keys>, level: Level, limit: usize) -> ByKey {
        ByKey { keys: Arc::clone(keys), level, limit, dice: Dice::new(limit as u64) }
    }
}

impl Asker for ByKey {
    fn ask(&mut self, into: &mut Vec<u8>) -> u32 {
        let number = self.dice.below(self.keys.len());
        let key = &self.keys.0[number];
        put(into, format_args!("GET /v1/events/{ROUTE}?key={}&limit={}", key.text, self.limit));
        let position = match self.level {
            Level::Token => Some(&key.newest),
            Level::OldToken => Some(&key.oldest),
            Level::Bounded | Level::Strong => None,
        };
        if let Some(offset) = position {
            put(into, format_args!("&min_position={}:{}", key.partition, offset.load(Ordering::Relaxed)));
        }
        if self.level == Level::Strong {
            put(into, format_args!("&level=strong"));
        }
        end_get(into);
        tag(number)
    }

    /// As many events as were asked for: each key has more.
    fn check(&mut self, _tag: u32, answer: Answer<'_>) -> bool {
        answer.status != 200 || answer.body.len() > self.limit * EVENT_BYTES
    }
}

/// Lookups by id of the events `0..count`; the tag is the event's number.
pub(super) struct ById {
    pub(super) count: usize,
    pub(super) dice: Dice,
}

impl Asker for ById {
    fn ask(&mut self, into: &mut Vec<u8>) -> u32 {
        let number = self.dice.below(self.count);
        put(into, format_args!("GET /v1/events/{ROUTE}/e-{number:012}"));
        end_get(into);
        tag(number)
    }
}

/// A request that no lookup follows from: what HTTP, the generator and the machine take of each figure.
pub(super) struct Nothing;

impl Asker for Nothing {
    fn ask(&mut self, into: &mut Vec<u8>) -> u32 {
        put(into, format_args!("GET /nothing"));
        end_get(into);
        0
    }
}

/// Lookups by position, of the newest event of each key; the tag is the key's number.
pub(super) struct ByPosition {
    pub(super) keys: Arc<Keys>,
    pub(super) dice: Dice,
}

impl Asker for ByPosition {
    fn ask(&mut self, into: &mut Vec<u8>) -> u32 {
        let number = self.dice.below(self.keys.len());
        let (partition, offset) = (self.keys.partition(number), self.keys.newest(number));
        put(into, format_args!("GET /v1/events/{ROUTE}/at/{partition}/{offset}"));
        end_get(into);
        tag(number)
    }

    fn check(&mut self, tag: u32, answer: Answer<'_>) -> bool {
        #[derive(Deserialize)]
        struct Found<'a> {
            key: &'a str,
        }
        let of = self.keys.text(tag as usize);
        answer.status != 200
            || serde_json::from_slice(answer.body).is_ok_and(|found: Found<'_>| found.key == of)
    }
}

/// Events to be stored, one or several in a request, of any key; the tag is the key's number of a single one.
pub(super) struct Writes {
    pub(super) keys: Arc<Keys>,
    pub(super) per_request: usize,
    pub(super) next: u64,
    pub(super) dice: Dice,
    body: Vec<u8>,
}

impl Writes {
    /// Numbered from `next` on.
    pub(super) fn new(keys: &Arc<Keys>, per_request: usize, next: u64) -> Writes {
        Writes { keys: Arc::clone(keys), per_request, next, dice: Dice::new(next), body: Vec::new() }
    }
}

impl Asker for Writes {
    fn ask(&mut self, into: &mut Vec<u8>) -> u32 {
        self.body.clear();
        let mut number = 0;
        for i in 0..self.per_request {
            number = self.dice.below(self.keys.len());
            if self.per_request > 1 {
                self.body.push(if i == 0 { b'[' } else { b',' });
            }
            Event { number: self.next, key: self.keys.text(number) }.write(&mut self.body);
            self.next += 1;
        }
        if self.per_request > 1 {
            self.body.push(b']');
        }
        put(into, format_args!("POST /v1/events/{ROUTE} HTTP/1.1\r\nhost: weir\r\n"));
        put(
            into,
            format_args!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", self.body.len()),
        );
        into.extend_from_slice(&self.body);
        tag(number)
    }

    /// Of a single event the key learns its position.
    fn check(&mut self, tag: u32, answer: Answer<'_>) -> bool {
        if self.per_request == 1 && answer.status == 201 {
            let Ok(receipt) = serde_json::from_slice::<Receipt>(answer.body) else { return false };
            self.keys.stored(tag as usize, receipt.partition, receipt.offset);
        }
        true
    }
}

fn put(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("memory can be written to");
}

fn end_get(into: &mut Vec<u8>) {
    into.extend_from_slice(b" HTTP/1.1\r\nhost: weir\r\n\r\n");
}

fn tag(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32 keys and events")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_400_bytes_of_json() {
        let mut bytes = Vec::new();
        Event { number: 7, key: "u-000001" }.write(&mut bytes);
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(
            (bytes.len(), &value["id"], &value["user"]),
            (400, &"e-000000000007".into(), &"u-000001".into())
        );
    }

    #[test]
    fn a_token_is_the_newest_receipt_or_the_oldest() {
        let keys = Keys::new(1, 6);
        let place = keys.partition(0);
        [5, 9, 7].into_iter().for_each(|offset| keys.stored(0, place, offset));
        let ask = |level| {
            let mut request = Vec::new();
            ByKey::new(&keys, level, 3).ask(&mut request);
            String::from_utf8(request).expect("text").lines().next().expect("a line").to_owned()
        };
        let start = "GET /v1/events/orders?key=u-000000&limit=3";
        assert_eq!(ask(Level::Bounded), format!("{start} HTTP/1.1"));
        assert_eq!(ask(Level::Token), format!("{start}&min_position={place}:9 HTTP/1.1"));
        assert_eq!(ask(Level::OldToken), format!("{start}&min_position={place}:5 HTTP/1.1"));
        assert_eq!(ask(Level::Strong), format!("{start}&level=strong HTTP/1.1"));
    }
}
