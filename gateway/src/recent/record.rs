//! A Kafka record as the read model keeps it. Records that no Weir wrote have no place in it; they are passed
//! over, never an error.

use std::sync::OnceLock;

use bytes::Bytes;
use rdkafka::message::{Headers, Message};
use sha2::{Digest as _, Sha256};

use super::body::Body;
use super::envelope::{Envelope, is_envelope};
use crate::ports::{Digest, Entry, EventId, Generation, LookupKey, Ref};
use crate::route::KEY_BYTES_MAX;

/// The most lookup keys one record is listed under.
const LOOKUP_KEYS_MAX: usize = 16;

/// An event as the log holds it.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) at: Ref,
    /// Every name it is found by.
    pub(crate) keys: Vec<LookupKey>,
    pub(crate) ids: [Digest; 2],
    pub(crate) body: Body,
}

impl Logged {
    /// The event of a record in either content mode; `None` for one without a value or without an event's attributes.
    pub(crate) fn read(record: &impl Message) -> Option<Logged> {
        let read = Attributes::read(record)?;
        let partition_key = partition_key(record).map(str::to_owned);
        let at = Ref {
            offset: record.offset(),
            time_ms: record.timestamp().to_millis().unwrap_or(0),
            type_digest: type_digest(&read.type_),
            id_digest: id_digest(Some(&read.source), &read.id),
        };
        let keys = listed_keys(partition_key.as_deref(), read.lookup_keys.as_deref());
        let ids = [at.id_digest, id_digest(None, &read.id)];
        let body = Body {
            time_ms: at.time_ms,
            id: read.id,
            source: read.source,
            type_: read.type_,
            time: read.time,
            partition_key,
            content_type: read.content_type,
            schema: read.schema,
            lookup_keys: read.lookup_keys,
            plugins: read.plugins,
            data: read.data,
            json: OnceLock::new(),
        };
        Some(Logged { at, keys, ids, body })
    }

    /// What the store keeps of it; `None` if one of its texts is too long for that.
    pub(crate) fn entry(self, generation: Generation) -> Option<Entry> {
        let body = self.body.encode(generation, &self.at.id_digest)?;
        Some(Entry { at: self.at, keys: self.keys, ids: self.ids, body })
    }
}

/// A record without data that erases the events of its key before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) offset: i64,
    pub(crate) time_ms: i64,
    pub(crate) key: LookupKey,
}

impl Erasure {
    /// The erasure of a record with null data, a key and the header `weir-erase: 1`; `None` for any other.
    pub(crate) fn read(record: &impl Message) -> Option<Erasure> {
        let marked = |header: rdkafka::message::Header<'_, &[u8]>| {
            header.key == "weir-erase" && header.value == Some(b"1")
        };
        if record.payload().is_some() || !record.headers()?.iter().any(marked) {
            return None;
        }
        let key = LookupKey { kind: String::new(), key: partition_key(record)?.to_owned() };
        Some(Erasure { offset: record.offset(), time_ms: record.timestamp().to_millis().unwrap_or(0), key })
    }
}

fn partition_key(record: &impl Message) -> Option<&str> {
    record.key().and_then(|key| std::str::from_utf8(key).ok())
}

/// An id as the store is asked for it.
pub(crate) fn event_id(source: Option<&str>, id: &str) -> EventId {
    EventId { alone: id_digest(None, id), sourced: source.map(|source| id_digest(Some(source), id)) }
}

/// The digest an event is found by: of its (source, id), or of its id alone.
pub(crate) fn id_digest(source: Option<&str>, id: &str) -> Digest {
    let mut hash = Sha256::new();
    match source {
        // The length keeps ("a", "bc") and ("ab", "c") apart, the first byte keeps both from an id alone.
        Some(source) => {
            hash.update([1]);
            hash.update(source.len().to_be_bytes());
            hash.update(source);
        }
        None => hash.update([0]),
    }
    hash.update(id);
    truncated(&hash.finalize())
}

/// The digest events are filtered by type with.
pub(crate) fn type_digest(type_: &str) -> [u8; 8] {
    truncated(&Sha256::digest(type_))
}

/// The start of a digest.
pub(crate) fn truncated<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut start = [0; N];
    start.copy_from_slice(&digest[..N]);
    start
}

/// The names an event is found by: its partition key, and the pairs of the header `weir-lookup-keys`.
pub(crate) fn listed_keys(partition_key: Option<&str>, lookup_keys: Option<&str>) -> Vec<LookupKey> {
    let lookup_keys: Vec<(String, String)> =
        lookup_keys.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut keys: Vec<LookupKey> = Vec::with_capacity(1 + lookup_keys.len());
    if let Some(key) = partition_key.filter(|key| key.len() <= KEY_BYTES_MAX) {
        keys.push(LookupKey { kind: String::new(), key: key.to_owned() });
    }
    for (kind, key) in lookup_keys.into_iter().take(LOOKUP_KEYS_MAX) {
        let listed = LookupKey { kind, key };
        // A kind without a name would pass for the partition key; a key given twice would be listed twice.
        if !listed.kind.is_empty() && listed.key.len() <= KEY_BYTES_MAX && !keys.contains(&listed) {
            keys.push(listed);
        }
    }
    keys
}

/// What a lookup needs of headers and value.
#[derive(Default)]
struct Attributes {
    id: String,
    source: String,
    type_: String,
    time: Option<String>,
    content_type: Option<String>,
    schema: Option<String>,
    lookup_keys: Option<String>,
    plugins: Option<String>,
    data: Bytes,
}

impl Attributes {
    fn read(record: &impl Message) -> Option<Attributes> {
        let value = record.payload()?;
        let mut read = Attributes::default();
        let (mut id, mut source, mut type_) = (None, None, None);
        for header in record.headers()?.iter() {
            let Some(text) = header.value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
            match header.key {
                "ce_id" => id = Some(text.to_owned()),
                "ce_source" => source = Some(text.to_owned()),
                "ce_type" => type_ = Some(text.to_owned()),
                "ce_time" => read.time = Some(text.to_owned()),
                "content-type" => read.content_type = Some(text.to_owned()),
                "weir-schema" => read.schema = Some(text.to_owned()),
                "weir-lookup-keys" => read.lookup_keys = Some(text.to_owned()),
                "weir-plugins" => read.plugins = Some(text.to_owned()),
                _ => {}
            }
        }
        // The content type alone says which mode it is in (CloudEvents 1.0.2, Kafka §3).
        if read.content_type.as_deref().is_some_and(is_envelope) {
            let (envelope, content_type, data) = Envelope::read(value)?;
            let Envelope { id, source, type_, time, .. } = envelope;
            return Some(Attributes { id, source, type_, time, content_type, data, ..read });
        }
        (read.id, read.source, read.type_) = (id?, source?, type_?);
        read.data = Bytes::copy_from_slice(value);
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage, Timestamp};

    fn record(headers: &[(&str, &str)], key: Option<&str>, data: Option<&str>) -> OwnedMessage {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        OwnedMessage::new(
            data.map(|data| data.as_bytes().to_vec()),
            key.map(|key| key.as_bytes().to_vec()),
            "orders".to_owned(),
            Timestamp::CreateTime(5),
            0,
            42,
            Some(headers),
        )
    }

    #[test]
    fn an_event_is_listed_under_each_of_its_keys_once() {
        let headers = [
            ("ce_id", "1"),
            ("ce_source", "/s"),
            ("ce_type", "t"),
            ("weir-lookup-keys", r#"[["order","o-1"],["order","o-1"],["","k"],["user","u"]]"#),
        ];
        let event = Logged::read(&record(&headers, Some("k"), Some("{}"))).expect("an event");
        let entry = event.entry(Generation(1)).expect("it fits");
        let keys: Vec<_> = entry.keys.iter().map(|key| (key.kind.as_str(), key.key.as_str())).collect();
        assert_eq!(keys, [("", "k"), ("order", "o-1"), ("user", "u")]);
        assert_eq!((entry.at.offset, entry.at.time_ms), (42, 5));
        assert_eq!(entry.ids, [id_digest(Some("/s"), "1"), id_digest(None, "1")]);
    }

    #[test]
    fn an_erasure_has_no_data_a_key_and_the_header() {
        let marked = [("weir-erase", "1")];
        let erasure = Erasure::read(&record(&marked, Some("k"), None)).expect("an erasure");
        assert_eq!((erasure.offset, erasure.time_ms, erasure.key.key.as_str()), (42, 5, "k"));
        assert_eq!(Erasure::read(&record(&marked, Some("k"), Some("{}"))), None, "it has data");
        assert_eq!(Erasure::read(&record(&marked, None, None)), None, "it has no key");
        assert_eq!(Erasure::read(&record(&[("weir-erase", "0")], Some("k"), None)), None);
        assert_eq!(Erasure::read(&record(&[("ce_id", "1")], Some("k"), None)), None, "a bare tombstone");
    }

    #[test]
    fn an_envelope_tells_what_headers_would() {
        let envelope = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2026-11-26T10:00:00Z","data":{"n": 1}}"#;
        let headers = [
            ("content-type", "application/CloudEvents+json; charset=UTF-8"),
            ("ce_id", "another"),
            ("weir-schema", "t/1"),
        ];
        let event = Logged::read(&record(&headers, Some("k"), Some(envelope))).expect("an event");
        assert_eq!(event.ids, [id_digest(Some("/s"), "1"), id_digest(None, "1")]);
        let Body { id, type_, time, content_type, schema, data, .. } = event.body;
        assert_eq!((id.as_str(), type_.as_str(), time.as_deref()), ("1", "t", Some("2026-11-26T10:00:00Z")));
        assert_eq!((content_type.as_deref(), schema.as_deref()), (Some("application/json"), Some("t/1")));
        assert_eq!(&data[..], br#"{"n": 1}"#);
        assert!(Logged::read(&record(&headers, Some("k"), Some("{}"))).is_none(), "no envelope");
    }

    #[test]
    fn what_no_weir_wrote_is_passed_over() {
        let whole = [("ce_id", "1"), ("ce_source", "/s"), ("ce_type", "t")];
        assert!(Logged::read(&record(&whole, None, None)).is_none(), "no data");
        assert!(Logged::read(&record(&whole[..2], None, Some("{}"))).is_none(), "no type");
        assert!(Logged::read(&record(&[], None, Some("{}"))).is_none(), "no headers");
    }
}
