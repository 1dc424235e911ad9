//! What a lookup answers, and its JSON. The data of an event is embedded as it came, byte for byte; it is
//! never parsed into values.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;

use super::body::Body;
use crate::event::text::write_json_string;
use crate::ports::Slot;

/// What an event takes beside its data, usually; and a page beside its events.
const TEXTS_BYTES: usize = 320;

/// One event found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The topic it is in.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Whether the log was read for it, and not the store alone.
    pub from_log: bool,
    pub(super) body: Arc<Body>,
}

/// How far an answer reaches in one partition: it is complete up to and including `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The partition.
    pub partition: i32,
    /// The last offset the answer covers; -1 when the partition is empty.
    pub offset: i64,
    /// The newest time at which this was known to be the end of the log, in ms since 1970; 0 when unknown.
    pub time_ms: i64,
}

/// The answer to a lookup by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub events: Vec<Event>,
    /// One for a lookup by partition key; one for each partition for a lookup by another kind.
    pub as_of: Vec<AsOf>,
    /// Older events are not looked for, in ms since 1970.
    pub window_start_ms: i64,
    /// Whether older events within the window are not listed any more.
    pub truncated: bool,
    /// From when on nothing is missing, in ms since 1970.
    pub complete_since_ms: i64,
    /// Where the next page begins; `None` at the end.
    pub cursor: Option<String>,
    /// Another one once there is something newer (RFC 9110 §8.8.3): the generation and the newest event listed.
    pub etag: String,
    /// Whether the log was read for it, and not the store alone.
    pub from_log: bool,
}

impl Page {
    /// The JSON form. `as_of` is an object, or an array of objects if the answer comes from several partitions.
    pub fn to_json(&self) -> Vec<u8> {
        let events: usize = self.events.iter().map(Event::json_bytes).sum();
        let mut json = Json(Vec::with_capacity(TEXTS_BYTES + events));
        json.raw("{\"events\":[");
        for (i, event) in self.events.iter().enumerate() {
            json.raw(if i == 0 { "" } else { "," });
            event.write(&mut json);
        }
        json.raw("],\"as_of\":");
        match &self.as_of[..] {
            [one] => one.write(&mut json),
            many => {
                json.raw("[");
                for (i, as_of) in many.iter().enumerate() {
                    json.raw(if i == 0 { "" } else { "," });
                    as_of.write(&mut json);
                }
                json.raw("]");
            }
        }
        json.raw(",\"window_start\":");
        json.time(self.window_start_ms);
        json.raw(",\"truncated\":");
        json.raw(if self.truncated { "true" } else { "false" });
        json.raw(",\"complete_since\":");
        json.time(self.complete_since_ms);
        json.raw(",\"cursor\":");
        json.text(self.cursor.as_deref());
        json.raw("}");
        json.0
    }
}

/// An event that was found, to be told in another form than JSON.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The topic it is in.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    pub(super) body: &'a Body,
}

impl<'a> Found<'a> {
    /// The event's id.
    pub fn id(self) -> &'a str {
        &self.body.id
    }

    /// Its source.
    pub fn source(self) -> &'a str {
        &self.body.source
    }

    /// Its type.
    pub fn event_type(self) -> &'a str {
        &self.body.type_
    }

    /// Its own time, as it came.
    pub fn time(self) -> Option<&'a str> {
        self.body.time.as_deref()
    }

    /// Its partition key.
    pub fn partition_key(self) -> Option<&'a str> {
        self.body.partition_key.as_deref()
    }

    /// The media type of its data.
    pub fn content_type(self) -> Option<&'a str> {
        self.body.content_type.as_deref()
    }

    /// `<subject>/<version>` of the schema that it matched.
    pub fn schema(self) -> Option<&'a str> {
        self.body.schema.as_deref()
    }

    /// The data, as it came.
    pub fn data(self) -> &'a Bytes {
        &self.body.data
    }
}

impl Event {
    /// The same, to be told in another form than JSON.
    pub fn found(&self) -> Found<'_> {
        Found { topic: &self.topic, partition: self.partition, offset: self.offset, body: &self.body }
    }

    /// The JSON form of one event.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Json(Vec::with_capacity(self.json_bytes()));
        self.write(&mut json);
        json.0
    }

    /// About how many bytes its JSON form takes.
    fn json_bytes(&self) -> usize {
        TEXTS_BYTES + self.body.data.len()
    }

    /// Its place in the log and its time: it never changes (RFC 9110 §8.8.3).
    pub fn etag(&self) -> String {
        format!("\"{}.{}.{:x}\"", self.partition, self.offset, self.body.time_ms)
    }

    /// The data, as it came.
    pub fn data(&self) -> &[u8] {
        &self.body.data
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        &self.body.id
    }

    fn write(&self, json: &mut Json) {
        write_event(json, (&self.topic, self.partition, self.offset), &self.body, self.body.is_json());
    }
}

/// The JSON form of an event, without a carriage return in it: data that holds one comes as `data_base64`.
pub(super) fn json_without_cr(slot: &Slot, offset: i64, body: &Body) -> Vec<u8> {
    let mut json = Json::default();
    let embedded = body.is_json() && !body.data.contains(&b'\r');
    write_event(&mut json, (&slot.topic, slot.partition, offset), body, embedded);
    json.0
}

fn write_event(
    json: &mut Json,
    (topic, partition, offset): (&str, i32, i64),
    body: &Body,
    data_embedded: bool,
) {
    json.raw("{\"id\":");
    json.text(Some(&body.id));
    json.raw(",\"source\":");
    json.text(Some(&body.source));
    json.raw(",\"type\":");
    json.text(Some(&body.type_));
    json.raw(",\"time\":");
    json.text(body.time.as_deref());
    json.raw(",\"topic\":");
    json.text(Some(topic));
    json.raw(",\"partition\":");
    json.number(i64::from(partition));
    json.raw(",\"offset\":");
    json.number(offset);
    json.raw(",\"key\":");
    json.text(body.partition_key.as_deref());
    json.raw(",\"content_type\":");
    json.text(body.content_type.as_deref());
    json.raw(",\"schema\":");
    json.text(body.schema.as_deref());
    if data_embedded {
        json.raw(",\"data\":");
        json.0.extend_from_slice(&body.data);
    } else {
        json.raw(",\"data_base64\":");
        json.text(Some(&STANDARD.encode(&body.data)));
    }
    json.raw("}");
}

impl AsOf {
    fn write(&self, json: &mut Json) {
        json.raw("{\"partition\":");
        json.number(i64::from(self.partition));
        json.raw(",\"offset\":");
        json.number(self.offset);
        json.raw(",\"time\":");
        if self.time_ms > 0 {
            json.time(self.time_ms)
        } else {
            json.raw("null")
        }
        json.raw("}");
    }
}

/// A JSON document in the making.
#[derive(Default)]
struct Json(Vec<u8>);

impl Json {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => write_json_string(&mut self.0, text),
            None => self.raw("null"),
        }
    }

    fn number(&mut self, number: i64) {
        self.raw(itoa::Buffer::new().format(number));
    }

    /// RFC 3339 in UTC.
    fn time(&mut self, unix_ms: i64) {
        match Timestamp::from_millisecond(unix_ms) {
            Ok(time) => self.text(Some(&time.to_string())),
            Err(_) => self.raw("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(content_type: &str, data: &'static [u8]) -> Event {
        let body = Body {
            time_ms: 0,
            id: "a\"b".to_owned(),
            source: "/s".to_owned(),
            type_: "t".to_owned(),
            time: None,
            partition_key: None,
            content_type: Some(content_type.to_owned()),
            schema: Some("t/1".to_owned()),
            lookup_keys: None,
            plugins: None,
            data: Bytes::from_static(data),
            json: std::sync::OnceLock::new(),
        };
        Event { topic: "orders".into(), partition: 1, offset: 7, from_log: false, body: Arc::new(body) }
    }

    #[test]
    fn json_data_is_embedded_as_it_came() {
        let json = event("application/json; charset=utf-8", b"{\"n\": 1.0e0 }").to_json();
        let expected = r#"{"id":"a\"b","source":"/s","type":"t","time":null,"topic":"orders","partition":1,"offset":7,"key":null,"content_type":"application/json; charset=utf-8","schema":"t/1","data":{"n": 1.0e0 }}"#;
        assert_eq!(String::from_utf8(json).expect("UTF-8"), expected);
    }

    #[test]
    fn anything_else_is_base64() {
        for (content_type, data) in [
            ("text/plain", &b"{}"[..]),
            ("application/json", b"{},{\"x\":1}"),
            ("application/json", b"\"\xff\""),
        ] {
            let json = event(content_type, data).to_json();
            let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
            assert_eq!(value["data_base64"], STANDARD.encode(data));
        }
    }

    #[test]
    fn a_carriage_return_does_not_come_raw_where_it_cannot() {
        let slot = Slot { topic: "orders".into(), partition: 1 };
        for (data, member) in
            [(&b"{\"n\":1,\r\n\"m\":2}"[..], "data_base64"), (b"{\"n\":1,\n\"m\":2}", "data")]
        {
            let body = event("application/json", data).body;
            let json = json_without_cr(&slot, 7, &body);
            assert!(!json.contains(&b'\r'));
            let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
            assert!(value.get(member).is_some(), "{value}");
        }
        let plain = event("application/json", b"{}");
        assert_eq!(json_without_cr(&slot, 7, &plain.body), plain.to_json());
    }

    #[test]
    fn a_page_says_how_far_it_reaches() {
        let as_of = AsOf { partition: 1, offset: 7, time_ms: 1_000 };
        let page = Page {
            events: Vec::new(),
            as_of: vec![as_of],
            window_start_ms: 0,
            truncated: false,
            complete_since_ms: 0,
            cursor: None,
            etag: String::new(),
            from_log: false,
        };
        let expected = r#"{"events":[],"as_of":{"partition":1,"offset":7,"time":"1970-01-01T00:00:01Z"},"window_start":"1970-01-01T00:00:00Z","truncated":false,"complete_since":"1970-01-01T00:00:00Z","cursor":null}"#;
        assert_eq!(String::from_utf8(page.to_json()).expect("UTF-8"), expected);
        let two = Page { as_of: vec![as_of, as_of], ..page };
        let value: serde_json::Value = serde_json::from_slice(&two.to_json()).expect("valid JSON");
        assert_eq!(value["as_of"].as_array().map(Vec::len), Some(2));
    }
}
