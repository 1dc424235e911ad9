//! What the integration suite and the benches share: the world a gateway lives in, and how to skip out loud.
//! Not a test itself; those are in `it/`.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test support: what goes wrong here fails a test, and the bans are on ways that are wrong in a gateway"
)]

pub mod api;
pub mod bench;
pub mod github;
pub mod plugins;
pub mod recent;
pub mod skip;
pub mod world;
