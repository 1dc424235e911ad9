//! Live tails: the events of a route as they come, or from a position on. All subscribers of a route share one
//! reader and one ring; what a subscriber lacks before that is read for it from Kafka.

mod fed;
mod follower;
mod positions;
mod reader;
mod ring;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rdkafka::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::control::Control;
use super::lookup::{LOOKUP_TIMEOUT, Level, position_unknown};
use super::record::Logged;
use super::{CLIENT_GROUP, Counts, Recent, texts};
use crate::kafka::consumer::{Bounds, Ends, Ranges, Sample};
use crate::ports::Slot;
use crate::problem::{Code, Problem};

pub use fed::Filter;
pub use follower::{Follower, Next};
pub use positions::Positions;
pub use ring::Cut;

use ring::{Bound, Ring};

/// Subscribers of all routes together.
const SUBSCRIBERS_MAX: usize = 1000;
/// What a route's ring holds.
const RING: Bound = Bound { events_max: 4096, bytes_max: 8 << 20 };
/// Stretches read from Kafka at the same time, and consumers kept for them.
const READS_MAX: usize = 4;

/// Where a subscriber begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// With what comes.
    #[default]
    Now,
    /// With the oldest that Kafka holds.
    Start,
    /// At these positions; partitions that are not named begin now.
    At(Positions),
    /// Where an earlier stream ended. It named all partitions there were: any other is newer, and begins at its start.
    After(Positions),
}

/// What all feeds share.
pub(super) struct Feeds {
    ends: Arc<Ends>,
    control: Arc<Control>,
    counts: Arc<Counts>,
    runtime: Handle,
    kafka: ClientConfig,
    fetch_wait_ms: u32,
    ranges: Arc<Ranges>,
    reads: Arc<Semaphore>,
    seats: Arc<Semaphore>,
    /// The running ones, by topic.
    running: Mutex<HashMap<Arc<str>, Arc<Feed>>>,
    stop: watch::Sender<bool>,
}

/// One topic's tail.
struct Feed {
    topic: Arc<str>,
    ring: Ring,
    subscribers: AtomicUsize,
    /// Whether the ring has all partitions.
    ready: watch::Sender<bool>,
}

impl Feed {
    fn new(topic: &Arc<str>) -> Feed {
        Feed {
            topic: Arc::clone(topic),
            ring: Ring::new(RING),
            subscribers: AtomicUsize::new(0),
            ready: watch::Sender::new(false),
        }
    }

    fn slots(&self, sample: &Sample) -> Vec<Slot> {
        let count = sample.partitions.get(&self.topic).copied().unwrap_or_default();
        (0..count).map(|partition| Slot { topic: Arc::clone(&self.topic), partition }).collect()
    }

    fn is_lonely(&self) -> bool {
        self.subscribers.load(Ordering::Acquire) == 0
    }

    fn leave(&self) {
        self.subscribers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Feeds {
    /// Nothing runs before the first subscriber comes.
    pub(super) fn new(
        kafka: &ClientConfig,
        fetch_wait_ms: u32,
        runtime: Handle,
        (ends, control, counts): (Arc<Ends>, Arc<Control>, Arc<Counts>),
    ) -> Arc<Feeds> {
        Arc::new(Feeds {
            ends,
            control,
            counts,
            runtime,
            kafka: kafka.clone(),
            fetch_wait_ms,
            ranges: Arc::new(Ranges::new(kafka, CLIENT_GROUP, READS_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            seats: Arc::new(Semaphore::new(SUBSCRIBERS_MAX)),
            running: Mutex::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// Ends every subscription and every reader, for good.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Feed>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic's feed with one subscriber more; begins it if need be.
    fn join(self: &Arc<Self>, topic: &Arc<str>) -> Arc<Feed> {
        let mut running = self.running();
        let feed = running.entry(Arc::clone(topic)).or_insert_with(|| {
            let feed = Arc::new(Feed::new(topic));
            self.runtime.spawn(reader::run(Arc::clone(self), Arc::clone(&feed)));
            feed
        });
        feed.subscribers.fetch_add(1, Ordering::AcqRel);
        Arc::clone(feed)
    }

    fn forget(&self, feed: &Arc<Feed>) {
        let mut running = self.running();
        if running.get(&feed.topic).is_some_and(|known| Arc::ptr_eq(known, feed)) {
            running.remove(&feed.topic);
        }
    }

    /// Under the same lock as `join`: nobody comes in between.
    fn forget_if_lonely(&self, feed: &Feed) -> bool {
        let mut running = self.running();
        feed.is_lonely() && running.remove(&feed.topic).is_some()
    }

    /// Whether a subscriber may see an event. Every event is asked for here at the moment it is handed on, whether it
    /// comes from the ring or from Kafka, for what has happened to it since.
    fn shown(&self, slot: &Slot, event: &Logged) -> bool {
        !self.control.hides(slot, event.at.offset, &event.body)
    }
}

/// A subscriber counted by a feed that is not followed yet.
struct Joined(Option<Arc<Feed>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(feed) = &self.0 {
            feed.leave();
        }
    }
}

impl Recent {
    /// Follows a route's events from `begin` on.
    ///
    /// # Errors
    /// `recent-disabled`, `overloaded`, `shutting-down`, `behind`, and, for positions that the log does not hold,
    /// `position-gone` and `position-unknown`.
    pub async fn follow(&self, route: &str, filter: Filter, begin: &Begin) -> Result<Follower, Problem> {
        let topic = Arc::clone(&self.topic(route)?.topic);
        texts::keys(&[filter.key.as_deref(), filter.kind.as_deref()])?;
        texts::attributes(&[filter.type_.as_deref()])?;
        if *self.feeds.stop.borrow() {
            return Err(Problem::new(Code::ShuttingDown, "follow another gateway"));
        }
        let full = |_| Problem::new(Code::Overloaded, "this gateway has as many subscribers as it takes");
        let seat = Arc::clone(&self.feeds.seats).try_acquire_owned().map_err(full)?;
        let mut joined = Joined(Some(self.feeds.join(&topic)));
        let feed = joined.0.clone().ok_or_else(|| self.behind())?;
        let mut ready = feed.ready.subscribe();
        let looking = async {
            ready.wait_for(|ready| *ready).await.ok()?;
            // After the reader stands: then it has all that comes after this.
            Some(self.ends.now().await)
        };
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        self.begin(Level::Bounded, deadline).await?;
        let sample = tokio::time::timeout_at(deadline.into(), looking).await.ok().flatten();
        let sample = sample.ok_or_else(|| self.behind())?;
        let bounds = |slot: Slot| Some((slot.partition, *sample.bounds.get(&slot)?));
        let bounds: Option<BTreeMap<_, _>> = feed.slots(&sample).into_iter().map(bounds).collect();
        let positions = begin.positions(&bounds.ok_or_else(|| self.behind())?)?;
        joined.0 = None;
        Ok(Follower::new(Arc::clone(&self.feeds), feed, filter, positions, seat))
    }

    /// Ends every live tail, and takes no more: the gateway stops.
    pub fn end_tails(&self) {
        self.feeds.stop();
    }

    /// How many live tails there are.
    pub fn subscribers(&self) -> usize {
        SUBSCRIBERS_MAX - self.feeds.seats.available_permits()
    }
}

impl Begin {
    fn positions(&self, log: &BTreeMap<i32, Bounds>) -> Result<Positions, Problem> {
        if let Begin::At(given) | Begin::After(given) = self {
            for (partition, next) in given.iter() {
                let bounds = log.get(&partition).ok_or_else(position_unknown)?;
                if next > bounds.end {
                    return Err(position_unknown());
                }
                if next < bounds.start {
                    let detail = format!(
                        "partition {partition} begins at {}: begin with from=start or from=now",
                        bounds.start
                    );
                    return Err(Problem::new(Code::PositionGone, detail));
                }
            }
        }
        let next = |(partition, bounds): (&i32, &Bounds)| {
            let next = match self {
                Begin::Now => bounds.end,
                Begin::Start => bounds.start,
                Begin::At(given) => given.of(*partition).unwrap_or(bounds.end),
                Begin::After(given) => given.of(*partition).unwrap_or(bounds.start),
            };
            (*partition, next)
        };
        Ok(log.iter().map(next).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_begins_where_it_asks_to_if_the_log_has_that() {
        let log = [(0, 3, 9), (1, 0, 4)];
        let log: BTreeMap<i32, Bounds> =
            log.into_iter().map(|(partition, start, end)| (partition, Bounds { start, end })).collect();
        let given = |text: &str| text.parse::<Positions>().expect("positions");
        let begun = |begin: Begin| begin.positions(&log).map(|positions| positions.to_string());
        let good = [
            (Begin::Now, "0:9,1:4"),
            (Begin::Start, "0:3,1:0"),
            (Begin::At(given("0:5")), "0:5,1:4"),
            (Begin::After(given("0:9")), "0:9,1:0"),
            (Begin::At(given("0:3,1:4")), "0:3,1:4"),
        ];
        for (begin, positions) in good {
            assert_eq!(begun(begin.clone()).as_deref(), Ok(positions), "{begin:?}");
        }
        let bad =
            [("0:2", Code::PositionGone), ("0:10", Code::PositionUnknown), ("2:0", Code::PositionUnknown)];
        for (text, code) in bad {
            for begin in [Begin::At(given(text)), Begin::After(given(text))] {
                assert_eq!(begun(begin).map_err(|problem| problem.code), Err(code), "{text}");
            }
        }
    }
}
