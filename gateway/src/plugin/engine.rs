//! The WebAssembly engine: which features exist at all, and the clock that lets a running guest be stopped.
//! Limits per plugin are not here; see [`super::guest`].

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use wasmtime::{Config, EngineWeak};

/// The stack of a guest.
const STACK_BYTES_MAX: usize = 512 << 10;
/// How often a guest that runs is looked at.
const TICK: Duration = Duration::from_millis(1);

/// One engine per process: compiled code of one cannot run in another of a different make.
#[derive(Clone)]
pub(super) struct Engine(wasmtime::Engine);

impl Engine {
    /// An engine and the thread that ticks for it until the last clone is gone.
    pub(super) fn start() -> wasmtime::Result<Self> {
        let engine = Self::quiet()?;
        let weak = engine.0.weak();
        std::thread::Builder::new().name("plugin-ticks".to_owned()).spawn(move || tick(&weak))?;
        Ok(engine)
    }

    /// An engine that only compiles.
    pub(super) fn quiet() -> wasmtime::Result<Self> {
        wasmtime::Engine::new(&config()).map(Engine)
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.0
    }

    /// Two engines with the same number take each other's compiled code.
    pub(super) fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(wasmtime::Strategy::Cranelift)
        // Sync calls only: without this every call builds a task (−30 % per call).
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(STACK_BYTES_MAX)
        .shared_memory(false)
        .gc_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    config
}

fn tick(engine: &EngineWeak) {
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        std::thread::sleep(TICK);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engine").finish_non_exhaustive()
    }
}
