//! Requests full of realistic order events, rendered once and patched in place before each send.
//! Every event's number is part of its order id, so a reader of the topic can count each one.

use std::net::SocketAddr;

/// How events travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One JSON object per request.
    Single,
    /// A JSON array of 100 per request.
    Array,
    /// The same with one event that is marked: its `channel` is `app`. Where it is differs from array to array; see
    /// [`is_marked`].
    MarkedArray,
}

/// Whether this event is the marked one of its array.
pub fn is_marked(sequence: u64) -> bool {
    sequence % 100 == customer_of(sequence / 100) % 100
}

const CHANNEL: &str = r#""channel":"web""#;
const MARK: (&[u8], &[u8]) = (b"web", b"app");

impl Shape {
    /// Events in one request.
    pub fn events(self) -> u64 {
        match self {
            Shape::Single => 1,
            Shape::Array | Shape::MarkedArray => 100,
        }
    }
}

const SEQUENCE: &str = "############";
const SEQUENCE_DIGITS: usize = SEQUENCE.len();
const USER: &str = "%%%%%";
const USERS: u64 = 100_000;

/// An order as a shop sends it. The marks are the event's number and its customer's.
const ORDER: &str = r##"{"order_id":"o-############","customer":{"user_id":"u-%%%%%","email":"customer%%%%%@example.com","device_fingerprint":"9f86d081884c7d65"},"items":[{"sku":"BK-30411","quantity":2,"price":49.95},{"sku":"PN-00772","quantity":1,"price":29.95}],"total":129.85,"currency":"EUR","channel":"web","placed_at":"2026-03-14T09:26:53.589Z","note":"leave it with the neighbour on the second floor, thank you very much"}"##;

/// One HTTP/1.1 request, ready to be patched and written.
#[derive(Clone)]
pub struct Request {
    bytes: Vec<u8>,
    first_event: u64,
    sequence_at: Vec<usize>,
    user_at: Vec<usize>,
    /// Of an array with a mark.
    channel_at: Vec<usize>,
}

impl Request {
    /// Renders the request for `POST /v1/events/orders` at `target`.
    pub fn new(shape: Shape, target: SocketAddr) -> Request {
        let body = match shape {
            Shape::Single => ORDER.to_owned(),
            Shape::Array | Shape::MarkedArray => format!("[{}]", vec![ORDER; 100].join(",")),
        };
        let head = format!(
            "POST /v1/events/orders HTTP/1.1\r\nhost: {target}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let text = head + &body;
        let at = |mark| text.match_indices(mark).map(|(at, _)| at).collect();
        let channels = if shape == Shape::MarkedArray { at(CHANNEL) } else { Vec::new() };
        let channel_at = channels.iter().map(|at| at + CHANNEL.len() - 1 - MARK.0.len()).collect();
        Request {
            sequence_at: at(SEQUENCE),
            user_at: at(USER),
            channel_at,
            first_event: 0,
            bytes: text.into_bytes(),
        }
    }

    /// Makes this the request that carries the events `first..first + shape.events()`.
    pub fn number(&mut self, first: u64) {
        self.first_event = first;
        for (&at, sequence) in self.sequence_at.iter().zip(first..) {
            write_digits(&mut self.bytes[at..at + SEQUENCE_DIGITS], sequence);
        }
        for (&at, sequence) in self.user_at.iter().zip(first..) {
            write_digits(&mut self.bytes[at..at + USER.len()], customer_of(sequence));
        }
        for (&at, sequence) in self.channel_at.iter().zip(first..) {
            let channel = if is_marked(sequence) { MARK.1 } else { MARK.0 };
            self.bytes[at..at + channel.len()].copy_from_slice(channel);
        }
    }

    /// The number it carries first.
    pub fn first_event(&self) -> u64 {
        self.first_event
    }

    /// The bytes to write.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads an event's number back from its order id; `None` when it is not one of ours.
pub fn sequence_of(order_id: &str) -> Option<u64> {
    order_id.strip_prefix("o-").filter(|digits| digits.len() == SEQUENCE_DIGITS)?.parse().ok()
}

/// Spreads events over customers (partition keys) without order: a multiplicative hash.
fn customer_of(sequence: u64) -> u64 {
    (sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % USERS
}

fn write_digits(into: &mut [u8], mut number: u64) {
    for byte in into.iter_mut().rev() {
        *byte = b'0' + u8::try_from(number % 10).expect("one decimal digit");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(request: &Request) -> serde_json::Value {
        let text = std::str::from_utf8(request.bytes()).expect("ASCII");
        let (_, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).expect("JSON")
    }

    #[test]
    fn every_event_satisfies_the_schema_and_carries_its_number() {
        let schema = include_str!("../../../schemas/orders.created/1.json");
        let schema = serde_json::from_str(schema).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let mut request = Request::new(Shape::Array, SocketAddr::from(([127, 0, 0, 1], 1)));
        for first in [0, 100, 999_999_999_900] {
            request.number(first);
            let events = body(&request);
            let events = events.as_array().expect("an array");
            assert_eq!(events.len(), 100);
            for (event, sequence) in events.iter().zip(first..) {
                validator.validate(event).expect("the schema is satisfied");
                assert_eq!(event["order_id"].as_str().and_then(sequence_of), Some(sequence));
            }
        }
    }

    #[test]
    fn one_event_of_a_marked_array_is_marked() {
        let mut request = Request::new(Shape::MarkedArray, SocketAddr::from(([127, 0, 0, 1], 1)));
        let places = [0, 100, 12_300].map(|first| {
            request.number(first);
            let events = body(&request);
            let marked =
                events.as_array().expect("an array").iter().filter(|event| event["channel"] == "app");
            let marked: Vec<_> =
                marked.filter_map(|event| sequence_of(event["order_id"].as_str()?)).collect();
            assert!(marked.len() == 1 && is_marked(marked[0]), "{marked:?}");
            marked[0] - first
        });
        assert!(places[0] != places[1] || places[1] != places[2], "and it wanders");
    }

    #[test]
    fn a_single_is_about_400_bytes() {
        let request = Request::new(Shape::Single, SocketAddr::from(([127, 0, 0, 1], 1)));
        let bytes = body(&request).to_string().len();
        assert!((380..=420).contains(&bytes), "{bytes} bytes");
    }
}
