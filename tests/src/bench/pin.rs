//! Which core runs what: the gateway on the last, the generator and the sink on the first. And who comes first there.
//! Affinity is inherited at spawn, so a thread moves itself before it starts a child; no tool is needed.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

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

/// A priority in real time (`SCHED_FIFO`, `sched(7)`): such a thread runs as soon as no higher one wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank(pub u8);

/// Ranks all threads of a process; those that they start later inherit it.
pub fn rank_process(pid: u32, rank: Rank) -> Result<()> {
    chrt(&["--all-tasks", "--fifo"], &pid.to_string(), rank)
}

/// Ranks the thread that calls it.
pub fn rank_this_thread(rank: Rank) -> Result<()> {
    chrt(&["--fifo"], &this_thread(), rank)
}

/// Keeps all cores from falling asleep as long as it lives: a request for a wake-up latency of 0, upon which an idle core waits
/// in the state `POLL` (Documentation/power/pm_qos_interface.rst in the kernel's source). A virtual machine's core is given
/// away by the hypervisor as soon as it halts, and back when it is wanted, and whoever wakes it pays for a way out of the
/// machine and in again: that is a latency of the machine, as deep sleep is of one that is not virtual.
#[derive(Debug)]
pub struct Awake {
    _request: File,
}

impl Awake {
    /// Begins with it.
    pub fn keep() -> Result<Awake> {
        let file = "/dev/cpu_dma_latency";
        let request = File::options().write(true).open(file);
        let asked = request.and_then(|mut request| request.write_all(&0_i32.to_ne_bytes()).map(|()| request));
        let _request = asked.map_err(|error| {
            format!("{file}: {error}; it takes root, or the flag `--no-ranks` or `--no-awake`")
        })?;
        Ok(Awake { _request })
    }
}

fn this_thread() -> String {
    gettid().as_raw_nonzero().to_string()
}

/// By the tool of util-linux: the system call is no safe function of a crate that is here.
fn chrt(options: &[&str], whom: &str, rank: Rank) -> Result<()> {
    let priority = rank.0.to_string();
    let output = Command::new("chrt").args(options).args(["--pid", &priority, whom]).output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("chrt: {}; it takes root, or `--no-ranks`", why.trim()).into())
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}
