//! Kafka, both ways: records out with their receipts, and reads by position. Nothing here decides where a
//! record goes or what it holds.

pub mod admin;
pub mod consumer;
pub mod delivery;
pub mod journal;
pub mod partitioner;
pub mod producer;
pub mod producers;
pub mod properties;
pub mod settings;
pub mod sys;
