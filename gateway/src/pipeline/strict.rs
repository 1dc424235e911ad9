//! Requests that are to be taken whole or not at all (RFC 7240 §4.4, `handling=strict`): every event is judged before
//! the first is handed over. Only that much can be promised: Kafka may still refuse some of what it is given.

use bumpalo::Bump;

use super::accepted::{Accepted, Draft, Drafts};
use super::chunk::{Exit, Step, Stopped, refused};
use super::{Ending, Worker, chunks, lane};
use crate::event::RawEvent;
use crate::event::budget::Permit;
use crate::problem::{Code, Problem};

/// All its events are held parsed at once, so it may not be as large as others.
const BODY_BYTES_MAX: usize = 1 << 20;
/// What a parsed event takes, for each byte of it.
const PARSED_BYTES: usize = 8;

/// Whether a body may be judged as a whole; takes the bytes for it.
pub(super) fn within_bounds(body: &[u8], permit: &mut Permit) -> Result<(), Problem> {
    if body.len() > BODY_BYTES_MAX {
        let detail = format!("with handling=strict a body may have at most {BODY_BYTES_MAX} bytes");
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    let taken = permit.grow(PARSED_BYTES * body.len());
    taken
        .then_some(())
        .ok_or_else(|| Problem::new(Code::Overloaded, "too many bytes in flight; try again in a moment"))
}

impl Worker {
    /// Judges all events, and hands them over if none of them is refused.
    pub(super) async fn work_strictly<'r>(
        &self,
        request: &'r Accepted,
        events: &[RawEvent<'r>],
        drafts: &mut Drafts,
    ) {
        let (job, out, arena) = (request.job(), request.out(), Bump::new());
        let mut judged = Vec::new();
        for chunk in chunks(events) {
            if !judged.is_empty() {
                tokio::task::yield_now().await;
            }
            let mut bench = self.bench.borrow_mut();
            bench.chains.adopt(&self.shared.plugins.generation());
            let Ok(steps) = bench.judge(&arena, &job, chunk) else {
                *drafts = lane::turned_away(std::mem::take(drafts), events.len());
                return;
            };
            judged.push((bench.chains.seen_by(&job.route.name).clone(), steps));
        }
        let taken = judged.iter().flat_map(|(_, steps)| steps).all(is_taken);
        let sender = out.producer.sender();
        for (seen_by, steps) in judged {
            let exit = Exit::new(&job, out.delivery, &seen_by, &sender);
            for step in steps {
                let draft = match step {
                    Ok(passing) if taken => exit.hand_over(&arena, &passing, drafts),
                    Err(Stopped::Ended(draft)) if taken => draft,
                    step => whole_or_not(step),
                };
                drafts.list.push(draft);
            }
        }
    }
}

/// Whether an event's way ends well: in its topic, or where a plugin wants it.
fn is_taken(step: &Step<'_>) -> bool {
    matches!(step, Ok(_) | Err(Stopped::Ended(Draft::Ended(Ending::Dropped(_)))))
}

/// What an event of a refused batch is told.
fn whole_or_not(step: Step<'_>) -> Draft {
    match step {
        Err(Stopped::Ended(draft @ (Draft::Violation(..) | Draft::Ended(Ending::Refused(_))))) => draft,
        Err(Stopped::DeadLetter(dead)) => {
            let detail = format!("{}: {}", dead.reason.plugin, dead.reason.text);
            refused(Problem::new(Code::PluginFailed, detail))
        }
        Ok(_) | Err(Stopped::Ended(_)) => {
            refused(Problem::new(Code::BatchRefused, "another event of this batch is refused"))
        }
    }
}
