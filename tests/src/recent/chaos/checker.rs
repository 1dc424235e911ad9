//! Each answer against the log. Offsets give the order, so there is nothing to search for: an answer names how far it
//! reaches, and from there the log says what it must hold, event by event.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::answer::{Answer, Ask, Found, Level, Page, Position, Seen};
use super::journal::{Clock, Receipt};
use super::log::Log;
use super::stage::partition_of;
use super::{event, stage};

/// A bounded answer may miss what was acked in the last second, and a little for the clocks.
const BOUNDED_US: u64 = 1_050_000;
/// By so much the window of an answer may be off.
const WINDOW_SLACK_MS: i64 = 5_000;

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sin {
    /// It lacks what it should have, or does not reach as far as it must.
    Stale,
    /// It has what is not so: no such event, another order, twice, too many, claims that do not hold.
    Wrong,
    /// It has an event of another key, or another event.
    Foreign,
}

/// Sins with what shows them.
pub type Sins = Vec<(Sin, String)>;

/// What an answer has to include because it was acked.
pub struct Acked(Vec<Vec<(u64, i64)>>);

impl Acked {
    /// Of each partition, by time: the highest offset acked until then.
    pub fn of(log: &Log, receipts: &[Receipt]) -> Self {
        let mut acked: Vec<Vec<(u64, i64)>> = (0..log.count()).map(|_| Vec::new()).collect();
        for receipt in receipts {
            // Kafka did not tell where it is: the log does.
            let offset = receipt.offset.or_else(|| log.find(receipt.event.number).map(|at| at.offset));
            let own = usize::try_from(receipt.partition).ok().and_then(|at| acked.get_mut(at));
            if let (Some(own), Some(offset)) = (own, offset) {
                own.push((receipt.acked_us, offset));
            }
        }
        for own in &mut acked {
            own.sort_unstable();
            let mut highest = -1;
            for (_, offset) in own {
                highest = highest.max(*offset);
                *offset = highest;
            }
        }
        Self(acked)
    }

    /// The highest offset acked before a moment; -1 if there is none.
    fn before(&self, partition: i32, us: u64) -> i64 {
        let Some(own) = usize::try_from(partition).ok().and_then(|at| self.0.get(at)) else { return -1 };
        let count = own.partition_point(|(acked_us, _)| *acked_us < us);
        own[..count].last().map_or(-1, |(_, offset)| *offset)
    }
}

/// Judges answers.
pub struct Checker<'a> {
    pub log: &'a Log,
    pub acked: Acked,
    pub clock: Clock,
    pub per_key: usize,
    pub window_ms: i64,
}

impl Checker<'_> {
    /// What is wrong with it; nothing, if nothing is.
    pub fn judge(&self, answer: &Answer) -> Sins {
        match (&answer.found, answer.ask) {
            (Found::Behind | Found::Cut, _) => Vec::new(),
            (Found::Odd(what), _) => vec![(Sin::Wrong, what.clone())],
            (Found::Page(page), Ask::Key { .. } | Ask::Group { .. }) => self.judge_page(answer, page),
            (Found::One(seen), Ask::Id { number }) => self.judge_one(*seen, self.log.find(number)),
            (Found::One(seen), Ask::At { at }) => self.judge_one(*seen, Some(at)),
            (Found::Nothing, Ask::Nobody { .. }) => Vec::new(),
            (Found::Nothing, Ask::Id { number }) => self.judge_nothing(answer, self.log.find(number)),
            (Found::Nothing, Ask::At { at }) => self.judge_nothing(answer, Some(at)),
            (found, ask) => vec![(Sin::Wrong, format!("{found:?} is no answer to {ask:?}"))],
        }
    }

    /// The offset up to which it must be complete.
    fn demand(&self, answer: &Answer, partition: i32) -> i64 {
        let acked = |us| self.acked.before(partition, us);
        let level = match answer.level {
            Level::Bounded => acked(answer.begin_us.saturating_sub(BOUNDED_US)),
            Level::Token => -1,
            Level::Strong => acked(answer.begin_us),
        };
        let shown = answer.min_position.filter(|position| position.partition == partition);
        level.max(shown.map_or(-1, |position| position.offset))
    }

    fn judge_one(&self, seen: Seen, expected: Option<Position>) -> Sins {
        let Some(expected) = expected else {
            return vec![(Sin::Wrong, "the log has no such event".to_owned())];
        };
        match self.log.at(seen.at) {
            Some(entry) if seen.at == expected && entry.digest == seen.digest => Vec::new(),
            Some(entry) if entry.digest == seen.digest => {
                vec![(
                    Sin::Foreign,
                    format!("that is the event at {:?}; asked for was {expected:?}", seen.at),
                )]
            }
            _ => vec![(Sin::Wrong, format!("the log has another event at {:?}, or none", seen.at))],
        }
    }

    /// "Not there", of an event that is.
    fn judge_nothing(&self, answer: &Answer, there: Option<Position>) -> Sins {
        let Some(at) = there else { return Vec::new() };
        // A position that is asked for by its receipt has been acked.
        let by_position = matches!(answer.ask, Ask::At { .. });
        let demanded = by_position || self.demand(answer, at.partition) >= at.offset;
        let window_start_ms = self.clock.unix_ms(answer.begin_us) - self.window_ms + WINDOW_SLACK_MS;
        let in_window = self.log.at(at).is_some_and(|entry| entry.time_ms >= window_start_ms);
        if demanded && in_window {
            vec![(Sin::Stale, format!("what is at {at:?} is not there, it says"))]
        } else {
            Vec::new()
        }
    }

    fn judge_page(&self, answer: &Answer, page: &Page) -> Sins {
        let mut sins = self.judge_reach(answer, page);
        if sins.iter().any(|(sin, _)| *sin == Sin::Wrong) {
            return sins;
        }
        let (expected, cut_ms) = self.expect(answer.ask, page);
        let complete_since_ms = cut_ms.max(page.window_start_ms);
        // It may own up to less: a slot that was built anew has its newest events first.
        if page.complete_since_ms < complete_since_ms
            || page.truncated != (page.complete_since_ms > page.window_start_ms)
        {
            let claimed = (page.complete_since_ms, page.truncated);
            sins.push((Sin::Wrong, format!("it claims {claimed:?}; so it is: since {complete_since_ms}")));
        }
        let (had, has): (HashSet<_>, HashSet<_>) =
            (expected.iter().copied().collect(), page.events.iter().map(|seen| seen.at).collect());
        let owned_up = |at: &Position| {
            page.complete_since_ms > complete_since_ms
                && self.log.at(*at).is_some_and(|entry| entry.time_ms < page.complete_since_ms)
        };
        if let Some(missing) = expected.iter().find(|at| !has.contains(at) && !owned_up(at)) {
            let count = had.difference(&has).count();
            sins.push((Sin::Stale, format!("{count} of {} are missing, as {missing:?}", expected.len())));
        }
        sins.extend(self.judge_events(answer.ask, page, &had, !had.is_subset(&has)));
        sins
    }

    /// Whether it has all that can be had: a page may own up to less.
    pub fn is_whole(&self, answer: &Answer) -> bool {
        let Found::Page(page) = &answer.found else { return true };
        let (_, cut_ms) = self.expect(answer.ask, page);
        page.complete_since_ms == cut_ms.max(page.window_start_ms)
    }

    /// How far it says that it reaches, and its window.
    fn judge_reach(&self, answer: &Answer, page: &Page) -> Sins {
        let mut sins = Vec::new();
        let expected: Vec<i32> = match answer.ask {
            Ask::Key { key, .. } => vec![partition_of(&event::key(key))],
            _ => (0..self.log.count()).collect(),
        };
        if !page.as_of.iter().map(|as_of| as_of.partition).eq(expected.iter().copied()) {
            sins.push((Sin::Wrong, format!("as_of is not of the partitions {expected:?}")));
        }
        for as_of in &page.as_of {
            let demand = self.demand(answer, as_of.partition);
            if as_of.offset >= self.log.end(as_of.partition) {
                sins.push((Sin::Wrong, format!("{as_of:?} is beyond the log's end")));
            }
            if as_of.offset < demand {
                sins.push((Sin::Stale, format!("{as_of:?} falls short of {demand}")));
            }
        }
        let earliest = self.clock.unix_ms(answer.begin_us) - self.window_ms - WINDOW_SLACK_MS;
        let latest = self.clock.unix_ms(answer.end_us) - self.window_ms + WINDOW_SLACK_MS;
        if !(earliest..=latest).contains(&page.window_start_ms) {
            sins.push((Sin::Wrong, format!("its window begins at {}", page.window_start_ms)));
        }
        sins
    }

    /// The events that belong there, in order, and since when nothing was cut off; 0 if nothing was.
    fn expect(&self, ask: Ask, page: &Page) -> (Vec<Position>, i64) {
        let (mut expected, mut cut_ms) = (Vec::new(), 0);
        for as_of in &page.as_of {
            let (offsets, _) = self.listed(ask, as_of.partition);
            let reached = offsets.partition_point(|offset| *offset <= as_of.offset);
            let kept = &offsets[reached.saturating_sub(self.per_key)..reached];
            let at = |offset: &i64| Position { partition: as_of.partition, offset: *offset };
            let time_ms = |at: Position| self.log.at(at).map_or(0, |entry| entry.time_ms);
            let cut = &offsets[..reached.saturating_sub(self.per_key)];
            cut_ms = cut.iter().map(|offset| time_ms(at(offset)) + 1).max().unwrap_or(0).max(cut_ms);
            expected.extend(kept.iter().rev().map(at).filter(|at| time_ms(*at) >= page.window_start_ms));
        }
        if page.as_of.len() != 1 {
            expected.sort_unstable_by_key(|at| Reverse(self.place(*at)));
        }
        let (_, limit) = self.listed(ask, 0);
        expected.truncate(limit);
        (expected, cut_ms)
    }

    /// All offsets of what is asked for, and how many may be listed.
    fn listed(&self, ask: Ask, partition: i32) -> (&[i64], usize) {
        match ask {
            Ask::Key { key, limit } => (self.log.of_key(key, partition), limit),
            Ask::Group { group, limit } => (self.log.of_group(group, partition), limit),
            Ask::Id { .. } | Ask::Nobody { .. } | Ask::At { .. } => (&[], 1),
        }
    }

    /// What several partitions are ordered by.
    fn place(&self, at: Position) -> (i64, i32, i64) {
        (self.log.at(at).map_or(0, |entry| entry.time_ms), at.partition, at.offset)
    }

    /// The events listed, one by one. Where some are missing, others come up in their place.
    fn judge_events(&self, ask: Ask, page: &Page, had: &HashSet<Position>, some_missing: bool) -> Sins {
        let mut sins = Vec::new();
        let mut wrong = |why: String| sins.push((Sin::Wrong, why));
        let (_, limit) = self.listed(ask, 0);
        if page.events.len() > limit {
            wrong(format!("{} events where {limit} were asked for", page.events.len()));
        }
        let one_partition = page.as_of.len() == 1;
        for pair in page.events.windows(2) {
            let (newer, older) = (pair[0].at, pair[1].at);
            let in_order = match one_partition {
                true => newer.offset > older.offset,
                false => self.place(newer) > self.place(older),
            };
            if !in_order {
                wrong(format!("{newer:?} stands before {older:?}"));
            }
        }
        let mut foreign = Vec::new();
        for seen in &page.events {
            let entry = self.log.at(seen.at);
            let reached = page.as_of.iter().find(|as_of| as_of.partition == seen.at.partition);
            let own = |event: event::Event| match ask {
                Ask::Key { key, .. } => event.key == key,
                Ask::Group { group, .. } => event.group() == group,
                _ => false,
            };
            match entry {
                Some(entry) if entry.digest != seen.digest => {
                    wrong(format!("the log has another event at {:?}", seen.at));
                }
                Some(entry) if !own(entry.event) => {
                    foreign.push((Sin::Foreign, format!("{:?} at {:?}", entry.event, seen.at)));
                }
                Some(_) if reached.is_none_or(|as_of| seen.at.offset > as_of.offset) => {
                    wrong(format!("{:?} is beyond as_of", seen.at));
                }
                Some(_) if !had.contains(&seen.at) && !some_missing => {
                    wrong(format!("{:?} does not belong there any more", seen.at));
                }
                Some(_) => {}
                None => wrong(format!("the log has nothing at {:?}", seen.at)),
            }
        }
        sins.extend(foreign);
        sins
    }
}

/// The partitions that a lookup needs, as bits.
pub fn needs(ask: Ask, log: &Log) -> u64 {
    let bit = |partition: i32| 1_u64 << partition;
    match ask {
        Ask::Key { key, .. } => bit(partition_of(&event::key(key))),
        Ask::At { at } => bit(at.partition),
        Ask::Id { number } => log.find(number).map_or_else(stage::everywhere, |at| bit(at.partition)),
        Ask::Group { .. } | Ask::Nobody { .. } => stage::everywhere(),
    }
}
