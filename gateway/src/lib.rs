//! Weir, a WebAssembly-extensible event gateway: it takes events in over HTTP and gRPC, checks them against a schema
//! registry, runs the user's plugins on them, produces them to Kafka, and answers recent-event lookups.
//!
//! # The path of one event
//!
//! 1. [`http::body`] reads the request within its limits. A [`event::budget`] permit for the bytes is taken
//!    before the first of them is read, and given back when Kafka has reported on the last record.
//! 2. [`event::frame`] finds where each event begins and ends: one [`event::RawEvent`] each, slices of the
//!    request's one buffer.
//! 3. [`event::parse`] checks the JSON once, on a tape, and finds the attributes: an [`event::Event`]. The
//!    original bytes travel on untouched.
//! 4. [`schema`] matches it against its subject's latest version: a [`schema::ValidEvent`], which only that
//!    module can mint.
//! 5. [`plugin`] runs the route's chain, one call per plugin and chunk. An event whose data a plugin changed
//!    is an `Event` again and must pass [`schema`] again: forgetting that does not compile.
//! 6. [`route`] makes it a [`route::Record`]: topic, partition key, headers, value. Pure.
//! 7. [`kafka::producer`] hands it to Kafka. One completion per request ([`kafka::delivery`]), when the last
//!    of its records is acknowledged by every in-sync replica.
//! 8. [`pipeline`] is the order of all this, in chunks on the worker that accepted the connection;
//!    [`pipeline::outcome`] settles each event exactly once.
//! 9. [`http::reply`], or [`grpc`] for calls on the same connections, turns receipts and [`problem`]s into words.
//!
//! [`recent`] learns of the event from Kafka, not from this path: nothing here waits for Valkey.
//!
//! # Who may know whom
//!
//! The modules below stand in the order in which an event meets them, and a module imports only from above
//! itself. `tests/it/layers.rs` reads the imports and fails with "X may not know Y".

pub mod problem;
pub mod metrics;
pub mod secret;
pub mod telemetry;
pub mod follow;
pub mod access;

pub mod event;
pub mod traces;
pub mod admission;
pub mod schema;
pub mod plugin;
pub mod route;

pub mod ports;
pub mod kafka;
pub mod valkey;
pub mod memory;
pub mod recent;

pub mod pipeline;
pub mod http;
pub mod grpc;
pub mod config;
pub mod parts;

pub mod serve;
pub mod dev;
pub mod commands;
