//! The host's side of [`host`](crate::host), natively: each thread has its own, so that tests do not hear each
//! other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::batch::ABSENT;
use crate::error::Error;
use crate::host::{Clock, Hits, Log, Lookup, Metrics};
use crate::log::Level;
use crate::patch::size;

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// The names of all metrics; their places are the ids, for a plugin may keep them in a `static`.
static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the host has and what it heard.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tables: Vec<(String, Rows)>,
    pub(super) now_ns: u64,
    pub(super) lines: Vec<(Level, String)>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) observations: BTreeMap<String, Vec<f64>>,
    pub(super) lookups: usize,
}

/// Puts another state in place on this thread and gives the one before.
pub(super) fn replace(state: State) -> State {
    STATE.replace(state)
}

pub(crate) struct Memory;

impl Log for Memory {
    fn enabled(_: Level) -> bool {
        true
    }

    fn write(level: Level, message: &str) {
        eprintln!("{level:?}: {message}");
        STATE.with_borrow_mut(|state| state.lines.push((level, message.to_owned())));
    }
}

impl Metrics for Memory {
    fn counter(name: &str) -> u32 {
        id(name)
    }

    fn histogram(name: &str) -> u32 {
        id(name)
    }

    fn add(id: u32, delta: u64) {
        STATE.with_borrow_mut(|state| *state.counters.entry(name(id)).or_default() += delta);
    }

    fn observe(id: u32, value: f64) {
        STATE.with_borrow_mut(|state| state.observations.entry(name(id)).or_default().push(value));
    }
}

impl Lookup for Memory {
    fn table(name: &str) -> Result<u32, Error> {
        let place = STATE.with_borrow(|state| state.tables.iter().position(|(known, _)| known == name));
        place.map(size).ok_or_else(|| Error::new(format!("there is no table `{name}`")))
    }

    fn get_many(table: u32, arena: &[u8], spans: &[u32]) -> Result<Hits, Error> {
        STATE.with_borrow_mut(|state| {
            state.lookups += 1;
            let (_, rows) = &state.tables[table as usize];
            let mut hits = Hits::default();
            for [offset, length] in spans.as_chunks::<2>().0 {
                let row = rows.get(&arena[*offset as usize..][..*length as usize]);
                let offset = row.map_or(ABSENT, |_| size(hits.arena.len()));
                hits.spans.extend([offset, row.map_or(0, |row| size(row.len()))]);
                hits.arena.extend(row.into_iter().flatten());
            }
            Ok(hits)
        })
    }
}

impl Clock for Memory {
    fn now_ns() -> u64 {
        STATE.with_borrow(|state| state.now_ns)
    }

    fn monotonic_ns() -> u64 {
        Self::now_ns()
    }
}

fn id(name: &str) -> u32 {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let place = names.iter().position(|known| known == name);
    size(place.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    }))
}

fn name(id: u32) -> String {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)[id as usize].clone()
}
