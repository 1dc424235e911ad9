//! Which core runs what: the gateway on the last, the generator and the sink on the first.
//! Affinity is inherited at spawn, so a thread moves itself before it starts a child; no tool is needed.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Result;

/// The two places of one measurement. With one core, or unpinned, both are every core.
#[derive(Clone, Copy)]
pub struct Cores {
    /// For the generator and the sink.
    pub load: CpuSet,
    /// For the gateway under measurement.
    pub gateway: CpuSet,
}

impl Cores {
    /// Splits the cores this process may use; `pinned: false` gives everything to both.
    pub fn split(pinned: bool) -> Result<Cores> {
        let all = sched_getaffinity(None)?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)).collect();
        match usable[..] {
            [first, .., last] if pinned => Ok(Cores { load: only(first), gateway: only(last) }),
            _ => Ok(Cores { load: all, gateway: all }),
        }
    }
}

/// Runs `act` with this thread on `cores`; children and threads it starts stay there.
pub fn on<T>(cores: &CpuSet, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None)?;
    sched_setaffinity(None, cores)?;
    let result = act();
    sched_setaffinity(None, &before)?;
    result
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}
