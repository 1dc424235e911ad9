//! What the integration suite and the benches share: the world a gateway lives in, and how to skip out loud.
//! Not a test itself; those are in `it/`.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test support: a service that does not start has to fail the test loudly, there is no caller to recover"
)]

pub mod skip;
pub mod world;
