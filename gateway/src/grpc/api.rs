//! The messages of `schemas/api`, as `build.rs` makes them, and the description of them.

#![allow(clippy::all, dead_code, unreachable_pub, reason = "generated; not all of it is for us")]

/// What reflection tells: a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api.binpb"));

/// As the packages are nested.
pub mod weir {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/weir.v1.rs"));
    }
}

/// As the packages are nested.
pub mod io {
    pub mod cloudevents {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/io.cloudevents.v1.rs"));
        }
    }
}

pub use weir::v1::*;
