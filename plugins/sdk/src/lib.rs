#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod batch;
mod export;
pub mod log;
pub mod metrics;
mod patch;
mod plugin;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use self::batch::{Event, Field, Kind};
pub use self::patch::{Patch, Value};
pub use self::plugin::{Error, Plugin, Role, Verdict};

#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub mod guest;

#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "filter",
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "weir_plugin::bindings",
        generate_all,
    });
}

#[doc(hidden)]
pub use serde;
