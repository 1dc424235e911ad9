//! A version that runs beside the one in force, on a sample of real requests, and changes nothing: what it would have
//! made of their events is compared and reported.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chain::Chains;

/// Differences that are kept for people to look at.
const DIFFERENCES_MAX: usize = 10;

/// One version's run in the shadow.
#[derive(Debug)]
pub struct Shadow {
    chains: Arc<Chains>,
    /// One request in so many.
    every: u32,
    requests: AtomicU32,
    report: Mutex<Report>,
}

/// What was found so far.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// One request in so many is looked at.
    pub every: u32,
    /// Events that were judged by both versions.
    pub events: u64,
    /// Of those: would end otherwise, or with another record.
    pub changed: u64,
    /// Of those: would have another partition key or topic, and so may be in another partition.
    pub moved: u64,
    /// Requests that were to be looked at, and were not for want of time.
    pub requests_skipped: u64,
    /// The first differences.
    pub differences: Vec<Difference>,
}

/// How one event would differ.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The event's id, as the record has it.
    pub id: String,
    /// `outcome`, `topic`, `key`, `value`, or `header NAME`.
    pub what: String,
    /// With the version in force; absent if there is none.
    pub now: Option<String>,
    /// With the version in the shadow.
    pub then: Option<String>,
}

impl Shadow {
    /// Chains with the version in its places, for one request in `every`.
    pub(super) fn new(chains: Arc<Chains>, every: u32) -> Self {
        let every = every.max(1);
        let report = Mutex::new(Report { every, ..Report::default() });
        Shadow { chains, every, requests: AtomicU32::new(0), report }
    }

    /// The chains of all routes as they would be.
    pub fn chains(&self) -> &Arc<Chains> {
        &self.chains
    }

    /// Whether the next request is to be looked at.
    pub fn wants(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every)
    }

    /// A request that it wanted was not looked at.
    pub fn skipped(&self) {
        self.locked().requests_skipped += 1;
    }

    /// One event was judged by both: how it differs, and whether it may move.
    pub fn compared(&self, differences: Vec<Difference>, moved: bool) {
        let mut report = self.locked();
        report.events += 1;
        report.changed += u64::from(!differences.is_empty());
        report.moved += u64::from(moved);
        let room = DIFFERENCES_MAX.saturating_sub(report.differences.len());
        report.differences.extend(differences.into_iter().take(room));
    }

    /// What was found so far.
    pub fn report(&self) -> Report {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Report> {
        // Numbers are whole whatever happened to a thread that held them.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
