//! The integration suite: one binary, against real services (see `weir_tests::world`).
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing; the bans are on ways that are wrong in a gateway"
)]

mod access;
mod browser;
mod cloudevents;
mod config;
mod docs;
mod edge;
mod github;
mod grpc;
mod harness;
mod ingest;
mod layers;
mod limits;
mod manners;
mod operating;
mod otlp;
mod plugin_running;
mod plugin_tools;
mod plugins;
mod recent;
mod reload;
mod schemas;
mod sdks;
mod spine;
mod tables;
mod tls;
