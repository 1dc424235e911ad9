//! The newest events of a topic, for all its subscribers: each keeps its own place. What does not fit any more
//! goes, and whoever still stood there has lost its place. It knows nothing of Kafka or of time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::fed::Fed;
use super::positions::Positions;

/// What a ring holds at most, and what is taken out of it at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) events_max: usize,
    pub(super) bytes_max: usize,
}

/// Why a subscriber has to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It read more slowly than events came.
    Slow,
    /// The log has a hole, or ends before where it ended: its topic was made anew, or forgot too soon.
    Broken,
}

/// Where a subscriber may enter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Everything it lacks is in the ring from this place on.
    At(u64),
    /// This comes first, or a part of it.
    Behind { partition: i32, from: i64, to: i64 },
}

/// What a subscriber finds at its place.
pub(super) enum Taken {
    Events(Vec<Arc<Fed>>),
    /// Nothing yet.
    Nothing,
    Lost(Cut),
}

pub(super) struct Ring {
    bound: Bound,
    state: Mutex<State>,
    moved: watch::Sender<()>,
}

/// One partition: all its events of `since..next` are in the ring. `begin` is where `since` was at first.
#[derive(Clone, Copy)]
struct Span {
    begin: i64,
    since: i64,
    next: i64,
}

struct State {
    events: VecDeque<Arc<Fed>>,
    bytes: usize,
    /// The place of the first of `events`.
    first: u64,
    /// Places below this were lost for another reason than slowness.
    broken_before: u64,
    spans: BTreeMap<i32, Span>,
}

impl Ring {
    pub(super) fn new(bound: Bound) -> Ring {
        let state =
            State { events: VecDeque::new(), bytes: 0, first: 0, broken_before: 0, spans: BTreeMap::new() };
        Ring { bound, state: Mutex::new(state), moved: watch::Sender::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when there may be something new to take.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// A partition begins here.
    pub(super) fn open(&self, partition: i32, at: i64) {
        self.state().spans.insert(partition, Span { begin: at, since: at, next: at });
    }

    /// Where a partition is to be read on.
    pub(super) fn next_of(&self, partition: i32) -> Option<i64> {
        self.state().spans.get(&partition).map(|span| span.next)
    }

    /// The events of a partition up to `next`, in order.
    pub(super) fn push(&self, partition: i32, events: Vec<Fed>, next: i64) {
        {
            let mut state = self.state();
            for event in events {
                state.bytes += event.cost();
                state.events.push_back(Arc::new(event));
            }
            if let Some(span) = state.spans.get_mut(&partition) {
                span.next = span.next.max(next);
            }
            state.shrink(self.bound);
        }
        self.moved.send_replace(());
    }

    /// The partition was read up to here, and there was nothing. Not worth waking anyone.
    pub(super) fn pass(&self, partition: i32, next: i64) {
        if let Some(span) = self.state().spans.get_mut(&partition) {
            span.next = span.next.max(next);
        }
    }

    /// A partition goes on elsewhere: everyone begins anew.
    pub(super) fn break_off(&self, partition: i32, at: i64) {
        self.open(partition, at);
        self.clear();
    }

    /// Everyone begins anew.
    pub(super) fn clear(&self) {
        {
            let mut state = self.state();
            let end = state.end();
            state.events.clear();
            state.bytes = 0;
            // Nobody has this place yet: even those who had taken everything are below it.
            (state.first, state.broken_before) = (end + 1, end + 1);
            for span in state.spans.values_mut() {
                span.since = span.next;
            }
        }
        self.moved.send_replace(());
    }

    /// Whether someone who stands there can enter. A partition that it does not know is newer than it.
    pub(super) fn enter(&self, positions: &mut Positions) -> Entry {
        let state = self.state();
        for (partition, span) in &state.spans {
            positions.raise(*partition, positions.of(*partition).unwrap_or(span.begin));
        }
        let lacks = |(partition, span): (&i32, &Span)| {
            let from = positions.of(*partition)?;
            (from < span.since).then_some((span.since - from, *partition, from, span.next))
        };
        // The longest way first, so that all partitions come along.
        if let Some((_, partition, from, to)) = state.spans.iter().filter_map(lacks).max() {
            return Entry::Behind { partition, from, to };
        }
        let has =
            |event: &Arc<Fed>| positions.of(event.slot.partition).is_some_and(|next| event.offset() < next);
        let skipped = state.events.iter().take_while(|event| has(event)).count();
        Entry::At(state.first + place(skipped))
    }

    /// What comes at this place, at most so much. Who has taken everything stands where the reader stands.
    pub(super) fn take(&self, at: u64, bound: Bound, positions: &mut Positions) -> Taken {
        let state = self.state();
        if at < state.first {
            let broken = at < state.broken_before;
            return Taken::Lost(if broken { Cut::Broken } else { Cut::Slow });
        }
        let skipped = usize::try_from(at - state.first).unwrap_or(usize::MAX);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for event in state.events.iter().skip(skipped).take(bound.events_max) {
            bytes += event.cost();
            if bytes > bound.bytes_max && !events.is_empty() {
                break;
            }
            events.push(Arc::clone(event));
        }
        if !events.is_empty() {
            return Taken::Events(events);
        }
        for (partition, span) in &state.spans {
            positions.raise(*partition, span.next);
        }
        Taken::Nothing
    }
}

impl State {
    fn end(&self) -> u64 {
        self.first + place(self.events.len())
    }

    fn shrink(&mut self, bound: Bound) {
        // The newest stays, however large.
        while self.events.len() > bound.events_max || (self.bytes > bound.bytes_max && self.events.len() > 1)
        {
            let Some(event) = self.events.pop_front() else { return };
            self.bytes -= event.cost();
            self.first += 1;
            if let Some(span) = self.spans.get_mut(&event.slot.partition) {
                span.since = span.since.max(event.offset() + 1);
            }
        }
    }
}

fn place(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
