//! What the bench is made of: an open-loop load generator, the gateways it drives, and how their CPU is counted.
//! It measures processes from outside; nothing in here knows how a gateway works inside.

pub mod compare;
pub mod conn;
pub mod count;
pub mod cpu;
pub mod load;
pub mod overload;
pub mod payload;
pub mod pin;
pub mod process;
pub mod report;
pub mod slow_heads;
pub mod timer;
pub mod window;

/// The bench stops at the first thing that goes wrong: a figure from a broken run is worse than none.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
