//! What `schemas/api` says, compiled as a client of its own would compile it; its packages are nested as their names are.

/// `weir`
pub mod weir {
    /// `weir.v1`: the service, and its messages.
    pub mod v1 {
        #![allow(clippy::all, clippy::allow_attributes_without_reason, missing_docs, reason = "generated")]
        tonic::include_proto!("weir.v1");
    }
}

/// `io`
pub mod io {
    /// `io.cloudevents`
    pub mod cloudevents {
        /// `io.cloudevents.v1`: CloudEvents' own messages.
        pub mod v1 {
            #![allow(clippy::all, missing_docs, reason = "generated")]
            tonic::include_proto!("io.cloudevents.v1");
        }
    }
}
