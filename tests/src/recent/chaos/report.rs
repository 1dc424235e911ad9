//! What came of a run: figures by level and kind, the closing table, and whether it is as promised.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::answer::{Answer, Found, Level};
use super::checker::{Sin, Sins, needs};
use super::control;
use super::faults::{Fault, Kind};
use super::log::Log;
use super::stage::partitions;

/// Of each class, shown in full.
const SHOWN_MAX: u64 = 4;
/// Longer than any client waits.
const LATENCY_US_MAX: u64 = 60_000_000;
const OUTSIDE_MIN: f64 = 0.97;
const OVERALL_MIN: f64 = 0.90;
/// Answered lookups at `token` and `strong`, for each second of a run of this length at most.
const ANSWERED_PER_S_MIN: f64 = 500.0;
const LENGTH_S: f64 = 600.0;

/// Lookups of one level.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    pub lookups: u64,
    /// 200, or a "not there" that holds.
    pub answered: u64,
    /// 503.
    pub behind: u64,
    /// No answer.
    pub cut: u64,
    pub stale: u64,
    pub wrong: u64,
    pub foreign: u64,
    /// Of the answered ones, with all that can be had: the others own up to less.
    pub whole: u64,
    /// Of the answered ones, out of the store alone.
    pub hits: u64,
    /// Begun and ended while no fault touched a partition they needed.
    pub outside: u64,
    pub outside_answered: u64,
    pub outside_whole: u64,
    pub by_kind: BTreeMap<&'static str, u64>,
    /// Of the answered ones, in milliseconds.
    pub latency_ms: BTreeMap<&'static str, f64>,
    pub outside_latency_ms: BTreeMap<&'static str, f64>,
}

impl Figures {
    /// No answer was wrong in any way.
    pub fn right(&self) -> bool {
        (self.stale, self.wrong, self.foreign) == (0, 0, 0)
    }

    pub fn answered_ratio(&self) -> f64 {
        ratio(self.answered, self.lookups)
    }

    pub fn outside_ratio(&self) -> f64 {
        ratio(self.outside_answered, self.outside)
    }

    pub fn outside_whole_ratio(&self) -> f64 {
        ratio(self.outside_whole, self.outside)
    }

    pub fn whole_ratio(&self) -> f64 {
        ratio(self.whole, self.lookups)
    }

    pub fn hit_ratio(&self) -> f64 {
        ratio(self.hits, self.answered)
    }
}

/// The whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub seed: u64,
    pub run_s: f64,
    pub events: usize,
    /// Receipts whose record is not there, as said.
    pub lost: u64,
    /// Events that were said to be in no topic, and are.
    pub refused_but_stored: u64,
    pub unknown: u64,
    pub unknown_but_stored: u64,
    pub stored_twice: u64,
    pub faults_by_kind: BTreeMap<Kind, u64>,
    pub faults: Vec<Fault>,
    pub levels: BTreeMap<Level, Figures>,
    pub control: control::Figures,
    pub held_back: u64,
    pub cut_by_second: u64,
    /// The first answers that were wrong, in full.
    pub offenders: Vec<String>,
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Sums answers up.
pub struct Sums<'a> {
    log: &'a Log,
    faults: &'a [Fault],
    levels: BTreeMap<Level, (Figures, [Histogram<u64>; 2])>,
    /// Answers of each class, over all levels.
    sinners: BTreeMap<Sin, u64>,
    offenders: Vec<String>,
}

impl<'a> Sums<'a> {
    pub fn new(log: &'a Log, faults: &'a [Fault]) -> Self {
        let new = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds in order");
        let levels = Level::ALL.map(|level| (level, (Figures::default(), [new(), new()])));
        Self { log, faults, levels: levels.into(), sinners: BTreeMap::new(), offenders: Vec::new() }
    }

    /// Counts one, with what is wrong with it, and whether it has all that can be had.
    pub fn add(&mut self, answer: &Answer, sins: &Sins, whole: bool) {
        let needed = needs(answer.ask, self.log);
        let touched = self.faults.iter().any(|fault| {
            fault.partitions & needed != 0
                && fault.begin_us <= answer.end_us
                && answer.begin_us <= fault.end_us
        });
        let Some((figures, [all, outside])) = self.levels.get_mut(&answer.level) else { return };
        figures.lookups += 1;
        *figures.by_kind.entry(answer.ask.kind()).or_default() += 1;
        let mut shown = false;
        for (sin, of_level) in [
            (Sin::Stale, &mut figures.stale),
            (Sin::Wrong, &mut figures.wrong),
            (Sin::Foreign, &mut figures.foreign),
        ] {
            let sinned = u64::from(sins.iter().any(|(own, _)| *own == sin));
            let known = self.sinners.entry(sin).or_default();
            shown |= sinned > 0 && *known < SHOWN_MAX;
            *known += sinned;
            *of_level += sinned;
        }
        let answered = match answer.found {
            Found::Page(_) | Found::One(_) | Found::Nothing => sins.is_empty(),
            Found::Behind | Found::Cut | Found::Odd(_) => false,
        };
        figures.behind += u64::from(answer.found == Found::Behind);
        figures.cut += u64::from(answer.found == Found::Cut);
        figures.answered += u64::from(answered);
        figures.whole += u64::from(answered && whole);
        figures.outside_whole += u64::from(!touched && answered && whole);
        figures.hits += u64::from(answered && answer.hit);
        figures.outside += u64::from(!touched);
        figures.outside_answered += u64::from(!touched && answered);
        if answered {
            let took_us = answer.end_us - answer.begin_us;
            all.saturating_record(took_us);
            if !touched {
                outside.saturating_record(took_us);
            }
        }
        if shown {
            self.offenders.push(format!("{sins:?}\n  {answer:?}"));
        }
    }

    /// By level, and the first offenders.
    pub fn end(self) -> (BTreeMap<Level, Figures>, Vec<String>) {
        let end = |(level, (figures, [all, outside])): (Level, (Figures, [Histogram<u64>; 2]))| {
            (
                level,
                Figures { latency_ms: quantiles(&all), outside_latency_ms: quantiles(&outside), ..figures },
            )
        };
        (self.levels.into_iter().map(end).collect(), self.offenders)
    }
}

fn quantiles(us: &Histogram<u64>) -> BTreeMap<&'static str, f64> {
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)]
        .map(|(name, quantile)| (name, us.value_at_quantile(quantile) as f64 / 1e3))
        .into()
}

impl Report {
    /// What is not as promised, for a run of this length with so many faults of these kinds.
    pub fn broken_promises(&self, kinds: &[Kind], faults_min: usize) -> Vec<String> {
        let mut broken = Vec::new();
        for (level, figures) in &self.levels {
            if !figures.right() {
                let Figures { stale, wrong, foreign, .. } = figures;
                broken.push(format!("{level:?}: {stale} stale, {wrong} wrong, {foreign} foreign"));
            }
            for (what, ratio, min) in [
                ("outside of faults", figures.outside_ratio(), OUTSIDE_MIN),
                ("with all there is, outside of faults", figures.outside_whole_ratio(), OUTSIDE_MIN),
                ("overall", figures.answered_ratio(), OVERALL_MIN),
            ] {
                if ratio < min {
                    broken.push(format!("{level:?}: {:.2} % answered {what}", ratio * 100.0));
                }
            }
        }
        let answered = self.answered(&[Level::Token, Level::Strong]);
        let needed = self.run_s.min(LENGTH_S) * ANSWERED_PER_S_MIN;
        if (answered as f64) < needed {
            broken.push(format!("{answered} lookups answered at token and strong, of {needed:.0}"));
        }
        if self.faults.len() < faults_min || kinds.iter().any(|kind| !self.faults_by_kind.contains_key(kind))
        {
            broken.push(format!("{} faults, of {} kinds", self.faults.len(), self.faults_by_kind.len()));
        }
        if self.faults.iter().any(|fault| !fault.recovered) {
            broken.push("after some fault not all was well again".to_owned());
        }
        if (self.lost, self.refused_but_stored, self.stored_twice) != (0, 0, 0) {
            let (lost, refused, twice) = (self.lost, self.refused_but_stored, self.stored_twice);
            broken.push(format!(
                "{lost} receipts without their record, {refused} refused ones there, {twice} twice"
            ));
        }
        if self.control.stale == 0 {
            broken.push("the control was not caught stale: the harness is broken".to_owned());
        }
        broken
    }

    /// Of these levels.
    pub fn answered(&self, levels: &[Level]) -> u64 {
        levels.iter().filter_map(|level| self.levels.get(level)).map(|figures| figures.answered).sum()
    }

    /// The closing table.
    pub fn print(&self) {
        println!(
            "seed {}, {:.0} s, {} events, {} faults",
            self.seed,
            self.run_s,
            self.events,
            self.faults.len()
        );
        let kinds = self.faults_by_kind.iter().map(|(kind, count)| format!("{kind:?} {count}"));
        println!("  {}", kinds.collect::<Vec<_>>().join(", "));
        println!(
            "{:9}{:>9}{:>10}{:>7}{:>6}{:>7}{:>7}{:>9}{:>10}{:>10}{:>9}{:>9}{:>8}{:>8}{:>9}{:>9}",
            "level",
            "lookups",
            "answered",
            "503",
            "cut",
            "stale",
            "wrong",
            "foreign",
            "overall %",
            "outside %",
            "whole %",
            "outside %",
            "hit %",
            "p50 ms",
            "p99 ms",
            "max ms"
        );
        for (level, it) in &self.levels {
            let ms = |name| it.latency_ms.get(name).copied().unwrap_or_default();
            println!(
                "{:9}{:>9}{:>10}{:>7}{:>6}{:>7}{:>7}{:>9}{:>10.2}{:>10.2}{:>9.2}{:>9.2}{:>8.2}{:>8.2}{:>9.1}{:>9.0}",
                format!("{level:?}").to_lowercase(),
                it.lookups,
                it.answered,
                it.behind,
                it.cut,
                it.stale,
                it.wrong,
                it.foreign,
                it.answered_ratio() * 100.0,
                it.outside_ratio() * 100.0,
                it.whole_ratio() * 100.0,
                it.outside_whole_ratio() * 100.0,
                it.hit_ratio() * 100.0,
                ms("p50"),
                ms("p99"),
                ms("max"),
            );
        }
        let control::Figures { reads, hits, stale, stale_for_long, not_deleted } = self.control;
        println!(
            "control: {reads} reads, {hits} hits, {stale} stale, of those {stale_for_long} for half a second or more; {not_deleted} deletes failed"
        );
        println!(
            "events: {} lost, {} refused but stored, {} stored twice, {} unknown of which {} are stored",
            self.lost, self.refused_but_stored, self.stored_twice, self.unknown, self.unknown_but_stored
        );
        println!(
            "lookups held back: {}, cut by the second gateway's end: {}",
            self.held_back, self.cut_by_second
        );
        for offender in &self.offenders {
            println!("offender: {offender}");
        }
    }
}

/// One line for one fault.
pub fn line(number: usize, fault: &Fault) -> String {
    let after_s = |us: u64| (us - fault.begin_us) as f64 / 1e6;
    let well = if fault.recovered { "well again" } else { "NOT WELL AGAIN" };
    format!(
        "{:7.1} s  fault {number}: {:?}: {}; services back after {:.1} s, {well} after {:.1} s; it touched {:?}",
        fault.begin_us as f64 / 1e6,
        fault.kind,
        fault.note,
        after_s(fault.back_us),
        after_s(fault.end_us),
        partitions(fault.partitions)
    )
}
