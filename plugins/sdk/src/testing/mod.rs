//! Runs a plugin natively, over the same columns and rows as in the gateway, so that `cargo test` needs no
//! WebAssembly. What the host would refuse is not checked here; `weir plugin test` does that.
//!
//! A [`Case`] is one event. A [`World`] is what is around the plugin: tables, a clock that stands still, and
//! what the plugin said and counted. An [`Ending`] is what it made of one event.

mod case;
mod ending;
mod memory;
mod world;

pub use self::case::Case;
pub use self::ending::{Ending, Op};
pub(crate) use self::memory::Memory;
pub use self::world::World;

use crate::bound::{Bound as _, Pure};
use crate::{Error, Plugin};

/// The config as the plugin would get it, for tests of what it refuses. For an enricher there is
/// [`World::start`].
///
/// # Errors
/// The plugin's own, or that the config has another shape.
pub fn check_config<P: Plugin>(config_json: &str) -> Result<(), Error> {
    Pure::<P>::configured(config_json).map(drop)
}
