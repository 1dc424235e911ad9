//! What the tests and benches are driven with.

pub mod bench;
