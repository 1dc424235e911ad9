//! The WebAssembly engine: which features exist at all, and the clock that lets a running guest be stopped.
//! Limits per plugin are not here; see [`super::guest`].

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Config, EngineWeak};

/// The stack of a guest.
const STACK_BYTES_MAX: usize = 512 << 10;
/// How often a guest that runs is looked at.
const TICK: Duration = Duration::from_millis(4);
/// The same while no guest was called lately. Never longer: a guest may run on that was not scheduled for a while.
pub(super) const SLOW_TICK: Duration = Duration::from_millis(50);
/// So many ticks without a call, and the clock slows down.
const QUIET_TICKS: u32 = 50;

/// One engine per process: compiled code of one cannot run in another of a different make.
#[derive(Clone)]
pub(super) struct Engine {
    inner: wasmtime::Engine,
    clock: Arc<Clock>,
}

/// The thread that ticks for running guests, as those who run them see it.
#[derive(Default)]
struct Clock {
    /// A guest was called since the last tick.
    called: AtomicBool,
    slow: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Engine {
    /// An engine and the thread that ticks for it until the last clone is gone.
    pub(super) fn start() -> wasmtime::Result<Self> {
        let engine = Self::quiet()?;
        let (weak, clock) = (engine.inner.weak(), Arc::clone(&engine.clock));
        let ticking = thread::Builder::new().name("plugin-ticks".to_owned());
        let ticking = ticking.spawn(move || tick(&weak, &clock))?;
        drop(engine.clock.thread.set(ticking.thread().clone()));
        Ok(engine)
    }

    /// An engine that only compiles.
    pub(super) fn quiet() -> wasmtime::Result<Self> {
        Ok(Engine { inner: wasmtime::Engine::new(&config())?, clock: Arc::default() })
    }

    /// To be said before a guest runs, and while it does: the clock may be slow.
    pub(super) fn runs(&self) {
        let clock = &self.clock;
        // Read first: all workers share this line, and it is set most of the time.
        if !clock.called.load(Ordering::SeqCst) {
            clock.called.store(true, Ordering::SeqCst);
        }
        if clock.slow.load(Ordering::SeqCst)
            && let Some(thread) = clock.thread.get()
        {
            clock.slow.store(false, Ordering::SeqCst);
            thread.unpark();
        }
    }

    #[cfg(test)]
    pub(super) fn is_slow(&self) -> bool {
        self.clock.slow.load(Ordering::SeqCst)
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Two engines with the same number take each other's compiled code.
    pub(super) fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.inner.precompile_compatibility_hash().hash(&mut hasher);
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
        // JavaScript components hold a second one, for the WASI that they stub out.
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    config
}

fn tick(engine: &EngineWeak, clock: &Clock) {
    let mut quiet = 0;
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        quiet = if clock.called.swap(false, Ordering::SeqCst) { 0 } else { quiet + 1 };
        if quiet < QUIET_TICKS {
            thread::sleep(TICK);
            continue;
        }
        clock.slow.store(true, Ordering::SeqCst);
        // Whoever calls a guest from now on sees `slow`, and whoever did just before is seen here.
        if !clock.called.load(Ordering::SeqCst) {
            thread::park_timeout(SLOW_TICK);
        }
        clock.slow.store(false, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engine").finish_non_exhaustive()
    }
}
