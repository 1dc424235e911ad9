//! Weir, a WebAssembly-extensible event gateway. (The path of an event is told here; see below.)

pub mod metrics;
pub mod problem;

pub mod event;
pub mod plugin;
pub mod route;
pub mod schema;

pub mod kafka;
pub mod memory;
pub mod ports;
pub mod recent;
pub mod valkey;

pub mod config;
pub mod http;
pub mod pipeline;

pub mod commands;
pub mod dev;
pub mod serve;
