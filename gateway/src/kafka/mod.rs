//! Kafka, both ways: records out with their receipts, and reads by position. Nothing here decides where a
//! record goes or what it holds.

pub mod delivery;
pub mod partitioner;
pub mod producer;
pub mod sys;
