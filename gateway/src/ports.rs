//! What more than one adapter provides.

use std::sync::Arc;

/// A place in the log: the next offset to read, or the offset of one record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The Kafka topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
    /// The offset in it, from 0.
    pub offset: i64,
}
