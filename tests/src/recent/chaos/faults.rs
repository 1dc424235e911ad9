//! What is done to the services: which kinds there are, how they are drawn, and how each is inflicted. What lookups
//! answer meanwhile is for readers and the checker.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::chance::Chance;
use super::moves;
use super::stage::{Gateway, NODE_TIMEOUT, Stage, everywhere, hash_slot, partitions, tag};
use crate::world::{Node, Reply, Resp, Shard, until};

const PATIENCE: Duration = Duration::from_secs(60);
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(120);
const FROZEN: Duration = Duration::from_secs(4);
const LAGGING: Duration = Duration::from_secs(1);
/// A primary that is back sooner may find its place still its own.
const AWAY: Duration = Duration::from_millis(2_500);
/// So much fits into no socket buffer.
const FILLER_BYTES: usize = 1 << 20;
const FILLERS: usize = 14;
/// What a shard has applied at least, behind the filler, before its primary is killed.
const APPLIED_MIN: i64 = 10;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    KillPrimary,
    FreezePrimary,
    ForcedLag,
    EmptyRestart,
    SlotMigration,
    Failover,
    ScriptFlush,
    FlushAll,
    KafkaRestart,
    ProjectorKill,
    SecondGateway,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 11] = [
        Kind::KillPrimary,
        Kind::FreezePrimary,
        Kind::ForcedLag,
        Kind::EmptyRestart,
        Kind::SlotMigration,
        Kind::Failover,
        Kind::ScriptFlush,
        Kind::FlushAll,
        Kind::KafkaRestart,
        Kind::ProjectorKill,
        Kind::SecondGateway,
    ];

    /// So many of these, each at least once, in any order.
    pub fn draw(of: &[Kind], count: usize, chance: &mut Chance) -> Vec<Kind> {
        let mut kinds = of.to_vec();
        kinds.resize_with(count.max(of.len()), || *chance.of(of));
        for last in (1..kinds.len()).rev() {
            let other = chance.below(last as u64 + 1);
            kinds.swap(last, usize::try_from(other).expect("below a length"));
        }
        kinds
    }
}

/// One fault, from its first act until all was well again.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    pub kind: Kind,
    pub note: String,
    pub begin_us: u64,
    /// When the services were in order again.
    pub back_us: u64,
    pub end_us: u64,
    /// The partitions whose lookups it may disturb, as bits.
    pub partitions: u64,
    /// False if that was not seen to happen.
    pub recovered: bool,
    /// What the gateway that stays counted meanwhile (`weir_recent_total`, by `what`).
    pub counted: BTreeMap<String, f64>,
}

/// What a fault did, and to whom.
pub(super) struct Done {
    pub note: String,
    pub partitions: u64,
}

/// Inflicts one, and waits until all is well again.
pub async fn inflict(stage: &Stage, kind: Kind, chance: &mut Chance) -> Fault {
    if kind == Kind::ProjectorKill && !stage.second.is_up() {
        join(stage).await;
    }
    let shards = stage.shards().await;
    let keeping: Vec<&Shard<'_>> = shards.iter().filter(|shard| Stage::kept_by(shard) != 0).collect();
    let shard = *chance.of(&keeping);
    let before = counts(stage, &stage.stays).await;
    let begin_us = stage.clock.us();
    let done = match kind {
        Kind::KillPrimary => kill_primary(stage, shard).await,
        Kind::FreezePrimary => freeze_primary(shard).await,
        Kind::ForcedLag => forced_lag(stage, shard).await,
        Kind::EmptyRestart => {
            shard.primary.process().restart();
            on(shard, "restarted at once")
        }
        Kind::SlotMigration => moves::migrate(stage, &shards, chance).await,
        Kind::Failover => fail_over(stage, shard, chance).await,
        Kind::ScriptFlush => script_flush(stage).await,
        Kind::FlushAll => {
            must(shard.primary, &["FLUSHALL"]).await;
            on(shard, "flushed")
        }
        Kind::KafkaRestart => kafka_restart(stage).await,
        Kind::ProjectorKill => projector_kill(stage).await,
        Kind::SecondGateway => second_gateway(stage).await,
    };
    drop(stage.shards().await);
    let back_us = stage.clock.us();
    let recovered = stage.recovered(RECOVERY_TIMEOUT).await;
    let end_us = stage.clock.us();
    let mut counted = counts(stage, &stage.stays).await;
    for (what, count) in &mut counted {
        *count -= before.get(what).copied().unwrap_or_default();
    }
    if kind == Kind::ProjectorKill {
        join(stage).await;
    }
    Fault {
        kind,
        note: done.note,
        begin_us,
        back_us,
        end_us,
        partitions: done.partitions,
        recovered,
        counted,
    }
}

fn on(shard: &Shard<'_>, what: &str) -> Done {
    let kept = Stage::kept_by(shard);
    let note = format!("{} {what}; it kept {:?}", shard.primary.address(), partitions(kept));
    Done { note, partitions: kept }
}

/// One command that has to be obeyed.
pub async fn must(node: &Node, command: &[&str]) {
    match node.call(command).await {
        Ok(Reply::Error(why)) => panic!("{command:?} on {}: {why}", node.address()),
        Ok(_) => {}
        Err(why) => panic!("{command:?} on {}: {why}", node.address()),
    }
}

/// A partition that the shard keeps.
fn one_of(shard: &Shard<'_>) -> i32 {
    *partitions(Stage::kept_by(shard)).first().expect("only shards that keep something are drawn")
}

async fn kill_primary(stage: &Stage, shard: &Shard<'_>) -> Done {
    let back = Instant::now() + AWAY.max(NODE_TIMEOUT * 2);
    shard.primary.process().kill();
    stage.replaced(shard.primary, one_of(shard)).await;
    // That long it is away.
    sleep_until(back).await;
    shard.primary.process().restart();
    on(shard, "killed")
}

async fn freeze_primary(shard: &Shard<'_>) -> Done {
    shard.primary.process().stop();
    // That long it is frozen.
    sleep(FROZEN).await;
    shard.primary.process().cont();
    on(shard, "frozen")
}

/// A plain kill loses nothing: socket buffers still deliver the replication stream. Behind the filler they do not.
async fn forced_lag(stage: &Stage, shard: &Shard<'_>) -> Done {
    let (replica, partition) = (shard.replicas[0], one_of(shard));
    let filler = |number: usize| format!("{}:filler:{number}", tag(partition));
    let lagging = Instant::now() + LAGGING;
    replica.process().stop();
    let mut connection = Resp::connect(shard.primary.address(), None).await.expect("it is in order");
    let bytes = vec![b'x'; FILLER_BYTES];
    for number in 0..FILLERS {
        let reply = connection.call(&[b"SET", filler(number).as_bytes(), &bytes]).await;
        assert!(matches!(reply, Ok(Reply::Bytes(_))), "filler on {}: {reply:?}", shard.primary.address());
    }
    let filled = next(shard.primary, partition).await.unwrap_or(0);
    let reached = until("the shard applies what will be lost", PATIENCE, async || {
        next(shard.primary, partition).await.filter(|next| *next >= filled + APPLIED_MIN)
    })
    .await;
    // That long it lags.
    sleep_until(lagging).await;
    let back = Instant::now() + AWAY.max(NODE_TIMEOUT * 2);
    shard.primary.process().kill();
    replica.process().cont();
    stage.replaced(shard.primary, partition).await;
    let left = next(replica, partition).await;
    for number in 0..FILLERS {
        // What could not be removed is in nobody's way.
        replica.call(&["UNLINK", &filler(number)]).await.ok();
    }
    sleep_until(back).await;
    let what = format!(
        "killed while its replica lagged: partition {partition} had been applied to {reached}, and was found at {left:?}"
    );
    shard.primary.process().restart();
    on(shard, &what)
}

/// The watermark of a partition, on this node.
async fn next(node: &Node, partition: i32) -> Option<i64> {
    let mut connection = Resp::connect(node.address(), None).await.ok()?;
    connection.call(&["READONLY"]).await.ok()?;
    connection.call(&["HGET", &format!("{}:w", tag(partition)), "o"]).await.ok()?.text().parse().ok()
}

async fn fail_over(stage: &Stage, shard: &Shard<'_>, chance: &mut Chance) -> Done {
    let replica = shard.replicas[0];
    let how = *chance.of(&["", "FORCE", "TAKEOVER"]);
    let command: Vec<&str> =
        ["CLUSTER", "FAILOVER", how].into_iter().filter(|word| !word.is_empty()).collect();
    must(replica, &command).await;
    stage.replaced(shard.primary, one_of(shard)).await;
    on(shard, &format!("replaced by CLUSTER FAILOVER {how}"))
}

/// Lookups should not notice.
async fn script_flush(stage: &Stage) -> Done {
    for node in stage.valkey.nodes() {
        must(node, &["SCRIPT", "FLUSH"]).await;
    }
    Done { note: "on every node".to_owned(), partitions: 0 }
}

async fn kafka_restart(stage: &Stage) -> Done {
    stage.kafka.broker(0).restart();
    stage.kafka.ready().await;
    Done { note: "the broker killed and started again".to_owned(), partitions: everywhere() }
}

async fn projector_kill(stage: &Stage) -> Done {
    let applied = async || counts(stage, &stage.second).await.get("applied").copied();
    let before = applied().await.unwrap_or_default();
    let applied = until("the second gateway applies", PATIENCE, async || {
        applied().await.filter(|applied| *applied > before)
    })
    .await;
    stage.second.weir.kill();
    stage.second.up.store(false, Ordering::Relaxed);
    stage.members(1).await;
    let note = format!("the second gateway killed after it had applied {applied} events");
    Done { note, partitions: everywhere() }
}

/// What a gateway's read model has counted; nothing if it does not say.
async fn counts(stage: &Stage, gateway: &Gateway) -> BTreeMap<String, f64> {
    let Ok(answer) = stage.http.get(gateway.weir.admin_url("/metrics")).send().await else {
        return BTreeMap::new();
    };
    let count = |line: &str| {
        let (name, count) = line.strip_prefix("weir_recent_total{")?.split_once("} ")?;
        Some((name.split('"').nth(1)?.to_owned(), count.parse().ok()?))
    };
    answer.text().await.unwrap_or_default().lines().filter_map(count).collect()
}

/// It comes if it is away and goes if it is there; lookups should not notice.
async fn second_gateway(stage: &Stage) -> Done {
    let note = if stage.second.is_up() {
        stage.second.up.store(false, Ordering::Relaxed);
        stage.second.weir.sigterm();
        let code = stage.second.weir.wait(PATIENCE).await;
        stage.members(1).await;
        format!("left by SIGTERM, exit code {code:?}")
    } else {
        join(stage).await;
        "joined".to_owned()
    };
    Done { note, partitions: 0 }
}

async fn join(stage: &Stage) {
    stage.second.weir.process().restart();
    stage.second.weir.ready().await;
    stage.members(2).await;
    stage.second.up.store(true, Ordering::Relaxed);
}

/// Where a partition is kept, and whether the owner keeps others, too.
pub fn owner<'a, 'v>(shards: &'a [Shard<'v>], partition: i32) -> &'a Shard<'v> {
    let owner = shards.iter().find(|shard| shard.serves(hash_slot(partition)));
    owner.expect("a cluster in order serves every slot")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_drawn_and_a_seed_names_the_draw() {
        let draw = |seed| Kind::draw(&Kind::ALL, 30, &mut Chance::new(seed, 0));
        let drawn = draw(7);
        assert_eq!(drawn.len(), 30);
        assert!(Kind::ALL.iter().all(|kind| drawn.contains(kind)));
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
    }
}
