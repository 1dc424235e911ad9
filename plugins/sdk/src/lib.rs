#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod batch;
mod enricher;
mod error;
mod export;
mod field;
mod host;
pub mod log;
pub mod metrics;
mod patch;
mod plugin;
mod rows;
mod short;
#[cfg(test)]
mod tests;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use self::batch::Event;
pub use self::enricher::Enricher;
pub use self::error::Error;
pub use self::field::{Field, Kind};
pub use self::patch::{Patch, Value};
pub use self::plugin::{Plugin, Role, Verdict};
pub use self::rows::{Known, Row, Wanted};

/// Either sort of plugin, as the host sees it: for [`export!`] alone.
#[doc(hidden)]
pub mod bound;

/// What the file says of itself: for [`export!`] alone.
#[doc(hidden)]
pub mod section;

#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub mod guest;

#[cfg(target_arch = "wasm32")]
mod imports;

#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "base",
        pub_export_macro: true,
        export_macro_name: "export_base",
        default_bindings_module: "weir_plugin::bindings",
        generate_all,
    });
}

#[doc(hidden)]
pub use serde;
