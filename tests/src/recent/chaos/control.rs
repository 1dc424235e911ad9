//! The control: a cache as it is often built, in the same Valkey and under the same faults. Writers delete a key's
//! entry when its event is acked; a reader that finds none computes it and puts it there. It must be caught stale, else
//! the run proves nothing. It knows nothing of the gateway.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::Builder;
use fred::types::Expiration;
use fred::types::config::{Config, PerformanceConfig, ReconnectPolicy, Server, ServerConfig};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::chance::Chance;
use super::journal::{Acked, Clock, Journal, Receipt};

/// Its keys are the first of the run's, which are the busiest.
const KEYS: u32 = 64;
pub const READERS: u64 = 4;
/// Of each reader.
const PERIOD: Duration = Duration::from_millis(50);
/// What a reader takes to compute what it then puts there, at most.
const COMPUTES_MS: u64 = 30;
const KEPT_S: i64 = 60;
const COMMAND_TIMEOUT: Duration = Duration::from_millis(300);
/// An entry that misses what was acked so long ago is not stale for a moment only.
const LONG_US: u64 = 500_000;

/// What it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    pub reads: u64,
    pub hits: u64,
    /// Hits that lacked an event acked before the read began.
    pub stale: u64,
    /// Of those: an event acked half a second before.
    pub stale_for_long: u64,
    /// Deletes that did not get through.
    pub not_deleted: u64,
}

/// The naive cache.
pub struct Control {
    client: Client,
    clock: Clock,
    reads: AtomicU64,
    hits: AtomicU64,
    stale: AtomicU64,
    stale_for_long: AtomicU64,
    not_deleted: AtomicU64,
}

impl Control {
    /// Connects to the cluster.
    pub async fn start(nodes: &[String], clock: Clock) -> Self {
        let server = |node: &String| {
            let (host, port) = node.split_once(':').expect("host:port");
            Server::new(host, port.parse().expect("a port"))
        };
        let hosts = nodes.iter().map(server).collect();
        let config = Config {
            server: ServerConfig::Clustered { hosts, policy: Default::default() },
            ..Config::default()
        };
        let client = Builder::from_config(config)
            .set_policy(ReconnectPolicy::new_constant(0, 100))
            .set_performance_config(PerformanceConfig {
                default_command_timeout: COMMAND_TIMEOUT,
                ..PerformanceConfig::default()
            })
            .build()
            .expect("plain settings");
        drop(client.init().await.expect("the cluster is there"));
        Self {
            client,
            clock,
            reads: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            stale_for_long: AtomicU64::new(0),
            not_deleted: AtomicU64::new(0),
        }
    }

    /// What a writer does when its events are acked.
    pub async fn forget(&self, receipts: &[Receipt]) {
        let mut keys: Vec<u32> = receipts.iter().map(|receipt| receipt.event.key).collect();
        keys.retain(|key| *key < KEYS);
        keys.sort_unstable();
        keys.dedup();
        let deletes = keys.into_iter().map(|key| self.client.del::<i64, _>(entry(key)));
        let failed = join_all(deletes).await.into_iter().filter(Result::is_err).count();
        self.not_deleted.fetch_add(failed as u64, Ordering::Relaxed);
    }

    /// One reader.
    pub async fn read(&self, journal: &Journal, mut chance: Chance, done: &AtomicBool) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !done.load(Ordering::Relaxed) {
            ticks.tick().await;
            let key = u32::try_from(chance.below(u64::from(KEYS))).expect("below a u32");
            let (begin_us, acked) = (self.clock.us(), journal.newest(key));
            let Ok(found) = self.client.get::<Option<i64>, _>(entry(key)).await else { continue };
            self.reads.fetch_add(1, Ordering::Relaxed);
            match found {
                Some(newest) => self.count(newest, &acked, begin_us),
                None => {
                    // What it is to put there is known by now; that takes a moment to arrive.
                    let newest = journal.newest(key).iter().map(|acked| acked.at.offset).max().unwrap_or(-1);
                    tokio::time::sleep(Duration::from_millis(chance.below(COMPUTES_MS))).await;
                    let kept = Some(Expiration::EX(KEPT_S));
                    // A cache that does not take it is read again the next time.
                    self.client.set::<(), _, _>(entry(key), newest, kept, None, false).await.ok();
                }
            }
        }
    }

    fn count(&self, newest: i64, acked: &[Acked], begin_us: u64) {
        let (stale, for_long) = missed(newest, acked, begin_us);
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.stale.fetch_add(u64::from(stale), Ordering::Relaxed);
        self.stale_for_long.fetch_add(u64::from(for_long), Ordering::Relaxed);
    }

    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            reads: get(&self.reads),
            hits: get(&self.hits),
            stale: get(&self.stale),
            stale_for_long: get(&self.stale_for_long),
            not_deleted: get(&self.not_deleted),
        }
    }
}

fn entry(key: u32) -> String {
    format!("naive:{key}")
}

/// Whether an entry up to an offset lacks an acked event, and whether it lacks one acked long ago.
fn missed(newest: i64, acked: &[Acked], begin_us: u64) -> (bool, bool) {
    let lacks = |acked: &&Acked| acked.at.offset > newest && acked.acked_us < begin_us;
    let stale = acked.iter().any(|it| lacks(&it));
    (stale, acked.iter().any(|it| lacks(&it) && it.acked_us + LONG_US < begin_us))
}

#[cfg(test)]
mod tests {
    use super::super::answer::Position;
    use super::*;

    #[test]
    fn an_entry_is_stale_that_lacks_what_was_acked_before() {
        let acked = |offset, acked_us| Acked { number: 0, at: Position { partition: 0, offset }, acked_us };
        let acked = [acked(3, 1_000), acked(5, 700_000)];
        assert_eq!(missed(5, &acked, 2_000_000), (false, false));
        assert_eq!(missed(3, &acked, 700_000), (false, false), "acked when the read had begun");
        assert_eq!(missed(3, &acked, 700_001), (true, false));
        assert_eq!(missed(-1, &acked, 700_001), (true, true));
    }
}
