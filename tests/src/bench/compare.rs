//! Two gateways under the same loads, in turn: ours, textbook, textbook, ours (ABBA), round after round.
//! A slow drift of the machine thus falls on both alike; the first round only warms up and is dropped.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::Result;
use super::load::Plan;
use super::payload::Shape;
use super::window::{Pids, Window, measure};

/// One load that both gateways get.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cell {
    /// For the table.
    pub name: &'static str,
    /// Singles or arrays of 100.
    pub shape: Shape,
    /// Offered; `None` is saturation.
    pub events_per_s: Option<u64>,
    /// Keep-alive connections.
    pub connections: usize,
    /// What our cost per event may be of the textbook's.
    pub ratio_max: f64,
}

/// The loads of the bench.
pub const CELLS: [Cell; 4] = [
    Cell {
        name: "singles, 20 000/s",
        shape: Shape::Single,
        events_per_s: Some(20_000),
        connections: 256,
        ratio_max: 0.8,
    },
    Cell {
        name: "singles, saturated",
        shape: Shape::Single,
        events_per_s: None,
        connections: 256,
        ratio_max: 0.8,
    },
    Cell {
        name: "arrays, 100 000/s",
        shape: Shape::Array,
        events_per_s: Some(100_000),
        connections: 64,
        ratio_max: 1.0 / 3.0,
    },
    Cell {
        name: "arrays, saturated",
        shape: Shape::Array,
        events_per_s: None,
        connections: 64,
        ratio_max: 1.0 / 3.0,
    },
];

/// A gateway under measurement.
#[derive(Clone, Copy)]
pub struct Side {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process, and the sink behind it.
    pub pids: Pids,
}

/// Both gateways' windows of one ABBA block.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// The first and the last.
    pub ours: [Window; 2],
    /// The two in the middle.
    pub textbook: [Window; 2],
}

impl Round {
    /// Our CPU per event over the textbook's.
    pub fn ratio(&self) -> f64 {
        let cost = |windows: &[Window; 2]| windows.iter().map(|it| it.cpu_s_per_million).sum::<f64>();
        cost(&self.ours) / cost(&self.textbook)
    }
}

/// One cell's rounds, the first dropped.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The load.
    pub cell: Cell,
    /// At least one.
    pub rounds: Vec<Round>,
}

impl Comparison {
    /// Every window of ours, or of the textbook's.
    pub fn windows(&self, ours: bool) -> impl Iterator<Item = &Window> {
        self.rounds.iter().flat_map(move |round| if ours { &round.ours } else { &round.textbook })
    }

    /// Lowest, median and highest ratio of the rounds.
    pub fn ratios(&self) -> (f64, f64, f64) {
        let all: Vec<f64> = self.rounds.iter().map(Round::ratio).collect();
        let low = all.iter().copied().fold(f64::INFINITY, f64::min);
        let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, median(all), high)
    }

    /// Whether the median ratio is as good as promised.
    pub fn met(&self) -> bool {
        self.ratios().1 <= self.cell.ratio_max
    }
}

/// How long and how often.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effort {
    /// ABBA blocks per cell, the dropped one included.
    pub rounds: usize,
    /// The length of one window.
    pub window_s: u64,
}

/// Runs all cells; `say` is told of each window as it ends.
pub fn compare(
    ours: Side,
    textbook: Side,
    effort: Effort,
    mut say: impl FnMut(&str),
) -> Result<Vec<Comparison>> {
    let mut comparisons: Vec<Comparison> =
        CELLS.iter().map(|&cell| Comparison { cell, rounds: Vec::new() }).collect();
    let mut next_event = 0;
    for number in 0..effort.rounds {
        for comparison in &mut comparisons {
            let cell = comparison.cell;
            let mut window = |side: Side, name: &str| -> Result<Window> {
                let (window, tally) = measure(&plan(&cell, side.address, effort, next_event), side.pids)?;
                next_event = tally.next_event;
                say(&line(number, &cell, name, &window));
                Ok(window)
            };
            let first = window(ours, "ours")?;
            let middle = [window(textbook, "textbook")?, window(textbook, "textbook")?];
            let round = Round { ours: [first, window(ours, "ours")?], textbook: middle };
            if number > 0 {
                comparison.rounds.push(round);
            }
        }
    }
    Ok(comparisons)
}

/// The plan for one window of a cell.
pub fn plan(cell: &Cell, target: SocketAddr, effort: Effort, first_event: u64) -> Plan {
    Plan {
        target,
        shape: cell.shape,
        events_per_s: cell.events_per_s,
        connections: cell.connections,
        warm_up: Duration::from_millis(500),
        window: Duration::from_secs(effort.window_s),
        first_event,
    }
}

/// The middle one, or the mean of the middle two; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn line(round: usize, cell: &Cell, name: &str, window: &Window) -> String {
    format!(
        "round {round} {:<18} {name:<8} {:>8.0}/s {:>6.2} CPU-s/M  P99 {:>8.2} ms {:?}",
        cell.name, window.acked_per_s, window.cpu_s_per_million, window.p99_ms, window.marks
    )
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
