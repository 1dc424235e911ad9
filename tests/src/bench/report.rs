//! What the bench says at its end: a table for people and one JSON file with every window for everything else.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::Result;
use super::compare::{Comparison, Effort, median};
use super::count::Count;
use super::window::{Mark, Window};

/// Everything one run found.
#[derive(Serialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// How long and how often.
    pub effort: Effort,
    /// The gateway's program.
    pub ours: PathBuf,
    /// The textbook stood in our place: ratios show the machine's noise.
    pub noise: bool,
    /// CPU-seconds per million events of the echo server, by the cell's name.
    pub floor: BTreeMap<&'static str, f64>,
    /// The cells.
    pub comparisons: Vec<Comparison>,
    /// The count on real Kafka, unless it was not wanted.
    pub count: Option<Count>,
}

/// What it ran on.
#[derive(Serialize)]
pub struct Machine {
    /// Cores this process may use.
    pub cores: usize,
    /// The processor's name.
    pub processor: String,
    /// The kernel's release.
    pub kernel: String,
    /// Gateway on one core, generator and sink on another.
    pub pinned: bool,
    /// No core fell asleep.
    pub awake: bool,
}

impl Machine {
    /// Reads it from /proc.
    pub fn read(pinned: bool) -> Result<Machine> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Machine {
            cores: std::thread::available_parallelism()?.get(),
            processor: model.map_or_else(|| "unknown processor".into(), |(_, name)| name.to_owned()),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            pinned,
            awake: false,
        })
    }
}

impl Report {
    /// The table.
    pub fn print(&self) {
        let Machine { cores, processor, kernel, pinned, awake } = &self.machine;
        let place =
            if *pinned { "gateway on the last core, generator and sink on the first" } else { "not pinned" };
        let sleep = if *awake { "no core falls asleep" } else { "idle cores may fall asleep" };
        println!("\n{cores} cores, {processor}, Linux {kernel}; {place}; {sleep}");
        println!(
            "medians of {} windows of {} s; CPU of the gateway's process, every thread; latency from the due \
             time, saturated from sending; floor: a bare echo of as many bytes, one window",
            2 * (self.effort.rounds - 1),
            self.effort.window_s
        );
        println!("ours: {}", self.ours.display());
        if self.noise {
            println!("the textbook on both sides: its ratio to itself is this machine's noise");
        }
        println!("\n{HEAD}");
        for comparison in &self.comparisons {
            self.print_cell(comparison);
        }
        if let Some(count) = &self.count {
            println!("\n{count}");
        }
    }

    fn print_cell(&self, comparison: &Comparison) {
        let cell = comparison.cell;
        for (ours, name) in [(true, "ours"), (false, "textbook")] {
            let of = |figure: fn(&Window) -> f64| median(comparison.windows(ours).map(figure).collect());
            println!(
                "{:<18} {name:<8} {:>9.0} {:>8.2} {:>7.2} {:>7.2} {:>6.2} {:>8.2} {:>8.2}  {}",
                cell.name,
                of(|it| it.acked_per_s),
                of(|it| it.cpu_s_per_million),
                of(|it| it.user_s_per_million),
                of(|it| it.system_s_per_million),
                of(|it| it.gateway_cores),
                of(|it| it.p50_ms),
                of(|it| it.p99_ms),
                marks(comparison.windows(ours)),
            );
            println!("{:<18} {:<8} {}", "", "", threads(comparison.windows(ours)));
        }
        let floor = self.floor.get(cell.name).copied().unwrap_or(f64::NAN);
        let (low, middle, high) = comparison.ratios();
        let verdict = if comparison.met() { "met" } else { "MISSED" };
        println!(
            "{:<18} ratio    {middle:.3} ({low:.3}–{high:.3}), at most {:.3}: {verdict}; floor {floor:.2}\n",
            "", cell.ratio_max
        );
    }

    /// Writes every window to `bench.json` in `directory`.
    pub fn write(&self, directory: &std::path::Path) -> Result<()> {
        let path = directory.join("bench.json");
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        println!("every window: {}", path.display());
        Ok(())
    }
}

const HEAD: &str = "load               gateway   events/s  CPU-s/M    user  kernel  cores   P50 ms   P99 ms  doubtful windows";

/// How many windows carry each mark.
fn marks<'a>(windows: impl Iterator<Item = &'a Window>) -> String {
    let mut counts: BTreeMap<Mark, usize> = BTreeMap::new();
    for mark in windows.flat_map(|window| &window.marks) {
        *counts.entry(*mark).or_default() += 1;
    }
    let words: Vec<String> = counts.iter().map(|(mark, count)| format!("{count} {}", mark.name())).collect();
    words.join(", ")
}

/// Medians of CPU-s/M by kind of thread, the dearest first; what is below a hundredth is left out.
fn threads<'a>(windows: impl Iterator<Item = &'a Window>) -> String {
    let mut kinds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (kind, cost) in windows.flat_map(|window| &window.threads_s_per_million) {
        kinds.entry(kind).or_default().push(*cost);
    }
    let mut medians: Vec<(f64, &str)> = kinds.into_iter().map(|(kind, all)| (median(all), kind)).collect();
    medians.retain(|(cost, _)| *cost >= 0.01);
    medians.sort_by(|a, b| b.0.total_cmp(&a.0));
    let words: Vec<String> = medians.iter().map(|(cost, kind)| format!("{kind} {cost:.2}")).collect();
    words.join(", ")
}
