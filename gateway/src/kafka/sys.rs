//! The librdkafka calls that rdkafka does not wrap, and the only `unsafe` of this crate's Kafka side.
//! Each takes a safe rdkafka type and returns plain values.

#![expect(unsafe_code, reason = "FFI calls on pointers that rdkafka owns and keeps alive for the call")]

use rdkafka::message::BorrowedMessage;
use rdkafka_sys::rd_kafka_msg_status_t as Status;

/// Whether a record that was reported on may be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Never sent, or refused by the broker.
    No,
    /// Sent, and the answer was lost.
    Possibly,
    /// Acknowledged.
    Yes,
}

/// `rd_kafka_message_status`: valid inside a delivery report.
pub fn persistence(message: &BorrowedMessage<'_>) -> Persistence {
    // SAFETY: the pointer is the live message behind `message`; the call only reads a field of it.
    let status = unsafe { rdkafka_sys::rd_kafka_message_status(message.ptr()) };
    match status {
        Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Persistence::No,
        Status::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Persistence::Possibly,
        Status::RD_KAFKA_MSG_STATUS_PERSISTED => Persistence::Yes,
    }
}
