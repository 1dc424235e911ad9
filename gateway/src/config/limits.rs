//! Every limit of the gateway with its default, in one place.
//!
//! Not where they are kept: the roles hand each module its own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::admission::TenantLimits;
use crate::route::RECORD_OVERHEAD_BYTES;

/// How much the gateway takes at once and how long it waits. Bytes and milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest event, in bytes of its data.
    pub event_bytes_max: usize,
    /// The largest request body, decompressed.
    pub batch_bytes_max: usize,
    /// The most events in one request.
    pub batch_events_max: usize,
    /// The most bytes read and not yet answered, over all requests; more are shed.
    pub in_flight_bytes_max: usize,
    /// How long Kafka's acks should take at most. While more than a quarter take longer, the bytes that may wait for
    /// Kafka are fewer, down to 16 KiB; new requests are then shed.
    pub ack_target_ms: u64,
    /// What tenants may send, by name; a tenant that is not here has `other_tenants`.
    pub tenants: BTreeMap<String, TenantLimits>,
    /// What each other tenant may send; absent: without a limit.
    pub other_tenants: Option<TenantLimits>,
    /// The deepest JSON nesting.
    pub depth_max: usize,
    /// The most JSON values in one event.
    pub nodes_max: usize,
    /// The most connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// The most of them from one address (of IPv6, one network of 64 bits); more are closed at once. Where a load balancer
    /// hides its clients' addresses it stands for all of them.
    pub connections_per_address_max: usize,
    /// How old a connection gets, give or take a tenth: then it finishes its requests and the client opens another, perhaps
    /// to another gateway.
    pub connection_age_max_ms: u64,
    /// From a connection's first byte to the end of the first request's headers.
    pub header_timeout_ms: u64,
    /// From a request's headers to the end of its body.
    pub body_timeout_ms: u64,
    /// How long a kept-alive connection may be quiet, or a client whose lines are answered one by one.
    pub idle_timeout_ms: u64,
    /// When Kafka's ack is waited for no longer; the events are then answered `delivery-unknown`.
    pub answer_timeout_ms: u64,
    /// From SIGTERM to the end: in-flight requests finish and Kafka is flushed within it.
    pub shutdown_timeout_ms: u64,
}

/// What one event costs beside twice its bytes, while it is in flight (librdkafka copies it).
pub const EVENT_OVERHEAD_BYTES: usize = 512;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            event_bytes_max: 1 << 20,
            batch_bytes_max: 8 << 20,
            batch_events_max: 10_000,
            in_flight_bytes_max: 256 << 20,
            ack_target_ms: 2_500,
            tenants: BTreeMap::new(),
            other_tenants: None,
            depth_max: 64,
            nodes_max: 50_000,
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            connection_age_max_ms: 3_600_000,
            header_timeout_ms: 5_000,
            body_timeout_ms: 10_000,
            idle_timeout_ms: 75_000,
            answer_timeout_ms: 10_000,
            shutdown_timeout_ms: 20_000,
        }
    }
}

impl Limits {
    /// The largest record: the largest event with its key, headers and envelope.
    pub fn record_bytes_max(&self) -> usize {
        self.event_bytes_max.saturating_add(RECORD_OVERHEAD_BYTES)
    }

    /// What the largest request costs of `in_flight_bytes_max`.
    pub fn request_cost_bytes_max(&self) -> usize {
        let events = self.batch_events_max.saturating_mul(EVENT_OVERHEAD_BYTES);
        self.batch_bytes_max.saturating_mul(2).saturating_add(events)
    }
}
