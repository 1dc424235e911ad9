//! What a process has cost so far, read from /proc: every thread to the nanosecond, by the kind of thread.
//! Threads that ended between two samples are known only from the process's own 10 ms counters, and named so.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use serde::Serialize;

use super::Result;

/// Ticks per second in /proc: fixed by the kernel's interface, whatever its internal rate.
const TICKS_PER_S: f64 = 100.0;
/// Below this, group counters and thread counters differ by their rounding only.
const ROUNDING_S: f64 = 0.03;

/// One reading of one process.
pub struct Sample {
    taken: Instant,
    /// By thread id: its kind and its seconds on a CPU.
    threads: BTreeMap<u32, (String, f64)>,
    user_s: f64,
    system_s: f64,
}

/// The difference of two samples.
#[derive(Clone, Debug, Serialize)]
pub struct Spent {
    /// Wall-clock seconds between the samples.
    pub wall_s: f64,
    /// CPU seconds of all threads, those that ended included.
    pub cpu_s: f64,
    /// Its share in user space and in the kernel, by the process's 10 ms counters.
    pub user_s: f64,
    /// See `user_s`.
    pub system_s: f64,
    /// CPU seconds by kind of thread.
    pub threads: BTreeMap<String, f64>,
}

impl Sample {
    /// Reads process `pid` now.
    pub fn take(pid: u32) -> Result<Sample> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = entry?.path();
            let Some(tid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            // A thread may end between the listing and the reading.
            let Ok(stat) = fs::read_to_string(path.join("schedstat")) else { continue };
            let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
            let on_cpu_ns: f64 = stat.split(' ').next().ok_or("an empty schedstat")?.parse()?;
            threads.insert(tid, (kind(&name), on_cpu_ns / 1e9));
        }
        let (user_s, system_s) = group_times(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?;
        Ok(Sample { taken: Instant::now(), threads, user_s, system_s })
    }

    /// What was spent from `earlier` to this sample.
    pub fn since(&self, earlier: &Sample) -> Spent {
        let mut threads: BTreeMap<String, f64> = BTreeMap::new();
        for (tid, (kind, on_cpu_s)) in &self.threads {
            let before = earlier.threads.get(tid).map_or(0.0, |(_, before)| *before);
            *threads.entry(kind.clone()).or_default() += on_cpu_s - before;
        }
        let alive: f64 = threads.values().sum();
        let (user_s, system_s) = (self.user_s - earlier.user_s, self.system_s - earlier.system_s);
        let ended = user_s + system_s - alive;
        if ended > ROUNDING_S {
            threads.insert("(ended)".into(), ended);
        }
        Spent {
            wall_s: (self.taken - earlier.taken).as_secs_f64(),
            cpu_s: threads.values().sum(),
            user_s,
            system_s,
            threads,
        }
    }
}

/// CPU seconds the whole machine has been busy, and seconds the hypervisor took from it.
pub fn machine() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("an empty /proc/stat")?;
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).map(str::parse).collect::<std::result::Result<_, _>>()?;
    let [user, nice, system, _idle, _iowait, irq, soft_irq, steal, ..] = ticks[..] else {
        return Err("a short /proc/stat".into());
    };
    Ok(((user + nice + system + irq + soft_irq) / TICKS_PER_S, steal / TICKS_PER_S))
}

/// `rdk:broker1` and `rdk:broker2` are one kind: the name without its number.
fn kind(name: &str) -> String {
    name.trim_end()
        .trim_end_matches(|c: char| c.is_ascii_digit())
        .trim_end_matches(['-', ':', '/'])
        .to_owned()
}

/// `utime` and `stime`, fields 14 and 15; field 2 is a name that may hold spaces, so count from its end.
fn group_times(stat: &str) -> Result<(f64, f64)> {
    let (_, after_name) = stat.rsplit_once(") ").ok_or("a stat line without a name")?;
    let mut fields = after_name.split(' ').skip(11);
    let mut next =
        || -> Result<f64> { Ok(fields.next().ok_or("a short stat line")?.parse::<f64>()? / TICKS_PER_S) };
    Ok((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    #[test]
    fn a_thread_that_ended_is_counted() {
        let me = std::process::id();
        let before = Sample::take(me).expect("our own /proc");
        let burn = std::thread::spawn(|| {
            while clock_gettime(ClockId::ThreadCPUTime).tv_nsec < 200_000_000 {}
            rustix::thread::gettid().as_raw_pid()
        });
        let thread = burn.join().expect("it only spins");
        // The kernel lets a joiner go before it takes the thread off the list.
        while std::path::Path::new(&format!("/proc/self/task/{thread}")).exists() {
            std::thread::yield_now();
        }
        let spent = Sample::take(me).expect("our own /proc").since(&before);
        assert!(spent.cpu_s > 0.15, "{spent:?}");
        assert!(spent.threads.contains_key("(ended)"), "{spent:?}");
    }

    #[test]
    fn kinds_have_no_numbers() {
        assert_eq!(kind("rdk:broker12\n"), "rdk:broker");
        assert_eq!(kind("weir-worker-0\n"), "weir-worker");
        assert_eq!(kind("tokio-rt-worker\n"), "tokio-rt-worker");
    }
}
