//! librdkafka's properties: what we set and why, what only we may set, and what the config may add.
//!
//! Not where they are put together; that is `settings`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::secret::Secret;

/// What only we set, and why; names as librdkafka writes them.
pub const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "write `kafka.brokers`"),
    ("metadata.broker.list", "write `kafka.brokers`"),
    ("security.protocol", "it follows from `kafka.tls` and `kafka.sasl`"),
    ("sasl.mechanism", "write `kafka.sasl.mechanism`"),
    ("sasl.mechanisms", "write `kafka.sasl.mechanism`"),
    ("enable.idempotence", "`stored` means written once and by every in-sync replica"),
    ("acks", "`stored` means written by every in-sync replica"),
    ("request.required.acks", "`stored` means written by every in-sync replica"),
    ("max.in.flight", "more than 5 would break the idempotent producer's order"),
    ("max.in.flight.requests.per.connection", "more than 5 would break the idempotent producer's order"),
    ("enable.gapless.guarantee", "one failed event must not stop the others"),
    ("transactional.id", "records are produced outside transactions"),
    ("partitioner", "Weir chooses the partition itself, as Java's murmur2 does"),
    ("delivery.report.only.error", "every event is answered with its delivery report"),
    (
        "queue.buffering.max.messages",
        "`limits.in_flight_bytes_max` bounds the queue; a count would split batches",
    ),
    ("message.max.bytes", "it follows from `limits.event_bytes_max`"),
    ("allow.auto.create.topics", "topics are made by `weir topics create`, with settings that keep events"),
    ("group.id", "the projector's group is Weir's own"),
    ("group.protocol", "librdkafka 2.12 has known stalls with `consumer`"),
    ("auto.offset.reset", "a truncated topic must be noticed, not skipped"),
    ("enable.auto.commit", "the watermark says how far the read model has read"),
    ("enable.auto.offset.store", "the watermark says how far the read model has read"),
    ("isolation.level", "lookups show only committed records"),
    ("enable.partition.eof", "Weir stops reading by position"),
    ("plugin.library.paths", "it would load foreign code into the process"),
];

/// What every client gets. The config's `properties` come after it.
pub(super) const EVERY_CLIENT: &[(&str, &str)] = &[
    ("client.id", "weir"),
    ("socket.timeout.ms", "6000"),
    // Nobody reads librdkafka's statistics, and keeping them costs a lock and a histogram for each record.
    ("statistics.interval.ms", "0"),
    ("enable.metrics.push", "false"),
    // Auto-creation would make a topic with the broker's defaults, weak ones mostly.
    ("allow.auto.create.topics", "false"),
];

/// What the producer gets beside it. Why: see the design's table, in `ARCHITECTURE.md`.
pub(super) const PRODUCER: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("max.in.flight.requests.per.connection", "5"),
    // The Java default; librdkafka's own puts the same key elsewhere.
    ("partitioner", "murmur2_random"),
    ("linger.ms", "2"),
    // Above the answer deadline: past that the answer is `unknown`, and the event may yet be stored.
    ("message.timeout.ms", "30000"),
    // A count would fill before the bytes do, and split batches; our byte permits bound the queue.
    ("queue.buffering.max.messages", "0"),
    ("queue.buffering.max.kbytes", "131072"),
    // At the default of 30 s an unknown topic waits out the message timeout.
    ("topic.metadata.propagation.max.ms", "2000"),
];

/// What consumers get.
pub(super) const CONSUMER: &[(&str, &str)] = &[
    ("group.protocol", "classic"),
    ("isolation.level", "read_committed"),
    // A truncation is to be handled, not skipped over.
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("session.timeout.ms", "6000"),
    ("partition.assignment.strategy", "cooperative-sticky"),
];

/// The value of a librdkafka property: written out, or a secret's place.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// As written; numbers and booleans in their text form.
    Literal(String),
    /// Read when a client is made.
    Secret(Secret),
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LiteralOrSecret;
        impl<'de> Visitor<'de> for LiteralOrSecret {
            type Value = Property;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text, a number, `true`, `false`, `{env: NAME}` or `{file: path}`")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Property, E> {
                Ok(Property::Literal(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Property, E> {
                Ok(Property::Literal(value.to_string()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Property, E> {
                Ok(Property::Literal(value.to_string()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Property, E> {
                Ok(Property::Literal(value.to_string()))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Property, E> {
                Ok(Property::Literal(value.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Property, A::Error> {
                Secret::deserialize(MapAccessDeserializer::new(map)).map(Property::Secret)
            }
        }
        deserializer.deserialize_any(LiteralOrSecret)
    }
}

impl JsonSchema for Property {
    fn schema_name() -> Cow<'static, str> {
        "Property".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<Secret>();
        json_schema!({"anyOf": [{"type": ["string", "number", "boolean"]}, secret]})
    }
}
