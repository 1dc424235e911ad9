//! Counters in the gateway's metrics, under the plugin's name. In native tests they are not kept.

/// A counter, resolved once.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    #[cfg(target_arch = "wasm32")]
    id: u32,
}

impl Counter {
    /// The counter of this name: `[a-z][a-z0-9_]*`, at most 64 bytes. The host keeps so many names per plugin.
    pub fn new(name: &str) -> Self {
        #[cfg(target_arch = "wasm32")]
        return Counter { id: crate::bindings::weir::plugin::metrics::counter(name) };
        #[cfg(not(target_arch = "wasm32"))]
        {
            debug_assert!(!name.is_empty(), "a counter has a name");
            Counter {}
        }
    }

    /// Counts; the host takes it over only if the call ends well.
    pub fn add(self, delta: u64) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::weir::plugin::metrics::add(self.id, delta);
        #[cfg(not(target_arch = "wasm32"))]
        let _: u64 = delta;
    }
}
