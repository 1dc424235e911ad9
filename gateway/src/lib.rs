//! Weir, a WebAssembly-extensible event gateway. (The path of an event is told here; see below.)

pub mod secret;
pub mod telemetry;

pub mod metrics;
pub mod problem;

pub mod event;
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
pub mod config;

pub mod commands;
pub mod dev;
pub mod serve;
