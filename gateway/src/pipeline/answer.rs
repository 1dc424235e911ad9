//! What a request's events came to.

use std::sync::Arc;

use super::{Common, Dropped, Receipt};
use crate::problem::Problem;
use crate::route::{Reason, Route};

/// How one event ended, as the client is told.
#[derive(Debug)]
pub enum Ending {
    /// In Kafka.
    Stored(Receipt),
    /// In the route's dead-letter topic, and why.
    DeadLettered(Receipt, Box<Reason>),
    /// Not stored, by a plugin's decision.
    Dropped(Dropped),
    /// Refused, failed or unknown: the code says which.
    Refused(Problem),
}

/// What the events of one route share in an answer.
#[derive(Debug)]
pub struct Share {
    /// The route that took them.
    pub route: Arc<Route>,
    /// What their receipts refer to.
    pub common: Common,
}

/// The endings of a request's events, in order.
#[derive(Debug)]
pub struct Answer {
    /// Whether the client sent a batch and so gets a list.
    pub batch: bool,
    /// One per event.
    pub endings: Vec<Ending>,
    /// One per route that took events: nearly always one.
    shares: Vec<Share>,
    /// Which share each ending refers to; empty if all refer to the first.
    places: Vec<usize>,
}

impl Answer {
    /// The answer of one route.
    pub fn of_route(share: Share, batch: bool, endings: Vec<Ending>) -> Self {
        Answer { batch, endings, shares: vec![share], places: Vec::new() }
    }

    /// The answer to a batch whose events went several ways, given by each event's place in it. `refused` are those
    /// that no route took.
    pub fn merge(parts: Vec<(Vec<usize>, Answer)>, refused: Vec<(usize, Problem)>) -> Self {
        let mut all: Vec<(usize, usize, Ending)> =
            refused.into_iter().map(|(index, problem)| (index, 0, Ending::Refused(problem))).collect();
        let mut shares = Vec::with_capacity(parts.len());
        for (indices, answer) in parts {
            let first = shares.len();
            shares.extend(answer.shares);
            all.extend(indices.into_iter().zip(answer.endings).map(|(index, ending)| (index, first, ending)));
        }
        all.sort_unstable_by_key(|(index, ..)| *index);
        let (places, endings) = all.into_iter().map(|(_, share, ending)| (share, ending)).unzip();
        Answer { batch: true, endings, shares, places }
    }

    /// Each ending with what it refers to; a refused event that no route took refers to nothing.
    pub fn each(&self) -> impl Iterator<Item = (Option<&Share>, &Ending)> {
        let place = |index| self.places.get(index).copied().unwrap_or_default();
        self.endings.iter().enumerate().map(move |(index, ending)| (self.shares.get(place(index)), ending))
    }
}
