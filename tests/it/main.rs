//! The integration suite: one binary, against real services (see `weir_tests::world`).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod harness;
mod recent;
