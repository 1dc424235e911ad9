//! The WebAssembly engine: which features exist at all, and the clock that lets a running guest be stopped.
//! Limits per plugin are not here; see [`super::guest`].

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Config, Enabled, EngineWeak, PoolingAllocationConfig};

use super::Settings;
use super::guest::{INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};

/// The stack of a guest.
const STACK_BYTES_MAX: usize = 512 << 10;
/// Guests at once, those that stand by included. Each takes 4 GiB of addresses, and of memory what it uses.
const GUESTS_MAX: u32 = 2048;
/// Of a guest's memory and tables, so much is wiped in place for the next one: cheaper than giving pages back, where
/// the kernel can tell which were written to.
const KEPT_RESIDENT_BYTES: usize = 2 << 20;
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
    /// An engine and the thread that ticks for it until the last clone is gone. Its guests have their places from the
    /// start, so that a new one after a trap is cheap.
    pub(super) fn start(settings: &Settings) -> wasmtime::Result<Self> {
        let mut pooled = config();
        pooled.allocation_strategy(pool(settings));
        let engine = match wasmtime::Engine::new(&pooled) {
            Ok(inner) => Engine { inner, clock: Arc::default() },
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "no pool for plugins: a trap costs more");
                Self::quiet()?
            }
        };
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
        // A guest says itself where it panicked.
        .wasm_backtrace_max_frames(None)
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

fn pool(settings: &Settings) -> PoolingAllocationConfig {
    let [instances, memories, tables] = [INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX].map(per_guest);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(GUESTS_MAX)
        .total_core_instances(8 * GUESTS_MAX)
        .total_memories(GUESTS_MAX)
        .total_tables(4 * GUESTS_MAX)
        .max_core_instances_per_component(instances)
        .max_memories_per_component(memories)
        .max_tables_per_component(tables)
        .max_tables_per_module(tables)
        .max_memories_per_module(memories)
        .max_memory_size(settings.memory_bytes_max)
        .table_elements(settings.table_elements_max)
        .linear_memory_keep_resident(KEPT_RESIDENT_BYTES)
        .table_keep_resident(KEPT_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

fn per_guest(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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
