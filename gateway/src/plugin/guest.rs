//! One guest: a store with its limits, and the exports of the contract. A guest that failed once is not to be
//! used again; keeping to that is [`super::instance`]'s business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::InstancePre;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::Settings;
use super::engine::Engine;
use super::host::Said;
use super::tables::{Table, Tables};

mod contract {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1.0",
        world: "enricher",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(super) use self::contract::exports::weir::plugin::lifecycle::{Binding, Error as GuestError, Info};
pub(super) use self::contract::exports::weir::plugin::processor::{Batch, Output};
pub(super) use self::contract::weir::plugin::{clock, log, lookup, metrics};
use self::contract::{Enricher as Exports, EnricherPre};

/// Bytes that a guest may hand over in one call in all.
const HOSTCALL_BYTES_MAX: usize = 8 << 20;
/// Core instances of one component: a module, its shim and its fixups make three; Python's has 38.
pub(super) const INSTANCES_MAX: usize = 64;
/// Calls between two looks at an instance's age.
const AGE_LOOKED_AT: u64 = 1024;
/// Tables and memories of one component.
pub(super) const TABLES_MAX: usize = 16;
pub(super) const MEMORIES_MAX: usize = 4;

/// Which limit a guest met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    /// CPU time of a call.
    #[error("it ran for more than {0:?} of CPU time")]
    Deadline(Duration),
    /// Linear memory.
    #[error("it wanted more than `memory_bytes_max`")]
    Memory,
    /// Table elements.
    #[error("it wanted more than `table_elements_max`")]
    Table,
}

/// What the host keeps per store.
pub(super) struct State {
    pub(super) said: Said,
    pub(super) tables: Arc<Tables>,
    /// Those that the guest asked for, by id.
    pub(super) opened: Vec<Arc<Table>>,
    engine: Engine,
    deadline: Duration,
    /// CPU time of this thread at the first tick of the call. Asking before each call would cost more than
    /// a small call does.
    started: Option<Duration>,
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
}

impl State {
    /// Whether the call may go on.
    fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.engine.runs();
        let now = thread_cpu_time();
        let started = *self.started.get_or_insert(now);
        if now.saturating_sub(started) >= self.deadline {
            return Err(Overrun::Deadline(self.deadline).into());
        }
        Ok(UpdateDeadline::Continue(1))
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.memory_bytes_max {
            return Err(Overrun::Memory.into());
        }
        self.memory_bytes = bytes;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if elements > self.table_elements_max {
            return Err(Overrun::Table.into());
        }
        self.table_elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

pub(super) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A component that can be started at once.
#[derive(Clone)]
pub(super) struct Startable {
    pre: EnricherPre<State>,
    engine: Engine,
}

impl Startable {
    /// Checks the component's imports and exports against the contract, types included.
    pub(super) fn new(engine: &Engine, pre: InstancePre<State>) -> wasmtime::Result<Startable> {
        Ok(Startable { pre: EnricherPre::new(pre)?, engine: engine.clone() })
    }
}

/// A started guest.
pub(super) struct Guest {
    store: Store<State>,
    exports: Exports,
    started: Instant,
    memory_bytes_at_start: usize,
    calls: u64,
}

impl Guest {
    /// Starts a guest in a store of its own, within the starting deadline.
    pub(super) fn start(
        startable: &Startable,
        said: Said,
        tables: &Arc<Tables>,
        settings: &Arc<Settings>,
    ) -> wasmtime::Result<Self> {
        startable.engine.runs();
        let state = State {
            said,
            tables: Arc::clone(tables),
            opened: Vec::new(),
            engine: startable.engine.clone(),
            deadline: settings.start_deadline(),
            started: None,
            memory_bytes: 0,
            memory_bytes_max: settings.memory_bytes_max,
            table_elements: 0,
            table_elements_max: settings.table_elements_max,
        };
        let mut store = Store::new(startable.engine.inner(), state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.epoch_deadline_callback(|mut context| context.data_mut().tick());
        store.set_epoch_deadline(1);
        let exports = startable.pre.instantiate(&mut store)?;
        let memory_bytes_at_start = store.data().memory_bytes;
        Ok(Guest { store, exports, started: Instant::now(), memory_bytes_at_start, calls: 0 })
    }

    pub(super) fn describe(&mut self, config_json: &str) -> wasmtime::Result<Result<Info, GuestError>> {
        self.exports.weir_plugin_lifecycle().call_describe(&mut self.store, config_json)
    }

    pub(super) fn init(&mut self, binding: Binding<'_>) -> wasmtime::Result<Result<(), GuestError>> {
        self.exports.weir_plugin_lifecycle().call_init(&mut self.store, binding)
    }

    pub(super) fn health(&mut self) -> wasmtime::Result<Result<(), GuestError>> {
        self.exports.weir_plugin_lifecycle().call_health(&mut self.store)
    }

    /// One batch, within a deadline of its own.
    pub(super) fn process(
        &mut self,
        batch: Batch<'_>,
        deadline: Duration,
    ) -> wasmtime::Result<Result<Output, GuestError>> {
        self.calls += 1;
        let state = self.store.data_mut();
        state.deadline = deadline;
        state.started = None;
        state.engine.runs();
        self.store.set_epoch_deadline(1);
        self.exports.weir_plugin_processor().call_process(&mut self.store, batch)
    }

    /// What it has too much of, if a new one is to take its place: `calls`, `memory` or `age`.
    pub(super) fn worn_by(&self, settings: &Settings) -> Option<&'static str> {
        if self.calls >= settings.instance_calls_max {
            return Some("calls");
        }
        let gathered = self.memory_bytes() - self.memory_bytes_at_start;
        if 2 * gathered > settings.memory_bytes_max - self.memory_bytes_at_start {
            return Some("memory");
        }
        // Looking at the clock costs as much as a small call does.
        let old = || self.started.elapsed() > Duration::from_secs(settings.instance_age_s_max);
        (self.calls.is_multiple_of(AGE_LOOKED_AT) && old()).then_some("age")
    }

    /// Linear memory, all memories together.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
    }

    /// What the guest said since this was last asked.
    pub(super) fn said(&mut self) -> &mut Said {
        &mut self.store.data_mut().said
    }
}
