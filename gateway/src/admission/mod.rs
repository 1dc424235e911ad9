//! Whether there is room for a request, decided before its body is read: what its tenant may send ([`throttle`]), and
//! how much may wait for Kafka at once ([`adaptive`]). Nothing here waits or knows HTTP.

pub mod adaptive;
pub mod throttle;

mod bucket;

pub use self::adaptive::Acks;
pub use self::throttle::{Quota, TenantLimits, Throttle};
