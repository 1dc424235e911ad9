//! The checker can fail: hand-made logs and answers, right and wrong in one way each.

use super::answer::{Answer, Ask, Found, Level, Page, Position, Seen};
use super::checker::{Acked, Checker, Sin};
use super::event::{self, Event};
use super::journal::{Clock, Receipt};
use super::log::{Entry, Log};
use super::stage::{PARTITIONS, partition_of};

const PER_KEY: usize = 3;
const WINDOW_MS: i64 = 600_000;
const SECOND_US: u64 = 1_000_000;
/// When lookups begin; event `n` is acked at second `n + 1`.
const LATER_US: u64 = 100 * SECOND_US;

/// A log with the events 0 to 5 of one key and one of another in its partition, and how it came to be.
struct Told {
    log: Log,
    receipts: Vec<Receipt>,
    clock: Clock,
    key: u32,
    other: u32,
    partition: i32,
}

fn told() -> Told {
    received([0, 1, 2, 3, 4, 5, 6])
}

/// The same, each received at such a millisecond.
fn received(times_ms: [i64; 7]) -> Told {
    let partition = partition_of(&event::key(1));
    let other = (2..).find(|key| partition_of(&event::key(*key)) == partition).expect("there is one");
    let mut told = Told {
        log: Log::of(PARTITIONS),
        receipts: Vec::new(),
        clock: Clock::start(),
        key: 1,
        other,
        partition,
    };
    // Offsets 0, 1, 3, 4, 5, 6 are the key's, offset 2 is the other's.
    for ((number, key), time_ms) in (0..).zip([1, 1, other, 1, 1, 1, 1]).zip(times_ms) {
        let event = Event { number, key, sequence: 0 };
        let time_ms = told.clock.unix_ms(0) + time_ms;
        let offset = told.log.append(partition, Entry { event, digest: number + 1, time_ms });
        let acked_us = (number + 1) * SECOND_US;
        told.receipts.push(Receipt { event, partition, offset: Some(offset), acked_us });
    }
    told
}

impl Told {
    fn at(&self, offset: i64) -> Position {
        Position { partition: self.partition, offset }
    }

    fn seen(&self, offset: i64) -> Seen {
        self.log.seen(self.at(offset)).expect("it is there")
    }

    /// The answer that has these, as of the last of them all.
    fn page(&self, offsets: &[i64], as_of: i64) -> Page {
        let window_start_ms = self.clock.unix_ms(LATER_US) - WINDOW_MS;
        Page {
            events: offsets.iter().map(|offset| self.seen(*offset)).collect(),
            as_of: vec![self.at(as_of)],
            window_start_ms,
            complete_since_ms: window_start_ms,
            truncated: false,
        }
    }

    /// The same, cut at its third newest.
    fn cut(&self, offsets: &[i64], as_of: i64, oldest: i64) -> Page {
        let complete_since_ms = self.log.at(self.at(oldest)).expect("it is there").time_ms;
        Page { truncated: true, complete_since_ms, ..self.page(offsets, as_of) }
    }

    fn answer(&self, level: Level, ask: Ask, min_position: Option<i64>, found: Found) -> Answer {
        let min_position = min_position.map(|offset| self.at(offset));
        let (begin_us, end_us) = (LATER_US, LATER_US + 1_000);
        Answer { level, ask, min_position, of_second: false, begin_us, end_us, hit: true, found }
    }

    fn judge(&self, answer: &Answer) -> Vec<Sin> {
        let acked = Acked::of(&self.log, &self.receipts);
        let checker =
            Checker { log: &self.log, acked, clock: self.clock, per_key: PER_KEY, window_ms: WINDOW_MS };
        let mut sins: Vec<Sin> = checker.judge(answer).into_iter().map(|(sin, _)| sin).collect();
        sins.sort_unstable();
        sins.dedup();
        sins
    }

    /// What is wrong with a list of the key, asked for strongly.
    fn strong(&self, limit: usize, page: Page) -> Vec<Sin> {
        self.judge(&self.answer(Level::Strong, Ask::Key { key: self.key, limit }, None, Found::Page(page)))
    }

    fn token(&self, position: i64, page: Page) -> Vec<Sin> {
        let ask = Ask::Key { key: self.key, limit: 10 };
        self.judge(&self.answer(Level::Token, ask, Some(position), Found::Page(page)))
    }
}

#[test]
fn what_is_right_is_found_right() {
    let told = told();
    assert_eq!(told.strong(10, told.cut(&[6, 5, 4], 6, 4)), [], "cut at per_key");
    assert_eq!(told.strong(2, told.cut(&[6, 5], 6, 4)), [], "cut by the limit");
    // Older than the newest, but as old as it may be.
    assert_eq!(told.token(3, told.page(&[3, 1, 0], 3)), []);
    assert_eq!(told.token(1, told.page(&[1, 0], 2)), []);
    let nobody = Ask::Key { key: told.other, limit: 10 };
    let page = Found::Page(told.page(&[2], 6));
    assert_eq!(told.judge(&told.answer(Level::Strong, nobody, None, page)), []);
    let behind = told.answer(Level::Strong, nobody, None, Found::Behind);
    assert_eq!(told.judge(&behind), []);
}

#[test]
fn to_be_complete_since_something_that_was_cut_is_wrong() {
    let told = told();
    assert_eq!(told.strong(10, told.cut(&[6, 5, 4], 6, 3)), [Sin::Wrong]);
    // The first to come into the log, and received after the oldest that is listed.
    let late = received([5, 1, 2, 3, 4, 5, 6]);
    assert_eq!(late.strong(10, late.cut(&[6, 5, 4], 6, 4)), [Sin::Wrong]);
    assert_eq!(late.strong(10, late.cut(&[6, 5, 4], 6, 6)), []);
}

#[test]
fn what_is_missing_is_stale() {
    let told = told();
    assert_eq!(told.strong(10, told.cut(&[6, 5], 6, 4)), [Sin::Stale]);
    assert_eq!(told.strong(10, told.cut(&[6, 4, 3], 6, 4)), [Sin::Stale], "an older one in its place");
    assert_eq!(told.strong(10, told.cut(&[], 6, 4)), [Sin::Stale]);
    // It has all up to where it reaches, and does not reach far enough.
    assert_eq!(told.strong(10, told.cut(&[5, 4, 3], 5, 3)), [Sin::Stale]);
    assert_eq!(told.token(3, told.page(&[1, 0], 2)), [Sin::Stale]);
    assert_eq!(told.token(3, told.page(&[3, 0], 3)), [Sin::Stale]);
}

#[test]
fn a_bounded_answer_may_lack_the_last_second() {
    let told = told();
    let ask = Ask::Key { key: told.key, limit: 10 };
    // Event 5 is acked at second 6, event 6 at second 7.
    let at = |begin_us| {
        let mut answer = told.answer(Level::Bounded, ask, None, Found::Page(told.cut(&[5, 4, 3], 5, 3)));
        (answer.begin_us, answer.end_us) = (begin_us, begin_us);
        let Found::Page(page) = &mut answer.found else { unreachable!() };
        page.window_start_ms = told.clock.unix_ms(begin_us) - WINDOW_MS;
        told.judge(&answer)
    };
    assert_eq!(at(8 * SECOND_US), []);
    assert_eq!(at(8 * SECOND_US + 100_000), [Sin::Stale]);
}

#[test]
fn what_is_not_so_is_wrong() {
    let told = told();
    let good = || told.cut(&[6, 5, 4], 6, 4);
    let with = |change: &dyn Fn(&mut Page)| {
        let mut page = good();
        change(&mut page);
        told.strong(10, page)
    };
    assert_eq!(with(&|page| page.events.swap(0, 1)), [Sin::Wrong], "out of order");
    assert_eq!(with(&|page| page.events.insert(1, told.seen(6))), [Sin::Wrong], "twice");
    assert_eq!(with(&|page| page.events.push(told.seen(3))), [Sin::Wrong], "beyond per_key");
    assert_eq!(with(&|page| page.events[0].digest = 99), [Sin::Wrong], "another body");
    assert_eq!(with(&|page| page.events[0].at.offset = 7), [Sin::Stale, Sin::Wrong], "not in the log");
    assert_eq!(with(&|page| page.as_of[0].offset = 7), [Sin::Wrong], "beyond the log");
    assert_eq!(with(&|page| page.as_of.clear()), [Sin::Wrong]);
    assert_eq!(with(&|page| page.truncated = false), [Sin::Wrong], "hides that it was cut");
    assert_eq!(with(&|page| page.complete_since_ms = 0), [Sin::Wrong]);
    let newest_ms = told.log.at(told.at(6)).expect("it is there").time_ms;
    let owns_up = |events: usize, since_ms| {
        with(&|page: &mut Page| {
            page.events.truncate(events);
            page.complete_since_ms = since_ms;
        })
    };
    assert_eq!(owns_up(1, newest_ms), [], "it owns up to having the newest only");
    assert_eq!(owns_up(0, newest_ms), [Sin::Stale]);
    assert_eq!(owns_up(0, newest_ms + 1), []);
    assert_eq!(with(&|page| page.window_start_ms += 10_000), [Sin::Wrong]);
    assert_eq!(told.strong(2, good()), [Sin::Wrong], "more than were asked for");
    assert_eq!(told.token(3, told.page(&[4, 3, 1, 0], 3)), [Sin::Wrong], "beyond as_of");
    let odd = told.answer(Level::Strong, Ask::Id { number: 1 }, None, Found::Odd("500".to_owned()));
    assert_eq!(told.judge(&odd), [Sin::Wrong]);
}

#[test]
fn an_event_of_another_key_is_foreign() {
    let told = told();
    assert_eq!(told.token(3, told.page(&[3, 2, 1, 0], 3)), [Sin::Foreign]);
    assert_eq!(told.token(3, told.page(&[3, 2, 0], 3)), [Sin::Stale, Sin::Foreign]);
}

#[test]
fn the_window_ends_what_must_be_there() {
    let told = told();
    // Events came a millisecond after one another: the first two have left the window.
    let page = |offsets: &[i64]| {
        let window_start_ms = told.clock.unix_ms(0) + 2;
        Page { window_start_ms, complete_since_ms: window_start_ms, ..told.page(offsets, 3) }
    };
    let judge = |offsets: &[i64]| {
        let ask = Ask::Key { key: told.key, limit: 10 };
        let mut answer = told.answer(Level::Token, ask, Some(3), Found::Page(page(offsets)));
        answer.begin_us = 600 * SECOND_US;
        answer.end_us = answer.begin_us;
        told.judge(&answer)
    };
    assert_eq!(judge(&[3]), []);
    assert_eq!(judge(&[3, 1]), [Sin::Wrong]);
    assert_eq!(judge(&[]), [Sin::Stale]);
}

#[test]
fn single_events_are_checked_too() {
    let told = told();
    let judge = |level, ask, shown, found| told.judge(&told.answer(level, ask, shown, found));
    let by_id = Ask::Id { number: 3 };
    assert_eq!(judge(Level::Token, by_id, Some(3), Found::One(told.seen(3))), []);
    assert_eq!(judge(Level::Token, by_id, Some(3), Found::One(told.seen(4))), [Sin::Foreign]);
    let other_body = Seen { digest: 99, ..told.seen(3) };
    assert_eq!(judge(Level::Token, by_id, Some(3), Found::One(other_body)), [Sin::Wrong]);
    assert_eq!(judge(Level::Token, by_id, Some(3), Found::Nothing), [Sin::Stale]);
    assert_eq!(judge(Level::Strong, by_id, None, Found::Nothing), [Sin::Stale]);
    let by_position = Ask::At { at: told.at(3) };
    assert_eq!(judge(Level::Token, by_position, None, Found::One(told.seen(3))), []);
    assert_eq!(judge(Level::Token, by_position, None, Found::One(told.seen(5))), [Sin::Foreign]);
    assert_eq!(judge(Level::Token, by_position, None, Found::Nothing), [Sin::Stale]);
    let nobody = Ask::Nobody { number: 3 };
    assert_eq!(judge(Level::Strong, nobody, None, Found::Nothing), []);
    assert_eq!(judge(Level::Strong, nobody, None, Found::One(told.seen(3))), [Sin::Wrong]);
    // Not acked when it was asked for.
    let mut early = told.answer(Level::Strong, by_id, None, Found::Nothing);
    early.begin_us = 4 * SECOND_US;
    assert_eq!(told.judge(&early), []);
    early.begin_us += 1;
    assert_eq!(told.judge(&early), [Sin::Stale]);
}

#[test]
fn a_list_over_all_partitions_is_merged_by_time() {
    let mut log = Log::of(PARTITIONS);
    let clock = Clock::start();
    // Events 0, 500, 1000, … are of group 0, each a millisecond after the one before, over three partitions.
    let events: Vec<Position> = (0..6_u64)
        .map(|count| {
            let event = Event { number: count * u64::from(event::GROUPS), key: 1, sequence: 0 };
            let partition = i32::try_from(count % 3).expect("a few");
            let time_ms = clock.unix_ms(0) + i64::try_from(count).expect("a few");
            let offset = log.append(partition, Entry { event, digest: count + 1, time_ms });
            Position { partition, offset }
        })
        .collect();
    let checker =
        Checker { log: &log, acked: Acked::of(&log, &[]), clock, per_key: PER_KEY, window_ms: WINDOW_MS };
    let judge = |order: &[usize]| {
        let window_start_ms = clock.unix_ms(LATER_US) - WINDOW_MS;
        let page = Page {
            events: order.iter().map(|at| log.seen(events[*at]).expect("it is there")).collect(),
            as_of: (0..PARTITIONS)
                .map(|partition| Position { partition, offset: log.end(partition) - 1 })
                .collect(),
            window_start_ms,
            complete_since_ms: window_start_ms,
            truncated: false,
        };
        let ask = Ask::Group { group: 0, limit: 4 };
        let (begin_us, end_us) = (LATER_US, LATER_US);
        let (level, found) = (Level::Strong, Found::Page(page));
        let answer =
            Answer { level, ask, min_position: None, of_second: false, begin_us, end_us, hit: true, found };
        checker.judge(&answer).into_iter().map(|(sin, _)| sin).collect::<Vec<_>>()
    };
    assert_eq!(judge(&[5, 4, 3, 2]), []);
    assert_eq!(judge(&[5, 3, 4, 2]), [Sin::Wrong]);
    assert_eq!(judge(&[5, 4, 3, 1]), [Sin::Stale]);
}
