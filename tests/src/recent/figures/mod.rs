//! Measured figures of the read model, each beside its limit: hit rates, latency under open-loop load, what a dead
//! shard and an absent Valkey do to others, and a cold start. What is right is `it/recent`'s business; here answers are
//! only compared where the comparison is the figure.

pub mod away;
pub mod cold;
pub mod failover;
pub mod hits;
pub mod load;
mod asks;
mod stage;
mod sums;
mod traffic;
mod wire;

use std::fs;

use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::Result;
use crate::bench::report::Machine;
use crate::world::inputs;

/// What a figure may be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// One figure, and what it may be.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    limit: Option<Limit>,
}

impl Figure {
    fn new(name: impl Into<String>, value: f64) -> Figure {
        Figure { name: name.into(), value, limit: None }
    }

    /// Infinitely many are no limit.
    fn at_most(self, most: f64) -> Figure {
        Figure { limit: most.is_finite().then_some(Limit::AtMost(most)), ..self }
    }

    fn at_least(self, least: f64) -> Figure {
        Figure { limit: Some(Limit::AtLeast(least)), ..self }
    }

    /// A figure that is none (NaN) keeps no limit.
    fn is_met(&self) -> bool {
        match self.limit {
            None => true,
            Some(Limit::AtMost(most)) => self.value <= most,
            Some(Limit::AtLeast(least)) => self.value >= least,
        }
    }

    fn line(&self) -> String {
        let limit = match self.limit {
            None => return format!("{:<58} {:>10.3}", self.name, self.value),
            Some(Limit::AtMost(most)) => format!("at most {most}"),
            Some(Limit::AtLeast(least)) => format!("at least {least}"),
        };
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        format!("{:<58} {:>10.3}   {limit}: {verdict}", self.name, self.value)
    }
}

/// Prints the figures, leaves them with everything behind them in `target/recent/<name>.json`, and fails if one is
/// missed.
fn settle(name: &str, effort: &impl Serialize, figures: &[Figure], behind: &Value) -> Result<()> {
    let machine = Machine::read(true)?;
    println!(
        "\nrecent {name}: {} cores, {}, Linux {}; gateways on the last core, generator on the first",
        machine.cores, machine.processor, machine.kernel
    );
    figures.iter().for_each(|figure| println!("{}", figure.line()));
    let folder = inputs::target().join("recent");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    let all = json!({"machine": machine, "effort": effort, "figures": figures, "behind": behind});
    fs::write(&path, serde_json::to_vec_pretty(&all)?)?;
    println!("everything behind them: {}", path.display());
    match figures.iter().filter(|figure| !figure.is_met()).count() {
        0 => Ok(()),
        missed => Err(format!("recent {name}: {missed} of the figures are not as promised").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_includes_its_bound_and_no_figure_keeps_none() {
        assert!(Figure::new("", 5.0).at_most(5.0).is_met());
        assert!(!Figure::new("", 5.1).at_most(5.0).is_met());
        assert!(Figure::new("", 0.99).at_least(0.99).is_met());
        assert!(!Figure::new("", 0.98).at_least(0.99).is_met());
        assert!(Figure::new("", f64::NAN).is_met());
        assert!(!Figure::new("", f64::NAN).at_most(1.0).is_met());
        assert!(!Figure::new("", f64::NAN).at_least(1.0).is_met());
    }
}
