//! Kafka: producing, and reading the log for the read model.

pub mod consumer;
pub mod partitioner;
